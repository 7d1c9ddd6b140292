//! The second door: messages of the function's queue. Each is opened, given to the flow, and what the flow says decides whether it leaves the
//! queue or comes back later.
//!
//! It must never lose a message: whatever cannot be dealt with is reported as failed, so that SQS keeps it and, in the end, moves it to the
//! dead-letter queue.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::app::{App, FunctionHandler, Invocation};
use super::queue::NotificationEnvelope;
use crate::cleeng::envelope::{Envelope, EnvelopeError};
use crate::clock::{Clock, Timestamp};
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::metrics::Metric;

/// Left of the function's time for what comes after the flow: the message's delay, the answer to the runtime.
const RESERVE: Duration = Duration::from_secs(1);
/// With less than this nothing is begun.
const SHORTEST_START: Duration = Duration::from_secs(5);
/// The first wait, doubled with every delivery.
const FIRST_DELAY: Duration = Duration::from_secs(30);
/// The longest wait.
const MAX_DELAY: Duration = crate::journal::MAX_BACKOFF;
/// A deadline before the year 2020 is none: local runtimes do not tell one.
const NO_DEADLINE_BEFORE: Timestamp = Timestamp::from_secs(1_577_836_800);
/// The time of a function with a queue where the runtime tells none: the `Timeout` that `template.yaml` gives it. The longest call of a flow
/// has to fit into it.
pub(super) const FUNCTION_TIMEOUT: Duration = Duration::from_secs(90);

/// Deals with a batch, one message after the other, and names those that stay on the queue (Lambda, "Reporting batch item failures").
pub async fn consume_batch(app: &App, batch: SqsEvent, invocation: &Invocation) -> Value {
    let mut failed = Vec::new();
    for message in batch.records {
        let id = message.message_id.clone().unwrap_or_default();
        if !consume(app, &message, &id, invocation).await {
            failed.push(json!({ "itemIdentifier": id }));
        }
    }
    json!({ "batchItemFailures": failed })
}

/// When a flow has to be done, the reserve taken off; `function_timeout` counts where the runtime does not tell.
pub(super) fn deadline(clock: &dyn Clock, invocation: &Invocation, function_timeout: Duration) -> Timestamp {
    let told = invocation.deadline;
    let end = if told < NO_DEADLINE_BEFORE { clock.now().after(function_timeout) } else { told };
    end.before(RESERVE)
}

/// Whether the message is dealt with and may leave the queue.
async fn consume(app: &App, message: &SqsMessage, id: &str, invocation: &Invocation) -> bool {
    let deadline = deadline(app.state.clock.as_ref(), invocation, FUNCTION_TIMEOUT);
    if deadline.since(app.state.clock.now()) < SHORTEST_START {
        warn!(request_id = invocation.request_id, message_id = id, "message not started: too little time is left");
        return false;
    }
    let count = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1_u32).max(1);
    let delivery = |received_at| Delivery { id: format!("{}/{id}", invocation.request_id), deadline, received_at, count };
    match run_flow(app, message.body.as_deref().unwrap_or_default(), delivery).await {
        Ok((delivery, disposition)) => conclude(app, message, id, &delivery, &disposition).await,
        Err(unreadable) => {
            let code = unreadable.code();
            error!(request_id = invocation.request_id, message_id = id, code, "message cannot be opened; it will become a dead letter");
            app.state.metrics.count(Metric::Deferred, &[("reason", code)]);
            false
        }
    }
}

/// Opens a message and gives it to the flow.
async fn run_flow(app: &App, text: &str, delivery: impl FnOnce(Timestamp) -> Delivery) -> Result<(Delivery, Disposition), EnvelopeError> {
    let dependencies = app.dependencies();
    match &app.state.handler {
        FunctionHandler::Webhooks(flow) => {
            let envelope = Envelope::from_text(text)?;
            let (event, delivery) = (envelope.open()?, delivery(envelope.received_at()));
            if event.get().topic != flow.topic() {
                return Err(EnvelopeError::WrongQueue);
            }
            let disposition = flow.handle(&dependencies.flow_context, &event, &delivery).await;
            Ok((delivery, disposition))
        }
        FunctionHandler::Notifications(flow) => {
            let envelope = NotificationEnvelope::from_text(text)?;
            let (gateway, delivery) = (envelope.gateway(), delivery(envelope.received_at()));
            let disposition = flow.handle(&dependencies.flow_context, gateway, &envelope.open(), &delivery).await;
            Ok((delivery, disposition))
        }
        // It has no queue.
        FunctionHandler::Scheduled(_) => Err(EnvelopeError::WrongQueue),
    }
}

async fn conclude(app: &App, message: &SqsMessage, id: &str, delivery: &Delivery, disposition: &Disposition) -> bool {
    let metrics = &app.state.metrics;
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
            warn!(delivery_id, reason = reason.as_str(), "event parked for an operator");
            true
        }
        Disposition::Retry { after, reason } => {
            metrics.count(Metric::Deferred, &[("reason", reason.as_str())]);
            metrics.duration(Metric::UnsettledAge, app.state.clock.now().since(delivery.received_at), &[]);
            if reason.is_about_credentials() {
                app.refresh("credentials").await;
            }
            let delay = after.map_or_else(|| backoff(delivery.count, id), |after| after.clamp(Duration::from_secs(1), MAX_DELAY));
            info!(delivery_id, reason = reason.as_str(), count = delivery.count, delay_s = delay.as_secs(), "event deferred");
            defer(app, message, delivery_id, delay).await;
            false
        }
    }
}

/// If the delay fails, the message comes back when its visibility timeout ends: later than wished, and not lost.
async fn defer(app: &App, message: &SqsMessage, delivery_id: &str, delay: Duration) {
    let Some(handle) = message.receipt_handle.as_deref() else { return };
    if let Err(queue) = app.state.queue.delay(handle, delay).await {
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
