use serde_json::json;

use super::*;
use crate::gateway::DeclineClass;
use crate::money::Currency;

const OURS: &str = "clg-00112233-4455-8677-8899-aabbccddeeff";
const OTHERS: &str = "clg-ffeeddcc-bbaa-8988-8766-554433221100";

fn reference() -> Reference {
    Reference::parse(OURS).unwrap()
}

fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::new("EUR").unwrap())
}

fn intent(status: &str) -> Value {
    json!({
        "id": "pi_1Gt0RP2eZvKYlo2C", "object": "payment_intent", "status": status, "amount": 999, "currency": "eur",
        "capture_method": "manual", "metadata": { "reference": OURS, "cleengCustomerId": "4711" },
    })
}

fn with(mut intent: Value, name: &str, value: Value) -> Value {
    intent.as_object_mut().unwrap().insert(name.to_owned(), value);
    intent
}

fn read(intent: &Value, capture_method: CaptureMethod) -> Outcome {
    let reference = reference();
    read_payment(intent, &ExpectedPayment { reference: &reference, amount: eur(999), capture_method: Some(capture_method), customer: None })
}

fn outcome_code(intent: &Value) -> &'static str {
    read(intent, CaptureMethod::Manual).as_str()
}

#[test]
fn every_status_of_an_intent_means_what_stripe_says() {
    for (status, outcome) in [
        ("requires_capture", "done"),
        ("succeeded", "done"),
        ("processing", "received"),
        ("requires_payment_method", "declined"),
        ("canceled", "declined"),
        // Not confirmed: neither done nor refused.
        ("requires_confirmation", "unknown"),
        ("requires_action", "unknown"),
        ("brand_new_status", "unknown"),
        ("", "unknown"),
    ] {
        assert_eq!(outcome_code(&intent(status)), outcome, "{status}");
    }
}

#[test]
fn a_payment_that_waits_for_the_bank_has_its_id_and_amount() {
    let Outcome::Received(operation) = read(&intent("processing"), CaptureMethod::Manual) else { panic!("not received") };
    assert_eq!((operation.external_payment_id.unwrap().as_str(), operation.amount), ("pi_1Gt0RP2eZvKYlo2C", Some(eur(999))));
    let Outcome::Done(operation) = read(&intent("requires_capture"), CaptureMethod::Manual) else { panic!("not done") };
    assert_eq!((operation.external_payment_id.unwrap().as_str(), operation.amount), ("pi_1Gt0RP2eZvKYlo2C", Some(eur(999))));
}

#[test]
fn money_that_is_only_held_was_not_taken_at_once() {
    let held = with(intent("requires_capture"), "capture_method", json!("automatic"));
    assert_eq!(read(&held, CaptureMethod::Automatic).as_str(), "unknown");
}

#[test]
fn an_answer_that_does_not_fit_what_was_asked_is_unknown() {
    let good = intent("requires_capture");
    for (name, value) in [
        ("id", json!("ch_1")),
        ("id", json!(7)),
        ("amount", json!(998)),
        ("amount", json!("999")),
        ("currency", json!("usd")),
        ("amount_capturable", json!(500)),
        ("capture_method", json!("automatic")),
        ("metadata", json!({})),
        ("metadata", json!({ "reference": "order-17" })),
    ] {
        assert_eq!(outcome_code(&with(good.clone(), name, value.clone())), "unknown", "{name}: {value}");
    }
    // What was taken counts, not what was asked for.
    for received in [json!(500), json!(0), Value::Null] {
        assert_eq!(outcome_code(&with(intent("succeeded"), "amount_received", received.clone())), "unknown", "{received}");
    }
    assert_eq!(outcome_code(&with(intent("succeeded"), "amount_received", json!(999))), "done");
    let other = with(good, "metadata", json!({ "reference": OTHERS }));
    assert!(matches!(read(&other, CaptureMethod::Manual), Outcome::Unknown(UnknownCause::AnotherPayment)));
}

#[test]
fn a_payment_of_another_customer_is_not_his() {
    let (reference, customer) = (reference(), CustomerId::new("4712").unwrap());
    let expected = ExpectedPayment { reference: &reference, amount: eur(999), capture_method: None, customer: Some(&customer) };
    assert_eq!(read_payment(&intent("succeeded"), &expected).as_str(), "unknown");
}

#[test]
fn a_refused_payment_keeps_its_intent_and_the_banks_code() {
    let error = json!({ "code": "card_declined", "decline_code": "insufficient_funds" });
    let refused = with(intent("requires_payment_method"), "last_payment_error", error);
    let Outcome::Declined(decline) = read(&refused, CaptureMethod::Manual) else { panic!("not declined") };
    assert_eq!((decline.class, decline.code.as_str()), (DeclineClass::Soft, "insufficient_funds"));
    assert_eq!(decline.payment.unwrap().as_str(), "pi_1Gt0RP2eZvKYlo2C");
}

#[test]
fn the_customer_is_sent_to_his_bank_or_left_to_stripes_script() {
    let redirect = json!({ "type": "redirect_to_url", "redirect_to_url": { "url": "https://hooks.stripe.com/x" } });
    let Outcome::ActionRequired(action, operation) = read(&with(intent("requires_action"), "next_action", redirect), CaptureMethod::Manual)
    else {
        panic!("no action")
    };
    assert_eq!(action.payload, json!({ "type": "redirect", "url": "https://hooks.stripe.com/x", "method": "GET" }));
    assert_eq!(operation.pending_id.as_deref(), Some("pi_1Gt0RP2eZvKYlo2C"));
    let sdk = with(intent("requires_action"), "next_action", json!({ "type": "use_stripe_sdk" }));
    let sdk = with(sdk, "client_secret", json!("pi_1Gt0RP2eZvKYlo2C_secret_x"));
    let Outcome::ActionRequired(action, _) = read(&sdk, CaptureMethod::Manual) else { panic!("no action") };
    assert_eq!(action.payload["type"], "sdk");
    assert_eq!(operation.external_payment_id.unwrap().as_str(), "pi_1Gt0RP2eZvKYlo2C");
    for url in ["http://hooks.stripe.com/x".to_owned(), "javascript:alert(1)".to_owned(), format!("https://{}", "x".repeat(2_048))] {
        let next = json!({ "type": "redirect_to_url", "redirect_to_url": { "url": url } });
        assert_eq!(outcome_code(&with(intent("requires_action"), "next_action", next)), "unknown", "{url}");
    }
    // Another intent's secret would let the page act on that one.
    assert_eq!(outcome_code(&with(sdk, "client_secret", json!("pi_other_secret_x"))), "unknown");
}

#[test]
fn details_are_kept_only_where_they_were_to_be_stored_and_shown_only_where_harmless() {
    let method = json!({
        "id": "pm_1", "billing_details": { "name": "Jane Doe", "email": "jane@example.com" },
        "card": { "brand": "visa", "last4": "4242", "exp_month": 3, "exp_year": 2030 },
    });
    let paid = with(with(intent("succeeded"), "payment_method", method), "customer", json!("cus_1"));
    let Outcome::Done(operation) = read(&paid, CaptureMethod::Manual) else { panic!("not done") };
    assert!(operation.token.is_none());
    for digits in ["42424", "x424"] {
        let other = with(paid.clone(), "payment_method", json!({ "id": "pm_1", "card": { "brand": "visa", "last4": digits } }));
        let Outcome::Done(operation) = read(&other, CaptureMethod::Manual) else { panic!("not done") };
        assert_eq!(operation.display_params, json!({ "variant": "visa" }), "{digits}");
    }
    let shown = json!({ "variant": "visa", "lastCardFourDigits": "4242", "cardExpirationDate": "03/2030", "holderName": "Jane Doe" });
    assert_eq!(operation.display_params, shown);
    let Outcome::Done(operation) = read(&with(paid, "setup_future_usage", json!("off_session")), CaptureMethod::Manual) else {
        panic!("not done")
    };
    assert_eq!(operation.token.unwrap().0.expose(), "pm_1:cus_1");
}

#[test]
fn an_authorisation_lapses_when_stripe_says() {
    for (told, lapses) in [(json!(1_700_000_000), Some(Timestamp::from_secs(1_700_000_000))), (json!(0), None), (Value::Null, None)] {
        let charge = json!({ "id": "ch_1", "payment_method_details": { "card": { "capture_before": told } } });
        let Outcome::Done(operation) = read(&with(intent("requires_capture"), "latest_charge", charge), CaptureMethod::Manual) else {
            panic!("not done")
        };
        assert_eq!(operation.expires_at, lapses);
    }
}

#[test]
fn stored_details_without_their_customer_are_none() {
    let (reference, zero) = (reference(), eur(0));
    let expected = ExpectedPayment { reference: &reference, amount: zero, capture_method: None, customer: None };
    let setup =
        json!({ "id": "seti_1", "status": "succeeded", "payment_method": "pm_1", "customer": "cus_1", "metadata": { "reference": OURS } });
    let Outcome::Done(operation) = read_setup(&setup, &expected) else { panic!("not done") };
    assert_eq!((operation.external_payment_id.unwrap().as_str(), operation.token.unwrap().0.expose()), ("seti_1", "pm_1:cus_1"));
    let card = json!({ "id": "pm_1", "card": { "brand": "visa", "last4": "4242" } });
    let Outcome::Done(operation) = read_setup(&with(setup.clone(), "payment_method", card), &expected) else { panic!("not done") };
    assert_eq!(operation.display_params, json!({ "variant": "visa", "lastCardFourDigits": "4242" }));
    assert_eq!(read_setup(&with(setup.clone(), "customer", Value::Null), &expected).as_str(), "unknown");
    assert_eq!(read_setup(&with(setup, "status", json!("requires_payment_method")), &expected).as_str(), "declined");
}

#[test]
fn every_status_of_a_verification_means_what_stripe_says() {
    let (reference, zero) = (reference(), eur(0));
    let expected = ExpectedPayment { reference: &reference, amount: zero, capture_method: None, customer: None };
    for (status, outcome) in [
        ("succeeded", "done"),
        ("processing", "received"),
        ("requires_payment_method", "declined"),
        ("canceled", "declined"),
        ("requires_confirmation", "unknown"),
        ("requires_action", "unknown"),
        ("brand_new_status", "unknown"),
    ] {
        let setup =
            json!({ "id": "seti_1", "status": status, "payment_method": "pm_1", "customer": "cus_1", "metadata": { "reference": OURS } });
        let read = read_setup(&setup, &expected);
        assert_eq!(read.as_str(), outcome, "{status}");
        match read {
            Outcome::Received(operation) => assert_eq!(operation.external_payment_id.unwrap().as_str(), "seti_1"),
            Outcome::Declined(decline) => assert_eq!(decline.payment.unwrap().as_str(), "seti_1"),
            _ => {}
        }
    }
}

#[test]
fn every_status_of_a_refund_means_what_stripe_says() {
    let (reference, payment) = (reference(), ExternalPaymentId::new("pi_1").unwrap());
    let expected = ExpectedPayment { reference: &reference, amount: eur(300), capture_method: None, customer: None };
    let refund = |status: &str| json!({ "id": "re_1", "status": status, "amount": 300, "currency": "eur", "payment_intent": "pi_1", "metadata": { "reference": OURS } });
    for (status, outcome) in [
        ("succeeded", "done"),
        ("pending", "received"),
        ("requires_action", "received"),
        ("failed", "declined"),
        ("canceled", "declined"),
        ("brand_new_status", "unknown"),
    ] {
        assert_eq!(read_refund(&refund(status), &expected, &payment).as_str(), outcome, "{status}");
    }
    let Outcome::Done(operation) = read_refund(&refund("succeeded"), &expected, &payment) else { panic!("not done") };
    assert_eq!((operation.external_payment_id, operation.operation_ref.as_deref()), (Some(payment.clone()), Some("re_1")));
    assert_eq!(operation.amount, Some(eur(300)));
    for (name, value) in [("amount", json!(301)), ("payment_intent", json!("pi_2")), ("metadata", json!({}))] {
        assert_eq!(
            read_refund(&with(refund("succeeded"), name, value.clone()), &expected, &payment).as_str(),
            "unknown",
            "{name}: {value}"
        );
    }
}
