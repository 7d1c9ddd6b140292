//! Which parts of a response go into an outcome; responses are written by hand.

use connector::gateway::{
    CancelRequest, CancelTarget, CaptureRequest, Decline, DeclineClass, Gateway, Outcome, PurchaseRequest, Reference, StoreDetailsRequest,
    UnknownCause,
};
use connector::ids::CustomerId;
use serde_json::{Value, json};

use super::adapter::{ScriptedAdapter, authorised, key, psp, reference, request};
use super::harness::{MERCHANT, SHOPPER, money};

async fn authorise(body: Value) -> Outcome {
    ScriptedAdapter::answering(200, body).adapter.authorise(&request(money(999, "EUR"))).await.unwrap()
}

async fn refusal(body: Value) -> Decline {
    let Outcome::Declined(decline) = authorise(body.clone()).await else { panic!("{body} is a refusal") };
    decline
}

#[tokio::test]
async fn the_amount_is_read_if_adyen_echoes_it() {
    let mut told = authorised();
    told["amount"] = json!({ "currency": "EUR", "value": 999 });
    let Outcome::Done(operation) = authorise(told).await else { panic!("it is done") };
    assert_eq!(operation.amount, Some(money(999, "EUR")));
    let Outcome::Done(operation) = authorise(authorised()).await else { panic!("it is done") };
    assert_eq!(operation.amount, None);
    let capture = CaptureRequest {
        key: key(),
        reference: reference(),
        external_payment_id: psp("993617894903480A"),
        amount: money(999, "EUR"),
        authorised_at: None,
    };
    let receipt = json!({ "status": "received", "pspReference": "993617894906488A" });
    let mut told = receipt.clone();
    told["amount"] = json!({ "currency": "EUR", "value": 999 });
    for (receipt, amount) in [(told, Some(money(999, "EUR"))), (receipt, None)] {
        let Ok(Outcome::Received(operation)) = ScriptedAdapter::answering(201, receipt).adapter.capture(&capture).await else {
            panic!("a receipt")
        };
        assert_eq!(operation.amount, amount);
    }
}

#[tokio::test]
async fn only_harmless_parts_of_stored_details_are_shown() {
    let answer = |summary: &str| {
        let mut answer = authorised();
        answer["paymentMethod"] = json!({ "brand": "visa", "type": "scheme" });
        let data = json!({ "cardSummary": summary, "expiryDate": "03/2030", "cardHolderName": "Jane Doe", "cardBin": "411111" });
        answer["additionalData"] = data;
        answer
    };
    let shown = |answer: Value| async move {
        let Outcome::Done(operation) = authorise(answer).await else { panic!("it is done") };
        operation.display_params
    };
    let whole = json!({ "variant": "visa", "lastCardFourDigits": "1111", "cardExpirationDate": "03/2030", "holderName": "Jane Doe" });
    assert_eq!(shown(answer("1111")).await, whole);
    for summary in ["4111111111111111", "11 11", "x111", ""] {
        assert_eq!(shown(answer(summary)).await.get("lastCardFourDigits"), None, "{summary}");
    }
    assert_eq!(shown(authorised()).await, Value::Null);
}

#[tokio::test]
async fn a_refusal_has_its_payment_and_its_code_as_text_or_number() {
    let refused =
        |result: &str, code: Value| json!({ "resultCode": result, "refusalReasonCode": code, "pspReference": "993617895199574A" });
    for code in [json!("26"), json!(26)] {
        let decline = refusal(refused("Refused", code)).await;
        assert_eq!((decline.class, decline.code.as_str(), decline.payment), (DeclineClass::Hard, "26", Some(psp("993617895199574A"))));
    }
    for (result, code, class, word) in [
        ("Cancelled", Value::Null, DeclineClass::Cancelled, "unspecified"),
        ("Cancelled", json!("22"), DeclineClass::Risk, "22"),
        ("Refused", Value::Null, DeclineClass::Soft, "unspecified"),
        ("Refused", json!(["26"]), DeclineClass::Soft, "unspecified"),
        ("Error", Value::Null, DeclineClass::Soft, "unspecified"),
    ] {
        let decline = refusal(refused(result, code.clone())).await;
        let payment = Some(psp("993617895199574A"));
        assert_eq!((decline.class, decline.code.as_str(), decline.payment), (class, word, payment), "{result} {code}");
    }
}

#[tokio::test]
async fn a_cancel_by_reference_must_match_our_reference() {
    let order =
        CancelRequest { key: key(), reference: reference(), target: CancelTarget::Reference { reference: reference(), pending_id: None } };
    let other = Reference::parse("clg-00112233-4455-8677-8899-aabbccddeeff").unwrap();
    for (told, word) in [(reference(), "received"), (other, "unknown")] {
        let receipt = json!({
            "status": "received", "pspReference": "993617894906488A", "paymentReference": told.as_str(), "merchantAccount": MERCHANT,
        });
        let outcome = ScriptedAdapter::answering(201, receipt).adapter.cancel(&order).await.unwrap();
        assert_eq!(outcome.as_str(), word);
        assert!(!matches!(outcome, Outcome::Unknown(cause) if cause != UnknownCause::Unreadable));
    }
}

#[tokio::test]
async fn details_to_be_stored_are_stored_even_if_the_purchase_says_otherwise() {
    let purchase = PurchaseRequest {
        key: key(),
        reference: reference(),
        amount: money(0, "EUR"),
        customer: CustomerId::new(SHOPPER).unwrap(),
        payment_data: json!({ "paymentMethod": { "type": "scheme" } }),
        store: false,
        return_url: "https://shop.test/back".to_owned(),
        cancel_url: None,
        origin: None,
        customer_ip: None,
        customer_email: None,
    };
    let scripted = ScriptedAdapter::answering(200, authorised());
    scripted.adapter.store_details(&StoreDetailsRequest { purchase }).await.unwrap();
    let sent = scripted.sent_body();
    assert_eq!((&sent["storePaymentMethod"], &sent["recurringProcessingModel"]), (&json!(true), &json!("Subscription")));
}

#[tokio::test]
async fn a_capture_refused_without_a_signed_notification_leaves_the_authorisation() {
    let scripted = ScriptedAdapter::answering(200, authorised());
    for accepted in [true, false] {
        assert!(scripted.adapter.authorisation_may_remain(&Decline::new(DeclineClass::Hard, "capture_failed"), accepted));
    }
}
