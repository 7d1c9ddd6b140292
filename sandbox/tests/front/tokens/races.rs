//! Several at the same time: double clicks, two tabs, the way back against the gateway's word. Wherever they meet: one charge, one payment.

use std::future::Future;

use connector::cleeng::PaymentStatus;
use connector::gateway::GatewayName;
use sandbox::house::House as _;
use sandbox::stage::{ORIGIN, Stage};
use serde_json::json;

use super::{assert_paid_once, at_paypal, cancel, error, redirect_url, sent_on, success, taken};
use crate::statuses;

async fn together<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>, head_start: usize) -> (A, B) {
    let late = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        second.await
    };
    tokio::join!(first, late)
}

#[tokio::test]
async fn a_double_click_leads_to_one_page_of_the_gateway() {
    for head_start in 0..20 {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let (one, other) = together(shopper.start(&stage), shopper.start(&stage), head_start).await;
        assert_eq!(redirect_url(&one), redirect_url(&other), "{head_start}");
        assert_eq!(stage.paypal.orders(), 1, "{head_start}");
    }
}

#[tokio::test]
async fn two_tabs_that_come_back_pay_once() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let back = shopper.goes(&stage, true).await;
        let (one, other) = together(stage.follow(&back), stage.follow(&back), head_start).await;
        assert_eq!((sent_on(&one), sent_on(&other)), (success().as_str(), success().as_str()), "{head_start}");
        assert_eq!(stage.paypal.captured().len(), 1, "{head_start}");
        assert_paid_once(&stage, &shopper);
    }
}

#[tokio::test]
async fn two_tabs_that_go_on_to_other_places_pay_once() {
    let stage = Stage::default();
    let shopper = at_paypal(&stage);
    let first = shopper.goes(&stage, true).await;
    let mut body = shopper.body();
    body["successUrl"] = json!(format!("{ORIGIN}/elsewhere"));
    let page = redirect_url(&shopper.start_with(&stage, &body).await);
    let second = stage.paypal.leave(&page, true).unwrap();
    assert_eq!(sent_on(&stage.follow(&first).await), error("message=replaced&code=ORDER0008"));
    assert_eq!(sent_on(&stage.follow(&second).await), format!("{ORIGIN}/elsewhere"));
    assert_paid_once(&stage, &shopper);
}

#[tokio::test]
async fn a_customer_who_comes_back_while_the_gateway_tells_pays_once_and_is_sent_to_success() {
    for head_start in 0..40 {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let back = shopper.goes(&stage, true).await;
        let (came, _) = together(stage.follow(&back), stage.run_until_quiet(), head_start).await;
        // The letter's time passes faster than that of the one who waits.
        let came = sent_on(&came);
        assert!(came == success() || came == error("message=pending"), "{head_start}: {came}");
        assert_eq!(sent_on(&stage.follow(&back).await), success(), "{head_start}");
        assert_eq!(stage.paypal.captured().len(), 1, "{head_start}");
        assert_paid_once(&stage, &shopper);
    }
}

#[tokio::test]
async fn whoever_gives_up_in_one_tab_and_agrees_in_the_other_has_one_end() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let page = redirect_url(&shopper.start(&stage).await);
        let (agreed, given_up) = (stage.paypal.leave(&page, true).unwrap(), stage.paypal.leave(&page, false).unwrap());
        let (came, left) = together(stage.follow(&agreed), stage.follow(&given_up), head_start).await;
        assert_eq!(sent_on(&came), success(), "{head_start}");
        let left = sent_on(&left).to_owned();
        assert!(left == cancel() || left == success(), "{head_start}: {left}");
        assert_paid_once(&stage, &shopper);
    }
}

#[tokio::test]
async fn a_new_try_while_the_first_comes_back_pays_once_or_takes_nothing() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let shopper = at_paypal(&stage);
        let back = shopper.goes(&stage, true).await;
        let mut other = shopper.body();
        other["errorUrl"] = json!(format!("{ORIGIN}/other-error"));
        let (came, started) = together(stage.follow(&back), shopper.start_with(&stage, &other), head_start).await;
        let paid = sent_on(&came) == success();
        assert!(paid || sent_on(&came).contains("message=replaced"), "{head_start}: {}", sent_on(&came));
        assert_eq!(redirect_url(&started) == success(), paid, "{head_start}");
        assert_eq!(taken(&stage, GatewayName::PayPal), if paid { 999 } else { 0 }, "{head_start}");
        let captured = if paid { vec![PaymentStatus::Captured] } else { vec![] };
        assert_eq!(statuses(&stage), captured, "{head_start}");
    }
}
