//! Defects at the ingress, in reports and in logs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::cleeng::webhook::{Topic, Verified, Webhook};
use connector::delivery::Delivery;
use connector::flow::{Disposition, Flow, FlowContext};
use connector::http::{Method, Request, Response, StatusCode, Transport, TransportError};
use connector::reason::CompletionReason;
use sandbox::simulation::fault_profile::FaultProfile;
use sandbox::testkit::interceptors::Interceptors;

use super::{assert_detected, assert_detected_with};

/// What Cleeng does not answer is told it once more, at once.
struct ReportRepeatedBlindly;

struct RepeatingTransport(Arc<dyn Transport>);

#[async_trait]
impl Transport for RepeatingTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let report = request.method == Method::POST && request.url.ends_with("/3.1/payments");
        let again = request.clone();
        match self.0.send(request).await {
            Err(TransportError::NoResponse(_)) if report => self.0.send(again).await,
            answer => answer,
        }
    }
}

impl Interceptors for ReportRepeatedBlindly {
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(RepeatingTransport(way))
    }
}

/// Whatever is said of Cleeng's list of authorised payments in place of the list counts as "nothing is authorised".
struct MissingListTreatedAsEmpty;

struct EmptyListTransport(Arc<dyn Transport>);

#[async_trait]
impl Transport for EmptyListTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let is_list = request.url.contains("/authorised_payments");
        let mut answer = self.0.send(request).await?;
        if is_list && !answer.status.is_success() {
            answer.status = StatusCode::OK;
            answer.body = "[]".into();
        }
        Ok(answer)
    }
}

impl Interceptors for MissingListTreatedAsEmpty {
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(EmptyListTransport(way))
    }
}

/// An event that was seen is taken for done.
#[derive(Default)]
struct SeenTreatedAsDone(Arc<Mutex<BTreeSet<String>>>);

struct DeduplicatingFlow {
    inner: Box<dyn Flow>,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

#[async_trait]
impl Flow for DeduplicatingFlow {
    fn topic(&self) -> Topic {
        self.inner.topic()
    }

    async fn handle(&self, world: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        let webhook = event.get();
        let first = self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{:?} {}", webhook.topic, webhook.data));
        if first { self.inner.handle(world, event, delivery).await } else { Disposition::Completed(CompletionReason::Finished) }
    }
}

impl Interceptors for SeenTreatedAsDone {
    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        Box::new(DeduplicatingFlow { inner: flow, seen: Arc::clone(&self.0) })
    }

    fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// An ingress answers 200 although its queue did not accept the event.
struct AcknowledgedBeforeEnqueue;

impl Interceptors for AcknowledgedBeforeEnqueue {
    fn acknowledges_before_enqueue(&self) -> bool {
        true
    }
}

/// The log shows what was told.
struct PersonalDataLogged;

struct LoggingFlow(Box<dyn Flow>);

#[async_trait]
impl Flow for LoggingFlow {
    fn topic(&self) -> Topic {
        self.0.topic()
    }

    async fn handle(&self, world: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        let disposition = self.0.handle(world, event, delivery).await;
        if matches!(disposition, Disposition::Retry { .. }) {
            tracing::warn!(event = %event.get().data, "cannot be done now");
        }
        disposition
    }
}

impl Interceptors for PersonalDataLogged {
    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        Box::new(LoggingFlow(flow))
    }
}

#[test]
fn a_blindly_repeated_report_is_detected() {
    assert_detected(&ReportRepeatedBlindly, &["Cleeng's contract", "twice"]);
}

#[test]
fn an_answer_in_place_of_cleengs_list_that_counts_as_empty_is_detected() {
    let profile = FaultProfile { timeout_after: 100, answer_in_between: 250, life_event: 300, ..FaultProfile::no_faults() };
    assert_detected_with(&MissingListTreatedAsEmpty, Some(&profile), &["Cleeng's contract", "twice"]);
}

#[test]
fn an_event_marked_as_done_too_early_is_detected() {
    assert_detected(&SeenTreatedAsDone::default(), &["never settled", "held for ever", "the journal knows nothing", "at the gateway"]);
}

#[test]
fn an_event_acknowledged_before_it_is_durable_is_detected() {
    assert_detected(&AcknowledgedBeforeEnqueue, &["held for ever", "is lost", "at the gateway"]);
}

#[test]
fn personal_data_in_a_log_is_detected() {
    assert_detected(&PersonalDataLogged, &["logged"]);
}
