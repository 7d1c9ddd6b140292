//! Adyen, Checkout API v71.
//!
//! | file | purpose |
//! |---|---|
//! | `mod.rs` | the [`Gateway`] and what it asks of Adyen |
//! | `purchase.rs` | payments with the customer present |
//! | `client.rs` | one call: credentials, idempotency key, statuses |
//! | `wire.rs` | answers, read by hand |
//! | `declines.rs`, `currency.rs`, `token.rs` | refusal codes, exponents, stored tokens |
//! | `notification.rs` | the standard webhook, the tokenization webhook, and their HMACs |
//! | `settings.rs` | settings and secrets |
//!
//! Adyen only acknowledges captures, cancels and refunds and reports the result by notification; it has no way to ask for a payment's
//! state. A payment's id is always the `pspReference` of its authorisation. This module must never read an acknowledgement as success, nor
//! put another id in that one's place.

mod client;
pub mod currency;
mod declines;
mod notification;
mod page;
mod purchase;
mod settings;
mod token;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
pub use client::CALL_TIMEOUT;
use client::Client;
use declines::RefusalClass;
pub use page::AdyenPageSettings;
use serde_json::{Value, json};
pub use settings::{AdyenEnvironment, AdyenSecrets, AdyenSettings, CaptureMode};
use token::{AdyenToken, escape};
use wire::{ExpectedModification, ExpectedPayment};

use super::common::amounts::{ensure_free, ensure_positive, ensure_refundable};
use super::common::call::{CallError, set_field};
use super::{
    CancelRequest, CancelTarget, Capabilities, CaptureRequest, Decline, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError,
    GatewayName, IdempotencyKey, InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, Operation, Outcome,
    PageMethodsQuery, PurchaseRequest, Reference, RefundRequest, StoreDetailsRequest,
};
use crate::http::{HeaderMap, Transport};
use crate::ids::ExternalPaymentId;
use crate::money::Money;
use crate::settings::Problems;

/// Adyen promises at least seven days (docs.adyen.com, "API idempotency"); an hour is left for clocks and queues.
const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(7 * 24 * 3_600 - 3_600);

/// A SEPA direct debit, the slowest method of a purchase, is `Received` until its bank has decided, up to 14 business days (docs.adyen.com,
/// "SEPA Direct Debit"; EPC, SEPA Core rulebook); a card within hours.
const PENDING_PATIENCE: Duration = Duration::from_secs(21 * 24 * 3_600);

/// Adyen's codes for stored details that do not exist (any more): "Contract not found", "PaymentDetail not found" (docs.adyen.com, "Error
/// codes and messages").
const NO_SUCH_DETAILS: &[&str] = &["800", "803"];

/// The adapter.
pub struct Adyen {
    client: Client,
    settings: AdyenSettings,
    verifier: notification::NotificationVerifier,
}

/// When the money of a payment is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CaptureMethod {
    Manual,
    Automatic,
}

impl Adyen {
    /// Builds the adapter.
    ///
    /// # Errors
    /// What is wrong with the secrets.
    pub fn new(settings: AdyenSettings, secrets: AdyenSecrets, transport: Arc<dyn Transport>) -> Result<Self, Problems> {
        secrets.validate()?;
        let verifier = notification::NotificationVerifier::new(&secrets.hmac_keys, settings.merchant_account.clone());
        let client = Client::new(transport, settings.base_url.clone(), secrets.api_key, secrets.previous_api_key);
        Ok(Self { client, settings, verifier })
    }

    /// The fields that decide when the money is taken. `manualCapture` and `captureDelayHours` override an automatic account's setting for
    /// one payment (CheckoutService v71, `AdditionalDataCommon` and `PaymentRequest`). Nothing overrides a manual account's: its charges and
    /// purchases are captured by a call of their own.
    fn capture_fields(&self, capture_method: CaptureMethod, body: &mut Value) {
        match (capture_method, self.settings.capture_mode) {
            (CaptureMethod::Manual, _) => set_field(body, "additionalData", json!({ "manualCapture": "true" })),
            (CaptureMethod::Automatic, CaptureMode::Manual) => {}
            // An account that captures automatically may do so with a delay of days.
            (CaptureMethod::Automatic, CaptureMode::Automatic) => set_field(body, "captureDelayHours", 0),
        }
    }

    async fn create_payment(&self, request: &MerchantInitiated, capture_method: CaptureMethod) -> Result<Outcome, CallError> {
        let token = AdyenToken::read(&request.token, &request.customer)?;
        let mut body = json!({
            "merchantAccount": self.settings.merchant_account,
            "reference": request.reference.as_str(),
            "amount": wire::amount(request.amount)?,
            "returnUrl": self.settings.return_url,
            "paymentMethod": { "type": "scheme", "storedPaymentMethodId": token.stored_payment_method_id.expose() },
            "shopperReference": token.shopper_reference,
            "shopperInteraction": "ContAuth",
            "recurringProcessingModel": "Subscription",
        });
        self.capture_fields(capture_method, &mut body);
        let expected = ExpectedPayment {
            reference: &request.reference,
            amount: request.amount,
            shopper_reference: &token.shopper_reference,
            reference_required: false,
        };
        self.send_payment(&body, &request.key, &expected).await
    }

    /// Posts a payment. An error about its details is a decline, and one about its amount says that nobody can pay it.
    async fn send_payment(&self, body: &Value, key: &IdempotencyKey, expected: &ExpectedPayment<'_>) -> Result<Outcome, CallError> {
        match self.client.post("/payments", body, key).await {
            Ok(answer) => wire::read_payment(&answer, expected),
            Err(CallError::NoEffect(GatewayError::Malformed { code })) => match declines::classify_error(code) {
                RefusalClass::Decline(decline) => Ok(Outcome::Declined(decline)),
                RefusalClass::InvalidAmount(code) => Err(GatewayError::BelowMinimum { code }.into()),
                RefusalClass::ConnectorFault(code) => Err(CallError::malformed(code)),
            },
            Err(error) => Err(error),
        }
    }

    /// Captures or refunds an amount of a payment.
    async fn modify_amount(
        &self,
        kind: &str,
        payment: &ExternalPaymentId,
        amount: Money,
        reference: &Reference,
        key: &IdempotencyKey,
    ) -> Result<Outcome, CallError> {
        let merchant_account = self.settings.merchant_account.as_str();
        let body = json!({ "merchantAccount": merchant_account, "amount": wire::amount(amount)?, "reference": reference.as_str() });
        let expected = ExpectedModification { payment: Some(payment), merchant_account, amount: Some(amount), payment_reference: None };
        self.modify(&payment_path(payment, kind), &body, key, &expected).await
    }

    async fn modify(
        &self,
        path: &str,
        body: &Value,
        key: &IdempotencyKey,
        expected: &ExpectedModification<'_>,
    ) -> Result<Outcome, CallError> {
        Ok(wire::read_modification(&self.client.post(path, body, key).await?, expected))
    }
}

fn payment_path(payment: &ExternalPaymentId, operation: &str) -> String {
    format!("/payments/{}/{operation}", escape(payment.as_str()))
}

#[async_trait]
impl Gateway for Adyen {
    fn name(&self) -> GatewayName {
        GatewayName::Adyen
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            charges_settle_later: false,
            takes_by_capture: self.settings.capture_mode == CaptureMode::Manual,
            settles_by_notification: true,
            inquiry: false,
            cancel_by_reference: true,
            needs_payment_method: true,
            stored_details_members: purchase::STORED_DETAILS_MEMBERS,
            idempotency_window: IDEMPOTENCY_WINDOW,
            pending_patience: PENDING_PATIENCE,
            call_timeout: CALL_TIMEOUT,
        }
    }

    async fn authorise(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        self.create_payment(request, CaptureMethod::Manual).await.or_else(CallError::into_outcome)
    }

    async fn charge(&self, request: &MerchantInitiated) -> Result<Outcome, GatewayError> {
        ensure_positive(request.amount)?;
        self.create_payment(request, CaptureMethod::Automatic).await.or_else(CallError::into_outcome)
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<Outcome, GatewayError> {
        ensure_positive(request.amount)?;
        let modified = self.modify_amount("captures", &request.external_payment_id, request.amount, &request.reference, &request.key);
        modified.await.or_else(CallError::into_outcome)
    }

    /// A capture is refused by notification (CAPTURE, `success` false), whose reason is not signed: it says nothing about the
    /// authorisation.
    fn authorisation_may_remain(&self, _refusal: &Decline, _accepted: bool) -> bool {
        true
    }

    async fn cancel(&self, request: &CancelRequest) -> Result<Outcome, GatewayError> {
        let mut body = json!({ "merchantAccount": self.settings.merchant_account, "reference": request.reference.as_str() });
        let expected = ExpectedModification {
            payment: None,
            merchant_account: &self.settings.merchant_account,
            amount: None,
            payment_reference: None,
        };
        let modified = match &request.target {
            CancelTarget::Payment(payment) => {
                let expected = ExpectedModification { payment: Some(payment), ..expected };
                self.modify(&payment_path(payment, "cancels"), &body, &request.key, &expected).await
            }
            CancelTarget::Reference { reference, .. } => {
                set_field(&mut body, "paymentReference", reference.as_str());
                let expected = ExpectedModification { payment_reference: Some(reference), ..expected };
                self.modify("/cancels", &body, &request.key, &expected).await
            }
        };
        modified.or_else(CallError::into_outcome)
    }

    async fn refund(&self, request: &RefundRequest) -> Result<Outcome, GatewayError> {
        ensure_refundable(request)?;
        let modified = self.modify_amount("refunds", &request.external_payment_id, request.amount, &request.reference, &request.key);
        modified.await.or_else(CallError::into_outcome)
    }

    /// Adyen's Checkout API has no way to read a payment: what became of it comes by notification, or by the same call under the same key.
    async fn inquire(&self, _request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError> {
        Ok(None)
    }

    /// Which payment methods the account has (CheckoutService v71, `POST /paymentMethods`): a question that needs the key and the account.
    async fn check_access(&self) -> Result<(), GatewayError> {
        let body = json!({ "merchantAccount": self.settings.merchant_account });
        self.client.ask("/paymentMethods", &body).await.map(drop).map_err(CallError::into_access_error)
    }

    async fn delete_details(&self, request: &DeleteDetailsRequest) -> Result<Outcome, GatewayError> {
        let token = AdyenToken::read(&request.token, &request.customer)?;
        let path = format!(
            "/storedPaymentMethods/{}?merchantAccount={}&shopperReference={}",
            escape(token.stored_payment_method_id.expose()),
            escape(&self.settings.merchant_account),
            escape(&token.shopper_reference),
        );
        let deleted = self.client.delete(&path, NO_SUCH_DETAILS).await.map(|()| Outcome::Done(Operation::default()));
        deleted.or_else(CallError::into_outcome)
    }

    async fn start_purchase(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        self.start_payment(request).await.or_else(CallError::into_outcome)
    }

    fn check_page_data(&self, payment_data: &Value, return_url: Option<&str>) -> Result<(), &'static str> {
        page::check(payment_data, return_url)
    }

    async fn list_page_methods(&self, query: &PageMethodsQuery) -> Result<Option<Value>, GatewayError> {
        self.list_methods(query).await.map_err(CallError::into_access_error)
    }

    async fn open_page_session(&self, query: &PageMethodsQuery, return_url: &str) -> Result<Option<Value>, GatewayError> {
        self.open_session(query, return_url).await.map_err(CallError::into_access_error)
    }

    async fn finalize(&self, request: &FinalizeRequest) -> Result<Outcome, GatewayError> {
        self.submit_details(request).await.or_else(CallError::into_outcome)
    }

    async fn store_details(&self, request: &StoreDetailsRequest) -> Result<Outcome, GatewayError> {
        ensure_free(request)?;
        self.start_purchase(&PurchaseRequest { store: true, ..request.purchase.clone() }).await
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        self.verifier.read(headers, body)
    }
}
