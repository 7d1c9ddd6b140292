//! Why something cannot be completed now.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::{ParkReason, stable_text};

stable_text!(RetryReason);

impl RetryReason {
    /// Whether an upstream does not accept the connector's credentials.
    #[must_use]
    pub const fn is_about_credentials(self) -> bool {
        matches!(self, Self::CleengUnauthorised | Self::GatewayCredentials)
    }

    /// What stands in the way, and what becomes of an event if it lasts.
    #[must_use]
    pub const fn obstacle(self) -> Obstacle {
        match self {
            // Something in between may say in Cleeng's place that there is nothing.
            Self::CleengUnreachable | Self::CleengUnauthorised | Self::CleengThrottled | Self::CleengNotFound | Self::CleengUnknown => {
                Obstacle::Outage(ParkReason::CleengUnavailable)
            }
            Self::GatewayCredentials
            | Self::GatewayThrottled
            | Self::GatewayUnreachable
            | Self::GatewayNotConfigured
            | Self::AnswerMismatch => Obstacle::Outage(ParkReason::GatewayUnavailable),
            Self::CleengAmountUnreadable => Obstacle::Peculiar(ParkReason::OrderAmountUnreadable),
            Self::GatewayMalformed => Obstacle::Peculiar(ParkReason::GatewayRefusedRequest),
            Self::CleengRefused | Self::CleengListIncomplete => Obstacle::Peculiar(ParkReason::CleengRefusedRead),
            Self::JournalContended => Obstacle::Contention(ParkReason::RecordInconsistent),
            Self::JournalCorrupt | Self::IllegalTransition | Self::NothingToResume | Self::PaymentNotLoaded | Self::DueNotConfirmed => {
                Obstacle::Peculiar(ParkReason::RecordInconsistent)
            }
            _ => Obstacle::Wait,
        }
    }
}

impl RetryReason {
    /// Whether a wrong release or a wrong setting can be the cause, so that a new version which meets it is rolled back.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        let own = matches!(
            self,
            Self::JournalUnavailable
                | Self::JournalRefused
                | Self::JournalNewerSchema
                | Self::GatewayAmount
                | Self::GatewayBadToken
                | Self::GatewayDetailsUnknown
                | Self::GatewayUnsupported
                | Self::EventQueueUnavailable
                | Self::EventQueueRefused
                | Self::WaitingEventUnreadable
                | Self::EventLacksAField
        );
        own || !matches!(self.obstacle(), Obstacle::Wait)
    }
}

/// What stands in the way of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It ends by itself, or the flow has a deadline for it.
    Wait,
    /// An upstream is unavailable, for everybody: it is tried for as long as an unknown outcome is asked about, then parked for this reason.
    Outage(ParkReason),
    /// Another worker wrote first, which passes: only if it is met again and again for hours, the record is at fault, and it is parked for this
    /// reason.
    Contention(ParkReason),
    /// It is peculiar to the obligation, so that waiting does not help: it is parked within hours, for this reason.
    Peculiar(ParkReason),
}

/// Why something cannot be completed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RetryReason {
    /// Another worker holds the obligation.
    Leased,
    /// Another worker wrote first.
    JournalContended,
    /// The journal cannot be reached.
    JournalUnavailable,
    /// The journal refuses the request.
    JournalRefused,
    /// A document of the journal cannot be read.
    JournalCorrupt,
    /// It is unknown whether the journal was written.
    JournalUnknown,
    /// A document was written by a newer release.
    JournalNewerSchema,
    /// A payment would move along an illegal transition.
    IllegalTransition,
    /// The remaining time does not cover the next call.
    OutOfTime,
    /// Cleeng cannot be reached.
    CleengUnreachable,
    /// Cleeng does not accept the publisher's token.
    CleengUnauthorised,
    /// Cleeng does not know what it is asked for.
    CleengNotFound,
    /// Cleeng asks to slow down.
    CleengThrottled,
    /// Cleeng refuses the call.
    CleengRefused,
    /// An amount in Cleeng's answer cannot be read.
    CleengAmountUnreadable,
    /// It is unknown what Cleeng did.
    CleengUnknown,
    /// Cleeng's list of authorised payments has entries without an id.
    CleengListIncomplete,
    /// The gateway does not accept the credentials.
    GatewayCredentials,
    /// The gateway calls the request malformed.
    GatewayMalformed,
    /// The gateway asks to slow down.
    GatewayThrottled,
    /// The gateway cannot be reached.
    GatewayUnreachable,
    /// The gateway cannot express the amount.
    GatewayAmount,
    /// The stored details are not of the gateway's form.
    GatewayBadToken,
    /// The gateway does not know the stored details, which may be a mistake of ours.
    GatewayDetailsUnknown,
    /// The gateway does not support the operation.
    GatewayUnsupported,
    /// It is unknown what the gateway did.
    GatewayUnknown,
    /// The gateway is not configured any more.
    GatewayNotConfigured,
    /// The gateway's answer does not match the call.
    AnswerMismatch,
    /// The data that the customer returned belongs to another payment.
    AnotherPayment,
    /// The queue of a waiting event cannot be reached.
    EventQueueUnavailable,
    /// The queue of a waiting event does not take it.
    EventQueueRefused,
    /// A waiting event cannot be read.
    WaitingEventUnreadable,
    /// The event lacks a field that this release needs.
    EventLacksAField,
    /// Cleeng was not asked in this delivery whether the money is due.
    DueNotConfirmed,
    /// Another attempt of the obligation is in flight.
    AnotherAttemptInFlight,
    /// A payment of an earlier attempt succeeded late, and is not reported or given back yet.
    LateSuccessUnsettled,
    /// Another obligation of the subscription is in flight.
    AnotherPeriodInFlight,
    /// The event resumed an earlier attempt; its own comes next.
    ResumedAnEarlierAttempt,
    /// The open attempt has no payment.
    NothingToResume,
    /// The journal does not have the payment.
    PaymentNotLoaded,
    /// A payment of the subscription is in flight.
    PaymentInFlight,
    /// An authorisation with the payment details is in flight.
    AuthorisationInFlight,
    /// A capture is in flight.
    CaptureInFlight,
    /// The gateway acknowledged the capture; its notification is awaited.
    CaptureReceived,
    /// The gateway acknowledged a cancellation that can still fail.
    CancelNotFinal,
    /// A capture event came before its authorisation.
    WaitingForAuthorisation,
    /// The customer may still come back.
    WaitingForCustomer,
    /// The gateway has not decided about the payment yet.
    PaymentPending,
    /// The gateway has not named the payment yet.
    PaymentWithoutId,
    /// A worker is busy with the payment.
    PaymentLeased,
    /// The journal does not have the payment of a notification yet.
    PaymentNotRecorded,
    /// The journal does not have the purchase of a notification yet.
    PaymentNotKnownYet,
    /// The journal does not have the attempt of a notification.
    AttemptNotKnown,
    /// A notification came before the one that it follows.
    NotificationEarly,
    /// What was kept aside of a gateway's notifications does not verify, or cannot be read, by what is known now.
    NotificationUnverified,
    /// A notification does not name the gateway's payment.
    NotificationWithoutPayment,
    /// It is unknown whether Cleeng booked the report.
    ReportUnknown,
    /// It is unknown whether the gateway started the payment.
    StartUnknown,
    /// The gateway has not notified the stored details yet.
    TokenPending,
    /// The data that the customer returned is not recorded.
    NoReturnedData,
    /// The gateway asks for more calls than the connector makes.
    TooManyFinalizeCalls,
}
