//! What happens when: everything that is still to come, by time, and in the order in which it was put there where the time is the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector::cleeng::webhook::{Verified, Webhook};
use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName};
use connector::http::Request;
use connector::ids::PaymentId;

use crate::cleeng::SentWebhook;
use crate::house::Posted;

/// Something that is still to come.
pub(super) enum Happening {
    /// A webhook of Cleeng arrives at its function's door.
    Webhook(SentWebhook),
    /// A notification of a gateway arrives at its door.
    Posted(GatewayName, Posted),
    /// A queue delivers a message.
    Delivery(u64),
    /// A customer's page makes its next call.
    Page(usize),
    /// A gateway does what it has received, and tells.
    Acts(GatewayName),
    /// A call arrives that its caller has given up.
    Late(Request),
    /// Something in the life of a subscriber.
    Life(usize, Life),
    /// Cleeng asks for the capture of a single purchase.
    Single(PaymentId),
    /// A peer changes its credentials, or ours are changed after it.
    Rotation(Rotated, bool),
    /// Somebody posts what nobody signed.
    ForgedWebhook(SentWebhook),
    /// The same at the gateways' door.
    ForgedNotice(GatewayName, Posted),
}

/// Whose credentials are changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rotated {
    /// Our token at Cleeng.
    Cleeng,
    /// Our keys at the gateway that can do it.
    Gateway,
}

/// Something in the life of a subscriber.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    /// His bank refuses the next payment.
    Refusal(DeclineClass),
    /// He has other details from now on, at the gateway with this place on the stage.
    NewDetails(usize),
    /// What is held lapses.
    Expiry,
    /// His bank takes back what was paid.
    Chargeback,
    /// Whoever looks after him asks for a refund: of everything, or of so much.
    Refund(Option<i64>),
    /// What his gateway takes next it will not be able to do.
    Failure,
    /// He ends his subscription.
    Stop,
    /// Everything that was announced about his details is announced again.
    Deactivation,
}

/// What lies on a queue.
#[derive(Clone)]
pub(super) enum Content {
    /// For the function of its topic.
    Event(Arc<Verified<Webhook>>, Timestamp),
    /// For the function that takes notifications.
    Notification(String),
}

impl Content {
    /// Whether both are copies of one message.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Event(one, _), Self::Event(other, _)) => one.get().topic == other.get().topic && one.get().data == other.get().data,
            (Self::Notification(one), Self::Notification(other)) => one == other,
            _ => false,
        }
    }
}

/// A message on a queue.
#[derive(Clone)]
pub(super) struct Letter {
    pub(super) content: Content,
    pub(super) receives: u32,
}

/// Everything that is still to come.
#[derive(Default)]
pub(super) struct Agenda {
    next: u64,
    happenings: BTreeMap<(Timestamp, u64), Happening>,
}

impl Agenda {
    pub(super) fn put(&mut self, at: Timestamp, happening: Happening) {
        self.next = self.next.saturating_add(1);
        self.happenings.insert((at, self.next), happening);
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.happenings.keys().next().map(|(at, _)| *at)
    }

    /// What happens next.
    pub(super) fn take(&mut self) -> Option<Happening> {
        self.happenings.pop_first().map(|(_, happening)| happening)
    }
}
