//! Payment details that are gone: deleted here, or removed in Cleeng by the customer, whose "my account" does so by itself with details that
//! are not active any more. Cleeng then answers "not found" if it is asked for the payments that are authorised with them. The same answer
//! comes from a wrong address and from something in between, so that it is believed only where Cleeng lists others' at the same time.

use std::sync::Arc;

use super::{FlowResult, read_failed};
use crate::cleeng::{CleengError, Payment, SubscriptionStatus, UnknownAnswer};
use crate::flow::FlowContext;
use crate::ids::PaymentDetailsId;
use crate::journal::record::{AttemptKind, Obligation, StepStatus};
use crate::journal::store::Key;
use crate::journal::transaction::Transaction;

/// The step that deletes the details in Cleeng.
pub const DELETE_DETAILS: &str = "delete_details";

/// Cleeng does not know the details, or it is not Cleeng that says so.
const UNCONFIRMED: CleengError = CleengError::Unknown(UnknownAnswer::Unconfirmed(404));

/// How many others' details are asked for at most, of each payment method.
const MAX_WITNESSES: usize = 3;

/// The journal's key of what happened to deactivated details.
#[must_use]
pub fn deactivation_key(details: &PaymentDetailsId) -> Key {
    Key::new("deactivation", &[details.as_str()])
}

/// Whether these details were deleted here, or their deletion in Cleeng was begun.
async fn were_deleted(flow_context: &FlowContext, details: &PaymentDetailsId) -> FlowResult<bool> {
    let mut work = Transaction::new(Arc::clone(&flow_context.store));
    let key = deactivation_key(details);
    work.load(std::slice::from_ref(&key)).await?;
    let obligation: Option<Obligation> = work.read(&key)?;
    let attempts = obligation.iter().flat_map(|obligation| &obligation.attempts);
    let mut deletions =
        attempts.filter(|attempt| attempt.kind == AttemptKind::Deactivate).filter_map(|attempt| attempt.step(DELETE_DETAILS));
    Ok(deletions.any(|step| step.state != StepStatus::NoEffect))
}

/// What Cleeng has as authorised with payment details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorisedList {
    /// These payments.
    Payments(Vec<Payment>),
    /// There is no list, because the details are gone.
    DetailsGone,
}

impl AuthorisedList {
    /// The payments; none if the details are gone.
    #[must_use]
    pub fn into_payments(self) -> Vec<Payment> {
        match self {
            Self::Payments(payments) => payments,
            Self::DetailsGone => Vec::new(),
        }
    }
}

/// Asks Cleeng which payments it has as authorised with these details.
///
/// # Errors
/// `Err(Disposition::Retry)` if Cleeng cannot be asked; with [`RetryReason::CleengNotFound`](crate::reason::RetryReason::CleengNotFound) if
/// it is not certain that the details are gone.
pub async fn authorised_payments(flow_context: &FlowContext, details: &PaymentDetailsId) -> FlowResult<AuthorisedList> {
    let mut answer = flow_context.cleeng.authorised_payments(details).await;
    if answer == Err(UNCONFIRMED) && lists_others(flow_context, details).await? {
        answer = flow_context.cleeng.authorised_payments(details).await;
    }
    match answer {
        Err(UNCONFIRMED) if were_deleted(flow_context, details).await? => Ok(AuthorisedList::DetailsGone),
        Ok(payments) => Ok(AuthorisedList::Payments(payments)),
        Err(CleengError::NotFound) => Ok(AuthorisedList::DetailsGone),
        Err(error) => Err(read_failed(&error)),
    }
}

/// Whether these details are gone in Cleeng.
///
/// # Errors
/// As [`authorised_payments`].
pub async fn are_gone(flow_context: &FlowContext, details: &PaymentDetailsId) -> FlowResult<bool> {
    Ok(were_deleted(flow_context, details).await? || authorised_payments(flow_context, details).await? == AuthorisedList::DetailsGone)
}

/// Has Cleeng list the payments of details that running subscriptions renew with. The client remembers that it did.
async fn lists_others(flow_context: &FlowContext, details: &PaymentDetailsId) -> FlowResult<bool> {
    for method in flow_context.policy.methods.keys() {
        let page = flow_context.cleeng.subscriptions(method, 0).await.map_err(|error| read_failed(&error))?;
        let running = page.into_iter().filter(|subscription| subscription.status == SubscriptionStatus::Active);
        let others = running.filter_map(|subscription| subscription.payment_details).filter(|other| other != details);
        for other in others.take(MAX_WITNESSES) {
            if flow_context.cleeng.authorised_payments(&other).await.is_ok() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
