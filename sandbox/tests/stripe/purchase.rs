//! Purchases and storing with the customer present.

use std::time::Duration;

use connector::gateway::{CancelTarget, DeclineClass, Gateway, GatewayError, PurchaseRequest, StoreDetailsRequest, UnknownCause};
use connector::http::Method;
use sandbox::house::{Entry, House, Standing};
use sandbox::peer::Fault;
use serde_json::{Value, json};

use super::requests::{action, cancel, declined, done, finalize, payment, purchase, taken, unknown};
use super::world::{World, form, money};

const ASKS: &str = "pm_card_authenticationRequiredOnSetup";

fn world() -> World {
    World::new(money(999, "EUR"))
}

/// A purchase with a card that is entered anew.
fn with(world: &World, card: &str, attempt: &str) -> PurchaseRequest {
    let number = u32::try_from(attempt.len()).unwrap();
    purchase(world.amount, &world.simulator.collect(card, number), attempt)
}

/// Starts a purchase; the request, the action and the id of what waits.
async fn start(world: &World, attempt: &str) -> (PurchaseRequest, Value, String) {
    let request = with(world, ASKS, attempt);
    let (payload, operation) = action(world.adapter.start_purchase(&request).await);
    (request, payload, operation.started.unwrap())
}

#[tokio::test]
async fn a_purchase_without_a_question_is_paid_at_once_and_its_details_renew() {
    let world = world();
    let paid = done(world.adapter.start_purchase(&with(&world, "pm_card_visa", "1")).await);
    assert_eq!(paid.external_payment_id.unwrap().as_str(), world.simulator.intents()[0].0);
    let shown = json!({ "variant": "visa", "lastCardFourDigits": "4242", "cardExpirationDate": "08/2030", "holderName": "Jenny Rosen" });
    assert_eq!(paid.shown, shown);
    done(world.adapter.authorise(&payment(world.amount, paid.token.unwrap().0.expose(), "renewal")).await);
    assert_eq!(taken(&world), 999);
}

#[tokio::test]
async fn a_customer_who_is_asked_comes_back_and_has_paid_once() {
    let world = world();
    let (request, payload, started) = start(&world, "1").await;
    assert_eq!((&payload["type"], &payload["method"]), (&json!("redirect"), &json!("GET")));
    // Nobody has agreed yet: he is asked the same again.
    let (again, _) = action(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!((again, taken(&world)), (payload.clone(), 0));
    let back = world.simulator.agree(&payload);
    assert_eq!(back["payment_intent"], json!(started));
    for _ in 0..2 {
        let paid = done(world.adapter.finalize(&finalize(&request, Some(&started), back.clone())).await);
        assert_eq!(paid.external_payment_id.unwrap().as_str(), started);
        // Authenticated once, it renews without the customer.
        let renewal = payment(world.amount, paid.token.unwrap().0.expose(), "renewal");
        done(world.adapter.authorise(&renewal).await);
    }
    assert_eq!(taken(&world), 999);
    let other = json!({ "payment_intent": "pi_1Other", "redirect_status": "succeeded" });
    assert_eq!(unknown(world.adapter.finalize(&finalize(&request, Some(&started), other)).await), UnknownCause::AnotherPayment);
}

#[tokio::test]
async fn a_page_that_asks_itself_gets_the_client_secret() {
    let world = world();
    let mut request = with(&world, ASKS, "1");
    request.payment_data["useStripeSdk"] = json!(true);
    let (payload, operation) = action(world.adapter.start_purchase(&request).await);
    let started = operation.started.unwrap();
    assert_eq!((&payload["type"], &payload["intent"]), (&json!("sdk"), &json!(started)));
    assert!(payload["clientSecret"].as_str().unwrap().starts_with(&format!("{started}_secret_")));
    world.simulator.agree(&payload);
    done(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!(taken(&world), 999);
}

#[tokio::test]
async fn who_does_not_agree_or_cannot_pay_is_declined_with_the_payments_id() {
    let world = world();
    let refused = declined(world.adapter.start_purchase(&with(&world, "pm_card_chargeDeclinedLostCard", "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Hard, "lost_card"));
    assert_eq!(refused.payment.unwrap().as_str(), world.simulator.intents()[0].0);
    let (request, _, started) = start(&world, "22").await;
    world.simulator.fail_authentication(&started);
    let failed = declined(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!((failed.class, failed.payment.unwrap().as_str()), (DeclineClass::NeedsCustomer, started.as_str()));
    let poor = with(&world, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "333");
    let (payload, operation) = action(world.adapter.start_purchase(&poor).await);
    world.simulator.agree(&payload);
    let failed = declined(world.adapter.finalize(&finalize(&poor, operation.started.as_deref(), Value::Null)).await);
    assert_eq!((failed.class, failed.code.as_str()), (DeclineClass::Soft, "insufficient_funds"));
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn what_is_given_up_can_never_be_paid_any_more() {
    let world = world();
    let (request, payload, started) = start(&world, "1").await;
    let target = CancelTarget::Reference { reference: request.reference.clone(), started: Some(started.clone()) };
    let order = connector::gateway::CancelRequest { reference: request.reference.clone(), ..cancel("1", target) };
    done(world.adapter.cancel(&order).await);
    world.simulator.agree(&payload);
    assert_eq!((taken(&world), world.simulator.ledger()[0].standing), (0, Standing::Cancelled));
    declined(world.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
}

#[tokio::test]
async fn nothing_that_the_browser_says_but_the_method_gets_to_stripe() {
    let world = world();
    let mut request = with(&world, "pm_card_visa", "1");
    request.payment_data["customer"] = json!("cus_other");
    request.payment_data["paymentMethod"]["amount"] = json!("1");
    done(world.adapter.start_purchase(&request).await);
    let sent = world.sent.lock().unwrap().last().unwrap().clone();
    let pairs = form(&sent);
    let value = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((value("amount"), value("off_session"), value("setup_future_usage")), (Some("999"), None, Some("off_session")));
    assert_eq!(value("payment_method"), request.payment_data["paymentMethod"]["id"].as_str());
    assert!(value("customer").is_some_and(|id| id != "cus_other") && pairs.len() == 13, "{pairs:?}");
    for id in [Value::Null, json!("cus_1"), json!("pm_1/../x"), json!(1)] {
        request.payment_data["paymentMethod"]["id"] = id;
        assert!(matches!(world.adapter.start_purchase(&request).await, Err(GatewayError::Malformed { .. })));
    }
}

#[tokio::test]
async fn a_customer_is_made_once_and_found_again() {
    let world = world();
    world.clock.advance(Duration::from_secs(61));
    let before = world.simulator.customers();
    done(world.adapter.start_purchase(&with(&world, "pm_card_visa", "1")).await);
    assert_eq!(world.simulator.customers(), before, "the search knows him");
    let stranger =
        |attempt| PurchaseRequest { customer: connector::ids::CustomerId::new("7").unwrap(), ..with(&world, "pm_card_visa", attempt) };
    // The search does not know him yet, and his key does.
    for attempt in ["22", "22", "333"] {
        done(world.adapter.start_purchase(&stranger(attempt)).await);
    }
    world.clock.advance(Duration::from_secs(25 * 3_600));
    done(world.adapter.start_purchase(&stranger("4444")).await);
    assert_eq!((world.simulator.customers(), taken(&world)), (before + 1, 4 * 999));
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_is_found_under_its_key_although_the_search_knows_the_customer_by_now() {
    let world = world();
    let request = PurchaseRequest { customer: connector::ids::CustomerId::new("7").unwrap(), ..with(&world, "pm_card_visa", "1") };
    world.road.lay(Fault::TimeoutAfter, |_, request| request.method == Method::POST && request.path.ends_with("/payment_intents"));
    unknown(world.adapter.start_purchase(&request).await);
    for other in ["22", "333"] {
        // The search is behind all the time.
        let other = PurchaseRequest { customer: request.customer.clone(), ..with(&world, "pm_card_chargeDeclined", other) };
        declined(world.adapter.start_purchase(&other).await);
    }
    world.clock.advance(Duration::from_secs(61));
    done(world.adapter.start_purchase(&request).await);
    assert_eq!(taken(&world), 999);
}

#[tokio::test]
async fn details_are_stored_without_a_charge() {
    let world = world();
    for (number, card) in [(1_u32, "pm_card_visa"), (2, ASKS)] {
        let method = world.simulator.collect(card, number);
        let request = StoreDetailsRequest { purchase: purchase(money(0, "EUR"), &method, card) };
        let stored = if card == ASKS {
            let (payload, operation) = action(world.adapter.store_details(&request).await);
            let back = world.simulator.agree(&payload);
            assert_eq!(back["setup_intent"].as_str(), operation.started.as_deref());
            done(world.adapter.finalize(&finalize(&request.purchase, operation.started.as_deref(), back)).await)
        } else {
            done(world.adapter.store_details(&request).await)
        };
        let token = stored.token.unwrap();
        assert!(world.simulator.is_stored(token.0.expose()));
        done(world.adapter.charge(&payment(world.amount, token.0.expose(), card)).await);
    }
    assert_eq!(taken(&world), 2 * 999);
    let mut entered = purchase(money(0, "EUR"), "x", "refused");
    entered.payment_data = world.simulator.entered(Entry::Refused, 3);
    let refused = declined(world.adapter.store_details(&StoreDetailsRequest { purchase: entered }).await);
    assert_eq!(refused.code, "insufficient_funds");
    let paid = StoreDetailsRequest { purchase: with(&world, "pm_card_visa", "1") };
    assert!(matches!(world.adapter.store_details(&paid).await, Err(GatewayError::Malformed { .. })));
}
