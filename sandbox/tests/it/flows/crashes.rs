//! Deliveries that are repeated, that come at the same time, and whose worker crashes at any call.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{Disposition, SettleOn};
use sandbox::simulators::adyen::PaymentState;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::flows::{IS_COMPLETED, assert_balanced, at_due_date_authorised, at_first_attempt, completed, statuses};

/// One authorisation, at most one capture, one payment in Cleeng, one order paid.
fn assert_once(env: &TestEnvironment, status: &PaymentStatus) {
    assert_eq!(statuses(env), std::slice::from_ref(status));
    assert_eq!(env.adyen.authorisations(), 1);
    if *status == PaymentStatus::Captured {
        assert_eq!(env.adyen.total_captured("USD"), 999);
    }
    assert_balanced(env);
}

#[tokio::test]
async fn the_same_event_delivered_five_times_has_the_effect_of_one() {
    let (env, subscriber) = at_first_attempt();
    for _ in 0..5 {
        assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    }
    assert_once(&env, &PaymentStatus::Authorised);
    env.clock.advance_to(subscriber.due);
    for _ in 0..5 {
        assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    }
    assert_once(&env, &PaymentStatus::Captured);
}

/// Two deliveries of one event run at the same time, the second starting after so many turns of the first.
async fn deliver_twice_concurrently(env: &TestEnvironment, event: &SentWebhook, head_start: usize) {
    let second = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        env.deliver(event).await
    };
    let (first, second) = tokio::join!(env.deliver(event), second);
    assert!(first != Disposition::NotOurs && second != Disposition::NotOurs);
    let last = env.deliver_until_settled(event).await;
    assert!(IS_COMPLETED(&last), "{last:?}");
}

#[tokio::test]
async fn two_concurrent_deliveries_have_the_effect_of_one_at_every_interleaving() {
    for head_start in 0..30 {
        let (env, subscriber) = at_first_attempt();
        deliver_twice_concurrently(&env, &env.authorisation_event(&subscriber, 72), head_start).await;
        assert_once(&env, &PaymentStatus::Authorised);
        env.clock.advance_to(subscriber.due);
        deliver_twice_concurrently(&env, &env.capture_event(&subscriber), head_start).await;
        assert_once(&env, &PaymentStatus::Captured);
    }
}

#[tokio::test]
async fn concurrent_authorisation_and_capture_authorise_once_and_capture_once_at_every_interleaving() {
    for head_start in 0..40 {
        let (env, subscriber) = at_first_attempt();
        env.clock.advance_to(subscriber.due);
        let (authorisation, capture) = (env.authorisation_event(&subscriber, 0), env.capture_event(&subscriber));
        let second = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            env.deliver(&capture).await
        };
        let _ = tokio::join!(env.deliver(&authorisation), second);
        assert_eq!(env.deliver_until_settled(&authorisation).await, completed("authorised"));
        assert_eq!(env.deliver_until_settled(&capture).await, completed("captured"));
        assert_once(&env, &PaymentStatus::Captured);
    }
}

/// Runs an event with a crash at every call, before and after it, and then delivers it again until it is settled. Returns how many crashes
/// there were.
async fn crash_at_every_call<F>(scene: impl Fn() -> F, check: impl Fn(&TestEnvironment)) -> usize
where
    F: Future<Output = (TestEnvironment, SentWebhook)>,
{
    let mut crashes = 0;
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            let (env, event) = scene().await;
            env.crash_point.arm(nth, when);
            let survived = env.crash_point.run(env.deliver_until_settled(&event)).await;
            env.crash_point.disarm();
            if survived.is_some() {
                break;
            }
            crashes += 1;
            // The lease of the crashed worker runs out; the queue delivers again.
            env.clock.advance(Duration::from_secs(100));
            let last = env.deliver_until_settled(&event).await;
            assert!(IS_COMPLETED(&last), "crash {when:?} call {nth}: {last:?}");
            env.adyen.process();
            check(&env);
        }
    }
    crashes
}

#[tokio::test]
async fn a_crash_before_or_after_any_call_of_an_authorisation_leaves_one_authorisation() {
    let scene = || async {
        let (env, subscriber) = at_first_attempt();
        let event = env.authorisation_event(&subscriber, 72);
        (env, event)
    };
    let crashes = crash_at_every_call(scene, |env| assert_once(env, &PaymentStatus::Authorised)).await;
    assert_eq!(crashes, 2 * 8, "GET subscription, three outside writes, four journal writes, each before and after");
}

#[tokio::test]
async fn a_crash_before_or_after_any_call_of_a_capture_leaves_one_capture() {
    let scene = || async {
        let (env, subscriber) = at_due_date_authorised().await;
        let event = env.capture_event(&subscriber);
        (env, event)
    };
    let crashes = crash_at_every_call(scene, |env| assert_once(env, &PaymentStatus::Captured)).await;
    assert!(crashes >= 2 * 7, "{crashes}");
}

#[tokio::test]
async fn a_crash_before_or_after_any_call_of_a_charge_leaves_one_charge() {
    let scene = || async {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
        env.clock.advance_to(subscriber.due);
        let event = env.capture_event(&subscriber);
        (env, event)
    };
    let crashes = crash_at_every_call(scene, |env| assert_once(env, &PaymentStatus::Captured)).await;
    assert_eq!(crashes, 2 * 8);
}

#[tokio::test]
async fn a_crash_before_or_after_any_call_of_a_declined_attempt_leaves_one_decline() {
    let scene = || async {
        let (env, subscriber) = at_first_attempt();
        env.adyen.decline_next_with(&subscriber.stored_id, "12");
        let event = env.authorisation_event(&subscriber, 72);
        (env, event)
    };
    let check = |env: &TestEnvironment| {
        // Only the answer to the report itself can be lost beyond recall; it moves nothing, and may be made once more.
        let rejected = statuses(env);
        assert!(
            !rejected.is_empty() && rejected.len() <= 2 && rejected.iter().all(|status| *status == PaymentStatus::Rejected),
            "{rejected:?}"
        );
        assert_eq!((env.adyen.authorisations(), env.adyen.payments().len()), (0, 1));
    };
    let crashes = crash_at_every_call(scene, check).await;
    assert_eq!(crashes, 2 * 8);
}

#[tokio::test]
async fn a_crash_anywhere_in_a_change_of_card_leaves_one_live_authorisation() {
    let scene = || async {
        let (env, mut subscriber) = at_first_attempt();
        env.deliver(&env.authorisation_event(&subscriber, 72)).await;
        env.clock.advance(Duration::from_secs(24 * 3600));
        env.change_card(&mut subscriber, ADYEN_METHOD);
        let event = env.authorisation_event(&subscriber, 48);
        (env, event)
    };
    let check = |env: &TestEnvironment| {
        assert_eq!(statuses(env), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
        let held = env.adyen.payments().into_iter().filter(|payment| payment.state == PaymentState::Authorised).count();
        assert_eq!(held, 1);
        assert_balanced(env);
    };
    let crashes = crash_at_every_call(scene, check).await;
    assert!(crashes >= 2 * 10, "{crashes}");
}

#[tokio::test]
async fn a_crash_anywhere_in_a_termination_ends_the_subscription_once() {
    let scene = || async {
        let (env, subscriber) = at_first_attempt();
        env.clock.advance_to(subscriber.due.after(Duration::from_secs(2 * 3600)));
        let event = env.termination_event(&subscriber);
        (env, event)
    };
    let check = |env: &TestEnvironment| {
        let ended = env.cleeng.subscriptions().into_iter().all(|s| s.terminated_as.as_deref() == Some("status"));
        assert!(ended);
        assert_balanced(env);
    };
    let crashes = crash_at_every_call(scene, check).await;
    assert!(crashes >= 2 * 4, "{crashes}");
}

#[tokio::test]
async fn two_crashes_in_a_row_anywhere_leave_one_capture() {
    let scene = || async {
        let env = TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt);
        let subscriber: TestSubscriber = env.subscriber(ADYEN_METHOD);
        env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
        env.deliver(&env.authorisation_event(&subscriber, 72)).await;
        env.clock.advance_to(subscriber.due);
        let event = env.capture_event(&subscriber);
        (env, event)
    };
    let mut pairs = 0;
    for first in 0..8 {
        for second in 0..12 {
            for (one, other) in [
                (CrashTiming::Before, CrashTiming::After),
                (CrashTiming::After, CrashTiming::Before),
                (CrashTiming::After, CrashTiming::After),
            ] {
                let (env, event) = scene().await;
                for (nth, when) in [(first, one), (second, other)] {
                    env.crash_point.arm(nth, when);
                    pairs += usize::from(env.crash_point.run(env.deliver_until_settled(&event)).await.is_none());
                    env.crash_point.disarm();
                    env.clock.advance(Duration::from_secs(100));
                }
                let last = env.deliver_until_settled(&event).await;
                assert!(IS_COMPLETED(&last), "{first} {one:?} {second} {other:?}: {last:?}");
                env.adyen.process();
                assert_once(&env, &PaymentStatus::Captured);
            }
        }
    }
    assert!(pairs > 200, "{pairs}");
}

#[tokio::test]
async fn a_crash_while_parking_never_loses_the_alarm() {
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0..6 {
            let (env, subscriber) = at_first_attempt();
            env.clock.advance_to(subscriber.due.after(Duration::from_secs(3600)));
            let capture = env.capture_event(&subscriber);
            env.crash_point.arm(nth, when);
            let _ = env.crash_point.run(env.deliver_until_settled(&capture)).await;
            env.crash_point.disarm();
            env.clock.advance(Duration::from_secs(100));
            env.deliver_until_settled(&capture).await;
            let alarms = env.metrics.count(connector::metrics::Metric::Parked, "capture_without_authorisation");
            assert!(alarms >= 1, "crash {when:?} call {nth}");
        }
    }
}
