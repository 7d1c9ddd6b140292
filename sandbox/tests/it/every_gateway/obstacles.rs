//! Nothing locks and nothing loops: an obstacle that is peculiar to one obligation parks it within hours, an outage parks it after the
//! deadline of unknown outcomes, both are freed by a decision, and neither keeps a termination or another period from going on.

use std::time::Duration;

use connector::cleeng::envelope::Envelope;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::journal::store::Key;
use connector::manual_review::{Decision, DecisionRequest, PreparedDecision, list_parked};
use connector::metrics::Metric;
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use connector::renewal::eligibility::period_key;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::simulators::simulated_gateway::LedgerEntry;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::every_gateway::scenarios::{HOUR, approved_entries, assert_once, at_first_attempt, due_to_be_charged, statuses};

/// A first attempt in each billing mode, with what it pays when it succeeds.
pub(crate) fn attempts(gateway: GatewayName) -> [(TestEnvironment, TestSubscriber, SentWebhook, PaymentStatus); 2] {
    let (held, of_held) = at_first_attempt(gateway);
    let (taken, of_taken) = due_to_be_charged(gateway);
    let (authorisation, charge) = (held.authorisation_event(&of_held, 72), taken.capture_event(&of_taken));
    [(held, of_held, authorisation, PaymentStatus::Authorised), (taken, of_taken, charge, PaymentStatus::Captured)]
}

fn period(subscriber: &TestSubscriber) -> Key {
    period_key(&subscriber.ids.subscription, subscriber.due)
}

pub(crate) async fn parked_reasons(env: &TestEnvironment) -> Vec<String> {
    list_parked(env.flow_context.store.as_ref(), 100).await.unwrap().into_iter().map(|parked| parked.reason).collect()
}

/// An operator decides. `None` if the decision is refused; else what became of the event that it requeues, if there is one.
async fn decide(env: &TestEnvironment, key: &Key, decision: Decision) -> Option<Option<Disposition>> {
    let order = DecisionRequest { decision, by: "night shift".to_owned(), note: "looked".to_owned(), no_money_moved: true };
    let now = env.now();
    let mut plan = PreparedDecision::prepare(&env.flow_context.store, key, &order, now).await.ok()?;
    let event = plan.event.clone();
    plan.commit().await.unwrap();
    let Some(event) = event else { return Some(None) };
    let envelope = Envelope::from_waiting_event(&event, now).unwrap();
    Some(Some(env.deliver_event(&envelope.open().unwrap(), envelope.received_at()).await))
}

/// The subscription ends although something of it is parked.
pub(crate) async fn assert_can_be_terminated(env: &TestEnvironment, subscriber: &TestSubscriber, context: &str) {
    env.clock.advance_to(subscriber.due.after(2 * HOUR));
    let ended = env.run_event(&env.termination_event(subscriber)).await;
    assert_eq!(ended, Disposition::Completed(CompletionReason::Terminated), "{context}");
    assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status, SubscriptionStatus::Terminated, "{context}");
}

/// Every call that holds or takes money ends like this.
fn break_payments(env: &TestEnvironment, gateway: GatewayName, fault: &Fault) {
    let name = env.gateway(gateway).simulator.name();
    for _ in 0..400 {
        let is_payment = move |peer: &str, request: &ServerRequest| {
            let path = request.path.as_str();
            let pays = ["/payments", "/payment_intents", "/orders"].iter().any(|end| path.ends_with(end));
            peer == name && request.method == connector::http::Method::POST && pays
        };
        env.network.inject(fault.clone(), is_payment);
    }
}

/// Case 14: Cleeng computes with floats. The order is made once.
pub(crate) async fn an_order_whose_amount_cannot_be_read_is_parked_and_made_once(gateway: GatewayName) {
    for (env, subscriber, event, paid) in attempts(gateway) {
        env.cleeng.change_quirks(|quirks| quirks.order_total = Some("9.990000000000000213"));
        for _ in 0..3 {
            env.run_event(&event).await;
        }
        assert_eq!(parked_reasons(&env).await, ["order_amount_unreadable"], "{paid:?}");
        assert_eq!((env.cleeng.orders().len(), approved_entries(&env, gateway).len()), (1, 0), "{paid:?}");
        env.cleeng.change_quirks(|quirks| quirks.order_total = None);
        let taken = decide(&env, &period(&subscriber), Decision::Retry).await.unwrap();
        assert!(matches!(taken, Some(Disposition::Completed(_) | Disposition::Retry { .. })), "{taken:?}");
        env.run_event(&event).await;
        assert_once(&env, gateway, &paid, "after the price was corrected");
    }
}

/// Case 14: the lock.
pub(crate) async fn a_parked_order_keeps_no_subscription_from_ending(gateway: GatewayName) {
    for (env, subscriber, event, paid) in attempts(gateway) {
        env.cleeng.change_quirks(|quirks| quirks.order_total = Some("9.990000000000000213"));
        env.run_event(&event).await;
        assert_can_be_terminated(&env, &subscriber, &format!("{paid:?}")).await;
    }
}

/// Case 15: the keys and the payment of the next try are its own.
pub(crate) async fn what_was_abandoned_can_be_tried_again_by_the_same_event(gateway: GatewayName) {
    for (env, subscriber, event, paid) in attempts_with_short_deadline(gateway) {
        park_as_unknown(&env, gateway, &event).await;
        assert_eq!(decide(&env, &period(&subscriber), Decision::Abandon).await, Some(None), "{paid:?}");
        assert_eq!(parked_reasons(&env).await, Vec::<String>::new(), "{paid:?}");
        let taken = env.run_event(&event).await;
        assert!(matches!(taken, Disposition::Completed(CompletionReason::Authorised | CompletionReason::Captured)), "{paid:?}: {taken:?}");
        assert_once(&env, gateway, &paid, "abandoned, then replayed");
    }
}

fn attempts_with_short_deadline(gateway: GatewayName) -> [(TestEnvironment, TestSubscriber, SentWebhook, PaymentStatus); 2] {
    let environment = || TestEnvironment::new(|policy| policy.unknown_deadline = 3 * HOUR);
    let (held, taken) = (environment(), environment());
    let of_held = held.subscriber(held.gateway(gateway).method);
    let of_taken = taken.subscriber(taken.gateway(gateway).capture_only_method);
    held.clock.advance_to(of_held.due.before(72 * HOUR));
    taken.clock.advance_to(of_taken.due);
    let (authorisation, charge) = (held.authorisation_event(&of_held, 72), taken.capture_event(&of_taken));
    [(held, of_held, authorisation, PaymentStatus::Authorised), (taken, of_taken, charge, PaymentStatus::Captured)]
}

/// Nothing reaches the gateway, and nobody knows.
async fn park_as_unknown(env: &TestEnvironment, gateway: GatewayName, event: &SentWebhook) {
    break_payments(env, gateway, &Fault::TimeoutBefore);
    assert_eq!(env.deliver_until_settled(event).await, Disposition::Parked(ParkReason::OutcomeUnknown));
    env.network.clear_faults();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Abandon,
    Retry,
    Replay,
    Redrive,
}

const ACTS: [Act; 4] = [Act::Abandon, Act::Retry, Act::Replay, Act::Redrive];

/// In every order after one another, with an hour in between: the money is taken once, and nothing is stuck.
pub(crate) async fn abandon_retry_replay_and_redrive_work_in_every_order(gateway: GatewayName) {
    for first in ACTS {
        for second in ACTS.into_iter().filter(|act| *act != first) {
            for third in ACTS.into_iter().filter(|act| *act != first && *act != second) {
                for (env, subscriber, event, paid) in attempts_with_short_deadline(gateway) {
                    let context = format!("{first:?}, {second:?}, {third:?}, {paid:?}");
                    park_as_unknown(&env, gateway, &event).await;
                    for act in [first, second, third, Act::Retry, Act::Abandon, Act::Replay] {
                        let result = match act {
                            Act::Abandon => decide(&env, &period(&subscriber), Decision::Abandon).await.flatten(),
                            Act::Retry => decide(&env, &period(&subscriber), Decision::Retry).await.flatten(),
                            Act::Replay => Some(env.run_event(&event).await),
                            Act::Redrive => Some(env.deliver(&event).await),
                        };
                        let contended = |reason: &RetryReason| *reason == RetryReason::JournalContended;
                        assert!(
                            !matches!(&result, Some(Disposition::Retry { reason, .. }) if contended(reason)),
                            "{context}, {act:?}: {result:?}"
                        );
                        env.clock.advance(HOUR);
                    }
                    assert_once(&env, gateway, &paid, &context);
                    assert_eq!(parked_reasons(&env).await, Vec::<String>::new(), "{context}");
                }
            }
        }
    }
}

/// An outage of hours: one alarm for the gateway, the event waits in the journal, and the money is taken when the gateway is back.
pub(crate) async fn an_outage_of_hours_waits_in_the_journal_and_rings_for_the_gateway(gateway: GatewayName) {
    for (env, _, event, paid) in attempts(gateway) {
        break_payments(&env, gateway, &Fault::StatusBefore(429));
        let mut deliveries = 0;
        while let Disposition::Retry { .. } = env.deliver(&event).await {
            deliveries += 1;
            assert!(deliveries < 20, "an event that waits is no message for long");
            env.clock.advance(Duration::from_secs(600));
        }
        assert!(env.metrics.count(Metric::GatewayUnavailable, gateway.as_str()) > 0);
        env.network.clear_faults();
        env.clock.advance(HOUR);
        let report = env.run_reconciliation().await;
        assert_eq!(report.requeued, 1, "{paid:?}: {report:?}");
        env.run_until_idle().await;
        assert_once(&env, gateway, &paid, "after the outage");
    }
}

/// An outage of more than a day parks, and a retry is charged only if it is still due.
pub(crate) async fn an_outage_of_a_day_parks_and_a_retry_asks_cleeng_first(gateway: GatewayName) {
    for still_due in [true, false] {
        for (env, subscriber, event, paid) in attempts(gateway) {
            break_payments(&env, gateway, &Fault::StatusBefore(429));
            let parked = env.deliver_until_settled(&event).await;
            assert_eq!(parked, Disposition::Parked(ParkReason::GatewayUnavailable), "{paid:?}");
            env.network.clear_faults();
            if !still_due {
                env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Stopped);
            }
            decide(&env, &period(&subscriber), Decision::Retry).await.unwrap();
            env.run_event(&event).await;
            if still_due {
                assert_once(&env, gateway, &paid, "retried");
            } else {
                let kept: Vec<_> = approved_entries(&env, gateway).into_iter().filter(LedgerEntry::holds_money).collect();
                assert_eq!((kept, statuses(&env)), (Vec::new(), Vec::new()), "{paid:?}");
            }
        }
    }
}

/// A termination waits for money that may have been taken, in the journal, and not for ever.
pub(crate) async fn a_termination_waits_for_an_unknown_payment_and_not_for_ever(gateway: GatewayName) {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore] {
        let (env, subscriber) = due_to_be_charged(gateway);
        break_payments(&env, gateway, &fault);
        // Nobody can be asked either.
        let name = env.gateway(gateway).simulator.name();
        for _ in 0..900 {
            let is_question = move |peer: &str, request: &ServerRequest| peer == name && request.method == connector::http::Method::GET;
            env.network.inject(Fault::StatusBefore(503), is_question);
        }
        assert!(matches!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Retry { .. }));
        env.clock.advance(2 * HOUR);
        let termination = env.termination_event(&subscriber);
        let waits = Disposition::Retry { after: None, reason: RetryReason::PaymentInFlight };
        assert_eq!(env.deliver(&termination).await, waits);
        env.clock.advance(2 * HOUR);
        assert_eq!(env.deliver(&termination).await, Disposition::Postponed(RetryReason::PaymentInFlight));
        assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status, SubscriptionStatus::Active);
        env.clock.advance(50 * HOUR);
        assert_eq!(env.deliver(&termination).await, Disposition::Completed(CompletionReason::Terminated));
        assert_eq!(env.cleeng.subscription(&subscriber.ids.subscription).unwrap().status, SubscriptionStatus::Terminated);
    }
}
