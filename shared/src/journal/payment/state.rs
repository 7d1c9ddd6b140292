//! The states of a payment, and the only transitions between them.

use serde::{Deserialize, Serialize};

/// The state of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// The gateway is being asked to hold or take the money.
    Starting,
    /// The money is held.
    Authorised,
    /// Refused; no money is held or taken.
    Declined,
    /// The gateway is being asked to capture the authorisation, or has acknowledged that and not reported the result yet.
    Capturing,
    /// The money is taken.
    Captured,
    /// The gateway refused the capture, at once or later.
    CaptureFailed,
    /// The gateway is being asked to release the authorisation, or has acknowledged that.
    Cancelling,
    /// The held money is released.
    Cancelled,
    /// The authorisation lapsed.
    Expired,
    /// All of the money was refunded.
    Refunded,
    /// The bank took the money back.
    ChargedBack,
}

impl PaymentState {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Starting,
        Self::Authorised,
        Self::Declined,
        Self::Capturing,
        Self::Captured,
        Self::CaptureFailed,
        Self::Cancelling,
        Self::Cancelled,
        Self::Expired,
        Self::Refunded,
        Self::ChargedBack,
    ];

    /// A stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Authorised => "authorised",
            Self::Declined => "declined",
            Self::Capturing => "capturing",
            Self::Captured => "captured",
            Self::CaptureFailed => "capture_failed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refunded => "refunded",
            Self::ChargedBack => "charged_back",
        }
    }

    /// Whether this transition is legal. A transition that is not listed is illegal: a late or repeated notification changes nothing.
    #[must_use]
    pub const fn can_transition_to(self, to: Self) -> bool {
        use PaymentState as S;
        matches!(
            (self, to),
            (S::Starting, S::Authorised | S::Captured | S::Declined | S::Cancelling)
                | (S::Authorised, S::Capturing | S::Cancelling | S::Cancelled | S::Expired)
                // Taken at once after all, or by a success that came after the gateway had said something else.
                | (S::Authorised, S::Captured)
                | (S::Declined | S::Cancelled | S::Expired, S::Authorised | S::Captured)
                // A cancel that crossed a capture: the notification says which of them won.
                | (S::Capturing, S::Captured | S::CaptureFailed | S::Authorised | S::Expired | S::Cancelled)
                | (S::Cancelling, S::Cancelled | S::Expired | S::Captured | S::Authorised)
                // A capture that was reported done can fail days later, and be repeated by the gateway (CAPTURE_FAILED, "Transaction
                // Recaptured").
                | (S::Captured, S::CaptureFailed | S::Refunded | S::ChargedBack)
                | (S::CaptureFailed, S::Captured)
                // A refund that fails later, a chargeback that is won.
                | (S::Refunded, S::Captured | S::ChargedBack)
                | (S::ChargedBack, S::Captured | S::Refunded)
        )
    }

    /// Whether money is held or may be: it has to be captured or released.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Starting | Self::Authorised | Self::Capturing | Self::Cancelling)
    }
}
