//! The Core API over HTTP.
//!
//! [`CoreApi`] sends what Cleeng's reference asks for and reads what Cleeng answers. It must never turn a missing answer into a refusal,
//! send a payment twice on its own, or accept an answer about something other than what was asked.

mod listed_subscriptions;
pub(super) mod read;
mod request;
mod settings;
mod webhooks;
mod write;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

pub use self::listed_subscriptions::ListedSubscription;
use self::read::unreadable;
use self::request::{ApiClient, ApiRequest, Choice, NOT_SENT, path_segment};
pub use self::settings::{
    AuthorisedList, AuthorisedSpelling, CleengEnvironment, CleengSettings, FreeStartOperation, RefundFields, RejectedDetails, Termination,
};
pub use self::webhooks::WebhookEndpoints;
use super::{
    Cleeng, CleengError, LatestPayment, NewOrder, NewPayment, NewPaymentDetails, NewPaymentStatus, Order, Payment, PaymentDetails,
    PaymentPatch, PaymentStatus, Subscription, SubscriptionStatus, TerminationType, UnknownAnswer,
};
use crate::http::Transport;
use crate::ids::{CustomerId, Id, OfferId, OrderId, PaymentDetailsId, PaymentId, PaymentMethodId, SubscriptionId};
use crate::metrics::Metrics;
use crate::secret::SecretString;
use crate::settings::Problems;

/// The largest page that may be asked for (Cleeng, "List subscriptions": 1 to 100).
const PAGE_SIZE: usize = 100;
/// What Cleeng sends where it ignores the wish: a page of at least this many may not be the last.
const DEFAULT_PAGE_SIZE: usize = 20;
/// So many pages of authorised payments of one set of details are a fault of the list, not a list.
const MAX_PAGES: usize = 50;

/// Cleeng's Core API over a [`Transport`].
pub struct CoreApi {
    settings: CleengSettings,
    client: ApiClient,
    /// How authorised payments are listed, how a subscription is ended, and how `authorized` is spelt: where Cleeng's documents differ,
    /// the second way follows where the first is not there.
    list_way: Choice,
    termination_way: Choice,
    spelling: Choice,
    /// The payment details that Cleeng listed last: a witness that the list works.
    listed: Mutex<Option<PaymentDetailsId>>,
}

impl CoreApi {
    /// A client with one or two publisher tokens, the current one first. A 401 makes it try the other one once, and keep it if it works.
    ///
    /// # Errors
    /// [`Problems`] if there is no token, or one that is evidently none.
    pub fn new(settings: CleengSettings, tokens: Vec<SecretString>, transport: Arc<dyn Transport>) -> Result<Self, Problems> {
        let client = ApiClient::new(settings.api_url.clone(), tokens, transport)?;
        Ok(Self {
            settings,
            client,
            list_way: Choice::new("cleeng_list_fallback"),
            termination_way: Choice::new("cleeng_termination_fallback"),
            spelling: Choice::new("cleeng_spelling_fallback"),
            listed: Mutex::default(),
        })
    }

    /// Counts there how often the second way of something was taken (metric `Warning`).
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.client.metrics = Some(metrics);
        self
    }

    /// One page. The list changes nothing, whichever method it is asked for with.
    async fn authorised_page(&self, details: &PaymentDetailsId, offset: usize) -> Result<PaymentPage, CleengError> {
        let path = format!("/payment_details/{}/authorised_payments?offset={offset}&limit={PAGE_SIZE}", path_segment(details)?);
        let (get, post) = (ApiRequest::get(path.clone()), ApiRequest::read(Method::POST, path));
        let (first, second) = match self.settings.authorised_list {
            AuthorisedList::Get => (&get, &post),
            AuthorisedList::Post => (&post, &get),
        };
        let answer = self.client.send_either_way(&self.list_way, first, second).await?;
        let total = read::total_count(&answer)?;
        Ok(PaymentPage { payments: read::payments(&read::body(&answer)?)?, total })
    }

    /// All pages.
    async fn authorised_list(&self, details: &PaymentDetailsId) -> Result<Vec<Payment>, CleengError> {
        let (mut found, mut known, mut offset) = (Vec::new(), BTreeSet::new(), 0_usize);
        for _ in 0..MAX_PAGES {
            let page = self.authorised_page(details, offset).await?;
            let (size, before) = (page.payments.len(), found.len());
            for payment in page.payments {
                ensure_same(payment.payment_details.as_ref(), details, "payment.paymentDetailsId")?;
                if known.insert(payment.id.clone()) {
                    found.push(payment);
                }
            }
            offset = offset.saturating_add(size);
            let missing = page.total.is_some_and(|total| total > found.len());
            if found.len() == before {
                // Nothing new: the end, unless Cleeng says that there is more than it shows.
                return if missing { Err(unreadable("X-Total-Count")) } else { Ok(found) };
            }
            if !missing && (page.total.is_some() || size < DEFAULT_PAGE_SIZE) {
                return Ok(found);
            }
        }
        Err(unreadable("payments"))
    }

    /// Whether the list answers for the details that it answered for last.
    async fn list_works_for_others(&self, details: &PaymentDetailsId) -> bool {
        let witness = self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match witness.filter(|witness| witness != details) {
            Some(witness) => self.authorised_page(&witness, 0).await.is_ok(),
            None => false,
        }
    }

    /// One report of a new payment, with this spelling of the status.
    async fn post_payment(&self, payment: &NewPayment, spelling: AuthorisedSpelling) -> Result<Payment, CleengError> {
        let call = ApiRequest::new(Method::POST, "/payments".to_owned()).with_body(write::payment(payment, &self.settings, spelling));
        let created = read::payment(&read::body(&self.client.send(&call).await?)?)?;
        ensure_same(created.order.as_ref(), &payment.order, "payment.orderId")?;
        ensure_same(created.external_payment_id.as_ref(), &payment.external_payment_id, "payment.externalPaymentId")?;
        let expected = match payment.status {
            NewPaymentStatus::Authorised => PaymentStatus::Authorised,
            NewPaymentStatus::Captured => PaymentStatus::Captured,
            NewPaymentStatus::Rejected { .. } => PaymentStatus::Rejected,
        };
        if created.status == expected { Ok(created) } else { Err(unreadable("payment.status")) }
    }
}

struct PaymentPage {
    payments: Vec<Payment>,
    total: Option<usize>,
}

#[async_trait]
impl Cleeng for CoreApi {
    async fn subscription(&self, id: &SubscriptionId) -> Result<Subscription, CleengError> {
        let answer = self.client.send(&ApiRequest::get(format!("/subscriptions/{}", path_segment(id)?))).await?;
        let subscription = read::subscription(&read::body(&answer)?)?;
        ensure_same(Some(&subscription.id), id, "subscription.subscriptionId")?;
        Ok(subscription)
    }

    async fn create_order(&self, order: &NewOrder) -> Result<Order, CleengError> {
        let call = ApiRequest::new(Method::POST, "/orders".to_owned()).with_body(write::order(order)).repeatable();
        let created = read::order(&read::body(&self.client.send(&call).await?)?)?;
        ensure_same(created.customer.as_ref(), &order.customer, "order.customerId")?;
        ensure_same(created.payment_method.as_ref(), &order.payment_method, "order.paymentMethodId")?;
        if created.total.currency == order.currency { Ok(created) } else { Err(unreadable("order.currency")) }
    }

    async fn order(&self, id: &OrderId) -> Result<Order, CleengError> {
        let answer = self.client.send(&ApiRequest::get(format!("/orders/{}", path_segment(id)?))).await?;
        let order = read::order(&read::body(&answer)?)?;
        ensure_same(Some(&order.id), id, "order.id")?;
        Ok(order)
    }

    async fn create_payment(&self, payment: &NewPayment) -> Result<Payment, CleengError> {
        let was_second = self.spelling.is_second();
        let (first, second) = match was_second {
            false => (self.settings.spelling, self.settings.spelling.other()),
            true => (self.settings.spelling.other(), self.settings.spelling),
        };
        let refusal = match self.post_payment(payment, first).await {
            Err(refusal) if payment.status == NewPaymentStatus::Authorised => refusal,
            answer => return answer,
        };
        match refusal {
            // It may be the word that is refused. The refusal is definite, so that the payment is sent once more with the other word.
            CleengError::Refused { status: 400 | 422 } => match self.post_payment(payment, second).await {
                Ok(created) => {
                    self.client.prefer(&self.spelling, !was_second);
                    Ok(created)
                }
                Err(CleengError::Refused { .. }) => Err(refusal),
                other => other,
            },
            // The payment is looked for before it is sent again; then the other word has its turn.
            CleengError::Unknown(UnknownAnswer::Unconfirmed(400 | 422)) => {
                self.client.prefer(&self.spelling, !was_second);
                Err(refusal)
            }
            _ => Err(refusal),
        }
    }

    async fn payment(&self, id: &PaymentId) -> Result<Payment, CleengError> {
        let answer = self.client.send(&ApiRequest::get(format!("/payments/{}", path_segment(id)?))).await?;
        let payment = read::payment(&read::body(&answer)?)?;
        ensure_same(Some(&payment.id), id, "payment.id")?;
        Ok(payment)
    }

    async fn update_payment(&self, id: &PaymentId, patch: &PaymentPatch) -> Result<(), CleengError> {
        let body = write::patch(patch, &self.settings).ok_or(NOT_SENT)?;
        let call = ApiRequest::new(Method::PATCH, format!("/payments/{}", path_segment(id)?)).with_body(body);
        let answer = read::body_or_null(&self.client.send(&call).await?)?;
        let expected = match patch {
            PaymentPatch::Captured { .. } => PaymentStatus::Captured,
            PaymentPatch::Rejected { .. } => PaymentStatus::Rejected,
            PaymentPatch::Refunded { .. } => PaymentStatus::Refunded,
        };
        ensure_confirmed(&answer, id, &expected)
    }

    async fn cancel_payment(&self, id: &PaymentId) -> Result<(), CleengError> {
        let call = ApiRequest::new(Method::PATCH, format!("/payments/{}/cancel", path_segment(id)?));
        let answer = read::body_or_null(&self.client.send(&call).await?)?;
        ensure_confirmed(&answer, id, &PaymentStatus::Cancelled)
    }

    async fn subscriptions(&self, method: &PaymentMethodId, offset: u32) -> Result<Vec<Subscription>, CleengError> {
        let path = format!("/subscriptions?paymentMethodId={}&offset={offset}&limit={PAGE_SIZE}", path_segment(method)?);
        let answer = self.client.send(&ApiRequest::get(path)).await?;
        read::subscriptions(&read::body(&answer)?)
    }

    async fn latest_payments(&self, customer: &CustomerId, offer: &OfferId) -> Result<Vec<LatestPayment>, CleengError> {
        let path = format!("/subscriptions?customerId={}&offerId={}&limit={PAGE_SIZE}", path_segment(customer)?, path_segment(offer)?);
        let answer = self.client.send(&ApiRequest::get(path)).await?;
        let whole = read::total_count(&answer)?;
        let listed = read::subscriptions(&read::body(&answer)?)?;
        if whole.is_some_and(|whole| whole > listed.len()) {
            return Err(unreadable("X-Total-Count"));
        }
        let ours = |subscription: &&Subscription| {
            subscription.customer.as_ref().is_none_or(|told| told == customer)
                && subscription.offer.as_ref().is_none_or(|told| told == offer)
        };
        Ok(listed.iter().filter(ours).map(|subscription| subscription.latest_payment.clone()).collect())
    }

    async fn authorised_payments(&self, details: &PaymentDetailsId) -> Result<Vec<Payment>, CleengError> {
        let answer = self.authorised_list(details).await;
        match answer {
            Ok(_) => *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some(details.clone()),
            // Whether the details are gone or the list is, others' details show.
            Err(CleengError::NotFound | CleengError::Unknown(UnknownAnswer::Unconfirmed(404))) => {
                let gone = self.list_works_for_others(details).await;
                return Err(if gone { CleengError::NotFound } else { CleengError::Unknown(UnknownAnswer::Unconfirmed(404)) });
            }
            Err(_) => {}
        }
        answer
    }

    async fn create_payment_details(&self, details: &NewPaymentDetails) -> Result<PaymentDetails, CleengError> {
        let call = ApiRequest::new(Method::POST, "/payment_details".to_owned()).with_body(write::payment_details(details));
        let answer = self.client.send(&call).await?;
        read::payment_details(&read::body(&answer)?, &details.token)
    }

    async fn delete_payment_details(&self, id: &PaymentDetailsId) -> Result<(), CleengError> {
        let call = ApiRequest::new(Method::DELETE, format!("/payment_details/{}", path_segment(id)?));
        let answer = self.client.send(&call).await?;
        read::body_or_null(&answer).map(|_| ())
    }

    async fn terminate(&self, id: &SubscriptionId, why: TerminationType) -> Result<(), CleengError> {
        let path = format!("/subscriptions/{}", path_segment(id)?);
        let verb = ApiRequest::new(Method::POST, format!("{path}/terminate")).with_body(write::termination(why));
        let patch = ApiRequest::new(Method::PATCH, path).with_body(json!({ "status": "terminated" }));
        let (first, second) = match self.settings.termination {
            Termination::Terminate => (&verb, &patch),
            Termination::Patch => (&patch, &verb),
        };
        let answer = self.client.send_either_way(&self.termination_way, first, second).await?;
        let body = read::body_or_null(&answer)?;
        let (told_id, told_status) = read::echoed_subscription(&body);
        ensure_echo_matches(told_id, id, "subscription.subscriptionId")?;
        match told_status.map(|status| status.as_str().map(read::subscription_status)) {
            None | Some(Some(SubscriptionStatus::Terminated)) => Ok(()),
            Some(_) => Err(unreadable("subscription.status")),
        }
    }
}

/// What is reported must be what was asked for.
fn ensure_same<K>(told: Option<&Id<K>>, asked: &Id<K>, field: &'static str) -> Result<(), CleengError> {
    if told.is_none_or(|told| told == asked) { Ok(()) } else { Err(unreadable(field)) }
}

fn ensure_echo_matches<K>(told: Option<&Value>, asked: &Id<K>, field: &'static str) -> Result<(), CleengError> {
    match told.map(Id::from_json) {
        None => Ok(()),
        Some(Ok(told)) => ensure_same(Some(&told), asked, field),
        Some(Err(_)) => Err(unreadable(field)),
    }
}

/// A 2xx to a change counts, unless its body names another payment or another state.
fn ensure_confirmed(body: &Value, id: &PaymentId, expected: &PaymentStatus) -> Result<(), CleengError> {
    let (told_id, told_status) = read::echoed_payment(body);
    ensure_echo_matches(told_id, id, "payment.id")?;
    match told_status.map(|status| status.as_str().map(read::payment_status)) {
        None => Ok(()),
        Some(Some(told)) if told == *expected => Ok(()),
        Some(_) => Err(unreadable("payment.status")),
    }
}
