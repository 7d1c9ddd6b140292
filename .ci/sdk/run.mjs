// Runs Cleeng's SDK, unmodified, in Chromium against the local world: `node .ci/sdk/run.mjs WORLD [FLOW ...]`, where WORLD is the binary
// `browser-world`. `./test` builds it and calls this. Ends with 1 if a flow fails.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { Customer, FLOWS } from './flows.mjs';
import { serve } from './hosts.mjs';

const [binary, ...wanted] = process.argv.slice(2);
const started = Date.now();
const names = Object.keys(FLOWS).filter((name) => !wanted.length || wanted.includes(name));
const process_ = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] });
const world = await new Promise((done, failed) => {
  process_.on('error', failed).on('exit', () => failed(new Error('the world ended')));
  createInterface(process_.stdout).once('line', (line) => done(JSON.parse(line)));
});
const calls = [];
const hosts = await serve(world, calls);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', `--host-resolver-rules=MAP * 127.0.0.1:${hosts.port}, EXCLUDE 127.0.0.1`,
  ],
});
let failed = 0;
for (const name of names) {
  const since = Date.now();
  const customers = [];
  const customer = async (options) => {
    const one = new Customer(browser, world, calls);
    customers.push(one);
    return one.come(options);
  };
  let verdict = 'ok';
  try {
    await FLOWS[name](customer, { world, calls });
  } catch (error) {
    verdict = 'FAILED';
    failed += 1;
    console.log(error.stack);
    for (const one of customers) {
      for (const page of one.context?.pages() ?? []) {
        console.log(`${page.url()}\n${(await page.locator('body').innerText().catch(String)).slice(0, 600)}`);
        if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name.replaceAll(' ', '-')}.png` }).catch(() => {});
      }
      if (one.errors?.length) console.log(one.errors.join('\n'));
    }
    console.log(calls.slice(-6).map(({ method, path, answer }) => `${method} ${path} ${answer}`).join('\n'));
  }
  for (const one of customers) await one.context?.close();
  console.log(`${verdict.padEnd(7)}${String(Date.now() - since).padStart(6)} ms  ${name}`);
}
await browser.close();
hosts.close();
process_.removeAllListeners('exit');
process_.stdin.end();
console.log(`test result: ${failed ? 'FAILED' : 'ok'}. ${names.length - failed} passed; ${failed} failed; in ${Math.round((Date.now() - started) / 1000)} s`);
process.exitCode = failed || !names.length ? 1 : 0;
