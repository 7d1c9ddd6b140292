//! Any input of Lambda, for any function, is an event or an error: nothing ends the process, every request gets a response, a batch fails
//! by the ids of its own messages, and every queued message was signed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::Topic;
use connector::clock::Clock;
use connector::lambda::event::{self, Event};
use connector::lambda::queue::NotificationEnvelope;
use connector::lambda::state::{FunctionKind, Invocation};
use gateway_notification::GatewayNotifications;
use reconciliation::Reconciliation;
use sandbox::testkit::fixtures::{WEBHOOK_SECRET, flow_for};
use serde_json::Value;

use crate::tools::{block_on, functions, hex};

pub(super) fn body(input: &[u8]) {
    let raw = String::from_utf8_lossy(input);
    let read = event::read(&raw);
    let topics = [Topic::RefundPayment, Topic::SubscriptionReadyForPaymentAuthorisation];
    let webhooks = topics.map(|topic| FunctionKind::Webhooks(flow_for(topic).expect("a flow").into()));
    let others = [FunctionKind::Notifications(Arc::new(GatewayNotifications)), FunctionKind::Scheduled(Arc::new(Reconciliation))];
    let deadline = functions::clock().now().after(std::time::Duration::from_secs(90));
    let invocation = Invocation { request_id: "request-1".to_owned(), deadline };
    for kind in webhooks.into_iter().chain(others) {
        block_on(async {
            let function = functions::start_function(kind).await;
            let answered = function.app.handle(&raw, &invocation).await;
            assert!(read.is_ok() || answered.is_err(), "something is done for no event");
            if let Ok(answer) = &answered {
                check_response(read.as_ref().ok(), answer);
            }
            let refused = answered.as_ref().is_ok_and(|answer| answer["statusCode"] == 401);
            assert!(function.quarantine.sent().is_empty() || (refused && function.queue.sent().is_empty()), "a good event is kept aside");
            for message in function.queue.sent() {
                check_queued(read.as_ref().ok(), &message);
            }
        });
    }
}

fn check_response(event: Option<&Event>, answer: &Value) {
    match event {
        Some(Event::Http(_)) => {
            let status = answer["statusCode"].as_u64().unwrap_or(0);
            assert!([200, 400, 401, 404, 405, 413, 503].contains(&status), "{answer}");
        }
        Some(Event::Sqs(batch)) => {
            let ids: Vec<&str> = batch.records.iter().map(|record| record.message_id.as_deref().unwrap_or_default()).collect();
            let failed = answer["batchItemFailures"].as_array().expect("a list");
            assert!(failed.iter().all(|failure| failure["itemIdentifier"].as_str().is_some_and(|id| ids.contains(&id))), "{answer}");
        }
        Some(Event::Schedule) | None => {}
    }
}

/// A queued message is one that came through the ingress, under its sender's signature.
fn check_queued(event: Option<&Event>, message: &str) {
    let Some(Event::Http(Ok(request))) = event else { panic!("something is queued that nobody sent") };
    if NotificationEnvelope::from_text(message).is_ok() {
        return;
    }
    let envelope = Envelope::from_text(message).expect("our own envelope");
    let text: Value = serde_json::from_str(message).expect("JSON");
    let body = text["body"].as_str().expect("a text");
    let signature = sandbox::simulators::cleeng::sign(WEBHOOK_SECRET, body.as_bytes());
    let bytes: Vec<u8> = (0..32).filter_map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).ok()).collect();
    let told = request.headers().get("x-cleeng-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(told.to_ascii_lowercase().contains(&hex(&bytes)) || told.contains(&STANDARD.encode(&bytes)), "an unsigned event is queued");
    assert!(request.body()[..] == *body.as_bytes() && envelope.open().is_ok(), "another event is queued");
}
