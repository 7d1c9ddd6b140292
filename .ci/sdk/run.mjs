// Runs Cleeng's SDK, unmodified, in Chromium against the local world: `node .ci/sdk/run.mjs WORLD [FLOW ...]`, where WORLD is the binary
// `browser-world`. `./test` builds it and calls this. Ends with 1 if a flow fails. DEBUG=1 shows what the page's console says.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { Customer } from './customer.mjs';
import { ALONE, TOGETHER } from './flows.mjs';
import { ask, serve } from './hosts.mjs';

/** How many flows run at the same time: most of a flow is waiting. */
const WORKERS = 3;
const [binary, ...wanted] = process.argv.slice(2);
const started = Date.now();
const chosen = (flows) => Object.entries(flows).filter(([name]) => !wanted.length || wanted.includes(name));

const program = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] });
const world = await new Promise((done, failed) => {
  program.on('error', failed).on('exit', () => failed(new Error('the world ended')));
  createInterface(program.stdout).once('line', (line) => done(JSON.parse(line)));
});
const hosts = await serve(world);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', `--host-resolver-rules=MAP * 127.0.0.1:${hosts.port}, EXCLUDE 127.0.0.1`,
  ],
});

let passed = 0;
let failed = 0;

/** What went wrong: the error, what each page shows, and the last calls to the connector. */
async function explain(error, customers) {
  console.log(error.stack);
  for (const customer of customers) {
    for (const page of customer.context?.pages() ?? []) {
      console.log(`${page.url()}\n${(await page.locator('body').innerText().catch(String)).slice(0, 600)}`);
    }
    if (customer.errors?.length) console.log(customer.errors.join('\n'));
  }
  console.log(hosts.calls.slice(-6).map(({ method, path, answer }) => `${method} ${path} ${answer}`).join('\n'));
}

async function run([name, flow], together) {
  const since = Date.now();
  const customers = [];
  const customer = async (options) => {
    const one = new Customer(browser, world, together);
    customers.push(one);
    return one.come(options);
  };
  let verdict = 'ok';
  try {
    await flow(customer, { world, calls: hosts.calls });
    passed += 1;
  } catch (error) {
    verdict = 'FAILED';
    failed += 1;
    await explain(error, customers);
  }
  for (const one of customers) await one.context?.close();
  console.log(`${verdict.padEnd(7)}${String(Date.now() - since).padStart(6)} ms  ${name}`);
}

const waiting = chosen(TOGETHER);
await Promise.all(Array.from({ length: WORKERS }, async () => {
  for (let next = waiting.shift(); next; next = waiting.shift()) await run(next, true);
}));
const { discrepancies } = await ask(world, 'ledger');
assert.deepEqual(discrepancies, [], 'Cleeng and the gateways disagree');
for (const flow of chosen(ALONE)) await run(flow, false);

await browser.close();
hosts.close();
program.removeAllListeners('exit');
program.stdin.end();
const seconds = Math.round((Date.now() - started) / 1000);
console.log(`test result: ${failed ? 'FAILED' : 'ok'}. ${passed} passed; ${failed} failed; finished in ${seconds} s`);
process.exitCode = failed || !passed ? 1 : 0;
