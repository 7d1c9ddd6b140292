//! What the handlers of a function share: what it is for, its queues, and its dependencies.

use std::sync::Arc;
use std::time::Duration;

use super::queue::Queue;
use super::reloadable::Reloadable;
use super::settings::{Mode, RequiredSettings};
use super::verifier::Verify;
use crate::clock::{Clock, Timestamp};
use crate::delivery::Delivery;
use crate::flow::{Flow, FlowContext, NotificationFlow, ScheduledJob};
use crate::metrics::{Metric, Metrics};
use crate::rate_limit::WindowLimiter;

/// What of a function's time is reserved for the work after the flow: the message's delay and the response to the runtime.
const RESERVE: Duration = Duration::from_secs(1);
/// A deadline before the year 2020 counts as absent: local runtimes do not report one.
const NO_DEADLINE_BEFORE: Timestamp = Timestamp::from_secs(1_577_836_800);
/// The time of a function with a queue if the runtime reports none: the `Timeout` that `template.yaml` sets. The longest call of a flow has
/// to fit into it.
pub(super) const FUNCTION_TIMEOUT: Duration = Duration::from_secs(90);

/// What a function is for, with the flow that it runs.
#[derive(Clone)]
pub enum FunctionKind {
    /// The webhooks of one topic of Cleeng: an HTTP handler and a queue.
    Webhooks(Arc<dyn Flow>),
    /// The notifications of the gateways: an HTTP handler and a queue.
    Notifications(Arc<dyn NotificationFlow>),
    /// A scheduled job; its queue is the quarantine.
    Scheduled(Arc<dyn ScheduledJob>),
}

impl FunctionKind {
    /// The settings that only some functions need.
    #[must_use]
    pub const fn required_settings(&self) -> RequiredSettings {
        match self {
            Self::Webhooks(_) => RequiredSettings::WEBHOOKS,
            Self::Notifications(_) => RequiredSettings::NOTIFICATIONS,
            Self::Scheduled(_) => RequiredSettings::SCHEDULED,
        }
    }
}

/// What depends on the secrets.
pub struct Dependencies {
    /// The dependencies of flows.
    pub flow_context: FlowContext,
    /// Checks that Cleeng sent a webhook.
    pub verifier: Arc<dyn Verify>,
}

/// What the handlers of a function share.
pub struct AppState {
    /// What the function is for.
    pub kind: FunctionKind,
    /// Where it runs.
    pub mode: Mode,
    /// The largest webhook body, in bytes.
    pub max_body_bytes: usize,
    /// Its queue; of a scheduled function, the quarantine.
    pub queue: Arc<dyn Queue>,
    /// The queue for webhooks whose signature does not fit yet.
    pub quarantine: Arc<dyn Queue>,
    /// Limits what is quarantined.
    pub quarantine_limiter: WindowLimiter,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Metrics,
    /// What depends on the secrets.
    pub dependencies: Reloadable<Dependencies>,
}

impl AppState {
    /// What depends on the secrets, as it is now.
    pub(super) fn dependencies(&self) -> Arc<Dependencies> {
        self.dependencies.current()
    }

    /// Counts what was not done, and a right release with right settings would have done.
    pub(super) fn count_fault(&self, reason: &str) {
        self.metrics.count(Metric::Fault, &[("reason", reason)]);
    }

    /// The first delivery of an event that has no message: it was received just now.
    pub(super) fn first_delivery(&self, invocation: &Invocation, id: String) -> Delivery {
        let deadline = invocation.flow_deadline(self.clock.as_ref(), FUNCTION_TIMEOUT);
        Delivery { id, deadline, received_at: self.clock.now(), count: 1 }
    }
}

/// What the runtime reports about one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Its id.
    pub request_id: String,
    /// When the function is stopped.
    pub deadline: Timestamp,
}

impl Invocation {
    /// When a flow has to be done, less the reserve. `function_timeout` counts if the runtime reports no deadline.
    pub(super) fn flow_deadline(&self, clock: &dyn Clock, function_timeout: Duration) -> Timestamp {
        let end = if self.deadline < NO_DEADLINE_BEFORE { clock.now().after(function_timeout) } else { self.deadline };
        end.before(RESERVE)
    }
}
