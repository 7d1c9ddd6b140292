//! Deletion of deactivated details while a payment with them is in flight, and responses about deleted details.

use std::time::Duration;

use connector::cleeng::webhook::{DeactivationEvent, Topic};
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::ids::PaymentDetailsId;
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use connector::journal::store::Key;
use connector::journal::transaction::{Retention, Transaction};
use connector::manual_review::{Decision, DecisionRequest, PreparedDecision};
use connector::metrics::Metric;
use connector::payments::deleted_details::{DELETE_DETAILS, deactivation_key};
use connector::reason::{ParkReason, RetryReason};
use connector::renewal::eligibility::period_key;
use sandbox::simulators::cleeng::{SentWebhook, refusal};
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::simulators::simulated_gateway::LedgerStatus;
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::money::fixtures::{assert_balanced, completed, crash_at_every_call, deliver_concurrently, parked, statuses};

const HOUR: Duration = Duration::from_secs(3_600);

fn with_deletion_enabled() -> TestEnvironment {
    TestEnvironment::new(|rules| rules.delete_deactivated_details = true)
}

/// A report of a new payment to Cleeng.
fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.method == Method::POST && request.path == "/3.1/payments"
}

fn deactivation_event(env: &TestEnvironment) -> SentWebhook {
    env.cleeng.due_webhooks().into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap()
}

/// The details that an announcement is about.
fn details_of(env: &TestEnvironment, gone: &SentWebhook) -> PaymentDetailsId {
    DeactivationEvent::read(env.verify(gone).get()).unwrap().details
}

fn deletion_counts(env: &TestEnvironment) -> (usize, usize) {
    (env.network.delivered_count("adyen", &Method::DELETE, ""), env.network.delivered_count("cleeng", &Method::DELETE, ""))
}

/// How many payments hold money.
fn authorised_entries(env: &TestEnvironment) -> usize {
    let ledger = env.gateway(GatewayName::Adyen).simulator.ledger();
    ledger.iter().filter(|entry| entry.status == LedgerStatus::Authorised).count()
}

/// A subscriber whose next period is held at the gateway and was never reported, because of this; and who took another card then.
async fn authorised_and_not_reported(fault: Fault) -> (TestEnvironment, TestSubscriber, SentWebhook, SentWebhook) {
    let env = with_deletion_enabled();
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    let authorisation = env.authorisation_event(&subscriber, 72);
    env.network.inject(fault, is_report);
    let first = env.deliver(&authorisation).await;
    assert!(matches!(first, Disposition::Retry { .. } | Disposition::Parked(ParkReason::CleengRefusedReport)), "{first:?}");
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let gone = deactivation_event(&env);
    (env, subscriber, authorisation, gone)
}

/// Everything that was held is free, on both sides alike, and nothing is left of the old details.
fn assert_nothing_left(env: &TestEnvironment, old: &PaymentDetailsId) {
    env.adyen.process();
    assert_eq!(authorised_entries(env), 0);
    assert!(env.cleeng.details(old).is_none());
    assert_eq!(deletion_counts(env), (1, 1));
    assert_balanced(env);
}

/// Seeds 225 and 9138. They were deleted, and Cleeng refused to hear of what was held with them.
#[tokio::test]
async fn details_are_not_deleted_while_a_payment_with_them_is_not_reported() {
    for fault in [Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::NotSent, Fault::StatusBefore(503)] {
        let (env, _, authorisation, gone) = authorised_and_not_reported(fault).await;
        let old = details_of(&env, &gone);
        let waits = env.deliver(&gone).await;
        assert!(matches!(waits, Disposition::Retry { .. }), "{waits:?}");
        assert_eq!(deletion_counts(&env), (0, 0));
        assert_eq!(env.deliver_until_settled(&authorisation).await, completed("authorised"));
        assert!(matches!(env.deliver(&gone).await, Disposition::Retry { after: None, reason: RetryReason::CancelNotFinal }));
        env.deliver_notifications().await;
        assert_eq!(env.deliver_until_settled(&gone).await, completed("deactivated"));
        assert_eq!(statuses(&env), [PaymentStatus::Cancelled]);
        assert_nothing_left(&env, &old);
    }
}

/// An authorisation whose report Cleeng rejected is parked, and so are its details: a deletion would make the report impossible.
#[tokio::test]
async fn details_stay_while_a_payment_with_them_is_parked() {
    let (env, subscriber, _, gone) = authorised_and_not_reported(refusal(422)).await;
    assert_eq!(env.deliver_until_settled(&gone).await, parked("details_of_a_parked_payment"));
    assert_eq!(deletion_counts(&env), (0, 0));
    assert_eq!(env.deliver(&gone).await, completed("parked"), "once is enough");
    let old = details_of(&env, &gone);
    record_decision(&env, &period_key(&subscriber.ids.subscription, subscriber.due), Decision::Done).await;
    record_decision(&env, &deactivation_key(&old), Decision::Retry).await;
    assert_eq!(env.run_event(&gone).await, completed("deactivated"));
    assert_nothing_left(&env, &old);
}

async fn record_decision(env: &TestEnvironment, key: &Key, decision: Decision) {
    let order = DecisionRequest { decision, by: "N. N.".to_owned(), note: "looked at both sides".to_owned(), no_money_moved: false };
    PreparedDecision::prepare(&env.flow_context.store, key, &order, env.now()).await.unwrap().commit().await.unwrap();
}

/// An announcement and an event with the same details are interleaved at every call: in the end every authorisation is known to Cleeng, or released.
#[tokio::test]
async fn a_deletion_that_races_with_an_authorisation_leaves_no_hold_that_cleeng_refuses() {
    let mut ends = Vec::new();
    for deletion_first in [true, false] {
        for head_start in 0..40 {
            let env = with_deletion_enabled();
            // Cleeng need not name the details, and then the journal alone keeps the two apart.
            env.cleeng.change_quirks(|quirks| quirks.shows_details = false);
            let mut subscriber = env.subscriber(ADYEN_METHOD);
            pay_one_period(&env, &mut subscriber).await;
            env.clock.advance_to(subscriber.due.before(72 * HOUR));
            let authorisation = env.authorisation_event(&subscriber, 72);
            env.change_card(&mut subscriber, ADYEN_METHOD);
            let gone = deactivation_event(&env);
            let (one, other) = if deletion_first { (&gone, &authorisation) } else { (&authorisation, &gone) };
            deliver_concurrently(&env, one, other, head_start).await;
            let context = format!("deletion first {deletion_first}, {head_start}");
            env.clock.advance(Duration::from_secs(100));
            let last = env.deliver_until_settled(&authorisation).await;
            assert!(matches!(last, Disposition::Completed(_)), "{context}: {last:?}");
            env.deliver_notifications().await;
            assert_eq!(env.run_event(&gone).await, completed("deactivated"), "{context}");
            env.deliver_notifications().await;
            assert_eq!(authorised_entries(&env), 0, "{context}");
            assert_balanced(&env);
            ends.push(last);
        }
    }
    assert!(ends.contains(&completed("authorised")) && ends.iter().any(|end| *end != completed("authorised")), "{ends:?}");
}

/// One period is paid, so that the journal knows who uses the details.
async fn pay_one_period(env: &TestEnvironment, subscriber: &mut TestSubscriber) {
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(subscriber, 72)).await, completed("authorised"));
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.run_event(&env.capture_event(subscriber)).await, completed("captured"));
    subscriber.due = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to;
}

/// What Cleeng might still send that names details which were deleted since.
struct OutdatedEvents {
    authorisation: SentWebhook,
    capture: SentWebhook,
}

/// The same card entered again: the token lives on at the gateway, and the details in Cleeng are gone.
async fn details_deleted_with_token_in_use() -> (TestEnvironment, TestSubscriber, OutdatedEvents) {
    let env = with_deletion_enabled();
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    pay_one_period(&env, &mut subscriber).await;
    let late = OutdatedEvents { authorisation: env.authorisation_event(&subscriber, 48), capture: env.capture_event(&subscriber) };
    let old = subscriber.ids.details.clone();
    let token = env.cleeng.details(&old).unwrap().token;
    subscriber.ids.details = env.cleeng.change_details(&subscriber.ids, &id(ADYEN_METHOD), &token).unwrap();
    let gone = deactivation_event(&env);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    assert_eq!(env.run_event(&gone).await, completed("deactivated"));
    assert_eq!(env.metrics.count(Metric::Warning, "token_still_used"), 1);
    assert!(env.cleeng.details(&old).is_none());
    (env, subscriber, late)
}

#[tokio::test]
async fn nothing_is_authorised_with_details_that_were_deleted() {
    let (env, subscriber, late) = details_deleted_with_token_in_use().await;
    env.clock.advance_to(subscriber.due.before(48 * HOUR));
    let asked = env.adyen.authorisations();
    assert_eq!(env.run_event(&late.authorisation).await, completed("stale"));
    // What is held with the details that count stays.
    assert_eq!((env.adyen.authorisations(), authorised_entries(&env)), (asked, 1));
    assert_balanced(&env);
    env.clock.advance_to(subscriber.due.before(24 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 24)).await, completed("authorised"));
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_balanced(&env);
}

#[tokio::test]
async fn nothing_is_charged_with_details_that_were_deleted() {
    let env = with_deletion_enabled();
    env.cleeng.change_quirks(|quirks| quirks.shows_details = false);
    let mut subscriber = env.subscriber(env.gateway(GatewayName::Adyen).capture_only_method);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, completed("captured"));
    subscriber.due = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to;
    let late = env.capture_event(&subscriber);
    env.change_card(&mut subscriber, env.gateway(GatewayName::Adyen).capture_only_method);
    assert_eq!(env.run_event(&deactivation_event(&env)).await, completed("deactivated"));
    env.clock.advance_to(subscriber.due);
    let taken = env.adyen.total_captured("USD");
    assert_eq!(env.run_event(&late).await, parked("details_deleted"));
    assert_eq!(env.adyen.total_captured("USD"), taken);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_capture_with_details_that_were_deleted_is_no_outage() {
    let (env, subscriber, late) = details_deleted_with_token_in_use().await;
    env.cleeng.change_quirks(|quirks| quirks.shows_details = false);
    env.clock.advance_to(subscriber.due.after(2 * HOUR));
    assert_eq!(env.run_event(&late.capture).await, parked("capture_without_authorisation"));
    env.deliver_notifications().await;
    assert_eq!(authorised_entries(&env), 0);
    assert_balanced(&env);
}

/// As a release left it that did not look what was on its way.
async fn mark_details_deleted(env: &TestEnvironment, details: &PaymentDetailsId) {
    let now = env.now();
    let mut attempt =
        Attempt { details: Some(details.clone()), finish: Some(Finish::Deactivated), ..Attempt::opened(AttemptKind::Deactivate, now, now) };
    attempt.record_intent(DELETE_DETAILS, None, now);
    attempt.record_result(DELETE_DETAILS, serde_json::Value::Null);
    let mut obligation = Obligation::new();
    obligation.push(attempt);
    let mut work = Transaction::new(env.flow_context.store.clone());
    work.stage(&deactivation_key(details), &obligation, Retention::default()).unwrap();
    work.commit().await.unwrap();
    env.flow_context.cleeng.delete_payment_details(details).await.unwrap();
}

/// What Cleeng says to a report with details that are gone is found, and nothing else is.
fn assert_only_known_refusals(env: &TestEnvironment) {
    let refused = |line: &String| line.contains("payment_with_unknown_details");
    assert_eq!(env.discrepancies().into_iter().filter(|line| !refused(line)).collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn an_authorisation_that_cleeng_refuses_for_deleted_details_is_released_and_not_parked() {
    let scene = async || {
        let (env, subscriber, authorisation, gone) = authorised_and_not_reported(Fault::NotSent).await;
        mark_details_deleted(&env, &details_of(&env, &gone)).await;
        (env, (authorisation, subscriber))
    };
    let act = async |env: &TestEnvironment, (event, _): &(SentWebhook, TestSubscriber)| {
        env.run_event(event).await;
    };
    let afterwards = async |env: &TestEnvironment, (event, subscriber): &(SentWebhook, TestSubscriber), context: &str| {
        assert_eq!(env.deliver_until_settled(event).await, completed("stale"), "{context}");
        env.deliver_notifications().await;
        assert_eq!(authorised_entries(env), 0, "{context}");
        assert_only_known_refusals(env);
        env.clock.advance_to(subscriber.due.before(48 * HOUR));
        assert_eq!(env.run_event(&env.authorisation_event(subscriber, 48)).await, completed("authorised"), "{context}");
    };
    let crashes = crash_at_every_call(scene, act, afterwards).await;
    assert!(crashes >= 2 * 6, "{crashes}: the report, the cancel, and what is written before, between and after");
}

#[tokio::test]
async fn a_termination_releases_authorisations_with_details_that_were_deleted() {
    let (env, subscriber, _, gone) = authorised_and_not_reported(refusal(422)).await;
    let old = details_of(&env, &gone);
    mark_details_deleted(&env, &old).await;
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Stopped);
    env.clock.advance_to(subscriber.due.after(HOUR));
    assert_eq!(env.run_event(&env.termination_event(&subscriber)).await, completed("terminated"));
    env.deliver_notifications().await;
    assert_eq!(authorised_entries(&env), 0);
    assert_only_known_refusals(&env);
}

/// The list of details that nobody here deleted is an outage all the same: a wrong address says "not found" as well.
#[tokio::test]
async fn details_that_cleeng_does_not_find_and_that_were_not_deleted_are_an_outage() {
    let env = with_deletion_enabled();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.after(2 * HOUR));
    env.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (Some(404), Some(404)));
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Postponed(RetryReason::CleengNotFound));
}
