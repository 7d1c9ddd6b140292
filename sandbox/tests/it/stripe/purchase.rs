//! Purchases and storing with the customer present.

use std::time::Duration;

use connector::gateway::{CancelTarget, DeclineClass, Gateway, GatewayError, PurchaseRequest, StoreDetailsRequest, UnknownCause};
use connector::http::Method;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerStatus, SimulatedGateway};
use serde_json::{Value, json};

use super::harness::{StripeHarness, form, money};
use super::requests::{action, cancel, declined, done, finalize, payment, purchase, taken, unknown};

const AUTHENTICATION_CARD: &str = "pm_card_authenticationRequiredOnSetup";

fn harness() -> StripeHarness {
    StripeHarness::new(money(999, "EUR"))
}

/// A purchase with a card that is entered again.
fn purchase_with_card(harness: &StripeHarness, card: &str, attempt: &str) -> PurchaseRequest {
    let number = u32::try_from(attempt.len()).unwrap();
    purchase(harness.amount, &harness.simulator.tokenize_card(card, number), attempt)
}

/// Starts a purchase; the request, the action and the id of what waits.
async fn start(harness: &StripeHarness, attempt: &str) -> (PurchaseRequest, Value, String) {
    let request = purchase_with_card(harness, AUTHENTICATION_CARD, attempt);
    let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
    (request, payload, operation.pending_id.unwrap())
}

#[tokio::test]
async fn a_purchase_without_a_question_is_paid_at_once_and_its_details_renew() {
    let harness = harness();
    let paid = done(harness.adapter.start_purchase(&purchase_with_card(&harness, "pm_card_visa", "1")).await);
    assert_eq!(paid.external_payment_id.unwrap().as_str(), harness.simulator.intents()[0].0);
    let shown = json!({ "variant": "visa", "lastCardFourDigits": "4242", "cardExpirationDate": "08/2030", "holderName": "Jenny Rosen" });
    assert_eq!(paid.display_params, shown);
    done(harness.adapter.authorise(&payment(harness.amount, paid.token.unwrap().0.expose(), "renewal")).await);
    assert_eq!(taken(&harness), 999);
}

#[tokio::test]
async fn a_customer_who_authenticates_pays_once() {
    let harness = harness();
    let (request, payload, started) = start(&harness, "1").await;
    assert_eq!((&payload["type"], &payload["method"]), (&json!("redirect"), &json!("GET")));
    // The customer has not agreed yet: the same is asked again.
    let (again, _) = action(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!((again, taken(&harness)), (payload.clone(), 0));
    let back = harness.simulator.complete_action(&payload);
    assert_eq!(back["payment_intent"], json!(started));
    for _ in 0..2 {
        let paid = done(harness.adapter.finalize(&finalize(&request, Some(&started), back.clone())).await);
        assert_eq!(paid.external_payment_id.unwrap().as_str(), started);
        // Authenticated once, it renews without the customer.
        let renewal = payment(harness.amount, paid.token.unwrap().0.expose(), "renewal");
        done(harness.adapter.authorise(&renewal).await);
    }
    assert_eq!(taken(&harness), 999);
    let other = json!({ "payment_intent": "pi_1Other", "redirect_status": "succeeded" });
    assert_eq!(unknown(harness.adapter.finalize(&finalize(&request, Some(&started), other)).await), UnknownCause::AnotherPayment);
}

#[tokio::test]
async fn a_page_that_authenticates_itself_gets_the_client_secret() {
    let harness = harness();
    let mut request = purchase_with_card(&harness, AUTHENTICATION_CARD, "1");
    request.payment_data["useStripeSdk"] = json!(true);
    let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
    let started = operation.pending_id.unwrap();
    assert_eq!((&payload["type"], &payload["intent"]), (&json!("sdk"), &json!(started)));
    assert!(payload["clientSecret"].as_str().unwrap().starts_with(&format!("{started}_secret_")));
    harness.simulator.complete_action(&payload);
    done(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!(taken(&harness), 999);
}

#[tokio::test]
async fn a_missing_approval_or_failed_payment_is_declined_with_the_payments_id() {
    let harness = harness();
    let refused = declined(harness.adapter.start_purchase(&purchase_with_card(&harness, "pm_card_chargeDeclinedLostCard", "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Hard, "lost_card"));
    assert_eq!(refused.payment.unwrap().as_str(), harness.simulator.intents()[0].0);
    let (request, _, started) = start(&harness, "22").await;
    harness.simulator.fail_authentication(&started);
    let failed = declined(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
    assert_eq!((failed.class, failed.payment.unwrap().as_str()), (DeclineClass::NeedsCustomer, started.as_str()));
    let poor = purchase_with_card(&harness, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "333");
    let (payload, operation) = action(harness.adapter.start_purchase(&poor).await);
    harness.simulator.complete_action(&payload);
    let failed = declined(harness.adapter.finalize(&finalize(&poor, operation.pending_id.as_deref(), Value::Null)).await);
    assert_eq!((failed.class, failed.code.as_str()), (DeclineClass::Soft, "insufficient_funds"));
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn a_cancelled_purchase_can_never_be_paid() {
    let harness = harness();
    let (request, payload, started) = start(&harness, "1").await;
    let target = CancelTarget::Reference { reference: request.reference.clone(), pending_id: Some(started.clone()) };
    let order = connector::gateway::CancelRequest { reference: request.reference.clone(), ..cancel("1", target) };
    done(harness.adapter.cancel(&order).await);
    harness.simulator.complete_action(&payload);
    assert_eq!((taken(&harness), harness.simulator.ledger()[0].status), (0, LedgerStatus::Cancelled));
    declined(harness.adapter.finalize(&finalize(&request, Some(&started), Value::Null)).await);
}

#[tokio::test]
async fn only_the_payment_method_of_the_browser_data_reaches_stripe() {
    let harness = harness();
    let mut request = purchase_with_card(&harness, "pm_card_visa", "1");
    request.payment_data["customer"] = json!("cus_other");
    request.payment_data["paymentMethod"]["amount"] = json!("1");
    done(harness.adapter.start_purchase(&request).await);
    let sent = harness.sent.lock().unwrap().last().unwrap().clone();
    let pairs = form(&sent);
    let value = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((value("amount"), value("off_session"), value("setup_future_usage")), (Some("999"), None, Some("off_session")));
    assert_eq!(value("payment_method"), request.payment_data["paymentMethod"]["id"].as_str());
    assert!(value("customer").is_some_and(|id| id != "cus_other") && pairs.len() == 13, "{pairs:?}");
    for id in [Value::Null, json!("cus_1"), json!("pm_1/../x"), json!(1)] {
        request.payment_data["paymentMethod"]["id"] = id;
        assert!(matches!(harness.adapter.start_purchase(&request).await, Err(GatewayError::Malformed { .. })));
    }
}

#[tokio::test]
async fn a_customer_is_made_once_and_found_again() {
    let harness = harness();
    harness.clock.advance(Duration::from_secs(61));
    let before = harness.simulator.customers();
    done(harness.adapter.start_purchase(&purchase_with_card(&harness, "pm_card_visa", "1")).await);
    assert_eq!(harness.simulator.customers(), before, "the search finds the customer");
    let stranger = |attempt| PurchaseRequest {
        customer: connector::ids::CustomerId::new("7").unwrap(),
        ..purchase_with_card(&harness, "pm_card_visa", attempt)
    };
    // The search does not find the customer yet, and the key does.
    for attempt in ["22", "22", "333"] {
        done(harness.adapter.start_purchase(&stranger(attempt)).await);
    }
    harness.clock.advance(Duration::from_secs(25 * 3_600));
    done(harness.adapter.start_purchase(&stranger("4444")).await);
    assert_eq!((harness.simulator.customers(), taken(&harness)), (before + 1, 4 * 999));
}

#[tokio::test]
async fn a_start_with_a_lost_answer_is_found_under_its_key_once_the_search_has_the_customer() {
    let harness = harness();
    let request =
        PurchaseRequest { customer: connector::ids::CustomerId::new("7").unwrap(), ..purchase_with_card(&harness, "pm_card_visa", "1") };
    harness.network.inject(Fault::TimeoutAfter, |_, request| request.method == Method::POST && request.path.ends_with("/payment_intents"));
    unknown(harness.adapter.start_purchase(&request).await);
    for other in ["22", "333"] {
        // The search is behind all the time.
        let other = PurchaseRequest { customer: request.customer.clone(), ..purchase_with_card(&harness, "pm_card_chargeDeclined", other) };
        declined(harness.adapter.start_purchase(&other).await);
    }
    harness.clock.advance(Duration::from_secs(61));
    done(harness.adapter.start_purchase(&request).await);
    assert_eq!(taken(&harness), 999);
}

#[tokio::test]
async fn details_are_stored_without_a_charge() {
    let harness = harness();
    for (number, card) in [(1_u32, "pm_card_visa"), (2, AUTHENTICATION_CARD)] {
        let method = harness.simulator.tokenize_card(card, number);
        let request = StoreDetailsRequest { purchase: purchase(money(0, "EUR"), &method, card) };
        let stored = if card == AUTHENTICATION_CARD {
            let (payload, operation) = action(harness.adapter.store_details(&request).await);
            let back = harness.simulator.complete_action(&payload);
            assert_eq!(back["setup_intent"].as_str(), operation.pending_id.as_deref());
            done(harness.adapter.finalize(&finalize(&request.purchase, operation.pending_id.as_deref(), back)).await)
        } else {
            done(harness.adapter.store_details(&request).await)
        };
        let token = stored.token.unwrap();
        assert!(harness.simulator.has_stored_details(token.0.expose()));
        done(harness.adapter.charge(&payment(harness.amount, token.0.expose(), card)).await);
    }
    assert_eq!(taken(&harness), 2 * 999);
    let mut entered = purchase(money(0, "EUR"), "x", "refused");
    entered.payment_data = harness.simulator.payment_data(EnteredDetails::Declined, 3);
    let refused = declined(harness.adapter.store_details(&StoreDetailsRequest { purchase: entered }).await);
    assert_eq!(refused.code, "insufficient_funds");
    let paid = StoreDetailsRequest { purchase: purchase_with_card(&harness, "pm_card_visa", "1") };
    assert!(matches!(harness.adapter.store_details(&paid).await, Err(GatewayError::Malformed { .. })));
}
