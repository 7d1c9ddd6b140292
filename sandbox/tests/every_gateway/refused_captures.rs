//! A gateway refuses for good to capture what it holds: Cleeng is told, and what is held goes back.

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Verdict;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::cleeng::SentWebhook;
use sandbox::house::{LedgerEntry, Standing};
use sandbox::peer::Fault;
use sandbox::stage::{Cast, Stage};

use crate::deaths::every_pair;
use crate::faults::{AT_CLEENG, AT_THE_GATEWAY, each};
use crate::renewals::two_at_once;
use crate::scenes::{HOUR, agreed, assert_balanced, authorised_and_due, only_id, statuses};

/// A hold whose capture will be refused. Where the gateway's refusal leaves nothing held, the hold lapses unnoticed instead.
async fn refused(gateway: GatewayName) -> (Stage, Cast) {
    let (stage, cast) = authorised_and_due(gateway).await;
    let house = &stage.guest(gateway).house;
    if !house.refuse_next_capture() {
        house.expire(&only_id(&stage, gateway));
    }
    drop(house.take_notifications());
    (stage, cast)
}

/// Delivers an event again and again, every ten minutes, while the gateways tell what they did.
async fn patiently(stage: &Stage, event: &SentWebhook) -> Verdict {
    let mut last = Verdict::NotOurs;
    for _ in 0..200 {
        last = stage.deliver(event).await;
        stage.hear_gateways().await;
        if !matches!(last, Verdict::Later { .. }) {
            break;
        }
        stage.clock.advance(HOUR / 6);
    }
    stage.run_until_quiet().await;
    last
}

/// How often the gateway was asked to give a hold free.
fn asked_to_release(stage: &Stage) -> usize {
    let releases = |path: &str| path.ends_with("/cancels") || path.ends_with("/void") || path.ends_with("/cancel");
    let all = stage.road.calls().into_iter().filter(|call| call.peer != "cleeng" && call.method == Method::POST);
    all.filter(|call| releases(&call.path)).count()
}

fn assert_given_back(stage: &Stage, gateway: GatewayName, context: &str) {
    assert!(agreed(stage, gateway).iter().all(LedgerEntry::released), "{context}: {:?}", agreed(stage, gateway));
    assert_eq!(statuses(stage), [PaymentStatus::Rejected], "{context}");
    assert_balanced(stage, context);
    assert_eq!((stage.metrics.count(Metric::Parked, ""), stage.metrics.count(Metric::Alarm, "")), (0, 0), "{context}");
}

pub(crate) async fn what_the_gateway_refuses_to_capture_is_released_and_the_next_attempt_pays(gateway: GatewayName) {
    let (stage, cast) = refused(gateway).await;
    assert_eq!(patiently(&stage, &stage.capture(&cast)).await, Verdict::Settled("declined"));
    assert_given_back(&stage, gateway, "refused");
    for _ in 0..3 {
        assert_eq!(patiently(&stage, &stage.capture(&cast)).await, Verdict::Settled("declined"));
    }
    assert!(asked_to_release(&stage) <= 1, "asked once, whatever comes again");
    // The next attempt holds the amount, and nothing else does.
    let at = cast.due.after(24 * HOUR);
    stage.clock.advance_to(at);
    let event = |topic| stage.event(topic, &cast, at, cast.due);
    assert_eq!(stage.play(&event(Topic::SubscriptionReadyForPaymentAuthorisation)).await, Verdict::Settled("authorised"));
    let held = agreed(&stage, gateway).into_iter().filter(|entry| entry.standing == Standing::Authorised).count();
    assert_eq!(held, 1);
    assert_eq!(stage.play(&event(Topic::SubscriptionReadyForPaymentCapture)).await, Verdict::Settled("captured"));
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected, PaymentStatus::Captured]);
    assert_balanced(&stage, "paid");
}

pub(crate) async fn nothing_is_released_where_the_hold_is_gone(gateway: GatewayName) {
    let (stage, cast) = authorised_and_due(gateway).await;
    stage.guest(gateway).house.expire(&only_id(&stage, gateway));
    let lapsed = stage.take_notifications().await;
    // Whoever takes the order whatever there is tells of the lapse by notification alone.
    if matches!(stage.deliver(&stage.capture(&cast)).await, Verdict::Later { .. }) {
        stage.settle_all(&lapsed).await;
    }
    assert_eq!(patiently(&stage, &stage.capture(&cast)).await, Verdict::Settled("declined"));
    assert_given_back(&stage, gateway, "lapsed");
    assert_eq!(asked_to_release(&stage), 0);
}

pub(crate) async fn two_deliveries_of_it_release_once_wherever_they_meet(gateway: GatewayName) {
    for head_start in 0..30 {
        let (stage, cast) = refused(gateway).await;
        let capture = stage.capture(&cast);
        two_at_once(&stage, &capture, head_start).await;
        assert_eq!(patiently(&stage, &capture).await, Verdict::Settled("declined"), "{head_start}");
        assert_given_back(&stage, gateway, &format!("head start {head_start}"));
        assert!(asked_to_release(&stage) <= 1, "{head_start}");
    }
}

pub(crate) async fn whoever_dies_anywhere_over_it_leaves_nothing_held(gateway: GatewayName) {
    let scene = async || {
        let (stage, cast) = refused(gateway).await;
        if stage.world.gateways.get(gateway).unwrap().capabilities().settles_by_notification {
            // The order is taken, and what became of it is about to be told.
            assert!(matches!(stage.deliver(&stage.capture(&cast)).await, Verdict::Later { .. }));
        } else {
            stage.post(&stage.capture(&cast));
        }
        stage
    };
    let check = async |stage: &Stage, context: &str| assert_given_back(stage, gateway, context);
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 50, "{deaths}");
}

pub(crate) async fn at_any_write_of_it_something_goes_wrong(gateway: GatewayName) {
    each(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let (stage, cast) = refused(gateway).await;
        lay(&stage);
        assert_eq!(patiently(&stage, &stage.capture(&cast)).await, Verdict::Settled("declined"), "{context}");
        assert_given_back(&stage, gateway, context);
    })
    .await;
}

pub(crate) async fn a_gateway_that_never_says_keeps_no_other_attempt_from_opening(gateway: GatewayName) {
    let (stage, cast) = refused(gateway).await;
    for _ in 0..400 {
        stage.road.lay(Fault::StatusBefore(500), |peer, request| {
            peer != "cleeng" && ["/cancels", "/void", "/cancel"].iter().any(|end| request.path.ends_with(end))
        });
    }
    let verdict = patiently(&stage, &stage.capture(&cast)).await;
    if stage.guest(gateway).house.refuse_next_capture() {
        assert_eq!(verdict, Verdict::Parked("authorisation_not_released"));
        assert_eq!(stage.metrics.count(Metric::Parked, "authorisation_not_released"), 1);
    } else {
        assert_eq!(verdict, Verdict::Settled("declined"));
    }
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected], "what Cleeng was told stands");
    let at = cast.due.after(48 * HOUR);
    stage.clock.advance_to(at);
    let event = stage.event(Topic::SubscriptionReadyForPaymentAuthorisation, &cast, at, cast.due);
    assert_eq!(stage.play(&event).await, Verdict::Settled("authorised"));
}
