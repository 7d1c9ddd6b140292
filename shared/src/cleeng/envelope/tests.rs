use proptest::prelude::*;
use serde_json::json;

use super::*;

const RECEIVED: Timestamp = Timestamp::from_millis(1_790_000_000_123);

fn authorisation_event() -> Value {
    json!({
        "broadcasterId": 870_553_921, "topic": "subscriptionReadyForPaymentAuthorisation",
        "data": { "subscriptionId": "332332332", "paymentDetailsId": 193_925_084, "currency": "EUR" }
    })
}

fn verified(raw: &[u8]) -> Verified<Webhook> {
    Verified::attest(Webhook::parse(raw).ok().unwrap())
}

#[test]
fn an_event_comes_out_of_its_envelope_as_it_went_in() {
    let raw = authorisation_event().to_string().into_bytes();
    let envelope = Envelope::seal(&verified(&raw), &raw, RECEIVED).unwrap();
    let read = Envelope::from_text(&envelope.to_text()).unwrap();
    assert!(read == envelope);
    assert_eq!(read.received_at(), RECEIVED);
    let opened = read.open().ok().unwrap();
    assert_eq!(opened.get().topic, Topic::SubscriptionReadyForPaymentAuthorisation);
    assert_eq!(opened.get().data, authorisation_event()["data"]);
}

#[test]
fn an_event_can_be_sealed_again_from_what_it_says() {
    let raw = authorisation_event().to_string().into_bytes();
    let first = Envelope::seal(&verified(&raw), &raw, RECEIVED).unwrap().open().ok().unwrap();
    let again = Envelope::reseal(&first, RECEIVED).open().ok().unwrap();
    assert_eq!(again.get().publisher, first.get().publisher);
    assert_eq!(again.get().topic, first.get().topic);
    assert_eq!(again.get().data, first.get().data);
}

#[test]
fn what_is_no_envelope_of_ours_is_refused_with_its_cause() {
    let body = authorisation_event().to_string();
    let topic = "subscriptionReadyForPaymentAuthorisation";
    let wrap = |v, source, topic, body: &str| json!({"v": v, "source": source, "topic": topic, "received_at": 1, "body": body}).to_string();
    let error = |text: &str| Envelope::from_text(text).and_then(|envelope| envelope.open().map(|_| ())).unwrap_err();
    assert_eq!(error(&wrap(2, "cleeng", topic, &body)), EnvelopeError::Version);
    assert_eq!(error("{\"v\":3}"), EnvelopeError::Version);
    assert_eq!(error(&wrap(0, "cleeng", topic, &body)), EnvelopeError::Garbled);
    assert_eq!(error(&wrap(1, "adyen", topic, &body)), EnvelopeError::Source);
    assert_eq!(error(&wrap(1, "cleeng", "somethingElse", &body)), EnvelopeError::Topic);
    assert_eq!(error(&wrap(1, "cleeng", "subscriptionReadyForPaymentCapture", &body)), EnvelopeError::Topic);
    assert_eq!(error(&wrap(1, "cleeng", topic, "{")), EnvelopeError::Event(WebhookError::NotJson));
    for garbled in ["", "null", "[]", "{}", "{\"v\":1}", "{\"v\":\"1\"}", body.as_str()] {
        assert_eq!(error(garbled), EnvelopeError::Garbled, "{garbled}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*", body in ".*") {
        let _ = Envelope::from_text(&text);
        let text = json!({"v": 1, "source": "cleeng", "topic": "refundPayment", "received_at": 1, "body": body}).to_string();
        prop_assert!(Envelope::from_text(&text).unwrap().open().is_err());
    }
}
