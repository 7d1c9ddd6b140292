//! Two requests at the same time: double clicks, two tabs, finalize against notification. Wherever they meet: one charge, one payment, the
//! same answer to all.

use std::future::Future;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::front::Reply;
use sandbox::stage::Stage;

use crate::absent::authorised;
use crate::{GOOD, REDIRECTING, assert_paid_once, buyer, card, code, is_paid, redirect_result, statuses, writes};

/// The second starts after so many turns of the first.
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
async fn a_double_click_is_one_charge_and_both_are_told_the_same() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let data = card(GOOD, "J D", "1");
        let (one, other): (Reply, Reply) = together(buyer.start(&stage, &data), buyer.start(&stage, &data), head_start).await;
        assert!(is_paid(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!(writes(&stage), (1, 1), "{head_start}");
        assert_paid_once(&stage, &buyer);
    }
}

#[tokio::test]
async fn a_double_click_that_is_refused_is_one_refusal() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let data = card(GOOD, "DECLINED", "1");
        let (one, other) = together(buyer.start(&stage, &data), buyer.start(&stage, &data), head_start).await;
        assert!(code(&one) == (422, "ADYEN0002") && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!((writes(&stage), statuses(&stage)), ((1, 1), vec![PaymentStatus::Rejected]), "{head_start}");
    }
}

#[tokio::test]
async fn two_tabs_with_two_cards_are_one_charge() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let (first, second) = (card(GOOD, "J D", "1"), card(GOOD, "J D", "2"));
        let (one, other) = together(buyer.start(&stage, &first), buyer.start(&stage, &second), head_start).await;
        assert!(is_paid(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!(stage.adyen.authorisations(), 1, "{head_start}");
        assert_paid_once(&stage, &buyer);
    }
}

#[tokio::test]
async fn two_tabs_that_come_back_at_once_are_one_payment() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
        let (one, other) = together(buyer.finalize(&stage, &back), buyer.finalize(&stage, &back), head_start).await;
        assert!(is_paid(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!(writes(&stage), (2, 1), "{head_start}");
        assert_paid_once(&stage, &buyer);
    }
}

#[tokio::test]
async fn finalize_racing_with_the_notification_reports_once_and_both_agree() {
    for notification_first in [false, true] {
        for head_start in 0..30 {
            let stage = Stage::default();
            let buyer = buyer(&stage);
            let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
            stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
            let payment = stage.adyen.payments().remove(0);
            let stored = payment.stored_payment_method_id.clone();
            let (finalize, news) = (buyer.finalize(&stage, &back), authorised(&stage, &payment, stored.as_deref()));
            let (told, verdict) = if notification_first {
                let (verdict, told) = together(news, finalize, head_start).await;
                (told, verdict)
            } else {
                together(finalize, news, head_start).await
            };
            let context = format!("{notification_first} {head_start}: {} {verdict:?}", told.body);
            assert!(is_paid(&told), "{context}");
            assert!(matches!(verdict, Verdict::Settled("captured" | "known") | Verdict::Later { .. }), "{context}");
            assert_eq!(authorised(&stage, &payment, stored.as_deref()).await, Verdict::Settled("known"), "{context}");
            assert_eq!(writes(&stage).1, 1, "{context}");
            assert_paid_once(&stage, &buyer);
        }
    }
}

#[tokio::test]
async fn another_card_racing_with_the_return_of_the_first_is_one_charge_that_stays() {
    for card_first in [false, true] {
        for head_start in 0..30 {
            let stage = Stage::default();
            let buyer = buyer(&stage);
            let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
            let data = card(GOOD, "J D", "2");
            let (finalize, start) = (buyer.finalize(&stage, &back), buyer.start(&stage, &data));
            let (came_back, started) = if card_first {
                let (started, came_back) = together(start, finalize, head_start).await;
                (came_back, started)
            } else {
                together(finalize, start, head_start).await
            };
            let context = format!("{card_first} {head_start}: {} {}", came_back.body, started.body);
            assert!(is_paid(&started) && is_paid(&came_back) && started == came_back, "{context}");
            // Whatever was authorised beside the one that was reported is given back when its notification comes.
            for payment in stage.adyen.payments() {
                let verdict = authorised(&stage, &payment, payment.stored_payment_method_id.as_deref()).await;
                assert!(matches!(verdict, Verdict::Settled("known" | "given_back")), "{context} {verdict:?}");
            }
            stage.adyen.process();
            assert_paid_once(&stage, &buyer);
        }
    }
}

#[tokio::test]
async fn another_card_racing_with_the_notification_of_the_first_is_one_charge_that_stays() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
        stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
        let first = stage.adyen.payments().remove(0);
        let stored = first.stored_payment_method_id.clone();
        let data = card(GOOD, "J D", "2");
        let (started, _) = together(buyer.start(&stage, &data), authorised(&stage, &first, stored.as_deref()), head_start).await;
        assert!(is_paid(&started), "{head_start}: {}", started.body);
        let again = authorised(&stage, &first, stored.as_deref()).await;
        assert!(matches!(again, Verdict::Settled("known" | "given_back")), "{head_start}: {again:?}");
        stage.adyen.process();
        assert_paid_once(&stage, &buyer);
    }
}
