// The flows of Cleeng's SDK, each with what the customer sees, what the SDK tells its page, and what both ledgers have.
import assert from 'node:assert/strict';
import { GOOD, REDIRECTING } from './customer.mjs';
import { ask, SHOP } from './hosts.mjs';

const SUCCESS = 'purchase-successful';

/** Each flow: its name and what happens. `customer` makes a new one. */
export const TOGETHER = {
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
    const c = await customer({ settings: { environment: 'production' } });
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
    const made = calls.filter(({ host }) => host === 'mediastoreapi.cleeng.com');
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

  async 'an order of another customer, and one that is lost'(customer) {
    const owner = await customer();
    await owner.checkout();
    for (const order of [owner.order, '999999999']) {
      const c = await customer();
      await c.checkout();
      await c.enterCard();
      await c.page.evaluate((order) => {
        for (const name of Object.keys(localStorage)) if (name.includes('ORDER_ID')) localStorage.setItem(name, order);
      }, String(order));
      await c.pay();
      await c.sees('The payment has not been processed.');
      assert.deepEqual(await c.names(), ['purchase-failed']);
      await c.assertUnpaid();
    }
    await owner.assertUnpaid();
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

  async 'trial: a card is stored and nothing charged'(customer) {
    const c = await customer({ price: { total: 0, needsDetails: true } });
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    assert.deepEqual(await c.names(), [SUCCESS]);
    assert.equal((await c.assertPaid()).total, 0);
  },

  async 'coupon: the order\'s amount is charged'(customer) {
    const c = await customer({ price: { total: 500, needsDetails: true } });
    await c.checkout();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    assert.equal((await c.assertPaid()).total, 500);
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
};

/** Flows that change the world for everybody, one after the other. */
export const ALONE = {
  async 'pending: no success before it is known'(customer, { world }) {
    const c = await customer({ renews: false });
    await c.checkout();
    await c.enterCard('PENDING');
    await c.pay();
    await c.sees('The payment has not been processed.');
    assert.deepEqual(await c.names(), ['purchase-failed']);
    await ask(world, 'process');
    await c.assertPaid();
    await c.enterCard();
    await c.pay();
    await c.sees('Thank You');
    await c.assertPaid();
  },

  async 'pending after 3-D Secure: no white page'(customer, { world }) {
    const c = await customer({ renews: false });
    await c.checkout();
    await c.enterCard('PENDING', REDIRECTING);
    await c.pay();
    await c.page.locator('#agree').click();
    await c.sees("We weren't able to process your payment.");
    assert.deepEqual(await c.names(), ['purchase-failed']);
    await ask(world, 'process');
    await c.assertPaid();
  },

  async 'PayPal refused, then paid'(customer, { world }) {
    const c = await customer();
    await c.checkout();
    // The order that the page makes now is the one that is refused.
    await ask(world, 'decline-next', { gateway: 'paypal' });
    await c.payPal();
    await c.page.locator('#agree').click();
    await c.page.waitForURL('**/offer?message=refused&code=PAYPAL0002');
    await c.sees('Your payment was not processed.');
    await c.assertUnpaid();
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
    await ask(world, 'process');
    await c.assertPaid();
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
