use serde_json::json;

use super::*;
use crate::gateway::DeclineClass;
use crate::money::{Currency, Money};

const OURS: &str = "clg-00112233-4455-8677-8899-aabbccddeeff";

fn event(event_type: &str, resource: Value) -> GatewayNotification {
    let body = json!({ "id": "WH-1", "event_type": event_type, "create_time": "2026-11-21T10:00:00.123Z", "resource": resource });
    read(body.to_string().as_bytes()).unwrap()
}

fn capture(status: Value, related: Value) -> Value {
    json!({
        "id": "3C679366HH908993F", "status": status, "custom_id": OURS, "amount": { "currency_code": "USD", "value": "2.51" },
        "supplementary_data": { "related_ids": related },
    })
}

#[test]
fn a_capture_means_what_its_status_and_its_parent_say() {
    let (of_order, of_hold) =
        (json!({ "order_id": "5O190127TN364715T" }), json!({ "order_id": "5O190127TN364715T", "authorization_id": "0AW2184448108334S" }));
    for (event_type, status, related, kind) in [
        ("COMPLETED", json!("COMPLETED"), &of_hold, Kind::Captured),
        ("COMPLETED", json!("COMPLETED"), &of_order, Kind::Authorised),
        ("COMPLETED", json!("PARTIALLY_REFUNDED"), &of_order, Kind::Authorised),
        ("COMPLETED", json!("PENDING"), &of_order, Kind::Ignored),
        ("COMPLETED", json!("DECLINED"), &of_order, Kind::AuthorisationDeclined),
        ("COMPLETED", json!("DECLINED"), &of_hold, Kind::CaptureFailed),
        ("COMPLETED", json!(null), &of_hold, Kind::Captured),
        ("DENIED", json!("DECLINED"), &of_hold, Kind::CaptureFailed),
        ("DENIED", json!("DENIED"), &of_order, Kind::AuthorisationDeclined),
        ("DECLINED", json!("FAILED"), &of_hold, Kind::CaptureFailed),
        ("DECLINED", json!(null), &of_hold, Kind::CaptureFailed),
        ("DENIED", json!("COMPLETED"), &of_hold, Kind::NotUnderstood),
        ("COMPLETED", json!("BRAND_NEW"), &of_hold, Kind::NotUnderstood),
        ("PENDING", json!("PENDING"), &of_hold, Kind::Ignored),
        ("COMPLETED", json!("COMPLETED"), &json!({}), Kind::Captured),
    ] {
        let told = event(&format!("PAYMENT.CAPTURE.{event_type}"), capture(status.clone(), related.clone()));
        assert_eq!(told.kind, kind, "{event_type} {status} {related}");
        if !matches!(kind, Kind::Ignored | Kind::NotUnderstood) {
            assert_eq!(told.amount, Some(Money::new(251, Currency::new("USD").unwrap())));
            assert_eq!(told.reference.map(|reference| reference.as_str().to_owned()).as_deref(), Some(OURS));
        }
    }
}

#[test]
fn a_parent_can_be_told_by_a_link() {
    for (href, kind) in [
        ("https://api.paypal.com/v2/payments/authorizations/0AW2184448108334S", Kind::Captured),
        ("https://api.paypal.com/v2/checkout/orders/5O190127TN364715T", Kind::Authorised),
        ("https://api.paypal.com/v2/payments/authorizations/../orders", Kind::Captured),
    ] {
        let mut resource = capture(json!("COMPLETED"), json!({}));
        resource["links"] = json!([{ "rel": "self", "href": "https://api.paypal.com/x" }, { "rel": "up", "href": href }]);
        assert_eq!(event("PAYMENT.CAPTURE.COMPLETED", resource).kind, kind, "{href}");
    }
}

#[test]
fn an_authorisation_means_what_its_status_and_its_dates_say() {
    for (event_type, status, expires, kind) in [
        ("CREATED", json!("CREATED"), "2026-12-20T10:00:00Z", Kind::Authorised),
        ("CREATED", json!(null), "2026-12-20T10:00:00Z", Kind::Authorised),
        ("CREATED", json!("PENDING"), "2026-12-20T10:00:00Z", Kind::Ignored),
        ("CREATED", json!("DENIED"), "2026-12-20T10:00:00Z", Kind::AuthorisationDeclined),
        ("VOIDED", json!("VOIDED"), "2026-12-20T10:00:00Z", Kind::Cancelled),
        ("VOIDED", json!("VOIDED"), "2026-11-21T10:00:00Z", Kind::Expired),
        ("VOIDED", json!(null), "2026-12-20T10:00:00Z", Kind::Cancelled),
        ("VOIDED", json!("CAPTURED"), "2026-12-20T10:00:00Z", Kind::NotUnderstood),
    ] {
        let resource = json!({ "id": "8PP38301D7923932J", "status": status, "custom_id": OURS, "expiration_time": expires });
        let told = event(&format!("PAYMENT.AUTHORIZATION.{event_type}"), resource);
        assert_eq!(told.kind, kind, "{event_type} {status} {expires}");
    }
    let lapsed = json!({ "id": "8PP38301D7923932J", "status": "VOIDED", "custom_id": OURS, "status_details": { "reason": "AUTHORIZATION_EXPIRED" } });
    assert_eq!(event("PAYMENT.AUTHORIZATION.VOIDED", lapsed).kind, Kind::Expired);
}

#[test]
fn only_an_order_that_waits_for_being_taken_is_approved() {
    let order = |intent: &str, status: &str, custom: &str| json!({ "id": "5O190127TN364715T", "intent": intent, "status": status, "purchase_units": [{ "custom_id": custom }] });
    assert_eq!(event("CHECKOUT.ORDER.APPROVED", order("CAPTURE", "APPROVED", OURS)).kind, Kind::CustomerApproved);
    for (intent, status, custom) in [("AUTHORIZE", "APPROVED", OURS), ("CAPTURE", "COMPLETED", OURS), ("CAPTURE", "APPROVED", "order-17")] {
        assert_eq!(event("CHECKOUT.ORDER.APPROVED", order(intent, status, custom)).kind, Kind::Ignored);
    }
}

/// As PayPal prints it (developer.paypal.com, "Save payment methods", webhooks): without the merchant's name of the customer.
#[test]
fn stored_details_name_paypals_customer_and_the_order_that_stored_them() {
    let token = |customer: Value, metadata: Value| json!({ "id": "3nqvjt3n", "customer": customer, "metadata": metadata });
    let stored = token(json!({ "id": "208743798" }), json!({ "order_id": "5O190127TN364715T" }));
    for (event_type, kind) in [("CREATED", Kind::TokenCreated), ("DELETED", Kind::TokenDisabled)] {
        let told = event(&format!("VAULT.PAYMENT-TOKEN.{event_type}"), stored.clone());
        assert_eq!((told.kind, told.operation_ref.as_deref()), (kind, Some("5O190127TN364715T")));
        let token = told.token.unwrap();
        assert_eq!((token.shopper.as_str(), token.token.as_str()), ("208743798", "3nqvjt3n:208743798"));
    }
    assert_eq!(event("VAULT.PAYMENT-TOKEN.CREATED", token(json!({ "id": "208743798" }), json!(null))).operation_ref, None);
    for customer in [json!({ "merchant_customer_id": "927751142" }), json!(null)] {
        assert_eq!(event("VAULT.PAYMENT-TOKEN.CREATED", token(customer, json!({}))).kind, Kind::Ignored);
    }
    assert_eq!(event("VAULT.PAYMENT-TOKEN.DELETION-INITIATED", stored).kind, Kind::Ignored);
}

#[test]
fn a_refund_without_a_status_is_what_its_events_name_says() {
    let links = json!([{ "rel": "up", "href": "https://api.paypal.com/v2/payments/captures/3C679366HH908993F" }]);
    let refund = json!({ "id": "1JU08902781691411", "custom_id": OURS, "links": links });
    for (event_type, kind) in [
        ("PAYMENT.CAPTURE.REFUNDED", Kind::Refunded),
        ("PAYMENT.REFUND.COMPLETED", Kind::Refunded),
        ("PAYMENT.REFUND.FAILED", Kind::RefundFailed),
    ] {
        assert_eq!(event(event_type, refund.clone()).kind, kind, "{event_type}");
    }
}

#[test]
fn a_dispute_that_is_won_gives_back_only_what_had_been_taken_from_the_seller() {
    for (affected, movement, kind) in
        [("SELLER", "CREDIT", Kind::ChargebackReversed), ("SELLER", "DEBIT", Kind::Ignored), ("BUYER", "CREDIT", Kind::Ignored)]
    {
        let dispute = json!({
            "dispute_id": "PP-D-27803", "dispute_outcome": { "outcome_code": "RESOLVED_SELLER_FAVOUR" },
            "disputed_transactions": [{ "seller_transaction_id": "3C679366HH908993F", "custom": OURS }],
            "money_movements": [{ "affected_party": affected, "type": movement }],
        });
        assert_eq!(event("CUSTOMER.DISPUTE.RESOLVED", dispute).kind, kind, "{affected} {movement}");
    }
}

#[test]
fn a_reversal_names_the_capture_whether_it_is_the_resource_or_behind_it() {
    let links = json!([{ "rel": "up", "href": "https://api.paypal.com/v2/payments/captures/3C679366HH908993F" }]);
    let reversal = json!({ "id": "1JU08902781691411", "custom_id": OURS, "links": links });
    let told = event("PAYMENT.CAPTURE.REVERSED", reversal);
    let itself = event("PAYMENT.CAPTURE.REVERSED", capture(json!("COMPLETED"), json!({ "order_id": "5O190127TN364715T" })));
    assert_eq!((told.kind, itself.kind), (Kind::FundsWithdrawn, Kind::FundsWithdrawn));
    assert_eq!(told.external_payment_id, itself.external_payment_id);
    assert_eq!(told.operation_ref.as_deref(), Some("1JU08902781691411"), "the reversal itself");
    assert_eq!(told.dedupe_key, "reversal:1JU08902781691411");
    assert!(itself.dedupe_key.starts_with("event:"), "{}", itself.dedupe_key);
}

#[test]
fn what_is_no_event_is_not_understood_and_what_names_no_payment_of_ours_is_ignored() {
    for body in
        ["", "null", "[]", "{}", "\"x\"", "{\"id\":\"WH-1\"}", "{\"id\":\"WH 1\",\"event_type\":\"X\"}", "{\"id\":1,\"event_type\":\"X\"}"]
    {
        assert_eq!(read(body.as_bytes()).err(), Some(NotificationError::NotUnderstood), "{body}");
    }
    let long = json!({ "id": "W".repeat(200), "event_type": "X" });
    assert_eq!(read(long.to_string().as_bytes()).err(), Some(NotificationError::NotUnderstood));
    for resource in [json!(null), json!([]), json!("text"), json!({}), json!({ "custom_id": OURS }), json!({ "id": 7, "custom_id": OURS })]
    {
        for event_type in [
            "CHECKOUT.ORDER.APPROVED",
            "PAYMENT.AUTHORIZATION.CREATED",
            "PAYMENT.AUTHORIZATION.VOIDED",
            "PAYMENT.CAPTURE.COMPLETED",
            "PAYMENT.CAPTURE.REFUNDED",
            "PAYMENT.CAPTURE.REVERSED",
            "CUSTOMER.DISPUTE.RESOLVED",
            "VAULT.PAYMENT-TOKEN.CREATED",
        ] {
            let without_effect = resource.get("custom_id").is_none() || event_type == "CHECKOUT.ORDER.APPROVED";
            let kind = if without_effect { Kind::Ignored } else { Kind::NotUnderstood };
            assert_eq!(event(event_type, resource.clone()).kind, kind, "{event_type} {resource}");
        }
    }
}

#[test]
fn an_event_of_an_unknown_kind_that_names_a_payment_is_not_understood() {
    let told = event("PAYMENT.BRAND-NEW", capture(json!("COMPLETED"), json!({})));
    assert_eq!((told.kind, told.reason.as_deref()), (Kind::NotUnderstood, Some("PAYMENT.BRAND-NEW")));
    let mut others = capture(json!("COMPLETED"), json!({}));
    others["custom_id"] = json!("order-17");
    assert_eq!(event("PAYMENT.BRAND-NEW", others).kind, Kind::Ignored);
    let dispute = |custom: &str| {
        json!({
            "dispute_outcome": { "outcome_code": "SOMETHING_NEW" },
            "disputed_transactions": [{ "seller_transaction_id": "3C679366HH908993F", "custom": custom }],
        })
    };
    let told = event("CUSTOMER.DISPUTE.RESOLVED", dispute(""));
    assert_eq!((told.kind, told.external_payment_id.unwrap().as_str()), (Kind::NotUnderstood, "3C679366HH908993F"));
    assert_eq!(event("CUSTOMER.DISPUTE.RESOLVED", dispute("order-17")).kind, Kind::Ignored);
}

#[test]
fn a_signed_decline_has_its_class() {
    let mut resource = capture(json!("DECLINED"), json!({ "order_id": "5O190127TN364715T" }));
    resource["status_details"] = json!({ "reason": "DECLINED_BY_RISK_FRAUD_FILTERS" });
    let told = event("PAYMENT.CAPTURE.DENIED", resource.clone());
    assert_eq!(told.decline, Some(Decline::new(DeclineClass::Risk, "DECLINED_BY_RISK_FRAUD_FILTERS")));
    resource["status_details"] = json!({ "reason": "Jane Doe has no money" });
    assert_eq!(event("PAYMENT.CAPTURE.DENIED", resource).decline, Some(Decline::new(DeclineClass::Soft, "PAYMENT_DENIED")));
    let taken = capture(json!("COMPLETED"), json!({ "order_id": "5O190127TN364715T" }));
    assert_eq!(event("PAYMENT.CAPTURE.COMPLETED", taken).decline, None);
}

#[test]
fn a_text_about_a_person_is_no_reason() {
    let mut resource = capture(json!("DECLINED"), json!({ "order_id": "5O190127TN364715T" }));
    resource["status_details"] = json!({ "reason": "Jane Doe has no money" });
    assert_eq!(event("PAYMENT.CAPTURE.DENIED", resource.clone()).reason, None);
    resource["status_details"] = json!({ "reason": "BUYER_COMPLAINT" });
    assert_eq!(event("PAYMENT.CAPTURE.DENIED", resource).reason.as_deref(), Some("BUYER_COMPLAINT"));
}

proptest::proptest! {
    #[test]
    fn no_body_makes_it_panic(body: Vec<u8>) {
        let _ = read(&body);
    }
}
