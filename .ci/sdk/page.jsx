// A page of a shop as the README of Cleeng's SDK makes one. The address says what it shows, and for whom.
import { createElement as h } from 'react';
import { createRoot } from 'react-dom/client';
import { Provider } from 'react-redux';
import '@adyen/adyen-web/dist/adyen.css';
import 'react-loading-skeleton/dist/skeleton.css';
import { Auth, Config, PaymentInfo, Purchase, ThankYouPage, store } from '@cleeng/mediastore-sdk';

const settings = JSON.parse(sessionStorage.getItem('settings') ?? '{}');
window.events = JSON.parse(sessionStorage.getItem('events') ?? '[]');
for (const name of ['purchase-successful', 'purchase-failed', 'update-payment-details-successful', 'update-payment-details-failed']) {
  window.addEventListener(`MSSDK:${name}`, ({ detail }) => {
    window.events.push({ name, detail });
    sessionStorage.setItem('events', JSON.stringify(window.events));
  });
}
Config.setEnvironment(settings.environment ?? 'sandbox');
Config.setPublisher('558186818');
if (settings.token) {
  Config.setJWT(settings.token);
  Config.setRefreshToken('a refresh token');
}
const here = `${location.origin}/`;
Config.setCheckoutPayPalUrls({ successUrl: `${here}thankyou`, cancelUrl: `${here}offer?cancelled=1`, errorUrl: `${here}offer` });
Config.setMyAccountPayPalUrls({ successUrl: `${here}account`, cancelUrl: `${here}account?cancelled=1`, errorUrl: `${here}account` });
if (settings.redirects) Config.setEnable3DSRedirectFlow();
const shown = {
  '/offer': () => h(Purchase, { offerId: settings.offer, onSuccess: () => setTimeout(() => show(h(ThankYouPage))) }),
  '/account': () => h(PaymentInfo, {}),
  '/thankyou': () => h('p', {}, 'The page of the shop after PayPal.'),
}[location.pathname];
const root = createRoot(document.getElementById('page'));
const show = (element) => root.render(h(Provider, { store }, element));
if (shown) show(Auth.isLogged() ? shown() : h('p', {}, 'Logged out'));
