//! A function that crashes before or after any call, the journal included. The page asks again, or the notification comes; the end is the same.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::reason::CompletionReason;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::Value;

use crate::front::without_customer::notify_authorised;
use crate::front::{Buyer, GOOD, REDIRECTING, assert_paid_once, buyer, card, code, is_paid, redirect_result, statuses};

/// Until the lease of a dead function has run out.
pub(crate) const LEASE_EXPIRY: Duration = Duration::from_secs(30);

/// Every point of crash, as long as `reaches` says that one was reached.
pub(crate) async fn crash_at_every_call(reaches: impl AsyncFn(usize, CrashTiming) -> bool) -> usize {
    let mut crashes = 0;
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            if !reaches(nth, when).await {
                break;
            }
            crashes += 1;
        }
    }
    crashes
}

/// A start that may crash; tells whether it did.
async fn start_crashes_at(env: &TestEnvironment, buyer: &Buyer, data: &Value, nth: usize, when: CrashTiming) -> bool {
    env.crash_point.arm(nth, when);
    let survived = env.crash_point.run(buyer.start(env, data)).await.is_some();
    env.crash_point.disarm();
    env.clock.advance(LEASE_EXPIRY);
    !survived
}

async fn finalize_crashes_at(env: &TestEnvironment, buyer: &Buyer, back: &Value, nth: usize, when: CrashTiming) -> bool {
    env.crash_point.arm(nth, when);
    let survived = env.crash_point.run(buyer.finalize(env, back)).await.is_some();
    env.crash_point.disarm();
    env.clock.advance(LEASE_EXPIRY);
    !survived
}

#[tokio::test]
async fn a_crash_anywhere_in_a_start_leaves_one_charge_when_the_client_retries() {
    let crashes = crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let data = card(GOOD, "J D", "1");
        let crashed = start_crashes_at(&env, &buyer, &data, nth, when).await;
        assert!(is_paid(&buyer.start_until_final(&env, &data).await), "{when:?} {nth}");
        assert_eq!(env.adyen.authorisations(), 1, "{when:?} {nth}");
        assert_paid_once(&env, &buyer);
        crashed
    })
    .await;
    assert_eq!(crashes, 2 * 6, "three outside calls, three journal writes, each before and after");
}

#[tokio::test]
async fn a_crash_anywhere_in_a_start_leaves_one_charge_when_the_client_sends_another_card() {
    crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let crashed = start_crashes_at(&env, &buyer, &card(GOOD, "J D", "1"), nth, when).await;
        assert!(is_paid(&buyer.start_until_final(&env, &card(GOOD, "J D", "2")).await), "{when:?} {nth}");
        assert_eq!(env.adyen.authorisations(), 1, "{when:?} {nth}");
        assert_paid_once(&env, &buyer);
        crashed
    })
    .await;
}

#[tokio::test]
async fn a_crash_anywhere_in_a_start_is_finished_by_the_notification_without_a_retry() {
    crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let crashed = start_crashes_at(&env, &buyer, &card(GOOD, "J D", "1"), nth, when).await;
        let Some(payment) = env.adyen.payments().into_iter().next() else { return crashed };
        let mut disposition = notify_authorised(&env, &payment, payment.stored_payment_method_id.as_deref()).await;
        for _ in 0..10 {
            if matches!(disposition, Disposition::Completed(_)) {
                break;
            }
            env.clock.advance(Duration::from_secs(100));
            disposition = notify_authorised(&env, &payment, payment.stored_payment_method_id.as_deref()).await;
        }
        assert!(
            matches!(disposition, Disposition::Completed(CompletionReason::Captured | CompletionReason::AlreadyFinished)),
            "{when:?} {nth}: {disposition:?}"
        );
        assert_paid_once(&env, &buyer);
        crashed
    })
    .await;
}

#[tokio::test]
async fn a_crash_anywhere_in_a_finalize_leaves_one_charge() {
    let crashes = crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let data = card(REDIRECTING, "J D", "1");
        let back = redirect_result(&buyer.start(&env, &data).await);
        let crashed = finalize_crashes_at(&env, &buyer, &back, nth, when).await;
        // Half of the pages come back with finalize, half reload and start.
        let told = if nth % 2 == 0 {
            buyer.finalize_until_final(&env, &back).await
        } else {
            let told = buyer.start_until_final(&env, &data).await;
            if is_paid(&told) { told } else { buyer.finalize_until_final(&env, &back).await }
        };
        assert!(is_paid(&told), "{when:?} {nth}: {}", told.body);
        assert_eq!(env.adyen.authorisations(), 1, "{when:?} {nth}");
        assert_paid_once(&env, &buyer);
        crashed
    })
    .await;
    assert_eq!(crashes, 2 * 6);
}

#[tokio::test]
async fn a_crash_anywhere_in_a_refused_start_is_one_refusal() {
    crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let data = card(GOOD, "DECLINED", "1");
        let crashed = start_crashes_at(&env, &buyer, &data, nth, when).await;
        assert_eq!(code(&buyer.start_until_final(&env, &data).await), (422, "ADYEN0002"), "{when:?} {nth}");
        assert_eq!(env.adyen.payments().len(), 1, "{when:?} {nth}");
        // Only the answer to the report itself can be lost beyond recall; it moves nothing, and may be made once more.
        let rejected = statuses(&env);
        assert!((1..=2).contains(&rejected.len()) && rejected.iter().all(|status| *status == PaymentStatus::Rejected), "{rejected:?}");
        crashed
    })
    .await;
}

#[tokio::test]
async fn a_crash_anywhere_while_a_card_supersedes_another_leaves_one_charge() {
    crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let first = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
        let data = card(GOOD, "J D", "2");
        let crashed = start_crashes_at(&env, &buyer, &data, nth, when).await;
        assert!(is_paid(&buyer.start_until_final(&env, &data).await), "{when:?} {nth}");
        env.adyen.finish_without_returning(first["redirectResult"].as_str().unwrap());
        let late = env.adyen.payments().into_iter().next_back().unwrap();
        assert_eq!(notify_authorised(&env, &late, None).await, Disposition::Completed(CompletionReason::ReversalReceived));
        env.adyen.process();
        assert_paid_once(&env, &buyer);
        crashed
    })
    .await;
}

#[tokio::test]
async fn a_crash_anywhere_in_a_reversal_reverses_once() {
    let crashes = crash_at_every_call(async |nth, when| {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let first = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
        assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
        env.adyen.finish_without_returning(first["redirectResult"].as_str().unwrap());
        let late = env.adyen.payments().into_iter().next_back().unwrap();
        env.crash_point.arm(nth, when);
        let crashed = env.crash_point.run(notify_authorised(&env, &late, None)).await.is_none();
        env.crash_point.disarm();
        env.clock.advance(Duration::from_secs(100));
        assert_eq!(
            notify_authorised(&env, &late, None).await,
            Disposition::Completed(CompletionReason::ReversalReceived),
            "{when:?} {nth}"
        );
        env.adyen.process();
        assert_paid_once(&env, &buyer);
        crashed
    })
    .await;
    assert_eq!(crashes, 2 * 3);
}

#[tokio::test]
async fn two_crashes_in_a_row_leave_one_charge() {
    for first in 0..6 {
        for second in 0..8 {
            for (one, other) in [
                (CrashTiming::Before, CrashTiming::After),
                (CrashTiming::After, CrashTiming::Before),
                (CrashTiming::After, CrashTiming::After),
            ] {
                let env = TestEnvironment::default();
                let buyer = buyer(&env);
                let data = card(GOOD, "J D", "1");
                start_crashes_at(&env, &buyer, &data, first, one).await;
                start_crashes_at(&env, &buyer, &data, second, other).await;
                let told = buyer.start_until_final(&env, &data).await;
                assert!(is_paid(&told), "{first} {one:?} {second} {other:?}: {}", told.body);
                assert_eq!(env.adyen.authorisations(), 1);
                assert_paid_once(&env, &buyer);
            }
        }
    }
}
