//! The consumer of the function's queue. It opens each message and runs the flow, whose disposition decides whether the message leaves the
//! queue or is delivered again.
//!
//! It must never lose a message: what cannot be handled is reported as failed, so that SQS keeps it and finally moves it to the dead-letter
//! queue.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::queue::{NotificationEnvelope, UnverifiedNotification};
use super::state::{AppState, FUNCTION_TIMEOUT, FunctionKind, Invocation};
use super::{notification_handler, unreadable_event};
use crate::cleeng::envelope::{Envelope, EnvelopeError};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::metrics::Metric;
use crate::reason::RetryReason;

/// With less time than this no flow is started.
const SHORTEST_START: Duration = Duration::from_secs(5);
/// The first wait, doubled with every delivery.
const FIRST_DELAY: Duration = Duration::from_secs(30);
/// The longest wait.
const MAX_DELAY: Duration = crate::journal::MAX_BACKOFF;
/// Handles a batch, one message after the other, and names those that stay on the queue (Lambda, "Reporting batch item failures").
pub(super) async fn consume_batch(state: &AppState, batch: SqsEvent, invocation: &Invocation) -> Value {
    let mut failed = Vec::new();
    for message in batch.records {
        let id = message.message_id.clone().unwrap_or_default();
        if !consume(state, &message, &id, invocation).await {
            failed.push(json!({ "itemIdentifier": id }));
        }
    }
    json!({ "batchItemFailures": failed })
}

/// Whether the message is handled and may leave the queue.
async fn consume(state: &AppState, message: &SqsMessage, id: &str, invocation: &Invocation) -> bool {
    let deadline = invocation.flow_deadline(state.clock.as_ref(), FUNCTION_TIMEOUT);
    if deadline.since(state.clock.now()) < SHORTEST_START {
        warn!(request_id = invocation.request_id, message_id = id, "message not started: too little time is left");
        return false;
    }
    let count = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1_u32).max(1);
    let delivery = |received_at| Delivery { id: format!("{}/{id}", invocation.request_id), deadline, received_at, count };
    match run_flow(state, message.body.as_deref().unwrap_or_default(), delivery, invocation).await {
        Ok((delivery, disposition)) => conclude(state, message, id, &delivery, &disposition).await,
        Err(unreadable) => {
            let code = unreadable.code();
            error!(request_id = invocation.request_id, message_id = id, code, "message cannot be opened; it will become a dead letter");
            state.metrics.count(Metric::Deferred, &[("reason", code)]);
            state.count_fault(code);
            false
        }
    }
}

/// Opens a message and runs the flow.
async fn run_flow(
    state: &AppState,
    text: &str,
    delivery: impl FnOnce(Timestamp) -> Delivery,
    invocation: &Invocation,
) -> Result<(Delivery, Disposition), EnvelopeError> {
    let dependencies = state.dependencies();
    match &state.kind {
        FunctionKind::Webhooks(flow) => {
            let envelope = Envelope::from_text(text)?;
            let (context, delivery) = (&dependencies.flow_context, delivery(envelope.received_at()));
            let disposition = match unreadable_event::open(&envelope, flow.topic(), &context.policy.publisher) {
                Ok(event) => flow.handle(context, &event, &delivery).await,
                Err(reason) => unreadable_event::park(context, &envelope, reason, &delivery).await,
            };
            Ok((delivery, disposition))
        }
        FunctionKind::Notifications(flow) => {
            if let Some(kept) = UnverifiedNotification::from_text(text) {
                return Ok((delivery(kept.received_at()), notification_handler::recheck(state, &kept, invocation).await));
            }
            let envelope = NotificationEnvelope::from_text(text)?;
            let (gateway, delivery) = (envelope.gateway(), delivery(envelope.received_at()));
            let disposition = flow.handle(&dependencies.flow_context, gateway, &envelope.open(), &delivery).await;
            Ok((delivery, disposition))
        }
        // Its queue is the quarantine.
        FunctionKind::Scheduled(_) => Err(EnvelopeError::WrongQueue),
    }
}

async fn conclude(state: &AppState, message: &SqsMessage, id: &str, delivery: &Delivery, disposition: &Disposition) -> bool {
    let metrics = &state.metrics;
    let delivery_id = delivery.id.as_str();
    match *disposition {
        Disposition::Completed(outcome) => {
            metrics.count(Metric::Settled, &[("outcome", outcome.as_str())]);
            info!(delivery_id, outcome = outcome.as_str(), count = delivery.count, "event settled");
            true
        }
        Disposition::NotOurs => {
            metrics.count(Metric::EventNotOurs, &[]);
            info!(delivery_id, "event is not ours");
            true
        }
        Disposition::Parked(reason) => {
            state.count_fault(reason.as_str());
            warn!(delivery_id, reason = reason.as_str(), "event parked for an operator");
            true
        }
        Disposition::Postponed(reason) => {
            count_deferral(state, delivery, reason).await;
            info!(delivery_id, reason = reason.as_str(), count = delivery.count, "event postponed; the journal keeps it");
            true
        }
        Disposition::Retry { after, reason } => {
            count_deferral(state, delivery, reason).await;
            let delay = after.map_or_else(|| backoff(delivery.count, id), |after| after.clamp(Duration::from_secs(1), MAX_DELAY));
            info!(delivery_id, reason = reason.as_str(), count = delivery.count, delay_s = delay.as_secs(), "event deferred");
            defer(state, message, delivery_id, delay).await;
            false
        }
    }
}

async fn count_deferral(state: &AppState, delivery: &Delivery, reason: RetryReason) {
    state.metrics.count(Metric::Deferred, &[("reason", reason.as_str())]);
    if reason.is_fault() {
        state.count_fault(reason.as_str());
    }
    state.metrics.duration(Metric::UnsettledAge, state.clock.now().since(delivery.received_at), &[]);
    if reason.is_about_credentials() {
        state.dependencies.refresh("credentials").await;
    }
}

/// If the delay fails, the message is delivered again when its visibility timeout ends: later than wished, and not lost.
async fn defer(state: &AppState, message: &SqsMessage, delivery_id: &str, delay: Duration) {
    let Some(handle) = message.receipt_handle.as_deref() else { return };
    if let Err(queue) = state.queue.delay(handle, delay).await {
        warn!(delivery_id, %queue, "message could not be deferred; it comes back after its visibility timeout");
    }
}

/// 30 s, doubled with every delivery up to 15 min, less up to a fifth, by the message's id, so that a wave does not come back as one.
fn backoff(count: u32, id: &str) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1).min(10))).min(MAX_DELAY);
    let spread = id.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619)) >> 16;
    let less = doubled.checked_div(5).unwrap_or_default().saturating_mul(spread).checked_div(65_536).unwrap_or_default();
    Duration::from_secs(doubled.saturating_sub(less).as_secs())
}

#[cfg(test)]
mod tests;
