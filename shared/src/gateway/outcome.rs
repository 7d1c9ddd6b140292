//! What came of a call to a gateway, in words that every flow understands.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};
use thiserror::Error;

use super::StoredToken;
use crate::clock::Timestamp;
use crate::http::TransportError;
use crate::ids::ExternalPaymentId;
use crate::money::{Money, MoneyError};
use crate::reason::{ParkReason, RetryReason};

/// What is known after a write.
#[derive(Clone, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// It happened.
    Done(Operation),
    /// The gateway acknowledged the request; a notification reports whether it succeeds.
    Received(Operation),
    /// The customer has to do something first.
    ActionRequired(Action, Operation),
    /// It did not happen, and the gateway said so.
    Declined(Decline),
    /// It may or may not have happened. Never to be read as declined or as done.
    Unknown(UnknownCause),
}

impl Outcome {
    /// A stable word for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// What the gateway said about an operation. No field is trusted to be present unless the adapter's contract says so.
#[derive(Clone, Default)]
pub struct Operation {
    /// The id by which Cleeng shall know the payment from now on. Present on `Done` and `Received` of authorise, charge and capture, and
    /// equal to the authorisation's if the gateway never changes the id.
    pub external_payment_id: Option<ExternalPaymentId>,
    /// The gateway's id of this very operation, to recognise its notification.
    pub operation_ref: Option<String>,
    /// The gateway's id of what waits for the customer, with `ActionRequired`: an order, an intent. It is passed to finalize and cancel.
    pub pending_id: Option<String>,
    /// The amount that the gateway says it acted on; flows compare it with what they asked for.
    pub amount: Option<Money>,
    /// Stored details that came to be.
    pub token: Option<StoredToken>,
    /// Whose details are being stored, as the gateway knows the customer, where they come to be later than the answer.
    pub details_owner: Option<String>,
    /// What "my account" may show of the stored details, in Cleeng's names (`variant`, `lastCardFourDigits`, `cardExpirationDate`,
    /// `holderName`); null for nothing.
    pub display_params: serde_json::Value,
    /// When an authorisation lapses, where the gateway says so.
    pub expires_at: Option<Timestamp>,
    /// The authorisation that took the place of the one that was to be captured, where the gateway had to renew it.
    pub renewed_authorisation: Option<ExternalPaymentId>,
}

/// What the customer has to do, as an opaque object for the gateway's own front-end component.
#[derive(Clone)]
pub struct Action {
    /// The gateway's action object, passed on unchanged.
    pub payload: serde_json::Value,
}

/// A refusal by the bank, the scheme or the gateway's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// What can be done about it.
    pub class: DeclineClass,
    /// The gateway's own code, never free text of the shopper.
    pub code: String,
    /// The payment that was refused, where the gateway has given it an id: Cleeng wants one on rejected payments too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<ExternalPaymentId>,
    /// When the same details may be tried again; `None` if nobody restricts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryAdvice>,
    /// The gateway does not know the stored details. A wrong account of ours would be answered in the same way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub details_unknown: bool,
}

impl Decline {
    /// A decline of a payment that has no id, or none that is known, and that nobody restricts to be tried again.
    #[must_use]
    pub fn new(class: DeclineClass, code: impl Into<String>) -> Self {
        Self { class, code: code.into(), payment: None, retry: None, details_unknown: false }
    }

    /// A decline because the gateway does not know the stored details.
    #[must_use]
    pub fn details_unknown(code: impl Into<String>) -> Self {
        Self { details_unknown: true, ..Self::new(DeclineClass::NeedsNewDetails, code) }
    }
}

/// When details that were declined may be tried again, as the card network, the bank or the gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAdvice {
    /// Never.
    Never,
    /// Not until so many hours after the decline.
    AfterHours(u32),
}

impl RetryAdvice {
    /// Whether a try is forbidden at this time, after a decline at that one.
    #[must_use]
    pub fn forbids(self, declined_at: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Never => true,
            Self::AfterHours(hours) => now < declined_at.after(Duration::from_secs(u64::from(hours).saturating_mul(3_600))),
        }
    }
}

impl fmt::Display for Decline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class.as_str(), self.code)
    }
}

/// What can be done about a decline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeclineClass {
    /// May succeed later, within limits.
    Soft,
    /// The customer has to authenticate.
    NeedsCustomer,
    /// The stored details have to be replaced.
    NeedsNewDetails,
    /// Never again with these details.
    Hard,
    /// Fraud or retry-limit rules; not again.
    Risk,
    /// The customer cancelled.
    Cancelled,
}

impl DeclineClass {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// A stable word for logs, metrics and the reason in Cleeng.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why an outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCause {
    /// No answer came.
    NoAnswer(TransportError),
    /// The peer answered with a 5xx.
    ServerError(u16),
    /// The same call is still in progress at the peer.
    InProgress,
    /// The answer cannot be understood, or does not fit what was asked.
    Unreadable,
    /// The answer is about another payment of ours than the one that was queried.
    AnotherPayment,
}

impl fmt::Display for UnknownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => error.fmt(f),
            Self::ServerError(status) => write!(f, "status {status}"),
            Self::InProgress => f.write_str("still in progress"),
            Self::Unreadable => f.write_str("answer not understood"),
            Self::AnotherPayment => f.write_str("answer about another payment"),
        }
    }
}

/// A call that is known to have had no effect, for a reason that is no decline. It never reaches Cleeng as `rejected`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GatewayError {
    /// The credentials were refused (401, 403).
    #[error("the gateway refused our credentials ({code}): check the API key in the secret and the merchant account")]
    Credentials {
        /// The gateway's code.
        code: String,
    },
    /// The gateway calls our request wrong; a mistake of ours or of the settings.
    #[error("the gateway refused our request as wrong ({code})")]
    Malformed {
        /// The gateway's code.
        code: String,
    },
    /// The gateway asks for patience (429).
    #[error("the gateway asks to slow down")]
    Throttled {
        /// How long, if it says so.
        retry_after: Option<Duration>,
    },
    /// The gateway could not be reached; nothing was sent.
    #[error("the gateway cannot be reached: {0}")]
    Unreachable(TransportError),
    /// The amount cannot be expressed at this gateway.
    #[error("the amount cannot be sent to this gateway: {0}")]
    Amount(#[from] MoneyError),
    /// The amount is below what the gateway takes: a price that nobody can pay there.
    #[error("the amount is below the gateway's minimum ({code})")]
    BelowMinimum {
        /// The gateway's code.
        code: String,
    },
    /// The stored token is not of this gateway's form.
    #[error("the stored token of the payment details is not one of this gateway's")]
    BadToken,
    /// The gateway has no such operation.
    #[error("the gateway does not support this operation")]
    Unsupported,
}

impl GatewayError {
    /// A stable code for alarms.
    #[must_use]
    pub fn code(&self) -> &'static str {
        RetryReason::from(self).as_str()
    }

    /// Why an operator has to decide, if waiting does not help.
    #[must_use]
    pub const fn park_reason(&self) -> Option<ParkReason> {
        match self {
            Self::Amount(_) => Some(ParkReason::GatewayAmount),
            Self::BadToken => Some(ParkReason::GatewayBadToken),
            Self::Unsupported => Some(ParkReason::GatewayUnsupported),
            Self::Credentials { .. }
            | Self::Malformed { .. }
            | Self::BelowMinimum { .. }
            | Self::Throttled { .. }
            | Self::Unreachable(_) => None,
        }
    }

    /// Whether the gateway is unavailable to the connector, whatever it is asked: down, throttling, or refusing the credentials.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Credentials { .. } | Self::Throttled { .. } | Self::Unreachable(_))
    }

    /// How long the peer asks to wait before the next call, if it says so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => *retry_after,
            _ => None,
        }
    }
}

impl From<&GatewayError> for RetryReason {
    fn from(error: &GatewayError) -> Self {
        match error {
            GatewayError::Credentials { .. } => Self::GatewayCredentials,
            GatewayError::Malformed { .. } | GatewayError::BelowMinimum { .. } => Self::GatewayMalformed,
            GatewayError::Throttled { .. } => Self::GatewayThrottled,
            GatewayError::Unreachable(_) => Self::GatewayUnreachable,
            GatewayError::Amount(_) => Self::GatewayAmount,
            GatewayError::BadToken => Self::GatewayBadToken,
            GatewayError::Unsupported => Self::GatewayUnsupported,
        }
    }
}
