//! Billing webhooks that never came. Cleeng promises no retry, so every subscription that the journal knows is looked at when its next event
//! should have been here: Cleeng is asked what it expects, and an event that the journal never heard of is put on its function's queue, as Cleeng
//! would have sent it. Should it come late after all, it is a repetition.
//!
//! Limits: the event of a subscription whose payment details came to be elsewhere, and that no webhook named here yet, cannot be made up for, because
//! Cleeng gives their token to nobody but in webhooks; that is alarmed. That nobody pays for a subscription any more is Cleeng's to say: its termination is made
//! up for only where the subscription was stopped.

use std::time::Duration;

use connector::cleeng::{CleengError, Subscription, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext};
use connector::ids::PaymentMethodId;
use connector::journal::record::Obligation;
use connector::journal::store::{Key, Put, StoredDocument};
use connector::metrics::Metric;
use connector::payments::subscription_state::SubscriptionState;
use connector::renewal::eligibility;
use connector::renewal::expected_event::{BillingAction, CHECK_IN_FLIGHT, DELIVERY_SLACK, ExpectedEvent, LastBillingEvent};

use crate::due::load;
use crate::obsolete_authorisations;

/// What was looked at in vain is looked at again so much later.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// An event that was made up for should be settled by then.
const AFTER_RECOVERY: Duration = Duration::from_secs(1800);
/// A subscription that rests.
const PAUSED_INTERVAL: Duration = Duration::from_secs(86_400);

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckResult {
    /// Nothing is missing.
    UpToDate,
    /// An event that never came is on its queue.
    Recovered,
    /// What was held for a period that was paid in another way is released.
    Released,
    /// It has to be looked at again.
    Deferred,
    /// Cleeng asks to slow down: no more of these in this round.
    Throttled,
    /// The journal or Cleeng cannot be reached, or the queue.
    Failed,
}

/// Looks at the head of a subscription that is due.
pub(crate) async fn check(flow_context: &FlowContext, key: &Key, delivery: &Delivery) -> CheckResult {
    let stored = match load(flow_context, key).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return CheckResult::UpToDate,
        Err(()) => return CheckResult::Failed,
    };
    let Ok(state) = serde_json::from_str::<SubscriptionState>(&stored.body) else {
        tracing::error!(document = %key, "a due subscription state cannot be read");
        flow_context.metrics.count(Metric::Parked, &[("reason", "due_document_unreadable")]);
        return CheckResult::Deferred;
    };
    let Some(watch) = state.last_billing_event.clone() else { return CheckResult::UpToDate };
    let now = flow_context.clock.now();
    if state.in_flight.is_some() {
        return save_state(flow_context, key, &stored, &state, Some(now.after(CHECK_IN_FLIGHT)), CheckResult::Deferred).await;
    }
    let subscription = match flow_context.cleeng.subscription(&watch.subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return stop_watching(flow_context, key, &stored, state).await,
        Err(CleengError::Throttled { .. }) => return CheckResult::Throttled,
        Err(error) => {
            tracing::warn!(document = %key, error = error.code(), "the subscription cannot be read from Cleeng");
            return save_state(flow_context, key, &stored, &state, Some(now.after(RECHECK_INTERVAL)), CheckResult::Failed).await;
        }
    };
    if let Some(result) = release_if_obsolete(flow_context, &state, &subscription, delivery).await {
        return result;
    }
    let method = subscription.payment_method.as_ref().or(state.method.as_ref()).cloned();
    let Some((method, config)) = method.and_then(|id| flow_context.policy.methods.get(&id).copied().map(|config| (id, config))) else {
        return stop_watching(flow_context, key, &stored, state).await;
    };
    if subscription.status == SubscriptionStatus::Terminated && state.live_authorisation.is_some() {
        // Cleeng ended it by itself, and what is held for it would lapse days later: its termination gives it back.
        flow_context.metrics.count(Metric::Warning, &[("reason", "drift_authorisation_of_an_ended_subscription")]);
        let (at, expiration) = (subscription.paid_until, subscription.paid_until);
        let end = ExpectedEvent { action: BillingAction::Terminate, at, expiration, exact: false };
        return recover_missed_event(flow_context, key, &stored, state, &subscription, &method, end).await;
    }
    report_drift(flow_context, key, &state, &subscription, now);
    let next = ExpectedEvent::next(&subscription, &state, config.billing);
    match find_missing(flow_context, &state, &watch, &subscription, next.as_ref(), now).await {
        Ok(Some(missing)) => recover_missed_event(flow_context, key, &stored, state, &subscription, &method, missing).await,
        Ok(None) => schedule_next_check(flow_context, key, &stored, state, &subscription, next, now).await,
        Err(()) => CheckResult::Failed,
    }
}

/// Gives back what nobody will capture, because its period was paid in another way. Nothing where there is no such hold, or where it is doubtful:
/// then the look goes on, and the drift is told.
async fn release_if_obsolete(
    flow_context: &FlowContext,
    state: &SubscriptionState,
    subscription: &Subscription,
    delivery: &Delivery,
) -> Option<CheckResult> {
    // What Cleeng ended by itself is given back by its termination.
    let ended = subscription.status == SubscriptionStatus::Terminated;
    let live = state
        .live_authorisation
        .as_ref()
        .filter(|live| !ended && obsolete_authorisations::is_obsolete(flow_context, live, subscription))?;
    match obsolete_authorisations::release_obsolete(flow_context, &subscription.id, &live.reference, delivery).await {
        Disposition::Completed("released") => Some(CheckResult::Released),
        Disposition::Completed(_) | Disposition::NotOurs => None,
        Disposition::Parked(_) => Some(CheckResult::Deferred),
        Disposition::Retry { reason: "cleeng_throttled", .. } => Some(CheckResult::Throttled),
        Disposition::Retry { .. } => Some(CheckResult::Deferred),
    }
}

/// What Cleeng and the journal say differently, for an operator to see. The next event puts it right, or parks.
fn report_drift(flow_context: &FlowContext, key: &Key, state: &SubscriptionState, subscription: &Subscription, now: Timestamp) {
    let paid = |expiration: Timestamp| subscription.paid_until > expiration.after(RECHECK_INTERVAL);
    let unpaid = |at: Timestamp| now > at.after(PAUSED_INTERVAL);
    let drift = match (&state.live_authorisation, &state.last_charge) {
        (Some(live), _) if paid(live.expiration) => obsolete_authorisations::DRIFT,
        (None, Some(charge)) if charge.certain && !paid(charge.expiration) && unpaid(charge.at) => "drift_charged_and_not_paid_in_cleeng",
        _ => return,
    };
    tracing::warn!(document = %key, drift, "Cleeng and the journal disagree");
    flow_context.metrics.count(Metric::Warning, &[("reason", drift)]);
}

/// What should have been here, by what Cleeng said before or says now, and was never heard of.
async fn find_missing(
    flow_context: &FlowContext,
    state: &SubscriptionState,
    watch: &LastBillingEvent,
    subscription: &Subscription,
    next: Option<&ExpectedEvent>,
    now: Timestamp,
) -> Result<Option<ExpectedEvent>, ()> {
    for expected in watch.expected_event.iter().chain(next) {
        if !expected.is_overdue(now) || !expected.is_still_expected(subscription) {
            continue;
        }
        let key = match expected.action {
            BillingAction::Terminate => eligibility::termination_key(&watch.subscription),
            BillingAction::Authorise | BillingAction::Capture => eligibility::period_key(&watch.subscription, expected.expiration),
        };
        let obligation = match load(flow_context, &key).await? {
            Some(stored) => Some(serde_json::from_str::<Obligation>(&stored.body).map_err(|_| ())?),
            None => None,
        };
        if !expected.was_received(state, obligation.as_ref()) {
            return Ok(Some(expected.clone()));
        }
    }
    Ok(None)
}

/// The event goes on its queue first: a copy too many is harmless, one too few is what this is about.
async fn recover_missed_event(
    flow_context: &FlowContext,
    key: &Key,
    stored: &StoredDocument,
    mut state: SubscriptionState,
    subscription: &Subscription,
    method: &PaymentMethodId,
    missing: ExpectedEvent,
) -> CheckResult {
    let now = flow_context.clock.now();
    let Some(watch) = state.last_billing_event.clone() else { return CheckResult::UpToDate };
    let Some(event) = missing.to_webhook(&watch, &state, subscription, &flow_context.policy.publisher, method) else {
        tracing::error!(document = %key, "a billing event is missing, and its payment details are not known");
        flow_context.metrics.count(Metric::Parked, &[("reason", "missed_event_of_unknown_details")]);
        return save_state(flow_context, key, stored, &state, Some(now.after(RECHECK_INTERVAL)), CheckResult::Deferred).await;
    };
    if let Err(error) = flow_context.requeue.requeue(&event).await {
        tracing::error!(document = %key, %error, "a missed billing event could not be requeued");
        return CheckResult::Failed;
    }
    tracing::warn!(document = %key, expected = ?missing.action, "missed billing event recovered");
    flow_context.metrics.count(Metric::Warning, &[("reason", "missed_event_recovered")]);
    if let Some(watch) = state.last_billing_event.as_mut() {
        watch.expected_event = Some(missing);
    }
    save_state(flow_context, key, stored, &state, Some(now.after(AFTER_RECOVERY)), CheckResult::Recovered).await
}

/// Nothing is missing: what is next is noted, and when to look at it.
async fn schedule_next_check(
    flow_context: &FlowContext,
    key: &Key,
    stored: &StoredDocument,
    mut state: SubscriptionState,
    subscription: &Subscription,
    next: Option<ExpectedEvent>,
    now: Timestamp,
) -> CheckResult {
    let due_at = match (&next, &subscription.status) {
        (Some(expected), _) if expected.is_overdue(now) => now.after(RECHECK_INTERVAL),
        (Some(expected), _) => expected.at.after(DELIVERY_SLACK),
        (None, SubscriptionStatus::Paused) => now.after(PAUSED_INTERVAL),
        (None, _) => return stop_watching(flow_context, key, stored, state).await,
    };
    if let Some(watch) = state.last_billing_event.as_mut() {
        watch.expected_event = next;
    }
    save_state(flow_context, key, stored, &state, Some(due_at), CheckResult::UpToDate).await
}

/// Nothing more is to come.
async fn stop_watching(flow_context: &FlowContext, key: &Key, stored: &StoredDocument, mut state: SubscriptionState) -> CheckResult {
    state.last_billing_event = None;
    save_state(flow_context, key, stored, &state, None, CheckResult::UpToDate).await
}

/// Writes the head, if nobody else did; whoever did has set its time anew.
async fn save_state(
    flow_context: &FlowContext,
    key: &Key,
    stored: &StoredDocument,
    state: &SubscriptionState,
    due_at: Option<Timestamp>,
    result: CheckResult,
) -> CheckResult {
    let Ok(body) = serde_json::to_string(state) else { return CheckResult::Failed };
    let expires_at = state.expires_at(flow_context.clock.now());
    let put = Put { key: key.clone(), expected_version: Some(stored.version), body, due_at, parked_since: None, expires_at };
    match flow_context.store.commit(&[put]).await {
        Ok(()) => result,
        Err(_) => CheckResult::Deferred,
    }
}
