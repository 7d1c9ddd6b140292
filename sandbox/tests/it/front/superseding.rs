//! An abandoned authentication does not block the order: another card replaces it. If the first succeeds later, it is reversed and never
//! reported.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use connector::reason::CompletionReason;
use sandbox::simulators::adyen::PaymentState;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use crate::front::without_customer::notify_authorised;
use crate::front::{GOOD, REDIRECTING, assert_paid_once, buyer, card, code, is_paid, redirect_result, statuses};

#[tokio::test]
async fn another_card_supersedes_an_attempt_that_waiting_for_customer() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", "1")).await.status, 200);
    let paid = buyer.start(&env, &card(GOOD, "J D", "2")).await;
    assert!(is_paid(&paid));
    assert_paid_once(&env, &buyer);
    // The first card's data now finds the order paid.
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", "1")).await, paid);
}

#[tokio::test]
async fn a_superseded_attempt_that_succeeds_is_reversed_when_its_notification_arrives() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let first = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
    env.adyen.finish_without_returning(first["redirectResult"].as_str().unwrap());
    assert_eq!(env.adyen.total_captured("USD"), 1998);
    let late = env.adyen.payments().into_iter().next_back().unwrap();
    for _ in 0..5 {
        assert_eq!(notify_authorised(&env, &late, Some("X")).await, Disposition::Completed(CompletionReason::ReversalReceived));
    }
    env.adyen.process();
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/refunds"), 1);
    assert_eq!((env.adyen.total_refunded("USD"), statuses(&env)), (999, vec![PaymentStatus::Captured]));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn a_return_from_a_superseded_attempt_reverses_it_and_leaves_the_other_waiting() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let first = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    let second = buyer.start(&env, &card(REDIRECTING, "J D", "2")).await;
    let reply = buyer.finalize(&env, &first).await;
    assert_eq!(code(&reply), (409, "ORDER0008"));
    env.adyen.process();
    let payment = env.adyen.payments().remove(0);
    assert_eq!((payment.state, payment.refunded), (PaymentState::Captured, 999));
    assert_eq!(statuses(&env), []);
    // Its notification, later, changes nothing.
    assert_eq!(notify_authorised(&env, &payment, Some("X")).await, Disposition::Completed(CompletionReason::ReversalReceived));
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", "2")).await, second);
    assert!(is_paid(&buyer.finalize(&env, &redirect_result(&second)).await));
    assert_paid_once(&env, &buyer);
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/refunds"), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_queried_and_never_superseded_by_another_card() {
    for effect in [sandbox::simulators::network::Fault::TimeoutAfter, sandbox::simulators::network::Fault::TimeoutBefore] {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        env.network.inject(effect, |peer, _| peer == "adyen");
        assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
        assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
        assert_eq!(env.adyen.payments().len(), 1);
        assert_paid_once(&env, &buyer);
    }
}

#[tokio::test]
async fn another_customers_redirect_result_finishes_no_other_order() {
    let env = TestEnvironment::default();
    let (honest, thief) = (buyer(&env), buyer(&env));
    let honest_action = honest.start(&env, &card(REDIRECTING, "J D", "1")).await;
    let thief_action = thief.start(&env, &card(REDIRECTING, "T", "2")).await;
    let reply = thief.finalize(&env, &redirect_result(&honest_action)).await;
    assert_eq!(code(&reply), (409, "ORDER0008"));
    assert_eq!(statuses(&env), []);
    assert_eq!(thief.start(&env, &card(REDIRECTING, "T", "2")).await, thief_action);
    // The customer's own payment was made, and its notification completes the order.
    let payment = env.adyen.payments().remove(0);
    assert_eq!(
        notify_authorised(&env, &payment, Some(payment.stored_payment_method_id.as_deref().unwrap())).await,
        Disposition::Completed(CompletionReason::Captured)
    );
    assert!(is_paid(&honest.start(&env, &card(REDIRECTING, "J D", "1")).await));
    assert_paid_once(&env, &honest);
}

#[tokio::test]
async fn finalize_without_a_start_has_its_own_error() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    assert_eq!(code(&buyer.finalize(&env, &json!({ "redirectResult": "X" })).await), (409, "ORDER0007"));
    // A result that the gateway does not know leaves the attempt waiting.
    let action = buyer.start(&env, &card(REDIRECTING, "J D", "1")).await;
    assert_eq!(code(&buyer.finalize(&env, &json!({ "redirectResult": "nonsense" })).await), (422, "ADYEN0004"));
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", "1")).await, action);
    assert!(is_paid(&buyer.finalize(&env, &redirect_result(&action)).await));
    assert_paid_once(&env, &buyer);
}
