//! Orders: the way there and back, and everything that can happen at the gateway meanwhile.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::money::{Currency, Money};
use sandbox::house::{Entry, House as _};
use sandbox::peer::Fault;
use sandbox::stage::Stage;
use serde_json::json;

use super::{Shopper, assert_paid_once, at_paypal, cancel, error, redirect_url, sent_on, shopper, success, taken};
use crate::{GOOD, NATIVE, REDIRECTING, card, code, statuses};

#[tokio::test]
async fn an_order_is_paid_by_going_there_and_coming_back() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    assert_eq!(taken(&stage, GatewayName::PayPal), 0);
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn a_reload_of_the_way_back_leads_to_the_same_place_and_charges_nothing() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    let first = stage.follow(&back).await;
    let calls = stage.road.calls().len();
    for _ in 0..4 {
        assert_eq!(stage.follow(&back).await, first);
        stage.clock.advance(Duration::from_secs(40 * 86_400));
    }
    assert_eq!(stage.road.calls().len(), calls, "nobody was asked again");
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn a_click_after_all_is_paid_leads_to_the_same_place() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.follow(&back).await;
    assert_eq!(redirect_url(&shopper.start(&stage).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn who_gives_up_at_the_gateway_is_sent_to_the_cancel_address_and_can_try_again() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let first = redirect_url(&shopper.start(&stage).await);
    let back = stage.paypal.leave(&first, false).unwrap();
    for _ in 0..3 {
        assert_eq!(sent_on(&stage.follow(&back).await), cancel());
    }
    assert_eq!((statuses(&stage), taken(&stage, GatewayName::PayPal)), (vec![], 0), "nothing happened");
    let second = redirect_url(&shopper.start(&stage).await);
    assert_ne!(first, second, "a page of its own for the next try");
    let back = stage.paypal.leave(&second, true).unwrap();
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn who_gave_up_and_agrees_after_all_has_paid() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let page = redirect_url(&shopper.start(&stage).await);
    let given_up = stage.paypal.leave(&page, false).unwrap();
    assert_eq!(sent_on(&stage.follow(&given_up).await), cancel());
    let back = stage.paypal.leave(&page, true).unwrap();
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_eq!(sent_on(&stage.follow(&given_up).await), success(), "whatever he reloads");
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn an_agreement_to_a_page_that_was_given_up_and_replaced_takes_nothing() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let first = redirect_url(&shopper.start(&stage).await);
    stage.follow(&stage.paypal.leave(&first, false).unwrap()).await;
    let second = redirect_url(&shopper.start(&stage).await);
    let late = stage.paypal.leave(&first, true).unwrap();
    assert_eq!(sent_on(&stage.follow(&late).await), error("message=replaced&code=ORDER0008"));
    assert_eq!(taken(&stage, GatewayName::PayPal), 0);
    stage.follow(&stage.paypal.leave(&second, true).unwrap()).await;
    assert_paid_once(&stage, &shopper);
    assert_eq!(sent_on(&stage.follow(&late).await), success(), "the order is paid");
}

#[tokio::test]
async fn a_click_long_after_the_first_leads_to_a_page_that_still_works() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let first = redirect_url(&shopper.start(&stage).await);
    stage.clock.advance(Duration::from_secs(50 * 60));
    assert_eq!(redirect_url(&shopper.start(&stage).await), first);
    stage.clock.advance(Duration::from_secs(7 * 3_600));
    let back = shopper.goes(&stage, true).await;
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn a_refusal_is_told_at_the_error_address_and_the_next_click_is_a_new_try() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    stage.paypal.entered(Entry::Refused, 1);
    let back = shopper.goes(&stage, true).await;
    for _ in 0..3 {
        assert_eq!(sent_on(&stage.follow(&back).await), error("message=refused&code=PAYPAL0002"));
    }
    assert_eq!((statuses(&stage), taken(&stage, GatewayName::PayPal)), (vec![PaymentStatus::Rejected], 0));
    let again = shopper.goes(&stage, true).await;
    assert_eq!(sent_on(&stage.follow(&again).await), success());
    assert_paid_once(&stage, &shopper);
    assert_eq!(sent_on(&stage.follow(&back).await), success(), "the order is paid");
}

#[tokio::test]
async fn so_many_refusals_are_too_many() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    for _ in 0..5 {
        stage.paypal.entered(Entry::Refused, 1);
        stage.follow(&shopper.goes(&stage, true).await).await;
    }
    assert_eq!(code(&shopper.start(&stage).await), (429, "ORDER0005"));
    assert_eq!(stage.paypal.orders(), 5);
}

#[tokio::test]
async fn who_comes_back_after_the_orders_time_is_told_so_and_pays_nothing() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.clock.advance(Duration::from_secs(25 * 3_600));
    for _ in 0..2 {
        assert_eq!(sent_on(&stage.follow(&back).await), error("message=expired&code=ORDER0001"));
    }
    assert_eq!((statuses(&stage), taken(&stage, GatewayName::PayPal)), (vec![], 0));
}

#[tokio::test]
async fn what_an_operator_has_to_look_at_is_told_to_whoever_comes_from_wherever() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.road.lay(Fault::StatusBefore(422), |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
    let cancel = back.split_once('?').unwrap().0.replace("/return/", "/cancel/");
    for address in [&back, &back, &cancel] {
        assert_eq!(sent_on(&stage.follow(address).await), error("message=under_review&code=ORDER0009"));
    }
    assert_eq!(code(&shopper.start(&stage).await), (409, "ORDER0009"));
    assert_eq!(stage.paypal.captured().len(), 1);
}

#[tokio::test]
async fn an_order_that_was_changed_meanwhile_is_not_paid_with_what_was_agreed_to() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.cleeng.reprice(&shopper.order, Money::new(499, Currency::new("USD").unwrap()), true);
    assert_eq!(sent_on(&stage.follow(&back).await), error("message=changed&code=ORDER0004"));
    assert_eq!(sent_on(&stage.follow(&back).await), error("message=replaced&code=ORDER0008"), "a reload");
    assert_eq!((statuses(&stage), taken(&stage, GatewayName::PayPal)), (vec![], 0));
    let again = shopper.goes(&stage, true).await;
    assert_eq!(sent_on(&stage.follow(&again).await), success());
    assert_eq!(taken(&stage, GatewayName::PayPal), 499);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_told_as_unavailable_and_a_reload_pays() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    for fault in [Fault::NotSent, Fault::TimeoutBefore, Fault::StatusBefore(500)] {
        stage.road.lay(fault, |peer, _| peer == "cleeng");
        assert_eq!(sent_on(&stage.follow(&back).await), error("message=unavailable&code=S0001"));
    }
    stage.road.lay(Fault::StatusBefore(404), |peer, _| peer == "cleeng");
    assert_eq!(sent_on(&stage.follow(&back).await), error("message=failed&code=PAYPAL0001"));
    assert_eq!(taken(&stage, GatewayName::PayPal), 0);
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn what_is_not_known_yet_is_told_as_pending_and_the_page_finds_it_out_by_the_same_call() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.road.lay(Fault::TimeoutAfter, |peer, request| peer == "paypal" && request.path.ends_with("/capture"));
    let told = stage.follow(&back).await;
    assert_eq!(sent_on(&told), error("message=pending"));
    assert_eq!(statuses(&stage), []);
    stage.clock.advance(Duration::from_secs(30));
    assert_eq!(redirect_url(&shopper.start(&stage).await), success());
    assert_paid_once(&stage, &shopper);
    assert_eq!(sent_on(&stage.follow(&back).await), success());
}

#[tokio::test]
async fn a_gateway_that_could_not_be_asked_is_told_as_unavailable_and_a_reload_pays() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.paypal.throttle_next(1);
    assert_eq!(sent_on(&stage.follow(&back).await), error("message=unavailable&code=PAYPAL0005"));
    stage.clock.advance(Duration::from_secs(30));
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn a_customer_who_is_finished_by_the_gateways_word_is_sent_to_success_when_he_comes_after_all() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let back = shopper.goes(&stage, true).await;
    stage.run_until_quiet().await;
    assert_paid_once(&stage, &shopper);
    let captures = stage.paypal.captured().len();
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_eq!(stage.paypal.captured().len(), captures);
}

fn with_card(shopper: &Shopper, number: &str, holder: &str) -> serde_json::Value {
    let mut body = shopper.body();
    body["paymentMethod"] = card(number, holder, "1");
    body
}

#[tokio::test]
async fn a_gateway_that_needs_payment_data_says_so_and_takes_them_along() {
    let stage = Stage::default();
    let shopper = shopper(&stage, GatewayName::Adyen);
    for nothing in [json!(null), json!({ "paymentMethod": null })] {
        let mut body = shopper.body();
        body.as_object_mut().unwrap().extend(nothing.as_object().cloned().unwrap_or_default());
        assert_eq!(code(&shopper.start_with(&stage, &body).await), (422, "ADYEN0004"));
    }
    assert!(stage.road.calls().is_empty());
    let page = redirect_url(&shopper.start_with(&stage, &with_card(&shopper, REDIRECTING, "J D")).await);
    let back = stage.adyen.leave(&page, true).unwrap();
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_paid_once(&stage, &shopper);
    assert_eq!(sent_on(&stage.follow(&back).await), success());
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/payments/details"), 1);
}

#[tokio::test]
async fn payment_data_that_pay_without_a_question_lead_to_success_at_once() {
    let stage = Stage::default();
    let shopper = shopper(&stage, GatewayName::Adyen);
    assert_eq!(redirect_url(&shopper.start_with(&stage, &with_card(&shopper, GOOD, "J D")).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn payment_data_that_are_refused_at_once_are_told_to_the_page() {
    let stage = Stage::default();
    let shopper = shopper(&stage, GatewayName::Adyen);
    for _ in 0..2 {
        // He was nowhere else: the second time is the same click.
        assert_eq!(code(&shopper.start_with(&stage, &with_card(&shopper, GOOD, "DECLINED")).await), (422, "ADYEN0002"));
    }
    assert_eq!((statuses(&stage), stage.adyen.payments().len()), (vec![PaymentStatus::Rejected], 1));
}

#[tokio::test]
async fn a_click_with_payment_data_long_after_the_first_leads_to_a_page_that_still_works() {
    let stage = Stage::default();
    let shopper = shopper(&stage, GatewayName::Adyen);
    let body = with_card(&shopper, REDIRECTING, "J D");
    let first = redirect_url(&shopper.start_with(&stage, &body).await);
    stage.clock.advance(Duration::from_secs(3_599));
    assert_eq!(redirect_url(&shopper.start_with(&stage, &body).await), first);
    stage.clock.advance(Duration::from_secs(1));
    let second = redirect_url(&shopper.start_with(&stage, &body).await);
    assert_ne!(first, second);
    assert_eq!(sent_on(&stage.follow(&stage.adyen.leave(&second, true).unwrap()).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn what_is_no_redirect_is_refused_and_can_be_paid_with_the_component() {
    let stage = Stage::default();
    let shopper = shopper(&stage, GatewayName::Adyen);
    let told = shopper.start_with(&stage, &with_card(&shopper, NATIVE, "J D")).await;
    assert_eq!(code(&told), (422, "ADYEN0004"));
    let mut component = json!({ "orderId": shopper.order, "paymentMethod": card(GOOD, "J D", "2") });
    component["returnUrl"] = json!(success());
    let paid = stage.call("initial-payment", &shopper.token, &component).await;
    assert!(crate::is_paid(&paid), "{}", paid.body);
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn a_gateway_that_tells_who_gave_up_by_the_result_has_the_same_end() {
    let stage = Stage::default();
    let shopper = shopper(&stage, GatewayName::Adyen);
    let body = with_card(&shopper, REDIRECTING, "J D");
    let first = redirect_url(&shopper.start_with(&stage, &body).await);
    let back = stage.adyen.leave(&first, false).unwrap();
    for _ in 0..2 {
        assert_eq!(sent_on(&stage.follow(&back).await), cancel());
    }
    assert_eq!((statuses(&stage), taken(&stage, GatewayName::Adyen)), (vec![PaymentStatus::Rejected], 0));
    let second = redirect_url(&shopper.start_with(&stage, &body).await);
    assert_ne!(first, second, "the next click is a new try");
    assert_eq!(sent_on(&stage.follow(&stage.adyen.leave(&second, true).unwrap()).await), success());
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn the_same_order_can_be_paid_in_the_other_style() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let late = shopper.goes(&stage, true).await;
    let start = json!({ "orderId": shopper.order, "returnUrl": success() });
    let started = stage.call_at(GatewayName::PayPal, "initial-payment", &shopper.token, &start).await;
    let details = stage.paypal.agree(&started.body["responseData"]["action"]);
    // The attempt of the redirect style was replaced.
    assert_eq!(sent_on(&stage.follow(&late).await), error("message=replaced&code=ORDER0008"));
    let finalize = json!({ "orderId": shopper.order, "details": details });
    assert!(crate::is_paid(&stage.call_at(GatewayName::PayPal, "initial-payment/finalize", &shopper.token, &finalize).await));
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_is_asked_about_by_the_next_click_and_leads_back_to_us() {
    for (name, fault) in [("before", Fault::TimeoutBefore), ("after", Fault::TimeoutAfter)] {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        stage.road.lay(fault, |peer, request| peer == "paypal" && request.path.ends_with("/orders"));
        assert_eq!(shopper.start(&stage).await.status, 202, "{name}");
        stage.clock.advance(Duration::from_secs(30));
        let back = shopper.goes(&stage, true).await;
        assert_eq!(sent_on(&stage.follow(&back).await), success(), "{name}");
        assert_eq!(stage.paypal.orders(), 1, "{name}");
        assert_paid_once(&stage, &shopper);
    }
}

#[tokio::test]
async fn an_agreement_of_which_the_gateway_tells_after_the_orders_time_takes_nothing() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    shopper.goes(&stage, true).await;
    stage.clock.advance(Duration::from_secs(24 * 3_600));
    stage.hear_gateways().await;
    assert_eq!((taken(&stage, shopper.gateway), crate::statuses(&stage)), (0, vec![]));
}
