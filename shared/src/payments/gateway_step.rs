//! One call to the gateway as a step, with everything that is done about an unknown outcome: ask first, else repeat under the same key
//! while the gateway still honours it, else park. An unknown outcome is never read as declined and never as done.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::FlowResult;
use super::obligation_context::{ObligationContext, TypedStepState};
use crate::clock::Timestamp;
use crate::flow::Disposition;
use crate::gateway::{
    CancelRequest, CaptureRequest, Decline, DeclineClass, FinalizeRequest, Gateway, GatewayError, GatewayName, IdempotencyKey,
    InquiryRequest, MerchantInitiated, Operation, OperationKind, Outcome, PurchaseRequest, Reference, RefundRequest, StoreDetailsRequest,
    UnknownCause,
};
use crate::ids::ExternalPaymentId;
use crate::journal::record::Step;
use crate::metrics::Metric;
use crate::money::Money;
use crate::reason::{ParkReason, RetryReason};

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
    },
    /// The gateway acknowledged the operation.
    Received {
        /// The id by which Cleeng shall know the payment.
        external: Option<ExternalPaymentId>,
        /// The gateway's id of the operation.
        operation_ref: Option<String>,
        /// When it acknowledged it.
        at: Timestamp,
    },
    /// It did not happen.
    Declined(Decline),
}

/// A call that can be made, apart from its key.
pub enum GatewayCall {
    /// Authorise.
    Authorise(MerchantInitiated),
    /// Charge in one go.
    Charge(MerchantInitiated),
    /// Capture.
    Capture(CaptureRequest),
    /// Cancel.
    Cancel(CancelRequest),
    /// Refund.
    Refund(RefundRequest),
    /// Start a purchase with the customer present.
    Purchase(PurchaseRequest),
    /// Store details with the customer present.
    Store(StoreDetailsRequest),
    /// Finish what waited for the customer.
    Finalize(FinalizeRequest),
}

/// What a kind of step keeps of an outcome.
pub trait FromOutcome: Serialize + DeserializeOwned + Send {
    /// Reads an outcome that is known and fits the call. `None` if this kind of step cannot have it, which leaves the step unknown.
    fn from_outcome(outcome: Outcome, at: Timestamp) -> Option<Self>;
}

impl FromOutcome for StepResult {
    fn from_outcome(outcome: Outcome, at: Timestamp) -> Option<Self> {
        Some(match outcome {
            Outcome::Done(operation) => Self::Done { external: operation.external_payment_id, expires_at: operation.expires_at },
            Outcome::Received(operation) => {
                Self::Received { external: operation.external_payment_id, operation_ref: operation.operation_ref, at }
            }
            Outcome::Declined(decline) => Self::Declined(decline),
            // The customer is not present to act, so the payment cannot continue.
            Outcome::ActionRequired(..) => Self::Declined(Decline::new(DeclineClass::NeedsCustomer, "action_required")),
            Outcome::Unknown(_) => return None,
        })
    }
}

impl GatewayCall {
    const fn operation_kind(&self) -> OperationKind {
        match self {
            Self::Authorise(_) => OperationKind::Authorise,
            Self::Charge(_) => OperationKind::Charge,
            Self::Capture(_) => OperationKind::Capture,
            Self::Cancel(_) => OperationKind::Cancel,
            Self::Refund(_) => OperationKind::Refund,
            Self::Purchase(_) | Self::Finalize(_) => OperationKind::Purchase,
            Self::Store(_) => OperationKind::Store,
        }
    }

    const fn amount(&self) -> Option<Money> {
        match self {
            Self::Authorise(request) | Self::Charge(request) => Some(request.amount),
            Self::Capture(request) => Some(request.amount),
            Self::Refund(request) => Some(request.amount),
            Self::Purchase(request) => Some(request.amount),
            Self::Store(request) => Some(request.purchase.amount),
            Self::Finalize(request) => Some(request.amount),
            Self::Cancel(_) => None,
        }
    }

    fn inquiry(&self) -> InquiryRequest {
        let (key, reference, external) = match self {
            Self::Authorise(request) | Self::Charge(request) => (&request.key, &request.reference, None),
            Self::Capture(request) => (&request.key, &request.reference, Some(request.external_payment_id.clone())),
            Self::Cancel(request) => (&request.key, &request.reference, None),
            Self::Refund(request) => (&request.key, &request.reference, Some(request.external_payment_id.clone())),
            Self::Purchase(request) => (&request.key, &request.reference, None),
            Self::Store(request) => (&request.purchase.key, &request.purchase.reference, None),
            Self::Finalize(request) => (&request.key, &request.reference, request.external_payment_id.clone()),
        };
        InquiryRequest {
            operation: self.operation_kind(),
            key: key.clone(),
            reference: reference.clone(),
            external_payment_id: external,
            amount: self.amount(),
        }
    }

    async fn send(&self, gateway: &Arc<dyn Gateway>) -> Result<Outcome, GatewayError> {
        match self {
            Self::Authorise(request) => gateway.authorise(request).await,
            Self::Charge(request) => gateway.charge(request).await,
            Self::Capture(request) => gateway.capture(request).await,
            Self::Cancel(request) => gateway.cancel(request).await,
            Self::Refund(request) => gateway.refund(request).await,
            Self::Purchase(request) => gateway.start_purchase(request).await,
            Self::Store(request) => gateway.store_details(request).await,
            Self::Finalize(request) => gateway.finalize(request).await,
        }
    }
}

/// Runs a step of the open attempt at the gateway, or returns its recorded result. `send` builds the call for a key: the recorded one
/// wins over a derived one.
///
/// # Errors
/// `Err(Disposition::Retry)` if it cannot be completed now; `Err(Disposition::Parked)` if an operator has to decide.
pub async fn run(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    gateway: GatewayName,
    operation: OperationKind,
    make: impl FnOnce(IdempotencyKey) -> GatewayCall + Send,
) -> FlowResult<StepResult> {
    run_as(case, name, gateway, operation, make).await
}

/// As [`run`], for steps that keep something else of an outcome.
///
/// # Errors
/// As [`run`].
pub async fn run_as<F: FromOutcome>(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    gateway: GatewayName,
    operation: OperationKind,
    make: impl FnOnce(IdempotencyKey) -> GatewayCall + Send,
) -> FlowResult<F> {
    match case.step_state(name)? {
        TypedStepState::Done(fact) => Ok(fact),
        TypedStepState::NotStarted => {
            let call = make(case.idempotency_key(gateway, operation, name));
            call_first(case, name, gateway, &call).await
        }
        TypedStepState::Unknown(step) => {
            let key = step.key.clone().unwrap_or_else(|| case.idempotency_key(gateway, operation, name));
            resolve_unknown(case, name, gateway, &make(key), &step).await
        }
    }
}

async fn call_first<F: FromOutcome>(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    gateway: GatewayName,
    call: &GatewayCall,
) -> FlowResult<F> {
    let adapter = case.gateway(gateway)?;
    let key = call.inquiry().key;
    case.begin_step(name, Some(key), case.call_timeout(&adapter)).await?;
    match call_timed(case, &adapter, call).await {
        Ok(outcome) => record_outcome(case, name, call, outcome).await,
        Err(error) => Err(handle_no_effect(case, name, &error).await?),
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
    call: &GatewayCall,
    step: &Step,
) -> FlowResult<F> {
    let adapter = case.gateway(gateway)?;
    // The last query is made even after the deadline; only the repetition needs the gateway's memory of the key.
    let too_late = case.now().since(step.started_at) > retry_window(case, gateway)?;
    let timeout = case.call_timeout(&adapter);
    case.begin_step(name, step.key.clone(), timeout).await?;
    let outcome = match adapter.inquire(&call.inquiry()).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) if too_late => return Err(case.park(ParkReason::OutcomeUnknown, true).await?),
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
        return Err(case.park(ParkReason::OutcomeUnknown, true).await?);
    }
    record_outcome(case, name, call, outcome).await
}

async fn call_timed(case: &ObligationContext<'_>, adapter: &Arc<dyn Gateway>, call: &GatewayCall) -> Result<Outcome, GatewayError> {
    let begun = case.now();
    let outcome = call.send(adapter).await;
    let took = case.now().since(begun);
    let operation = call.operation_kind().as_str();
    case.flow_context.metrics.duration(Metric::GatewayLatency, took, &[("gateway", adapter.name().as_str()), ("operation", operation)]);
    let outcome_code = outcome.as_ref().map_or_else(GatewayError::code, Outcome::as_str);
    tracing::info!(gateway = adapter.name().as_str(), operation, outcome = outcome_code, duration_ms = took.as_millis(), "gateway called");
    outcome
}

async fn record_outcome<F: FromOutcome>(
    case: &mut ObligationContext<'_>,
    name: &'static str,
    call: &GatewayCall,
    outcome: Outcome,
) -> FlowResult<F> {
    match &outcome {
        Outcome::Done(operation) | Outcome::Received(operation) if !answer_matches(call, operation) => {
            return Err(case.leave_unknown(name, RetryReason::AnswerMismatch).await);
        }
        // The data that the customer returned belongs to another payment: this one still waits for the customer.
        Outcome::Unknown(UnknownCause::AnotherPayment) if matches!(call, GatewayCall::Finalize(_)) => {
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
fn answer_matches(call: &GatewayCall, operation: &Operation) -> bool {
    let amount_matches = operation.amount.is_none() || call.amount().is_none() || operation.amount == call.amount();
    let is_named = matches!(call, GatewayCall::Capture(_) | GatewayCall::Cancel(_) | GatewayCall::Refund(_))
        || operation.external_payment_id.is_some();
    amount_matches && is_named
}

/// The first call is known to have had no effect.
async fn handle_no_effect(case: &mut ObligationContext<'_>, name: &'static str, error: &GatewayError) -> FlowResult<Disposition> {
    if let Some(reason) = error.park_reason() {
        return case.park(reason, false).await;
    }
    if !matches!(error, GatewayError::Throttled { .. }) {
        tracing::error!(obligation = %case.session.key(), step = name, error = %error, "gateway call had no effect");
    }
    Ok(case.retry_without_effect(name, error.retry_after(), error.into()).await)
}

/// The reference of the payment that an attempt makes: the same in every try of the attempt.
#[must_use]
pub fn payment_reference(case: &ObligationContext<'_>, gateway: GatewayName, operation: OperationKind) -> Reference {
    Reference::from_key(&case.idempotency_key(gateway, operation, "reference"))
}

#[cfg(test)]
mod tests;
