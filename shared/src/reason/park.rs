//! Why something is parked for an operator's decision.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::stable_text;

stable_text!(ParkReason);

impl ParkReason {
    /// Whether the gateway cannot do what was asked for, so that nothing happened there.
    #[must_use]
    pub const fn is_impossible_request(self) -> bool {
        matches!(self, Self::GatewayAmount | Self::GatewayBadToken | Self::GatewayUnsupported)
    }
}

/// Why something is parked for an operator's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ParkReason {
    /// The gateway never reported the result of an operation.
    OutcomeUnknown,
    /// The gateway never decided about the payment.
    PaymentPendingTooLong,
    /// The payment of a capture was in flight for too long.
    PaymentInFlightTooLong,
    /// It is unknown whether Cleeng booked the report.
    ReportUnknown,
    /// It is unknown whether Cleeng booked the refund.
    RefundReportUnknown,
    /// It is unknown whether Cleeng booked the loss.
    LossReportUnknown,
    /// It is unknown whether Cleeng stored the payment details.
    DetailsReportUnknown,
    /// Cleeng refused the report of a payment.
    CleengRefusedReport,
    /// Cleeng refused the report of a refund.
    CleengRefusedRefund,
    /// Cleeng refused the report of a loss.
    CleengRefusedLoss,
    /// Cleeng refused payment details.
    CleengRefusedDetails,
    /// Cleeng refused an order.
    OrderRefused,
    /// Cleeng refused to end the subscription.
    TerminationRefused,
    /// Cleeng refused to delete payment details.
    DetailsDeletionRefused,
    /// It is not certain that payment details are gone in Cleeng, which does not find them.
    DetailsNotFoundInCleeng,
    /// Cleeng does not list the payment.
    PaymentNotFoundInCleeng,
    /// The payment's id or order in Cleeng is not known.
    RefundCannotBeReported,
    /// Captured money is gone, and the payment's id in Cleeng is not known.
    LossOfAPaymentUnknownToCleeng,
    /// An authorised payment cannot be identified at its gateway.
    AuthorisedPaymentUnidentified,
    /// A capture event came and nothing is authorised.
    CaptureWithoutAuthorisation,
    /// Cleeng lists more than one authorised payment for the period.
    SeveralAuthorisationsInCleeng,
    /// The authorisation lapsed before its capture.
    CaptureOfAnExpiredAuthorisation,
    /// The gateway did not release an authorisation.
    ReleaseRefused,
    /// The payment is not in a state that a capture leads to.
    CapturedPaymentIsInAnotherState,
    /// The subscription is to end although its period is charged.
    CapturedButToBeTerminated,
    /// An authorisation that is not needed could not be released.
    AuthorisationNotReleased,
    /// Payment details are to be deleted, and a parked payment uses them.
    DetailsOfAParkedPayment,
    /// A charge names payment details that were deleted here.
    DetailsDeleted,
    /// Another period was charged less than half a cycle ago.
    ChargedRecently,
    /// Cleeng does not know the order of a payment that is to be captured.
    OrderNotFound,
    /// Cleeng's order is not the one that was asked for.
    OrderMismatch,
    /// The event lacks its currency or country.
    EventLacksCurrencyOrCountry,
    /// The event lacks the token of the payment details.
    EventLacksToken,
    /// Cleeng says a status that this release does not know.
    SubscriptionStatusUnknown,
    /// Neither the event, the journal nor Cleeng names the payment method.
    PaymentMethodUnknown,
    /// The event contradicts the journal.
    EventContradictsJournal,
    /// The event contradicts Cleeng's order.
    EventContradictsOrder,
    /// Cleeng does not know the event's subscription.
    SubscriptionNotFound,
    /// The subscription belongs to another customer than the event says.
    SubscriptionOfAnotherCustomer,
    /// Partial refunds are for an operator to decide.
    PartialRefund,
    /// More is to be refunded than was captured.
    RefundAboveCaptured,
    /// The refund was made before.
    RefundRepeated,
    /// The amount of the refund cannot be read.
    RefundAmountUnreadable,
    /// The payment is refunded already.
    AlreadyRefunded,
    /// A full refund is asked for after a partial one.
    FullRefundAfterAnother,
    /// Nothing was captured that could be refunded.
    NothingWasCaptured,
    /// The payment is not captured.
    PaymentNotCaptured,
    /// The payment was charged back.
    PaymentChargedBack,
    /// The refunds of the payment cannot be summed.
    RefundsDoNotAddUp,
    /// The event does not say enough about a payment that the journal does not know.
    UnknownPaymentLacksId,
    /// The event does not say which kind of payment it is about.
    UnknownPaymentLacksOperation,
    /// The order of a payment that the journal does not know is not known either.
    UnknownPaymentLacksOrder,
    /// The customer of a payment that the journal does not know is not known either.
    UnknownPaymentLacksCustomer,
    /// The refund is in another currency than the payment.
    RefundInAnotherCurrency,
    /// The refund cannot be reserved in the payment's record.
    RefundCannotBeReserved,
    /// A gateway notifies a refund that was not asked for here.
    RefundWithoutOurRequest,
    /// The journal does not know the payment, and Cleeng does not list it.
    PaymentUnknownToJournal,
    /// The refund failed at the gateway later.
    RefundFailed,
    /// The gateway never said what became of the refund.
    RefundUnanswered,
    /// The gateway declined the refund.
    RefundDeclined,
    /// A notification names another amount.
    NotificationNamesAnotherAmount,
    /// A notification names another payment.
    NotificationNamesAnotherPayment,
    /// What the notification follows never came.
    NotificationOutOfOrder,
    /// An authorisation does not name its payment.
    AuthorisationWithoutAnId,
    /// A payment that took no money is disputed.
    DisputeOfAPaymentWithoutMoney,
    /// A capture failed after its refund or chargeback.
    CaptureFailedAfterTheMoneyWentBack,
    /// More notifications came for a payment than are counted.
    TooManyNotifications,
    /// A billing event never came, and the details to charge were replaced.
    MissedEventOfUnknownDetails,
    /// A due document of the journal cannot be read.
    DueDocumentUnreadable,
    /// Cleeng signed the event, and this release cannot read it.
    EventUnreadable,
    /// Cleeng signed the event and sent it to the address of another topic.
    EventOfAnotherTopic,
    /// Cleeng signed the event, and it belongs to another publisher than the deployment's.
    EventOfAnotherPublisher,
    /// The gateway never notified the stored details of a paid purchase.
    TokenMissing,
    /// The gateway refused to delete stored details.
    TokenDeletionRefused,
    /// It is unknown whether the gateway deleted stored details.
    TokenDeletionUnknown,
    /// The gateway never said that a cancellation is final.
    CancelNotFinal,
    /// More is to be reversed than was captured.
    ReversalAboveCaptured,
    /// The gateway refused a reversal, at once or later.
    ReversalRefused,
    /// The gateway never said what became of a reversal.
    ReversalUnanswered,
    /// A payment is to be reversed that Cleeng has as paid.
    ReportedPaymentToBeReversed,
    /// The authorisation of a single purchase lapsed.
    AuthorisationLapsed,
    /// The payment of a single purchase is not authorised.
    PaymentNotAuthorised,
    /// A renewal's payment is not captured as a single purchase.
    PaymentOfARenewal,
    /// The gateway was unavailable, throttled the connector or refused its credentials for too long.
    GatewayUnavailable,
    /// Cleeng was unavailable, throttled the connector or refused its credentials for too long.
    CleengUnavailable,
    /// The gateway calls the request malformed.
    GatewayRefusedRequest,
    /// Cleeng refuses to show what has to be read first.
    CleengRefusedRead,
    /// The journal's records of the obligation contradict each other.
    RecordInconsistent,
    /// The amount of Cleeng's order cannot be read.
    OrderAmountUnreadable,
    /// The gateway cannot express the amount.
    GatewayAmount,
    /// The stored details are not of the gateway's form.
    GatewayBadToken,
    /// The gateway does not support the operation.
    GatewayUnsupported,
}
