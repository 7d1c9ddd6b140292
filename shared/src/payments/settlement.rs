//! What a gateway notifies later about an operation that it acknowledged: the way from its notification to the payment and to the
//! obligation that waits. It changes the payment record alone; the flow that owns the obligation reports to Cleeng, when its event is
//! requeued.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::gateway::{GatewayName, Reference};
use crate::ids::ExternalPaymentId;
use crate::journal::payment::PaymentRecord;
use crate::journal::payment::refunds::RefundState;
use crate::journal::store::Key;
use crate::journal::{JournalError, SCHEMA};

/// The look-up document of an operation: which payment it belongs to, and which obligation waits for its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayOperation {
    /// The schema that it was written with.
    pub schema: u32,
    /// The payment.
    pub reference: Reference,
    /// The obligation whose open attempt keeps the waiting event.
    pub obligation: String,
}

impl GatewayOperation {
    /// A document for this payment and obligation.
    #[must_use]
    pub fn new(reference: Reference, obligation: &Key) -> Self {
        Self { schema: SCHEMA, reference, obligation: obligation.as_str().to_owned() }
    }

    /// Its key in the journal: by the gateway's id of the operation, and, from the intent on, by our own name of it, which the gateway
    /// echoes. `None` for an id that cannot be part of a key.
    #[must_use]
    pub fn key(gateway: GatewayName, operation_ref: &str) -> Option<Key> {
        let id = ExternalPaymentId::new(operation_ref).ok()?;
        Some(Key::new("gateway-operation", &[gateway.as_str(), id.as_str()]))
    }
}

/// What a notification about a refund changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundSettlement {
    /// The refund has its result: the event that waits for it can continue.
    Settled,
    /// A refund that had succeeded failed after all: the money is with the merchant again, and Cleeng may have a success report.
    FailedLater,
    /// The payment knew it already.
    AlreadyKnown,
    /// The payment knows no such refund (yet): the worker that asked for it may have crashed before it could record the gateway's id, and
    /// the next delivery records it. To be tried again.
    NotFound,
}

/// Settles a refund by the gateway's id of it, or by our own name of it.
///
/// # Errors
/// [`JournalError`] for an inconsistent record; nothing is to be written then.
pub fn settle_refund(
    payment: &mut PaymentRecord,
    operation_ref: &str,
    success: bool,
    now: Timestamp,
) -> Result<RefundSettlement, JournalError> {
    let named = |part: &crate::journal::payment::refunds::RefundRecord| {
        part.operation_ref.as_deref() == Some(operation_ref) || part.reference.as_str() == operation_ref
    };
    let Some((index, part)) = payment.refunds.iter().enumerate().find(|(_, part)| named(part)) else {
        return Ok(RefundSettlement::NotFound);
    };
    let was_done = part.state == RefundState::Done;
    if !payment.complete_refund(index, success, now)? {
        return Ok(RefundSettlement::AlreadyKnown);
    }
    Ok(if was_done { RefundSettlement::FailedLater } else { RefundSettlement::Settled })
}
