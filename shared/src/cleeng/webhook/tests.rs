use proptest::prelude::*;
use serde_json::json;

use super::*;

fn authorisation() -> Value {
    json!({ "broadcasterId": 558_186_818, "topic": "subscriptionReadyForPaymentAuthorisation", "data": {
        "subscriptionId": "332332332", "offerId": "S123123123_US", "customerId": 123_321_123, "customerEmail": "x@example.com",
        "paymentDetailsId": 665_665_665, "active": true, "dunningAttemptDate": "2019-11-04T19:55:41Z", "dunningStatus": "authorize",
        "expirationDate": "2019-11-07T19:55:41Z", "currency": "USD", "paymentCountry": "BY", "paymentMethodId": 123_123_123,
        "token": "tok_en", "paymentGateway": "adyen" } })
}

fn capture() -> Value {
    json!({ "broadcasterId": "558186818", "topic": "subscriptionReadyForPaymentCapture", "data": {
        "subscriptionId": 121_780_131, "offerId": "S729964196_CA", "customerId": 388_082_979, "customerEmail": "x@example.com",
        "paymentDetailsId": 255_888_155, "active": true, "dunningAttemptDate": "2019-03-03T09:43:20+01:00", "dunningStatus": "capture",
        "expirationDate": "2019-03-06T09:43:20+01:00" } })
}

fn parse(value: &Value) -> Result<Webhook, WebhookError> {
    Webhook::parse(value.to_string().as_bytes())
}

fn read(value: &Value) -> Result<BillingEvent, WebhookError> {
    parse(value).and_then(|webhook| BillingEvent::read(&webhook))
}

#[test]
fn the_documented_authorisation_event_is_read_in_full() {
    let event = read(&authorisation()).unwrap();
    assert_eq!(event.subscription.as_str(), "332332332");
    assert_eq!(event.offer.as_str(), "S123123123_US");
    assert_eq!(event.customer.as_str(), "123321123");
    assert_eq!(event.payment_details.as_str(), "665665665");
    assert_eq!(event.payment_method.unwrap().as_str(), "123123123");
    assert_eq!(event.expiration.since(event.attempt).as_secs(), 72 * 3600);
    assert_eq!((event.currency.unwrap().as_str(), event.country.as_deref()), ("USD", Some("BY")));
    assert!(event.token.unwrap().matches("tok_en"));
}

#[test]
fn the_documented_part_of_a_capture_event_is_enough() {
    let webhook = parse(&capture()).unwrap();
    assert_eq!((webhook.publisher.as_str(), webhook.topic), ("558186818", Topic::SubscriptionReadyForPaymentCapture));
    assert_eq!(webhook.validate(), Ok(()));
    let event = BillingEvent::read(&webhook).unwrap();
    assert_eq!(event.subscription.as_str(), "121780131");
    assert!(event.currency.is_none() && event.country.is_none() && event.payment_method.is_none() && event.token.is_none());
}

#[test]
fn an_id_is_the_same_as_string_and_as_number() {
    for name in ["subscriptionId", "customerId", "paymentDetailsId", "paymentMethodId"] {
        let mut swapped = authorisation();
        let id = swapped["data"][name].clone();
        swapped["data"][name] = match id {
            Value::String(text) => serde_json::from_str(&text).unwrap(),
            number => Value::String(number.to_string()),
        };
        let (one, other) = (read(&authorisation()).unwrap(), read(&swapped).unwrap());
        assert_eq!(
            (one.subscription, one.customer, one.payment_details, one.payment_method),
            (other.subscription, other.customer, other.payment_details, other.payment_method),
            "{name}"
        );
    }
}

#[test]
fn a_date_is_the_same_with_z_with_an_offset_and_in_unix_seconds() {
    for date in [json!("2019-03-06T08:43:20Z"), json!("2019-03-06T09:43:20+01:00"), json!(1_551_861_800)] {
        let mut event = capture();
        event["data"]["expirationDate"] = date.clone();
        assert_eq!(read(&event).unwrap().expiration, Timestamp::from_secs(1_551_861_800), "{date}");
    }
}

#[test]
fn a_missing_field_is_named() {
    for (name, path) in [
        ("subscriptionId", "data.subscriptionId"),
        ("offerId", "data.offerId"),
        ("customerId", "data.customerId"),
        ("paymentDetailsId", "data.paymentDetailsId"),
        ("dunningAttemptDate", "data.dunningAttemptDate"),
        ("expirationDate", "data.expirationDate"),
    ] {
        let mut event = authorisation();
        event["data"].as_object_mut().unwrap().remove(name);
        assert_eq!(parse(&event).unwrap().validate(), Err(WebhookError::Missing(path)));
        event["data"][name] = Value::Null;
        assert_eq!(parse(&event).unwrap().validate(), Err(WebhookError::Missing(path)), "null is as good as missing");
    }
    for name in ["broadcasterId", "topic", "data"] {
        let mut event = authorisation();
        event.as_object_mut().unwrap().remove(name);
        assert_eq!(parse(&event).map(|_| ()), Err(WebhookError::Missing(name)));
    }
}

#[test]
fn a_field_of_another_type_is_named_and_never_quoted() {
    for name in
        ["subscriptionId", "customerId", "paymentMethodId", "dunningAttemptDate", "expirationDate", "currency", "paymentCountry", "token"]
    {
        for value in [json!(true), json!({ "secret-value": 1 }), json!(["secret-value"]), json!("")] {
            let mut event = authorisation();
            event["data"][name] = value.clone();
            let error = parse(&event).unwrap().validate().unwrap_err();
            assert!(matches!(error, WebhookError::Invalid { field, .. } if field == format!("data.{name}")), "{name} {value} {error}");
            assert!(!error.to_string().contains("secret-value"));
        }
    }
}

#[test]
fn topics_are_matched_in_any_case_and_others_are_refused() {
    for topic in Topic::ALL {
        assert_eq!(Topic::parse(topic.as_str()), Some(topic));
        assert_eq!(Topic::parse(&topic.as_str().to_uppercase()), Some(topic));
    }
    assert_eq!(Topic::parse("PaymentDetailsDeactivated"), Some(Topic::PaymentDetailsDeactivated));
    for topic in ["", "transactionCreated", "subscriptionReadyForPaymentCapture "] {
        let event = json!({ "broadcasterId": 1, "topic": topic, "data": {} });
        assert_eq!(parse(&event).map(|_| ()), Err(WebhookError::UnknownTopic), "{topic}");
    }
    assert!(matches!(parse(&json!({ "broadcasterId": 1, "topic": 5, "data": {} })), Err(WebhookError::Invalid { field: "topic", .. })));
}

#[test]
fn a_termination_needs_its_subscription_only() {
    let event = |data: Value| json!({ "broadcasterId": 1, "topic": "subscriptionReadyForTermination", "data": data });
    let read = |data: Value| parse(&event(data)).and_then(|webhook| TerminationEvent::read(&webhook));
    assert_eq!(read(json!({ "subscriptionId": 5 })).unwrap().subscription.as_str(), "5");
    assert_eq!(read(json!({})).map(|_| ()), Err(WebhookError::Missing("data.subscriptionId")));
    assert!(matches!(read(json!({ "subscriptionId": 5, "expirationDate": "soon" })), Err(WebhookError::Invalid { .. })));
}

#[test]
fn what_is_no_object_in_utf_8_is_no_webhook() {
    let deep = [b"[".repeat(200_000), br#"{"data":"#.repeat(100_000)].into_iter();
    let flat: [&[u8]; 8] = [b"", b"null", b"5", b"\"text\"", b"[]", b"[{}]", b"{", b"{\"topic\":\"\xff\xfe\"}"];
    for body in flat.into_iter().map(<[u8]>::to_vec).chain(deep) {
        assert_eq!(Webhook::parse(&body).map(|_| ()), Err(WebhookError::NotJson));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Webhook::parse(&body).map(|webhook| webhook.validate());
    }

    #[test]
    fn no_change_of_one_byte_makes_it_panic(index: proptest::sample::Index, byte: u8) {
        let mut body = authorisation().to_string().into_bytes();
        let index = index.index(body.len());
        body[index] = byte;
        let _ = Webhook::parse(&body).map(|webhook| webhook.validate());
    }
}
