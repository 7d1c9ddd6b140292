//! The rules of a billing period, for every function that touches one.
//!
//! Obligation = subscription + the instant of `expirationDate`. Attempt = obligation + the instant of `dunningAttemptDate`: the order, the
//! gateway call and the report are steps of the attempt. A head document per subscription, written in the same transaction, guards against
//! an expiry that moved: there is one live authorisation per subscription, and one attempt in flight.
//!
//! | module | purpose |
//! |---|---|
//! | [`case`] | the documents of a period in work, and the way to finish, pause or park it |
//! | [`subscription_state`] | what is known of the subscription across its periods |
//! | [`rules`] | whose event it is, and whether anything is to be done at all |
//! | [`gateway_step`] | one call to the gateway, with everything that is done about an unknown outcome |
//! | [`pay`] | the order, and the authorisation or charge of an attempt |
//! | [`capture`] | the capture of a live authorisation, and when it counts as done |
//! | [`settlement`] | what a gateway tells later about an operation that it took |
//! | [`deleted`] | payment details that were deleted here, and what Cleeng's list of them says then |
//! | [`find`] | a payment that an event names, and one that was made before this connector |
//! | [`tokens`] | which payment details use a stored token |
//! | [`release`] | giving up an authorisation that nobody will capture |
//! | [`notified`] | what a gateway's notification does to a payment, whenever it comes |
//! | `order_again` | another order, where one lapsed before its payment could be reported |
//! | [`report`] | telling Cleeng, with everything that is done when its answer is lost |
//!
//! A flow returns early with a [`Disposition`] as its error: `?` means "stop here, with this disposition".

pub mod capture;
pub mod deleted_details;
pub mod find;
pub mod gateway_step;
pub mod obligation_context;
pub mod payment_transitions;
pub mod release;
pub mod report;
pub mod settlement;
pub mod subscription_state;
pub mod token_usage;

use crate::cleeng::CleengError;
use crate::cleeng::webhook::WebhookError;
use crate::flow::Disposition;
use crate::journal::JournalError;
use crate::reason::RetryReason;

/// The result of a part of a flow: a value to continue with, or the disposition that ends the flow.
pub type FlowResult<T> = Result<T, Disposition>;

/// Puts the event back for this reason, after the door's own backoff.
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
    /// The door refuses such events; one that comes through was queued by another release and is kept for an operator.
    fn from(_: WebhookError) -> Self {
        retry(RetryReason::EventLacksAField)
    }
}

/// A read from Cleeng failed: it had no effect, so the event is put back.
#[must_use]
pub fn read_failed(error: &CleengError) -> Disposition {
    Disposition::Retry { after: error.retry_after(), reason: error.into() }
}
