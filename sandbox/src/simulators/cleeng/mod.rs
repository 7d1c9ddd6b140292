//! Cleeng's Core API, its dunning clock and its signed webhooks, simulated.
//!
//! The simulator has a database, checks every rule of the contract that Cleeng's reference states, and lists each one that is broken
//! ([`CleengSimulator::violations`]), so that a wrong connector fails here. Ids change their JSON type from one answer to the next, as
//! Cleeng's do. It must never repair what the connector did wrong.

mod database;
mod due;
mod dunning;
mod events;
mod mediastore;
mod orders;
mod payment_details;
mod payments;
mod request_context;
mod router;
mod scenarios;
mod subscriptions;
mod webhook_subscriptions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector::cleeng::SubscriptionStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, Timestamp};
use connector::http::Method;
use connector::ids::{CustomerId, ExternalPaymentId, OfferId, PaymentDetailsId, PaymentMethodId, PublisherId, SubscriptionId};
use connector::money::Money;
use database::Database;
pub use database::{
    CustomerRow, Cycle, DetailsRow, DunningSettings, MethodRow, OfferRow, OrderRow, PaymentRow, Refund, SubscriptionRow, TransactionRow,
    Unit, Violation,
};
pub use due::DueRenewal;
pub use events::{SentWebhook, sign};
use request_context::RequestContext;
pub use request_context::{Quirks, Wrapper};
pub use router::refusal;
pub use scenarios::{OperatorRefund, PaidPurchase};
use serde_json::{Value, json};

use crate::simulators::network::ServerRequest;
use crate::simulators::virtual_clock::VirtualClock;

/// Who the publisher is, and what is shared with the connector.
#[derive(Clone)]
pub struct PublisherAccount {
    /// The publisher's id.
    pub id: PublisherId,
    /// The publisher token that the API accepts.
    pub token: String,
    /// The secret that signs webhooks.
    pub webhook_secret: String,
}

/// The ids of a subscriber that was made by [`CleengSimulator::new_subscriber`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberIds {
    /// The customer.
    pub customer: CustomerId,
    /// The customer's payment details.
    pub details: PaymentDetailsId,
    /// The subscription.
    pub subscription: SubscriptionId,
}

struct State {
    publisher: PublisherAccount,
    database: Database,
    quirks: Quirks,
    response_count: u64,
}

/// Cleeng. Clones are the same one.
#[derive(Clone)]
pub struct CleengSimulator {
    clock: VirtualClock,
    state: Arc<Mutex<State>>,
}

impl CleengSimulator {
    /// A Cleeng without customers.
    #[must_use]
    pub fn new(publisher: PublisherAccount, clock: VirtualClock) -> Self {
        let mut database = Database::default();
        database.publisher = Some(publisher.id.clone());
        let state = State { publisher, database, quirks: Quirks::default(), response_count: 0 };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Changes how it does what Cleeng's documents leave open.
    pub fn change_quirks(&self, change: impl FnOnce(&mut Quirks)) {
        change(&mut self.lock().quirks);
    }

    /// Accepts another publisher token from now on, and the old one no more.
    pub fn rotate_token(&self, token: &str) {
        token.clone_into(&mut self.lock().publisher.token);
    }

    /// Signs with another secret from now on: Cleeng drops the old one at once.
    pub fn rotate_webhook_secret(&self, secret: &str) {
        secret.clone_into(&mut self.lock().publisher.webhook_secret);
    }

    /// Adds a payment method with its dunning.
    pub fn add_method(&self, id: PaymentMethodId, gateway: &str, dunning: DunningSettings) {
        self.lock().database.methods.insert(id, MethodRow { gateway: gateway.to_owned(), dunning });
    }

    /// Adds an offer.
    pub fn add_offer(&self, id: OfferId, price: Money, cycle: Cycle) {
        self.lock().database.offers.insert(id, OfferRow { price, cycle });
    }

    /// Adds a customer with active payment details under this gateway token and a subscription whose paid period ends at `due`. `None`
    /// if the offer is not known.
    #[must_use]
    pub fn new_subscriber(&self, offer: &OfferId, method: &PaymentMethodId, token: &str, due: Timestamp) -> Option<SubscriberIds> {
        let subscriber = {
            let database = &mut self.lock().database;
            SubscriberIds { customer: database.fresh()?, details: database.fresh()?, subscription: database.fresh()? }
        };
        self.insert_subscriber(subscriber.clone(), offer, method, token, due).then_some(subscriber)
    }

    /// The same with ids of the caller's choice, such as those of the sample events. Returns whether the offer is known.
    pub fn insert_subscriber(
        &self,
        subscriber: SubscriberIds,
        offer: &OfferId,
        method: &PaymentMethodId,
        token: &str,
        due: Timestamp,
    ) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let database = &mut state.database;
        let Some(cycle) = database.offers.get(offer).map(|offer| offer.cycle) else { return false };
        let SubscriberIds { customer, details, subscription } = subscriber;
        let email = format!("customer-{customer}@example.com");
        database.customers.insert(customer.clone(), CustomerRow { email, country: "US".to_owned() });
        let shown = json!({ "variant": "visa", "lastCardFourDigits": "1111", "holderName": "J D", "cardExpirationDate": "03/2030" });
        let record =
            DetailsRow { customer: customer.clone(), method: method.clone(), token: token.to_owned(), display_params: shown, active: true };
        database.insert_details(&details, record);
        let record = SubscriptionRow {
            id: subscription.clone(),
            customer,
            offer: offer.clone(),
            pending_switch: None,
            method: method.clone(),
            details: Some(details),
            status: SubscriptionStatus::Active,
            date_from: now,
            date_to: due,
            cycle,
            latest_payment: None,
            completed: 0,
            terminated_as: None,
        };
        database.subscriptions.insert(subscription, record);
        true
    }

    /// The customer gets new active details, as after a change in "my account": renewals use them, the old ones are announced as
    /// deactivated. `None` if the customer is not known.
    #[must_use]
    pub fn change_details(&self, subscriber: &SubscriberIds, method: &PaymentMethodId, token: &str) -> Option<PaymentDetailsId> {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { database, quirks, .. } = &mut *state;
        database.customers.get(&subscriber.customer)?;
        let (customer, method) = (subscriber.customer.clone(), method.clone());
        let record = DetailsRow { customer, method, token: token.to_owned(), display_params: Value::Null, active: true };
        let request = ServerRequest {
            method: Method::POST,
            path: String::new(),
            query: Vec::new(),
            headers: connector::http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        RequestContext { database, quirks, now, request: &request, ids_as_numbers: true }.add_details(record).ok()
    }

    /// Sets the status of a subscription, as the customer or the publisher would.
    pub fn set_status(&self, id: &SubscriptionId, status: SubscriptionStatus) {
        if let Some(subscription) = self.lock().database.subscriptions.get_mut(id) {
            subscription.status = status;
        }
    }

    /// Changes the price of an offer, as the publisher would: orders that exist keep theirs.
    pub fn set_price(&self, id: &OfferId, price: Money) {
        if let Some(offer) = self.lock().database.offers.get_mut(id) {
            offer.price = price;
        }
    }

    /// Moves the end of what is paid, as the publisher would.
    pub fn extend_paid_period(&self, id: &SubscriptionId, until: Timestamp) {
        if let Some(subscription) = self.lock().database.subscriptions.get_mut(id) {
            subscription.date_to = until;
        }
    }

    /// A payment that this connector knows nothing of pays a subscription until then.
    pub fn record_foreign_payment(&self, id: &SubscriptionId, external: &ExternalPaymentId, until: Timestamp) {
        if let Some(subscription) = self.lock().database.subscriptions.get_mut(id) {
            subscription.date_to = until;
            subscription.latest_payment = Some(external.clone());
        }
    }

    /// The webhooks that are due at the clock's time and were not sent yet, in order of time, signed. They count as sent.
    #[must_use]
    pub fn due_webhooks(&self) -> Vec<SentWebhook> {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { publisher, database, .. } = &mut *state;
        let mut due: Vec<SentWebhook> = Vec::new();
        for (at, topic, data) in std::mem::take(&mut database.outbox) {
            due.push(events::signed_webhook(&publisher.id, &publisher.webhook_secret, topic, &data, at));
        }
        for planned in dunning::planned_events(database).into_iter().filter(|planned| planned.at <= now) {
            database.sent.insert(planned.key());
            let data = events::billing_data(database, planned.topic, &planned.subscription, planned.at, planned.expiration);
            if let Some(data) = data {
                due.push(events::signed_webhook(&publisher.id, &publisher.webhook_secret, planned.topic, &data, planned.at));
            }
        }
        due.sort_by_key(|webhook| webhook.at);
        due
    }

    /// When the next webhook is due as things stand; in the past if one waits to be fetched.
    #[must_use]
    pub fn next_webhook_due(&self) -> Option<Timestamp> {
        let state = self.lock();
        let outbox = state.database.outbox.iter().map(|(at, ..)| *at);
        outbox.chain(dunning::planned_events(&state.database).into_iter().map(|planned| planned.at)).min()
    }

    /// A signed billing or termination event with dates of the caller's choice, as the dunning clock would write it: for redeliveries,
    /// stale and early events. `None` if the subscription or its details are not known.
    #[must_use]
    pub fn billing_event(
        &self,
        topic: Topic,
        subscription: &SubscriptionId,
        attempt: Timestamp,
        expiration: Timestamp,
    ) -> Option<SentWebhook> {
        let state = self.lock();
        let data = events::billing_data(&state.database, topic, subscription, attempt, expiration)?;
        Some(events::signed_webhook(&state.publisher.id, &state.publisher.webhook_secret, topic, &data, attempt))
    }

    /// A signed event with any data.
    #[must_use]
    pub fn event(&self, topic: Topic, data: &Value) -> SentWebhook {
        let state = self.lock();
        events::signed_webhook(&state.publisher.id, &state.publisher.webhook_secret, topic, data, self.clock.now())
    }

    /// The webhook endpoints of a topic, with the secrets that Cleeng never shows again.
    #[must_use]
    pub fn webhook_endpoints(&self, topic: &str) -> Vec<Value> {
        self.lock().database.webhooks.get(topic).cloned().unwrap_or_default()
    }

    /// Sets the webhook endpoints of a topic, as somebody else would.
    pub fn set_webhook_endpoints(&self, topic: &str, endpoints: Vec<Value>) {
        self.lock().database.webhooks.insert(topic.to_owned(), endpoints);
    }

    /// All payments, in the order in which they came to be.
    #[must_use]
    pub fn payments(&self) -> Vec<PaymentRow> {
        self.lock().database.payments.values().cloned().collect()
    }

    /// A subscription.
    #[must_use]
    pub fn subscription(&self, id: &SubscriptionId) -> Option<SubscriptionRow> {
        self.lock().database.subscriptions.get(id).cloned()
    }

    /// All subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<SubscriptionRow> {
        self.lock().database.subscriptions.values().cloned().collect()
    }

    /// All orders, in the order in which they came to be.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderRow> {
        self.lock().database.orders.values().cloned().collect()
    }

    /// Payment details.
    #[must_use]
    pub fn details(&self, id: &PaymentDetailsId) -> Option<DetailsRow> {
        self.lock().database.details.get(id).cloned()
    }

    /// All payment details of a customer, in the order in which they came to be.
    #[must_use]
    pub fn details_of(&self, customer: &CustomerId) -> Vec<DetailsRow> {
        self.lock().database.details.values().filter(|details| details.customer == *customer).cloned().collect()
    }

    /// The money that Cleeng has booked.
    #[must_use]
    pub fn transactions(&self) -> Vec<TransactionRow> {
        self.lock().database.transactions.clone()
    }

    /// The rules that were broken.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().database.violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
