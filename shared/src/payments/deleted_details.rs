//! Payment details that were deleted here. Cleeng then answers "not found" if it is asked for the payments that are authorised with them,
//! which means that there are none. For details that were not deleted here the same answer means nothing, because a wrong address gets it
//! too.

use std::sync::Arc;

use super::{FlowResult, read_failed};
use crate::cleeng::{CleengError, Payment};
use crate::flow::FlowContext;
use crate::ids::PaymentDetailsId;
use crate::journal::record::{AttemptKind, Obligation, StepStatus};
use crate::journal::store::Key;
use crate::journal::transaction::Transaction;

/// The step that deletes the details in Cleeng.
pub const DELETE_DETAILS: &str = "delete_details";

/// The journal's key of what happened to deactivated details.
#[must_use]
pub fn deactivation_key(details: &PaymentDetailsId) -> Key {
    Key::new("deactivation", &[details.as_str()])
}

/// Whether these details were deleted here, or their deletion in Cleeng was begun.
///
/// # Errors
/// `Err(Disposition::Retry)` if the journal cannot be read.
pub async fn were_deleted(flow_context: &FlowContext, details: &PaymentDetailsId) -> FlowResult<bool> {
    let mut work = Transaction::new(Arc::clone(&flow_context.store));
    let key = deactivation_key(details);
    work.load(std::slice::from_ref(&key)).await?;
    let obligation: Option<Obligation> = work.read(&key)?;
    let attempts = obligation.iter().flat_map(|obligation| &obligation.attempts);
    let mut deletions =
        attempts.filter(|attempt| attempt.kind == AttemptKind::Deactivate).filter_map(|attempt| attempt.step(DELETE_DETAILS));
    Ok(deletions.any(|step| step.state != StepStatus::NoEffect))
}

/// The payments that Cleeng has as authorised with these details: none if they were deleted here.
///
/// # Errors
/// `Err(Disposition::Retry)` if Cleeng cannot be asked, or does not know details that were not deleted here.
pub async fn authorised_payments(flow_context: &FlowContext, details: &PaymentDetailsId) -> FlowResult<Vec<Payment>> {
    match flow_context.cleeng.authorised_payments(details).await {
        Ok(payments) => Ok(payments),
        Err(CleengError::NotFound) if were_deleted(flow_context, details).await? => Ok(Vec::new()),
        Err(error) => Err(read_failed(&error)),
    }
}
