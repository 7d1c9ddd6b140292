// A customer in a browser of their own: what they do in the SDK's pages, and what both ledgers have of them.
import assert from 'node:assert/strict';
import { ask, orders, prices, SHOP } from './hosts.mjs';

export const GOOD = '4111111111111111';
export const REDIRECTING = '4917610000000000';
const OFFER = { true: 'S619117184_US', false: 'P619117185_US' };

/** A customer with an order, in a browser of their own. */
export class Customer {
  constructor(browser, world, together) {
    Object.assign(this, { browser, world, together });
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
    // A click is lost while the SDK reads the details once more.
    const popup = this.page.getByTestId('payment-info__update-payment-details-popup');
    for (let tries = 0; tries < 5 && !(await popup.count()); tries += 1) {
      await this.page.locator('.msd__info-box').first().click();
      await popup.waitFor({ timeout: 3_000 }).catch(() => {});
    }
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
  async assertPaid() {
    const { payments, discrepancies } = await ask(this.world, 'ledger');
    const captured = payments.filter(({ order, status }) => String(order) === String(this.order) && status === 'Captured');
    assert.equal(captured.length, 1, JSON.stringify(payments));
    this.assertBalanced(discrepancies);
    return captured[0];
  }

  async assertUnpaid() {
    const { payments, discrepancies } = await ask(this.world, 'ledger');
    assert.deepEqual(payments.filter(({ order, status }) => String(order) === String(this.order) && status === 'Captured'), []);
    this.assertBalanced(discrepancies);
  }

  // What the sides disagree about is another customer's payment that is being made.
  assertBalanced(discrepancies) {
    if (!this.together) assert.deepEqual(discrepancies, []);
  }
}
