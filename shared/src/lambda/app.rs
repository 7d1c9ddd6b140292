//! Dispatch: which handler an event goes to.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::{info, warn};

use super::event::{self, Event, EventError};
use super::response::to_event;
use super::state::{AppState, Dependencies, FunctionKind, Invocation};
use super::{notification_handler, quarantine, queue_consumer, webhook_handler};
use crate::flow::{RunReport, ScheduledJob};
use crate::metrics::Metric;

/// A function that handles events.
pub struct App {
    state: AppState,
}

impl App {
    /// A function with this state.
    #[must_use]
    pub const fn new(state: AppState) -> Self {
        Self { state }
    }

    /// What depends on the secrets, as it is now.
    #[must_use]
    pub fn dependencies(&self) -> Arc<Dependencies> {
        self.state.dependencies()
    }

    /// Handles one event.
    ///
    /// # Errors
    /// [`EventError`] for an event that is not for this function. It holds nothing of the event: the runtime logs it.
    pub async fn handle(&self, raw: &str, invocation: &Invocation) -> Result<Value, EventError> {
        let state = &self.state;
        let refused = |error| {
            warn!(request_id = invocation.request_id, "event is not for this function");
            Err(error)
        };
        match (event::read(raw), &state.kind) {
            (Ok(Event::Http(request)), FunctionKind::Webhooks(flow)) => {
                Ok(to_event(webhook_handler::handle_request(state, flow.as_ref(), request, invocation).await))
            }
            (Ok(Event::Http(request)), FunctionKind::Notifications(flow)) => {
                Ok(to_event(notification_handler::handle_request(state, flow.as_ref(), request, invocation).await))
            }
            (Ok(Event::Sqs(batch)), FunctionKind::Webhooks(_) | FunctionKind::Notifications(_)) => {
                Ok(queue_consumer::consume_batch(state, batch, invocation).await)
            }
            (Ok(Event::Sqs(batch)), FunctionKind::Scheduled(_)) => Ok(quarantine::recheck(state, batch, invocation).await),
            (Ok(Event::Schedule), FunctionKind::Scheduled(job)) => Ok(self.run_once(job.as_ref(), invocation).await),
            (Ok(_), _) => refused(EventError::Schedule),
            (Err(error), _) => refused(error),
        }
    }

    async fn run_once(&self, job: &dyn ScheduledJob, invocation: &Invocation) -> Value {
        let delivery = self.state.first_delivery(invocation, invocation.request_id.clone());
        let report = job.run(&self.dependencies().flow_context, &delivery).await;
        info!(
            due = report.due,
            requeued = report.requeued,
            checked = report.checked,
            recovered = report.recovered,
            released = report.released,
            discovered = report.discovered,
            finished = report.finished,
            deferred = report.deferred,
            failed = report.failed,
            "reconciliation run finished"
        );
        self.count_run(&report);
        if report.failed > 0 || report.is_scan_failed {
            // The credentials may have been rotated: the next run finds the new ones.
            self.state.dependencies.refresh("scheduled_run_failed").await;
        }
        json!({
            "due": report.due, "requeued": report.requeued, "finished": report.finished, "checked": report.checked,
            "recovered": report.recovered, "released": report.released, "discovered": report.discovered, "deferred": report.deferred, "failed": report.failed,
        })
    }

    /// A run that did its work is told, so that a missing one rings; so is each part of the work that it could not do.
    fn count_run(&self, report: &RunReport) {
        let metrics = &self.state.metrics;
        if !report.is_due_unlisted {
            metrics.count(Metric::RunCompleted, &[]);
        }
        let failed_parts =
            [("due_list", report.is_due_unlisted), ("items", report.failed > 0), ("subscription_scan", report.is_scan_failed)];
        for (part, _) in failed_parts.into_iter().filter(|(_, failed)| *failed) {
            metrics.count(Metric::RunFailed, &[("part", part)]);
            self.state.count_fault(part);
        }
    }
}
