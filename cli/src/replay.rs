//! Puts an event back on its function's queue: a webhook's body that was saved, the envelope of a dead letter, or what `aws sqs receive-message`
//! wrote. What was done is not done again, so that a replay too many is harmless.
//!
//! A message on a queue is trusted. So what is put there is checked as far as that is possible without its signature: it must be an event of
//! this publisher, of a topic that is known, for a payment method of ours.

use connector::cleeng::webhook::{Topic, Webhook};
use connector::ids::PaymentMethodId;
use connector::lambda::operator::Deployment;
use connector::lambda::queue::{Envelope, EnvelopeError, NotificationEnvelope};
use serde_json::{Value, json};

use crate::answer::{Answer, Failure};
use crate::arguments::Replay;
use crate::desk;
use crate::surroundings::Surroundings;

/// Replays what the file holds.
///
/// # Errors
/// [`Failure`] if it is no event of ours, or its queue does not take it.
pub async fn run(options: &Replay, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let text = match options.file.as_str() {
        "-" => surroundings.input.clone(),
        path => std::fs::read_to_string(path).map_err(|_| Failure::new(format!("{path} cannot be read as text"), "check the path"))?,
    };
    let deployment = desk::deployment(surroundings)?;
    let mut letters = Vec::new();
    // All of them are understood before the first one is sent.
    for message in messages(&text) {
        letters.push(Letter::read(&message, &deployment, surroundings)?);
    }
    if letters.is_empty() {
        return Err(Failure::new("there is no event in it", "give a webhook's body, an envelope, or what aws sqs receive-message wrote"));
    }
    let mut told = Vec::new();
    for letter in &letters {
        let queue = desk::queue_of(letter.topic, options.queue.as_deref(), &deployment, surroundings).await?;
        (surroundings.progress)(&format!("sending {}", letter.about));
        desk::send(queue.as_ref(), &letter.envelope).await.map_err(|failure| {
            let problem = format!("{} ({} of {} were sent before)", failure.problem, told.len(), letters.len());
            Failure::new(problem, failure.fix)
        })?;
        told.push(json!({ "event": letter.about }));
    }
    let lines: String = letters.iter().map(|letter| format!("on its queue: {}\n", letter.about)).collect();
    Ok(Answer {
        text: format!("{lines}its function takes it from there; connectorctl explain tells what became of it\n"),
        json: json!({ "sent": told }),
        code: 0,
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

struct Letter {
    topic: Option<Topic>,
    envelope: String,
    about: String,
}

impl Letter {
    fn read(text: &str, deployment: &Deployment, surroundings: &Surroundings) -> Result<Self, Failure> {
        match NotificationEnvelope::from_text(text) {
            Ok(envelope) => {
                let about = format!("a notification of {}", envelope.gateway());
                return Ok(Self { topic: None, envelope: envelope.to_text(), about });
            }
            Err(EnvelopeError::Version) => return Err(unreadable(EnvelopeError::Version)),
            Err(_) => {}
        }
        let envelope = match Envelope::from_text(text) {
            Err(EnvelopeError::Garbled) => Envelope::of_waiting(text, surroundings.clock.now()),
            read => read,
        };
        let envelope = envelope.map_err(unreadable)?;
        let event = envelope.open().map_err(unreadable)?;
        check(event.get(), deployment)?;
        let subscription = event.get().data.get("subscriptionId").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let of = subscription.map(|id| format!(" of subscription {id}")).unwrap_or_default();
        let about = format!("{}{of}, first received {}", envelope.topic().as_str(), envelope.received_at());
        Ok(Self { topic: Some(envelope.topic()), envelope: envelope.to_text(), about })
    }
}

fn unreadable(error: EnvelopeError) -> Failure {
    Failure::new(
        format!("it is no event of this connector: {error}"),
        "give a webhook's body as Cleeng sent it, or an envelope as it lay on the queue",
    )
}

fn check(event: &Webhook, deployment: &Deployment) -> Result<(), Failure> {
    if event.publisher != deployment.settings.publisher {
        return Err(Failure::new("the event belongs to another publisher than CONNECTOR_PUBLISHER_ID", "check the file, and --env-file"));
    }
    let method = event.data.get("paymentMethodId").filter(|id| !id.is_null());
    let ours = method.is_none_or(|id| PaymentMethodId::from_json(id).is_ok_and(|id| deployment.settings.methods.contains_key(&id)));
    if !ours {
        return Err(Failure::new(
            "the event's payment method is not one of PAYMENT_METHODS: the function would ignore it",
            "add the method, or leave it",
        ));
    }
    event.check().map_err(|error| {
        Failure::new(format!("the event lacks what its function needs: {error}"), "compare it with Cleeng's documentation")
    })
}
