//! Events that Cleeng signed and that this function cannot act on: it cannot read them, or they are another topic's or another publisher's.
//! They are parked with their text, so that an operator can have them delivered again: to a release that reads them, or after the setting is
//! right. Must never lose one, and never act on one.

use ring::digest::{SHA256, digest};

use crate::cleeng::envelope::Envelope;
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::delivery::Delivery;
use crate::flow::{Disposition, FlowContext};
use crate::ids::PublisherId;
use crate::journal::record::AttemptKind;
use crate::journal::store::Key;
use crate::payments::FlowResult;
use crate::payments::obligation_context::ObligationContext;
use crate::reason::{CompletionReason, ParkReason};

/// Opens the envelope of an event that this function acts on; else says why it does not.
///
/// # Errors
/// The reason to park it.
pub(super) fn open(envelope: &Envelope, topic: Topic, publisher: &PublisherId) -> Result<Verified<Webhook>, ParkReason> {
    let Ok(event) = envelope.open() else { return Err(ParkReason::EventUnreadable) };
    if event.get().topic != topic {
        return Err(ParkReason::EventOfAnotherTopic);
    }
    if event.get().publisher != *publisher {
        return Err(ParkReason::EventOfAnotherPublisher);
    }
    event.get().validate().map(|()| event).map_err(|_| ParkReason::EventUnreadable)
}

/// Parks an event, once for each text.
pub(super) async fn park(flow_context: &FlowContext, envelope: &Envelope, reason: ParkReason, delivery: &Delivery) -> Disposition {
    try_to_park(flow_context, envelope, reason, delivery).await.unwrap_or_else(|disposition| disposition)
}

async fn try_to_park(flow_context: &FlowContext, envelope: &Envelope, reason: ParkReason, delivery: &Delivery) -> FlowResult<Disposition> {
    let hash = hex::encode(digest(&SHA256, envelope.body().as_bytes()));
    let key = Key::new("unreadable-event", &[envelope.topic().as_str(), &hash]);
    let mut ctx = ObligationContext::open_without_subscription(flow_context, key, &[], delivery).await?;
    if ctx.session.obligation.is_parked() {
        return Ok(Disposition::Completed(CompletionReason::Parked));
    }
    ctx.event = Some(envelope.to_text());
    ctx.park_without_attempt(AttemptKind::from(envelope.topic()), ctx.now(), reason).await
}

#[cfg(test)]
mod tests;
