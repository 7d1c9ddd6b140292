//! A function that crashes before or after any call of the redirect and the return, including journal calls. The customer clicks or
//! reloads; the result is the same.

use std::time::Duration;

use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::harness::TestEnvironment;

use super::{Shopper, assert_paid_once, cancel_url, paypal_shopper, redirect_target, redirect_url, success_url};
use crate::front::crashes::{LEASE_EXPIRY, crash_at_every_call};

async fn follow_crashes_at(env: &TestEnvironment, address: &str, nth: usize, when: CrashTiming) -> bool {
    env.crash_point.arm(nth, when);
    let survived = env.crash_point.run(env.follow_redirect(address)).await.is_some();
    env.crash_point.disarm();
    env.clock.advance(LEASE_EXPIRY);
    !survived
}

/// Clicks until there is somewhere to go.
async fn start_until_redirect(env: &TestEnvironment, shopper: &Shopper) -> String {
    for _ in 0..20 {
        let told = shopper.start(env).await;
        if told.status == 200 {
            return redirect_url(&told);
        }
        assert!(matches!(told.status.as_u16(), 202 | 503), "{}", told.body);
        env.clock.advance(Duration::from_secs(30));
    }
    panic!("never told")
}

/// Reloads until the customer is sent to the success address.
async fn reload_until_paid(env: &TestEnvironment, address: &str) {
    for _ in 0..20 {
        let told = env.follow_redirect(address).await;
        let to = redirect_target(&told).to_owned();
        if to == success_url() {
            return;
        }
        assert!(to.contains("status=pending") || to.contains("message=unavailable"), "{to}");
        env.clock.advance(Duration::from_secs(30));
    }
    panic!("never paid")
}

#[tokio::test]
async fn a_crash_anywhere_in_a_start_leads_to_one_gateway_page() {
    let crashes = crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        env.crash_point.arm(nth, when);
        let crashed = env.crash_point.run(shopper.start(&env)).await.is_none();
        env.crash_point.disarm();
        env.clock.advance(LEASE_EXPIRY);
        let page = start_until_redirect(&env, &shopper).await;
        assert_eq!(env.paypal.orders(), 1, "{when:?} {nth}");
        reload_until_paid(&env, &env.paypal.complete_redirect(&page, true).unwrap()).await;
        assert_paid_once(&env, &shopper);
        crashed
    })
    .await;
    assert!(crashes >= 8, "{crashes}");
}

#[tokio::test]
async fn a_crash_anywhere_in_a_return_pays_once_when_the_customer_reloads() {
    let crashes = crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let back = shopper.complete_redirect(&env, true).await;
        let crashed = follow_crashes_at(&env, &back, nth, when).await;
        reload_until_paid(&env, &back).await;
        assert_eq!(env.paypal.captures().len(), 1, "{when:?} {nth}");
        assert_paid_once(&env, &shopper);
        crashed
    })
    .await;
    assert!(crashes >= 8, "{crashes}");
}

#[tokio::test]
async fn a_crash_anywhere_in_a_return_pays_once_when_the_browser_is_closed() {
    crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let back = shopper.complete_redirect(&env, true).await;
        let crashed = follow_crashes_at(&env, &back, nth, when).await;
        env.run_until_idle().await;
        assert_eq!(env.paypal.captures().len(), 1, "{when:?} {nth}");
        assert_paid_once(&env, &shopper);
        assert_eq!(redirect_target(&env.follow_redirect(&back).await), success_url(), "{when:?} {nth}");
        crashed
    })
    .await;
}

#[tokio::test]
async fn a_crash_anywhere_in_a_cancel_leaves_the_order_free_for_another_try() {
    crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let shopper = paypal_shopper(&env);
        let page = redirect_url(&shopper.start(&env).await);
        let given_up = env.paypal.complete_redirect(&page, false).unwrap();
        let crashed = follow_crashes_at(&env, &given_up, nth, when).await;
        assert_eq!(redirect_target(&env.follow_redirect(&given_up).await), cancel_url(), "{when:?} {nth}");
        let again = start_until_redirect(&env, &shopper).await;
        assert_ne!(again, page, "{when:?} {nth}");
        reload_until_paid(&env, &env.paypal.complete_redirect(&again, true).unwrap()).await;
        assert_paid_once(&env, &shopper);
        crashed
    })
    .await;
}
