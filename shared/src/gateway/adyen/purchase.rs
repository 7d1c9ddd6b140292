//! Payments with the customer present: start, the way through the front end's component, finish. The money of a purchase is taken at once.
//! Must never take an amount, an account or a shopper from what the browser sent.

use serde_json::{Value, json};

use super::wire::{self, ExpectedPayment};
use super::{Adyen, CaptureMethod, page};
use crate::gateway::common::call::{CallError, set_field};
use crate::gateway::common::page_data::pick;
use crate::gateway::{FinalizeRequest, GatewayError, Outcome, PurchaseRequest};

/// The names of stored details in `paymentMethod`: today's and the former one (CheckoutService v71, `PaymentRequest.paymentMethod`).
pub(super) const STORED_DETAILS_MEMBERS: &[&str] = &["storedPaymentMethodId", "recurringDetailReference"];

/// What of the component's `paymentMethod` is passed on: what a customer enters (CheckoutService v71, the objects of
/// `PaymentRequest.paymentMethod`). What names stored details or another network's payment is not passed on: it could belong to another
/// customer.
const PAYMENT_METHOD_FIELDS: &[&str] = &[
    "type",
    "subtype",
    "brand",
    "encryptedCard",
    "encryptedCardNumber",
    "encryptedExpiryMonth",
    "encryptedExpiryYear",
    "encryptedSecurityCode",
    "encryptedPassword",
    "encryptedBankAccountNumber",
    "encryptedBankLocationId",
    "fundingSource",
    "holderName",
    "checkoutAttemptId",
    "sdkData",
    "threeDS2SdkVersion",
    "applePayToken",
    "googlePayToken",
    "googlePayCardNetwork",
    "amazonPayToken",
    "checkoutSessionId",
    "iban",
    "ownerName",
    "bankAccountNumber",
    "bankAccountType",
    "bankLocationId",
    "issuer",
    "telephoneNumber",
    "taxNumber",
    "shopperEmail",
    "firstName",
    "lastName",
    "orderID",
    "payerID",
    "payeePreferred",
];

/// The longest `shopperEmail`, in characters.
const MAX_EMAIL: usize = 256;

/// What is passed on besides, and of each what (CheckoutService v71, `PaymentRequest`). All the rest is ours to say.
const FORWARDED_OBJECTS: &[(&str, &[&str])] = &[
    (
        "browserInfo",
        &[
            "acceptHeader",
            "colorDepth",
            "javaEnabled",
            "javaScriptEnabled",
            "language",
            "screenHeight",
            "screenWidth",
            "timeZoneOffset",
            "userAgent",
        ],
    ),
    ("billingAddress", &["city", "country", "houseNumberOrName", "postalCode", "stateOrProvince", "street"]),
    ("riskData", &["clientData"]),
];
const FORWARDED_TEXTS: &[&str] = &["shopperLocale", "countryCode"];

/// What of the component's or the redirect's data is passed on (CheckoutService v71, `PaymentCompletionDetails`).
const DETAILS_FIELDS: &[&str] = &[
    "redirectResult",
    "threeDSResult",
    "threeds2.challengeResult",
    "threeds2.fingerprint",
    "MD",
    "PaReq",
    "PaRes",
    "payload",
    "authorization_token",
    "billingToken",
    "cupsecureplus.smscode",
    "facilitatorAccessToken",
    "oneTimePasscode",
    "orderID",
    "payerID",
    "paymentID",
    "paymentStatus",
    "resultCode",
];

impl Adyen {
    /// Starts a purchase, or with amount zero a verification.
    pub(super) async fn start_payment(&self, request: &PurchaseRequest) -> Result<Outcome, CallError> {
        let body = self.purchase_body(request)?;
        let expected = ExpectedPayment {
            reference: &request.reference,
            amount: request.amount,
            shopper_reference: request.customer.as_str(),
            reference_required: false,
        };
        self.send_payment(&body, &request.key, &expected).await
    }

    fn purchase_body(&self, request: &PurchaseRequest) -> Result<Value, GatewayError> {
        let method = pick(request.payment_data.get("paymentMethod"), PAYMENT_METHOD_FIELDS);
        let method = method.ok_or_else(|| GatewayError::Malformed { code: "payment_method_missing".to_owned() })?;
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
            set_field(&mut body, "storePaymentMethod", true);
            // The first payment has to say already what the later ones will be.
            set_field(&mut body, "recurringProcessingModel", "Subscription");
        }
        for (name, fields) in FORWARDED_OBJECTS {
            if let Some(mut object) = pick(request.payment_data.get(*name), fields) {
                if *name == "billingAddress" {
                    page::complete_address(&mut object);
                }
                set_field(&mut body, name, object);
            }
        }
        for (name, text) in pick(Some(&request.payment_data), FORWARDED_TEXTS).into_iter().flatten().filter(|(_, text)| text.is_string()) {
            set_field(&mut body, &name, text);
        }
        if let Some(authentication) = self.authentication_data(&request.payment_data) {
            set_field(&mut body, "authenticationData", authentication);
        }
        // Visa and JCB want it for 3-D Secure 2 (CheckoutService v71, `PaymentRequest.shopperEmail`).
        if let Some(email) = request.customer_email.as_ref().filter(|email| email.as_str().chars().count() <= MAX_EMAIL) {
            set_field(&mut body, "shopperEmail", email.as_str());
        }
        if let Some(origin) = &request.origin {
            set_field(&mut body, "origin", origin.as_str());
        }
        if let Some(ip) = &request.customer_ip {
            set_field(&mut body, "shopperIP", ip.as_str());
        }
        if !request.amount.is_zero() {
            self.capture_fields(CaptureMethod::Automatic, &mut body);
        }
        Ok(body)
    }

    /// Submits the data that the customer returned with. It comes from a browser, so the answer has to name our own payment.
    pub(super) async fn submit_details(&self, request: &FinalizeRequest) -> Result<Outcome, CallError> {
        let nested = request.details.get("details").filter(|details| details.is_object());
        let details = pick(nested.or(Some(&request.details)), DETAILS_FIELDS).filter(|details| !details.is_empty());
        let details = details.ok_or_else(|| CallError::malformed("details_missing"))?;
        let mut body = json!({ "details": details });
        if let (Some(_), Some(Value::String(data))) = (nested, request.details.get("paymentData")) {
            set_field(&mut body, "paymentData", data.as_str());
        }
        let expected = ExpectedPayment {
            reference: &request.reference,
            amount: request.amount,
            shopper_reference: request.customer.as_str(),
            reference_required: true,
        };
        wire::read_payment(&self.client.post("/payments/details", &body, &request.key).await?, &expected)
    }
}
