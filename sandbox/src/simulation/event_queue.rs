//! What happens when: everything that is still to come, by time, and in the order in which it was put there where the time is the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::webhook::{Verified, Webhook};
use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName};
use connector::http::Request;
use connector::ids::PaymentId;

use super::oddities::Oddity;
use crate::simulators::cleeng::SentWebhook;
use crate::simulators::simulated_gateway::NotificationRequest;

/// Something that is still to come.
pub(super) enum ScheduledEvent {
    /// A webhook of Cleeng reaches its function's handler.
    Webhook(SentWebhook),
    /// A notification of a gateway reaches its handler.
    Notification(GatewayName, NotificationRequest),
    /// A queue delivers a message.
    MessageDelivery(u64),
    /// A customer's page makes its next call.
    PageCall(usize),
    /// A gateway processes what it has received, and notifies.
    GatewayProcessing(GatewayName),
    /// A call arrives that its caller has given up.
    LateRequest(Request),
    /// Something in the life of a subscriber.
    LifeEvent(usize, LifeEvent),
    /// Something rare.
    Oddity(Oddity),
    /// Cleeng asks for the capture of a single purchase.
    SinglePurchaseCapture(PaymentId),
    /// Our credentials at a server are no longer accepted, or are accepted again.
    CredentialRotation(CredentialOwner, bool),
    /// Somebody posts what nobody signed.
    ForgedWebhook(SentWebhook),
    /// A forged notification reaches its handler.
    ForgedNotification(GatewayName, NotificationRequest),
}

/// Whose credentials are changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum CredentialOwner {
    /// Our token at Cleeng.
    Cleeng,
    /// Our keys at the gateway that can do it.
    Gateway,
}

/// Something in the life of a subscriber.
#[derive(Clone, Copy, Debug)]
pub(super) enum LifeEvent {
    /// The bank declines the next payment.
    Decline(DeclineClass),
    /// The subscriber has other details from now on, at the gateway with this index in the environment.
    NewDetails(usize),
    /// What is held lapses.
    Expiry,
    /// The bank charges a payment back.
    Chargeback,
    /// An operator requests a refund: in full, or of this amount.
    Refund(Option<i64>),
    /// The next operation that the gateway acknowledges fails later.
    OperationFailure,
    /// The subscriber ends the subscription.
    Stop,
    /// Every deactivation of their details is announced again.
    RepeatedDeactivation,
    /// The next payment is declared undecided for so long; then it is decided so.
    Undecided(Duration, bool),
    /// The next capture is declared undecided for so long; then it is decided so.
    UndecidedCapture(Duration, bool),
    /// A payment that the gateway refused succeeds after all.
    ChangeOfMind,
    /// The next refund is acknowledged, and fails later.
    RefundFailure,
    /// A chargeback is won, and may be followed by another.
    ChargebackWon,
}

/// What lies on a queue.
#[derive(Clone)]
pub(super) enum MessageContent {
    /// For the function of its topic.
    Event(Arc<Verified<Webhook>>, Timestamp),
    /// For the function that takes notifications.
    Notification(String),
}

impl MessageContent {
    /// Whether both are copies of one message.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Event(one, _), Self::Event(other, _)) => one.get().topic == other.get().topic && one.get().data == other.get().data,
            (Self::Notification(one), Self::Notification(other)) => one == other,
            _ => false,
        }
    }
}

/// A message on a queue.
#[derive(Clone)]
pub(super) struct InFlightMessage {
    pub(super) content: MessageContent,
    pub(super) receives: u32,
}

/// Everything that is still to come.
#[derive(Default)]
pub(super) struct EventQueue {
    last_sequence: u64,
    events: BTreeMap<(Timestamp, u64), ScheduledEvent>,
}

impl EventQueue {
    pub(super) fn schedule(&mut self, at: Timestamp, event: ScheduledEvent) {
        self.last_sequence = self.last_sequence.saturating_add(1);
        self.events.insert((at, self.last_sequence), event);
    }

    /// When the next thing happens.
    pub(super) fn next_time(&self) -> Option<Timestamp> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    /// What happens next.
    pub(super) fn pop(&mut self) -> Option<ScheduledEvent> {
        self.events.pop_first().map(|(_, event)| event)
    }
}
