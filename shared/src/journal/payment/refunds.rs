//! The refunds of a payment, and the amounts that are reserved for them. A refund is reserved in the payment record in the transaction of
//! its intent, so that two concurrent refunds never promise more than was captured. Must never free a reservation whose outcome is unknown.

use serde::{Deserialize, Serialize};

use super::{PaymentRecord, PaymentState};
use crate::clock::Timestamp;
use crate::journal::JournalError;
use crate::journal::store::{Key, StoreError};
use crate::money::{Money, MoneyError};
use crate::reference::Reference;

/// The most refunds of one payment that are kept; one more is refused. A record stays small.
pub const MAX_REFUNDS: usize = 60;

/// One refund of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRecord {
    /// The obligation that asked for it.
    pub obligation: String,
    /// Our name of it at the gateway.
    pub reference: Reference,
    /// How much.
    pub amount: Money,
    /// The gateway's id of it.
    #[serde(default)]
    pub operation_ref: Option<String>,
    /// Its state.
    pub state: RefundState,
}

/// The state of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// The gateway is being asked; reserved.
    Requested,
    /// The gateway acknowledged it and has not reported the result; reserved.
    Received,
    /// The money was refunded.
    Done,
    /// The refund failed, at once or later. Frees the reservation.
    Failed,
}

impl RefundState {
    /// Whether the amount is reserved and not yet refunded.
    #[must_use]
    pub const fn is_in_flight(self) -> bool {
        matches!(self, Self::Requested | Self::Received)
    }
}

/// Why a refund cannot be reserved.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReservationError {
    /// More than was captured would be refunded.
    #[error("the refunds would be above what was captured")]
    AboveCaptured,
    /// The amount is not above zero, of another currency, or too large.
    #[error("the amount is not one of this payment")]
    InvalidAmount,
    /// The payment has too many refunds.
    #[error("the payment has {MAX_REFUNDS} refunds already")]
    TooMany,
}

impl PaymentRecord {
    /// The amount that is refunded or reserved for it.
    ///
    /// # Errors
    /// [`MoneyError`] for an inconsistent record.
    pub fn committed_refunds(&self) -> Result<Money, MoneyError> {
        let in_flight = self.refunds.iter().filter(|part| part.state.is_in_flight());
        in_flight.map(|part| part.amount).try_fold(self.refunded, Money::checked_add)
    }

    /// Whether a refund is requested whose result is not known.
    #[must_use]
    pub fn has_refund_in_flight(&self) -> bool {
        self.refunds.iter().any(|part| part.state.is_in_flight())
    }

    /// The latest refund of this obligation: one that failed may have been asked for again.
    #[must_use]
    pub fn refund_for(&self, obligation: &Key) -> Option<&RefundRecord> {
        self.refunds.iter().rev().find(|part| part.obligation == obligation.as_str())
    }

    /// Reserves a refund, once per obligation, and once more after one that failed.
    ///
    /// # Errors
    /// [`ReservationError`]; nothing is changed then.
    pub fn reserve_refund(&mut self, obligation: &Key, reference: Reference, amount: Money) -> Result<(), ReservationError> {
        if self.refund_for(obligation).is_some_and(|part| part.state != RefundState::Failed) {
            return Ok(());
        }
        if amount.minor <= 0 {
            return Err(ReservationError::InvalidAmount);
        }
        let sum =
            self.committed_refunds().and_then(|committed| committed.checked_add(amount)).map_err(|_| ReservationError::InvalidAmount)?;
        if self.captured.checked_sub(sum).map_err(|_| ReservationError::InvalidAmount)?.minor < 0 {
            return Err(ReservationError::AboveCaptured);
        }
        if self.refunds.len() >= MAX_REFUNDS {
            return Err(ReservationError::TooMany);
        }
        let obligation = obligation.as_str().to_owned();
        self.refunds.push(RefundRecord { obligation, reference, amount, operation_ref: None, state: RefundState::Requested });
        Ok(())
    }

    /// Records that the gateway acknowledged a refund.
    pub fn record_refund_received(&mut self, obligation: &Key, operation_ref: Option<String>) {
        let is_requested = |part: &&mut RefundRecord| part.obligation == obligation.as_str() && part.state == RefundState::Requested;
        if let Some(part) = self.refunds.iter_mut().find(is_requested) {
            part.state = RefundState::Received;
            part.operation_ref = operation_ref;
        }
    }

    /// Frees the reservation of a refund that the gateway is known not to have accepted.
    pub fn release_refund_reservation(&mut self, obligation: &Key) {
        let asked = |part: &&mut RefundRecord| part.obligation == obligation.as_str() && part.state == RefundState::Requested;
        if let Some(part) = self.refunds.iter_mut().find(asked) {
            part.state = RefundState::Failed;
        }
    }

    /// Moves the latest refund of this obligation to its result; see [`PaymentRecord::complete_refund`].
    ///
    /// # Errors
    /// As [`PaymentRecord::complete_refund`].
    pub fn complete_refund_of(&mut self, obligation: &Key, success: bool, now: Timestamp) -> Result<bool, JournalError> {
        let place = self.refunds.iter().rposition(|part| part.obligation == obligation.as_str());
        place.map_or(Ok(false), |index| self.complete_refund(index, success, now))
    }

    /// Moves the refund at `index` to its result and the payment with it. A refund that succeeded can still fail later; one that failed
    /// stays so. Returns whether anything changed.
    ///
    /// # Errors
    /// [`JournalError::IllegalTransition`], or [`StoreError::Corrupt`] for an inconsistent record.
    pub fn complete_refund(&mut self, index: usize, success: bool, now: Timestamp) -> Result<bool, JournalError> {
        let Some(part) = self.refunds.get_mut(index) else { return Ok(false) };
        let corrupt = |_| JournalError::Store(StoreError::Corrupt);
        match (part.state, success) {
            (RefundState::Failed, _) | (RefundState::Done, true) => return Ok(false),
            (RefundState::Requested | RefundState::Received, false) => part.state = RefundState::Failed,
            (RefundState::Requested | RefundState::Received, true) => {
                part.state = RefundState::Done;
                self.refunded = self.refunded.checked_add(part.amount).map_err(corrupt)?;
                if self.refunded == self.captured && self.state == PaymentState::Captured {
                    self.transition_to(PaymentState::Refunded, now)?;
                }
            }
            (RefundState::Done, false) => {
                part.state = RefundState::Failed;
                self.refunded = self.refunded.checked_sub(part.amount).map_err(corrupt)?;
                if self.state == PaymentState::Refunded {
                    self.transition_to(PaymentState::Captured, now)?;
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::GatewayName;
    use crate::ids::CustomerId;
    use crate::journal::payment::NewPayment;
    use crate::money::Currency;
    use crate::reference::{GatewayText, IdempotencyKey, OperationKind};
    use crate::secret::SecretString;

    const NOW: Timestamp = Timestamp::from_secs(7);

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::new("USD").unwrap())
    }

    fn reference_for(of: &str) -> Reference {
        let salt = SecretString::new("salt");
        Reference::from_key(&IdempotencyKey::derive(&salt, GatewayText("adyen"), OperationKind::Refund, of, "1"))
    }

    fn captured_payment() -> PaymentRecord {
        let new = NewPayment {
            reference: reference_for("payment"),
            gateway: GatewayName::Adyen,
            subscription: None,
            customer: CustomerId::new("7").unwrap(),
            details: None,
            order: None,
            amount: usd(999),
            zero_amount: false,
            taken_at_once: false,
        };
        let mut payment = PaymentRecord::new(new, &Key::new("period", &["1", "2"]), NOW);
        payment.transition_to(PaymentState::Captured, NOW).unwrap();
        payment.captured = usd(999);
        payment
    }

    fn refund_key(number: usize) -> Key {
        Key::new("refund", &["1", &number.to_string()])
    }

    #[test]
    fn a_reservation_is_made_once_and_never_above_what_was_captured() {
        let mut payment = captured_payment();
        assert_eq!(payment.reserve_refund(&refund_key(1), reference_for("1"), usd(600)), Ok(()));
        assert_eq!(payment.reserve_refund(&refund_key(1), reference_for("1"), usd(600)), Ok(()));
        assert_eq!(payment.committed_refunds(), Ok(usd(600)));
        assert_eq!(payment.reserve_refund(&refund_key(2), reference_for("2"), usd(400)), Err(ReservationError::AboveCaptured));
        assert_eq!(payment.reserve_refund(&refund_key(2), reference_for("2"), usd(0)), Err(ReservationError::InvalidAmount));
        let euro = Money::new(1, Currency::new("EUR").unwrap());
        assert_eq!(payment.reserve_refund(&refund_key(2), reference_for("2"), euro), Err(ReservationError::InvalidAmount));
        payment.release_refund_reservation(&refund_key(1));
        assert_eq!(payment.reserve_refund(&refund_key(2), reference_for("2"), usd(999)), Ok(()));
    }

    #[test]
    fn a_refund_that_failed_is_reserved_anew_under_the_same_obligation() {
        let mut payment = captured_payment();
        payment.reserve_refund(&refund_key(1), reference_for("1"), usd(999)).unwrap();
        assert_eq!(payment.complete_refund_of(&refund_key(1), false, NOW), Ok(true));
        payment.reserve_refund(&refund_key(1), reference_for("2"), usd(999)).unwrap();
        assert_eq!(payment.refund_for(&refund_key(1)).map(|part| &part.reference), Some(&reference_for("2")));
        assert_eq!(payment.complete_refund_of(&refund_key(1), true, NOW), Ok(true));
        assert_eq!((payment.state, payment.refunded), (PaymentState::Refunded, usd(999)));
        assert_eq!(payment.complete_refund_of(&refund_key(2), true, NOW), Ok(false), "no such refund");
    }

    #[test]
    fn a_reservation_that_the_gateway_acknowledged_is_not_released() {
        let mut payment = captured_payment();
        payment.reserve_refund(&refund_key(1), reference_for("1"), usd(600)).unwrap();
        payment.record_refund_received(&refund_key(1), Some("OP".to_owned()));
        payment.release_refund_reservation(&refund_key(1));
        assert_eq!(payment.committed_refunds(), Ok(usd(600)));
    }

    #[test]
    fn a_full_refund_that_fails_after_all_leaves_the_payment_captured() {
        let mut payment = captured_payment();
        payment.reserve_refund(&refund_key(1), reference_for("1"), usd(999)).unwrap();
        assert_eq!(payment.complete_refund(0, true, NOW), Ok(true));
        assert_eq!((payment.state, payment.refunded), (PaymentState::Refunded, usd(999)));
        assert_eq!(payment.complete_refund(0, true, NOW), Ok(false));
        assert_eq!(payment.complete_refund(0, false, NOW), Ok(true));
        assert_eq!((payment.state, payment.refunded), (PaymentState::Captured, usd(0)));
        assert_eq!(payment.complete_refund(0, true, NOW), Ok(false), "a success that comes after the failure is older");
    }

    proptest! {
        #[test]
        fn the_sum_of_refunds_is_never_above_captured(steps in prop::collection::vec((0_u8..5, 0_usize..12, -5_i64..1200), 1..200)) {
            let mut payment = captured_payment();
            for (step, number, amount) in steps {
                match step {
                    0 => drop(payment.reserve_refund(&refund_key(number), reference_for("r"), usd(amount))),
                    1 => payment.record_refund_received(&refund_key(number), Some(number.to_string())),
                    2 => payment.release_refund_reservation(&refund_key(number)),
                    3 => drop(payment.complete_refund(number, true, NOW).unwrap()),
                    _ => drop(payment.complete_refund(number, false, NOW).unwrap()),
                }
                let committed = payment.committed_refunds().unwrap();
                prop_assert!(committed.minor <= 999 && payment.refunded.minor >= 0);
                let done: i64 = payment.refunds.iter().filter(|part| part.state == RefundState::Done).map(|part| part.amount.minor).sum();
                prop_assert_eq!(payment.refunded.minor, done);
                prop_assert_eq!(payment.state == PaymentState::Refunded, done == 999);
            }
        }
    }
}
