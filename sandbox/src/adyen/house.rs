//! Adyen as one of the [`House`]s.

use bytes::Bytes;
use connector::gateway::{DeclineClass, GatewayName};
use connector::http::{HeaderMap, HeaderName, HeaderValue};
use connector::ids::ExternalPaymentId;
use connector::money::{Currency, Money};
use serde_json::{Value, json};

use super::{Adyen, Payment, PaymentState};
use crate::house::{Entry, House, LedgerEntry, Posted, Standing, with_query};
use crate::stage::known;

/// Adyen's digits of the currencies that the sandbox uses, said once more so that the adapter's table is not its own witness.
fn exponent(currency: Currency) -> u8 {
    if currency.as_str() == "CLP" { 2 } else { currency.exponent() }
}

fn stored_id(token: &str) -> &str {
    token.split(':').next().unwrap_or_default()
}

const fn code_of(class: DeclineClass) -> &'static str {
    match class {
        DeclineClass::Soft => "12",
        DeclineClass::NeedsCustomer => "38",
        DeclineClass::NeedsNewDetails => "6",
        DeclineClass::Hard => "26",
        DeclineClass::Risk => "46",
        DeclineClass::Cancelled => "16",
    }
}

impl House for Adyen {
    fn gateway(&self) -> GatewayName {
        GatewayName::Adyen
    }

    fn store(&self, customer: &str) -> String {
        format!("{}:{customer}", self.store_method(customer))
    }

    fn is_stored(&self, token: &str) -> bool {
        self.has_method(stored_id(token))
    }

    fn refuse_next(&self, token: &str, class: DeclineClass) -> bool {
        self.refuse_next(stored_id(token), code_of(class));
        true
    }

    fn entered(&self, entry: Entry, number: u32) -> Value {
        let (card, holder) = match entry {
            Entry::Good => ("test_4111111111111111", "Jane Doe"),
            Entry::Asked => ("test_4917610000000000", "Jane Doe"),
            Entry::Refused => ("test_4111111111111111", "NOT_ENOUGH_BALANCE"),
        };
        json!({
            "paymentMethod": {
                "type": "scheme", "encryptedCardNumber": card, "encryptedExpiryMonth": "test_03", "encryptedExpiryYear": "test_2030",
                "encryptedSecurityCode": format!("test_{number}"), "holderName": holder,
            },
            "browserInfo": { "userAgent": "Mozilla/5.0", "language": "en" },
        })
    }

    fn agree(&self, action: &Value) -> Value {
        match action.get("url").and_then(Value::as_str).and_then(|url| url.split_once("result=")) {
            Some((_, result)) => {
                self.finish_away(result);
                json!({ "redirectResult": result })
            }
            None => json!({ "threeDSResult": action.get("token") }),
        }
    }

    fn leave(&self, page: &str, agrees: bool) -> Option<String> {
        let (_, result) = page.split_once("result=")?;
        Some(with_query(&self.leave_away(result, agrees)?, &json!({ "redirectResult": result })))
    }

    fn process(&self) {
        self.process();
    }

    fn take_notifications(&self) -> Vec<Posted> {
        let standard = self.take_notifications().into_iter().map(|body| Posted { headers: HeaderMap::new(), body: Bytes::from(body) });
        let created = self.take_created().into_iter().map(|(signature, body)| {
            let signature = known(HeaderValue::from_str(&signature).ok());
            Posted { headers: HeaderMap::from_iter([(HeaderName::from_static("hmacsignature"), signature)]), body: Bytes::from(body) }
        });
        standard.chain(created).collect()
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        self.payments().iter().map(entry).collect()
    }

    fn charge_back(&self, payment: &ExternalPaymentId) {
        self.charge_back(payment.as_str());
    }

    fn expire(&self, payment: &ExternalPaymentId) {
        self.expire(payment.as_str());
    }

    fn fail_next(&self) -> bool {
        self.fail_next_modification("Insufficient balance on payment");
        true
    }

    fn refuse_next_capture(&self) -> bool {
        self.fail_next()
    }
}

fn entry(payment: &Payment) -> LedgerEntry {
    let currency = known(Currency::new(&payment.currency).ok());
    let money = |value| known(Money::from_exponent(value, exponent(currency), currency).ok());
    LedgerEntry {
        external_payment_id: known(ExternalPaymentId::new(&payment.psp_reference).ok()),
        reference: payment.reference.clone(),
        amount: money(payment.amount),
        standing: match payment.state {
            PaymentState::Pending => Standing::Open,
            PaymentState::Authorised => Standing::Authorised,
            PaymentState::Refused => Standing::Refused,
            PaymentState::Captured => Standing::Captured,
            PaymentState::Cancelled => Standing::Cancelled,
            PaymentState::Expired => Standing::Expired,
            PaymentState::CaptureFailed => Standing::CaptureFailed,
            PaymentState::ChargedBack => Standing::ChargedBack,
        },
        // A verification of nothing is agreed to as well.
        authorised: payment.authorised > 0 || (payment.amount == 0 && payment.state == PaymentState::Authorised),
        captured: money(payment.captured),
        refunded: money(payment.refunded),
    }
}
