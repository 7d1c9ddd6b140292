//! A function that dies before or after any call, the journal included. The page asks again, or the notification comes; the end is the same.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use sandbox::crash::When;
use sandbox::stage::Stage;
use serde_json::Value;

use crate::absent::authorised;
use crate::{Buyer, GOOD, REDIRECTING, assert_paid_once, buyer, card, code, is_paid, redirect_result, statuses};

/// Until the lease of a dead function has run out.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Every point of death, as long as `reaches` says that one was reached.
pub(crate) async fn every_death(reaches: impl AsyncFn(usize, When) -> bool) -> usize {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 0.. {
            if !reaches(nth, when).await {
                break;
            }
            deaths += 1;
        }
    }
    deaths
}

/// A start that may die; tells whether it did.
async fn start_dies(stage: &Stage, buyer: &Buyer, data: &Value, nth: usize, when: When) -> bool {
    stage.switch.arm(nth, when);
    let survived = stage.switch.run(buyer.start(stage, data)).await.is_some();
    stage.switch.disarm();
    stage.clock.advance(LEASE);
    !survived
}

async fn finalize_dies(stage: &Stage, buyer: &Buyer, back: &Value, nth: usize, when: When) -> bool {
    stage.switch.arm(nth, when);
    let survived = stage.switch.run(buyer.finalize(stage, back)).await.is_some();
    stage.switch.disarm();
    stage.clock.advance(LEASE);
    !survived
}

#[tokio::test]
async fn a_start_that_dies_anywhere_leaves_one_charge_when_the_page_asks_again() {
    let deaths = every_death(async |nth, when| {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let data = card(GOOD, "J D", "1");
        let died = start_dies(&stage, &buyer, &data, nth, when).await;
        assert!(is_paid(&buyer.start_until_told(&stage, &data).await), "{when:?} {nth}");
        assert_eq!(stage.adyen.authorisations(), 1, "{when:?} {nth}");
        assert_paid_once(&stage, &buyer);
        died
    })
    .await;
    assert_eq!(deaths, 2 * 6, "three outside calls, three journal writes, each before and after");
}

#[tokio::test]
async fn a_start_that_dies_anywhere_leaves_one_charge_when_the_page_comes_with_another_card() {
    every_death(async |nth, when| {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let died = start_dies(&stage, &buyer, &card(GOOD, "J D", "1"), nth, when).await;
        assert!(is_paid(&buyer.start_until_told(&stage, &card(GOOD, "J D", "2")).await), "{when:?} {nth}");
        assert_eq!(stage.adyen.authorisations(), 1, "{when:?} {nth}");
        assert_paid_once(&stage, &buyer);
        died
    })
    .await;
}

#[tokio::test]
async fn a_start_that_dies_anywhere_is_finished_by_the_notification_if_the_customer_is_gone() {
    every_death(async |nth, when| {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let died = start_dies(&stage, &buyer, &card(GOOD, "J D", "1"), nth, when).await;
        let Some(payment) = stage.adyen.payments().into_iter().next() else { return died };
        let mut verdict = authorised(&stage, &payment, payment.stored_payment_method_id.as_deref()).await;
        for _ in 0..10 {
            if matches!(verdict, Verdict::Settled(_)) {
                break;
            }
            stage.clock.advance(Duration::from_secs(100));
            verdict = authorised(&stage, &payment, payment.stored_payment_method_id.as_deref()).await;
        }
        assert!(matches!(verdict, Verdict::Settled("captured" | "known")), "{when:?} {nth}: {verdict:?}");
        assert_paid_once(&stage, &buyer);
        died
    })
    .await;
}

#[tokio::test]
async fn a_finalize_that_dies_anywhere_leaves_one_charge() {
    let deaths = every_death(async |nth, when| {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let data = card(REDIRECTING, "J D", "1");
        let back = redirect_result(&buyer.start(&stage, &data).await);
        let died = finalize_dies(&stage, &buyer, &back, nth, when).await;
        // Half of the pages come back with finalize, half reload and start.
        let told = if nth % 2 == 0 {
            buyer.finalize_until_told(&stage, &back).await
        } else {
            let told = buyer.start_until_told(&stage, &data).await;
            if is_paid(&told) { told } else { buyer.finalize_until_told(&stage, &back).await }
        };
        assert!(is_paid(&told), "{when:?} {nth}: {}", told.body);
        assert_eq!(stage.adyen.authorisations(), 1, "{when:?} {nth}");
        assert_paid_once(&stage, &buyer);
        died
    })
    .await;
    assert_eq!(deaths, 2 * 6);
}

#[tokio::test]
async fn a_refused_start_that_dies_anywhere_is_one_refusal() {
    every_death(async |nth, when| {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let data = card(GOOD, "DECLINED", "1");
        let died = start_dies(&stage, &buyer, &data, nth, when).await;
        assert_eq!(code(&buyer.start_until_told(&stage, &data).await), (422, "ADYEN0002"), "{when:?} {nth}");
        assert_eq!(stage.adyen.payments().len(), 1, "{when:?} {nth}");
        // Only the answer to the report itself can be lost beyond recall; it moves nothing, and may be made once more.
        let rejected = statuses(&stage);
        assert!((1..=2).contains(&rejected.len()) && rejected.iter().all(|status| *status == PaymentStatus::Rejected), "{rejected:?}");
        died
    })
    .await;
}

#[tokio::test]
async fn a_card_that_supersedes_another_and_dies_anywhere_leaves_one_charge() {
    every_death(async |nth, when| {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let first = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
        let data = card(GOOD, "J D", "2");
        let died = start_dies(&stage, &buyer, &data, nth, when).await;
        assert!(is_paid(&buyer.start_until_told(&stage, &data).await), "{when:?} {nth}");
        stage.adyen.finish_away(first["redirectResult"].as_str().unwrap());
        let late = stage.adyen.payments().into_iter().next_back().unwrap();
        assert_eq!(authorised(&stage, &late, None).await, Verdict::Settled("given_back"));
        stage.adyen.process();
        assert_paid_once(&stage, &buyer);
        died
    })
    .await;
}

#[tokio::test]
async fn giving_back_that_dies_anywhere_gives_back_once() {
    let deaths = every_death(async |nth, when| {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let first = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
        assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
        stage.adyen.finish_away(first["redirectResult"].as_str().unwrap());
        let late = stage.adyen.payments().into_iter().next_back().unwrap();
        stage.switch.arm(nth, when);
        let died = stage.switch.run(authorised(&stage, &late, None)).await.is_none();
        stage.switch.disarm();
        stage.clock.advance(Duration::from_secs(100));
        assert_eq!(authorised(&stage, &late, None).await, Verdict::Settled("given_back"), "{when:?} {nth}");
        stage.adyen.process();
        assert_paid_once(&stage, &buyer);
        died
    })
    .await;
    assert_eq!(deaths, 2 * 3);
}

#[tokio::test]
async fn two_deaths_in_a_row_leave_one_charge() {
    for first in 0..6 {
        for second in 0..8 {
            for (one, other) in [(When::Before, When::After), (When::After, When::Before), (When::After, When::After)] {
                let stage = Stage::default();
                let buyer = buyer(&stage);
                let data = card(GOOD, "J D", "1");
                start_dies(&stage, &buyer, &data, first, one).await;
                start_dies(&stage, &buyer, &data, second, other).await;
                let told = buyer.start_until_told(&stage, &data).await;
                assert!(is_paid(&told), "{first} {one:?} {second} {other:?}: {}", told.body);
                assert_eq!(stage.adyen.authorisations(), 1);
                assert_paid_once(&stage, &buyer);
            }
        }
    }
}
