//! The payment record: what the connector knows of one payment, on both sides.

pub mod refunds;
mod state;

use serde::{Deserialize, Serialize};

use self::refunds::RefundRecord;
pub use self::state::PaymentState;
use super::{JournalError, SCHEMA};
use crate::clock::Timestamp;
use crate::gateway::{Decline, GatewayName, NotificationKind};
use crate::ids::{CustomerId, ExternalPaymentId, OrderId, PaymentDetailsId, PaymentId, SubscriptionId};
use crate::journal::store::Key;
use crate::money::Money;
use crate::reference::Reference;

/// How many entries of the history are kept: the oldest ones go first.
const MAX_HISTORY: usize = 40;
/// How many notifications are remembered; a payment has about six altogether.
const MAX_SEEN_NOTIFICATIONS: usize = 40;

/// What the gateway notified about a payment whose own flow still waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorisationResult {
    /// The money is held, or taken if it is taken at once.
    Authorised {
        /// The gateway's id of it.
        external: ExternalPaymentId,
    },
    /// It was refused.
    Declined {
        /// Why, if the gateway signs that.
        #[serde(default)]
        decline: Option<Decline>,
    },
}

/// A notification that was taken into account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeenNotification {
    /// The same for every repetition.
    pub key: String,
    /// What it said.
    pub kind: NotificationKind,
}

/// One payment, on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRecord {
    /// The schema that it was written with.
    pub schema: u32,
    /// Our name of it, under which it is kept.
    pub reference: Reference,
    /// The gateway.
    pub gateway: GatewayName,
    /// The obligation that it belongs to.
    pub obligation: String,
    /// The subscription that it renews.
    #[serde(default)]
    pub subscription: Option<SubscriptionId>,
    /// The customer whose money it is.
    pub customer: CustomerId,
    /// The details that it is made with.
    #[serde(default)]
    pub details: Option<PaymentDetailsId>,
    /// Cleeng's order.
    #[serde(default)]
    pub order: Option<OrderId>,
    /// Cleeng's payment, once it is known.
    #[serde(default)]
    pub cleeng_payment: Option<PaymentId>,
    /// The gateway's authorisation.
    #[serde(default)]
    pub authorisation: Option<ExternalPaymentId>,
    /// The id by which Cleeng knows it now (`externalPaymentId`).
    #[serde(default)]
    pub external_payment_id: Option<ExternalPaymentId>,
    /// What the gateway called it while it waited for the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_id: Option<String>,
    /// The authorisation that took the place of the first one, if the gateway renewed it for the capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_authorisation: Option<ExternalPaymentId>,
    /// The gateway's capture, if that has an id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<ExternalPaymentId>,
    /// The obligation whose attempt captures it, which need not be the one that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured_by: Option<String>,
    /// What was asked for.
    pub amount: Money,
    /// The money is taken at once, and not held first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_at_once: bool,
    /// What was taken.
    pub captured: Money,
    /// What was refunded.
    pub refunded: Money,
    /// Its refunds, in the order in which they were asked for; see [`refunds`].
    #[serde(default)]
    pub refunds: Vec<RefundRecord>,
    /// Its state.
    pub state: PaymentState,
    /// When the authorisation lapses, if the gateway said so.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// The order was free: the gateway was not asked for anything.
    #[serde(default)]
    pub zero_amount: bool,
    /// What a notification said while the flow that makes the payment waits for an answer; that flow alone acts on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorisation_result: Option<AuthorisationResult>,
    /// The notifications that were taken into account, by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen_notifications: Vec<SeenNotification>,
    /// The loss of the captured money was reported to Cleeng, or is being reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loss_reported: bool,
    /// When it reached which state.
    #[serde(default)]
    pub history: Vec<(Timestamp, PaymentState)>,
}

/// What is known of a payment before it is asked for.
pub struct NewPayment {
    /// Our name of it.
    pub reference: Reference,
    /// The gateway.
    pub gateway: GatewayName,
    /// The subscription that it renews.
    pub subscription: Option<SubscriptionId>,
    /// The customer whose money it is.
    pub customer: CustomerId,
    /// The details that it is made with.
    pub details: Option<PaymentDetailsId>,
    /// Cleeng's order.
    pub order: Option<OrderId>,
    /// What is asked for.
    pub amount: Money,
    /// The order is free.
    pub zero_amount: bool,
    /// The money is taken at once, and not held first.
    pub taken_at_once: bool,
}

impl PaymentRecord {
    /// A payment of an obligation that is about to be asked for.
    #[must_use]
    pub fn new(payment: NewPayment, obligation: &Key, now: Timestamp) -> Self {
        let NewPayment { reference, gateway, subscription, customer, details, order, amount, zero_amount, taken_at_once } = payment;
        let nothing = Money::new(0, amount.currency);
        Self {
            schema: SCHEMA,
            reference,
            gateway,
            obligation: obligation.as_str().to_owned(),
            subscription,
            customer,
            details,
            order,
            cleeng_payment: None,
            authorisation: None,
            external_payment_id: None,
            pending_id: None,
            renewed_authorisation: None,
            capture: None,
            captured_by: None,
            amount,
            taken_at_once,
            captured: nothing,
            refunded: nothing,
            refunds: Vec::new(),
            state: PaymentState::Starting,
            expires_at: None,
            zero_amount,
            authorisation_result: None,
            seen_notifications: Vec::new(),
            loss_reported: false,
            history: vec![(now, PaymentState::Starting)],
        }
    }

    /// It is to pay this order of this amount instead: nothing was asked of the gateway yet.
    pub fn reprice(&mut self, order: OrderId, amount: Money) {
        let nothing = Money::new(0, amount.currency);
        self.order = Some(order);
        self.amount = amount;
        (self.captured, self.refunded) = (nothing, nothing);
        self.zero_amount = amount.is_zero();
    }

    /// The call that was to hold or take its money is not begun, or had no effect, and is not made any more.
    ///
    /// # Errors
    /// [`JournalError::IllegalTransition`], which neither of the branches below should cause.
    pub fn withdraw(&mut self, now: Timestamp) -> Result<(), JournalError> {
        match self.state {
            PaymentState::Starting => self.transition_to(PaymentState::Declined, now),
            PaymentState::Capturing => self.transition_to(PaymentState::Authorised, now),
            _ => Ok(()),
        }
    }

    /// Whether it belongs to a purchase, or to the storing of details, with the customer present.
    #[must_use]
    pub fn is_purchase(&self) -> bool {
        self.obligation.starts_with("order#") || self.obligation.starts_with("details#")
    }

    /// Whether it is being cancelled and the gateway never said that it holds or took the money: there may be nothing to cancel.
    #[must_use]
    pub fn is_cancelled_undecided(&self) -> bool {
        self.state == PaymentState::Cancelling && !self.was_successful()
    }

    /// Whether the gateway ever said that it holds or took the money.
    #[must_use]
    pub fn was_successful(&self) -> bool {
        [PaymentState::Authorised, PaymentState::Captured].into_iter().any(|state| self.reached_at(state).is_some())
    }

    /// Records that the gateway has the money: held, or taken if the payment takes it at once. It counts where it is, whatever the gateway
    /// said before; what Cleeng was told about a payment that had ended is no word about this money. Returns whether it is news.
    ///
    /// # Errors
    /// [`JournalError::IllegalTransition`], which none of these states causes.
    pub fn record_success(&mut self, external: &ExternalPaymentId, now: Timestamp) -> Result<bool, JournalError> {
        use PaymentState as S;
        let to = if self.taken_at_once { S::Captured } else { S::Authorised };
        let is_news = matches!(self.state, S::Starting | S::Declined | S::Cancelling | S::Cancelled | S::Expired)
            || (self.taken_at_once && self.state == S::Authorised);
        if !is_news {
            return Ok(false);
        }
        if matches!(self.state, S::Declined | S::Cancelled | S::Expired) {
            self.cleeng_payment = None;
        }
        self.authorisation = Some(external.clone());
        self.external_payment_id = Some(external.clone());
        if to == S::Captured { self.record_captured(now) } else { self.transition_to(to, now) }.map(|()| true)
    }

    /// Records that the whole amount is taken.
    ///
    /// # Errors
    /// [`JournalError::IllegalTransition`].
    pub fn record_captured(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.transition_to(PaymentState::Captured, now)?;
        self.captured = self.amount;
        Ok(())
    }

    /// Whether something still has to be done about it, so that it must be kept at any age.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        // A purchase that was cancelled before its id was known: there may never have been anything to cancel.
        let may_not_exist = self.is_purchase() && self.is_cancelled_undecided() && self.external_payment_id.is_none();
        (self.state.is_open() && !may_not_exist) || self.has_refund_in_flight()
    }

    /// How the money moved since the record was `before`: a stable code for each kind of movement, and the amount.
    #[must_use]
    pub fn movements_since(&self, before: &Self) -> Vec<(&'static str, Money)> {
        let grown = |now: Money, then: Money| now.checked_sub(then).ok().filter(|by| by.minor > 0);
        let mut movements = Vec::new();
        movements.extend(grown(self.captured, before.captured).map(|by| ("captured", by)));
        movements.extend(grown(self.refunded, before.refunded).map(|by| ("refunded", by)));
        if self.state != before.state && self.amount.minor > 0 {
            let movement = match self.state {
                PaymentState::Authorised if before.state == PaymentState::Starting => Some("authorised"),
                PaymentState::Cancelled | PaymentState::Expired => Some("released"),
                PaymentState::ChargedBack => Some("charged_back"),
                _ => None,
            };
            movements.extend(movement.map(|word| (word, self.amount)));
        }
        movements
    }

    /// When it first reached this state, as far back as the history goes.
    #[must_use]
    pub fn reached_at(&self, state: PaymentState) -> Option<Timestamp> {
        self.history.iter().find(|(_, reached)| *reached == state).map(|(at, _)| *at)
    }

    /// Moves it along a legal transition; a transition to its own state changes nothing.
    ///
    /// # Errors
    /// [`JournalError::IllegalTransition`].
    pub fn transition_to(&mut self, to: PaymentState, now: Timestamp) -> Result<(), JournalError> {
        if self.state == to {
            return Ok(());
        }
        if !self.state.can_transition_to(to) {
            return Err(JournalError::IllegalTransition { from: self.state.as_str(), to: to.as_str() });
        }
        self.state = to;
        if self.history.len() >= MAX_HISTORY {
            self.history.remove(0);
        }
        self.history.push((now, to));
        Ok(())
    }

    /// Whether a notification with this key was taken into account.
    #[must_use]
    pub fn has_seen(&self, key: &str) -> bool {
        self.seen_notifications.iter().any(|seen| seen.key == key)
    }

    /// How many different notifications of this kind were taken into account.
    #[must_use]
    pub fn notification_count(&self, kind: NotificationKind) -> usize {
        self.seen_notifications.iter().filter(|seen| seen.kind == kind).count()
    }

    /// Records a notification. The order in which notifications came leaves no trace here. False if the limit is reached.
    pub fn record_notification(&mut self, key: &str, kind: NotificationKind) -> bool {
        let seen = SeenNotification { key: key.to_owned(), kind };
        match self.seen_notifications.binary_search(&seen) {
            Ok(_) => true,
            Err(_) if self.seen_notifications.len() >= MAX_SEEN_NOTIFICATIONS => false,
            Err(place) => {
                self.seen_notifications.insert(place, seen);
                true
            }
        }
    }

    /// Whether the held money can be captured now.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state == PaymentState::Authorised && self.expires_at.is_none_or(|expires| expires > now)
    }

    /// Its key in the journal.
    #[must_use]
    pub fn key(reference: &Reference) -> Key {
        Key::new("payment", &[reference.as_str()])
    }

    /// The look-up by Cleeng's payment id; its body is the reference.
    #[must_use]
    pub fn cleeng_id_key(payment: &PaymentId) -> Key {
        Key::new("cleeng-payment", &[payment.as_str()])
    }

    /// The look-up by the gateway's id; its body is the reference.
    #[must_use]
    pub fn gateway_id_key(gateway: GatewayName, external: &ExternalPaymentId) -> Key {
        Key::new("gateway-payment", &[gateway.as_str(), external.as_str()])
    }
}

#[cfg(test)]
mod tests;
