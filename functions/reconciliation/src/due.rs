//! Whatever is due, one after the other, the longest due first.
//!
//! Before anything is done about a document its time to look again is moved on, under the condition that nobody wrote it meanwhile: so two rounds
//! at once never do the same, a round that dies does not begin with the same document for ever, and one that cannot be helped does not keep the
//! others from being looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use connector::checkout::expire_purchase;
use connector::checkout::reversal::reverse;
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext, RunReport};
use connector::gateway::Reference;
use connector::journal::QUEUE_REDELIVERY_WINDOW;
use connector::journal::record::Obligation;
use connector::journal::session::recheck_interval;
use connector::journal::store::{CommitError, Key, Put, StoredDocument};
use connector::metrics::Metric;

use crate::missed_events::{self, CheckResult};
use crate::obsolete_authorisations;

/// So many documents are asked for at a time.
const PAGE_SIZE: usize = 25;
/// A document is not begun unless so much time is left: the longest call to a gateway and back, twice.
const MIN_TIME_PER_ITEM: Duration = Duration::from_secs(45);

/// The index of what is due lags behind the writes by this much at the most (usually by less than a second).
const MAX_INDEX_LAG: Duration = Duration::from_secs(60);

/// One round. Ends when nothing more is due, or when the time is used up; the rest is still due then.
pub(crate) async fn run_once(flow_context: &FlowContext, delivery: &Delivery) -> RunReport {
    let mut report = RunReport::default();
    let mut seen = BTreeSet::new();
    let mut slow_down = false;
    loop {
        let now = flow_context.clock.now();
        let found = match flow_context.store.due(now, PAGE_SIZE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "due items cannot be listed");
                report.failed = report.failed.saturating_add(1);
                return report;
            }
        };
        // The index may lag behind the writes and show again what was done.
        let fresh: Vec<Key> = found.into_iter().filter(|key| seen.insert(key.clone())).collect();
        if fresh.is_empty() {
            return report;
        }
        for key in fresh {
            if flow_context.clock.now().after(MIN_TIME_PER_ITEM) > delivery.deadline {
                tracing::info!("time is used up; the next run continues");
                return report;
            }
            if key.as_str().starts_with("subscription#") {
                check_subscription(flow_context, &key, delivery, &mut report, &mut slow_down).await;
                continue;
            }
            report.due = report.due.saturating_add(1);
            let result = match claim(flow_context, &key).await {
                Claim::Claimed(obligation) => process_item(flow_context, &key, &obligation, delivery).await,
                Claim::Busy => ItemResult::Deferred,
                Claim::Gone => continue,
                Claim::Failed => ItemResult::Failed,
            };
            count_result(&mut report, &key, result);
        }
    }
}

/// Looks whether the next event of a subscription came, unless Cleeng asked to slow down before.
async fn check_subscription(flow_context: &FlowContext, key: &Key, delivery: &Delivery, report: &mut RunReport, slow_down: &mut bool) {
    if *slow_down {
        return;
    }
    report.checked = report.checked.saturating_add(1);
    let counter = match missed_events::check(flow_context, key, &child_delivery(delivery, key)).await {
        CheckResult::UpToDate => return,
        CheckResult::Released => &mut report.released,
        CheckResult::Recovered => &mut report.recovered,
        CheckResult::Deferred => &mut report.deferred,
        CheckResult::Throttled => {
            tracing::warn!("Cleeng throttles; subscriptions are checked in the next run");
            *slow_down = true;
            &mut report.deferred
        }
        CheckResult::Failed => &mut report.failed,
    };
    *counter = counter.saturating_add(1);
}

enum Claim {
    /// It is ours until it is due again.
    Claimed(Box<Obligation>),
    /// Somebody is at it, or was in the meantime.
    Busy,
    /// It is settled, or not there any more.
    Gone,
    /// The journal cannot be read or written.
    Failed,
}

/// One document as it is; nothing where there is none. `Err` where the journal cannot be read.
pub(crate) async fn load(flow_context: &FlowContext, key: &Key) -> Result<Option<StoredDocument>, ()> {
    flow_context.store.load(std::slice::from_ref(key)).await.map(|mut found| found.pop().flatten()).map_err(|_| ())
}

/// Moves the document's time on.
async fn claim(flow_context: &FlowContext, key: &Key) -> Claim {
    let stored = match load(flow_context, key).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return Claim::Gone,
        Err(()) => return Claim::Failed,
    };
    let Ok(mut obligation) = serde_json::from_str::<Obligation>(&stored.body) else {
        tracing::error!(obligation = %key, "a due document cannot be read");
        flow_context.metrics.count(Metric::Parked, &[("reason", "due_document_unreadable")]);
        return Claim::Busy;
    };
    let now = flow_context.clock.now();
    if is_claimed(&obligation, now) {
        return Claim::Busy;
    }
    if is_settled(&obligation) {
        return Claim::Gone;
    }
    record_age(flow_context, &obligation, now);
    obligation.claimed_at = Some(now);
    let Ok(body) = serde_json::to_string(&obligation) else { return Claim::Failed };
    let due_at = Some(now.after(recheck_interval(&obligation, now)));
    let put = Put { key: key.clone(), expected_version: Some(stored.version), body, due_at, parked_since: None, expires_at: None };
    match flow_context.store.commit(&[put]).await {
        Ok(()) => Claim::Claimed(Box::new(obligation)),
        Err(CommitError::Conflict) => Claim::Busy,
        Err(CommitError::NotWritten(_) | CommitError::Unknown) => Claim::Failed,
    }
}

/// Whether a function is at it, or another round was a moment ago, behind which the index may lag.
pub(crate) fn is_claimed(obligation: &Obligation, now: Timestamp) -> bool {
    let recently_claimed = obligation.claimed_at.is_some_and(|at| now.since(at) < MAX_INDEX_LAG);
    recently_claimed || is_leased(obligation, now)
}

fn is_leased(obligation: &Obligation, now: Timestamp) -> bool {
    obligation.lease.as_ref().is_some_and(|lease| lease.until > now)
}

/// Whether nothing is left to be done.
pub(crate) fn is_settled(obligation: &Obligation) -> bool {
    obligation.current_attempt().is_none() && !obligation.needs_cleanup
}

fn record_age(flow_context: &FlowContext, obligation: &Obligation, now: Timestamp) {
    let opened = obligation.current_attempt().map(|attempt| attempt.opened_at);
    if let Some(opened) = opened {
        flow_context.metrics.duration(Metric::DueAge, now.since(opened), &[]);
    }
}

/// What a document is about, and the rest of its key.
pub(crate) fn kind_of(key: &Key) -> (&str, &str) {
    key.as_str().split_once('#').unwrap_or((key.as_str(), ""))
}

enum ItemResult {
    Requeued,
    Finished,
    Released,
    Deferred,
    Failed,
}

async fn process_item(flow_context: &FlowContext, key: &Key, obligation: &Obligation, delivery: &Delivery) -> ItemResult {
    let (kind, rest) = kind_of(key);
    let child = child_delivery(delivery, key);
    match kind {
        "order" | "details" => item_result(expire_purchase(flow_context, key, &child).await),
        "reversal" => match Reference::parse(rest) {
            Some(reference) => item_result(reverse(flow_context, &reference, None, &child).await),
            None => ItemResult::Deferred,
        },
        obsolete_authorisations::KEY_KIND => match Reference::parse(rest) {
            Some(reference) => release_result(obsolete_authorisations::resume_release(flow_context, &reference, &child).await),
            None => ItemResult::Deferred,
        },
        _ => requeue_waiting_event(flow_context, key, obligation).await,
    }
}

/// What is done about a document has leases of its own.
fn child_delivery(delivery: &Delivery, key: &Key) -> Delivery {
    Delivery { id: format!("{}/{key}", delivery.id), ..delivery.clone() }
}

fn release_result(disposition: Disposition) -> ItemResult {
    if disposition == Disposition::Completed("released") { ItemResult::Released } else { item_result(disposition) }
}

fn item_result(disposition: Disposition) -> ItemResult {
    match disposition {
        Disposition::Completed(_) | Disposition::Parked(_) | Disposition::NotOurs => ItemResult::Finished,
        Disposition::Retry { .. } => ItemResult::Deferred,
    }
}

/// The event that waits goes back to its queue, unless it is there. A copy too many is harmless, but each stays until the wait is over.
async fn requeue_waiting_event(flow_context: &FlowContext, key: &Key, obligation: &Obligation) -> ItemResult {
    let attempt = obligation.current_attempt().filter(|attempt| !attempt.is_queued(flow_context.clock.now()));
    let Some(event) = attempt.and_then(|attempt| attempt.waiting_event.as_deref()) else { return ItemResult::Deferred };
    match flow_context.requeue.requeue(event).await {
        Ok(()) => {
            record_requeued_copy(flow_context, key).await;
            ItemResult::Requeued
        }
        Err(error) => {
            tracing::error!(obligation = %key, %error, "a waiting event could not be requeued");
            ItemResult::Failed
        }
    }
}

/// Remembers that there is a copy again, for as long as its queue delivers it. Whatever keeps this from being written, a function that is at it
/// first of all, one copy more is harmless.
async fn record_requeued_copy(flow_context: &FlowContext, key: &Key) {
    let Ok(Some(stored)) = load(flow_context, key).await else { return };
    let Ok(mut obligation) = serde_json::from_str::<Obligation>(&stored.body) else { return };
    let now = flow_context.clock.now();
    if is_leased(&obligation, now) {
        return;
    }
    let Some(attempt) = obligation.current_attempt_mut() else { return };
    attempt.queued_until = Some(now.after(QUEUE_REDELIVERY_WINDOW));
    let Ok(body) = serde_json::to_string(&obligation) else { return };
    let due_at = Some(now.after(recheck_interval(&obligation, now)));
    let put = Put { key: key.clone(), expected_version: Some(stored.version), body, due_at, parked_since: None, expires_at: None };
    let _one_more_copy_is_harmless = flow_context.store.commit(&[put]).await;
}

fn count_result(report: &mut RunReport, key: &Key, result: ItemResult) {
    let (counter, outcome) = match result {
        ItemResult::Requeued => (&mut report.requeued, "requeued"),
        ItemResult::Finished => (&mut report.finished, "finished"),
        ItemResult::Released => (&mut report.released, "released"),
        ItemResult::Deferred => (&mut report.deferred, "deferred"),
        ItemResult::Failed => (&mut report.failed, "failed"),
    };
    *counter = counter.saturating_add(1);
    tracing::info!(obligation = %key, outcome = outcome, "due item processed");
}
