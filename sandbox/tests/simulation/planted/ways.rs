//! Mistakes on the way out and on the way in.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::cleeng::webhook::{Topic, Verified, Webhook};
use connector::flow::{Delivery, Flow, Verdict, World};
use connector::http::{Method, Request, Response, Transport, TransportError};
use sandbox::simulation::Tricks;

use super::assert_caught;

/// What Cleeng does not answer is told it once more, at once.
struct ToldTwice;

struct Twice(Arc<dyn Transport>);

#[async_trait]
impl Transport for Twice {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let report = request.method == Method::POST && request.url.ends_with("/3.1/payments");
        let again = request.clone();
        match self.0.send(request).await {
            Err(TransportError::Unanswered(_)) if report => self.0.send(again).await,
            answer => answer,
        }
    }
}

impl Tricks for ToldTwice {
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Twice(way))
    }
}

/// An event that was seen is taken for done.
#[derive(Default)]
struct SeenIsDone(Arc<Mutex<BTreeSet<String>>>);

struct Seen {
    inner: Box<dyn Flow>,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

#[async_trait]
impl Flow for Seen {
    fn topic(&self) -> Topic {
        self.inner.topic()
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        let webhook = event.get();
        let first = self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{:?} {}", webhook.topic, webhook.data));
        if first { self.inner.settle(world, event, delivery).await } else { Verdict::Settled("duplicate") }
    }
}

impl Tricks for SeenIsDone {
    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        Box::new(Seen { inner: flow, seen: Arc::clone(&self.0) })
    }

    fn begins(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A door says 200 although its queue did not take the event.
struct AnsweredTooEarly;

impl Tricks for AnsweredTooEarly {
    fn answers_too_early(&self) -> bool {
        true
    }
}

/// The log shows what was told.
struct Talkative;

struct Telling(Box<dyn Flow>);

#[async_trait]
impl Flow for Telling {
    fn topic(&self) -> Topic {
        self.0.topic()
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        let verdict = self.0.settle(world, event, delivery).await;
        if matches!(verdict, Verdict::Later { .. }) {
            tracing::warn!(event = %event.get().data, "cannot be done now");
        }
        verdict
    }
}

impl Tricks for Talkative {
    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        Box::new(Telling(flow))
    }
}

#[test]
fn a_report_that_is_made_twice_blindly_is_found() {
    assert_caught(&ToldTwice, &["Cleeng's contract", "twice"]);
}

#[test]
fn an_event_that_is_marked_as_done_before_it_is_done_is_found() {
    assert_caught(&SeenIsDone::default(), &["never settled", "held for ever", "the journal knows nothing", "at the gateway"]);
}

#[test]
fn an_event_that_is_acknowledged_before_it_is_durable_is_found() {
    assert_caught(&AnsweredTooEarly, &["held for ever", "is lost", "at the gateway"]);
}

#[test]
fn a_log_that_shows_what_is_personal_is_found() {
    assert_caught(&Talkative, &["logged"]);
}
