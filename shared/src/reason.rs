//! Reasons: why a delivery is completed, tried again or parked, and why an operator is alarmed. Each has a stable text, which metrics,
//! logs, answers and the journal show; flows compare the values, never the texts.
//!
//! | module | purpose |
//! |---|---|
//! | [`retry`] | why something cannot be completed now |
//! | [`park`] | why something is parked for an operator's decision; the runbook has an entry for each |

pub mod park;
pub mod retry;

use strum::{EnumString, IntoStaticStr, VariantArray};

pub use self::park::ParkReason;
pub use self::retry::{Obstacle, RetryReason};

/// Gives reasons their text, and their list.
macro_rules! stable_text {
    ($reason:ty) => {
        impl $reason {
            /// Every reason.
            pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

            /// The stable text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                self.into()
            }
        }
    };
}
use stable_text;

stable_text!(CompletionReason);
stable_text!(AlarmReason);

/// Why a delivery is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CompletionReason {
    /// The money is held and Cleeng knows, or a gateway says that it is held.
    Authorised,
    /// The money is taken and Cleeng knows, or a gateway says that it is taken.
    Captured,
    /// The payment was declined.
    Declined,
    /// Nothing was to be done any more.
    Stale,
    /// The subscription has ended.
    Terminated,
    /// Captured money is gone, and Cleeng knows.
    LossReported,
    /// The payment details are stored and Cleeng has them.
    Stored,
    /// Another attempt took the place of this one.
    Superseded,
    /// The payment was reversed.
    Reversed,
    /// The money was refunded and Cleeng knows, or a gateway says so.
    Refunded,
    /// The authorisation was released.
    Released,
    /// Nothing is held any more with details that were deactivated.
    Deactivated,
    /// An operator abandoned the attempt.
    Abandoned,
    /// It waits for an operator's decision already.
    Parked,
    /// It was finished before.
    Finished,
    /// The purchase of the notification was finished before.
    AlreadyFinished,
    /// The period is paid.
    AlreadyPaid,
    /// The money was taken before it could be released.
    AlreadyCaptured,
    /// The subscription does not renew any more.
    SubscriptionNotActive,
    /// The payment details were deleted here.
    DetailsDeleted,
    /// Cleeng's subscription names other payment details than the event: the period is still to be paid, with those.
    DetailsReplaced,
    /// The payment method is charged when the capture event comes.
    BilledAtCapture,
    /// The gateway acknowledged the refund; its notification is awaited.
    RefundReceived,
    /// The gateway acknowledged the reversal; its notification is awaited.
    ReversalReceived,
    /// The gateway has not decided about the payment yet; the event waits in the journal.
    PaymentPending,
    /// The gateway has not decided about the capture yet; the event waits in the journal.
    CapturePending,
    /// The payment succeeded late: it is reported or given back by an attempt of its own.
    LateSuccess,
    /// The customer has to act at the gateway first.
    ActionRequired,
    /// The customer cancelled at the gateway.
    CustomerCancelled,
    /// Nothing waits for the data that the customer returned.
    NothingPending,
    /// No purchase is open.
    NothingOpen,
    /// The order's time is over.
    OrderExpired,
    /// The order is not what the customer agreed to.
    OrderChanged,
    /// Cleeng takes no payment for the order.
    OrderRefused,
    /// The order has had as many attempts as it may have.
    TooManyAttempts,
    /// Another payment of the subscription is in flight.
    PaymentInFlight,
    /// It is not the authorisation that the journal has as live.
    NotTheLiveAuthorisation,
    /// The payment is not authorised.
    NotAuthorised,
    /// Cleeng does not know the subscription.
    SubscriptionNotFound,
    /// The authorisation's period is not paid in another way.
    PeriodNotPaidOtherwise,
    /// The authorisation is the latest payment that Cleeng knows.
    AuthorisationIsTheLatestPayment,
    /// Cleeng does not list the authorisation.
    AuthorisationNotListed,
    /// Cleeng does not know the payment details.
    CleengNotFound,
    /// Cleeng's list of authorised payments has entries without an id.
    CleengListIncomplete,
    /// A gateway says that the authorisation was declined.
    AuthorisationDeclined,
    /// A gateway says that the customer approved.
    CustomerApproved,
    /// A gateway says that the capture failed.
    CaptureFailed,
    /// A gateway says that the authorisation was cancelled.
    Cancelled,
    /// A gateway says that the cancellation failed.
    CancelFailed,
    /// A gateway says that the authorisation lapsed.
    Expired,
    /// A gateway says that the refund failed.
    RefundFailed,
    /// A gateway says that the payment was charged back.
    ChargedBack,
    /// A gateway says that it withdrew captured money.
    FundsWithdrawn,
    /// A gateway says that the chargeback was reversed.
    ChargebackReversed,
    /// A gateway says that payment details were stored.
    TokenCreated,
    /// A gateway says that payment details can no longer be used.
    TokenDisabled,
    /// A gateway says that payment details were updated.
    TokenUpdated,
    /// A gateway says that a payment was cancelled or refunded, whichever applied.
    CancelledOrRefunded,
    /// A gateway says something about a payment that the connector does not understand.
    NotUnderstood,
    /// A gateway says something that has no effect here.
    Ignored,
}

/// Why an operator is alarmed about money that moved in another way than it was reported, or about a report that Cleeng refused. The
/// connector has dealt with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AlarmReason {
    /// An authorisation succeeded after its attempt had ended.
    AuthorisedWithoutOpenAttempt,
    /// The money was taken although a cancellation had been asked for.
    CapturedWhileBeingCancelled,
    /// The money was taken although the gateway had said that the capture failed.
    CapturedAfterAFailedCapture,
    /// A capture succeeded after its attempt had ended.
    CapturedWithoutOpenAttempt,
    /// A payment that is only to be held was captured, and not by a request of ours.
    CapturedWithoutOurRequest,
    /// An authorisation lapsed while the event that asks for its capture waits.
    AuthorisationLapsedWhileWaiting,
    /// Captured money is gone: the authorisation lapsed or was released although its capture had been taken for done.
    CapturedAuthorisationEnded,
    /// The gateway could not cancel an authorisation.
    CancelFailed,
    /// Captured money is gone: the capture failed later.
    CaptureFailed,
    /// Captured money is gone: the payment was charged back.
    Chargeback,
    /// A chargeback was reversed: the money is there again.
    ChargebackReversed,
    /// A refund that had succeeded failed after all.
    RefundFailedLater,
    /// A gateway said something about a payment of ours that the connector does not understand.
    NotificationNotUnderstood,
    /// What a gateway sent was kept aside: it could not be verified among items that could, or it is signed and cannot be read.
    NotificationKeptAside,
    /// What a gateway sent and signed was refused because of its size.
    NotificationTooLarge,
    /// What Cleeng sent and signed was refused because of its size.
    EventTooLarge,
    /// A purchase is paid, and the gateway has not stored the details that its renewals need.
    StoredDetailsMissing,
    /// A gateway does not know the stored details of several subscribers in a row: its account or its environment is not that of the details.
    DetailsUnknownInARow,
    /// Cleeng refused the report of a declined payment.
    RejectedReportRefused,
    /// Cleeng refused the report of a paid order, and the money is given back.
    PaidOrderRefused,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_text_of_a_reason_reads_back_as_the_reason() {
        assert!(CompletionReason::ALL.iter().copied().all(|reason| reason.as_str().parse() == Ok(reason)));
        assert!(AlarmReason::ALL.iter().copied().all(|reason| reason.as_str().parse() == Ok(reason)));
        assert!(RetryReason::ALL.iter().copied().all(|reason| reason.as_str().parse() == Ok(reason)));
        assert!(ParkReason::ALL.iter().copied().all(|reason| reason.as_str().parse() == Ok(reason)));
    }

    #[test]
    fn a_reason_of_a_newer_release_is_none_of_this_one() {
        assert!("a_reason_of_tomorrow".parse::<ParkReason>().is_err());
    }

    #[test]
    fn an_upstream_that_refuses_our_credentials_is_named_by_its_reason() {
        let about: BTreeSet<&str> =
            RetryReason::ALL.iter().copied().filter(|reason| reason.is_about_credentials()).map(RetryReason::as_str).collect();
        assert_eq!(about, BTreeSet::from(["cleeng_unauthorised", "gateway_credentials"]));
    }
}
