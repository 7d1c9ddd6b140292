//! Orders: redirect and return, and everything that can happen at the gateway meanwhile.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::money::{Currency, Money};
use sandbox::simulators::cleeng::refusal;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{EnteredDetails, SimulatedGateway as _};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use super::{
    Shopper, assert_paid_once, cancel_url, error_url, net_captured, paypal_shopper, redirect_target, redirect_url, shopper, success_url,
};
use crate::front::{GOOD, NATIVE, REDIRECTING, card, code, statuses};

#[tokio::test]
async fn an_order_is_paid_by_redirect() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    assert_eq!(net_captured(&env, GatewayName::PayPal), 0);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_reload_of_the_return_leads_to_the_same_address_and_charges_nothing() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    let first = env.follow_redirect(&back).await;
    let calls = env.network.calls().len();
    for _ in 0..4 {
        assert_eq!(env.follow_redirect(&back).await, first);
        env.clock.advance(Duration::from_secs(40 * 86_400));
    }
    assert_eq!(env.network.calls().len(), calls, "nobody was asked again");
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_start_after_payment_leads_to_the_same_address() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.follow_redirect(&back).await;
    assert_eq!(redirect_url(&shopper.start(&env).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_cancel_at_the_gateway_leads_to_the_cancel_address_and_allows_a_retry() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let first = redirect_url(&shopper.start(&env).await);
    let back = env.paypal.complete_redirect(&first, false).unwrap();
    for _ in 0..3 {
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), cancel_url());
    }
    assert_eq!((statuses(&env), net_captured(&env, GatewayName::PayPal)), (vec![], 0), "nothing happened");
    let second = redirect_url(&shopper.start(&env).await);
    assert_ne!(first, second, "a page of its own for the next try");
    let back = env.paypal.complete_redirect(&second, true).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn an_approval_after_a_cancel_pays() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let page = redirect_url(&shopper.start(&env).await);
    let given_up = env.paypal.complete_redirect(&page, false).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&given_up).await), cancel_url());
    let back = env.paypal.complete_redirect(&page, true).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_eq!(redirect_target(&env.follow_redirect(&given_up).await), success_url(), "on every reload");
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn an_approval_of_a_cancelled_and_replaced_page_charges_nothing() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let first = redirect_url(&shopper.start(&env).await);
    env.follow_redirect(&env.paypal.complete_redirect(&first, false).unwrap()).await;
    let second = redirect_url(&shopper.start(&env).await);
    let late = env.paypal.complete_redirect(&first, true).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&late).await), error_url("message=replaced&code=ORDER0008"));
    assert_eq!(net_captured(&env, GatewayName::PayPal), 0);
    env.follow_redirect(&env.paypal.complete_redirect(&second, true).unwrap()).await;
    assert_paid_once(&env, &shopper);
    assert_eq!(redirect_target(&env.follow_redirect(&late).await), success_url(), "the order is paid");
}

#[tokio::test]
async fn a_start_long_after_the_first_leads_to_a_page_that_still_works() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let first = redirect_url(&shopper.start(&env).await);
    env.clock.advance(Duration::from_secs(50 * 60));
    assert_eq!(redirect_url(&shopper.start(&env).await), first);
    env.clock.advance(Duration::from_secs(7 * 3_600));
    let back = shopper.complete_redirect(&env, true).await;
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_refusal_leads_to_the_error_address_and_the_next_start_is_a_new_attempt() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    env.paypal.payment_data(EnteredDetails::Declined, 1);
    let back = shopper.complete_redirect(&env, true).await;
    for _ in 0..3 {
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=refused&code=PAYPAL0002"));
    }
    assert_eq!((statuses(&env), net_captured(&env, GatewayName::PayPal)), (vec![PaymentStatus::Rejected], 0));
    let again = shopper.complete_redirect(&env, true).await;
    assert_eq!(redirect_target(&env.follow_redirect(&again).await), success_url());
    assert_paid_once(&env, &shopper);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url(), "the order is paid");
}

#[tokio::test]
async fn refusals_are_limited() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    for _ in 0..5 {
        env.paypal.payment_data(EnteredDetails::Declined, 1);
        env.follow_redirect(&shopper.complete_redirect(&env, true).await).await;
    }
    assert_eq!(code(&shopper.start(&env).await), (429, "ORDER0005"));
    assert_eq!(env.paypal.orders(), 5);
}

#[tokio::test]
async fn a_return_after_the_order_expired_is_refused_and_charges_nothing() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.clock.advance(Duration::from_secs(25 * 3_600));
    for _ in 0..2 {
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=expired&code=ORDER0001"));
    }
    assert_eq!((statuses(&env), net_captured(&env, GatewayName::PayPal)), (vec![], 0));
}

/// The next list of subscriptions does not name their latest payments.
fn hide_latest_payment(env: &TestEnvironment) {
    let hide = |body: &mut serde_json::Value| {
        for subscription in body["data"].as_array_mut().into_iter().flatten() {
            subscription.as_object_mut().unwrap().remove("latestPaymentExternalId");
        }
    };
    env.network.inject(Fault::Mutate(std::sync::Arc::new(hide)), |_, request| request.path.ends_with("/subscriptions"));
}

#[tokio::test]
async fn a_parked_order_is_reported_to_every_kind_of_call() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.network.inject(Fault::TimeoutAfter, |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("status=pending"));
    hide_latest_payment(&env);
    let cancel = back.split_once('?').unwrap().0.replace("/return/", "/cancel/");
    for address in [&back, &back, &cancel] {
        assert_eq!(redirect_target(&env.follow_redirect(address).await), error_url("status=under_review&code=ORDER0009"));
    }
    assert_eq!(code(&shopper.start(&env).await), (409, "ORDER0009"));
    assert_eq!(env.paypal.captures().len(), 1);
}

#[tokio::test]
async fn an_order_that_was_changed_is_not_paid_with_the_earlier_approval() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.cleeng.change_order_price(&shopper.order, Money::new(499, Currency::new("USD").unwrap()), true);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=changed&code=ORDER0004"));
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=replaced&code=ORDER0008"), "a reload");
    assert_eq!((statuses(&env), net_captured(&env, GatewayName::PayPal)), (vec![], 0));
    let again = shopper.complete_redirect(&env, true).await;
    assert_eq!(redirect_target(&env.follow_redirect(&again).await), success_url());
    assert_eq!(net_captured(&env, GatewayName::PayPal), 499);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_unavailable_and_a_reload_pays() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    for fault in [Fault::NotSent, Fault::TimeoutBefore, Fault::StatusBefore(500)] {
        env.network.inject(fault, |peer, _| peer == "cleeng");
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=unavailable&code=S0001"));
    }
    env.network.inject(refusal(404), |peer, _| peer == "cleeng");
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=failed&code=PAYPAL0001"));
    assert_eq!(net_captured(&env, GatewayName::PayPal), 0);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn an_unknown_outcome_is_pending_and_the_same_call_resolves_it() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.network.inject(Fault::TimeoutAfter, |peer, request| peer == "paypal" && request.path.ends_with("/capture"));
    let told = env.follow_redirect(&back).await;
    assert_eq!(redirect_target(&told), error_url("status=pending"));
    assert_eq!(statuses(&env), []);
    env.clock.advance(Duration::from_secs(30));
    assert_eq!(redirect_url(&shopper.start(&env).await), success_url());
    assert_paid_once(&env, &shopper);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
}

#[tokio::test]
async fn an_unreachable_gateway_is_unavailable_and_a_reload_pays() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.paypal.throttle_next(1);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), error_url("message=unavailable&code=PAYPAL0005"));
    env.clock.advance(Duration::from_secs(30));
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_return_after_the_notification_leads_to_success() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    env.run_until_idle().await;
    assert_paid_once(&env, &shopper);
    let captures = env.paypal.captures().len();
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_eq!(env.paypal.captures().len(), captures);
}

fn with_card(shopper: &Shopper, number: &str, holder: &str) -> serde_json::Value {
    let mut body = shopper.body();
    body["paymentMethod"] = card(number, holder, "1");
    body
}

#[tokio::test]
async fn a_gateway_that_needs_payment_data_asks_for_them_and_receives_them() {
    let env = TestEnvironment::default();
    let shopper = shopper(&env, GatewayName::Adyen);
    for nothing in [json!(null), json!({ "paymentMethod": null })] {
        let mut body = shopper.body();
        body.as_object_mut().unwrap().extend(nothing.as_object().cloned().unwrap_or_default());
        assert_eq!(code(&shopper.start_with(&env, &body).await), (422, "ADYEN0004"));
    }
    assert!(env.network.calls().is_empty());
    let page = redirect_url(&shopper.start_with(&env, &with_card(&shopper, REDIRECTING, "J D")).await);
    let back = env.adyen.complete_redirect(&page, true).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_paid_once(&env, &shopper);
    assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url());
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/payments/details"), 1);
}

#[tokio::test]
async fn payment_data_that_pay_without_a_question_lead_to_success_at_once() {
    let env = TestEnvironment::default();
    let shopper = shopper(&env, GatewayName::Adyen);
    assert_eq!(redirect_url(&shopper.start_with(&env, &with_card(&shopper, GOOD, "J D")).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn payment_data_that_are_refused_at_once_are_reported_to_the_page() {
    let env = TestEnvironment::default();
    let shopper = shopper(&env, GatewayName::Adyen);
    for _ in 0..2 {
        // The customer did not leave the page: the second call is the same click.
        assert_eq!(code(&shopper.start_with(&env, &with_card(&shopper, GOOD, "DECLINED")).await), (422, "ADYEN0002"));
    }
    assert_eq!((statuses(&env), env.adyen.payments().len()), (vec![PaymentStatus::Rejected], 1));
}

#[tokio::test]
async fn a_start_with_payment_data_long_after_the_first_leads_to_a_page_that_still_works() {
    let env = TestEnvironment::default();
    let shopper = shopper(&env, GatewayName::Adyen);
    let body = with_card(&shopper, REDIRECTING, "J D");
    let first = redirect_url(&shopper.start_with(&env, &body).await);
    env.clock.advance(Duration::from_secs(3_599));
    assert_eq!(redirect_url(&shopper.start_with(&env, &body).await), first);
    env.clock.advance(Duration::from_secs(1));
    let second = redirect_url(&shopper.start_with(&env, &body).await);
    assert_ne!(first, second);
    assert_eq!(redirect_target(&env.follow_redirect(&env.adyen.complete_redirect(&second, true).unwrap()).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn an_action_that_is_no_redirect_is_refused_and_can_be_paid_with_the_component() {
    let env = TestEnvironment::default();
    let shopper = shopper(&env, GatewayName::Adyen);
    let told = shopper.start_with(&env, &with_card(&shopper, NATIVE, "J D")).await;
    assert_eq!(code(&told), (422, "ADYEN0004"));
    let mut component = json!({ "orderId": shopper.order, "paymentMethod": card(GOOD, "J D", "2") });
    component["returnUrl"] = json!(success_url());
    let paid = env.call("initial-payment", &shopper.token, &component).await;
    assert!(crate::front::is_paid(&paid), "{}", paid.body);
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_cancel_reported_in_the_result_has_the_same_end() {
    let env = TestEnvironment::default();
    let shopper = shopper(&env, GatewayName::Adyen);
    let body = with_card(&shopper, REDIRECTING, "J D");
    let first = redirect_url(&shopper.start_with(&env, &body).await);
    let back = env.adyen.complete_redirect(&first, false).unwrap();
    for _ in 0..2 {
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), cancel_url());
    }
    assert_eq!((statuses(&env), net_captured(&env, GatewayName::Adyen)), (vec![PaymentStatus::Rejected], 0));
    let second = redirect_url(&shopper.start_with(&env, &body).await);
    assert_ne!(first, second, "the next click is a new try");
    assert_eq!(redirect_target(&env.follow_redirect(&env.adyen.complete_redirect(&second, true).unwrap()).await), success_url());
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn the_same_order_can_be_paid_in_the_other_style() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let late = shopper.complete_redirect(&env, true).await;
    let start = json!({ "orderId": shopper.order, "returnUrl": success_url() });
    let started = env.call_at(GatewayName::PayPal, "initial-payment", &shopper.token, &start).await;
    let details = env.paypal.complete_action(&started.body["responseData"]["action"]);
    // The attempt of the redirect style was replaced.
    assert_eq!(redirect_target(&env.follow_redirect(&late).await), error_url("message=replaced&code=ORDER0008"));
    let finalize = json!({ "orderId": shopper.order, "details": details });
    assert!(crate::front::is_paid(&env.call_at(GatewayName::PayPal, "initial-payment/finalize", &shopper.token, &finalize).await));
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_start_with_a_lost_answer_is_queried_by_the_next_start_and_returns_to_the_connector() {
    for (name, fault) in [("before", Fault::TimeoutBefore), ("after", Fault::TimeoutAfter)] {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        env.network.inject(fault, |peer, request| peer == "paypal" && request.path.ends_with("/orders"));
        assert_eq!(shopper.start(&env).await.status, 202, "{name}");
        env.clock.advance(Duration::from_secs(30));
        let back = shopper.complete_redirect(&env, true).await;
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url(), "{name}");
        assert_eq!(env.paypal.orders(), 1, "{name}");
        assert_paid_once(&env, &shopper);
    }
}

#[tokio::test]
async fn an_approval_notified_after_the_order_expired_charges_nothing() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    shopper.complete_redirect(&env, true).await;
    env.clock.advance(Duration::from_secs(24 * 3_600));
    env.deliver_notifications().await;
    assert_eq!((net_captured(&env, shopper.gateway), crate::front::statuses(&env)), (0, vec![]));
}
