//! One call to the gateway as a step, with everything that is done about an unknown outcome: ask first, else repeat under the same key
//! while the gateway still honours it, else park. An unknown outcome is never read as declined and never as done.

mod call;

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::call::{Authorise, Charge, GatewayCall};
use super::obligation_context::{ObligationContext, TypedStepState};
use super::{FlowResult, retry};
use crate::clock::Timestamp;
use crate::flow::Disposition;
use crate::gateway::{
    Decline, DeclineClass, Gateway, GatewayError, GatewayName, IdempotencyKey, InquiryRequest, Operation, OperationKind, Outcome,
    Reference, UnknownCause,
};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::record::Step;
use crate::journal::store::StoreError;
use crate::metrics::Metric;
use crate::money::Money;
use crate::reason::{CompletionReason, ParkReason, RetryReason};

/// Repeating stops this long before the gateway may forget the key.
const KEY_EXPIRY_MARGIN: Duration = Duration::from_secs(3600);

/// The result of a step, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// It happened.
    Done {
        /// The id by which Cleeng shall know the payment.
        external: Option<ExternalPaymentId>,
        /// When an authorisation lapses.
        expires_at: Option<Timestamp>,
        /// The authorisation that was captured in place of the first one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renewed: Option<ExternalPaymentId>,
    },
    /// The gateway acknowledged the operation.
    Received {
        /// The id by which Cleeng shall know the payment.
        external: Option<ExternalPaymentId>,
        /// The gateway's id of the operation.
        operation_ref: Option<String>,
        /// When it acknowledged it.
        at: Timestamp,
        /// The authorisation that is being captured in place of the first one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renewed: Option<ExternalPaymentId>,
    },
    /// It did not happen.
    Declined(Decline),
}

/// What a kind of step keeps of an outcome.
pub trait FromOutcome: Serialize + DeserializeOwned + Send {
    /// Reads an outcome that is known and fits the call. `None` if this kind of step cannot have it, which leaves the step unknown.
    fn from_outcome(outcome: Outcome, at: Timestamp) -> Option<Self>;
}

impl FromOutcome for StepResult {
    fn from_outcome(outcome: Outcome, at: Timestamp) -> Option<Self> {
        Some(match outcome {
            Outcome::Done(operation) => Self::Done {
                external: operation.external_payment_id,
                expires_at: operation.expires_at,
                renewed: operation.renewed_authorisation,
            },
            Outcome::Received(operation) => Self::Received {
                external: operation.external_payment_id,
                operation_ref: operation.operation_ref,
                at,
                renewed: operation.renewed_authorisation,
            },
            Outcome::Declined(decline) => Self::Declined(decline),
            // The customer is not present to act, so the payment cannot continue.
            Outcome::ActionRequired(..) => Self::Declined(Decline::new(DeclineClass::NeedsCustomer, "action_required")),
            Outcome::Unknown(_) => return None,
        })
    }
}

/// Runs a step of the open attempt at the gateway, or returns its recorded result. `make` builds the call for a key: the recorded one wins
/// over a derived one.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn run<C: GatewayCall, F: FromOutcome>(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    gateway: GatewayName,
    make: impl FnOnce(IdempotencyKey) -> C + Send,
) -> FlowResult<F> {
    match case.step_state(name)? {
        TypedStepState::Done(fact) => Ok(fact),
        TypedStepState::NotStarted => {
            let call = make(case.idempotency_key(gateway, C::OPERATION, name));
            call_first(case, name, gateway, &call).await
        }
        TypedStepState::Unknown(step) => {
            let key = step.key.clone().unwrap_or_else(|| case.idempotency_key(gateway, C::OPERATION, name));
            resolve_unknown(case, name, gateway, &make(key), &step).await
        }
    }
}

/// Makes the call for the first time, or again after one that had no effect. One that takes money is not begun unless Cleeng said in this
/// delivery that the money is due: what was true an hour ago may not be.
async fn call_first<C: GatewayCall, F: FromOutcome>(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    gateway: GatewayName,
    call: &C,
) -> FlowResult<F> {
    let adapter = case.gateway(gateway)?;
    let InquiryRequest { key, amount, .. } = call.inquiry();
    if C::TAKES_MONEY && amount.is_some_and(|amount| !amount.is_zero()) && !case.is_due_confirmed() {
        return Err(retry(RetryReason::DueNotConfirmed));
    }
    case.begin_step(name, Some(key), case.call_timeout(&adapter)).await?;
    match call_timed(case, &adapter, call).await {
        Ok(outcome) => record_outcome(case, name, call, outcome).await,
        Err(error) => handle_no_effect(case, name, &error).await,
    }
}

/// How long an unknown outcome is queried and repeated. An operator's "retry" extends it. The gateway's memory of the key is a fixed bound.
///
/// # Errors
/// `Err(Disposition::Retry)` if the gateway is not configured any more.
pub fn retry_window(case: &ObligationContext<'_>, gateway: GatewayName) -> FlowResult<Duration> {
    let key_lifetime = case.gateway(gateway)?.capabilities().idempotency_window.saturating_sub(KEY_EXPIRY_MARGIN);
    Ok(if case.session.obligation.is_retried() { key_lifetime } else { case.flow_context.policy.unknown_deadline.min(key_lifetime) })
}

/// The step was begun and its result is not recorded.
async fn resolve_unknown<F: FromOutcome>(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    gateway: GatewayName,
    call: &impl GatewayCall,
    step: &Step,
) -> FlowResult<F> {
    let adapter = case.gateway(gateway)?;
    // The last query is made even after the deadline; only the repetition needs the gateway's memory of the key.
    let too_late = case.now().since(step.started_at) > retry_window(case, gateway)?;
    let timeout = case.call_timeout(&adapter);
    case.begin_step(name, step.key.clone(), timeout).await?;
    let outcome = match adapter.inquire(&call.inquiry()).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) if too_late => return case.park(ParkReason::OutcomeUnknown, true).await,
        // Both calls seldom take their longest time, and if a customer waits there is no time for twice that.
        Ok(None) if !case.session.has_time_for(timeout) => return Err(case.leave_unknown(name, RetryReason::OutOfTime).await),
        Ok(None) => match call_timed(case, &adapter, call).await {
            Ok(outcome) => outcome,
            // This repetition had no effect; the effect of the first call is as unknown as before. Never a reason for a new key.
            Err(error) => return Err(case.leave_unknown(name, (&error).into()).await),
        },
        Err(error) => return Err(case.leave_unknown(name, (&error).into()).await),
    };
    if too_late && matches!(outcome, Outcome::Unknown(_)) {
        return case.park(ParkReason::OutcomeUnknown, true).await;
    }
    record_outcome(case, name, call, outcome).await
}

async fn call_timed<C: GatewayCall>(case: &ObligationContext<'_>, adapter: &Arc<dyn Gateway>, call: &C) -> Result<Outcome, GatewayError> {
    let begun = case.now();
    let outcome = call.send(adapter.as_ref()).await.or_else(|error| refuse_small_amount(case, error));
    let took = case.now().since(begun);
    let operation = C::OPERATION.as_str();
    case.flow_context.metrics.duration(Metric::GatewayLatency, took, &[("gateway", adapter.name().as_str()), ("operation", operation)]);
    let outcome_code = outcome.as_ref().map_or_else(GatewayError::code, Outcome::as_str);
    if outcome.as_ref().err().is_some_and(GatewayError::is_outage) {
        case.flow_context.metrics.count(Metric::GatewayUnavailable, &[("gateway", adapter.name().as_str())]);
    }
    tracing::info!(gateway = adapter.name().as_str(), operation, outcome = outcome_code, duration_ms = took.as_millis(), "gateway called");
    outcome
}

/// An amount below the gateway's minimum is refused like by a bank: Cleeng's dunning goes on, and no technical attempt could change it.
fn refuse_small_amount(case: &ObligationContext<'_>, error: GatewayError) -> Result<Outcome, GatewayError> {
    let GatewayError::BelowMinimum { code } = error else { return Err(error) };
    case.flow_context.metrics.count(Metric::Warning, &[("reason", "amount_below_minimum")]);
    tracing::error!(obligation = %case.session.key(), code, "the order's amount is below the gateway's minimum");
    Ok(Outcome::Declined(Decline::new(DeclineClass::Soft, code)))
}

async fn record_outcome<C: GatewayCall, F: FromOutcome>(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    call: &C,
    outcome: Outcome,
) -> FlowResult<F> {
    match &outcome {
        Outcome::Done(operation) | Outcome::Received(operation) if !answer_matches(call, operation) => {
            return Err(case.leave_unknown(name, RetryReason::AnswerMismatch).await);
        }
        // The data that the customer returned belongs to another payment: this one still waits for the customer.
        Outcome::Unknown(UnknownCause::AnotherPayment) if C::SUBMITS_RETURNED_DATA => {
            return Err(case.retry_without_effect(name, None, RetryReason::AnotherPayment).await);
        }
        Outcome::Unknown(cause) => {
            tracing::warn!(step = name, cause = %cause, "gateway gave no usable answer");
            return Err(case.leave_unknown(name, RetryReason::GatewayUnknown).await);
        }
        _ => {}
    }
    let Some(fact) = F::from_outcome(outcome, case.now()) else {
        return Err(case.leave_unknown(name, RetryReason::AnswerMismatch).await);
    };
    case.record_result(name, &fact);
    Ok(fact)
}

/// An answer is believed only if it names the amount that was asked for, and the payment where it must.
fn answer_matches<C: GatewayCall>(call: &C, operation: &Operation) -> bool {
    let asked = call.inquiry().amount;
    let amount_matches = operation.amount.is_none() || asked.is_none() || operation.amount == asked;
    let is_named = matches!(C::OPERATION, OperationKind::Capture | OperationKind::Cancel | OperationKind::Refund)
        || operation.external_payment_id.is_some();
    amount_matches && is_named
}

/// The first call is known to have had no effect.
async fn handle_no_effect<F>(case: &mut ObligationContext<'_>, name: &'static str, error: &GatewayError) -> FlowResult<F> {
    if let Some(reason) = error.park_reason() {
        return case.park(reason, false).await;
    }
    if !matches!(error, GatewayError::Throttled { .. }) {
        tracing::error!(obligation = %case.session.key(), step = name, error = %error, "gateway call had no effect");
    }
    Err(case.retry_without_effect(name, error.retry_after(), error.into()).await)
}

/// Asks the gateway what became of an operation that it acknowledged as this step, and records the decision as the step's result. `None`
/// while it is undecided, if the step waits for nothing, and where the gateway cannot be asked: then its notification brings the result.
///
/// # Errors
/// `Err(Disposition::Retry)` if the step cannot be read.
pub async fn query_decision(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    operation: OperationKind,
    payment: &Reference,
) -> FlowResult<Option<StepResult>> {
    let TypedStepState::Done(StepResult::Received { external, operation_ref, .. }) = case.step_state(name)? else { return Ok(None) };
    let refund = case.payment(payment).and_then(|record| record.refund_for(case.session.key()));
    let refund = refund.filter(|_| operation == OperationKind::Refund).map(|part| (part.reference.clone(), part.amount));
    let Some(outcome) = query(case, payment, operation, (external, operation_ref), refund).await? else { return Ok(None) };
    if !matches!(outcome, Outcome::Done(_) | Outcome::Declined(_)) {
        return Ok(None);
    }
    let fact = StepResult::from_outcome(outcome, case.now());
    fact.iter().for_each(|fact| case.record_result(name, fact));
    Ok(fact)
}

/// The gateway took an operation at this time and declared that it is not decided (PENDING, processing). It is told neither done nor declined
/// before it is: the attempt stays open and its event waits in the journal, until a notification says what became of it, or the gateway when
/// it is asked. The flow ends here, so the result is always `Err`.
///
/// # Errors
/// `Err(Disposition::Completed)` for this reason; `Err(Disposition::Parked)` after longer than the gateway's documents allow;
/// `Err(Disposition::Retry)` if the journal cannot be written.
pub async fn wait_for_decision<T>(
    case: &mut ObligationContext<'_>,
    gateway: GatewayName,
    since: Timestamp,
    reason: CompletionReason,
) -> FlowResult<T> {
    if case.now().since(since) > case.gateway(gateway)?.capabilities().pending_patience {
        return case.park(ParkReason::PaymentPendingTooLong, true).await;
    }
    case.store_event();
    case.save_and_release_lease().await?;
    Err(Disposition::Completed(reason))
}

/// Asks the gateway about a payment, or an operation on it, that it named by these ids. `refund` is the reference and the amount of a refund.
/// `None` if the gateway cannot be asked, or cannot say anything now.
///
/// # Errors
/// `Err(Disposition::Retry)` if the payment is not loaded or its gateway is not configured.
pub async fn query(
    case: &ObligationContext<'_>,
    payment: &Reference,
    operation: OperationKind,
    (external_payment_id, operation_ref): (Option<ExternalPaymentId>, Option<String>),
    refund: Option<(Reference, Money)>,
) -> FlowResult<Option<Outcome>> {
    let record = case.payment(payment).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (adapter, own) = (case.gateway(record.gateway)?, (payment.clone(), record.amount));
    if !case.session.has_time_for(case.call_timeout(&adapter)) {
        return Ok(None);
    }
    let (reference, amount) = refund.unwrap_or(own);
    // Only a call whose outcome is unknown is found by its key.
    let key = case.idempotency_key(record.gateway, operation, "query");
    let question = InquiryRequest { operation, key, reference, external_payment_id, operation_ref, amount: Some(amount) };
    Ok(adapter.inquire(&question).await.ok().flatten().filter(|outcome| !matches!(outcome, Outcome::Unknown(_))))
}

/// The reference of the payment that an attempt makes: the same in every try of the attempt.
#[must_use]
pub fn payment_reference(case: &ObligationContext<'_>, gateway: GatewayName, operation: OperationKind) -> Reference {
    Reference::from_key(&case.idempotency_key(gateway, operation, "reference"))
}

#[cfg(test)]
mod tests;
