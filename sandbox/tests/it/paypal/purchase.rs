//! Purchases and storing with the customer present.

use std::time::Duration;

use connector::gateway::{CancelTarget, DeclineClass, Gateway, GatewayError, Outcome, PurchaseRequest, StoreDetailsRequest, UnknownCause};
use connector::http::Method;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{EnteredDetails, SimulatedGateway};
use serde_json::{Value, json};
use std::sync::Arc;

use super::harness::{PayPalHarness, money};
use super::requests::{action, cancel, declined, done, finalize, payment, purchase, taken, unknown};

fn harness() -> PayPalHarness {
    PayPalHarness::new(money(999, "EUR"))
}

/// Starts a purchase; the request, the action and the id of what waits.
async fn start(harness: &PayPalHarness, attempt: &str) -> (PurchaseRequest, Value, String) {
    let request = purchase(harness.amount, attempt);
    let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
    (request, payload, operation.pending_id.unwrap())
}

#[tokio::test]
async fn a_purchase_is_approved_at_paypal_and_captured_after_the_return() {
    let harness = harness();
    let (request, payload, started) = start(&harness, "1").await;
    assert_eq!((&payload["type"], &payload["method"]), (&json!("redirect"), &json!("GET")));
    assert_eq!(payload["url"], json!(format!("https://www.sandbox.paypal.com/checkoutnow?token={started}")));
    assert_eq!(taken(&harness), 0);
    let back = harness.simulator.complete_action(&payload);
    assert_eq!(back["token"], json!(started));
    assert_eq!(taken(&harness), 0);
    let paid = done(harness.adapter.finalize(&finalize(&request, Some(&started), back)).await);
    assert_eq!(paid.external_payment_id.unwrap().as_str(), harness.simulator.captures()[0].id);
    assert_eq!(taken(&harness), 999);
    assert_eq!(paid.display_params, json!({ "variant": "paypal", "holderName": "Jane Doe" }), "never the e-mail address");
    let renewal = payment(harness.amount, paid.token.unwrap().0.expose(), "renewal");
    done(harness.adapter.authorise(&renewal).await);
}

#[tokio::test]
async fn no_browser_data_reaches_paypal() {
    let harness = harness();
    start(&harness, "1").await;
    let sent = harness.network.calls().last().unwrap().request_body.clone();
    let request = purchase(harness.amount, "1");
    let reference = request.reference.as_str();
    let expected = json!({
        "intent": "CAPTURE",
        "purchase_units": [{ "custom_id": reference, "invoice_id": reference, "amount": { "currency_code": "EUR", "value": "9.99" } }],
        "payment_source": { "paypal": {
            "attributes": {
                "customer": { "merchant_customer_id": "332332332" },
                "vault": {
                    "store_in_vault": "ON_SUCCESS", "usage_type": "MERCHANT", "customer_type": "CONSUMER",
                    "usage_pattern": "SUBSCRIPTION_PREPAID",
                },
            },
            "experience_context": {
                "return_url": "https://shop.test/back?orderId=1", "cancel_url": "https://shop.test/cancelled",
                "shipping_preference": "NO_SHIPPING", "user_action": "PAY_NOW", "payment_method_preference": "IMMEDIATE_PAYMENT_REQUIRED",
            },
        } },
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_purchase_finished_by_notification_and_by_return_pays_once() {
    let harness = harness();
    let (request, payload, started) = start(&harness, "1").await;
    let back = harness.simulator.complete_action(&payload);
    let told = done(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    let came = done(harness.adapter.finalize(&finalize(&request, Some(&started), back.clone())).await);
    assert_eq!(told.external_payment_id, came.external_payment_id);
    // Long after, when the request id is forgotten.
    harness.clock.advance(Duration::from_secs(50 * 24 * 3_600));
    let late = done(harness.adapter.finalize(&finalize(&request, Some(&started), back)).await);
    assert_eq!(told.external_payment_id, late.external_payment_id);
    assert_eq!((taken(&harness), harness.simulator.captures().len()), (999, 1));
}

#[tokio::test]
async fn a_return_of_another_order_is_not_used_for_this_one() {
    let harness = harness();
    let (_, other, _) = start(&harness, "other").await;
    let back = harness.simulator.complete_action(&other);
    let (request, _, started) = start(&harness, "1").await;
    let calls = harness.network.calls().len();
    for details in [back, json!({ "token": 7 }), json!({ "token": "" }), json!({ "approval_token_id": "5O190127TN364715T" })] {
        assert_eq!(unknown(harness.adapter.finalize(&finalize(&request, Some(&started), details)).await), UnknownCause::AnotherPayment);
    }
    assert_eq!((harness.network.calls().len(), taken(&harness)), (calls, 0));
}

#[tokio::test]
async fn a_purchase_that_never_started_cannot_be_finalized() {
    let harness = harness();
    let request = purchase(harness.amount, "1");
    for started in [None, Some("../../payments"), Some("")] {
        let answered = harness.adapter.finalize(&finalize(&request, started, Value::Null)).await;
        assert!(matches!(answered, Err(GatewayError::Malformed { .. })), "{started:?}");
    }
    assert!(harness.network.calls().is_empty());
}

#[tokio::test]
async fn an_order_of_another_payment_of_ours_is_never_this_one() {
    let harness = harness();
    let (_, other, started) = start(&harness, "other").await;
    harness.simulator.complete_action(&other);
    let request = purchase(harness.amount, "1");
    assert_eq!(unknown(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await), UnknownCause::AnotherPayment);
}

#[tokio::test]
async fn a_purchase_without_an_approval_charges_nothing() {
    let harness = harness();
    let (request, _, started) = start(&harness, "1").await;
    let refused = declined(harness.adapter.finalize(&finalize(&request, Some(&started), json!({ "token": started }))).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::NeedsCustomer, "ORDER_NOT_APPROVED"));
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn a_refused_purchase_is_declined_and_nothing_is_stored() {
    let harness = harness();
    harness.simulator.payment_data(EnteredDetails::Declined, 1);
    let (request, payload, started) = start(&harness, "1").await;
    let back = harness.simulator.complete_action(&payload);
    let refused = declined(harness.adapter.finalize(&finalize(&request, Some(&started), back)).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Soft, "INSTRUMENT_DECLINED"));
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn a_lost_start_finds_its_order_and_a_lost_finish_its_capture() {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500)] {
        let harness = harness();
        let request = purchase(harness.amount, "1");
        harness.network.inject(fault.clone(), |_, request| request.path == "/v2/checkout/orders");
        unknown(harness.adapter.start_purchase(&request).await);
        let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
        assert_eq!(harness.simulator.orders(), 1);
        harness.simulator.complete_action(&payload);
        harness.network.inject(fault, |_, request| request.path.ends_with("/capture"));
        let finish = finalize(&request, operation.pending_id.as_deref(), Value::Null);
        unknown(harness.adapter.finalize(&finish).await);
        done(harness.adapter.finalize(&finish).await);
        assert_eq!((taken(&harness), harness.simulator.captures().len()), (999, 1));
    }
}

/// A change of an answer, by where and to what.
fn replace_in_answer(place: &'static str, value: Value) -> Fault {
    Fault::Mutate(Arc::new(move |body| *body.pointer_mut(place).unwrap() = value.clone()))
}

#[tokio::test]
async fn an_answer_that_does_not_fit_what_was_asked_is_unknown() {
    for (place, value) in [
        ("/purchase_units/0/custom_id", json!("order-17")),
        ("/purchase_units/0/custom_id", json!("clg-00112233-4455-8677-8899-aabbccddeeff")),
        ("/purchase_units/0/custom_id", json!(null)),
        ("/purchase_units/0/payments/captures/0/amount/value", json!("9.98")),
        ("/purchase_units/0/payments/captures/0/amount/currency_code", json!("USD")),
        ("/purchase_units/0/payments/captures/0/custom_id", json!("order-17")),
        ("/purchase_units/0/payments/captures/0/id", json!("../captures")),
        ("/purchase_units/0/payments/captures/0/status", json!("SETTLED")),
        ("/purchase_units/0/amount/value", json!("999")),
        ("/intent", json!("AUTHORIZE")),
        ("/id", json!(17)),
    ] {
        let harness = harness();
        let (request, payload, started) = start(&harness, "1").await;
        harness.simulator.complete_action(&payload);
        harness.network.inject(replace_in_answer(place, value.clone()), |_, request| request.path.ends_with("/capture"));
        let finish = finalize(&request, Some(&started), Value::Null);
        let cause = unknown(harness.adapter.finalize(&finish).await);
        assert!(matches!(cause, UnknownCause::Unreadable | UnknownCause::AnotherPayment), "{place} {value}");
        assert_eq!(done(harness.adapter.finalize(&finish).await).amount, Some(harness.amount));
    }
}

#[tokio::test]
async fn a_customer_is_redirected_over_https_only() {
    for url in
        [json!("http://www.sandbox.paypal.com/checkoutnow"), json!("javascript:alert(1)"), json!(null), json!("https://".repeat(500))]
    {
        let harness = harness();
        harness.network.inject(replace_in_answer("/links/1/href", url.clone()), |_, request| request.path == "/v2/checkout/orders");
        let answered = harness.adapter.start_purchase(&purchase(harness.amount, "1")).await;
        assert!(matches!(answered, Ok(Outcome::Unknown(UnknownCause::Unreadable))), "{url}");
    }
}

#[tokio::test]
async fn details_that_arrive_after_the_payment_are_missing_until_their_notification() {
    let harness = harness();
    harness.simulator.delay_vaulting();
    let (request, payload, started) = start(&harness, "1").await;
    harness.simulator.complete_action(&payload);
    let finish = finalize(&request, Some(&started), Value::Null);
    assert!(done(harness.adapter.finalize(&finish).await).token.is_none());
    harness.simulator.process();
    let token = done(harness.adapter.finalize(&finish).await).token.unwrap();
    assert!(harness.simulator.has_details(token.0.expose()));
}

#[tokio::test]
async fn a_purchase_that_stores_nothing_requests_no_details() {
    let harness = harness();
    let request = PurchaseRequest { store: false, cancel_url: None, ..purchase(harness.amount, "1") };
    let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
    let sent = harness.network.calls().last().unwrap().request_body.clone();
    assert!(sent["payment_source"]["paypal"].get("attributes").is_none());
    assert_eq!(sent["payment_source"]["paypal"]["experience_context"]["cancel_url"], json!(request.return_url));
    harness.simulator.complete_action(&payload);
    assert!(done(harness.adapter.finalize(&finalize(&request, operation.pending_id.as_deref(), Value::Null)).await).token.is_none());
}

#[tokio::test]
async fn a_verification_stores_details_without_a_charge_and_they_renew() {
    for storing in [false, true] {
        let harness = harness();
        let request = purchase(money(0, "EUR"), "1");
        let started = match storing {
            false => harness.adapter.start_purchase(&request).await,
            true => harness.adapter.store_details(&StoreDetailsRequest { purchase: request.clone() }).await,
        };
        let (payload, operation) = action(started);
        let setup = operation.pending_id.clone().unwrap();
        assert_eq!(operation.external_payment_id.unwrap().as_str(), setup, "the setup token is the verification's id");
        let early = declined(harness.adapter.finalize(&finalize(&request, Some(&setup), Value::Null)).await);
        assert_eq!(early.class, DeclineClass::NeedsCustomer);
        let back = harness.simulator.complete_action(&payload);
        let stored = done(harness.adapter.finalize(&finalize(&request, Some(&setup), back)).await);
        assert_eq!(stored.external_payment_id.unwrap().as_str(), setup);
        // A second delivery gets the same details.
        let again = done(harness.adapter.finalize(&finalize(&request, Some(&setup), Value::Null)).await);
        let token = stored.token.unwrap();
        assert_eq!(again.token.unwrap().0.expose(), token.0.expose());
        assert_eq!((harness.simulator.orders(), taken(&harness)), (0, 0));
        done(harness.adapter.authorise(&payment(harness.amount, token.0.expose(), "renewal")).await);
    }
}

#[tokio::test]
async fn stored_details_of_another_customer_are_refused() {
    let harness = harness();
    let request = purchase(money(0, "EUR"), "1");
    let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
    harness.simulator.complete_action(&payload);
    harness
        .network
        .inject(replace_in_answer("/customer/merchant_customer_id", json!("1")), |_, request| request.path == "/v3/vault/payment-tokens");
    let finish = finalize(&request, operation.pending_id.as_deref(), Value::Null);
    assert_eq!(unknown(harness.adapter.finalize(&finish).await), UnknownCause::AnotherPayment);
    let of_money = StoreDetailsRequest { purchase: purchase(harness.amount, "2") };
    assert!(matches!(harness.adapter.store_details(&of_money).await, Err(GatewayError::Malformed { .. })));
}

#[tokio::test]
async fn a_waiting_order_is_cancelled_and_a_paid_one_is_not() {
    let harness = harness();
    let (request, payload, started) = start(&harness, "1").await;
    let target = CancelTarget::Reference { reference: request.reference.clone(), pending_id: Some(started.clone()) };
    done(harness.adapter.cancel(&cancel("1", target.clone())).await);
    harness.simulator.complete_action(&payload);
    done(harness.adapter.cancel(&cancel("1", target.clone())).await);
    done(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    let refused = declined(harness.adapter.cancel(&cancel("1", target)).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Hard, "ORDER_ALREADY_CAPTURED"));
    assert_eq!(refused.payment.unwrap().as_str(), harness.simulator.captures()[0].id, "so that it can be refunded");
    let other = CancelTarget::Reference { reference: purchase(harness.amount, "2").reference, pending_id: Some(started) };
    assert_eq!(unknown(harness.adapter.cancel(&cancel("1", other)).await), UnknownCause::AnotherPayment);
    assert_eq!(harness.network.delivered_count("paypal", &Method::POST, "/void"), 0);
}

#[tokio::test]
async fn an_order_that_lapsed_holds_nothing() {
    let harness = harness();
    let (request, payload, started) = start(&harness, "1").await;
    harness.clock.advance(Duration::from_secs(7 * 3_600));
    harness.simulator.complete_action(&payload);
    let target = CancelTarget::Reference { reference: request.reference.clone(), pending_id: Some(started.clone()) };
    done(harness.adapter.cancel(&cancel("1", target)).await);
    let late = declined(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!((late.class, late.code.as_str()), (DeclineClass::NeedsCustomer, "INVALID_RESOURCE_ID"));
    assert_eq!(taken(&harness), 0);
}
