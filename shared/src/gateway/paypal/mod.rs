//! PayPal: Orders v2, Payments v2, Payment Method Tokens v3.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | the [`Gateway`] and what every operation needs |
//! | `orders.rs` | payments with stored details, and orders whose payment comes in a second step |
//! | `payments.rs` | capture (with reauthorisation), void, refund, deletion |
//! | `purchase.rs` | purchases and storing with the customer present, by redirect |
//! | `access_tokens.rs`, `client.rs` | access tokens; one call: request id, statuses |
//! | `wire.rs` | answers, read by hand |
//! | `declines.rs`, `currency.rs`, `token.rs` | issues, decimals, stored tokens |
//! | `signature.rs`, `certificates.rs`, `notification.rs` | whether a webhook is PayPal's, and what it says |
//! | `settings.rs` | settings and secrets |
//!
//! A payment's id is that of its authorisation until it is captured, and that of its capture from then on: refunds want the latter. An
//! order that is COMPLETED can hold a capture that is pending or declined, so this module must never read the order's own status as a
//! result.

mod access_tokens;
mod certificates;
mod client;
pub mod currency;
mod declines;
mod notification;
mod orders;
mod payments;
mod purchase;
mod settings;
mod signature;
mod token;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use access_tokens::AccessTokens;
use async_trait::async_trait;
use certificates::Certificates;
use client::{ApiResponse, Client};
use declines::RefusalClass;
use serde_json::Value;
pub use settings::{PayPalEnvironment, PayPalSecrets, PayPalSettings};
use wire::Intent;

use super::common::amounts::ensure_free;
use super::common::call::CallError;
use super::common::time_budget::TimeBudget;
use super::{
    CancelRequest, CancelTarget, Capabilities, CaptureRequest, Decline, DeclineClass, DeleteDetailsRequest, FinalizeRequest, Gateway,
    GatewayError, GatewayName, InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, Operation, Outcome, PurchaseRequest,
    RefundRequest, StoreDetailsRequest, StoredDetailsQuery, UnknownCause,
};
use crate::clock::Clock;
use crate::http::{HeaderMap, Transport};
use crate::settings::Problems;

/// The longest time that one operation takes, all its calls included: an access token, the write, its second step, and reading what there
/// is.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(25);

/// The same for what a customer waits for at a page: the front-end API has that long for the gateway (`frontend_api::GATEWAY_TIMEOUT`), and
/// only one call of several can be bound from outside.
const CUSTOMER_PRESENT_TIMEOUT: Duration = Duration::from_secs(20);

/// The same for a question that changes nothing, asked while a customer waits for the report to Cleeng.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// PayPal keeps the request ids of orders for 6 hours, of payments for 45 days and of the vault for 3 hours (the specifications'
/// `PayPal-Request-Id`). The vault's do not count here: a setup token that is made twice moves no money and lapses, and a setup token is
/// turned into stored details once. Ten minutes are left for clocks and queues.
const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(6 * 3_600 - 600);

/// A payment that waits for the seller's preference or action is returned after 30 days (paypal.com, "Why is my payment pending?"); an
/// eCheck takes about a week, a review about a day (Payments 2.5, `capture_status_details`).
const PENDING_PATIENCE: Duration = Duration::from_secs(31 * 24 * 3_600);

/// What PayPal says of a resource that does not exist, or not any more (the specifications' 404).
const NO_SUCH_RESOURCE: &[&str] = &["INVALID_RESOURCE_ID", "RESOURCE_NOT_FOUND"];

/// The adapter.
pub struct PayPal {
    client: Client,
    clock: Arc<dyn Clock>,
    settings: PayPalSettings,
    verifier: signature::NotificationVerifier,
}

impl PayPal {
    /// Builds the adapter. `clock` is for the life of access tokens and certificates, and for the age of authorisations.
    ///
    /// # Errors
    /// What is wrong with the secrets.
    pub fn new(
        settings: PayPalSettings,
        secrets: PayPalSecrets,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Problems> {
        secrets.validate()?;
        let texts = [Some(secrets.client_secret), secrets.previous_client_secret].into_iter().flatten().collect();
        let id = settings.client_id.clone();
        let access = AccessTokens::new(Arc::clone(&transport), Arc::clone(&clock), &settings.base_url, id, texts);
        let client = Client::new(Arc::clone(&transport), settings.base_url.clone(), access);
        let elsewhere = (settings.environment == PayPalEnvironment::Sandbox).then(|| settings.base_url.clone());
        let root = settings.trust_root.clone().filter(|_| settings.environment == PayPalEnvironment::Sandbox);
        let certificates = Certificates::new(transport, Arc::clone(&clock), settings.environment, elsewhere, root);
        let verifier = signature::NotificationVerifier::new(certificates, settings.webhook_ids.clone());
        Ok(Self { client, clock, settings, verifier })
    }
}

/// The outcome of a refusal that the caller cannot interpret better.
fn refusal_outcome(status: u16, issue: &str) -> Result<Outcome, CallError> {
    match declines::classify(status, issue) {
        RefusalClass::Decline(decline) => Ok(Outcome::Declined(decline)),
        RefusalClass::InProgress => Err(UnknownCause::InProgress.into()),
        RefusalClass::AlreadyDone => Err(UnknownCause::Unreadable.into()),
        RefusalClass::ConnectorFault(code) => Err(CallError::malformed(code)),
    }
}

/// A read after a write.
fn read_after_write(read: Result<ApiResponse, CallError>) -> Result<Value, CallError> {
    match read.map_err(CallError::after_write)? {
        ApiResponse::Body(body) => Ok(body),
        ApiResponse::Refused { .. } => Err(UnknownCause::Unreadable.into()),
    }
}

#[async_trait]
impl Gateway for PayPal {
    fn name(&self) -> GatewayName {
        GatewayName::PayPal
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            charges_settle_later: false,
            takes_by_capture: false,
            settles_by_notification: false,
            inquiry: false,
            cancel_by_reference: false,
            needs_payment_method: false,
            stored_details_members: &[],
            idempotency_window: IDEMPOTENCY_WINDOW,
            pending_patience: PENDING_PATIENCE,
            call_timeout: CALL_TIMEOUT,
        }
    }

    async fn authorise(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        self.create_payment(request, Intent::Authorize).await.or_else(CallError::into_outcome)
    }

    async fn charge(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        self.create_payment(request, Intent::Capture).await.or_else(CallError::into_outcome)
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<Outcome, GatewayError> {
        self.capture_authorisation(request).await.or_else(CallError::into_outcome)
    }

    /// A capture that PayPal took first (PENDING) was the final one and closed its authorisation.
    fn authorisation_may_remain(&self, refusal: &Decline, accepted: bool) -> bool {
        !accepted && !payments::NO_AUTHORISATION_ISSUES.contains(&refusal.code.as_str())
    }

    async fn cancel(&self, request: &CancelRequest) -> Result<Outcome, GatewayError> {
        let cancelled = match &request.target {
            CancelTarget::Payment(payment) => self.void_authorisation(request, payment).await,
            CancelTarget::Reference { pending_id: Some(pending_id), reference } => self.cancel_order(pending_id, reference).await,
            // PayPal finds nothing by our reference, and what never started has no id.
            CancelTarget::Reference { pending_id: None, .. } => Err(GatewayError::Unsupported.into()),
        };
        cancelled.or_else(CallError::into_outcome)
    }

    async fn refund(&self, request: &RefundRequest) -> Result<Outcome, GatewayError> {
        self.create_refund(request).await.or_else(CallError::into_outcome)
    }

    /// What PayPal acknowledged has an id of its own. What never got an answer has none, and PayPal finds no order by our reference: the
    /// same call under the same key answers with the order's state of now, which is better than any question.
    async fn inquire(&self, request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError> {
        self.read_acknowledged(request).await.or_else(|error| error.into_outcome().map(Some))
    }

    /// An access token is asked for, which needs client id and secret (developer.paypal.com, "Get an access token").
    async fn check_access(&self) -> Result<(), GatewayError> {
        self.client.check_access(&TimeBudget::new(CALL_TIMEOUT)).await.map_err(CallError::into_access_error)
    }

    async fn delete_details(&self, request: &DeleteDetailsRequest) -> Result<Outcome, GatewayError> {
        self.delete_payment_token(request).await.or_else(CallError::into_outcome)
    }

    async fn start_purchase(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        let started = if request.amount.is_zero() { self.start_setup(request).await } else { self.start_order(request).await };
        started.or_else(CallError::into_outcome)
    }

    async fn finalize(&self, request: &FinalizeRequest) -> Result<Outcome, GatewayError> {
        self.finalize_order(request).await.or_else(CallError::into_outcome)
    }

    async fn find_stored_details(&self, query: &StoredDetailsQuery) -> Result<Option<Operation>, GatewayError> {
        self.read_stored_details(query).await.or_else(|error| match error {
            CallError::NoEffect(error) => Err(error),
            CallError::Unknown(_) => Ok(None),
        })
    }

    async fn store_details(&self, request: &StoreDetailsRequest) -> Result<Outcome, GatewayError> {
        ensure_free(request)?;
        self.start_setup(&request.purchase).await.or_else(CallError::into_outcome)
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        self.verifier.verify(&self.client, headers, body).await?;
        Ok(vec![Ok(notification::read(body)?)])
    }
}
