//! A function at work: what both doors share, and which door an event takes.

use std::sync::{Arc, Mutex, PoisonError};

use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::event::{self, Event, EventError};
use super::notification_handler;
use super::quarantine::{self, RateLimiter};
use super::queue::Queue;
use super::queue_consumer;
use super::secrets::{SecretCache, Secrets};
use super::settings::Mode;
use super::webhook_handler::{self, Verify};
use crate::clock::{Clock, Timestamp};
use crate::delivery::Delivery;
use crate::flow::{Flow, FlowContext, NotificationFlow, ScheduledJob};
use crate::metrics::Metrics;
use crate::settings::Problems;

/// What depends on the secrets: made at start, and made again when they changed.
pub struct Dependencies {
    /// What flows are given.
    pub flow_context: FlowContext,
    /// Tells whether Cleeng sent something.
    pub verifier: Arc<dyn Verify>,
}

/// Makes what depends on the secrets. Everything that must outlive a change (journal, connections) is kept by the one who implements this.
pub trait DependencyFactory: Send + Sync {
    /// Makes it from these secrets.
    ///
    /// # Errors
    /// Every mistake in them.
    fn build(&self, secrets: &Secrets) -> Result<Dependencies, Problems>;
}

/// What a function is there for.
#[derive(Clone)]
pub enum FunctionHandler {
    /// The webhooks of one topic of Cleeng.
    Webhooks(Arc<dyn Flow>),
    /// The notifications of the gateways.
    Notifications(Arc<dyn NotificationFlow>),
    /// What is due, by a schedule.
    Scheduled(Arc<dyn ScheduledJob>),
}

/// What an [`App`] is made of.
pub struct AppParts {
    /// What it is there for.
    pub handler: FunctionHandler,
    /// Where it lives.
    pub mode: Mode,
    /// The largest webhook body, in bytes.
    pub max_body_bytes: usize,
    /// The secrets.
    pub secret_cache: SecretCache,
    /// Makes what depends on them.
    pub factory: Box<dyn DependencyFactory>,
    /// The queue between the doors; of the function that goes round, the quarantine.
    pub queue: Arc<dyn Queue>,
    /// Where events are kept whose signature does not fit yet.
    pub quarantine: Arc<dyn Queue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Metrics,
}

/// A function at work.
pub struct App {
    pub(super) state: AppState,
    pub(super) reloadable: Reloadable<Dependencies>,
}

/// What of an [`App`] no change of secrets touches.
pub(super) struct AppState {
    pub(super) handler: FunctionHandler,
    pub(super) mode: Mode,
    pub(super) max_body_bytes: usize,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) quarantine: Arc<dyn Queue>,
    pub(super) rate_limiter: RateLimiter,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
}

/// What the runtime says about one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Its id.
    pub request_id: String,
    /// When the function is stopped.
    pub deadline: Timestamp,
}

/// Why an invocation fails as a whole. Holds nothing of the event: the runtime logs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// The event is not for this function.
    #[error(transparent)]
    Event(EventError),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Event(error) => error.into(),
        }
    }
}

impl App {
    /// Wires it up with the secrets in force.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn new(parts: AppParts) -> Result<Self, Problems> {
        let AppParts { handler, mode, max_body_bytes, secret_cache, factory, queue, quarantine, clock, metrics } = parts;
        let reloadable = Reloadable::new(secret_cache, Box::new(move |secrets| factory.build(secrets)))?;
        Ok(Self {
            state: AppState { handler, mode, max_body_bytes, queue, quarantine, rate_limiter: RateLimiter::default(), clock, metrics },
            reloadable,
        })
    }

    /// What depends on the secrets, as it is now.
    #[must_use]
    pub fn dependencies(&self) -> Arc<Dependencies> {
        self.reloadable.current()
    }

    /// Deals with one event.
    ///
    /// # Errors
    /// [`HandlerError`] for an event that is not for this function.
    pub async fn handle(&self, raw: &str, invocation: &Invocation) -> Result<Value, HandlerError> {
        let refused = |error| {
            warn!(request_id = invocation.request_id, "event is not for this function");
            Err(HandlerError::Event(error))
        };
        match (event::read(raw), &self.state.handler) {
            (Ok(Event::Http(request)), FunctionHandler::Webhooks(flow)) => {
                Ok(webhook_handler::handle_request(self, flow.as_ref(), &request, invocation).await.to_event())
            }
            (Ok(Event::Http(request)), FunctionHandler::Notifications(flow)) => {
                Ok(notification_handler::handle_request(self, flow.as_ref(), &request, invocation).await.to_event())
            }
            (Ok(Event::Sqs(batch)), FunctionHandler::Webhooks(_) | FunctionHandler::Notifications(_)) => {
                Ok(queue_consumer::consume_batch(self, batch, invocation).await)
            }
            (Ok(Event::Sqs(batch)), FunctionHandler::Scheduled(_)) => Ok(quarantine::recheck(self, batch, invocation).await),
            (Ok(Event::Schedule), FunctionHandler::Scheduled(rounds)) => Ok(self.run_once(rounds.as_ref(), invocation).await),
            (Ok(_), _) => refused(EventError::Schedule),
            (Err(error), _) => refused(error),
        }
    }

    async fn run_once(&self, rounds: &dyn ScheduledJob, invocation: &Invocation) -> Value {
        let now = self.state.clock.now();
        let deadline = queue_consumer::deadline(self.state.clock.as_ref(), invocation, queue_consumer::FUNCTION_TIMEOUT);
        let delivery = Delivery { id: invocation.request_id.clone(), deadline, received_at: now, count: 1 };
        let report = rounds.run(&self.dependencies().flow_context, &delivery).await;
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
        if report.failed > 0 {
            // It may be for credentials that were rotated: the next round finds the new ones.
            self.refresh("scheduled_run_failed").await;
        }
        json!({
            "due": report.due, "requeued": report.requeued, "finished": report.finished, "checked": report.checked,
            "recovered": report.recovered, "released": report.released, "discovered": report.discovered, "deferred": report.deferred, "failed": report.failed,
        })
    }

    /// See [`Reloadable::refresh`].
    pub(super) async fn refresh(&self, why: &'static str) -> bool {
        self.reloadable.refresh(why).await
    }
}

/// Makes something from secrets.
type Build<W> = Box<dyn Fn(&Secrets) -> Result<W, Problems> + Send + Sync>;

/// What is made from the secrets in force, and made again when they change.
pub(super) struct Reloadable<W> {
    secret_cache: SecretCache,
    build: Build<W>,
    current: Mutex<Arc<W>>,
}

impl<W> Reloadable<W> {
    /// Makes it for the first time.
    pub(super) fn new(secret_cache: SecretCache, build: Build<W>) -> Result<Self, Problems> {
        let dependencies = build(&secret_cache.current())?;
        Ok(Self { secret_cache, build, current: Mutex::new(Arc::new(dependencies)) })
    }

    /// The secrets in force.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        self.secret_cache.current()
    }

    /// What was made from them.
    pub(super) fn current(&self) -> Arc<W> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the secrets again, because a peer does not take them any more, and tells whether something changed.
    pub(super) async fn refresh(&self, why: &'static str) -> bool {
        match self.secret_cache.reload().await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => {
                warn!(why, "secrets could not be read again; the old ones stay in force");
                return false;
            }
        }
        match (self.build)(&self.secret_cache.current()) {
            Ok(dependencies) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(dependencies);
                info!(why, "secrets changed and are in force");
                true
            }
            Err(problems) => {
                warn!(why, mistakes = problems.0.len(), "secrets changed and are wrong; the old ones stay in force");
                false
            }
        }
    }
}
