//! What a flow is, and what it is given: Cleeng, the gateways, the journal and a clock, and nothing of AWS or HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cleeng::Cleeng;
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::clock::{Clock, Timestamp};
use crate::gateway::{GatewayName, Gateways};
use crate::ids::{PaymentMethodId, PublisherId};
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::secret::SecretString;

/// Everything that a flow works with.
#[derive(Clone)]
pub struct World {
    /// The publisher's rules.
    pub rules: Arc<Rules>,
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
}

/// The settings that flows decide by.
#[derive(Clone)]
pub struct Rules {
    /// Whose events are taken.
    pub publisher: PublisherId,
    /// The payment methods that are ours.
    pub methods: BTreeMap<PaymentMethodId, Method>,
    /// How long a capture waits for its authorisation. Default 60 min.
    pub capture_wait: Duration,
    /// When an acknowledged capture is reported captured.
    pub settle_on: SettleOn,
    /// With [`SettleOn::Notification`]: how long the notification may take. Default 45 min; below the grace period of dunning.
    pub settle_deadline: Duration,
    /// How long an unknown outcome is asked about before it is parked. Default 24 h.
    pub unknown_deadline: Duration,
    /// What becomes of a partial refund. Default park.
    pub partial_refunds: PartialRefunds,
    /// Whether details that were deactivated are deleted at the gateway and in Cleeng once nothing is held with them. Default no.
    pub delete_deactivated_details: bool,
    /// Salts idempotency keys; never rotated.
    pub salt: SecretString,
}

/// What becomes of a partial refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialRefunds {
    /// An operator decides. Cleeng does not publish the name of the amount's field; if it ignores ours, it takes a partial refund for a full
    /// one and ends the subscription.
    Park,
    /// Done and reported like a full one.
    Send,
}

/// A payment method of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The gateway behind it.
    pub gateway: GatewayName,
    /// How renewals are billed.
    pub billing: Billing,
}

/// How renewals are billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
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

/// One delivery of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Unique per delivery: the owner of leases.
    pub id: String,
    /// When the function is stopped at the latest.
    pub deadline: Timestamp,
    /// When the webhook first arrived.
    pub received_at: Timestamp,
    /// How often the queue has delivered it, from 1.
    pub count: u32,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event is dealt with, for this stable reason. It leaves the queue.
    Settled(&'static str),
    /// Nothing of ours. It leaves the queue.
    NotOurs,
    /// An operator has to look, for this stable reason; recorded in the journal and alarmed. It leaves the queue.
    Parked(&'static str),
    /// Not now. It goes back to the queue.
    Later {
        /// The shortest useful wait; nothing for the door's own backoff.
        after: Option<Duration>,
        /// A stable reason.
        reason: &'static str,
    },
}

/// The story of one webhook.
#[async_trait]
pub trait Flow: Send + Sync {
    /// The topic that it tells.
    fn topic(&self) -> Topic;

    /// Deals with one delivery, as far as it can be dealt with now. May be called again and again with the same event, at the same time
    /// even, and must then have the effect of one call.
    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict;
}
