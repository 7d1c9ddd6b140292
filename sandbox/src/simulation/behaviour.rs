//! What real gateways, Cleeng and people do that is rare, and is counted: a simulation in which it does not occur proves nothing about it.

use std::collections::BTreeMap;

/// A behaviour that is counted where it has its effect, not where it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// A payment that was refused succeeds under the same id.
    SuccessAfterRefusal,
    /// A payment or capture is undecided for an hour or more, and succeeds.
    UndecidedApproved,
    /// A payment or capture is undecided for an hour or more, and is refused.
    UndecidedRefused,
    /// A payment or capture is undecided for more than three days.
    UndecidedForDays,
    /// The first hold is told as voided although a renewed one took its place.
    RenewedHoldVoided,
    /// A cancel or a refund that was acknowledged fails.
    GiveBackFailed,
    /// A payment is charged back.
    Dispute,
    /// A dispute is won.
    DisputeWon,
    /// A payment is charged back once more, after a dispute that was won.
    SecondDispute,
    /// A report of Adyen's that nobody signs, alone.
    UnsignedReport,
    /// The same in front of an item that is signed.
    UnsignedReportWithItem,
    /// A notification of an unknown kind names a payment of ours.
    UnknownCode,
    /// A notification of 200 KB.
    LargeBody,
    /// A notification about stored details, as the gateway prints it.
    VaultEvent,
    /// Details are stored later than their purchase.
    LateVaulting,
    /// An access token that is older than a permission is answered 403.
    StaleAccessToken,
    /// An amount is below the gateway's minimum.
    AmountBelowMinimum,
    /// A subscription is paused, and goes on later.
    Pause,
    /// The price of an offer changes.
    PriceChange,
    /// Another connector pays a period.
    PaidElsewhere,
    /// Another connector pays an order.
    OrderPaidElsewhere,
    /// A customer removes the details that are in use.
    DetailsRemoved,
    /// An order of Cleeng's has an amount that a float made.
    FloatAmount,
    /// Something in between answers in Cleeng's place.
    AnswerInBetween,
    /// A refusal names a time before which nobody may try again.
    AdviceWithTime,
    /// A first purchase at an account whose captures are asked for.
    ManualCapture,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::SuccessAfterRefusal,
        Self::UndecidedApproved,
        Self::UndecidedRefused,
        Self::UndecidedForDays,
        Self::RenewedHoldVoided,
        Self::GiveBackFailed,
        Self::Dispute,
        Self::DisputeWon,
        Self::SecondDispute,
        Self::UnsignedReport,
        Self::UnsignedReportWithItem,
        Self::UnknownCode,
        Self::LargeBody,
        Self::VaultEvent,
        Self::LateVaulting,
        Self::StaleAccessToken,
        Self::AmountBelowMinimum,
        Self::Pause,
        Self::PriceChange,
        Self::PaidElsewhere,
        Self::OrderPaidElsewhere,
        Self::DetailsRemoved,
        Self::FloatAmount,
        Self::AnswerInBetween,
        Self::AdviceWithTime,
        Self::ManualCapture,
    ];
}

/// How often each behaviour occurred; one that did not is not in it.
pub type BehaviourCounts = BTreeMap<Behaviour, u64>;
