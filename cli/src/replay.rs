//! Requeues an event to its function: a webhook's body that was saved, the envelope of a dead letter, or what `aws sqs
//! receive-message` wrote. Finished steps are not repeated, so an extra replay is harmless.
//!
//! A message on a queue is trusted. So a replayed message is checked as far as that is possible without its signature: it must be an event
//! of this publisher, of a topic that is known, for a payment method of ours.

use connector::cleeng::envelope::{Envelope, EnvelopeError};
use connector::cleeng::webhook::{Topic, Webhook};
use connector::ids::PaymentMethodId;
use connector::lambda::operator::Deployment;
use connector::lambda::queue::NotificationEnvelope;
use serde_json::{Value, json};

use crate::arguments::Replay;
use crate::command_env::CommandEnv;
use crate::output::{CommandError, CommandOutput};
use crate::session;

/// Replays what the file holds.
///
/// # Errors
/// [`CommandError`] if it is no event of ours, or its queue does not take it.
pub async fn run(options: &Replay, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let text = env.input(&options.file)?;
    let deployment = session::deployment(env)?;
    let mut prepared = Vec::new();
    // All of them are understood before the first one is sent.
    for message in messages(&text) {
        prepared.push(PreparedMessage::read(&message, &deployment, env)?);
    }
    if prepared.is_empty() {
        return Err(CommandError::new(
            "the file holds no event",
            "give a webhook's body, an envelope, or the output of aws sqs receive-message",
        ));
    }
    let mut told = Vec::new();
    for message in &prepared {
        let queue = session::event_queue(message.topic, options.queue.as_deref(), &deployment, env).await?;
        (env.progress)(&format!("sending {}", message.about));
        session::send(queue.as_ref(), &message.envelope).await.map_err(|failure| {
            let problem = format!("{} ({} of {} were sent before)", failure.problem, told.len(), prepared.len());
            CommandError::new(problem, failure.fix)
        })?;
        told.push(json!({ "event": message.about }));
    }
    let lines: String = prepared.iter().map(|message| format!("requeued: {}\n", message.about)).collect();
    Ok(CommandOutput {
        text: format!("{lines}its function processes it now; connectorctl explain ID shows what it did\n"),
        json: json!({ "sent": told }),
        exit_code: 0,
    })
}

/// The messages in a text: those of an SQS answer, or the text itself.
fn messages(text: &str) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return vec![text.to_owned()] };
    match value.get("Messages").and_then(Value::as_array) {
        Some(list) => list.iter().filter_map(|message| message.get("Body")?.as_str().map(str::to_owned)).collect(),
        None => vec![text.to_owned()],
    }
}

struct PreparedMessage {
    topic: Option<Topic>,
    envelope: String,
    about: String,
}

impl PreparedMessage {
    fn read(text: &str, deployment: &Deployment, env: &CommandEnv) -> Result<Self, CommandError> {
        match NotificationEnvelope::from_text(text) {
            Ok(envelope) => {
                let about = format!("a notification of {}", envelope.gateway());
                return Ok(Self { topic: None, envelope: envelope.to_text(), about });
            }
            Err(EnvelopeError::Version) => return Err(unreadable(EnvelopeError::Version)),
            Err(_) => {}
        }
        let envelope = match Envelope::from_text(text) {
            Err(EnvelopeError::Garbled) => Envelope::from_waiting_event(text, env.clock.now()),
            read => read,
        };
        let envelope = envelope.map_err(unreadable)?;
        let event = envelope.open().map_err(unreadable)?;
        check(event.get(), deployment)?;
        let subscription = event.get().data.get("subscriptionId").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let suffix = subscription.map(|id| format!(" of subscription {id}")).unwrap_or_default();
        let about = format!("{}{suffix}, first received {}", envelope.topic().as_str(), envelope.received_at());
        Ok(Self { topic: Some(envelope.topic()), envelope: envelope.to_text(), about })
    }
}

fn unreadable(error: EnvelopeError) -> CommandError {
    CommandError::new(
        format!("it is no event of this connector: {error}"),
        "give a webhook's body as Cleeng sent it, or an envelope as it lay on the queue",
    )
}

fn check(event: &Webhook, deployment: &Deployment) -> Result<(), CommandError> {
    if event.publisher != deployment.settings.publisher {
        return Err(CommandError::new(
            "the event belongs to another publisher than CONNECTOR_PUBLISHER_ID",
            "check the file, and the settings that --stack or --env-file give",
        ));
    }
    let method = event.data.get("paymentMethodId").filter(|id| !id.is_null());
    let ours = method.is_none_or(|id| PaymentMethodId::from_json(id).is_ok_and(|id| deployment.settings.methods.contains_key(&id)));
    if !ours {
        return Err(CommandError::new(
            "the event's payment method is not one of PAYMENT_METHODS: the function would ignore it",
            "add the payment method to PAYMENT_METHODS, or do not replay the event",
        ));
    }
    event.validate().map_err(|error| {
        CommandError::new(format!("the event lacks what its function needs: {error}"), "give the body exactly as Cleeng sent it")
    })
}
