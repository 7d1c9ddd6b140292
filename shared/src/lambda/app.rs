//! A function at work: what both doors share, and which door an event takes.

use std::sync::{Arc, Mutex, PoisonError};

use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::event::{self, Event, EventError};
use super::http_door::{self, Verify};
use super::notification_door;
use super::quarantine::{self, Meter};
use super::queue::Queue;
use super::queue_door;
use super::secrets::{SecretKeeper, Secrets};
use super::settings::Mode;
use crate::clock::{Clock, Timestamp};
use crate::flow::{Delivery, Flow, NotificationFlow, Rounds, World};
use crate::metrics::Metrics;
use crate::settings::Problems;

/// What depends on the secrets: made at start, and made again when they changed.
pub struct Wired {
    /// What flows are given.
    pub world: World,
    /// Tells whether Cleeng sent something.
    pub verify: Arc<dyn Verify>,
}

/// Makes what depends on the secrets. Everything that must outlive a change (journal, connections) is kept by the one who implements this.
pub trait Wiring: Send + Sync {
    /// Makes it from these secrets.
    ///
    /// # Errors
    /// Every mistake in them.
    fn wire(&self, secrets: &Secrets) -> Result<Wired, Problems>;
}

/// What a function is there for.
#[derive(Clone)]
pub enum Task {
    /// The webhooks of one topic of Cleeng.
    Webhooks(Arc<dyn Flow>),
    /// The notifications of the gateways.
    Notifications(Arc<dyn NotificationFlow>),
    /// What is due, by a schedule.
    Rounds(Arc<dyn Rounds>),
}

/// What an [`App`] is made of.
pub struct Parts {
    /// What it is there for.
    pub task: Task,
    /// Where it lives.
    pub mode: Mode,
    /// The largest webhook body, in bytes.
    pub max_body_bytes: usize,
    /// The secrets.
    pub keeper: SecretKeeper,
    /// Makes what depends on them.
    pub wiring: Box<dyn Wiring>,
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
    pub(super) parts: Standing,
    pub(super) live: Live<Wired>,
}

/// What of an [`App`] no change of secrets touches.
pub(super) struct Standing {
    pub(super) task: Task,
    pub(super) mode: Mode,
    pub(super) max_body_bytes: usize,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) quarantine: Arc<dyn Queue>,
    pub(super) meter: Meter,
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
    pub fn new(parts: Parts) -> Result<Self, Problems> {
        let Parts { task, mode, max_body_bytes, keeper, wiring, queue, quarantine, clock, metrics } = parts;
        let live = Live::new(keeper, Box::new(move |secrets| wiring.wire(secrets)))?;
        Ok(Self { parts: Standing { task, mode, max_body_bytes, queue, quarantine, meter: Meter::default(), clock, metrics }, live })
    }

    /// What depends on the secrets, as it is now.
    #[must_use]
    pub fn wired(&self) -> Arc<Wired> {
        self.live.wired()
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
        match (event::read(raw), &self.parts.task) {
            (Ok(Event::Http(request)), Task::Webhooks(flow)) => {
                Ok(http_door::answer(self, flow.as_ref(), &request, invocation).await.to_event())
            }
            (Ok(Event::Http(request)), Task::Notifications(flow)) => {
                Ok(notification_door::answer(self, flow.as_ref(), &request, invocation).await.to_event())
            }
            (Ok(Event::Sqs(batch)), Task::Webhooks(_) | Task::Notifications(_)) => {
                Ok(queue_door::settle_all(self, batch, invocation).await)
            }
            (Ok(Event::Sqs(batch)), Task::Rounds(_)) => Ok(quarantine::look_again(self, batch, invocation).await),
            (Ok(Event::Schedule), Task::Rounds(rounds)) => Ok(self.go_round(rounds.as_ref(), invocation).await),
            (Ok(_), _) => refused(EventError::Schedule),
            (Err(error), _) => refused(error),
        }
    }

    async fn go_round(&self, rounds: &dyn Rounds, invocation: &Invocation) -> Value {
        let now = self.parts.clock.now();
        let deadline = queue_door::deadline(self.parts.clock.as_ref(), invocation, queue_door::DEPLOYED_TIME);
        let delivery = Delivery { id: invocation.request_id.clone(), deadline, received_at: now, count: 1 };
        let tally = rounds.go(&self.wired().world, &delivery).await;
        info!(
            due = tally.due,
            brought_back = tally.brought_back,
            watched = tally.watched,
            made_up = tally.made_up,
            released = tally.released,
            found = tally.found,
            ended = tally.ended,
            put_off = tally.put_off,
            failed = tally.failed,
            "went round"
        );
        if tally.failed > 0 {
            // It may be for credentials that were rotated: the next round finds the new ones.
            self.refresh("rounds_failed").await;
        }
        json!({
            "due": tally.due, "broughtBack": tally.brought_back, "ended": tally.ended, "watched": tally.watched,
            "madeUp": tally.made_up, "released": tally.released, "found": tally.found, "putOff": tally.put_off, "failed": tally.failed,
        })
    }

    /// See [`Live::refresh`].
    pub(super) async fn refresh(&self, why: &'static str) -> bool {
        self.live.refresh(why).await
    }
}

/// Makes something from secrets.
type Make<W> = Box<dyn Fn(&Secrets) -> Result<W, Problems> + Send + Sync>;

/// What is made from the secrets in force, and made again when they change.
pub(super) struct Live<W> {
    keeper: SecretKeeper,
    make: Make<W>,
    wired: Mutex<Arc<W>>,
}

impl<W> Live<W> {
    /// Makes it for the first time.
    pub(super) fn new(keeper: SecretKeeper, make: Make<W>) -> Result<Self, Problems> {
        let wired = make(&keeper.current())?;
        Ok(Self { keeper, make, wired: Mutex::new(Arc::new(wired)) })
    }

    /// The secrets in force.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        self.keeper.current()
    }

    /// What was made from them.
    pub(super) fn wired(&self) -> Arc<W> {
        Arc::clone(&self.wired.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the secrets again, because a peer does not take them any more, and tells whether something changed.
    pub(super) async fn refresh(&self, why: &'static str) -> bool {
        match self.keeper.reload().await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => {
                warn!(why, "secrets could not be read again; the old ones stay in force");
                return false;
            }
        }
        match (self.make)(&self.keeper.current()) {
            Ok(wired) => {
                *self.wired.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(wired);
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

/// Whether a reason says that a peer did not take our credentials (`cleeng_unauthorised`, `gateway_credentials`).
pub(super) fn is_about_credentials(reason: &str) -> bool {
    reason.ends_with("_unauthorised") || reason.ends_with("_credentials")
}
