//! Deleting deactivated details while something that was made with them is on its way, and what is said of details that are gone.

use std::time::Duration;

use connector::billing::deleted::{DELETE_DETAILS, deactivation_key};
use connector::billing::rules::period_key;
use connector::cleeng::webhook::{DeactivationEvent, Topic};
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::Verdict;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::ids::PaymentDetailsId;
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use connector::journal::store::Key;
use connector::journal::work::{Keep, Work};
use connector::metrics::Metric;
use connector::parked::{Decision, Order, Plan};
use sandbox::cleeng::SentWebhook;
use sandbox::house::Standing;
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::{Cast, METHOD, Stage, id};

use crate::world::{assert_balanced, at_once, die_everywhere, parked, settled, statuses};

const HOUR: Duration = Duration::from_secs(3_600);

fn deleting() -> Stage {
    Stage::new(|rules| rules.delete_deactivated_details = true)
}

/// A report of a new payment to Cleeng.
fn report(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.method == Method::POST && request.path == "/3.1/payments"
}

fn announced(stage: &Stage) -> SentWebhook {
    stage.cleeng.due_webhooks().into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap()
}

/// The details that an announcement is about.
fn named(stage: &Stage, gone: &SentWebhook) -> PaymentDetailsId {
    DeactivationEvent::read(stage.verified(gone).get()).unwrap().details
}

fn deletions(stage: &Stage) -> (usize, usize) {
    (stage.road.reached("adyen", &Method::DELETE, ""), stage.road.reached("cleeng", &Method::DELETE, ""))
}

/// How many payments hold money.
fn held(stage: &Stage) -> usize {
    let ledger = stage.guest(GatewayName::Adyen).house.ledger();
    ledger.iter().filter(|entry| entry.standing == Standing::Authorised).count()
}

/// A subscriber whose next period is held at the gateway and was never reported, because of this; and who took another card then.
async fn held_and_not_reported(fault: Fault) -> (Stage, Cast, SentWebhook, SentWebhook) {
    let stage = deleting();
    let mut cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    let authorisation = stage.authorisation(&cast, 72);
    stage.road.lay(fault, report);
    let first = stage.deliver(&authorisation).await;
    assert!(matches!(first, Verdict::Later { .. } | Verdict::Parked("cleeng_refused_report")), "{first:?}");
    stage.change_card(&mut cast, METHOD);
    let gone = announced(&stage);
    (stage, cast, authorisation, gone)
}

/// Everything that was held is free, on both sides alike, and nothing is left of the old details.
fn assert_nothing_left(stage: &Stage, old: &PaymentDetailsId) {
    stage.adyen.process();
    assert_eq!(held(stage), 0);
    assert!(stage.cleeng.details(old).is_none());
    assert_eq!(deletions(stage), (1, 1));
    assert_balanced(stage);
}

/// Seeds 225 and 9138. They were deleted, and Cleeng refused to hear of what was held with them.
#[tokio::test]
async fn details_are_not_deleted_while_a_payment_with_them_is_not_reported() {
    for fault in [Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::NotSent, Fault::StatusBefore(503)] {
        let (stage, _, authorisation, gone) = held_and_not_reported(fault).await;
        let old = named(&stage, &gone);
        let waits = stage.deliver(&gone).await;
        assert!(matches!(waits, Verdict::Later { .. }), "{waits:?}");
        assert_eq!(deletions(&stage), (0, 0));
        assert_eq!(stage.deliver_until_settled(&authorisation).await, settled("authorised"));
        assert!(matches!(stage.deliver(&gone).await, Verdict::Later { after: None, reason: "cancel_not_final" }));
        stage.hear_gateways().await;
        assert_eq!(stage.deliver_until_settled(&gone).await, settled("deactivated"));
        assert_eq!(statuses(&stage), [PaymentStatus::Cancelled]);
        assert_nothing_left(&stage, &old);
    }
}

/// A hold that Cleeng refused to hear of is with an operator, and so are its details: whoever deletes them takes the way from him to report it.
#[tokio::test]
async fn details_stay_while_an_operator_has_a_payment_with_them() {
    let (stage, cast, _, gone) = held_and_not_reported(Fault::StatusBefore(422)).await;
    assert_eq!(stage.deliver_until_settled(&gone).await, parked("details_of_a_parked_payment"));
    assert_eq!(deletions(&stage), (0, 0));
    assert_eq!(stage.deliver(&gone).await, settled("parked"), "once is enough");
    let old = named(&stage, &gone);
    decide(&stage, &period_key(&cast.subscriber.subscription, cast.due), Decision::Done).await;
    decide(&stage, &deactivation_key(&old), Decision::Retry).await;
    assert_eq!(stage.play(&gone).await, settled("deactivated"));
    assert_nothing_left(&stage, &old);
}

async fn decide(stage: &Stage, key: &Key, decision: Decision) {
    let order = Order { decision, by: "N. N.".to_owned(), note: "looked at both sides".to_owned(), no_money_moved: false };
    Plan::make(&stage.world.store, key, &order, stage.now()).await.unwrap().carry_out().await.unwrap();
}

/// An announcement and an event that names the same details meet at every call: whatever is held in the end is known to Cleeng, or free.
#[tokio::test]
async fn a_deletion_that_races_with_an_authorisation_leaves_no_hold_that_cleeng_refuses() {
    let mut ends = Vec::new();
    for deletion_first in [true, false] {
        for head_start in 0..40 {
            let stage = deleting();
            let mut cast = stage.subscriber(METHOD);
            known_by_an_earlier_period(&stage, &mut cast).await;
            stage.clock.advance_to(cast.due.before(72 * HOUR));
            let authorisation = stage.authorisation(&cast, 72);
            stage.change_card(&mut cast, METHOD);
            let gone = announced(&stage);
            let (one, other) = if deletion_first { (&gone, &authorisation) } else { (&authorisation, &gone) };
            at_once(&stage, one, other, head_start).await;
            let context = format!("deletion first {deletion_first}, {head_start}");
            stage.clock.advance(Duration::from_secs(100));
            let last = stage.deliver_until_settled(&authorisation).await;
            assert!(matches!(last, Verdict::Settled(_)), "{context}: {last:?}");
            stage.hear_gateways().await;
            assert_eq!(stage.play(&gone).await, settled("deactivated"), "{context}");
            stage.hear_gateways().await;
            assert_eq!(held(&stage), 0, "{context}");
            assert_balanced(&stage);
            ends.push(last);
        }
    }
    assert!(ends.contains(&settled("authorised")) && ends.iter().any(|end| *end != settled("authorised")), "{ends:?}");
}

/// One period is paid, so that the journal knows who uses the details.
async fn known_by_an_earlier_period(stage: &Stage, cast: &mut Cast) {
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(cast, 72)).await, settled("authorised"));
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.play(&stage.capture(cast)).await, settled("captured"));
    cast.due = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to;
}

/// What Cleeng might still send that names details which were deleted since.
struct Late {
    authorisation: SentWebhook,
    capture: SentWebhook,
}

/// The same card entered again: the token lives on at the gateway, and the details in Cleeng are gone.
async fn deleted_with_the_token_in_use() -> (Stage, Cast, Late) {
    let stage = deleting();
    let mut cast = stage.subscriber(METHOD);
    known_by_an_earlier_period(&stage, &mut cast).await;
    let late = Late { authorisation: stage.authorisation(&cast, 48), capture: stage.capture(&cast) };
    let old = cast.subscriber.details.clone();
    let token = stage.cleeng.details(&old).unwrap().token;
    cast.subscriber.details = stage.cleeng.change_details(&cast.subscriber, &id(METHOD), &token).unwrap();
    let gone = announced(&stage);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    assert_eq!(stage.play(&gone).await, settled("deactivated"));
    assert_eq!(stage.metrics.count(Metric::Warning, "token_still_used"), 1);
    assert!(stage.cleeng.details(&old).is_none());
    (stage, cast, late)
}

#[tokio::test]
async fn nothing_is_held_with_details_that_were_deleted() {
    let (stage, cast, late) = deleted_with_the_token_in_use().await;
    stage.clock.advance_to(cast.due.before(48 * HOUR));
    let asked = stage.adyen.authorisations();
    assert_eq!(stage.play(&late.authorisation).await, settled("stale"));
    assert_eq!((stage.adyen.authorisations(), held(&stage)), (asked, 0));
    assert_balanced(&stage);
    // Nothing stands in the way of the details that count.
    stage.clock.advance_to(cast.due.before(24 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(&cast, 24)).await, settled("authorised"));
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.play(&stage.capture(&cast)).await, settled("captured"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn nothing_is_charged_with_details_that_were_deleted() {
    let stage = deleting();
    let mut cast = stage.subscriber(stage.guest(GatewayName::Adyen).capture_only);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.play(&stage.capture(&cast)).await, settled("captured"));
    cast.due = stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().date_to;
    let late = stage.capture(&cast);
    stage.change_card(&mut cast, stage.guest(GatewayName::Adyen).capture_only);
    assert_eq!(stage.play(&announced(&stage)).await, settled("deactivated"));
    stage.clock.advance_to(cast.due);
    let taken = stage.adyen.total_captured("USD");
    assert_eq!(stage.play(&late).await, parked("details_deleted"));
    assert_eq!(stage.adyen.total_captured("USD"), taken);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_capture_that_asks_for_details_that_were_deleted_is_no_outage() {
    let (stage, cast, late) = deleted_with_the_token_in_use().await;
    stage.clock.advance_to(cast.due.after(2 * HOUR));
    assert_eq!(stage.play(&late.capture).await, parked("capture_without_authorisation"));
    stage.hear_gateways().await;
    assert_eq!(held(&stage), 0);
    assert_balanced(&stage);
}

/// As a release left it that did not look what was on its way.
async fn deleted_regardless(stage: &Stage, details: &PaymentDetailsId) {
    let now = stage.now();
    let mut attempt = Attempt {
        kind: AttemptKind::Deactivate,
        due: now,
        opened_at: now,
        details: Some(details.clone()),
        reference: None,
        steps: Vec::new(),
        finish: Some(Finish::Deactivated),
        waiting_event: None,
        queued_until: None,
    };
    attempt.begin(DELETE_DETAILS, None, now);
    attempt.done(DELETE_DETAILS, serde_json::Value::Null);
    let mut obligation = Obligation::new();
    obligation.push(attempt);
    let mut work = Work::new(stage.world.store.clone());
    work.stage(&deactivation_key(details), &obligation, Keep::default()).unwrap();
    work.commit().await.unwrap();
    stage.world.cleeng.delete_payment_details(details).await.unwrap();
}

/// What Cleeng says to a report with details that are gone is found, and nothing else is.
fn assert_refused_at_most(stage: &Stage) {
    let refused = |line: &String| line.contains("payment_with_unknown_details");
    assert_eq!(stage.disagreements().into_iter().filter(|line| !refused(line)).collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn a_hold_that_cleeng_refuses_because_its_details_are_gone_is_released_and_not_parked() {
    let scene = async || {
        let (stage, cast, authorisation, gone) = held_and_not_reported(Fault::NotSent).await;
        deleted_regardless(&stage, &named(&stage, &gone)).await;
        (stage, (authorisation, cast))
    };
    let act = async |stage: &Stage, (event, _): &(SentWebhook, Cast)| {
        stage.play(event).await;
    };
    let afterwards = async |stage: &Stage, (event, cast): &(SentWebhook, Cast), context: &str| {
        assert_eq!(stage.deliver_until_settled(event).await, settled("stale"), "{context}");
        stage.hear_gateways().await;
        assert_eq!(held(stage), 0, "{context}");
        assert_refused_at_most(stage);
        stage.clock.advance_to(cast.due.before(48 * HOUR));
        assert_eq!(stage.play(&stage.authorisation(cast, 48)).await, settled("authorised"), "{context}");
    };
    let deaths = die_everywhere(scene, act, afterwards).await;
    assert!(deaths >= 2 * 6, "{deaths}: the report, the cancel, and what is written before, between and after");
}

#[tokio::test]
async fn a_termination_releases_what_is_held_with_details_that_were_deleted() {
    let (stage, cast, _, gone) = held_and_not_reported(Fault::StatusBefore(422)).await;
    let old = named(&stage, &gone);
    deleted_regardless(&stage, &old).await;
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Stopped);
    stage.clock.advance_to(cast.due.after(HOUR));
    assert_eq!(stage.play(&stage.termination(&cast)).await, settled("terminated"));
    stage.hear_gateways().await;
    assert_eq!(held(&stage), 0);
    assert_refused_at_most(&stage);
}

/// The list of details that nobody here deleted is an outage all the same: a wrong address says "not found" as well.
#[tokio::test]
async fn details_that_cleeng_does_not_find_and_nobody_deleted_are_an_outage() {
    let stage = deleting();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.after(2 * HOUR));
    stage.road.lay(Fault::StatusBefore(404), |_, request| request.path.ends_with("/authorised_payments"));
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, Verdict::Later { after: None, reason: "cleeng_not_found" });
}
