//! ExampleGateway: TODO the API and its version.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | the [`Gateway`] |
//! | `client.rs` | one call: key, idempotency key, statuses |
//! | `currency.rs` | amounts in ExampleGateway's minor units |
//! | `declines.rs` | the class of each code |
//! | `token.rs` | stored details as one text |
//! | `notification.rs` | whether a webhook is ExampleGateway's, and what it says |
//! | `settings.rs` | settings and secrets |
//!
//! A skeleton: every operation answers that it is not supported. The checks of the contract say which one is to be written next.

mod client;
#[cfg_attr(not(test), expect(dead_code, reason = "the first operation that is written uses it"))]
mod currency;
#[cfg_attr(not(test), expect(dead_code, reason = "the first operation that is written uses it"))]
mod declines;
mod notification;
mod settings;
#[cfg_attr(not(test), expect(dead_code, reason = "the first operation that is written uses it"))]
mod token;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::Client;
use notification::NotificationVerifier;
pub use settings::{ExampleGatewayEnvironment, ExampleGatewaySecrets, ExampleGatewaySettings};

use super::common::call::CallError;
use super::common::rotating_keys::RotatingKeys;
use super::common::time_budget::TimeBudget;
use super::{
    CancelRequest, Capabilities, CaptureRequest, Decline, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError, GatewayName,
    InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, Outcome, PurchaseRequest, RefundRequest, StoreDetailsRequest,
};
use crate::http::{HeaderMap, Transport};
use crate::settings::Problems;

/// The longest time that one operation takes, all its calls included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a key is honoured, with something left for clocks and queues. TODO: by the gateway's documentation, which is named here.
const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// TODO: how long a payment can stay undecided, from the gateway's documents.
const PENDING_PATIENCE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The adapter.
pub struct ExampleGateway {
    client: Client,
    verifier: NotificationVerifier,
}

impl ExampleGateway {
    /// Builds the adapter.
    ///
    /// # Errors
    /// What is wrong with the secrets.
    pub fn new(settings: ExampleGatewaySettings, secrets: ExampleGatewaySecrets, transport: Arc<dyn Transport>) -> Result<Self, Problems> {
        secrets.validate()?;
        let verifier = NotificationVerifier::new(&secrets.webhook_secrets);
        let client = Client::new(transport, settings.base_url, RotatingKeys::new(secrets.api_key, secrets.previous_api_key));
        Ok(Self { client, verifier })
    }
}

#[async_trait]
impl Gateway for ExampleGateway {
    fn name(&self) -> GatewayName {
        GatewayName::ExampleGateway
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            charges_settle_later: false,
            takes_by_capture: false,
            settles_by_notification: false,
            inquiry: false,
            cancel_by_reference: false,
            needs_payment_method: true,
            stored_details_members: &[],
            idempotency_window: IDEMPOTENCY_WINDOW,
            pending_patience: PENDING_PATIENCE,
            call_timeout: CALL_TIMEOUT,
        }
    }

    async fn authorise(&self, _request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn charge(&self, _request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn capture(&self, _request: &CaptureRequest) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    /// TODO: what a refusal says about the authorisation.
    fn authorisation_may_remain(&self, _refusal: &Decline, _accepted: bool) -> bool {
        true
    }

    async fn cancel(&self, _request: &CancelRequest) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn refund(&self, _request: &RefundRequest) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn inquire(&self, _request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError> {
        Ok(None)
    }

    async fn check_access(&self) -> Result<(), GatewayError> {
        self.client.check_access(&TimeBudget::new(CALL_TIMEOUT)).await.map_err(CallError::into_access_error)
    }

    async fn delete_details(&self, _request: &DeleteDetailsRequest) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn start_purchase(&self, _request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn finalize(&self, _request: &FinalizeRequest) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn store_details(&self, _request: &StoreDetailsRequest) -> Result<Outcome, GatewayError> {
        Err(GatewayError::Unsupported)
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        Ok(vec![Ok(self.verifier.read(headers, body)?)])
    }
}
