//! Adyen as one of the [`SimulatedGateway`]s.

use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName, OperationKind, RetryAdvice};
use connector::http::{HeaderMap, HeaderName, HeaderValue, Method};
use connector::ids::ExternalPaymentId;
use connector::money::{Currency, Money};
use serde_json::{Value, json};

use crate::expect::expect_fixture;
use crate::simulators::adyen::state::State;
use crate::simulators::adyen::{AdyenSimulator, Payment, PaymentState};
use crate::simulators::simulated_gateway::{
    EnteredDetails, LedgerEntry, LedgerStatus, MoneyCall, NotificationRequest, SimulatedGateway, mastercard_advice_code, with_query,
};

/// Adyen's digits of the currencies that the sandbox uses, said once more so that the adapter's table is not its own witness.
fn exponent(currency: Currency) -> u8 {
    if currency.as_str() == "CLP" { 2 } else { currency.exponent() }
}

fn stored_id(token: &str) -> &str {
    token.split(':').next().unwrap_or_default()
}

const fn refusal_code(class: DeclineClass) -> &'static str {
    match class {
        DeclineClass::Soft => "12",
        DeclineClass::NeedsCustomer => "38",
        DeclineClass::NeedsNewDetails => "6",
        DeclineClass::Hard => "23",
        DeclineClass::Risk => "20",
        DeclineClass::Cancelled => "16",
    }
}

impl SimulatedGateway for AdyenSimulator {
    fn gateway_name(&self) -> GatewayName {
        GatewayName::Adyen
    }

    fn add_stored_details(&self, customer: &str) -> String {
        format!("{}:{customer}", self.store_method(customer))
    }

    fn has_stored_details(&self, token: &str) -> bool {
        self.has_method(stored_id(token))
    }

    fn decline_next(&self, token: &str, class: DeclineClass) -> bool {
        self.decline_next_with(stored_id(token), refusal_code(class));
        true
    }

    fn decline_next_with_advice(&self, token: &str, advice: RetryAdvice) -> bool {
        self.decline_next_with_advice_code(stored_id(token), "2", mastercard_advice_code(advice));
        true
    }

    fn use_another_account(&self, another: bool) {
        self.hide_methods(another);
    }

    fn update_details(&self, token: &str) -> bool {
        self.replace_card(stored_id(token));
        true
    }

    fn payment_data(&self, entry: EnteredDetails, number: u32) -> Value {
        let (card, holder) = match entry {
            EnteredDetails::Frictionless => ("test_4111111111111111", "Jane Doe"),
            EnteredDetails::ActionRequired => ("test_4917610000000000", "Jane Doe"),
            EnteredDetails::Declined => ("test_4111111111111111", "NOT_ENOUGH_BALANCE"),
        };
        json!({
            "paymentMethod": {
                "type": "scheme", "encryptedCardNumber": card, "encryptedExpiryMonth": "test_03", "encryptedExpiryYear": "test_2030",
                "encryptedSecurityCode": format!("test_{number}"), "holderName": holder,
            },
            "browserInfo": {
                "acceptHeader": "*/*", "colorDepth": 24, "javaEnabled": false, "language": "en", "screenHeight": 1080, "screenWidth": 1920,
                "timeZoneOffset": -60, "userAgent": "Mozilla/5.0",
            },
        })
    }

    fn complete_action(&self, action: &Value) -> Value {
        match action.get("url").and_then(Value::as_str).and_then(|url| url.split_once("result=")) {
            Some((_, result)) => {
                self.finish_without_returning(result);
                json!({ "redirectResult": result })
            }
            None => json!({ "threeDSResult": action.get("token") }),
        }
    }

    fn complete_redirect(&self, page: &str, agrees: bool) -> Option<String> {
        let (_, result) = page.split_once("result=")?;
        Some(with_query(&self.leave_bank_page(result, agrees)?, &json!({ "redirectResult": result })))
    }

    fn process(&self) {
        self.process();
    }

    fn take_notifications(&self) -> Vec<NotificationRequest> {
        let standard =
            self.take_notifications().into_iter().map(|body| NotificationRequest { headers: HeaderMap::new(), body: Bytes::from(body) });
        let created = self.take_tokenization_webhooks().into_iter().map(|(signature, body)| {
            let signature = expect_fixture(HeaderValue::from_str(&signature).ok());
            NotificationRequest {
                headers: HeaderMap::from_iter([(HeaderName::from_static("hmacsignature"), signature)]),
                body: Bytes::from(body),
            }
        });
        standard.chain(created).collect()
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        let state = self.lock();
        state.payments.iter().map(|payment| ledger_entry(&state, payment)).collect()
    }

    /// A capture is only acknowledged, and decided when it is processed.
    fn leave_next_undecided(&self, token: &str, operation: OperationKind, until: Timestamp, approves: bool) -> bool {
        let is_payment = operation != OperationKind::Capture;
        if is_payment {
            self.leave_next_received(stored_id(token), until, approves);
        }
        is_payment
    }

    fn approve_after_refusal(&self, payment: &ExternalPaymentId) -> bool {
        self.approve_after_refusal(payment.as_str())
    }

    fn fail_next_refund(&self) -> bool {
        self.fail_next_refund();
        true
    }

    fn charge_back(&self, payment: &ExternalPaymentId) {
        self.charge_back(payment.as_str());
    }

    fn return_charge_back(&self, payment: &ExternalPaymentId) {
        self.reverse_chargeback(payment.as_str());
    }

    fn expire(&self, payment: &ExternalPaymentId) {
        self.expire(payment.as_str());
    }

    fn sign_notifications_with(&self, key: &str) {
        self.sign_with(key);
    }

    fn unknown_notification(&self, entry: &LedgerEntry) -> Option<NotificationRequest> {
        let body = self.notification("SIMULATED_NEW_CODE", true, "8835511210681324", entry.external_payment_id.as_str(), &entry.reference);
        Some(NotificationRequest { headers: HeaderMap::new(), body: Bytes::from(body) })
    }

    /// The signature covers nothing of it.
    fn enlarged(&self, notification: &NotificationRequest, filler: usize) -> Option<NotificationRequest> {
        let mut body: Value = serde_json::from_slice(&notification.body).ok()?;
        let data = body.pointer_mut("/notificationItems/0/NotificationRequestItem/additionalData")?.as_object_mut()?;
        data.insert("filler".to_owned(), Value::from("x".repeat(filler)));
        Some(NotificationRequest { body: Bytes::from(body.to_string()), ..notification.clone() })
    }

    fn money_call(&self, method: &Method, path: &str, body: &[u8]) -> Option<MoneyCall> {
        let (state, body) = (self.lock(), serde_json::from_slice::<Value>(body).ok()?);
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let path = path.strip_prefix("/checkout").unwrap_or(path);
        match path.strip_prefix("/v71/payments").filter(|_| *method == Method::POST)? {
            "" if body.pointer("/amount/value").and_then(Value::as_i64) == Some(0) => None,
            "" => match text("/paymentMethod/storedPaymentMethodId") {
                Some(stored) => Some(MoneyCall::Renewal(stored)),
                None => text("/shopperReference").map(MoneyCall::Purchase),
            },
            modification => {
                let id = modification.strip_prefix('/')?.strip_suffix("/captures")?;
                let payment = state.payments.iter().find(|payment| payment.psp_reference == id)?;
                Some(MoneyCall::Capture(payment.reference.clone()))
            }
        }
    }

    fn is_release(&self, method: &Method, path: &str) -> bool {
        *method == Method::POST && path.ends_with("/cancels")
    }

    fn fail_next_operation(&self) -> bool {
        self.fail_next_modification("Insufficient balance on payment");
        true
    }

    fn decline_next_capture(&self) -> bool {
        self.fail_next_operation()
    }
}

fn ledger_entry(state: &State, payment: &Payment) -> LedgerEntry {
    let currency = expect_fixture(Currency::new(&payment.currency).ok());
    let money = |value| expect_fixture(Money::from_exponent(value, exponent(currency), currency).ok());
    LedgerEntry {
        external_payment_id: expect_fixture(ExternalPaymentId::new(&payment.psp_reference).ok()),
        authorisation_id: expect_fixture(ExternalPaymentId::new(&payment.psp_reference).ok()),
        reference: payment.reference.clone(),
        amount: money(payment.amount),
        status: match payment.state {
            PaymentState::Pending => LedgerStatus::Pending,
            PaymentState::Authorised => LedgerStatus::Authorised,
            PaymentState::Refused => LedgerStatus::Declined,
            PaymentState::Captured => LedgerStatus::Captured,
            PaymentState::Cancelled => LedgerStatus::Cancelled,
            PaymentState::Expired => LedgerStatus::Expired,
            PaymentState::CaptureFailed => LedgerStatus::CaptureFailed,
            PaymentState::ChargedBack => LedgerStatus::ChargedBack,
        },
        // A verification of nothing is agreed to as well.
        authorised: payment.authorised > 0 || (payment.amount == 0 && payment.state == PaymentState::Authorised),
        captured: money(payment.captured),
        refunded: money(payment.refunded),
        asked_back: money(state.asked_back(payment)),
        stored_details: payment.stored_payment_method_id.clone(),
        customer: payment.shopper_reference.clone(),
    }
}
