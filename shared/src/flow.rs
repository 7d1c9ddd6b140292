//! What a flow is, and its dependencies: Cleeng, the gateways, the journal and a clock, and nothing of AWS or HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cleeng::Cleeng;
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::clock::Clock;
use crate::delivery::Delivery;
use crate::gateway::{GatewayName, GatewayNotification, Gateways};
use crate::ids::{PaymentMethodId, PublisherId};
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::reason::{CompletionReason, ParkReason, RetryReason};
use crate::secret::SecretString;

/// The dependencies of a flow.
#[derive(Clone)]
pub struct FlowContext {
    /// The publisher's rules.
    pub policy: Arc<BillingPolicy>,
    /// Cleeng's Core API.
    pub cleeng: Arc<dyn Cleeng>,
    /// The gateways.
    pub gateways: Gateways,
    /// The journal's database.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Metrics,
    /// The way back to the queue of an event that waits for a gateway's result.
    pub requeue: Arc<dyn Requeue>,
}

/// Returns an event that waits in the journal to its own function's queue.
#[async_trait]
pub trait Requeue: Send + Sync {
    /// Queues a copy of the event, as an attempt keeps it (`waiting_event`): the text of an envelope or of the webhook itself. A surplus
    /// copy is harmless: flows tolerate repetition.
    ///
    /// # Errors
    /// [`RequeueError`]; the event stays where it was.
    async fn requeue(&self, event: &str) -> Result<(), RequeueError>;
}

/// Why an event was not returned to its queue.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequeueError {
    /// The queue cannot be reached.
    #[error("the event's queue cannot be reached")]
    Unavailable,
    /// This function does not know the queue, or may not send to it.
    #[error("the event's queue does not take it: check EVENT_QUEUE_URLS and the function's role")]
    Refused,
    /// The text is no event.
    #[error("what waits in the journal is no event of Cleeng")]
    NoEvent,
}

impl RequeueError {
    /// A stable code for alarms.
    #[must_use]
    pub fn code(self) -> &'static str {
        RetryReason::from(self).as_str()
    }
}

impl From<RequeueError> for RetryReason {
    fn from(error: RequeueError) -> Self {
        match error {
            RequeueError::Unavailable => Self::EventQueueUnavailable,
            RequeueError::Refused => Self::EventQueueRefused,
            RequeueError::NoEvent => Self::WaitingEventUnreadable,
        }
    }
}

/// Requeues nothing: every event is on its queue, or there are no queues.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRequeue;

#[async_trait]
impl Requeue for NoRequeue {
    async fn requeue(&self, _event: &str) -> Result<(), RequeueError> {
        Ok(())
    }
}

/// The settings that flows decide by.
#[derive(Clone)]
pub struct BillingPolicy {
    /// Whose events are taken.
    pub publisher: PublisherId,
    /// The payment methods that are ours.
    pub methods: BTreeMap<PaymentMethodId, PaymentMethodConfig>,
    /// How long a capture waits for its authorisation. Default 60 min.
    pub capture_wait: Duration,
    /// When an acknowledged capture is reported captured.
    pub settle_on: SettleOn,
    /// With [`SettleOn::Notification`]: how long the notification may take. Default 45 min; below the grace period of dunning.
    pub settle_deadline: Duration,
    /// How long an unknown outcome is asked about before it is parked. Default 24 h.
    pub unknown_deadline: Duration,
    /// How long a termination waits for a payment of the subscription that is in flight or whose outcome is unknown. Default 48 h.
    pub termination_wait: Duration,
    /// What becomes of a partial refund. Default park.
    pub partial_refunds: PartialRefunds,
    /// Whether details that were deactivated are deleted at the gateway and in Cleeng once nothing is held with them. Default yes.
    pub delete_deactivated_details: bool,
    /// How many merchant-initiated payments with one token may be declined in thirty days before no more are made. Default 15.
    pub max_declines: usize,
    /// Salts idempotency keys; never rotated.
    pub salt: SecretString,
}

/// What becomes of a partial refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialRefunds {
    /// An operator decides. Cleeng does not publish the name of the amount's field; if it ignores ours, it takes a partial refund for a
    /// full one and ends the subscription.
    Park,
    /// Done and reported like a full one.
    Send,
}

/// A payment method of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentMethodConfig {
    /// The gateway behind it.
    pub gateway: GatewayName,
    /// How renewals are billed.
    pub billing: BillingMode,
}

/// How renewals are billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillingMode {
    /// Authorise when the first event comes, capture when the second does.
    AuthoriseThenCapture,
    /// Charge when the capture event comes.
    CaptureOnly,
}

/// When an acknowledged capture is reported captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleOn {
    /// When the gateway's notification says so, at the latest at the deadline.
    Notification,
    /// At once.
    Receipt,
}

/// The result of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The event is processed. It leaves the queue.
    Completed(CompletionReason),
    /// The event is not for this connector. It leaves the queue.
    NotOurs,
    /// An operator has to decide; recorded in the journal and alarmed. It leaves the queue.
    Parked(ParkReason),
    /// It cannot be completed now, for this reason, and has waited so long that the journal keeps it until its time to come back. It leaves
    /// the queue.
    Postponed(RetryReason),
    /// It cannot be completed now. It goes back to the queue.
    Retry {
        /// The shortest useful wait; `None` for the queue consumer's own backoff.
        after: Option<Duration>,
        /// Why.
        reason: RetryReason,
    },
}

/// The flow of one webhook.
#[async_trait]
pub trait Flow: Send + Sync {
    /// The topic that it handles.
    fn topic(&self) -> Topic;

    /// Processes one delivery as far as possible now. May be called several times with the same event, even concurrently, and must then
    /// have the effect of one call.
    async fn handle(&self, flow_context: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition;
}

/// The flow of the gateways' notifications.
#[async_trait]
pub trait NotificationFlow: Send + Sync {
    /// Processes one delivery of one item. May be called several times with the same item, in any order with others, even concurrently, and
    /// must then have the effect of one call of each.
    async fn handle(
        &self,
        flow_context: &FlowContext,
        gateway: GatewayName,
        item: &Verified<GatewayNotification>,
        delivery: &Delivery,
    ) -> Disposition;
}

/// A scheduled job over the items that are due.
#[async_trait]
pub trait ScheduledJob: Send + Sync {
    /// Runs once, as far as the time allows; the next run continues where this one stopped. Two runs may overlap.
    async fn run(&self, flow_context: &FlowContext, delivery: &Delivery) -> RunReport;
}

/// The counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Documents that were due.
    pub due: u32,
    /// Events that were put back on their queues.
    pub requeued: u32,
    /// Purchases that were finished.
    pub finished: u32,
    /// Subscriptions whose next event was checked.
    pub checked: u32,
    /// Missed billing events that were recovered.
    pub recovered: u32,
    /// Obsolete authorisations that were released.
    pub released: u32,
    /// Subscriptions that were discovered and are watched from now on.
    pub discovered: u32,
    /// Items that are deferred to a later run.
    pub deferred: u32,
    /// Items that could not be processed; the next run tries again.
    pub failed: u32,
    /// What is due could not be listed to its end.
    pub is_due_unlisted: bool,
    /// The scan of subscriptions could not continue.
    pub is_scan_failed: bool,
}
