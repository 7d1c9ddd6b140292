//! The Core API as a trait: its requests and its answers.

use std::time::Duration;

use async_trait::async_trait;

use super::error::CleengError;
use crate::clock::Timestamp;
use crate::ids::{CustomerId, ExternalPaymentId, OfferId, OrderId, PaymentDetailsId, PaymentId, PaymentMethodId, SubscriptionId};
use crate::money::{Currency, Money};
use crate::secret::SecretString;

/// How long one exchange with Cleeng may take.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that one write to Cleeng can take: two exchanges, the second under the other publisher token while one is being
/// rotated.
pub const CALL_TIMEOUT: Duration = EXCHANGE_TIMEOUT.saturating_mul(2);

/// The longest time of a write that Cleeng's documents describe in two ways (the end of a subscription, the report of a held payment): the
/// second follows the first.
pub const CALL_WITH_FALLBACK_TIMEOUT: Duration = CALL_TIMEOUT.saturating_mul(2);

/// Cleeng's Core API, as far as a connector needs it.
#[async_trait]
pub trait Cleeng: Send + Sync {
    /// `GET /3.1/subscriptions/{id}`.
    ///
    /// # Errors
    /// [`CleengError`]; a read has no effect, so any of them may be tried again.
    async fn subscription(&self, id: &SubscriptionId) -> Result<Subscription, CleengError>;

    /// `POST /3.1/orders`. Moves no money: an order without a payment lapses after 24 hours, so this may be repeated.
    ///
    /// # Errors
    /// [`CleengError`].
    async fn create_order(&self, order: &NewOrder) -> Result<Order, CleengError>;

    /// `GET /3.1/orders/{id}`.
    ///
    /// # Errors
    /// [`CleengError`].
    async fn order(&self, id: &OrderId) -> Result<Order, CleengError>;

    /// `POST /3.1/payments`. Has no idempotency key at Cleeng: after [`CleengError::Unknown`] ask before posting again.
    ///
    /// # Errors
    /// [`CleengError`].
    async fn create_payment(&self, payment: &NewPayment) -> Result<Payment, CleengError>;

    /// `GET /3.1/payments/{id}`. Cleeng's reference has no page for it: where it is not there, a payment that is not authorised any more
    /// cannot be asked about.
    ///
    /// # Errors
    /// [`CleengError`]; [`CleengError::NotFound`] also where there is no such read.
    async fn payment(&self, _id: &PaymentId) -> Result<Payment, CleengError> {
        Err(CleengError::NotFound)
    }

    /// `PATCH /3.1/payments/{id}`.
    ///
    /// # Errors
    /// [`CleengError`].
    async fn update_payment(&self, id: &PaymentId, patch: &PaymentPatch) -> Result<(), CleengError>;

    /// `PATCH /3.1/payments/{id}/cancel`: only for a payment that is authorised and not captured.
    ///
    /// # Errors
    /// [`CleengError`].
    async fn cancel_payment(&self, id: &PaymentId) -> Result<(), CleengError>;

    /// A page of the subscriptions of a payment method, from this place on, the longest that Cleeng gives; empty behind the last one.
    /// Cleeng documents the filter and the paging, not the order ("List subscriptions").
    ///
    /// # Errors
    /// [`CleengError`]; a read changes nothing.
    async fn subscriptions(&self, _method: &PaymentMethodId, _offset: u32) -> Result<Vec<Subscription>, CleengError> {
        Err(CleengError::NotFound)
    }

    /// What the customer's subscriptions to an offer report about their latest payments (`GET /3.1/subscriptions?customerId&offerId`). The
    /// only way to check whether a first purchase is known.
    ///
    /// # Errors
    /// [`CleengError`].
    async fn latest_payments(&self, _customer: &CustomerId, _offer: &OfferId) -> Result<Vec<LatestPayment>, CleengError> {
        Ok(vec![LatestPayment::NotReported])
    }

    /// The authorised payments of a set of payment details (`POST` or `GET .../authorised_payments`), all pages.
    ///
    /// # Errors
    /// [`CleengError::NotFound`] for details that are gone: Cleeng says so itself, and at the same time lists those that it listed last.
    /// Otherwise a 404 may be the list's own, and is [`CleengError::Unknown`].
    async fn authorised_payments(&self, details: &PaymentDetailsId) -> Result<Vec<Payment>, CleengError>;

    /// `POST /3.1/payment_details`.
    ///
    /// # Errors
    /// [`CleengError`].
    async fn create_payment_details(&self, details: &NewPaymentDetails) -> Result<PaymentDetails, CleengError>;

    /// `DELETE /3.1/payment_details/{id}`.
    ///
    /// # Errors
    /// [`CleengError`]; details that are gone already are [`CleengError::Unknown`], to be looked for in
    /// [`authorised_payments`](Cleeng::authorised_payments).
    async fn delete_payment_details(&self, id: &PaymentDetailsId) -> Result<(), CleengError>;

    /// Terminates a subscription (`PATCH` of its status, or `POST .../terminate`).
    ///
    /// # Errors
    /// [`CleengError`].
    async fn terminate(&self, id: &SubscriptionId, why: TerminationType) -> Result<(), CleengError>;
}

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// Runs and renews.
    Active,
    /// Cancelled by the customer; runs to the end of what is paid.
    Stopped,
    /// Over.
    Terminated,
    /// Paused.
    Paused,
    /// A value that this version does not know.
    Other(String),
}

/// How often a subscription renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalCycle(pub Duration);

/// What a subscription reports about its latest payment (`latestPaymentExternalId`, undocumented officially).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LatestPayment {
    /// The field is absent: nothing can be concluded.
    NotReported,
    /// There is no payment.
    None,
    /// The one with this id.
    Known(ExternalPaymentId),
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// The end of what is paid (`dateTo`).
    pub paid_until: Timestamp,
    /// Whose it is.
    pub customer: Option<CustomerId>,
    /// What for.
    pub offer: Option<OfferId>,
    /// The details that the next renewal uses.
    pub payment_details: Option<PaymentDetailsId>,
    /// The payment method, which decides the connector.
    pub payment_method: Option<PaymentMethodId>,
    /// What Cleeng expects next (`authorise`, `capture`); a hint only.
    pub next_payment_action: Option<String>,
    /// In which country it is paid, two letters (`paymentCountry`).
    pub country: Option<String>,
    /// When Cleeng expects it (`nextPaymentActionDate`); a hint only.
    pub next_payment_action_date: Option<Timestamp>,
    /// Whether a switch to another offer is scheduled (`pendingSwitchId`).
    pub switch_pending: bool,
    /// The latest payment.
    pub latest_payment: LatestPayment,
    /// The cycle; nothing if it is absent or unreadable. A month counts 28 days, a season 84, a year 365: the shortest reading.
    pub cycle: Option<RenewalCycle>,
}

/// An order to create for a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Whose.
    pub customer: CustomerId,
    /// What for.
    pub offer: OfferId,
    /// In which currency.
    pub currency: Currency,
    /// Country of purchase, two letters.
    pub country: String,
    /// Which method.
    pub payment_method: PaymentMethodId,
    /// Which subscription is renewed; sent in a pair with `paymentOperation: recurring-payment`.
    pub subscription: SubscriptionId,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// What is to be paid, tax included; the only source of an amount.
    pub total: Money,
    /// Whose, if reported.
    pub customer: Option<CustomerId>,
    /// What for, if reported.
    pub offer: Option<OfferId>,
    /// Which method, if reported.
    pub payment_method: Option<PaymentMethodId>,
    /// When it lapses, if reported.
    pub expires_at: Option<Timestamp>,
}

/// What a new payment says about the money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPaymentStatus {
    /// Held, to be captured.
    Authorised,
    /// Taken.
    Captured,
    /// Declined.
    Rejected {
        /// Class and code, no personal data.
        reason: String,
    },
}

/// Which kind of payment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentOperation {
    /// A first purchase.
    Initial,
    /// A first purchase of which nothing is charged: a trial, or a coupon of 100 %, with details on file.
    FreeStart,
    /// A renewal.
    Recurring,
}

/// Where the stored details of a payment come from.
#[derive(Clone)]
pub enum PaymentSource {
    /// Details that Cleeng has.
    Existing(PaymentDetailsId),
    /// Details that are stored with the payment.
    New {
        /// The gateway's token in the adapter's reversible form.
        token: SecretString,
        /// What "my account" shows (`variant`, `lastCardFourDigits`, ...).
        display_params: serde_json::Value,
    },
    /// None, as after a refusal of a first purchase.
    None,
}

/// A payment to report.
#[derive(Clone)]
pub struct NewPayment {
    /// The order that it pays.
    pub order: OrderId,
    /// What became of the money.
    pub status: NewPaymentStatus,
    /// First purchase or renewal.
    pub operation: PaymentOperation,
    /// The details.
    pub source: PaymentSource,
    /// The gateway's id. Cleeng wants one on every payment; a refused one that never got an id carries our reference.
    pub external_payment_id: ExternalPaymentId,
    /// The subscription; required for a renewal.
    pub subscription: Option<SubscriptionId>,
}

/// The status of a payment in Cleeng.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// `authorized`; `authorised` is read as well.
    Authorised,
    /// Captured.
    Captured,
    /// Rejected.
    Rejected,
    /// Refunded.
    Refunded,
    /// Cancelled.
    Cancelled,
    /// A value that this version does not know.
    Other(String),
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// Where it stands.
    pub status: PaymentStatus,
    /// The gateway's id, if reported.
    pub external_payment_id: Option<ExternalPaymentId>,
    /// The order, if reported.
    pub order: Option<OrderId>,
    /// What is paid, if reported and readable.
    pub total: Option<Money>,
    /// Whose, if reported.
    pub customer: Option<CustomerId>,
    /// What for, if reported.
    pub offer: Option<OfferId>,
    /// The details, if reported.
    pub payment_details: Option<PaymentDetailsId>,
    /// The gateway's name as Cleeng has it, if reported.
    pub payment_gateway: Option<String>,
}

/// A change to a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentPatch {
    /// The money is taken.
    Captured {
        /// The order, where it is known.
        order: Option<OrderId>,
        /// The gateway's id, where the capture has another than the authorisation.
        external_payment_id: Option<ExternalPaymentId>,
    },
    /// The capture was refused.
    Rejected {
        /// The order, where it is known.
        order: Option<OrderId>,
        /// Class and code.
        reason: String,
    },
    /// The money was refunded, or taken back by the bank.
    Refunded {
        /// The order; required by Cleeng here.
        order: OrderId,
        /// First purchase or renewal; required by Cleeng here.
        operation: PaymentOperation,
        /// Why.
        reason: String,
        /// How much, for a partial refund.
        amount: Option<Money>,
        /// Whether it is a chargeback.
        chargeback: bool,
    },
}

/// Details to create.
#[derive(Clone)]
pub struct NewPaymentDetails {
    /// Whose.
    pub customer: CustomerId,
    /// The gateway's token in the adapter's reversible form.
    pub token: SecretString,
    /// Which method.
    pub payment_method: PaymentMethodId,
    /// What "my account" shows.
    pub display_params: serde_json::Value,
    /// Whether renewals use them; `true` deactivates all older ones of the customer.
    pub active: bool,
}

/// Details in Cleeng.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentDetails {
    /// Their id.
    pub id: PaymentDetailsId,
    /// Whether renewals use them, if reported.
    pub active: Option<bool>,
    /// The whole answer without the token, for the front end.
    pub public_json: serde_json::Value,
}

/// Why a subscription ends (`terminationType`; Cleeng, "Terminate subscription").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationType {
    /// The subscription is unpaid.
    PaymentCancel,
    /// The customer cancelled before.
    UserCancel,
}
