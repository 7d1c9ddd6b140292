//! Renewals: authorise and capture, charge, declines, termination.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::gateway::{DeclineClass, GatewayName};
use sandbox::cleeng::SentWebhook;
use sandbox::house::Standing;
use sandbox::stage::Stage;

use crate::scenes::{
    HOUR, agreed, assert_balanced, assert_once, at_first_attempt, authorised_and_due, due_to_be_charged, only_id, statuses,
};

const CLASSES: [DeclineClass; 6] = [
    DeclineClass::Soft,
    DeclineClass::NeedsCustomer,
    DeclineClass::NeedsNewDetails,
    DeclineClass::Hard,
    DeclineClass::Risk,
    DeclineClass::Cancelled,
];

pub(crate) async fn a_renewal_is_authorised_then_captured_and_both_sides_agree(gateway: GatewayName) {
    let (stage, cast) = authorised_and_due(gateway).await;
    assert_once(&stage, gateway, &PaymentStatus::Authorised, "authorised");
    assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
    assert_once(&stage, gateway, &PaymentStatus::Captured, "captured");
    assert!(stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to > cast.due);
}

pub(crate) async fn a_renewal_is_charged_at_once(gateway: GatewayName) {
    let (stage, cast) = due_to_be_charged(gateway);
    assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
    assert_once(&stage, gateway, &PaymentStatus::Captured, "charged");
}

pub(crate) async fn an_event_delivered_five_times_has_the_effect_of_one(gateway: GatewayName) {
    let (stage, cast) = at_first_attempt(gateway);
    for _ in 0..5 {
        assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    }
    assert_once(&stage, gateway, &PaymentStatus::Authorised, "authorised");
    stage.clock.advance_to(cast.due);
    for _ in 0..5 {
        assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
    }
    assert_once(&stage, gateway, &PaymentStatus::Captured, "captured");
}

/// Two deliveries of one event run at the same time, the second starting after so many turns of the first.
pub(crate) async fn two_at_once(stage: &Stage, event: &SentWebhook, head_start: usize) {
    let second = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        stage.deliver(event).await
    };
    let (first, second) = tokio::join!(stage.deliver(event), second);
    assert!(first != Verdict::NotOurs && second != Verdict::NotOurs);
}

pub(crate) async fn two_deliveries_at_once_have_the_effect_of_one_wherever_they_meet(gateway: GatewayName) {
    for head_start in 0..30 {
        let (stage, cast) = at_first_attempt(gateway);
        let (authorisation, capture) = (stage.authorisation(&cast, 72), stage.capture(&cast));
        two_at_once(&stage, &authorisation, head_start).await;
        assert_eq!(stage.play(&authorisation).await, Verdict::Settled("authorised"));
        assert_once(&stage, gateway, &PaymentStatus::Authorised, "authorised");
        stage.clock.advance_to(cast.due);
        two_at_once(&stage, &capture, head_start).await;
        assert_eq!(stage.play(&capture).await, Verdict::Settled("captured"));
        assert_once(&stage, gateway, &PaymentStatus::Captured, "captured");
    }
}

pub(crate) async fn a_decline_of_any_class_is_told_and_the_next_attempt_pays(gateway: GatewayName) {
    let mut seen = 0;
    for class in CLASSES {
        let (stage, cast) = at_first_attempt(gateway);
        if !stage.guest(gateway).house.refuse_next(&cast.token, class) {
            continue;
        }
        seen += 1;
        assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("declined"), "{class:?}");
        let rejected = stage.cleeng.payments().remove(0);
        assert_eq!(rejected.status, PaymentStatus::Rejected);
        let reason = rejected.rejected_reason.unwrap_or_default();
        assert!(reason.starts_with(&format!("{}: ", class.as_str())), "{class:?}: {reason}");
        stage.clock.advance_to(cast.due.before(48 * HOUR));
        assert_eq!(stage.play(&stage.authorisation(&cast, 48)).await, Verdict::Settled("authorised"));
        stage.clock.advance_to(cast.due);
        assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
        assert_eq!(statuses(&stage), [PaymentStatus::Rejected, PaymentStatus::Captured]);
        assert_once(&stage, gateway, &PaymentStatus::Captured, "second attempt");
    }
    assert!(seen >= 3, "the gateway knows {seen} classes of declines");
}

pub(crate) async fn a_subscription_that_cannot_be_paid_is_terminated(gateway: GatewayName) {
    let (stage, cast) = at_first_attempt(gateway);
    assert!(stage.guest(gateway).house.refuse_next(&cast.token, DeclineClass::Soft));
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("declined"));
    stage.clock.advance_to(cast.due.after(2 * HOUR));
    assert_eq!(stage.play(&stage.termination(&cast)).await, Verdict::Settled("terminated"));
    assert_eq!(stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().terminated_as.as_deref(), Some("paymentCancel"));
    assert_eq!(agreed(&stage, gateway), []);
    assert_balanced(&stage, "terminated");
}

pub(crate) async fn an_authorisation_that_lapsed_is_never_told_as_captured(gateway: GatewayName) {
    let (stage, cast) = authorised_and_due(gateway).await;
    stage.guest(gateway).house.expire(&only_id(&stage, gateway));
    let verdict = stage.play(&stage.capture(&cast)).await;
    assert!(!matches!(verdict, Verdict::Settled("captured") | Verdict::NotOurs), "{verdict:?}");
    assert_eq!(agreed(&stage, gateway)[0].standing, Standing::Expired);
    assert!(!statuses(&stage).contains(&PaymentStatus::Captured), "{:?}", statuses(&stage));
}
