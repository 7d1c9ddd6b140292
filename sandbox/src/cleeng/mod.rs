//! Cleeng's Core API, its dunning clock and its signed webhooks, simulated.
//!
//! The simulator keeps books, checks every rule of the contract that Cleeng's reference states, and lists each one that is broken
//! ([`CleengSimulator::violations`]), so that a wrong connector fails here. Ids change their JSON type from one answer to the next, as
//! Cleeng's do. It must never repair what the connector did wrong.

mod books;
mod desk;
mod details;
mod dunning;
mod events;
mod mediastore;
mod orders;
mod payments;
mod staging;
mod subscriptions;
mod webhooks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use books::Books;
pub use books::{
    CustomerRecord, Cycle, DetailsRecord, DunningSettings, MethodRecord, OfferRecord, OrderRecord, PaymentRecord, Refund,
    SubscriptionRecord, Transaction, Unit, Violation,
};
use connector::cleeng::SubscriptionStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, Timestamp};
use connector::http::Method;
use connector::ids::{
    CustomerId, ExternalPaymentId, Id, NotAnId, OfferId, OrderId, PaymentDetailsId, PaymentId, PaymentMethodId, PublisherId, SubscriptionId,
};
use connector::money::Money;
use desk::{Desk, No, Served};
pub use desk::{Quirks, Wrapper};
pub use events::{SentWebhook, sign};
use serde_json::{Value, json};
pub use staging::{Purchase, RefundRequest};

use crate::clock::VirtualClock;
use crate::peer::{Peer, PeerAnswer, PeerRequest};

/// Who the publisher is, and what is shared with the connector.
#[derive(Clone)]
pub struct Publisher {
    /// The publisher's id.
    pub id: PublisherId,
    /// The publisher token that the API accepts.
    pub token: String,
    /// The secret that signs webhooks.
    pub webhook_secret: String,
}

/// A subscriber who came to be by [`CleengSimulator::new_subscriber`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The customer.
    pub customer: CustomerId,
    /// The customer's payment details.
    pub details: PaymentDetailsId,
    /// The subscription.
    pub subscription: SubscriptionId,
}

struct State {
    publisher: Publisher,
    books: Books,
    quirks: Quirks,
    answers: u64,
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
    pub fn new(publisher: Publisher, clock: VirtualClock) -> Self {
        let mut books = Books::default();
        books.publisher = Some(publisher.id.clone());
        let state = State { publisher, books, quirks: Quirks::default(), answers: 0 };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Changes how it does what Cleeng's documents leave open.
    pub fn quirks(&self, change: impl FnOnce(&mut Quirks)) {
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
        self.lock().books.methods.insert(id, MethodRecord { gateway: gateway.to_owned(), dunning });
    }

    /// Adds an offer.
    pub fn add_offer(&self, id: OfferId, price: Money, cycle: Cycle) {
        self.lock().books.offers.insert(id, OfferRecord { price, cycle });
    }

    /// Adds a customer with active payment details under this gateway token and a subscription whose paid period ends at `due`. Nothing
    /// if the offer is not known.
    #[must_use]
    pub fn new_subscriber(&self, offer: &OfferId, method: &PaymentMethodId, token: &str, due: Timestamp) -> Option<Subscriber> {
        let subscriber = {
            let books = &mut self.lock().books;
            Subscriber { customer: books.fresh()?, details: books.fresh()?, subscription: books.fresh()? }
        };
        self.seat(subscriber.clone(), offer, method, token, due).then_some(subscriber)
    }

    /// The same with ids of the caller's choice, such as those of the sample events. Tells whether the offer is known.
    pub fn seat(&self, subscriber: Subscriber, offer: &OfferId, method: &PaymentMethodId, token: &str, due: Timestamp) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let books = &mut state.books;
        let Some(cycle) = books.offers.get(offer).map(|offer| offer.cycle) else { return false };
        let Subscriber { customer, details, subscription } = subscriber;
        let email = format!("customer-{customer}@example.com");
        books.customers.insert(customer.clone(), CustomerRecord { email, country: "US".to_owned() });
        let shown = json!({ "variant": "visa", "lastCardFourDigits": "1111", "holderName": "J D", "cardExpirationDate": "03/2030" });
        let record = DetailsRecord { customer: customer.clone(), method: method.clone(), token: token.to_owned(), shown, active: true };
        books.details.insert(details.clone(), record);
        let record = SubscriptionRecord {
            id: subscription.clone(),
            customer,
            offer: offer.clone(),
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
        books.subscriptions.insert(subscription, record);
        true
    }

    /// The customer gets new active details, as after a change in "my account": renewals use them, the old ones are announced as
    /// deactivated. Nothing if the customer is not known.
    #[must_use]
    pub fn change_details(&self, subscriber: &Subscriber, method: &PaymentMethodId, token: &str) -> Option<PaymentDetailsId> {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { books, quirks, .. } = &mut *state;
        books.customers.get(&subscriber.customer)?;
        let (customer, method) = (subscriber.customer.clone(), method.clone());
        let record = DetailsRecord { customer, method, token: token.to_owned(), shown: Value::Null, active: true };
        let request = PeerRequest {
            method: Method::POST,
            path: String::new(),
            query: Vec::new(),
            headers: connector::http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        Desk { books, quirks, now, request: &request, ids_as_numbers: true }.add_details(record).ok()
    }

    /// Sets the status of a subscription, as the customer or the publisher would.
    pub fn set_status(&self, id: &SubscriptionId, status: SubscriptionStatus) {
        if let Some(subscription) = self.lock().books.subscriptions.get_mut(id) {
            subscription.status = status;
        }
    }

    /// Moves the end of what is paid, as the publisher would.
    pub fn prolong(&self, id: &SubscriptionId, until: Timestamp) {
        if let Some(subscription) = self.lock().books.subscriptions.get_mut(id) {
            subscription.date_to = until;
        }
    }

    /// A payment that this connector knows nothing of pays a subscription until then.
    pub fn pay_elsewhere(&self, id: &SubscriptionId, external: &ExternalPaymentId, until: Timestamp) {
        if let Some(subscription) = self.lock().books.subscriptions.get_mut(id) {
            subscription.date_to = until;
            subscription.latest_payment = Some(external.clone());
        }
    }

    /// The webhooks that are due at the clock's time and were not sent yet, in order of time, signed. They count as sent.
    #[must_use]
    pub fn due_webhooks(&self) -> Vec<SentWebhook> {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { publisher, books, .. } = &mut *state;
        let mut due: Vec<SentWebhook> = Vec::new();
        for (at, topic, data) in std::mem::take(&mut books.outbox) {
            due.push(events::envelope(&publisher.id, &publisher.webhook_secret, topic, &data, at));
        }
        for planned in dunning::planned(books).into_iter().filter(|planned| planned.at <= now) {
            books.sent.insert(planned.key());
            let data = events::billing_data(books, planned.topic, &planned.subscription, planned.at, planned.expiration);
            if let Some(data) = data {
                due.push(events::envelope(&publisher.id, &publisher.webhook_secret, planned.topic, &data, planned.at));
            }
        }
        due.sort_by_key(|webhook| webhook.at);
        due
    }

    /// When the next webhook is due as things stand; in the past if one waits to be fetched.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let state = self.lock();
        let outbox = state.books.outbox.iter().map(|(at, ..)| *at);
        outbox.chain(dunning::planned(&state.books).into_iter().map(|planned| planned.at)).min()
    }

    /// A signed billing or termination event with dates of the caller's choice, as the dunning clock would write it: for redeliveries,
    /// stale and early events. Nothing if the subscription or its details are not known.
    #[must_use]
    pub fn billing_event(
        &self,
        topic: Topic,
        subscription: &SubscriptionId,
        attempt: Timestamp,
        expiration: Timestamp,
    ) -> Option<SentWebhook> {
        let state = self.lock();
        let data = events::billing_data(&state.books, topic, subscription, attempt, expiration)?;
        Some(events::envelope(&state.publisher.id, &state.publisher.webhook_secret, topic, &data, attempt))
    }

    /// A signed event with any data.
    #[must_use]
    pub fn event(&self, topic: Topic, data: &Value) -> SentWebhook {
        let state = self.lock();
        events::envelope(&state.publisher.id, &state.publisher.webhook_secret, topic, data, self.clock.now())
    }

    /// The webhook endpoints of a topic, with the secrets that Cleeng never tells again.
    #[must_use]
    pub fn webhook_endpoints(&self, topic: &str) -> Vec<Value> {
        self.lock().books.webhooks.get(topic).cloned().unwrap_or_default()
    }

    /// Sets the webhook endpoints of a topic, as somebody else would.
    pub fn set_webhook_endpoints(&self, topic: &str, endpoints: Vec<Value>) {
        self.lock().books.webhooks.insert(topic.to_owned(), endpoints);
    }

    /// All payments, in the order in which they came to be.
    #[must_use]
    pub fn payments(&self) -> Vec<PaymentRecord> {
        self.lock().books.payments.values().cloned().collect()
    }

    /// A subscription.
    #[must_use]
    pub fn subscription(&self, id: &SubscriptionId) -> Option<SubscriptionRecord> {
        self.lock().books.subscriptions.get(id).cloned()
    }

    /// All subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<SubscriptionRecord> {
        self.lock().books.subscriptions.values().cloned().collect()
    }

    /// All orders, in the order in which they came to be.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderRecord> {
        self.lock().books.orders.values().cloned().collect()
    }

    /// Payment details.
    #[must_use]
    pub fn details(&self, id: &PaymentDetailsId) -> Option<DetailsRecord> {
        self.lock().books.details.get(id).cloned()
    }

    /// All payment details of a customer, in the order in which they came to be.
    #[must_use]
    pub fn details_of(&self, customer: &CustomerId) -> Vec<DetailsRecord> {
        self.lock().books.details.values().filter(|details| details.customer == *customer).cloned().collect()
    }

    /// The money that Cleeng has booked.
    #[must_use]
    pub fn transactions(&self) -> Vec<Transaction> {
        self.lock().books.transactions.clone()
    }

    /// The rules that were broken.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().books.violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer for CleengSimulator {
    fn name(&self) -> &'static str {
        "cleeng"
    }

    fn handle(&self, request: &PeerRequest) -> PeerAnswer {
        let now = self.clock.now();
        let mut state = self.lock();
        if request.segments().first() == Some(&"mediastore") {
            return mediastore::serve(&mut state, request, now);
        }
        if request.header("x-publisher-token") != Some(state.publisher.token.as_str()) {
            return message(401, "Access denied");
        }
        state.answers = state.answers.saturating_add(1);
        let State { books, quirks, answers, .. } = &mut *state;
        let mut desk = Desk { books, quirks, now, request, ids_as_numbers: *answers % 2 == 0 };
        match route(&mut desk) {
            Ok(answer) => answer,
            Err(No::Status(status)) => message(status, "Not possible"),
            Err(No::Broken(status, rule)) => {
                let request = format!("{} {}", request.method, request.path);
                state.books.violations.push(Violation { at: now, rule, request });
                message(status, rule)
            }
        }
    }
}

/// Cleeng's errors have a text and no code (Cleeng, "How to understand and resolve common API errors").
fn message(status: u16, text: &str) -> PeerAnswer {
    PeerAnswer::json(status, &json!({ "success": false, "message": text }))
}

fn route(desk: &mut Desk<'_>) -> Served {
    let (method, request) = (desk.request.method.clone(), desk.request);
    let segments = request.segments();
    let Some(("3.1", rest)) = segments.split_first().map(|(first, rest)| (*first, rest)) else { return Err(No::Status(404)) };
    match (method.as_str(), rest) {
        ("POST", ["orders"]) => desk.create_order(),
        ("GET", ["orders", id]) => desk.get_order(&known(OrderId::new(id))?),
        ("POST", ["payments"]) => desk.create_payment(),
        ("PATCH", ["payments", id]) => desk.update_payment(&known(PaymentId::new(id))?),
        ("PATCH", ["payments", id, "cancel"]) => desk.cancel_payment(&known(PaymentId::new(id))?),
        ("GET" | "POST", ["payment_details", id, "authorised_payments"]) => {
            let quirk = if method == Method::GET { desk.quirks.list_by_get } else { desk.quirks.list_by_post };
            quirk.map_or(Ok(()), |status| Err(No::Status(status)))?;
            desk.authorised_payments(&known(PaymentDetailsId::new(id))?)
        }
        ("POST", ["payment_details"]) => desk.create_details(),
        ("GET", ["payment_details", id]) => desk.get_details(&known(PaymentDetailsId::new(id))?),
        ("DELETE", ["payment_details", id]) => desk.delete_details(&known(PaymentDetailsId::new(id))?),
        ("GET", ["webhook_subscriptions"]) => desk.list_webhooks(),
        ("PUT", ["webhook_subscriptions", topic]) => desk.replace_webhooks(topic),
        ("GET", ["subscriptions"]) => desk.list_subscriptions(),
        ("GET", ["subscriptions", id]) => desk.get_subscription(&known(SubscriptionId::new(id))?),
        ("PATCH", ["subscriptions", id]) => desk.patch_subscription(&known(SubscriptionId::new(id))?),
        ("POST", ["subscriptions", id, "terminate"]) => desk.terminate(&known(SubscriptionId::new(id))?),
        _ => Err(No::Status(404)),
    }
}

fn known<K>(id: Result<Id<K>, NotAnId>) -> Result<Id<K>, No> {
    id.map_err(|_| No::Status(404))
}
