//! Payments with the customer present: start, the way through the front end's component, finish. The money of a purchase is taken at once.
//! Must never take an amount, an account or a shopper from what the browser sent.

use serde_json::{Value, json};

use super::client::ApiResponse;
use super::wire::{self, ExpectedPayment};
use super::{Adyen, CaptureMethod, set_field};
use crate::gateway::{FinalizeRequest, GatewayError, Outcome, PurchaseRequest};

/// What of the front-end component's data is passed on besides `paymentMethod` (CheckoutService v71, `PaymentRequest`). All the rest is ours
/// to say.
const FORWARDED_FIELDS: &[&str] = &["browserInfo", "billingAddress", "riskData", "shopperLocale", "countryCode"];

impl Adyen {
    /// Starts a purchase, or with amount zero a verification.
    pub(super) async fn start_payment(&self, request: &PurchaseRequest) -> Result<Outcome, GatewayError> {
        let body = self.purchase_body(request)?;
        let expected = ExpectedPayment {
            reference: &request.reference,
            amount: request.amount,
            shopper_reference: request.customer.as_str(),
            reference_required: false,
        };
        match self.client.post("/payments", &body, &request.key).await? {
            ApiResponse::Decided(outcome) => Ok(outcome),
            ApiResponse::Body(answer) => wire::read_payment(&answer, &expected),
        }
    }

    fn purchase_body(&self, request: &PurchaseRequest) -> Result<Value, GatewayError> {
        let method = request.payment_data.get("paymentMethod").filter(|method| method.is_object());
        let Some(method) = method else { return Err(GatewayError::Malformed { code: "payment_method_missing".to_owned() }) };
        let mut body = json!({
            "merchantAccount": self.settings.merchant_account,
            "reference": request.reference.as_str(),
            "amount": wire::amount(request.amount)?,
            "returnUrl": request.return_url,
            "paymentMethod": method,
            "shopperReference": request.customer.as_str(),
            "shopperInteraction": "Ecommerce",
            "channel": "Web",
        });
        if request.store {
            set_field(&mut body, "storePaymentMethod", json!(true));
            // The first payment has to say already what the later ones will be.
            set_field(&mut body, "recurringProcessingModel", json!("Subscription"));
        }
        for name in FORWARDED_FIELDS {
            if let Some(value) = request.payment_data.get(*name) {
                set_field(&mut body, name, value.clone());
            }
        }
        if let Some(origin) = &request.origin {
            set_field(&mut body, "origin", json!(origin));
        }
        if let Some(ip) = &request.customer_ip {
            set_field(&mut body, "shopperIP", json!(ip));
        }
        if !request.amount.is_zero() {
            self.capture_fields(CaptureMethod::Automatic, &mut body);
        }
        Ok(body)
    }

    /// Hands in what the customer brought back. It comes from a browser, so the answer has to name our own payment.
    pub(super) async fn submit_details(&self, request: &FinalizeRequest) -> Result<Outcome, GatewayError> {
        let nested = request.details.get("details").filter(|details| details.is_object());
        let details = nested.unwrap_or(&request.details);
        if details.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(GatewayError::Malformed { code: "details_missing".to_owned() });
        }
        let mut body = json!({ "details": details });
        if let (Some(_), Some(Value::String(data))) = (nested, request.details.get("paymentData")) {
            set_field(&mut body, "paymentData", json!(data));
        }
        let expected = ExpectedPayment {
            reference: &request.reference,
            amount: request.amount,
            shopper_reference: request.customer.as_str(),
            reference_required: true,
        };
        match self.client.post("/payments/details", &body, &request.key).await? {
            ApiResponse::Decided(outcome) => Ok(outcome),
            ApiResponse::Body(answer) => wire::read_payment(&answer, &expected),
        }
    }
}
