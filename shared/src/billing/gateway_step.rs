//! One call to the gateway as a step, with everything that is done about an unknown outcome: ask first, else repeat under the same key
//! while the gateway still honours it, else park. An unknown outcome is never read as declined and never as done.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Story;
use super::case::{Case, StepTurn};
use crate::clock::Timestamp;
use crate::flow::Verdict;
use crate::gateway::{
    CancelRequest, CaptureRequest, Decline, DeclineClass, Gateway, GatewayError, GatewayName, IdempotencyKey, InquiryRequest,
    MerchantInitiated, Operation, OperationKind, Outcome, Reference, RefundRequest,
};
use crate::ids::ExternalPaymentId;
use crate::journal::record::Step;
use crate::metrics::Metric;
use crate::money::Money;

/// Repeating stops this long before the gateway may forget the key.
const MEMORY_MARGIN: Duration = Duration::from_secs(3600);

/// What came of a step, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// It happened.
    Done {
        /// The id by which Cleeng shall know the payment.
        external: Option<ExternalPaymentId>,
        /// When an authorisation lapses.
        expires_at: Option<Timestamp>,
    },
    /// The gateway took the order.
    Received {
        /// The id by which Cleeng shall know the payment.
        external: Option<ExternalPaymentId>,
        /// The gateway's id of the operation.
        operation_ref: Option<String>,
        /// When it took it.
        at: Timestamp,
    },
    /// It did not happen.
    Declined(Decline),
}

/// A call that can be made, apart from its key.
pub enum Call {
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
}

impl Call {
    const fn operation(&self) -> OperationKind {
        match self {
            Self::Authorise(_) => OperationKind::Authorise,
            Self::Charge(_) => OperationKind::Charge,
            Self::Capture(_) => OperationKind::Capture,
            Self::Cancel(_) => OperationKind::Cancel,
            Self::Refund(_) => OperationKind::Refund,
        }
    }

    const fn amount(&self) -> Option<Money> {
        match self {
            Self::Authorise(request) | Self::Charge(request) => Some(request.amount),
            Self::Capture(request) => Some(request.amount),
            Self::Cancel(_) => None,
            Self::Refund(request) => Some(request.amount),
        }
    }

    fn inquiry(&self) -> InquiryRequest {
        let (key, reference, external) = match self {
            Self::Authorise(request) | Self::Charge(request) => (&request.key, &request.reference, None),
            Self::Capture(request) => (&request.key, &request.reference, Some(request.external_payment_id.clone())),
            Self::Cancel(request) => (&request.key, &request.reference, None),
            Self::Refund(request) => (&request.key, &request.reference, Some(request.external_payment_id.clone())),
        };
        InquiryRequest {
            operation: self.operation(),
            key: key.clone(),
            reference: reference.clone(),
            external_payment_id: external,
            amount: self.amount(),
        }
    }

    async fn make(&self, gateway: &Arc<dyn Gateway>) -> Result<Outcome, GatewayError> {
        match self {
            Self::Authorise(request) => gateway.authorise(request).await,
            Self::Charge(request) => gateway.charge(request).await,
            Self::Capture(request) => gateway.capture(request).await,
            Self::Cancel(request) => gateway.cancel(request).await,
            Self::Refund(request) => gateway.refund(request).await,
        }
    }
}

/// Runs a step of the open attempt at the gateway, or returns its recorded result. `make` builds the call for a key: the recorded one
/// wins over a derived one.
///
/// # Errors
/// Later or parked, see [`Verdict`].
pub async fn run(
    case: &mut Case<'_>,
    name: &'static str,
    gateway: GatewayName,
    operation: OperationKind,
    make: impl FnOnce(IdempotencyKey) -> Call + Send,
) -> Story<Fact> {
    match case.turn(name)? {
        StepTurn::Done(fact) => Ok(fact),
        StepTurn::Fresh => {
            let call = make(case.key_for(gateway, operation, name));
            first_call(case, name, gateway, &call).await
        }
        StepTurn::Unknown(step) => {
            let key = step.key.clone().unwrap_or_else(|| case.key_for(gateway, operation, name));
            find_out(case, name, gateway, &make(key), &step).await
        }
    }
}

async fn first_call(case: &mut Case<'_>, name: &'static str, gateway: GatewayName, call: &Call) -> Story<Fact> {
    let adapter = case.gateway(gateway)?;
    let key = call.inquiry().key;
    case.begin(name, Some(key), adapter.capabilities().call_timeout).await?;
    match timed(case, &adapter, call).await {
        Ok(outcome) => record(case, name, call, outcome).await,
        Err(error) => Err(refused(case, name, &error).await?),
    }
}

/// The step was begun and its result is not recorded.
async fn find_out(case: &mut Case<'_>, name: &'static str, gateway: GatewayName, call: &Call, step: &Step) -> Story<Fact> {
    let adapter = case.gateway(gateway)?;
    let capabilities = adapter.capabilities();
    let patience = case.world.rules.unknown_deadline.min(capabilities.idempotency_memory.saturating_sub(MEMORY_MARGIN));
    // The last question is asked even after the deadline; only the repetition needs the gateway's memory of the key.
    let too_late = case.now().since(step.begun_at) > patience;
    case.begin(name, step.key.clone(), capabilities.call_timeout.saturating_mul(2)).await?;
    let outcome = match adapter.inquire(&call.inquiry()).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) if too_late => return Err(case.park("outcome_unknown", true).await?),
        Ok(None) => match timed(case, &adapter, call).await {
            Ok(outcome) => outcome,
            // This repetition had no effect; what the first call did is as unknown as before. Never a reason for a new key.
            Err(error) => return Err(case.leave_unknown(name, error.code()).await),
        },
        Err(error) => return Err(case.leave_unknown(name, error.code()).await),
    };
    if too_late && matches!(outcome, Outcome::Unknown(_)) {
        return Err(case.park("outcome_unknown", true).await?);
    }
    record(case, name, call, outcome).await
}

async fn timed(case: &Case<'_>, adapter: &Arc<dyn Gateway>, call: &Call) -> Result<Outcome, GatewayError> {
    let begun = case.now();
    let outcome = call.make(adapter).await;
    let took = case.now().since(begun);
    let operation = call.operation().as_str();
    case.world.metrics.duration(Metric::GatewayLatency, took, &[("gateway", adapter.name().as_str()), ("operation", operation)]);
    let word = outcome.as_ref().map_or_else(GatewayError::code, Outcome::as_str);
    tracing::info!(gateway = adapter.name().as_str(), operation, outcome = word, duration_ms = took.as_millis(), "gateway called");
    outcome
}

async fn record(case: &mut Case<'_>, name: &'static str, call: &Call, outcome: Outcome) -> Story<Fact> {
    let at = case.now();
    let fact = match outcome {
        Outcome::Done(operation) if fits(call, &operation) => {
            Fact::Done { external: operation.external_payment_id, expires_at: operation.expires_at }
        }
        Outcome::Received(operation) if fits(call, &operation) => {
            Fact::Received { external: operation.external_payment_id, operation_ref: operation.operation_ref, at }
        }
        Outcome::Declined(decline) => Fact::Declined(decline),
        // Nobody is there to act: without the customer the payment cannot go on.
        Outcome::ActionRequired(..) => Fact::Declined(Decline { class: DeclineClass::NeedsCustomer, code: "action_required".to_owned() }),
        Outcome::Done(_) | Outcome::Received(_) => return Err(case.leave_unknown(name, "answer_does_not_fit").await),
        Outcome::Unknown(cause) => {
            tracing::warn!(step = name, cause = %cause, "gateway gave no usable answer");
            return Err(case.leave_unknown(name, "gateway_unknown").await);
        }
    };
    case.done(name, &fact);
    Ok(fact)
}

/// An answer is believed only if it speaks of the amount that was asked for, and names the payment where it must.
fn fits(call: &Call, operation: &Operation) -> bool {
    let amount_fits = operation.amount.is_none() || call.amount().is_none() || operation.amount == call.amount();
    let named = matches!(call, Call::Capture(_) | Call::Cancel(_) | Call::Refund(_)) || operation.external_payment_id.is_some();
    amount_fits && named
}

/// The first call is known to have had no effect.
async fn refused(case: &mut Case<'_>, name: &'static str, error: &GatewayError) -> Story<Verdict> {
    match error {
        GatewayError::Throttled { retry_after } => Ok(case.no_effect(name, *retry_after, error.code()).await),
        // Waiting does not mend these: an operator has to.
        GatewayError::Amount(_) | GatewayError::BadToken | GatewayError::Unsupported => case.park(error.code(), false).await,
        GatewayError::Credentials { .. } | GatewayError::Malformed { .. } | GatewayError::Unreachable(_) => {
            tracing::error!(obligation = %case.run.key(), step = name, error = %error, "gateway call had no effect");
            Ok(case.no_effect(name, None, error.code()).await)
        }
    }
}

/// The reference of the payment that an attempt makes: the same in every try of the attempt.
#[must_use]
pub fn reference_of(case: &Case<'_>, gateway: GatewayName, operation: OperationKind) -> Reference {
    Reference::from_key(&case.key_for(gateway, operation, "reference"))
}
