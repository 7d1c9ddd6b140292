//! An abandoned authentication does not block the order: another card takes its place. If the first succeeds after all it is given back and
//! never reported.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::http::Method;
use sandbox::adyen::PaymentState;
use sandbox::stage::Stage;
use serde_json::json;

use crate::absent::authorised;
use crate::{GOOD, REDIRECTING, assert_paid_once, buyer, card, code, is_paid, redirect_result, statuses};

#[tokio::test]
async fn another_card_supersedes_an_attempt_that_waits_for_the_customer() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await.status, 200);
    let paid = buyer.start(&stage, &card(GOOD, "J D", "2")).await;
    assert!(is_paid(&paid));
    assert_paid_once(&stage, &buyer);
    // The first card's data now finds the order paid.
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await, paid);
}

#[tokio::test]
async fn a_superseded_attempt_that_succeeds_at_the_bank_is_given_back_when_its_notification_comes() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let first = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
    stage.adyen.finish_away(first["redirectResult"].as_str().unwrap());
    assert_eq!(stage.adyen.total_captured("USD"), 1998);
    let late = stage.adyen.payments().into_iter().next_back().unwrap();
    for _ in 0..5 {
        assert_eq!(authorised(&stage, &late, Some("X")).await, Verdict::Settled("given_back"));
    }
    stage.adyen.process();
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/refunds"), 1);
    assert_eq!((stage.adyen.total_refunded("USD"), statuses(&stage)), (999, vec![PaymentStatus::Captured]));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn coming_back_from_a_superseded_attempt_gives_it_back_at_once_and_leaves_the_other_waiting() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let first = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    let second = buyer.start(&stage, &card(REDIRECTING, "J D", "2")).await;
    let reply = buyer.finalize(&stage, &first).await;
    assert_eq!(code(&reply), (409, "ORDER0008"));
    stage.adyen.process();
    let payment = stage.adyen.payments().remove(0);
    assert_eq!((payment.state, payment.refunded), (PaymentState::Captured, 999));
    assert_eq!(statuses(&stage), []);
    // Its notification, later, changes nothing.
    assert_eq!(authorised(&stage, &payment, Some("X")).await, Verdict::Settled("given_back"));
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", "2")).await, second);
    assert!(is_paid(&buyer.finalize(&stage, &redirect_result(&second)).await));
    assert_paid_once(&stage, &buyer);
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/refunds"), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_never_superseded_but_asked_about_with_whatever_card_comes() {
    for effect in [sandbox::peer::Fault::TimeoutAfter, sandbox::peer::Fault::TimeoutBefore] {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        stage.road.lay(effect, |peer, _| peer == "adyen");
        assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
        assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
        assert_eq!(stage.adyen.payments().len(), 1);
        assert_paid_once(&stage, &buyer);
    }
}

#[tokio::test]
async fn what_another_customers_redirect_brought_finishes_nobody_elses_order() {
    let stage = Stage::default();
    let (honest, thief) = (buyer(&stage), buyer(&stage));
    let honest_action = honest.start(&stage, &card(REDIRECTING, "J D", "1")).await;
    let thief_action = thief.start(&stage, &card(REDIRECTING, "T", "2")).await;
    let reply = thief.finalize(&stage, &redirect_result(&honest_action)).await;
    assert_eq!(code(&reply), (409, "ORDER0008"));
    assert_eq!(statuses(&stage), []);
    assert_eq!(thief.start(&stage, &card(REDIRECTING, "T", "2")).await, thief_action);
    // The honest customer's payment was made, and his notification finishes his order.
    let payment = stage.adyen.payments().remove(0);
    assert_eq!(
        authorised(&stage, &payment, Some(payment.stored_payment_method_id.as_deref().unwrap())).await,
        Verdict::Settled("captured")
    );
    assert!(is_paid(&honest.start(&stage, &card(REDIRECTING, "J D", "1")).await));
    assert_paid_once(&stage, &honest);
}

#[tokio::test]
async fn finalize_without_a_start_is_told_so() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    assert_eq!(code(&buyer.finalize(&stage, &json!({ "redirectResult": "X" })).await), (409, "ORDER0007"));
    // A result that the gateway does not know leaves the attempt waiting.
    let action = buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await;
    assert_eq!(code(&buyer.finalize(&stage, &json!({ "redirectResult": "nonsense" })).await), (422, "ADYEN0004"));
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await, action);
    assert!(is_paid(&buyer.finalize(&stage, &redirect_result(&action)).await));
    assert_paid_once(&stage, &buyer);
}
