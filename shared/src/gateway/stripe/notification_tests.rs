use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::gateway::{DeclineClass, Reference, RetryAdvice};
use crate::http::HeaderValue;
use crate::money::Currency;

const OURS: &str = "clg-00112233-4455-8677-8899-aabbccddeeff";
const SECRET: &str = "whsec_test_secret";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
/// A body, and its signature at that time with that secret, computed independently.
const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
const SIGNATURE: &str = "0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd";

fn verifier() -> NotificationVerifier {
    NotificationVerifier::new(&[SecretString::new("whsec_the_one_before"), SecretString::new(SECRET)], false)
}

fn headers(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SIGNATURE_HEADER, HeaderValue::from_str(value).unwrap());
    headers
}

fn header_matches(header: &str, now: Timestamp) -> bool {
    verifier().signature_matches(header, BODY, now)
}

#[test]
fn a_signature_of_stripes_own_making_fits() {
    assert!(header_matches(&format!("t=1700000000,v1={SIGNATURE}"), NOW));
}

#[test]
fn one_good_v1_among_several_is_enough_and_v0_is_none() {
    let wrong = "00".repeat(32);
    assert!(header_matches(&format!("t=1700000000,v1={wrong},v1={SIGNATURE},v0={wrong}"), NOW));
    assert!(!header_matches(&format!("t=1700000000,v1={wrong},v0={SIGNATURE}"), NOW));
}

#[test]
fn a_signature_is_good_for_five_minutes_either_way() {
    let header = format!("t=1700000000,v1={SIGNATURE}");
    for (seconds, good) in [(0, true), (300, true), (301, false), (-300, true), (-301, false), (-1_700_000_000, false)] {
        assert_eq!(header_matches(&header, Timestamp::from_secs(1_700_000_000 + seconds)), good, "{seconds}");
    }
}

#[test]
fn the_secret_is_the_whole_text_and_the_body_every_byte() {
    let header = format!("t=1700000000,v1={SIGNATURE}");
    let stripped = NotificationVerifier::new(&[SecretString::new("test_secret")], false);
    assert!(!stripped.signature_matches(&header, BODY, NOW));
    assert!(!verifier().signature_matches(&header, b"{\"id\":\"evt_1\",\"object\":\"event\"}\n", NOW));
    assert!(!header_matches(&format!("t=1700000001,v1={SIGNATURE}"), NOW));
}

#[test]
fn what_is_not_rightly_signed_is_refused() {
    let read = |value: &str| verifier().read(&headers(value), BODY, NOW).unwrap_err();
    assert_eq!(verifier().read(&HeaderMap::new(), BODY, NOW).unwrap_err(), NotificationError::Unsigned);
    assert_eq!(read(""), NotificationError::Unsigned);
    for header in
        ["t=1700000000", "v1=", &format!("v1={SIGNATURE}"), "t=x,v1=00", &format!("t=1700000000,v1={SIGNATURE}0"), &"v1=0,".repeat(300)]
    {
        assert_eq!(read(header), NotificationError::BadSignature, "{header}");
    }
    // Stripe's, and no event.
    assert_eq!(read(&format!("t=1700000000,v1={SIGNATURE}")), NotificationError::NotUnderstood);
}

#[test]
fn a_header_is_looked_at_up_to_its_longest_length() {
    let padded = |length: usize| {
        let right = format!("t=1700000000,v1={SIGNATURE}");
        let padding = "x".repeat(length - right.len() - 1);
        verifier().read(&headers(&format!("{right},{padding}")), BODY, NOW).unwrap_err()
    };
    assert_eq!(padded(LONGEST_HEADER), NotificationError::NotUnderstood, "signed, and no event");
    assert_eq!(padded(LONGEST_HEADER + 1), NotificationError::BadSignature);
}

fn event(kind: &str, object: Value) -> Value {
    json!({ "id": "evt_1", "type": kind, "created": 1_700_000_000, "livemode": false, "data": { "object": object } })
}

fn parse_event(kind: &str, object: Value) -> GatewayNotification {
    read(&event(kind, object), false).unwrap()
}

fn intent(status: &str, capture: &str) -> Value {
    json!({
        "id": "pi_1", "status": status, "amount": 999, "amount_received": 999, "amount_capturable": 999, "currency": "eur",
        "capture_method": capture, "metadata": { "reference": OURS }, "customer": "cus_1", "payment_method": "pm_1",
        "setup_future_usage": "off_session",
    })
}

#[test]
fn a_payment_that_was_held_is_captured_and_one_taken_at_once_is_authorised_with_its_details() {
    let captured = parse_event("payment_intent.succeeded", intent("succeeded", "manual"));
    let eur = Money::new(999, Currency::new("EUR").unwrap());
    assert_eq!((captured.kind, captured.amount, captured.token), (Kind::Captured, Some(eur), None));
    assert_eq!(captured.reference, Reference::parse(OURS));
    assert_eq!(captured.external_payment_id.unwrap().as_str(), "pi_1");
    let taken = parse_event("payment_intent.succeeded", intent("succeeded", "automatic"));
    assert_eq!((taken.kind, taken.amount, taken.token.unwrap().token), (Kind::Authorised, Some(eur), "pm_1:cus_1".to_owned()));
    let held = parse_event("payment_intent.amount_capturable_updated", intent("requires_capture", "manual"));
    assert_eq!((held.kind, held.amount, held.token), (Kind::Authorised, Some(eur), None));
}

#[test]
fn the_object_counts_where_the_events_name_says_something_else() {
    for (kind, status) in [
        ("payment_intent.succeeded", "requires_capture"),
        ("payment_intent.amount_capturable_updated", "succeeded"),
        ("payment_intent.payment_failed", "succeeded"),
        ("payment_intent.canceled", "requires_capture"),
    ] {
        assert_eq!(parse_event(kind, intent(status, "manual")).kind, Kind::NotUnderstood, "{kind} {status}");
    }
}

#[test]
fn a_hold_that_lapsed_is_told_apart_from_one_that_was_released() {
    for (reason, kind) in [
        (json!("automatic"), Kind::Expired),
        (json!("expired"), Kind::Expired),
        (json!("requested_by_customer"), Kind::Cancelled),
        (Value::Null, Kind::Cancelled),
    ] {
        let mut canceled = intent("canceled", "manual");
        canceled["cancellation_reason"] = reason.clone();
        let told = parse_event("payment_intent.canceled", canceled);
        assert_eq!((told.kind, told.reason.as_deref()), (kind, reason.as_str()), "{reason}");
    }
}

#[test]
fn a_refusal_has_the_banks_code() {
    let mut failed = intent("requires_payment_method", "automatic");
    failed["last_payment_error"] = json!({ "code": "card_declined", "decline_code": "lost_card", "message": "Jane Doe's card was lost" });
    let told = parse_event("payment_intent.payment_failed", failed);
    assert_eq!((told.kind, told.reason.as_deref()), (Kind::AuthorisationDeclined, Some("lost_card")));
    let lost = Decline { retry: Some(RetryAdvice::Never), ..Decline::new(DeclineClass::Hard, "lost_card") };
    assert_eq!(told.decline, Some(lost), "Stripe signs it");
    assert_eq!(told.amount, Some(Money::new(999, Currency::new("EUR").unwrap())));
}

#[test]
fn details_that_were_stored_are_an_authorisation_of_nothing() {
    let setup =
        json!({ "id": "seti_1", "status": "succeeded", "customer": "cus_1", "payment_method": "pm_1", "metadata": { "reference": OURS } });
    let told = parse_event("setup_intent.succeeded", setup);
    assert_eq!((told.kind, told.amount, told.token.unwrap().token), (Kind::Authorised, None, "pm_1:cus_1".to_owned()));
}

#[test]
fn a_refund_is_the_same_news_under_each_of_its_events() {
    let refund = json!({
        "id": "re_1", "status": "succeeded", "amount": 300, "currency": "eur", "payment_intent": "pi_1", "metadata": { "reference": OURS },
    });
    let keys: Vec<String> = ["refund.created", "refund.updated", "charge.refund.updated"]
        .into_iter()
        .map(|kind| {
            let told = parse_event(kind, refund.clone());
            assert_eq!((told.kind, told.operation_ref.as_deref()), (Kind::Refunded, Some("re_1")));
            told.dedupe_key
        })
        .collect();
    assert!(keys.iter().all(|key| key == "refund:re_1:succeeded"), "{keys:?}");
    let mut failed = refund.clone();
    failed["status"] = json!("failed");
    failed["failure_reason"] = json!("lost_or_stolen_card");
    let failed = parse_event("refund.failed", failed);
    assert_eq!((failed.kind, failed.reason.as_deref()), (Kind::RefundFailed, Some("lost_or_stolen_card")));
    let mut pending = refund.clone();
    pending["status"] = json!("pending");
    assert_eq!(parse_event("refund.created", pending).kind, Kind::Ignored);
    let mut by_hand = refund.clone();
    by_hand["metadata"] = json!({});
    let by_hand = parse_event("refund.updated", by_hand);
    assert_eq!((by_hand.kind, by_hand.reference), (Kind::Refunded, None));
    let mut others = refund;
    others["metadata"] = json!({ "reference": "order-17" });
    assert_eq!(parse_event("refund.updated", others).kind, Kind::Ignored);
}

#[test]
fn a_dispute_counts_when_its_money_moves() {
    let dispute = json!({ "id": "dp_1", "amount": 999, "currency": "eur", "payment_intent": "pi_1", "reason": "fraudulent", "status": "needs_response" });
    for (kind, meaning) in [
        ("charge.dispute.created", Kind::Ignored),
        ("charge.dispute.funds_withdrawn", Kind::ChargedBack),
        ("charge.dispute.funds_reinstated", Kind::ChargebackReversed),
        ("charge.dispute.closed", Kind::Ignored),
    ] {
        let told = parse_event(kind, dispute.clone());
        assert_eq!(told.kind, meaning, "{kind}");
        if meaning != Kind::Ignored {
            assert_eq!(told.external_payment_id.unwrap().as_str(), "pi_1");
            assert_eq!((told.operation_ref.as_deref(), told.reason.as_deref()), (Some("dp_1"), Some("fraudulent")));
            assert_eq!(told.amount, Some(Money::new(999, Currency::new("EUR").unwrap())));
            assert_eq!(told.dedupe_key, format!("{}:dp_1:", meaning.as_str()), "the same however often it is sent");
        }
    }
}

#[test]
fn rule_9_a_dispute_that_takes_the_money_a_second_time_is_heard() {
    let withdrawn = |movements: Value| {
        let dispute = json!({ "id": "dp_1", "payment_intent": "pi_1", "balance_transactions": movements });
        parse_event("charge.dispute.funds_withdrawn", dispute).dedupe_key
    };
    let (first, second) = (withdrawn(json!([{ "id": "txn_1" }])), withdrawn(json!([{ "id": "txn_1" }, { "id": "txn_2" }, "txn_3"])));
    assert_eq!((first.as_str(), second.as_str()), ("charged_back:dp_1:txn_1", "charged_back:dp_1:txn_3"));
}

#[test]
fn details_that_were_detached_are_named_by_whose_they_were() {
    let mut event = event("payment_method.detached", json!({ "id": "pm_1", "customer": null }));
    event["data"]["previous_attributes"] = json!({ "customer": "cus_1" });
    let told = read(&event, false).unwrap();
    assert_eq!((told.kind, told.token.unwrap().token), (Kind::TokenDisabled, "pm_1:cus_1".to_owned()));
}

#[test]
fn other_systems_and_the_other_mode_are_ignored() {
    let mut others = intent("succeeded", "automatic");
    others["metadata"] = json!({ "reference": "order-17" });
    assert_eq!(parse_event("payment_intent.succeeded", others).kind, Kind::Ignored);
    assert_eq!(read(&event("payment_intent.succeeded", intent("succeeded", "automatic")), true).unwrap().kind, Kind::Ignored);
}

#[test]
fn an_event_of_an_unknown_kind_that_names_a_payment_is_not_understood() {
    let told = parse_event("brand.new_kind", intent("succeeded", "automatic"));
    assert_eq!((told.kind, told.reason.as_deref()), (Kind::NotUnderstood, Some("brand.new_kind")));
    let by_payment = parse_event("brand.new_kind", json!({ "id": "xy_1", "payment_intent": "pi_1" }));
    assert_eq!((by_payment.kind, by_payment.external_payment_id.unwrap().as_str()), (Kind::NotUnderstood, "pi_1"));
    for object in [json!({ "id": "xy_1" }), json!({ "id": "pi_1", "metadata": { "reference": "order-17" } })] {
        assert_eq!(parse_event("brand.new_kind", object).kind, Kind::Ignored);
    }
}

#[test]
fn a_thin_event_is_read_by_the_object_that_it_names() {
    let thin = |id: &str| json!({ "id": "evt_1", "object": "v2.core.event", "type": "v1.brand_new", "created": "2026-11-30T10:00:00Z", "related_object": { "id": id, "type": "x" } });
    assert_eq!(read(&thin("mtr_1"), false).unwrap().kind, Kind::Ignored);
    assert_eq!(read(&thin("pi_1"), false).unwrap().kind, Kind::NotUnderstood);
    assert_eq!(read(&json!({ "id": "evt_1", "type": "v2.core.event_destination.ping" }), false).unwrap().kind, Kind::Ignored);
}

#[test]
fn details_whose_card_was_replaced_are_updated() {
    let told = parse_event("payment_method.automatically_updated", json!({ "id": "pm_1", "customer": "cus_1" }));
    assert_eq!((told.kind, told.token.unwrap().token), (Kind::TokenUpdated, "pm_1:cus_1".to_owned()));
}

proptest! {
    #[test]
    fn no_header_and_no_body_makes_it_panic(header in "[ -~]{0,200}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = verifier().read(&headers(&header), &body, NOW);
        if let Ok(value) = serde_json::from_slice::<Value>(&body) {
            let _ = read(&value, false);
        }
    }
}
