//! Concurrent requests: double clicks, two tabs, finalize against notification. At every interleaving: one charge, one payment, the same
//! response to all.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::frontend_api::Reply;
use connector::reason::CompletionReason;
use sandbox::testkit::harness::TestEnvironment;

use crate::front::without_customer::notify_authorised;
use crate::front::{
    GOOD, REDIRECTING, assert_paid_once, buyer, card, code, is_paid, redirect_result, run_concurrently, statuses, write_counts,
};

#[tokio::test]
async fn a_double_click_is_one_charge_and_both_get_the_same_answer() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let data = card(GOOD, "J D", "1");
        let (one, other): (Reply, Reply) = run_concurrently(buyer.start(&env, &data), buyer.start(&env, &data), head_start).await;
        assert!(is_paid(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!(write_counts(&env), (1, 1), "{head_start}");
        assert_paid_once(&env, &buyer);
    }
}

#[tokio::test]
async fn a_double_click_that_is_refused_is_one_refusal() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let data = card(GOOD, "DECLINED", "1");
        let (one, other) = run_concurrently(buyer.start(&env, &data), buyer.start(&env, &data), head_start).await;
        assert!(code(&one) == (422, "ADYEN0002") && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!((write_counts(&env), statuses(&env)), ((1, 1), vec![PaymentStatus::Rejected]), "{head_start}");
    }
}

#[tokio::test]
async fn two_tabs_with_two_cards_are_one_charge() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let (first, second) = (card(GOOD, "J D", "1"), card(GOOD, "J D", "2"));
        let (one, other) = run_concurrently(buyer.start(&env, &first), buyer.start(&env, &second), head_start).await;
        assert!(is_paid(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!(env.adyen.authorisations(), 1, "{head_start}");
        assert_paid_once(&env, &buyer);
    }
}

#[tokio::test]
async fn two_concurrent_returns_are_one_payment() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
        let (one, other) = run_concurrently(buyer.finalize(&env, &back), buyer.finalize(&env, &back), head_start).await;
        assert!(is_paid(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!(write_counts(&env), (2, 1), "{head_start}");
        assert_paid_once(&env, &buyer);
    }
}

#[tokio::test]
async fn finalize_racing_with_the_notification_reports_once_and_both_agree() {
    for notification_first in [false, true] {
        for head_start in 0..30 {
            let env = TestEnvironment::default();
            let buyer = buyer(&env);
            let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
            env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
            let payment = env.adyen.payments().remove(0);
            let stored = payment.stored_payment_method_id.clone();
            let (finalize, news) = (buyer.finalize(&env, &back), notify_authorised(&env, &payment, stored.as_deref()));
            let (told, disposition) = if notification_first {
                let (disposition, told) = run_concurrently(news, finalize, head_start).await;
                (told, disposition)
            } else {
                run_concurrently(finalize, news, head_start).await
            };
            let context = format!("{notification_first} {head_start}: {} {disposition:?}", told.body);
            assert!(is_paid(&told), "{context}");
            assert!(
                matches!(
                    disposition,
                    Disposition::Completed(CompletionReason::Captured | CompletionReason::AlreadyFinished) | Disposition::Retry { .. }
                ),
                "{context}"
            );
            assert_eq!(
                notify_authorised(&env, &payment, stored.as_deref()).await,
                Disposition::Completed(CompletionReason::AlreadyFinished),
                "{context}"
            );
            assert_eq!(write_counts(&env).1, 1, "{context}");
            assert_paid_once(&env, &buyer);
        }
    }
}

#[tokio::test]
async fn another_card_racing_with_the_return_of_the_first_leaves_one_charge() {
    for card_first in [false, true] {
        for head_start in 0..30 {
            let env = TestEnvironment::default();
            let buyer = buyer(&env);
            let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
            let data = card(GOOD, "J D", "2");
            let (finalize, start) = (buyer.finalize(&env, &back), buyer.start(&env, &data));
            let (came_back, started) = if card_first {
                let (started, came_back) = run_concurrently(start, finalize, head_start).await;
                (came_back, started)
            } else {
                run_concurrently(finalize, start, head_start).await
            };
            let context = format!("{card_first} {head_start}: {} {}", came_back.body, started.body);
            assert!(is_paid(&started) && is_paid(&came_back) && started == came_back, "{context}");
            // Every other authorised payment is reversed when its notification comes.
            for payment in env.adyen.payments() {
                let disposition = notify_authorised(&env, &payment, payment.stored_payment_method_id.as_deref()).await;
                assert!(
                    matches!(disposition, Disposition::Completed(CompletionReason::AlreadyFinished | CompletionReason::ReversalReceived)),
                    "{context} {disposition:?}"
                );
            }
            env.adyen.process();
            assert_paid_once(&env, &buyer);
        }
    }
}

#[tokio::test]
async fn another_card_racing_with_the_notification_of_the_first_leaves_one_charge() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
        env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
        let first = env.adyen.payments().remove(0);
        let stored = first.stored_payment_method_id.clone();
        let data = card(GOOD, "J D", "2");
        let (started, _) = run_concurrently(buyer.start(&env, &data), notify_authorised(&env, &first, stored.as_deref()), head_start).await;
        assert!(is_paid(&started), "{head_start}: {}", started.body);
        let again = notify_authorised(&env, &first, stored.as_deref()).await;
        assert!(
            matches!(again, Disposition::Completed(CompletionReason::AlreadyFinished | CompletionReason::ReversalReceived)),
            "{head_start}: {again:?}"
        );
        env.adyen.process();
        assert_paid_once(&env, &buyer);
    }
}
