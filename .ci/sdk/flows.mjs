// The flows of Cleeng's SDK, each with what the customer sees, what the SDK tells its page, and what both ledgers have.
import assert from 'node:assert/strict';
import { ask, orders, prices, SHOP } from './hosts.mjs';

export const GOOD = '4111111111111111';
export const REDIRECTING = '4917610000000000';
const OFFER = { true: 'S619117184_US', false: 'P619117185_US' };
const SUCCESS = 'purchase-successful';

/** A customer with an order, in a browser of their own. */
export class Customer {
  constructor(browser, world, calls) {
    Object.assign(this, { browser, world, calls });
  }

  async come({ renews = true, price, settings = {} } = {}) {
    Object.assign(this, await ask(this.world, 'customer'));
    this.customer = Number(this.customer);
    if (price) prices.set(this.customer, price);
    this.settings = { token: this.token, offer: OFFER[renews], ...settings };
    this.context = await this.browser.newContext({ ignoreHTTPSErrors: true });
    await this.context.addInitScript((settings) => location.host === 'shop.example.com' && sessionStorage.setItem('settings', settings), JSON.stringify(this.settings));
    this.page = await this.open();
    return this;
  }

  /** Another tab. */
  async open() {
    const page = await this.context.newPage();
    page.setDefaultTimeout(Number(process.env.PATIENCE ?? 15_000));
    this.errors ??= [];
    page.on('pageerror', (error) => this.errors.push(String(error)));
    if (process.env.DEBUG) page.on('console', (message) => console.log(`console: ${message.text().slice(0, 300)}`));
    if (process.env.DEBUG) page.on('requestfailed', (request) => console.log('failed', request.url(), request.failure()?.errorText));
    return page;
  }

  async checkout(page = this.page) {
    await page.goto(`${SHOP}/offer`);
    await page.locator('.adyen-checkout__payment-method').first().waitFor();
    return page;
  }

  /** Types a card into Adyen's component. The holder's name is what Adyen's test platform decides by. */
  async enterCard(holder = 'Jane Doe', number = GOOD, page = this.page) {
    const field = (name) => page.frameLocator(`[data-cse="${name}"] iframe`).locator('#field');
    await field('encryptedCardNumber').waitFor();
    await page.locator('input[name="holderName"]').waitFor();
    await field('encryptedCardNumber').fill(number);
    await field('encryptedExpiryDate').fill('03/30');
    await field('encryptedSecurityCode').fill('737');
    await page.locator('input[name="holderName"]').fill(holder);
    const country = page.locator('.adyen-checkout__field--country input').first();
    if (await country.count()) {
      await country.click();
      await country.fill('United States');
      await page.locator('.adyen-checkout__dropdown__list--active li, .adyen-checkout__dropdown__list li').filter({ hasText: 'United States' }).first().click();
    }
    const postal = page.locator('input[name="postalCode"]');
    if (await postal.count()) await postal.fill('94107');
    // Leaving the field moves what is below it.
    if (await postal.count()) await postal.blur();
    // What is typed reaches the component by messages.
    await page.waitForFunction(() => document.querySelectorAll('.adyen-checkout__payment-method--selected .adyen-checkout__field--valid').length >= 5);
    for (const box of await page.locator('.adyen-checkout__bank-checkbox input[type="checkbox"]').all()) await box.check({ force: true });
  }

  async pay(page = this.page) {
    await page.locator('.adyen-checkout__button--pay').click();
  }

  /** Chooses PayPal and follows its button. */
  async payPal(page = this.page) {
    await page.getByText('PayPal', { exact: true }).first().click();
    await page.locator('.msd__custom-dropin--wrapper button').click();
  }

  /** The page with the payment details, where other ones are entered. */
  async account() {
    await this.page.goto(`${SHOP}/account`, { waitUntil: 'networkidle' });
    await this.page.locator('.msd__info-box').first().click();
    await this.page.locator('.adyen-checkout__payment-method').first().waitFor();
  }

  get order() {
    return orders.get(this.customer);
  }

  sees(text, page = this.page) {
    return page.getByText(text).first().waitFor();
  }

  events(page = this.page) {
    return page.evaluate(() => window.events);
  }

  async names(page = this.page) {
    return (await this.events(page)).map(({ name }) => name);
  }

  /** The order is paid once, at the gateway and in Cleeng, and the sides agree. */
  async assertPaid(gateway = 'adyen', total = 999) {
    const { payments, discrepancies } = await ask(this.world, 'ledger');
    const captured = payments.filter(({ order, status }) => String(order) === String(this.order) && status === 'Captured');
    assert.equal(captured.length, 1, JSON.stringify(payments));
    assert.deepEqual(discrepancies, []);
    return captured[0];
  }

  async assertUnpaid() {
    const { payments, discrepancies } = await ask(this.world, 'ledger');
    assert.deepEqual(payments.filter(({ order, status }) => String(order) === String(this.order) && status === 'Captured'), []);
    assert.deepEqual(discrepancies, []);
  }
}

/** Each flow: its name and what happens. `customer` makes a new one. */
export const FLOWS = {
  async 'card'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    assert.deepEqual(await c.names(), [SUCCESS]);
    const paid = await c.assertPaid();
    assert.ok(paid.hasDetails);
    const [{ detail }] = await c.events();
    assert.equal(detail.payment.externalPaymentId, paid.externalPaymentId);
    assert.equal(detail.payment.paymentMethod, 'card');
  },

  async 'card in production, with preflights of x-requested-by'(customer, { calls }) {
    const before = calls.length;
    const c = await customer({ settings: { environment: 'production' } });
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
    const made = calls.slice(before);
    assert.ok(made.every(({ host }) => host === 'mediastoreapi.cleeng.com'), JSON.stringify(made.map(({ host }) => host)));
    assert.ok(made.some(({ method, headers }) => method === 'OPTIONS' && headers['access-control-request-headers'].includes('x-requested-by')));
    assert.ok(made.some(({ method, headers }) => method === 'POST' && headers['x-requested-by'] === 'mediastore-sdk@5.26.0'));
  },

  async '3-D Secure'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard('Jane Doe', REDIRECTING);
    await c.pay();
    await c.page.locator('#agree').click();
    await c.sees('Thank You');
    assert.deepEqual(await c.names(), [SUCCESS]);
    await c.assertPaid();
  },

  async '3-D Secure, and a reload on the way back'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard('Jane Doe', REDIRECTING);
    await c.pay();
    const addresses = [];
    c.page.on('framenavigated', (frame) => addresses.push(frame.url()));
    await c.page.locator('#agree').click();
    await c.sees('Thank You');
    const address = addresses.find((address) => address.includes('redirectResult='));
    await c.page.goto(address);
    await c.sees('Thank You');
    await c.assertPaid();
  },

  async '3-D Secure cancelled'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard('Jane Doe', REDIRECTING);
    await c.pay();
    await c.page.locator('#cancel').click();
    await c.sees("We weren't able to process your payment.");
    assert.deepEqual(await c.names(), ['purchase-failed']);
    assert.match((await c.events())[0].detail.payload, /Payment Cancelled$/);
    await c.assertUnpaid();
  },

  async '3-D Secure refused, and another card'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard('NOT_ENOUGH_BALANCE', REDIRECTING);
    await c.pay();
    await c.page.locator('#agree').click();
    await c.sees('using a different payment method.');
    assert.deepEqual(await c.names(), ['purchase-failed']);
    await c.assertUnpaid();
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
  },

  async 'card refused, and another one'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard('NOT_ENOUGH_BALANCE');
    await c.pay();
    await c.sees('The payment has not been processed.');
    assert.deepEqual(await c.events(), [{ name: 'purchase-failed', detail: { reason: 'Payment Refused' } }]);
    await c.assertUnpaid();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
  },

  async 'double click'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard();
    await c.page.locator('.adyen-checkout__button--pay').dblclick();
    await c.sees('Thank You');
    await c.assertPaid();
  },

  async 'two tabs'(customer) {
    const c = await customer();
    await c.checkout();
    const other = await c.checkout(await c.open());
    await c.enterCard();
    await c.enterCard('Jane Doe', GOOD, other);
    await Promise.all([c.pay(), c.pay(other)]);
    await Promise.all([c.sees('Thank You'), c.sees('Thank You', other)]);
    await c.assertPaid();
  },

  async 'reload after paying'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
  },

  async 'pending: no success before it is known'(customer, { world }) {
    const c = await customer();
    await c.checkout();
    await c.enterCard('PENDING');
    await c.pay();
    await c.sees('The payment has not been processed.');
    assert.deepEqual(await c.names(), ['purchase-failed']);
    await c.assertUnpaid();
    await ask(world, 'process');
    await c.assertPaid();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
  },

  async 'pending after 3-D Secure: no white page'(customer, { world }) {
    const c = await customer();
    await c.checkout();
    await c.enterCard('PENDING', REDIRECTING);
    await c.pay();
    await c.page.locator('#agree').click();
    await c.sees("We weren't able to process your payment.");
    assert.deepEqual(await c.names(), ['purchase-failed']);
    await ask(world, 'process');
    await c.assertPaid();
  },

  async 'an order of another customer, and one that is lost'(customer) {
    const owner = await customer();
    await owner.checkout();
    const c = await customer();
    await c.checkout();
    for (const order of [owner.order, '999999999']) {
      await c.page.evaluate((order) => {
        for (const name of Object.keys(localStorage)) if (name.includes('ORDER_ID')) localStorage.setItem(name, order);
      }, String(order));
      await c.enterCard();
      await c.pay();
      await c.sees('The payment has not been processed.');
    }
    assert.deepEqual(new Set(await c.names()), new Set(['purchase-failed']));
    await owner.assertUnpaid();
    await c.assertUnpaid();
  },

  async 'a token that is not taken'(customer) {
    const c = await customer();
    await c.checkout();
    await c.enterCard();
    await c.page.evaluate(() => {
      const name = Object.keys(localStorage).find((name) => name.includes('AUTH_TOKEN'));
      localStorage.setItem(name, localStorage.getItem(name).replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')).replace(/\.[^.]*$/, '.x'));
    });
    await c.pay();
    await c.sees('The payment has not been processed.');
    assert.equal((await c.events())[0].detail.reason, 'Please log in and try again.');
    await c.assertUnpaid();
  },

  async 'no token'(customer) {
    const c = await customer({ settings: { token: undefined } });
    await c.page.goto(`${SHOP}/offer`);
    await c.sees('Logged out');
  },

  async 'PayPal'(customer) {
    const c = await customer();
    await c.checkout();
    await c.payPal();
    await c.page.locator('#agree').click();
    await c.sees('The page of the shop after PayPal.');
    const paid = await c.assertPaid();
    assert.deepEqual(await c.events(), [{ name: SUCCESS, detail: { payment: { externalPaymentId: paid.externalPaymentId } } }]);
  },

  async 'PayPal cancelled, then paid'(customer) {
    const c = await customer();
    await c.checkout();
    await c.payPal();
    await c.page.locator('#cancel').click();
    await c.page.waitForURL('**/offer?cancelled=1');
    assert.deepEqual(await c.names(), []);
    await c.assertUnpaid();
    await c.checkout();
    await c.payPal();
    await c.page.locator('#agree').click();
    await c.sees('The page of the shop after PayPal.');
    await c.assertPaid();
  },

  async 'PayPal without an answer: neither success nor failure'(customer, { world }) {
    const c = await customer();
    await c.checkout();
    await c.payPal();
    await ask(world, 'lose-next-answer', { gateway: 'paypal', path: '/capture' });
    await c.page.locator('#agree').click();
    await c.page.waitForURL('**/offer?status=pending');
    await c.page.locator('.adyen-checkout__payment-method').first().waitFor();
    assert.equal(await c.page.getByText('Your payment was not processed').count(), 0);
    assert.deepEqual(await c.names(), []);
  },

  async 'trial: a card is stored and nothing charged'(customer) {
    const c = await customer({ price: { total: 0, needsDetails: true } });
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    assert.deepEqual(await c.names(), [SUCCESS]);
    const { kept } = await ask(c.world, 'ledger');
    await c.assertPaid();
    assert.equal((await ask(c.world, 'ledger')).kept.adyen, kept.adyen);
  },

  async 'coupon: the order\'s amount is charged'(customer) {
    const before = (await ask((await customer()).world, 'ledger')).kept.adyen;
    const c = await customer({ price: { total: 500, needsDetails: true } });
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
    assert.equal((await ask(c.world, 'ledger')).kept.adyen - before, 500);
  },

  async 'details: another card'(customer, { world }) {
    const c = await customer();
    await c.account();
    await c.enterCard();
    await c.pay();
    await c.sees('Your payment details have been updated');
    assert.deepEqual(await c.names(), ['update-payment-details-successful']);
    const details = await ask(world, 'details', { customer: c.customer });
    assert.deepEqual(details.map(({ method, active }) => [String(method), active]), [['123123123', true]]);
  },

  async 'details: a card with 3-D Secure'(customer, { world }) {
    const c = await customer();
    await c.account();
    await c.enterCard('Jane Doe', REDIRECTING);
    await c.pay();
    await c.page.locator('#agree').click();
    await c.sees('Your payment details have been updated');
    assert.equal((await ask(world, 'details', { customer: c.customer })).length, 1);
  },

  async 'details: a card that is refused'(customer, { world }) {
    const c = await customer();
    await c.account();
    await c.enterCard('NOT_ENOUGH_BALANCE');
    await c.pay();
    await c.sees('update your payment method');
    assert.deepEqual(await c.names(), ['update-payment-details-failed']);
    assert.deepEqual(await ask(world, 'details', { customer: c.customer }), []);
  },

  async 'details: PayPal'(customer, { world }) {
    const c = await customer();
    await c.account();
    await c.payPal();
    await c.page.locator('#agree').click();
    await c.page.waitForURL(`${SHOP}/account`);
    const details = await ask(world, 'details', { customer: c.customer });
    assert.deepEqual(details.map(({ method, active }) => [String(method), active]), [['125125125', true]]);
  },

  async 'details: PayPal without an answer: not to /undefined'(customer, { world }) {
    const c = await customer();
    await c.account();
    await ask(world, 'lose-next-answer', { gateway: 'paypal', path: '/setup-tokens' });
    await c.payPal();
    await c.sees('update your payment details');
    assert.equal(c.page.url(), `${SHOP}/account`);
  },

  // The last: time passes for everybody.
  async 'an order that has expired'(customer, { world }) {
    const c = await customer();
    await c.checkout();
    await ask(world, 'advance', { seconds: 26 * 3600 });
    const token = await ask(world, 'token', { customer: c.customer, seconds: 3600 });
    await c.page.evaluate((token) => {
      for (const name of Object.keys(localStorage)) if (name.includes('AUTH_TOKEN')) localStorage.setItem(name, token);
    }, token);
    await c.enterCard();
    await c.pay();
    await c.sees('The payment has not been processed.');
    assert.equal((await c.events())[0].detail.reason, 'This order can no longer be paid. Please start again.');
    await c.assertUnpaid();
  },
};
