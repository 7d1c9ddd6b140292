//! Which payment method an event belongs to, and whether anything is to be done at all.

use std::time::Duration;

use crate::cleeng::envelope::Envelope;
use crate::cleeng::webhook::{BillingEvent, Verified, Webhook};
use crate::cleeng::{CleengError, Subscription, SubscriptionStatus};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext, PaymentMethodConfig};
use crate::gateway::Reference;
use crate::ids::{PaymentMethodId, SubscriptionId};
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{Attempt, AttemptKind, Finish, StepState};
use crate::journal::store::Key;
use crate::metrics::Metric;
use crate::payments::capture::CAPTURE;
use crate::payments::obligation_context::ObligationContext;
use crate::payments::subscription_state::LastBillingEvent;
use crate::payments::{FlowResult, configured_method, read_failed, release, retry};
use crate::reason::{CompletionReason, ParkReason, RetryReason};
use crate::renewal::charge::PAY;

/// If a renewal's cycle is unknown, two charges are at least this far apart.
const DEFAULT_PERIOD_GAP: Duration = Duration::from_secs(24 * 3600);

/// The obligation of a billing period: the subscription and the instant at which its paid time ends, in any notation.
#[must_use]
pub fn period_key(subscription: &SubscriptionId, expiration: Timestamp) -> Key {
    Key::new("period", &[subscription.as_str(), &expiration.secs().to_string()])
}

/// The journal's key of the end of a subscription.
#[must_use]
pub fn termination_key(subscription: &SubscriptionId) -> Key {
    Key::new("termination", &[subscription.as_str()])
}

/// Opens the obligation of a billing event's period.
///
/// # Errors
/// `Err(Disposition::NotOurs)` for another connector's method; `Err(Disposition::Retry)` if the event lacks a field, another worker holds
/// the lease or the journal cannot be read.
pub async fn open_period<'w>(
    flow_context: &'w FlowContext,
    webhook: &Verified<Webhook>,
    delivery: &Delivery,
) -> FlowResult<(ObligationContext<'w>, BillingEvent)> {
    let event = BillingEvent::read(webhook.get())?;
    if let Some(method) = &event.payment_method {
        configured_method(flow_context, method)?;
    }
    let key = period_key(&event.subscription, event.expiration);
    let mut case = ObligationContext::open(flow_context, key, &event.subscription, delivery).await?;
    case.event = Some(Envelope::reseal(webhook, delivery.received_at).to_text());
    case.event_is_recovered = event.recovered;
    Ok((case, event))
}

/// The payment method of an event. If the payload has none, the journal is asked, then Cleeng. If none of them says, the event is parked
/// as an attempt of this kind, never dropped and never acted on.
///
/// # Errors
/// `Err(Disposition::NotOurs)` for another connector's method; `Err(Disposition::Retry)` if Cleeng cannot be asked;
/// `Err(Disposition::Parked)` if an operator has to decide.
pub async fn resolve_payment_method(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    kind: AttemptKind,
) -> FlowResult<(PaymentMethodId, PaymentMethodConfig)> {
    let known = event.payment_method.as_ref().or(case.subscription_state.method.as_ref()).cloned();
    let method = match known {
        Some(method) => Some(method),
        None => case.flow_context.cleeng.subscription(&event.subscription).await.map_err(|error| read_failed(&error))?.payment_method,
    };
    let Some(method) = method else {
        return case.park_without_attempt(kind, event.attempt, ParkReason::PaymentMethodUnknown).await;
    };
    let settings = configured_method(case.flow_context, &method)?;
    Ok((method, settings))
}

/// What the journal says about an event of a kind of attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum AttemptStatus {
    /// It was completed.
    Finished(CompletionReason),
    /// Its attempt is in flight, to be resumed.
    InFlight,
    /// Nothing is in flight: a new attempt may open, if everything else allows it.
    NotStarted,
}

/// Reads the journal's state of an event.
///
/// # Errors
/// `Err(Disposition::Retry)` if an attempt of another kind, or one that this event cannot resume, is in flight.
pub fn attempt_status(case: &ObligationContext<'_>, kinds: &[AttemptKind], event: &BillingEvent) -> FlowResult<AttemptStatus> {
    let obligation = &case.session.obligation;
    // An attempt whose money is asked for is gone on with first; no other money is asked for until the late success is settled.
    if !obligation.late_successes.is_empty() && !obligation.current_attempt().is_some_and(is_money_begun) {
        return Err(retry(RetryReason::LateSuccessUnsettled));
    }
    if obligation.is_blocked() {
        return Ok(AttemptStatus::Finished(CompletionReason::Parked));
    }
    // An event that reconciliation made may lack what the real one says: that it was parked or not begun answers nothing but itself.
    let answers = |attempt: &&Attempt| !attempt.recovered || event.recovered || attempt.has_money_result();
    let of_kind = obligation.attempts.iter().filter(|attempt| kinds.contains(&attempt.kind) && attempt.counts_as_finished());
    let latest = of_kind.filter(answers).max_by_key(|attempt| attempt.due);
    if let Some(finish) = latest.filter(|attempt| event.attempt <= attempt.due).and_then(|attempt| attempt.finish.as_ref()) {
        return Ok(AttemptStatus::Finished(finish.into()));
    }
    if let Some(open) = obligation.current_attempt() {
        // The same key must come with the same content, so an event with other details leaves the attempt to its own event.
        let resumable = kinds.contains(&open.kind) && open.details.as_ref().is_none_or(|details| *details == event.payment_details);
        return if resumable { Ok(AttemptStatus::InFlight) } else { Err(retry(RetryReason::AnotherAttemptInFlight)) };
    }
    if obligation.attempts.iter().any(|attempt| attempt.finish == Some(Finish::Captured)) {
        return Ok(AttemptStatus::Finished(CompletionReason::Captured));
    }
    Ok(AttemptStatus::NotStarted)
}

/// Whether the live authorisation is this event's: held, and made with the payment details that the event names.
#[must_use]
pub fn usable_authorisation(case: &ObligationContext<'_>, event: &BillingEvent) -> Option<Reference> {
    let live = case.subscription_state.live_authorisation.as_ref().filter(|live| live.details == event.payment_details)?;
    case.payment(&live.reference).filter(|payment| payment.is_live(case.now())).map(|payment| payment.reference.clone())
}

/// Whether the period was authorised with the event's payment details, and that lapsed.
#[must_use]
pub fn has_lapsed(case: &ObligationContext<'_>, event: &BillingEvent) -> bool {
    let live = case.subscription_state.live_authorisation.as_ref();
    let live = live.filter(|live| live.details == event.payment_details && live.expiration.secs() == event.expiration.secs());
    let payment = live.and_then(|live| case.payment(&live.reference));
    payment.is_some_and(|payment| match payment.state {
        PaymentState::Expired => true,
        PaymentState::Authorised => !payment.is_live(case.now()),
        _ => false,
    })
}

/// Whether the period was to be authorised, and every attempt was declined.
#[must_use]
pub fn is_declined_for_good(case: &ObligationContext<'_>) -> bool {
    let mut attempts = case.session.obligation.attempts.iter().filter(|attempt| attempt.kind == AttemptKind::Authorise).peekable();
    attempts.peek().is_some() && attempts.all(|attempt| matches!(attempt.finish, Some(Finish::Declined { .. })))
}

/// Records what an event says about the subscription, in memory.
pub fn record_event(case: &mut ObligationContext<'_>, event: &BillingEvent, method: &PaymentMethodId) {
    case.subscription_state.method = Some(method.clone());
    case.subscription_state.latest_period_end = case.subscription_state.latest_period_end.max(Some(event.expiration));
    case.subscription_state.last_billing_event =
        Some(LastBillingEvent::from_event(event, case.subscription_state.last_billing_event.as_ref()));
}

/// After another event resumed an attempt: the resuming event is processed next, as soon as the attempt is finished or parked.
///
/// # Errors
/// The result's own, and `Err(Disposition::Retry)` if the resuming event is to be processed next.
pub fn after_resuming(result: FlowResult<Disposition>, resumed_due: Option<Timestamp>, event: &BillingEvent) -> FlowResult<Disposition> {
    let is_own_attempt = resumed_due.is_none_or(|due| due.secs() == event.attempt.secs());
    match result {
        // The attempt is not over: the gateway has not decided.
        Err(Disposition::Completed(CompletionReason::PaymentPending | CompletionReason::CapturePending)) => result,
        Ok(Disposition::Completed(_)) | Err(Disposition::Completed(_) | Disposition::Parked(_)) if !is_own_attempt => {
            Err(Disposition::Retry { after: Some(Duration::from_secs(1)), reason: RetryReason::ResumedAnEarlierAttempt })
        }
        result => result,
    }
}

/// Counts an event that was completed before.
#[must_use]
pub fn duplicate(flow_context: &FlowContext, outcome: impl Into<CompletionReason>) -> Disposition {
    let outcome = outcome.into();
    flow_context.metrics.count(Metric::Duplicate, &[("outcome", outcome.as_str())]);
    Disposition::Completed(outcome)
}

/// Ends the flow unless Cleeng said in this delivery that the money of the event is due. It is asked whatever brought the event here,
/// before an attempt opens and before an open attempt goes on to its money step; that step asks nothing only once it is begun.
///
/// If the money is not due, the attempt is finished, and what is held for the period is released when it should have been taken.
///
/// # Errors
/// `Err(Disposition::Completed)` if nothing is to be done any more; `Err(Disposition::Parked)` if an operator has to decide;
/// `Err(Disposition::Retry)` if Cleeng cannot be asked or the journal cannot be written: nothing is taken then.
pub async fn require_due(case: &mut ObligationContext<'_>, event: &BillingEvent, kind: AttemptKind) -> FlowResult<()> {
    let is_begun = !matches!(case.session.step_state(money_step(kind)), StepState::NotStarted);
    if case.is_due_confirmed() || is_begun {
        return Ok(());
    }
    let subscription = match check_subscription(case.flow_context, event).await? {
        SubscriptionCheck::Due(subscription) => subscription,
        SubscriptionCheck::Stale(reason) => return Err(end_unpaid(case, event, kind, reason).await?),
        SubscriptionCheck::Inconsistent(reason) => return park(case, event, kind, reason).await,
    };
    if charged_recently(case, event, &subscription, kind) {
        return park(case, event, kind, ParkReason::ChargedRecently).await;
    }
    case.confirm_due();
    Ok(())
}

/// Whether an attempt has asked for money: without an answer, or with one that says that something became of it.
#[must_use]
pub fn is_money_begun(attempt: &Attempt) -> bool {
    !matches!(attempt.step_state(money_step(attempt.kind)), StepState::NotStarted)
}

/// The step in which an attempt of a renewal holds or takes the money.
const fn money_step(kind: AttemptKind) -> &'static str {
    if matches!(kind, AttemptKind::Capture) { CAPTURE } else { PAY }
}

async fn park<T>(case: &mut ObligationContext<'_>, event: &BillingEvent, kind: AttemptKind, reason: ParkReason) -> FlowResult<T> {
    if case.current_attempt().is_none() {
        return case.park_without_attempt(kind, event.attempt, reason).await;
    }
    case.park(reason, false).await
}

/// Finishes the attempt without taking money. A period that was paid in another way keeps its authorisation here: reconciliation releases
/// it once it is certain that the authorisation is not that payment.
async fn end_unpaid(
    case: &mut ObligationContext<'_>,
    event: &BillingEvent,
    kind: AttemptKind,
    reason: CompletionReason,
) -> FlowResult<Disposition> {
    if case.current_attempt().is_none() {
        case.open_attempt(kind, event.attempt, Some(event.payment_details.clone()))?;
    }
    if let Some(reference) = case.current_attempt().and_then(|attempt| attempt.reference.clone()) {
        case.update_payment(&reference, PaymentRecord::withdraw)?;
    }
    if kind != AttemptKind::Authorise && reason != CompletionReason::AlreadyPaid {
        release::release_period(case, event.expiration).await?;
    }
    case.finish(Finish::stale(reason)).await
}

/// Whether Cleeng says that the event's period is still due and unpaid, whatever details it is to be paid with by now: money that is taken
/// already is taken.
///
/// # Errors
/// `Err(Disposition::Retry)` if Cleeng cannot be asked.
pub async fn is_due(flow_context: &FlowContext, event: &BillingEvent) -> FlowResult<bool> {
    let check = check_subscription(flow_context, event).await?;
    Ok(matches!(check, SubscriptionCheck::Due(_) | SubscriptionCheck::Stale(CompletionReason::DetailsReplaced)))
}

/// As [`is_due`], and asks only once in a delivery.
///
/// # Errors
/// As [`is_due`].
pub async fn is_still_due(case: &mut ObligationContext<'_>, event: &BillingEvent) -> FlowResult<bool> {
    if !case.is_due_confirmed() && !is_due(case.flow_context, event).await? {
        return Ok(false);
    }
    case.confirm_due();
    Ok(true)
}

/// Whether the event still holds.
enum SubscriptionCheck {
    /// It does.
    Due(Box<Subscription>),
    /// Nothing is to be done any more, for this reason.
    Stale(CompletionReason),
    /// It is inconsistent; an operator has to decide.
    Inconsistent(ParkReason),
}

/// Asks Cleeng for the subscription and compares it with the event: ended, paid beyond the event's expiry, or to be paid with other
/// details, where Cleeng names them, is stale.
async fn check_subscription(flow_context: &FlowContext, event: &BillingEvent) -> FlowResult<SubscriptionCheck> {
    let subscription = match flow_context.cleeng.subscription(&event.subscription).await {
        Ok(subscription) => subscription,
        Err(CleengError::NotFound) => return Ok(SubscriptionCheck::Inconsistent(ParkReason::SubscriptionNotFound)),
        Err(error) => return Err(read_failed(&error)),
    };
    if subscription.customer.as_ref().is_some_and(|customer| *customer != event.customer) {
        return Ok(SubscriptionCheck::Inconsistent(ParkReason::SubscriptionOfAnotherCustomer));
    }
    match &subscription.status {
        SubscriptionStatus::Active => {}
        SubscriptionStatus::Stopped | SubscriptionStatus::Terminated | SubscriptionStatus::Paused => {
            return Ok(SubscriptionCheck::Stale(CompletionReason::SubscriptionNotActive));
        }
        SubscriptionStatus::Other(_) => return Ok(SubscriptionCheck::Inconsistent(ParkReason::SubscriptionStatusUnknown)),
    }
    if subscription.paid_until.secs() > event.expiration.secs() {
        return Ok(SubscriptionCheck::Stale(CompletionReason::AlreadyPaid));
    }
    if subscription.payment_details.as_ref().is_some_and(|details| *details != event.payment_details) {
        return Ok(SubscriptionCheck::Stale(CompletionReason::DetailsReplaced));
    }
    if subscription.paid_until.secs() < event.expiration.secs() {
        // No reason not to act, since the field is unconfirmed.
        flow_context.metrics.count(Metric::Warning, &[("reason", "subscription_ends_before_event")]);
    }
    Ok(SubscriptionCheck::Due(Box::new(subscription)))
}

/// The smallest distance of two periods of a subscription: half a cycle, or 24 hours if the cycle is unknown. Two ends that are nearer
/// belong to one period whose end moved.
#[must_use]
pub fn min_period_gap(subscription: &Subscription) -> Duration {
    subscription.cycle.map_or(DEFAULT_PERIOD_GAP, |cycle| cycle.0.checked_div(2).unwrap_or(DEFAULT_PERIOD_GAP))
}

/// Whether another period of the subscription was charged so recently that this one is probably the same period with an end that moved:
/// less than half a cycle ago, or 24 hours if the cycle is unknown. A period that ends at least that much later than the charged one is
/// another period, however late that one was paid; but its money is taken near its end, and only held earlier.
fn charged_recently(case: &ObligationContext<'_>, event: &BillingEvent, subscription: &Subscription, kind: AttemptKind) -> bool {
    let gap = min_period_gap(subscription);
    case.subscription_state.last_charge.as_ref().is_some_and(|charge| {
        let other_period = charge.expiration.secs() != event.expiration.secs();
        let is_next_cycle = event.expiration >= charge.expiration.after(gap);
        let is_early = kind != AttemptKind::Authorise && event.expiration > case.now().after(gap);
        other_period && case.now().since(charge.at) < gap && (!is_next_cycle || is_early)
    })
}
