//! What a dry run tells is what a run does.

use std::collections::BTreeMap;

use connector::clock::{Clock as _, Timestamp};
use connector::gateway::Reference;
use connector::journal::record::{Attempt, AttemptKind, Finish, Lease, Obligation};
use connector::journal::store::{Key, Put, Store as _};
use connector::journal::transaction::Transaction;
use connector::payments::subscription_state::SubscriptionState;
use reconciliation::plan::plan;
use sandbox::testkit::harness::TestEnvironment;
use serde::Serialize;

use crate::reconciliation::{HOUR, watched};
use crate::support::newer_release::{bodies, newer_body};

fn open_obligation(now: Timestamp, change: impl FnOnce(&mut Obligation, &mut Attempt)) -> Obligation {
    let mut obligation = Obligation::new();
    let mut attempt = Attempt::opened(AttemptKind::Capture, now.before(HOUR), now.before(HOUR));
    change(&mut obligation, &mut attempt);
    obligation.push(attempt);
    obligation
}

fn subscription_state(is_watched: bool, in_flight: bool) -> SubscriptionState {
    SubscriptionState {
        last_billing_event: watched().last_billing_event.filter(|_| is_watched),
        in_flight: in_flight.then(|| "period#1#2".to_owned()),
        ..SubscriptionState::default()
    }
}

fn text(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap()
}

/// A document for everything that a plan can say.
fn documents(now: Timestamp) -> Vec<(&'static str, Key, String)> {
    let reference = Reference::parse("clg-123e4567-e89b-82d3-a456-426614174000").unwrap();
    let key = |kind: &str, name: &str| Key::new(kind, &[name]);
    let open = || text(&open_obligation(now, |_, _| {}));
    let waiting = |queued_until| {
        text(&open_obligation(now, |_, attempt| {
            (attempt.waiting_event, attempt.queued_until) = (Some("an event".to_owned()), queued_until);
        }))
    };
    let leased = |obligation: &mut Obligation, _: &mut Attempt| {
        obligation.lease = Some(Lease { owner: "a worker".to_owned(), until: now.after(HOUR) });
    };
    let claimed = |obligation: &mut Obligation, _: &mut Attempt| obligation.claimed_at = Some(now);
    let settled = |_: &mut Obligation, attempt: &mut Attempt| attempt.finish = Some(Finish::Captured);
    vec![
        ("continue_without_customer", key("order", "1"), open()),
        ("continue_without_customer", key("details", "1"), open()),
        ("continue_reversal", key("reversal", reference.as_str()), open()),
        ("continue_release", key("obsolete-authorisation", reference.as_str()), open()),
        ("requeue", key("period", "1"), waiting(None)),
        ("leave_to_queue", key("period", "2"), waiting(Some(now.after(HOUR)))),
        ("leave_to_queue", key("period", "3"), open()),
        ("leave_to_worker", key("period", "4"), text(&open_obligation(now, leased))),
        ("leave_to_worker", key("order", "2"), text(&open_obligation(now, claimed))),
        ("settled", key("period", "5"), text(&open_obligation(now, settled))),
        ("unreadable", key("period", "6"), newer_body(&open())),
        ("unreadable", key("order", "3"), "{}".to_owned()),
        ("unreadable", key("subscription", "1"), newer_body(&text(&subscription_state(true, false)))),
        ("check_subscription", key("subscription", "2"), text(&subscription_state(true, false))),
        ("leave_in_flight", key("subscription", "3"), text(&subscription_state(true, true))),
        ("settled", key("subscription", "4"), text(&subscription_state(false, false))),
    ]
}

#[tokio::test]
async fn a_run_does_what_the_dry_run_told_about_every_document() {
    let env = TestEnvironment::default();
    let now = env.clock.now();
    let documents = documents(now);
    let keys: Vec<Key> = documents.iter().map(|(_, key, _)| key.clone()).collect();
    for (_, key, body) in &documents {
        let (due_at, body) = (Some(now), body.clone());
        env.store
            .commit(&[Put { key: key.clone(), expected_version: None, body, due_at, parked_since: None, expires_at: None }])
            .await
            .unwrap();
    }
    let mut transaction = Transaction::new(env.flow_context.store.clone());
    transaction.load(&keys).await.unwrap();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (expected, key, _) in &documents {
        let action = plan(&transaction, key, now);
        assert_eq!(action.as_str(), *expected, "{key}");
        *counts.entry(action.as_str()).or_default() += 1;
    }

    let before = bodies(&env.flow_context.store, &keys).await;
    let report = env.run_reconciliation().await;
    let after = bodies(&env.flow_context.store, &keys).await;
    let still_due = env.store.due(now, 100).await.unwrap();
    for ((planned, key, _), (before, after)) in documents.iter().zip(before.iter().zip(&after)) {
        let untouched = ["settled", "unreadable", "leave_to_worker"].contains(planned);
        assert_eq!(still_due.contains(key), untouched && *planned != "unreadable", "{key} {planned}");
        assert_eq!(before == after, untouched || *planned == "leave_in_flight", "{key} {planned}: {after}");
    }
    assert_eq!((report.requeued, env.requeue.take_events()), (counts["requeue"], vec!["an event".to_owned()]));
    assert_eq!((report.due, report.checked), (12, 4), "{report:?}");
    let ended = report.finished + report.released;
    let postponed = ["unreadable", "leave_to_queue", "leave_to_worker", "leave_in_flight"].map(|plan| counts[plan]).iter().sum::<u32>();
    let continued = ["continue_without_customer", "continue_reversal", "continue_release"].map(|plan| counts[plan]).iter().sum::<u32>();
    assert_eq!(ended + report.deferred, postponed + continued, "{report:?}");
    assert_eq!((report.failed, report.recovered), (0, 0), "{report:?}");
}
