//! What the connector asks of a payment gateway.
//!
//! A gateway is one adapter folder here and one line in the registry's table; `common` has what adapters share. Only an adapter knows its
//! gateway's spellings. The trait is asynchronous in meaning: a gateway may only acknowledge a call, and notify later what became of it. An
//! adapter must never turn "unknown" into "declined", nor either into "done".

mod common;
mod outcome;
mod registry;
mod requests;

pub mod adyen;
pub mod paypal;
pub mod stripe;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
pub use outcome::{Action, Decline, DeclineClass, GatewayError, Operation, Outcome, RetryAdvice, UnknownCause};
pub use registry::{GatewayConfig, GatewayName, Gateways};
pub use requests::{
    CancelRequest, CancelTarget, CaptureRequest, DeleteDetailsRequest, FinalizeRequest, InquiryRequest, MerchantInitiated,
    PageMethodsQuery, PurchaseRequest, RefundRequest, StoreDetailsRequest, StoredDetailsQuery, StoredToken,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::VariantArray;

use crate::clock::Timestamp;
use crate::http::HeaderMap;
use crate::ids::ExternalPaymentId;
use crate::money::Money;
use crate::reason::CompletionReason;
pub use crate::reference::{GatewayText, IdempotencyKey, OperationKind, Reference};

/// What a gateway can do, so that flows never ask for a gateway's name. Each says who reads it; unused capabilities are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A charge, or a purchase that takes its money at once, may be authorised when it is answered and captured afterwards without another
    /// call: it is then [`Outcome::Received`] until a notification says that the money is taken. Read by the contract's checks and by the
    /// demo, which then wait for that notification; flows handle either.
    pub charges_settle_later: bool,
    /// A charge, or a purchase that takes its money at once, only holds the money when it is `Done`: it is captured by a call of its own, whose
    /// receipt counts as taken. Read by renewals and by checkout.
    pub takes_by_capture: bool,
    /// Captures, cancels and refunds are only acknowledged; the result comes by notification. Read by the contract's checks and the suites
    /// of all gateways; flows go by [`Outcome::Received`].
    pub settles_by_notification: bool,
    /// [`Gateway::inquire`] can return the state of a payment. Read by the contract's checks and by `connectorctl explain`.
    pub inquiry: bool,
    /// A payment can be cancelled by our reference when its gateway id is unknown. Read by the reversal of purchases, and by the contract's
    /// checks.
    pub cancel_by_reference: bool,
    /// A start with the customer present needs what the gateway's front-end component collected (`paymentMethod`); without this the
    /// customer enters everything at the gateway. Read by the front-end API.
    pub needs_payment_method: bool,
    /// The members of the page's `paymentMethod` that name stored details at this gateway: a page may name another customer's. Read by the
    /// front-end API, which refuses a start with one of them; an adapter passes none of them on either.
    pub stored_details_members: &'static [&'static str],
    /// How long an idempotency key is certain to be honoured, per operation kind the shortest. Read by the gateway step, which parks what
    /// is unknown when the key is too old.
    pub idempotency_window: Duration,
    /// How long a payment, a capture or a refund can stay undecided after the gateway declared that it is (`PENDING`, `processing`,
    /// `Received`), for the slowest of the methods that the adapter offers, from the gateway's documents. It is not told captured nor
    /// declined before it is decided; after that time an operator is called. Read by everything that waits for such a decision.
    pub pending_patience: Duration,
    /// The longest time that one call can take, which is the client's total timeout. Read before each call: without so much time left it is
    /// not begun.
    pub call_timeout: Duration,
}

/// A payment gateway.
///
/// Every write takes the idempotency key from its request and must send it in the gateway's own way. `Err` means that the call is known
/// to have had no effect; everything else is an [`Outcome`].
#[async_trait]
pub trait Gateway: Send + Sync {
    /// The name in settings, routes and journal records.
    fn name(&self) -> GatewayName;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Authorises a merchant-initiated payment with stored details; the money is captured later.
    ///
    /// # Errors
    /// [`GatewayError`]: known to have had no effect.
    async fn authorise(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError>;

    /// Authorises and captures a merchant-initiated payment in one go. Money counts as taken when the gateway says that it captured,
    /// whenever it is paid out: then it is `Done`. An answer that says no more than "authorised", with the capture to follow, is `Received`
    /// ([`Capabilities::charges_settle_later`]), and the notification that the money is taken is [`NotificationKind::Authorised`]: one that
    /// says no more than "authorised" of a charge is ignored. With [`Capabilities::takes_by_capture`] either only says that the money is held.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn charge(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError>;

    /// Captures an authorised payment. A payment that is captured already is `Done`.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn capture(&self, request: &CaptureRequest) -> Result<Outcome, GatewayError>;

    /// Whether the money may still be held after a capture was refused for good like this. `accepted`: the gateway had acknowledged the
    /// capture first, and refused it afterwards. No, if the refusal says that the authorisation is gone, or if the capture used it up; yes,
    /// if the gateway does not say: an extra cancel does nothing.
    fn authorisation_may_remain(&self, refusal: &Decline, accepted: bool) -> bool;

    /// Releases an authorised payment. A payment that is cancelled or expired already is `Done`; one that is captured is
    /// `DeclinedInsideOrder(Hard, ...)`, because a cancel never gives captured money back.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn cancel(&self, request: &CancelRequest) -> Result<Outcome, GatewayError>;

    /// Gives captured money back, in whole or in part.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn refund(&self, request: &RefundRequest) -> Result<Outcome, GatewayError>;

    /// Asks what became of a write whose outcome is unknown, or which the gateway acknowledged: then the request names the gateway's id of
    /// the payment or the operation, and `Received` says that it is still undecided. `Ok(None)` if the gateway has no such query, or finds
    /// nothing: then the same call under the same key is right, and of an acknowledged one only a notification brings the result. `Unknown`
    /// if it could not be asked, or says nothing clear.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn inquire(&self, request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError>;

    /// Deletes stored details. Details that are gone already are `Done`.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn delete_details(&self, request: &DeleteDetailsRequest) -> Result<Outcome, GatewayError>;

    /// Starts a purchase with the customer present, storing the details where asked. Money counts as taken as for [`Gateway::charge`]. Of
    /// the page's data an adapter passes on the fields that it lists, and nothing else: a page may name another customer's stored details.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn start_purchase(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError>;

    /// Finishes a purchase or a storing that waited for the customer. Money counts as taken as for [`Gateway::charge`].
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn finalize(&self, request: &FinalizeRequest) -> Result<Outcome, GatewayError>;

    /// Reads the details that a purchase stored, at a gateway where they may come to be later than its answer. `Ok(None)` if there are none
    /// yet, or if the gateway has no such question.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn find_stored_details(&self, _query: &StoredDetailsQuery) -> Result<Option<Operation>, GatewayError> {
        Ok(None)
    }

    /// Checks what a page sends with a start, beyond what is asked of every gateway's pages. `return_url` is the page's, if the customer
    /// returns there.
    ///
    /// # Errors
    /// What is wrong, for the page's developer.
    fn check_page_data(&self, _payment_data: &Value, _return_url: Option<&str>) -> Result<(), &'static str> {
        Ok(())
    }

    /// The payment methods that the gateway's component offers in a page, in the form that pages read. `Ok(None)` if the gateway lists none,
    /// or if that is not set up.
    ///
    /// # Errors
    /// As [`Gateway::check_access`].
    async fn list_page_methods(&self, _query: &PageMethodsQuery) -> Result<Option<Value>, GatewayError> {
        Ok(None)
    }

    /// A session of the gateway's component that lists the same. Nothing can be paid through it. `Ok(None)` as for
    /// [`Gateway::list_page_methods`].
    ///
    /// # Errors
    /// As [`Gateway::check_access`].
    async fn open_page_session(&self, _query: &PageMethodsQuery, _return_url: &str) -> Result<Option<Value>, GatewayError> {
        Ok(None)
    }

    /// Stores details without a charge.
    ///
    /// # Errors
    /// As [`Gateway::authorise`].
    async fn store_details(&self, request: &StoreDetailsRequest) -> Result<Outcome, GatewayError>;

    /// Makes a harmless call, to check whether the gateway can be reached and accepts our credentials and account. Changes nothing.
    ///
    /// # Errors
    /// [`GatewayError`]: why calls would fail now. An answer that says nothing is [`GatewayError::Unreachable`].
    async fn check_access(&self) -> Result<(), GatewayError>;

    /// Verifies a notification of the gateway over its raw bytes and reads it, item by item: a bad one does not spoil the others. Items
    /// that do not concern us are [`NotificationKind::Ignored`], never an error; those that name a payment and whose kind is not known are
    /// [`NotificationKind::NotUnderstood`]. What nobody signs and decides nothing is left out.
    ///
    /// # Errors
    /// [`NotificationError`] for a body that is not a notification, or one of whose items none is valid.
    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError>;
}

/// One item of a notification: verified and read, or why not.
pub type NotificationItem = Result<GatewayNotification, NotificationError>;

/// One thing that a gateway reports, verified. It is kept in queues as JSON, so fields are added with a default and never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayNotification {
    /// What happened.
    pub kind: NotificationKind,
    /// The payment as the gateway knows it.
    #[serde(default)]
    pub external_payment_id: Option<ExternalPaymentId>,
    /// Our reference, echoed.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// The gateway's id of the operation (capture, refund) that this settles.
    #[serde(default)]
    pub operation_ref: Option<String>,
    /// The amount, by ISO 4217 exponent.
    #[serde(default)]
    pub amount: Option<Money>,
    /// When it happened, as the gateway says; not signed by every gateway.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The same for every repetition of the same notification.
    pub dedupe_key: String,
    /// The gateway's raw reason, where it says one. Not signed by every gateway, so it decides nothing.
    #[serde(default)]
    pub reason: Option<String>,
    /// The decline that this reports, if the gateway signs its reason; without one it counts as soft.
    #[serde(default)]
    pub decline: Option<Decline>,
    /// The stored details that this is about.
    #[serde(default)]
    pub token: Option<NotifiedToken>,
}

/// Stored details that a notification names. As good as a key to them: its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifiedToken {
    /// Whose they are, as the gateway knows the customer.
    pub shopper: String,
    /// The details in the adapter's own form, as [`StoredToken`] holds them.
    pub token: String,
}

impl fmt::Debug for NotifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotifiedToken(..)")
    }
}

/// The kinds of notifications that mean something to the connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A payment was authorised; or taken, where it was asked for in one go: then there is no [`NotificationKind::Captured`] of its own.
    Authorised,
    /// A payment was declined.
    AuthorisationDeclined,
    /// The customer agreed to what waited for them, and the gateway waits for [`Gateway::finalize`]; the customer may never come back.
    CustomerApproved,
    /// A capture succeeded.
    Captured,
    /// A capture failed, at once or later.
    CaptureFailed,
    /// An authorisation was released.
    Cancelled,
    /// A cancel failed.
    CancelFailed,
    /// An authorisation expired.
    Expired,
    /// A refund succeeded.
    Refunded,
    /// A refund failed, at once or later.
    RefundFailed,
    /// The money was taken back by the shopper's bank, or by the gateway after a dispute that was lost.
    ChargedBack,
    /// The gateway withdrew captured money from the merchant. A dispute that was lost can be said beside it: then both are one loss.
    FundsWithdrawn,
    /// A chargeback was won.
    ChargebackReversed,
    /// A stored token came to be.
    TokenCreated,
    /// A stored token can no longer be used.
    TokenDisabled,
    /// The details behind a stored token were updated.
    TokenUpdated,
    /// A payment was cancelled or refunded by another system, whichever applied. Which of the two is not signed.
    CancelledOrRefunded,
    /// It names a payment, and the connector does not know what it says: an operator has to look, if the payment is ours.
    NotUnderstood,
    /// Not ours, or nothing to do.
    Ignored,
}

impl NotificationKind {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// A stable word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        CompletionReason::from(self).as_str()
    }
}

impl From<NotificationKind> for CompletionReason {
    fn from(kind: NotificationKind) -> Self {
        match kind {
            NotificationKind::Authorised => Self::Authorised,
            NotificationKind::AuthorisationDeclined => Self::AuthorisationDeclined,
            NotificationKind::CustomerApproved => Self::CustomerApproved,
            NotificationKind::Captured => Self::Captured,
            NotificationKind::CaptureFailed => Self::CaptureFailed,
            NotificationKind::Cancelled => Self::Cancelled,
            NotificationKind::CancelFailed => Self::CancelFailed,
            NotificationKind::Expired => Self::Expired,
            NotificationKind::Refunded => Self::Refunded,
            NotificationKind::RefundFailed => Self::RefundFailed,
            NotificationKind::ChargedBack => Self::ChargedBack,
            NotificationKind::FundsWithdrawn => Self::FundsWithdrawn,
            NotificationKind::ChargebackReversed => Self::ChargebackReversed,
            NotificationKind::TokenCreated => Self::TokenCreated,
            NotificationKind::TokenDisabled => Self::TokenDisabled,
            NotificationKind::TokenUpdated => Self::TokenUpdated,
            NotificationKind::CancelledOrRefunded => Self::CancelledOrRefunded,
            NotificationKind::NotUnderstood => Self::NotUnderstood,
            NotificationKind::Ignored => Self::Ignored,
        }
    }
}

/// Why a notification was refused.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotificationError {
    /// The body is no notification of this gateway.
    #[error("body is no notification of this gateway")]
    Malformed,
    /// The signature is missing.
    #[error("signature is missing")]
    Unsigned,
    /// The signature does not fit.
    #[error("signature does not fit")]
    BadSignature,
    /// The gateway signed it, and it cannot be read.
    #[error("signed by the gateway, and not understood")]
    NotUnderstood,
    /// It cannot be verified now: what is needed for that was not reached. The gateway delivers it again.
    #[error("it cannot be verified now whether the gateway sent it")]
    Unverifiable,
}

#[cfg(test)]
mod tests {
    use super::NotificationKind;

    #[test]
    fn the_word_of_a_kind_is_how_it_is_kept_so_that_two_of_one_payment_have_two_keys() {
        for kind in NotificationKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
