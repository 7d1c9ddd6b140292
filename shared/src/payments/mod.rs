//! What every kind of payment shares: renewals, purchases, refunds and notifications. Must never use [`renewal`](crate::renewal).
//!
//! Obligation = subscription + the instant of `expirationDate`. Attempt = obligation + the instant of `dunningAttemptDate`: the order, the
//! gateway call and the report are steps of the attempt. The state of a subscription, written in the same transaction, guards against an
//! expiry that moved: there is one live authorisation per subscription, and one attempt in flight.
//!
//! | module | purpose |
//! |---|---|
//! | [`obligation_context`] | the documents of an obligation while a flow works on it, and how it is finished, retried later or parked |
//! | [`subscription_state`] | what is known of a subscription across its periods |
//! | [`gateway_step`] | one call to the gateway, and how an unknown outcome is resolved |
//! | [`cleeng_step`] | one call to Cleeng |
//! | [`capture`] | the capture of an authorisation, and when it counts as done |
//! | [`release`] | releasing an authorisation that is not to be captured |
//! | [`late_success`] | a payment that succeeded after its attempt had ended |
//! | [`late_capture`] | the same for the capture of a single purchase |
//! | [`reversal`] | giving back a payment that must not be kept |
//! | [`report_change`] | reporting to Cleeng a change of an authorised payment |
//! | [`report_refund`] | reporting to Cleeng that captured money went back |
//! | [`find`] | a payment that an event names, and one that was made before this connector |
//! | [`token_usage`] | which payment details use a stored token |
//! | [`deleted_details`] | payment details that were deleted here, and what Cleeng's list of them means then |
//! | [`payment_transitions`] | how a gateway's notification changes a payment, whenever it comes |
//! | [`settlement`] | what a gateway notifies later about an operation that it acknowledged |
//!
//! A flow returns early with a [`Disposition`] as its error: `?` means "stop here, with this disposition".

pub mod capture;
pub mod cleeng_step;
pub mod deleted_details;
pub mod find;
pub mod gateway_step;
pub mod late_capture;
pub mod late_success;
pub mod obligation_context;
pub mod payment_transitions;
pub mod release;
pub mod report_change;
pub mod report_refund;
pub mod reversal;
pub mod settlement;
pub mod subscription_state;
pub mod token_usage;

use crate::cleeng::CleengError;
use crate::cleeng::webhook::WebhookError;
use crate::flow::{Disposition, FlowContext, PaymentMethodConfig};
use crate::ids::PaymentMethodId;
use crate::journal::JournalError;
use crate::reason::RetryReason;

/// The result of a part of a flow: a value to continue with, or the disposition that ends the flow.
pub type FlowResult<T> = Result<T, Disposition>;

/// The settings of a payment method, if it is ours.
///
/// # Errors
/// [`Disposition::NotOurs`] if it is not ours.
pub fn configured_method(flow_context: &FlowContext, method: &PaymentMethodId) -> FlowResult<PaymentMethodConfig> {
    flow_context.policy.methods.get(method).copied().ok_or(Disposition::NotOurs)
}

/// Puts the event back for this reason, after the queue consumer's own backoff.
#[must_use]
pub const fn retry(reason: RetryReason) -> Disposition {
    Disposition::Retry { after: None, reason }
}

impl From<JournalError> for Disposition {
    fn from(error: JournalError) -> Self {
        let after = match error {
            JournalError::Leased(remaining) => Some(remaining),
            _ => None,
        };
        Self::Retry { after, reason: RetryReason::from(&error) }
    }
}

impl From<WebhookError> for Disposition {
    /// The webhook handler refuses such events; one that gets here was queued by another release and is kept for an operator.
    fn from(_: WebhookError) -> Self {
        retry(RetryReason::EventLacksAField)
    }
}

/// A read from Cleeng failed: it had no effect, so the event is put back.
#[must_use]
pub fn read_failed(error: &CleengError) -> Disposition {
    Disposition::Retry { after: error.retry_after(), reason: error.into() }
}
