//! Purchases and storing with the customer present.

use std::time::Duration;

use connector::gateway::{CancelTarget, DeclineClass, Gateway, GatewayError, Outcome, PurchaseRequest, StoreDetailsRequest, UnknownCause};
use connector::http::Method;
use sandbox::house::{Entry, House};
use sandbox::peer::Fault;
use serde_json::{Value, json};
use std::sync::Arc;

use super::requests::{action, cancel, declined, done, finalize, payment, purchase, taken, unknown};
use super::world::{World, money};

fn world() -> World {
    World::new(money(999, "EUR"))
}

/// Starts a purchase; the request, the action and the id of what waits.
async fn start(world: &World, attempt: &str) -> (PurchaseRequest, Value, String) {
    let request = purchase(world.amount, attempt);
    let (payload, operation) = action(world.adapter.start_purchase(&request).await);
    (request, payload, operation.started.unwrap())
}

#[tokio::test]
async fn a_purchase_is_agreed_to_at_paypal_and_taken_when_the_customer_is_back() {
    let world = world();
    let (request, payload, started) = start(&world, "1").await;
    assert_eq!((&payload["type"], &payload["method"]), (&json!("redirect"), &json!("GET")));
    assert_eq!(payload["url"], json!(format!("https://www.sandbox.paypal.com/checkoutnow?token={started}")));
    assert_eq!(taken(&world), 0);
    let back = world.simulator.agree(&payload);
    assert_eq!(back["token"], json!(started));
    assert_eq!(taken(&world), 0);
    let paid = done(world.adapter.finalize(&finalize(&request, Some(&started), back)).await);
    assert_eq!(paid.external_payment_id.unwrap().as_str(), world.simulator.captured()[0].id);
    assert_eq!(taken(&world), 999);
    assert_eq!(paid.shown, json!({ "variant": "paypal", "holderName": "Jane Doe" }), "never the e-mail address");
    let renewal = payment(world.amount, paid.token.unwrap().0.expose(), "renewal");
    done(world.adapter.authorise(&renewal).await);
}

#[tokio::test]
async fn nothing_that_the_browser_says_gets_to_paypal() {
    let world = world();
    start(&world, "1").await;
    let sent = world.road.calls().last().unwrap().sent.clone();
    let request = purchase(world.amount, "1");
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
async fn a_customer_who_is_finished_by_notification_and_comes_back_as_well_pays_once() {
    let world = world();
    let (request, payload, started) = start(&world, "1").await;
    let back = world.simulator.agree(&payload);
    let told = done(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    let came = done(world.adapter.finalize(&finalize(&request, Some(&started), back.clone())).await);
    assert_eq!(told.external_payment_id, came.external_payment_id);
    // Long after, when the request id is forgotten.
    world.clock.advance(Duration::from_secs(50 * 24 * 3_600));
    let late = done(world.adapter.finalize(&finalize(&request, Some(&started), back)).await);
    assert_eq!(told.external_payment_id, late.external_payment_id);
    assert_eq!((taken(&world), world.simulator.captured().len()), (999, 1));
}

#[tokio::test]
async fn a_return_that_belongs_to_another_order_is_not_taken_for_this_one() {
    let world = world();
    let (_, other, _) = start(&world, "other").await;
    let back = world.simulator.agree(&other);
    let (request, _, started) = start(&world, "1").await;
    let calls = world.road.calls().len();
    for details in [back, json!({ "token": 7 }), json!({ "token": "" }), json!({ "approval_token_id": "5O190127TN364715T" })] {
        assert_eq!(unknown(world.adapter.finalize(&finalize(&request, Some(&started), details)).await), UnknownCause::AnotherPayment);
    }
    assert_eq!((world.road.calls().len(), taken(&world)), (calls, 0));
}

#[tokio::test]
async fn what_never_started_cannot_be_finished() {
    let world = world();
    let request = purchase(world.amount, "1");
    for started in [None, Some("../../payments"), Some("")] {
        let answered = world.adapter.finalize(&finalize(&request, started, Value::Null)).await;
        assert!(matches!(answered, Err(GatewayError::Malformed { .. })), "{started:?}");
    }
    assert!(world.road.calls().is_empty());
}

#[tokio::test]
async fn an_order_of_another_payment_of_ours_is_never_this_one() {
    let world = world();
    let (_, other, started) = start(&world, "other").await;
    world.simulator.agree(&other);
    let request = purchase(world.amount, "1");
    assert_eq!(unknown(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await), UnknownCause::AnotherPayment);
}

#[tokio::test]
async fn a_customer_who_did_not_agree_pays_nothing() {
    let world = world();
    let (request, _, started) = start(&world, "1").await;
    let refused = declined(world.adapter.finalize(&finalize(&request, Some(&started), json!({ "token": started }))).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::NeedsCustomer, "ORDER_NOT_APPROVED"));
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn a_refused_purchase_is_declined_and_nothing_is_stored() {
    let world = world();
    world.simulator.entered(Entry::Refused, 1);
    let (request, payload, started) = start(&world, "1").await;
    let back = world.simulator.agree(&payload);
    let refused = declined(world.adapter.finalize(&finalize(&request, Some(&started), back)).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Soft, "INSTRUMENT_DECLINED"));
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn a_lost_start_finds_its_order_and_a_lost_finish_its_capture() {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500)] {
        let world = world();
        let request = purchase(world.amount, "1");
        world.road.lay(fault.clone(), |_, request| request.path == "/v2/checkout/orders");
        unknown(world.adapter.start_purchase(&request).await);
        let (payload, operation) = action(world.adapter.start_purchase(&request).await);
        assert_eq!(world.simulator.orders(), 1);
        world.simulator.agree(&payload);
        world.road.lay(fault, |_, request| request.path.ends_with("/capture"));
        let finish = finalize(&request, operation.started.as_deref(), Value::Null);
        unknown(world.adapter.finalize(&finish).await);
        done(world.adapter.finalize(&finish).await);
        assert_eq!((taken(&world), world.simulator.captured().len()), (999, 1));
    }
}

/// A change of an answer, by where and to what.
fn set(place: &'static str, value: Value) -> Fault {
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
        let world = world();
        let (request, payload, started) = start(&world, "1").await;
        world.simulator.agree(&payload);
        world.road.lay(set(place, value.clone()), |_, request| request.path.ends_with("/capture"));
        let finish = finalize(&request, Some(&started), Value::Null);
        let cause = unknown(world.adapter.finalize(&finish).await);
        assert!(matches!(cause, UnknownCause::Unreadable | UnknownCause::AnotherPayment), "{place} {value}");
        assert_eq!(done(world.adapter.finalize(&finish).await).amount, Some(world.amount));
    }
}

#[tokio::test]
async fn a_customer_is_sent_nowhere_but_over_https() {
    for url in
        [json!("http://www.sandbox.paypal.com/checkoutnow"), json!("javascript:alert(1)"), json!(null), json!("https://".repeat(500))]
    {
        let world = world();
        world.road.lay(set("/links/1/href", url.clone()), |_, request| request.path == "/v2/checkout/orders");
        let answered = world.adapter.start_purchase(&purchase(world.amount, "1")).await;
        assert!(matches!(answered, Ok(Outcome::Unknown(UnknownCause::Unreadable))), "{url}");
    }
}

#[tokio::test]
async fn details_that_come_later_than_the_payment_are_missing_until_they_are_told() {
    let world = world();
    world.simulator.vault_later();
    let (request, payload, started) = start(&world, "1").await;
    world.simulator.agree(&payload);
    let finish = finalize(&request, Some(&started), Value::Null);
    assert!(done(world.adapter.finalize(&finish).await).token.is_none());
    world.simulator.process();
    let token = done(world.adapter.finalize(&finish).await).token.unwrap();
    assert!(world.simulator.has_details(token.0.expose()));
}

#[tokio::test]
async fn a_purchase_that_stores_nothing_asks_for_no_details() {
    let world = world();
    let request = PurchaseRequest { store: false, cancel_url: None, ..purchase(world.amount, "1") };
    let (payload, operation) = action(world.adapter.start_purchase(&request).await);
    let sent = world.road.calls().last().unwrap().sent.clone();
    assert!(sent["payment_source"]["paypal"].get("attributes").is_none());
    assert_eq!(sent["payment_source"]["paypal"]["experience_context"]["cancel_url"], json!(request.return_url));
    world.simulator.agree(&payload);
    assert!(done(world.adapter.finalize(&finalize(&request, operation.started.as_deref(), Value::Null)).await).token.is_none());
}

#[tokio::test]
async fn a_verification_stores_details_without_a_charge_and_they_renew() {
    for storing in [false, true] {
        let world = world();
        let request = purchase(money(0, "EUR"), "1");
        let started = match storing {
            false => world.adapter.start_purchase(&request).await,
            true => world.adapter.store_details(&StoreDetailsRequest { purchase: request.clone() }).await,
        };
        let (payload, operation) = action(started);
        let setup = operation.started.clone().unwrap();
        assert_eq!(operation.external_payment_id.unwrap().as_str(), setup, "the setup token is the verification's id");
        let early = declined(world.adapter.finalize(&finalize(&request, Some(&setup), Value::Null)).await);
        assert_eq!(early.class, DeclineClass::NeedsCustomer);
        let back = world.simulator.agree(&payload);
        let stored = done(world.adapter.finalize(&finalize(&request, Some(&setup), back)).await);
        assert_eq!(stored.external_payment_id.unwrap().as_str(), setup);
        // Whoever brings it once more gets the same details.
        let again = done(world.adapter.finalize(&finalize(&request, Some(&setup), Value::Null)).await);
        let token = stored.token.unwrap();
        assert_eq!(again.token.unwrap().0.expose(), token.0.expose());
        assert_eq!((world.simulator.orders(), taken(&world)), (0, 0));
        done(world.adapter.authorise(&payment(world.amount, token.0.expose(), "renewal")).await);
    }
}

#[tokio::test]
async fn stored_details_of_somebody_else_are_not_taken() {
    let world = world();
    let request = purchase(money(0, "EUR"), "1");
    let (payload, operation) = action(world.adapter.start_purchase(&request).await);
    world.simulator.agree(&payload);
    world.road.lay(set("/customer/merchant_customer_id", json!("1")), |_, request| request.path == "/v3/vault/payment-tokens");
    let finish = finalize(&request, operation.started.as_deref(), Value::Null);
    assert_eq!(unknown(world.adapter.finalize(&finish).await), UnknownCause::AnotherPayment);
    let of_money = StoreDetailsRequest { purchase: purchase(world.amount, "2") };
    assert!(matches!(world.adapter.store_details(&of_money).await, Err(GatewayError::Malformed { .. })));
}

#[tokio::test]
async fn an_order_that_waits_is_given_up_and_one_that_is_paid_is_not() {
    let world = world();
    let (request, payload, started) = start(&world, "1").await;
    let target = CancelTarget::Reference { reference: request.reference.clone(), started: Some(started.clone()) };
    done(world.adapter.cancel(&cancel("1", target.clone())).await);
    world.simulator.agree(&payload);
    done(world.adapter.cancel(&cancel("1", target.clone())).await);
    done(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    let refused = declined(world.adapter.cancel(&cancel("1", target)).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Hard, "ORDER_ALREADY_CAPTURED"));
    assert_eq!(refused.payment.unwrap().as_str(), world.simulator.captured()[0].id, "so that it can be refunded");
    let other = CancelTarget::Reference { reference: purchase(world.amount, "2").reference, started: Some(started) };
    assert_eq!(unknown(world.adapter.cancel(&cancel("1", other)).await), UnknownCause::AnotherPayment);
    assert_eq!(world.road.reached("paypal", &Method::POST, "/void"), 0);
}

#[tokio::test]
async fn an_order_that_lapsed_holds_nothing() {
    let world = world();
    let (request, payload, started) = start(&world, "1").await;
    world.clock.advance(Duration::from_secs(7 * 3_600));
    world.simulator.agree(&payload);
    let target = CancelTarget::Reference { reference: request.reference.clone(), started: Some(started.clone()) };
    done(world.adapter.cancel(&cancel("1", target)).await);
    let late = declined(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!((late.class, late.code.as_str()), (DeclineClass::NeedsCustomer, "INVALID_RESOURCE_ID"));
    assert_eq!(taken(&world), 0);
}
