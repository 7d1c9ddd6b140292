//! Deliveries that are repeated, that come at the same time, and whose worker dies at any call.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{SettleOn, Verdict};
use sandbox::adyen::PaymentState;
use sandbox::cleeng::SentWebhook;
use sandbox::crash::When;
use sandbox::stage::{CAPTURE_ONLY_METHOD, Cast, METHOD, Stage};

use crate::{SETTLED, assert_balanced, at_due_date_authorised, at_first_attempt, settled, statuses};

/// One authorisation, at most one capture, one payment in Cleeng, one order paid.
fn assert_once(stage: &Stage, status: &PaymentStatus) {
    assert_eq!(statuses(stage), std::slice::from_ref(status));
    assert_eq!(stage.adyen.authorisations(), 1);
    if *status == PaymentStatus::Captured {
        assert_eq!(stage.adyen.total_captured("USD"), 999);
    }
    assert_balanced(stage);
}

#[tokio::test]
async fn the_same_event_delivered_five_times_has_the_effect_of_one() {
    let (stage, cast) = at_first_attempt();
    for _ in 0..5 {
        assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    }
    assert_once(&stage, &PaymentStatus::Authorised);
    stage.clock.advance_to(cast.due);
    for _ in 0..5 {
        assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    }
    assert_once(&stage, &PaymentStatus::Captured);
}

/// Two deliveries of one event run at the same time, the second starting after so many turns of the first.
async fn two_at_once(stage: &Stage, event: &SentWebhook, head_start: usize) {
    let second = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        stage.deliver(event).await
    };
    let (first, second) = tokio::join!(stage.deliver(event), second);
    assert!(first != Verdict::NotOurs && second != Verdict::NotOurs);
    let last = stage.deliver_until_settled(event).await;
    assert!(SETTLED(&last), "{last:?}");
}

#[tokio::test]
async fn two_deliveries_at_once_have_the_effect_of_one_wherever_they_meet() {
    for head_start in 0..30 {
        let (stage, cast) = at_first_attempt();
        two_at_once(&stage, &stage.authorisation(&cast, 72), head_start).await;
        assert_once(&stage, &PaymentStatus::Authorised);
        stage.clock.advance_to(cast.due);
        two_at_once(&stage, &stage.capture(&cast), head_start).await;
        assert_once(&stage, &PaymentStatus::Captured);
    }
}

#[tokio::test]
async fn authorisation_and_capture_at_once_authorise_once_and_capture_once_wherever_they_meet() {
    for head_start in 0..40 {
        let (stage, cast) = at_first_attempt();
        stage.clock.advance_to(cast.due);
        let (authorisation, capture) = (stage.authorisation(&cast, 0), stage.capture(&cast));
        let second = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            stage.deliver(&capture).await
        };
        let _ = tokio::join!(stage.deliver(&authorisation), second);
        assert_eq!(stage.deliver_until_settled(&authorisation).await, settled("authorised"));
        assert_eq!(stage.deliver_until_settled(&capture).await, settled("captured"));
        assert_once(&stage, &PaymentStatus::Captured);
    }
}

/// Plays an event with a death at every call, before and after it, and then delivers it again until it is settled. Returns how many deaths
/// there were.
async fn die_everywhere<F>(scene: impl Fn() -> F, check: impl Fn(&Stage)) -> usize
where
    F: Future<Output = (Stage, SentWebhook)>,
{
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 0.. {
            let (stage, event) = scene().await;
            stage.switch.arm(nth, when);
            let survived = stage.switch.run(stage.deliver_until_settled(&event)).await;
            stage.switch.disarm();
            if survived.is_some() {
                break;
            }
            deaths += 1;
            // The lease of the dead worker runs out; the queue delivers again.
            stage.clock.advance(Duration::from_secs(100));
            let last = stage.deliver_until_settled(&event).await;
            assert!(SETTLED(&last), "death {when:?} call {nth}: {last:?}");
            stage.adyen.process();
            check(&stage);
        }
    }
    deaths
}

#[tokio::test]
async fn a_worker_that_dies_before_or_after_any_call_of_an_authorisation_leaves_one_authorisation() {
    let scene = || async {
        let (stage, cast) = at_first_attempt();
        let event = stage.authorisation(&cast, 72);
        (stage, event)
    };
    let deaths = die_everywhere(scene, |stage| assert_once(stage, &PaymentStatus::Authorised)).await;
    assert_eq!(deaths, 2 * 8, "GET subscription, three outside writes, four journal writes, each before and after");
}

#[tokio::test]
async fn a_worker_that_dies_before_or_after_any_call_of_a_capture_leaves_one_capture() {
    let scene = || async {
        let (stage, cast) = at_due_date_authorised().await;
        let event = stage.capture(&cast);
        (stage, event)
    };
    let deaths = die_everywhere(scene, |stage| assert_once(stage, &PaymentStatus::Captured)).await;
    assert!(deaths >= 2 * 7, "{deaths}");
}

#[tokio::test]
async fn a_worker_that_dies_before_or_after_any_call_of_a_charge_leaves_one_charge() {
    let scene = || async {
        let stage = Stage::default();
        let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
        stage.clock.advance_to(cast.due);
        let event = stage.capture(&cast);
        (stage, event)
    };
    let deaths = die_everywhere(scene, |stage| assert_once(stage, &PaymentStatus::Captured)).await;
    assert_eq!(deaths, 2 * 8);
}

#[tokio::test]
async fn a_worker_that_dies_before_or_after_any_call_of_a_declined_attempt_leaves_one_decline() {
    let scene = || async {
        let (stage, cast) = at_first_attempt();
        stage.adyen.refuse_next(&cast.stored, "12");
        let event = stage.authorisation(&cast, 72);
        (stage, event)
    };
    let check = |stage: &Stage| {
        // Only the answer to the report itself can be lost beyond recall; it moves nothing, and may be made once more.
        let rejected = statuses(stage);
        assert!(
            !rejected.is_empty() && rejected.len() <= 2 && rejected.iter().all(|status| *status == PaymentStatus::Rejected),
            "{rejected:?}"
        );
        assert_eq!((stage.adyen.authorisations(), stage.adyen.payments().len()), (0, 1));
    };
    let deaths = die_everywhere(scene, check).await;
    assert_eq!(deaths, 2 * 8);
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_change_of_card_leaves_one_live_authorisation() {
    let scene = || async {
        let (stage, mut cast) = at_first_attempt();
        stage.deliver(&stage.authorisation(&cast, 72)).await;
        stage.clock.advance(Duration::from_secs(24 * 3600));
        stage.change_card(&mut cast, METHOD);
        let event = stage.authorisation(&cast, 48);
        (stage, event)
    };
    let check = |stage: &Stage| {
        assert_eq!(statuses(stage), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
        let held = stage.adyen.payments().into_iter().filter(|payment| payment.state == PaymentState::Authorised).count();
        assert_eq!(held, 1);
        assert_balanced(stage);
    };
    let deaths = die_everywhere(scene, check).await;
    assert!(deaths >= 2 * 10, "{deaths}");
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_termination_ends_the_subscription_once() {
    let scene = || async {
        let (stage, cast) = at_first_attempt();
        stage.clock.advance_to(cast.due.after(Duration::from_secs(2 * 3600)));
        let event = stage.termination(&cast);
        (stage, event)
    };
    let check = |stage: &Stage| {
        let ended = stage.cleeng.subscriptions().into_iter().all(|s| s.terminated_as.as_deref() == Some("paymentCancel"));
        assert!(ended);
        assert_balanced(stage);
    };
    let deaths = die_everywhere(scene, check).await;
    assert!(deaths >= 2 * 4, "{deaths}");
}

#[tokio::test]
async fn two_deaths_in_a_row_anywhere_leave_one_capture() {
    let scene = || async {
        let stage = Stage::new(|rules| rules.settle_on = SettleOn::Receipt);
        let cast: Cast = stage.subscriber(METHOD);
        stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
        stage.deliver(&stage.authorisation(&cast, 72)).await;
        stage.clock.advance_to(cast.due);
        let event = stage.capture(&cast);
        (stage, event)
    };
    let mut pairs = 0;
    for first in 0..8 {
        for second in 0..12 {
            for (one, other) in [(When::Before, When::After), (When::After, When::Before), (When::After, When::After)] {
                let (stage, event) = scene().await;
                for (nth, when) in [(first, one), (second, other)] {
                    stage.switch.arm(nth, when);
                    pairs += usize::from(stage.switch.run(stage.deliver_until_settled(&event)).await.is_none());
                    stage.switch.disarm();
                    stage.clock.advance(Duration::from_secs(100));
                }
                let last = stage.deliver_until_settled(&event).await;
                assert!(SETTLED(&last), "{first} {one:?} {second} {other:?}: {last:?}");
                stage.adyen.process();
                assert_once(&stage, &PaymentStatus::Captured);
            }
        }
    }
    assert!(pairs > 200, "{pairs}");
}

#[tokio::test]
async fn a_worker_that_dies_while_it_parks_never_loses_the_alarm() {
    for when in [When::Before, When::After] {
        for nth in 0..6 {
            let (stage, cast) = at_first_attempt();
            stage.clock.advance_to(cast.due.after(Duration::from_secs(3600)));
            let capture = stage.capture(&cast);
            stage.switch.arm(nth, when);
            let _ = stage.switch.run(stage.deliver_until_settled(&capture)).await;
            stage.switch.disarm();
            stage.clock.advance(Duration::from_secs(100));
            stage.deliver_until_settled(&capture).await;
            let alarms = stage.metrics.count(connector::metrics::Metric::Parked, "capture_without_authorisation");
            assert!(alarms >= 1, "death {when:?} call {nth}");
        }
    }
}
