//! Concurrent requests: double clicks, two tabs, the return against the notification. At every interleaving: one charge, one payment.

use connector::cleeng::PaymentStatus;
use connector::gateway::GatewayName;
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::fixtures::SHOP_ORIGIN;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use super::{assert_paid_once, cancel_url, error_url, net_captured, paypal_shopper, redirect_target, redirect_url, success_url};
use crate::front::{run_concurrently, statuses};

#[tokio::test]
async fn a_double_click_leads_to_one_gateway_page() {
    for head_start in 0..20 {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let (one, other) = run_concurrently(shopper.start(&env), shopper.start(&env), head_start).await;
        assert_eq!(redirect_url(&one), redirect_url(&other), "{head_start}");
        assert_eq!(env.paypal.orders(), 1, "{head_start}");
    }
}

#[tokio::test]
async fn two_returns_in_two_tabs_pay_once() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let back = shopper.complete_redirect(&env, true).await;
        let (one, other) = run_concurrently(env.follow_redirect(&back), env.follow_redirect(&back), head_start).await;
        assert_eq!((redirect_target(&one), redirect_target(&other)), (success_url().as_str(), success_url().as_str()), "{head_start}");
        assert_eq!(env.paypal.captures().len(), 1, "{head_start}");
        assert_paid_once(&env, &shopper);
    }
}

#[tokio::test]
async fn two_tabs_with_different_addresses_pay_once() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let first = shopper.complete_redirect(&env, true).await;
    let mut body = shopper.body();
    body["successUrl"] = json!(format!("{SHOP_ORIGIN}/elsewhere"));
    let page = redirect_url(&shopper.start_with(&env, &body).await);
    let second = env.paypal.complete_redirect(&page, true).unwrap();
    assert_eq!(redirect_target(&env.follow_redirect(&first).await), error_url("message=replaced&code=ORDER0008"));
    assert_eq!(redirect_target(&env.follow_redirect(&second).await), format!("{SHOP_ORIGIN}/elsewhere"));
    assert_paid_once(&env, &shopper);
}

#[tokio::test]
async fn a_return_during_the_notification_pays_once_and_leads_to_success() {
    for head_start in 0..40 {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let back = shopper.complete_redirect(&env, true).await;
        let (came, _) = run_concurrently(env.follow_redirect(&back), env.run_until_idle(), head_start).await;
        // The letter's time passes faster than that of the one who waits.
        let came = redirect_target(&came);
        assert!(came == success_url() || came == error_url("status=pending"), "{head_start}: {came}");
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url(), "{head_start}");
        assert_eq!(env.paypal.captures().len(), 1, "{head_start}");
        assert_paid_once(&env, &shopper);
    }
}

#[tokio::test]
async fn a_cancel_in_one_tab_and_an_approval_in_another_have_one_end() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let page = redirect_url(&shopper.start(&env).await);
        let (agreed, given_up) = (env.paypal.complete_redirect(&page, true).unwrap(), env.paypal.complete_redirect(&page, false).unwrap());
        let (came, left) = run_concurrently(env.follow_redirect(&agreed), env.follow_redirect(&given_up), head_start).await;
        assert_eq!(redirect_target(&came), success_url(), "{head_start}");
        let left = redirect_target(&left).to_owned();
        assert!(left == cancel_url() || left == success_url(), "{head_start}: {left}");
        assert_paid_once(&env, &shopper);
    }
}

#[tokio::test]
async fn a_new_attempt_during_the_return_of_the_first_pays_once_or_charges_nothing() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let back = shopper.complete_redirect(&env, true).await;
        let mut other = shopper.body();
        other["errorUrl"] = json!(format!("{SHOP_ORIGIN}/other-error"));
        let (came, started) = run_concurrently(env.follow_redirect(&back), shopper.start_with(&env, &other), head_start).await;
        let paid = redirect_target(&came) == success_url();
        assert!(paid || redirect_target(&came).contains("message=replaced"), "{head_start}: {}", redirect_target(&came));
        assert_eq!(redirect_url(&started) == success_url(), paid, "{head_start}");
        assert_eq!(net_captured(&env, GatewayName::PayPal), if paid { 999 } else { 0 }, "{head_start}");
        let captured = if paid { vec![PaymentStatus::Captured] } else { vec![] };
        assert_eq!(statuses(&env), captured, "{head_start}");
    }
}
