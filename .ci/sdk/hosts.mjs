// Every host that the SDK's page meets, on one port with TLS: the shop, Cleeng's MediaStore with the connector behind the same name, Adyen's
// and PayPal's pages. What decides anything is asked from the world; only what is shown is made up here.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';

export const SHOP = 'https://shop.example.com';
const METHODS = [
  { id: 123123123, methodName: 'card', paymentGateway: 'adyen', logoUrl: '' },
  { id: 125125125, methodName: 'paypal', paymentGateway: 'paypal', logoUrl: '' },
];
/** The order of each customer, and what a coupon or a trial makes of its price. */
export const orders = new Map();
export const prices = new Map();
const folder = new URL('.', import.meta.url).pathname;
const file = (name) => readFileSync(join(folder, name), 'utf8');

/** Asks the world. */
export async function ask(world, question, body = {}) {
  const answer = await fetch(`${world.world}/${question}`, { method: 'POST', body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${question} is not understood: ${JSON.stringify(body)}`);
  return answer.json();
}

const read = async (request) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
};

const page = (title, body) => `<!doctype html><meta charset="utf-8"><title>${title}</title>${body}`;
const html = (response, text) => response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(text);
const json = (response, status, value, headers = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));

/** What a proxy in front of both does: `/connectors/` goes to the connector, as it came, and all the rest to MediaStore. */
function forward(target, request, response, body, told) {
  const { hostname, port } = new URL(target);
  const headers = { ...request.headers, host: `${hostname}:${port}` };
  const onward = http.request({ hostname, port, method: request.method, path: request.url, headers }, (answer) => {
    // The world's account is one for tests, whose client key Adyen's component does not take in production.
    const production = request.headers.host === 'mediastoreapi.cleeng.com' && request.url.endsWith('/payment-methods');
    read(answer).then((text) => {
      told(`${answer.statusCode} ${text}`);
      const shown = production ? text.toString().replace('"test_', '"live_') : text;
      const { 'content-length': _, ...headers } = answer.headers;
      response.writeHead(answer.statusCode, headers).end(shown);
    });
  });
  onward.on('error', () => response.writeHead(502).end());
  onward.end(body);
}

/** An order with everything that is only shown. */
const dressed = (order) => ({
  ...order,
  priceBreakdown: { offerPrice: order.totalPrice, discountAmount: 0, discountedPrice: order.totalPrice, taxValue: 0, customerServiceFee: 0, paymentMethodFee: 0 },
  discount: order.totalPrice === 0 ? { applied: true, type: 'trial', periods: 1 } : { applied: false, type: '', periods: 0 },
  taxRate: 0, taxBreakdown: null, couponId: null, buyAsAGift: false, currencySymbol: '$', offer: { title: 'Everything', price: order.totalPrice, currency: 'USD' },
  id: Number(order.id), paymentMethodId: Number(order.paymentMethodId), customerId: Number(order.customerId),
});

async function mediastore(world, request, response, body) {
  const cors = {
    'access-control-allow-origin': request.headers.origin ?? '*',
    'access-control-allow-headers': 'authorization,content-type,x-requested-by',
    'access-control-allow-methods': 'GET,POST,PATCH,PUT,DELETE',
  };
  if (request.method === 'OPTIONS') return response.writeHead(204, cors).end();
  const say = (responseData, status = 200, errors = []) => json(response, status, { responseData, errors, code: null }, cors);
  const path = new URL(request.url, 'https://any').pathname;
  const upstream = async (at) => {
    const answer = await fetch(`${world.mediastore}${at}`, { headers: { authorization: request.headers.authorization } });
    return [answer.status, await answer.json()];
  };
  const order = async (id) => {
    const [status, told] = await upstream(`/orders/${id}`);
    if (status !== 200) return say({}, status, told.errors);
    return say({ order: dressed(told.responseData.order), message: '', success: true, ...dressed(told.responseData.order) });
  };
  const [, first, id, third] = path.split('/');
  const offer = {
    accessGranted: false, offerId: id, offerTitle: 'Everything', offerDescription: '', offerPrice: 9.99, offerCurrency: 'USD',
    offerCurrencySymbol: '$', customerPriceInclTax: 9.99, customerPriceExclTax: 9.99, customerCurrency: 'USD', customerCurrencySymbol: '$',
    period: 'month', freePeriods: 0, freeDays: 0, giftable: false, active: true, title: 'Everything', price: { amount: 9.99, currency: 'USD', taxBehavior: 'inclusive' },
    criteria: {}, billingCycle: { periodUnit: 'month', amount: 1 }, customerPrices: [{ amount: 9.99, currency: 'USD' }],
  };
  if (first === 'payment-methods') return say({ message: '', paymentMethods: METHODS, status: 1 });
  if (first === 'offers' || first === 'v2') return say({ ...offer, offerId: first === 'v2' ? third : id });
  if (first === 'orders' && request.method === 'POST') {
    const { customerId, offerId } = JSON.parse(body);
    const made = await ask(world, 'order', { customer: customerId, renews: offerId.startsWith('S'), method: 'adyen' });
    orders.set(Number(customerId), made);
    const price = prices.get(Number(customerId));
    if (price) await ask(world, 'price', { order: made, ...price });
    return order(made);
  }
  if (first === 'orders' && request.method === 'PATCH') {
    const gateway = METHODS.find((method) => method.id === JSON.parse(body).paymentMethodId)?.paymentGateway;
    if (gateway) await ask(world, 'choose-method', { order: id, method: gateway });
    return order(id);
  }
  if (first === 'orders' && id) return order(id);
  if (first === 'customers' && third === 'payment_details') {
    const details = await ask(world, 'details', { customer: id });
    return say({ paymentDetails: details.map(({ method, active, shown }, number) => ({
      id: number + 1, customerId: Number(id), active, bound: true, paymentMethodSpecificParams: shown ?? {},
      ...(String(method) === '125125125' ? { paymentMethod: 'paypal', paymentGateway: 'paypal' } : { paymentMethod: 'card', paymentGateway: 'adyen' }),
    })) });
  }
  if (first === 'customers' && !third) return say({ id: Number(id), email: 'customer@example.com', country: 'US', currency: 'USD' });
  if (first === 'customers') return say({ items: [], consents: [], transactions: [], shouldCaptureBeDisplayed: false, settings: [] });
  if (process.env.DEBUG) console.log('not played', request.method, request.url);
  return say({}, 404, ['Not found']);
}

/** A page of a bank or a wallet: the customer agrees or cancels, and the world says where they go. */
async function bank(world, gateway, request, response) {
  const url = new URL(request.url, `https://${request.headers.host}`);
  const agrees = url.searchParams.get('agrees');
  if (agrees === null) {
    const at = (choice) => `${url.pathname}${url.search}&agrees=${choice}`;
    return html(response, page(gateway, `<a id="agree" href="${at(true)}">Agree</a> <a id="cancel" href="${at(false)}">Cancel</a>`));
  }
  url.searchParams.delete('agrees');
  const location = await ask(world, 'leave-page', { gateway, page: url.href, agrees: agrees === 'true' });
  return response.writeHead(303, { location }).end();
}

async function adyen(world, request, response) {
  const { pathname } = new URL(request.url, 'https://any');
  const cors = { 'access-control-allow-origin': request.headers.origin ?? '*', 'access-control-allow-headers': '*' };
  if (request.method === 'OPTIONS') return response.writeHead(204, cors).end();
  if (pathname.endsWith('/securedFields.html')) return html(response, file('secured_field.html'));
  if (pathname.endsWith('/threeDS/redirect')) return bank(world, 'adyen', request, response);
  if (pathname.includes('/datasets/countries/')) return json(response, 200, [{ id: 'US', name: 'United States' }, { id: 'NL', name: 'Netherlands' }], cors);
  // Analytics, images and dictionaries decide nothing.
  return json(response, 200, { id: 'attempt' }, cors);
}

/** Serves every host. `calls` has each call of a page to the connector. */
export async function serve(world) {
  const calls = [];
  const work = mkdtempSync(join(tmpdir(), 'sdk-'));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=shop.example.com', '-keyout', `${work}/key.pem`, '-out', `${work}/cert.pem`], { stdio: 'ignore' });
  const built = buildSync({
    entryPoints: [join(folder, 'page.jsx')], bundle: true, write: false, outdir: 'page', format: 'esm', splitting: false, jsx: 'automatic', target: 'chrome120',
    define: { 'process.env.NODE_ENV': '"production"' }, logLevel: 'error',
  });
  const [script, style] = ['js', 'css'].map((kind) => built.outputFiles.find(({ path }) => path.endsWith(`.${kind}`)).contents);
  const shop = page('Shop', '<link rel="stylesheet" href="/page.css"><div id="page"></div><script type="module" src="/page.js"></script>');
  const handle = async (request, response) => {
    const body = await read(request);
    const host = request.headers.host;
    if (host.startsWith('mediastoreapi')) {
      if (!request.url.startsWith('/connectors/')) return mediastore(world, request, response, body);
      const call = { method: request.method, path: request.url, host, headers: request.headers };
      calls.push(call);
      return forward(world.connector, request, response, body, (answer) => Object.assign(call, { answer }));
    }
    if (host.endsWith('.adyen.com')) return adyen(world, request, response);
    // Without its script the SDK breaks when Adyen's component is shown again.
    if (host === 'pay.google.com') return response.writeHead(200, { 'content-type': 'text/javascript' }).end();
    if (host.endsWith('paypal.com')) return bank(world, 'paypal', request, response);
    if (host !== new URL(SHOP).host) return response.writeHead(404).end();
    if (request.url === '/page.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    if (request.url === '/page.css') return response.writeHead(200, { 'content-type': 'text/css' }).end(style);
    return html(response, shop);
  };
  const server = https.createServer({ key: readFileSync(`${work}/key.pem`), cert: readFileSync(`${work}/cert.pem`) }, (request, response) => {
    handle(request, response).catch((error) => response.writeHead(500).end(String(error)));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { port: server.address().port, calls, close: () => server.close() };
}
