//! Stripe: PaymentIntents, SetupIntents, Refunds, Customers.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | the [`Gateway`] and what every operation needs |
//! | `payments.rs` | payments with stored details; capture, cancel, refund, deletion; what became of a write |
//! | `purchase.rs` | purchases and storing with the customer present |
//! | `client.rs` | one call: key, version, form, statuses |
//! | `wire.rs` | intents and refunds, read by hand |
//! | `declines.rs`, `currency.rs`, `id.rs`, `token.rs` | codes, minor units, the form of ids, stored tokens |
//! | `notification.rs` | whether a webhook is Stripe's, and what it says |
//! | `settings.rs` | settings and secrets |
//!
//! A payment's id is always that of its intent. A refused payment has one too: HTTP 402 keeps the intent. Stripe repeats under a key what
//! it answered first, refusals and server errors included, so an unknown outcome is queried before anything is sent again.

mod client;
pub mod currency;
mod declines;
mod id;
mod notification;
mod payments;
mod purchase;
mod settings;
mod token;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::Client;
use notification::NotificationVerifier;
pub use settings::{StripeEnvironment, StripeSecrets, StripeSettings};
use wire::CaptureMethod;

use super::common::amounts::ensure_free;
use super::common::call::CallError;
use super::common::rotating_keys::RotatingKeys;
use super::common::time_budget::TimeBudget;
use super::{
    CancelRequest, CancelTarget, Capabilities, CaptureRequest, Decline, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError,
    GatewayName, InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, Outcome, PurchaseRequest, RefundRequest,
    StoreDetailsRequest,
};
use crate::clock::Clock;
use crate::http::{HeaderMap, Transport};
use crate::settings::Problems;

/// The longest time that one operation takes, all its calls included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(25);

/// The same for what a customer waits for at a page.
const CUSTOMER_PRESENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A card payment is `processing` for more than a day where its bank has to announce it first (India: 26 hours and more), a bank debit for
/// some business days (docs.stripe.com, "India recurring payments", "PaymentIntents lifecycle").
const PENDING_PATIENCE: Duration = Duration::from_secs(14 * 24 * 3_600);

/// "Keys can be removed from the system automatically after they're at least 24 hours old" (docs.stripe.com/api/idempotent_requests). Ten
/// minutes are left for clocks and queues.
const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(24 * 3_600 - 600);

/// The adapter.
pub struct Stripe {
    client: Client,
    clock: Arc<dyn Clock>,
    verifier: NotificationVerifier,
}

impl Stripe {
    /// Builds the adapter. `clock` is for the age of signatures.
    ///
    /// # Errors
    /// What is wrong with the secrets.
    pub fn new(
        settings: StripeSettings,
        secrets: StripeSecrets,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Problems> {
        secrets.validate(settings.environment)?;
        let verifier = NotificationVerifier::new(&secrets.webhook_secrets, settings.environment == StripeEnvironment::Live);
        let client = Client::new(transport, settings.base_url, RotatingKeys::new(secrets.api_key, secrets.previous_api_key));
        Ok(Self { client, clock, verifier })
    }
}

#[async_trait]
impl Gateway for Stripe {
    fn name(&self) -> GatewayName {
        GatewayName::Stripe
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            charges_settle_later: false,
            takes_by_capture: false,
            settles_by_notification: false,
            inquiry: true,
            cancel_by_reference: true,
            needs_payment_method: true,
            stored_details_members: &[],
            idempotency_window: IDEMPOTENCY_WINDOW,
            pending_patience: PENDING_PATIENCE,
            call_timeout: CALL_TIMEOUT,
        }
    }

    async fn authorise(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        self.create_payment(request, CaptureMethod::Manual).await.or_else(CallError::into_outcome)
    }

    async fn charge(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        self.create_payment(request, CaptureMethod::Automatic).await.or_else(CallError::into_outcome)
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<Outcome, GatewayError> {
        self.capture_intent(request).await.or_else(CallError::into_outcome)
    }

    /// A capture that Stripe took first (`processing`) used up what was held.
    fn authorisation_may_remain(&self, refusal: &Decline, accepted: bool) -> bool {
        !accepted && !payments::NO_AUTHORISATION_CODES.contains(&refusal.code.as_str())
    }

    async fn cancel(&self, request: &CancelRequest) -> Result<Outcome, GatewayError> {
        let budget = TimeBudget::new(CALL_TIMEOUT);
        let cancelled = match &request.target {
            CancelTarget::Payment(payment) => self.cancel_intent(&budget, request, payment.as_str()).await,
            CancelTarget::Reference { pending_id: Some(pending_id), .. } => self.cancel_intent(&budget, request, pending_id).await,
            CancelTarget::Reference { pending_id: None, reference } => self.cancel_by_reference(&budget, request, reference).await,
        };
        cancelled.or_else(CallError::into_outcome)
    }

    async fn refund(&self, request: &RefundRequest) -> Result<Outcome, GatewayError> {
        self.create_refund(request).await.or_else(CallError::into_outcome)
    }

    async fn inquire(&self, request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError> {
        self.look_up_write(request).await.or_else(|error| error.into_outcome().map(Some))
    }

    /// An intent that does not exist is asked for, which is the answer to a key that may read intents (docs.stripe.com/api/errors,
    /// `resource_missing`).
    async fn check_access(&self) -> Result<(), GatewayError> {
        self.client.check_access(&TimeBudget::new(CALL_TIMEOUT)).await.map_err(CallError::into_access_error)
    }

    async fn delete_details(&self, request: &DeleteDetailsRequest) -> Result<Outcome, GatewayError> {
        self.detach_method(request).await.or_else(CallError::into_outcome)
    }

    async fn start_purchase(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        let started = if request.amount.is_zero() { self.start_setup(request).await } else { self.start_payment(request).await };
        started.or_else(CallError::into_outcome)
    }

    async fn finalize(&self, request: &FinalizeRequest) -> Result<Outcome, GatewayError> {
        self.finalize_intent(request).await.or_else(CallError::into_outcome)
    }

    async fn store_details(&self, request: &StoreDetailsRequest) -> Result<Outcome, GatewayError> {
        ensure_free(request)?;
        self.start_setup(&request.purchase).await.or_else(CallError::into_outcome)
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        Ok(vec![Ok(self.verifier.read(headers, body, self.clock.now())?)])
    }
}
