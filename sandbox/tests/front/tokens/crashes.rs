//! A function that dies before or after any call of the way there and back, the journal included. The customer clicks or reloads; the end is the
//! same.

use std::time::Duration;

use sandbox::crash::When;
use sandbox::house::House as _;
use sandbox::stage::Stage;

use super::{Shopper, assert_paid_once, at_paypal, cancel, redirect_url, sent_on, success};
use crate::crashes::{LEASE, every_death};

async fn follow_dies(stage: &Stage, address: &str, nth: usize, when: When) -> bool {
    stage.switch.arm(nth, when);
    let survived = stage.switch.run(stage.follow(address)).await.is_some();
    stage.switch.disarm();
    stage.clock.advance(LEASE);
    !survived
}

/// Clicks until there is somewhere to go.
async fn patiently(stage: &Stage, shopper: &Shopper) -> String {
    for _ in 0..20 {
        let told = shopper.start(stage).await;
        if told.status == 200 {
            return redirect_url(&told);
        }
        assert!(matches!(told.status.as_u16(), 202 | 503), "{}", told.body);
        stage.clock.advance(Duration::from_secs(30));
    }
    panic!("never told")
}

/// Reloads until the customer is sent to the success address.
async fn reloads_until_paid(stage: &Stage, address: &str) {
    for _ in 0..20 {
        let told = stage.follow(address).await;
        let to = sent_on(&told).to_owned();
        if to == success() {
            return;
        }
        assert!(to.contains("message=pending") || to.contains("message=unavailable"), "{to}");
        stage.clock.advance(Duration::from_secs(30));
    }
    panic!("never paid")
}

#[tokio::test]
async fn a_start_that_dies_anywhere_leads_to_one_page_of_the_gateway() {
    let deaths = every_death(async |nth, when| {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        stage.switch.arm(nth, when);
        let died = stage.switch.run(shopper.start(&stage)).await.is_none();
        stage.switch.disarm();
        stage.clock.advance(LEASE);
        let page = patiently(&stage, &shopper).await;
        assert_eq!(stage.paypal.orders(), 1, "{when:?} {nth}");
        reloads_until_paid(&stage, &stage.paypal.leave(&page, true).unwrap()).await;
        assert_paid_once(&stage, &shopper);
        died
    })
    .await;
    assert!(deaths >= 8, "{deaths}");
}

#[tokio::test]
async fn a_way_back_that_dies_anywhere_pays_once_when_the_customer_reloads() {
    let deaths = every_death(async |nth, when| {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let back = shopper.goes(&stage, true).await;
        let died = follow_dies(&stage, &back, nth, when).await;
        reloads_until_paid(&stage, &back).await;
        assert_eq!(stage.paypal.captured().len(), 1, "{when:?} {nth}");
        assert_paid_once(&stage, &shopper);
        died
    })
    .await;
    assert!(deaths >= 8, "{deaths}");
}

#[tokio::test]
async fn a_way_back_that_dies_anywhere_pays_once_when_the_customer_closes_his_browser() {
    every_death(async |nth, when| {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let back = shopper.goes(&stage, true).await;
        let died = follow_dies(&stage, &back, nth, when).await;
        stage.run_until_quiet().await;
        assert_eq!(stage.paypal.captured().len(), 1, "{when:?} {nth}");
        assert_paid_once(&stage, &shopper);
        assert_eq!(sent_on(&stage.follow(&back).await), success(), "{when:?} {nth}");
        died
    })
    .await;
}

#[tokio::test]
async fn giving_up_that_dies_anywhere_leaves_the_order_free_for_another_try() {
    every_death(async |nth, when| {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let page = redirect_url(&shopper.start(&stage).await);
        let given_up = stage.paypal.leave(&page, false).unwrap();
        let died = follow_dies(&stage, &given_up, nth, when).await;
        assert_eq!(sent_on(&stage.follow(&given_up).await), cancel(), "{when:?} {nth}");
        let again = patiently(&stage, &shopper).await;
        assert_ne!(again, page, "{when:?} {nth}");
        reloads_until_paid(&stage, &stage.paypal.leave(&again, true).unwrap()).await;
        assert_paid_once(&stage, &shopper);
        died
    })
    .await;
}
