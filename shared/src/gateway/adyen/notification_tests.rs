use proptest::prelude::*;
use serde_json::json;

use ring::hmac;

use super::*;
use crate::money::{Currency, Money};

const KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const REFERENCE: &str = "clg-00112233-4455-8677-8899-aabbccddeeff";

fn verifier(keys: &[&str]) -> NotificationVerifier {
    let keys: Vec<_> = keys.iter().map(|key| SecretString::new(*key)).collect();
    NotificationVerifier::new(&keys, "StreamCoECOM".to_owned())
}

fn sign(item: &mut Value) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &hmac_key(&SecretString::new(KEY)).unwrap());
    let signature = hmac::sign(&key, SignedFields::read(item).unwrap().message().as_bytes());
    item["additionalData"]["hmacSignature"] = json!(STANDARD.encode(signature.as_ref()));
}

fn item(event_code: &str, success: &str) -> Value {
    json!({
        "eventCode": event_code, "success": success, "pspReference": "CAPT4R3REF000001", "originalReference": "AUTH0R1SAT10N001",
        "merchantAccountCode": "StreamCoECOM", "merchantReference": REFERENCE, "amount": { "currency": "CLP", "value": 499_000 },
        "eventDate": "2021-01-01T01:00:00+01:00", "reason": "null", "additionalData": {},
    })
}

fn body(items: &[Value]) -> Vec<u8> {
    let items: Vec<_> = items.iter().map(|item| json!({ "NotificationRequestItem": item })).collect();
    serde_json::to_vec(&json!({ "live": "false", "notificationItems": items })).unwrap()
}

fn read_one(mut item: Value) -> GatewayNotification {
    sign(&mut item);
    verifier(&[KEY]).read(&HeaderMap::new(), &body(&[item])).unwrap().remove(0).unwrap()
}

#[test]
fn adyens_own_vector_verifies() {
    let message = "pspReference:originalReference:merchantAccount:reference:1000:EUR:EVENT:true";
    assert!(verifier(&[KEY]).signature_matches(message.as_bytes(), "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="));
    assert!(verifier(&[OTHER_KEY, KEY]).signature_matches(message.as_bytes(), "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="));
    assert!(!verifier(&[OTHER_KEY]).signature_matches(message.as_bytes(), "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="));
    assert!(!verifier(&[]).signature_matches(message.as_bytes(), "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="));
}

#[test]
fn an_absent_original_reference_is_an_empty_field_of_the_signed_text() {
    let item = json!({
        "pspReference": "QFQTPCQ8HXSKGK82", "merchantAccountCode": "YOUR_MERCHANT_ACCOUNT", "merchantReference": "YOUR_MERCHANT_REFERENCE",
        "amount": { "value": 1000, "currency": "EUR" }, "eventCode": "AUTHORISATION", "success": "true",
        "additionalData": { "hmacSignature": "J8XMvZUNhfrCYVgMyqsU+0TwQSjdPzs54AEraly9Peg=" },
    });
    let message = SignedFields::read(&item).unwrap().message();
    assert_eq!(message, "QFQTPCQ8HXSKGK82::YOUR_MERCHANT_ACCOUNT:YOUR_MERCHANT_REFERENCE:1000:EUR:AUTHORISATION:true");
    let read = verifier(&[KEY]).read(&HeaderMap::new(), &body(&[item])).unwrap();
    assert_eq!(read[0].as_ref().unwrap().kind, NotificationKind::Ignored, "another account's payment");
}

#[test]
fn a_signature_of_33_bytes_is_false_and_no_panic() {
    let long = STANDARD.encode([7_u8; 33]);
    assert_eq!(long.len(), 44);
    for signature in [long.as_str(), "", "=", "not base64!", "AAAA"] {
        assert!(!verifier(&[KEY]).signature_matches(b"x", signature), "{signature}");
    }
}

#[test]
fn a_failed_capture_or_refund_is_bad_news_although_its_success_is_true() {
    assert_eq!(read_one(item("CAPTURE_FAILED", "true")).kind, NotificationKind::CaptureFailed);
    assert_eq!(read_one(item("REFUND_FAILED", "true")).kind, NotificationKind::RefundFailed);
    assert_eq!(read_one(item("REFUNDED_REVERSED", "true")).kind, NotificationKind::RefundFailed);
}

#[test]
fn events_mean_what_adyens_list_says() {
    for (code, success, kind) in [
        ("AUTHORISATION", "true", NotificationKind::Authorised),
        ("AUTHORISATION", "false", NotificationKind::AuthorisationDeclined),
        ("CAPTURE", "true", NotificationKind::Captured),
        ("CAPTURE", "false", NotificationKind::CaptureFailed),
        ("CANCELLATION", "true", NotificationKind::Cancelled),
        ("CANCELLATION", "false", NotificationKind::CancelFailed),
        ("TECHNICAL_CANCEL", "true", NotificationKind::Cancelled),
        ("REFUND", "true", NotificationKind::Refunded),
        ("REFUND", "false", NotificationKind::RefundFailed),
        ("EXPIRE", "true", NotificationKind::Expired),
        ("CHARGEBACK", "true", NotificationKind::ChargedBack),
        ("CHARGEBACK_REVERSED", "true", NotificationKind::ChargebackReversed),
        ("RECURRING_CONTRACT", "true", NotificationKind::TokenCreated),
        ("CANCEL_OR_REFUND", "true", NotificationKind::CancelledOrRefunded),
        ("REFUND_WITH_DATA", "false", NotificationKind::RefundFailed),
        ("NOTIFICATION_OF_CHARGEBACK", "true", NotificationKind::Ignored),
        ("MANUAL_REVIEW_REJECT", "true", NotificationKind::NotUnderstood),
        ("PREARBITRATION_LOST", "true", NotificationKind::NotUnderstood),
        ("BRAND_NEW_EVENT", "true", NotificationKind::NotUnderstood),
        ("CAPTURE", "perhaps", NotificationKind::NotUnderstood),
    ] {
        assert_eq!(read_one(item(code, success)).kind, kind, "{code} {success}");
    }
}

#[test]
fn what_is_not_understood_says_what_it_was() {
    assert_eq!(read_one(item("PREARBITRATION_LOST", "true")).reason.as_deref(), Some("PREARBITRATION_LOST true"));
}

#[test]
fn a_modification_without_a_reference_is_known_by_its_payment() {
    let mut by_hand = item("REFUND", "true");
    by_hand["merchantReference"] = json!("");
    let read = read_one(by_hand);
    assert_eq!((read.kind, read.reference), (NotificationKind::Refunded, None));
    assert_eq!(read.external_payment_id, ExternalPaymentId::new("AUTH0R1SAT10N001").ok());
}

#[test]
fn a_report_that_nobody_signed_is_left_out_alone_and_before_good_items() {
    let read = |items: &[Value]| verifier(&[KEY]).read(&HeaderMap::new(), &body(items));
    let report = json!({
        "eventCode": "REPORT_AVAILABLE", "success": "true", "pspReference": "settlement_detail_report_batch_1.csv", "merchantReference": "",
        "merchantAccountCode": "StreamCoECOM", "amount": { "currency": "EUR", "value": 0 }, "reason": "https://ca-test.adyen.com/report",
    });
    assert_eq!(read(std::slice::from_ref(&report)), Ok(Vec::new()));
    let mut good = item("CAPTURE", "true");
    sign(&mut good);
    assert_eq!(read(&[report.clone(), good]).unwrap().len(), 1);
    assert_eq!(read(&[report, item("CAPTURE", "true")]), Err(NotificationError::Unsigned), "a report vouches for nothing");
}

#[test]
fn a_notice_of_change_is_left_out() {
    let raw = br#"{ "type": "ach.notificationOfChange", "version": "1", "data": { "pspReference": "QFQTPCQ8HXSKGK82" } }"#;
    assert_eq!(verifier(&[KEY]).read(&HeaderMap::new(), raw), Ok(Vec::new()));
}

#[test]
fn a_signed_body_without_an_id_is_not_understood() {
    let raw = br#"{ "type": "recurring.token.created", "data": {} }"#;
    assert_eq!(verifier(&[KEY]).read(&sign_raw(raw), raw), Err(NotificationError::NotUnderstood));
    assert_eq!(verifier(&[KEY]).read(&HeaderMap::new(), raw), Err(NotificationError::Unsigned));
}

#[test]
fn a_capture_names_its_payment_itself_and_the_amount_by_iso() {
    let read = read_one(item("CAPTURE", "true"));
    assert_eq!(read.external_payment_id, ExternalPaymentId::new("AUTH0R1SAT10N001").ok());
    assert_eq!(read.operation_ref.as_deref(), Some("CAPT4R3REF000001"));
    assert_eq!(read.amount, Some(Money::new(4_990, Currency::new("CLP").unwrap())));
    assert_eq!(read.reference.as_ref().map(Reference::as_str), Some(REFERENCE));
    assert_eq!(read.at, Timestamp::parse_rfc3339("2021-01-01T00:00:00Z").ok());
    assert_eq!((read.reason, read.dedupe_key.as_str()), (None, "CAPTURE:CAPT4R3REF000001:true"));
}

#[test]
fn a_reason_is_told_without_control_characters_and_not_at_any_length() {
    let told = |reason: &str| {
        let mut refused = item("CAPTURE", "false");
        refused["reason"] = json!(reason);
        read_one(refused).reason
    };
    assert_eq!(told("Insufficient balance on payment").as_deref(), Some("Insufficient balance on payment"));
    assert_eq!(told("Insufficient\r\n balance\u{1b}").as_deref(), Some("Insufficient balance"));
    assert_eq!(told(&"é".repeat(LONGEST_REASON + 1)), Some("é".repeat(LONGEST_REASON)));
    assert_eq!((told(""), told("null"), told("\n")), (None, None, None));
}

#[test]
fn an_authorisation_is_named_by_its_own_id() {
    let mut authorisation = item("AUTHORISATION", "true");
    authorisation["originalReference"] = json!(null);
    let read = read_one(authorisation);
    assert_eq!(read.external_payment_id, ExternalPaymentId::new("CAPT4R3REF000001").ok());
    assert_eq!(read.operation_ref, None);
}

#[test]
fn payments_of_other_systems_are_ignored_politely() {
    let mut other_account = item("CAPTURE", "true");
    other_account["merchantAccountCode"] = json!("StreamCoPOS");
    assert_eq!(read_one(other_account).kind, NotificationKind::Ignored);
    let mut other_reference = item("CHARGEBACK", "true");
    other_reference["merchantReference"] = json!("order-17");
    assert_eq!(read_one(other_reference).kind, NotificationKind::Ignored);
}

#[test]
fn one_forged_item_is_refused_and_does_not_hold_back_the_others() {
    let mut good = item("CAPTURE", "true");
    sign(&mut good);
    let read = |items: &[Value]| verifier(&[KEY]).read(&HeaderMap::new(), &body(items));
    let taken = read(&[good.clone(), good.clone()]).unwrap().remove(1);
    assert!(taken.is_ok());
    for (field, value) in [
        ("pspReference", json!("CAPT4R3REF000002")),
        ("originalReference", json!("AUTH0R1SAT10N002")),
        ("merchantReference", json!("clg-00112233-4455-8677-8899-aabbccddeefe")),
        ("amount", json!({ "currency": "CLP", "value": 499_001 })),
        ("amount", json!({ "currency": "ISK", "value": 499_000 })),
        ("eventCode", json!("REFUND")),
        ("success", json!("false")),
    ] {
        let mut forged = good.clone();
        forged[field] = value;
        let bad = Err(NotificationError::BadSignature);
        assert_eq!(read(&[good.clone(), forged.clone(), good.clone()]), Ok(vec![taken.clone(), bad, taken.clone()]), "{field}");
        assert_eq!(read(&[forged]), Err(NotificationError::BadSignature), "{field}");
    }
    let mut unsigned = good.clone();
    unsigned["additionalData"] = json!({});
    assert_eq!(read(&[unsigned.clone(), json!(7)]), Err(NotificationError::Unsigned));
    for name in ["eventCode", "pspReference"] {
        let mut nameless = good.clone();
        nameless[name] = json!("");
        assert_eq!(read(&[nameless]), Err(NotificationError::Malformed), "signed or not, nobody could tell it from others: {name}");
    }
    assert_eq!(read(&[json!({}), good, unsigned]), Ok(vec![Err(NotificationError::Malformed), taken, Err(NotificationError::Unsigned)]));
}

fn sign_raw(raw: &[u8]) -> HeaderMap {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &hmac_key(&SecretString::new(KEY)).unwrap());
    let mut headers = HeaderMap::new();
    headers.insert("HmacSignature", STANDARD.encode(hmac::sign(&key, raw)).parse().unwrap());
    headers
}

#[test]
fn tokenization_webhooks_name_details_of_our_account_and_never_show_them() {
    let read = |kind: &str, account: &str| {
        let data = json!({
            "merchantAccount": account, "storedPaymentMethodId": "8415718415718415", "shopperReference": "123321123", "type": "visa",
            "operation": "created",
        });
        let body = json!({
            "createdAt": "2026-03-01T13:00:00+01:00", "environment": "test", "eventId": "QBQQ9DLNRHHKGK38", "type": kind, "data": data,
        });
        let raw = body.to_string().into_bytes();
        verifier(&[KEY]).read(&sign_raw(&raw), &raw).unwrap().remove(0).unwrap()
    };
    for (kind, expected) in [
        ("recurring.token.created", NotificationKind::TokenCreated),
        ("recurring.token.alreadyExisting", NotificationKind::TokenCreated),
        ("recurring.token.disabled", NotificationKind::TokenDisabled),
        ("recurring.token.updated", NotificationKind::TokenUpdated),
        ("balancePlatform.transfer.created", NotificationKind::Ignored),
    ] {
        let item = read(kind, "StreamCoECOM");
        assert_eq!(item.kind, expected, "{kind}");
        let token = item.token.clone().unwrap();
        assert_eq!((token.shopper.as_str(), token.token.as_str()), ("123321123", "8415718415718415:123321123"));
        assert_eq!(item.at, Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").ok());
        assert!(!format!("{item:?}").contains("8415718415718415"));
        assert_eq!(read(kind, "StreamCoPOS").kind, NotificationKind::Ignored, "another account's details");
    }
}

#[test]
fn a_webhook_of_another_kind_is_verified_over_its_raw_body_and_ignored() {
    let raw = br#"{ "eventId": "QBQQ9DLNRHHKGK38", "type": "recurring.token.disabled", "data": {} }"#;
    let headers = sign_raw(raw);
    let read = verifier(&[KEY]).read(&headers, raw).unwrap().remove(0).unwrap();
    assert_eq!((read.kind, read.dedupe_key.as_str()), (NotificationKind::Ignored, "event:recurring.token.disabled:QBQQ9DLNRHHKGK38"));
    assert_eq!(verifier(&[KEY]).read(&headers, &raw[..raw.len() - 1]), Err(NotificationError::Malformed));
    let other = br#"{ "eventId": "QBQQ9DLNRHHKGK38", "type": "recurring.token.created", "data": {} }"#;
    assert_eq!(verifier(&[KEY]).read(&headers, other), Err(NotificationError::BadSignature));
    assert_eq!(verifier(&[KEY]).read(&HeaderMap::new(), raw), Err(NotificationError::Unsigned));
}

#[test]
fn what_is_no_notification_is_malformed() {
    for body in [&b""[..], b"{", b"\xff\xfe", b"[]", b"{}", br#"{"notificationItems":[]}"#, br#"{"notificationItems":[{}]}"#] {
        assert_eq!(verifier(&[KEY]).read(&HeaderMap::new(), body), Err(NotificationError::Malformed));
    }
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verifier(&[KEY]).read(&HeaderMap::new(), &body).is_err());
    }

    #[test]
    fn no_signature_but_the_right_one_fits(signature in ".*") {
        prop_assert!(!verifier(&[KEY]).signature_matches(b"x", &signature));
    }
}
