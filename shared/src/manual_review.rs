//! What an operator may decide about parked work, and how the decision changes the journal. Must never send anything to a gateway or to
//! Cleeng: a flow does that, when its event is delivered again.
//!
//! | decision | meaning | effect on the attempt |
//! |---|---|---|
//! | done | both sides were reconciled by hand | it stays parked for good, so that no other attempt of this obligation opens after money may have moved; it raises no more alarms |
//! | retry | the cause is fixed | it continues where it stopped: what is finished is not done again, an unknown outcome is queried first. An attempt that had not begun anything is removed from the record, and every guard checks its event again |
//! | abandon | the customer's money did not move, and nothing is to be done | it is finished, and the next event of the same obligation may try again |
//!
//! Every decision is a conditional write, and stays in the record with its author and reason.

use std::sync::Arc;

use thiserror::Error;

use crate::clock::Timestamp;
use crate::gateway::Reference;
use crate::ids::SubscriptionId;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::operator_decision::{OperatorDecision, RETRY};
use crate::journal::record::{Attempt, AttemptKind, Finish, Obligation, StepStatus};
use crate::journal::store::{END_OF_TIME, Key, List, Store, StoreError, load_each};
use crate::journal::transaction::{Retention, Transaction, read_document};
use crate::journal::{JournalError, SETTLED_RETENTION};
use crate::payments::subscription_state::SubscriptionState;
use crate::reason::ParkReason;

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Both sides were reconciled by hand.
    Done,
    /// The cause is fixed: continue.
    Retry,
    /// Nothing happened, and nothing is to be done.
    Abandon,
}

impl Decision {
    /// A stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => RETRY,
            Self::Abandon => "abandon",
        }
    }
}

/// A decision with its author.
#[derive(Clone, Debug)]
pub struct DecisionRequest {
    /// What.
    pub decision: Decision,
    /// Who decides; at most 100 characters.
    pub by: String,
    /// Why; at most 500 characters.
    pub note: String,
    /// The operator checked at the gateway that it took no money.
    pub no_money_moved: bool,
}

/// Why a decision is not carried out. Nothing was written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecisionError {
    /// There is no such obligation.
    #[error("the journal has no such obligation")]
    NotFound,
    /// Nothing of it is parked.
    #[error("nothing of it is parked: it was decided about already, or went on by itself")]
    NotParked,
    /// A worker holds the lease.
    #[error("a function is at it right now; try again in two minutes")]
    InProgress,
    /// The author or the reason is missing or too long.
    #[error("the decision needs an author (at most 100 characters) and a reason (at most 500)")]
    Unsigned,
    /// It may have taken money.
    #[error(
        "it is unknown whether money moved: look at the gateway; if it took none, say so; if it did, bring Cleeng into line and decide done"
    )]
    MoneyUnknown,
    /// Its event was not kept.
    #[error("the event that it came from is not in the record: let it be sent again, or settle it by hand and decide done")]
    NoEvent,
    /// A later attempt exists.
    #[error("a later attempt of the same obligation exists, which is the one that counts: decide done or abandon")]
    NotLast,
    /// Its refund lost its reservation.
    #[error(
        "the refund's reservation was given up when it was parked: have Cleeng ask for the refund again, or refund by hand and decide done"
    )]
    ReservationGone,
    /// Another period of the subscription is in flight.
    #[error("another period of the subscription is being worked on; try again when it is settled")]
    OtherInFlight,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A parked attempt, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedAttempt {
    /// The obligation.
    pub key: Key,
    /// What the attempt was about; `None` for a record that cannot be read.
    pub kind: Option<AttemptKind>,
    /// When it was opened.
    pub since: Option<Timestamp>,
    /// Why it was parked.
    pub reason: String,
    /// Whether it is unknown what happened to the customer's money.
    pub money_unknown: bool,
    /// The payment.
    pub reference: Option<Reference>,
}

/// Everything that is parked, the longest parked first, and the records that cannot be read before it. A parked attempt with a later one in
/// flight beside it may be missing until that one is finished: it is listed as due then.
///
/// # Errors
/// [`StoreError`].
pub async fn list_parked(store: &dyn Store, limit: usize) -> Result<Vec<ParkedAttempt>, StoreError> {
    let mut keys = store.parked(limit).await?;
    let unreadable = store.list(List::Unreadable, END_OF_TIME, None, limit).await?;
    let mut found: Vec<ParkedAttempt> = unreadable.iter().map(|listed| unreadable_record(&listed.key)).collect();
    // What is also due is found among what is due.
    for key in store.due(END_OF_TIME, DUE_SCAN_LIMIT).await? {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    for batch in keys.chunks(crate::journal::store::MAX_BATCH) {
        for (key, stored) in batch.iter().zip(load_each(store, batch).await?) {
            let stored = match stored {
                Ok(Some(stored)) => stored,
                Ok(None) => continue,
                Err(_) => {
                    found.push(unreadable_record(key));
                    continue;
                }
            };
            let is_subscription = key.as_str().starts_with("subscription#");
            match read_document::<Obligation>(&stored.body) {
                Err(_) if is_subscription && read_document::<SubscriptionState>(&stored.body).is_ok() => {}
                Ok(obligation) => found.extend(obligation.attempts.iter().filter_map(|attempt| parked_attempt(key, attempt))),
                Err(_) => found.push(unreadable_record(key)),
            }
        }
    }
    found.sort_by(|one, other| (one.since, &one.key).cmp(&(other.since, &other.key)));
    found.truncate(limit);
    Ok(found)
}

/// How many due documents are searched for something parked beside it.
const DUE_SCAN_LIMIT: usize = 1_000;

/// A record that reconciliation cannot read, and rings for.
fn unreadable_record(key: &Key) -> ParkedAttempt {
    let reason = ParkReason::DueDocumentUnreadable.as_str().to_owned();
    ParkedAttempt { key: key.clone(), kind: None, since: None, reason, money_unknown: true, reference: None }
}

fn parked_attempt(key: &Key, attempt: &Attempt) -> Option<ParkedAttempt> {
    let Some(Finish::Parked { reason, money_unknown, resolved: false }) = &attempt.finish else { return None };
    Some(ParkedAttempt {
        key: key.clone(),
        kind: Some(attempt.kind),
        since: Some(attempt.opened_at),
        reason: reason.clone(),
        money_unknown: *money_unknown,
        reference: attempt.reference.clone(),
    })
}

/// A decision that can be carried out, and has not been yet.
pub struct PreparedDecision {
    work: Transaction,
    key: Key,
    obligation: Obligation,
    subscription_state: Option<(Key, SubscriptionState)>,
    now: Timestamp,
    before: Obligation,
    /// The event that has to be requeued when the journal is written; `None` if a run of reconciliation continues without an event.
    pub event: Option<String>,
    /// What it is about.
    pub affected: Vec<ParkedAttempt>,
    /// Whether the attempt is removed from the record, and its event with it.
    attempt_removed: bool,
}

impl PreparedDecision {
    /// Checks whether a decision may be carried out, and prepares it.
    ///
    /// # Errors
    /// [`DecisionError`].
    pub async fn prepare(store: &Arc<dyn Store>, key: &Key, order: &DecisionRequest, now: Timestamp) -> Result<Self, DecisionError> {
        if !(1..=100).contains(&order.by.trim().chars().count()) || !(1..=500).contains(&order.note.trim().chars().count()) {
            return Err(DecisionError::Unsigned);
        }
        let mut work = Transaction::new(Arc::clone(store));
        work.load(std::slice::from_ref(key)).await?;
        let before: Obligation = work.read(key)?.ok_or(DecisionError::NotFound)?;
        let head_key = load_subscription_state(&mut work, key).await?;
        let head: Option<SubscriptionState> = head_key.as_ref().map_or(Ok(None), |key| work.read(key))?;
        let affected: Vec<ParkedAttempt> = before.attempts.iter().filter_map(|attempt| parked_attempt(key, attempt)).collect();
        if affected.is_empty() {
            return Err(DecisionError::NotParked);
        }
        if before.lease.as_ref().is_some_and(|lease| lease.until > now) {
            return Err(DecisionError::InProgress);
        }
        let head = head_key.zip(head);
        let mut plan = Self {
            work,
            key: key.clone(),
            obligation: before.clone(),
            subscription_state: head,
            now,
            before,
            event: None,
            affected,
            attempt_removed: false,
        };
        plan.record_decision(order);
        match order.decision {
            Decision::Done => plan.mark_done(),
            Decision::Abandon => plan.abandon(order.no_money_moved)?,
            Decision::Retry => plan.retry()?,
        }
        Ok(plan)
    }

    fn record_decision(&mut self, order: &DecisionRequest) {
        for attempt in self.before.attempts.iter().filter(|attempt| attempt.is_parked()) {
            let Some(Finish::Parked { reason, .. }) = &attempt.finish else { continue };
            self.obligation.record_decision(OperatorDecision {
                at: self.now,
                by: order.by.trim().to_owned(),
                decision: order.decision.as_str().to_owned(),
                note: order.note.trim().to_owned(),
                reason: reason.clone(),
                kind: attempt.kind,
                due: attempt.due,
            });
        }
    }

    fn mark_done(&mut self) {
        for attempt in self.obligation.attempts.iter_mut().filter(|attempt| attempt.is_parked()) {
            attempt.waiting_event = None;
            if let Some(Finish::Parked { resolved, .. }) = &mut attempt.finish {
                *resolved = true;
            }
        }
    }

    fn abandon(&mut self, no_money_moved: bool) -> Result<(), DecisionError> {
        let unknown = self.affected.iter().any(|parked| parked.money_unknown);
        if unknown && !no_money_moved {
            return Err(DecisionError::MoneyUnknown);
        }
        for attempt in self.obligation.attempts.iter_mut().filter(|attempt| attempt.is_parked()) {
            attempt.waiting_event = None;
            attempt.finish = Some(Finish::Abandoned);
        }
        // A charge that may have happened counted like one that did; now it is known that it did not.
        let period = period_end(&self.key);
        if let Some((_, head)) = &mut self.subscription_state
            && head.last_charge.as_ref().is_some_and(|charge| unknown && !charge.certain && Some(charge.expiration.secs()) == period)
        {
            head.last_charge = None;
        }
        Ok(())
    }

    fn retry(&mut self) -> Result<(), DecisionError> {
        let Some(attempt) = self.obligation.attempts.last_mut().filter(|attempt| attempt.is_parked()) else {
            return Err(DecisionError::NotLast);
        };
        let by_reconciliation = is_resumed_by_reconciliation(&self.key) || attempt.kind == AttemptKind::LateSuccess;
        if attempt.waiting_event.is_none() && !by_reconciliation && !attempt.recovered {
            return Err(DecisionError::NoEvent);
        }
        if attempt.steps.iter().all(|step| step.state == StepStatus::NoEffect) && !by_reconciliation {
            // Nothing was begun: every guard checks the event again.
            self.event = attempt.waiting_event.take();
            self.obligation.attempts.pop();
            self.attempt_removed = true;
            return Ok(());
        }
        let refund_made = attempt.step("refund").is_some_and(|step| matches!(step.state, StepStatus::Done(_)));
        if attempt.kind == AttemptKind::Refund && !refund_made {
            return Err(DecisionError::ReservationGone);
        }
        let without_effect = attempt.finish.as_ref().and_then(Finish::park_reason).is_some_and(ParkReason::is_impossible_request);
        for step in attempt.steps.iter_mut().filter(|step| without_effect && step.state == StepStatus::Started) {
            step.no_effect_count = step.no_effect_count.saturating_add(1);
            step.state = StepStatus::NoEffect;
        }
        attempt.finish = None;
        self.event.clone_from(&attempt.waiting_event);
        match &mut self.subscription_state {
            Some((_, head)) if head.in_flight.as_deref().is_some_and(|other| other != self.key.as_str()) => {
                Err(DecisionError::OtherInFlight)
            }
            Some((_, head)) => {
                head.in_flight = Some(self.key.as_str().to_owned());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether the event will be only on its queue. Otherwise the journal keeps it, and a run of reconciliation requeues it if its queue
    /// cannot be reached now.
    #[must_use]
    pub const fn event_needs_queue(&self) -> bool {
        self.event.is_some() && self.attempt_removed
    }

    /// Writes it, if everything is as it was when the decision was prepared.
    ///
    /// # Errors
    /// [`DecisionError::Journal`].
    pub async fn commit(&mut self) -> Result<(), DecisionError> {
        let (obligation, head) = (self.obligation.clone(), self.subscription_state.clone());
        self.write(&obligation, head).await
    }

    /// Parks it again, after its event could not be put on its queue. The decision stays in the record.
    ///
    /// # Errors
    /// [`DecisionError::Journal`]; then only [`PreparedDecision::event`] still has the event.
    pub async fn revert(&mut self) -> Result<(), DecisionError> {
        let before = Obligation { decisions: self.obligation.decisions.clone(), ..self.before.clone() };
        self.write(&before, None).await
    }

    async fn write(&mut self, obligation: &Obligation, head: Option<(Key, SubscriptionState)>) -> Result<(), DecisionError> {
        let unsettled = !obligation.is_settled();
        let keep = Retention {
            // At once: the next run requeues it, even if this process crashes.
            due_at: unsettled.then_some(self.now),
            parked_since: obligation.parked_since(),
            expires_at: (!unsettled && !obligation.is_parked()).then(|| self.now.after(SETTLED_RETENTION)),
        };
        self.work.stage(&self.key, obligation, keep)?;
        if let Some((key, head)) = head {
            let keep = Retention { due_at: head.due_at(self.now), expires_at: head.expires_at(self.now), ..Retention::default() };
            self.work.stage(&key, &head, keep)?;
        }
        Ok(self.work.commit().await?)
    }
}

/// The state of the subscription that an obligation belongs to, loaded: the flows that mark it name the subscription in the key, or the
/// payment.
async fn load_subscription_state(work: &mut Transaction, key: &Key) -> Result<Option<Key>, JournalError> {
    let mut parts = key.as_str().split('#');
    let subscription = match (parts.next(), parts.next()) {
        (Some("period" | "termination"), Some(subscription)) => SubscriptionId::new(subscription).ok(),
        (Some("release" | "obsolete-authorisation"), Some(reference)) => match Reference::parse(reference) {
            Some(reference) => {
                let payment = PaymentRecord::key(&reference);
                work.load(std::slice::from_ref(&payment)).await?;
                work.read::<PaymentRecord>(&payment)?.and_then(|payment| payment.subscription)
            }
            None => None,
        },
        _ => None,
    };
    let Some(head) = subscription.map(|subscription| SubscriptionState::key(&subscription)) else { return Ok(None) };
    work.load(std::slice::from_ref(&head)).await?;
    Ok(Some(head))
}

/// The end of a period, in unix seconds.
fn period_end(key: &Key) -> Option<i64> {
    key.as_str().strip_prefix("period#")?.split('#').nth(1)?.parse().ok()
}

/// Whether a run of reconciliation continues the obligation without any event.
fn is_resumed_by_reconciliation(key: &Key) -> bool {
    matches!(key.as_str().split('#').next(), Some("order" | "details" | "reversal" | "obsolete-authorisation"))
}

#[cfg(test)]
mod tests;
