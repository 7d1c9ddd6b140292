//! One call to a gateway, as every client sees it. Must never make a refusal of what may have happened.

use serde_json::Value;

use crate::gateway::{GatewayError, Outcome, UnknownCause};
use crate::http::{Response, TransportCause, TransportError};
use crate::money::MoneyError;

/// Why a call gave nothing to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It is known to have had no effect.
    NoEffect(GatewayError),
    /// It may or may not have happened.
    Unknown(UnknownCause),
}

impl CallError {
    /// The outcome of an operation that ends with this failure.
    ///
    /// # Errors
    /// The call is known to have had no effect.
    pub(crate) fn into_outcome(self) -> Result<Outcome, GatewayError> {
        match self {
            Self::NoEffect(error) => Err(error),
            Self::Unknown(cause) => Ok(Outcome::Unknown(cause)),
        }
    }

    /// The outcome of a write whose result had to be read afterwards: if that read fails, the effect of the write is unknown, not absent.
    pub(crate) fn after_write(self) -> Self {
        match self {
            Self::NoEffect(_) => Self::Unknown(UnknownCause::Unreadable),
            unknown @ Self::Unknown(_) => unknown,
        }
    }

    /// Why calls would fail now, as [`crate::gateway::Gateway::check_access`] says it.
    pub(crate) fn into_access_error(self) -> GatewayError {
        match self {
            Self::NoEffect(error) => error,
            Self::Unknown(UnknownCause::NoAnswer(error)) => GatewayError::Unreachable(error),
            Self::Unknown(_) => GatewayError::Unreachable(TransportError::NoResponse(TransportCause::Malformed)),
        }
    }

    /// A mistake of ours under this code.
    pub(crate) fn malformed(code: impl Into<String>) -> Self {
        Self::NoEffect(GatewayError::Malformed { code: code.into() })
    }
}

impl From<GatewayError> for CallError {
    fn from(error: GatewayError) -> Self {
        Self::NoEffect(error)
    }
}

impl From<MoneyError> for CallError {
    fn from(error: MoneyError) -> Self {
        Self::NoEffect(error.into())
    }
}

impl From<UnknownCause> for CallError {
    fn from(cause: UnknownCause) -> Self {
        Self::Unknown(cause)
    }
}

impl From<TransportError> for CallError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::NotSent(_) => Self::NoEffect(GatewayError::Unreachable(error)),
            TransportError::NoResponse(_) => Self::Unknown(UnknownCause::NoAnswer(error)),
        }
    }
}

/// An answer that can be read further.
pub(crate) enum Answer {
    /// A 2xx with a JSON object, still to be understood.
    Body(Value),
    /// A 204 without a body.
    Empty,
    /// A status with which this gateway says why it refused. A body that does not say so is unknown, not refused: it could be "still in
    /// progress".
    Refusal(Response),
}

/// What an answer means by its status. `refusals` are those with which the gateway says why it refused, `code` reads its error code.
///
/// # Errors
/// 401, 403 and 429 are known to have had no effect; what the gateway does not document is unknown.
pub(crate) fn read_status(
    response: Response,
    refusals: &[u16],
    code: impl FnOnce(&Response) -> Option<String>,
) -> Result<Answer, CallError> {
    let status = response.status.as_u16();
    match status {
        204 if response.body.is_empty() => Ok(Answer::Empty),
        200..=299 => response.json().filter(Value::is_object).map(Answer::Body).ok_or(CallError::Unknown(UnknownCause::Unreadable)),
        401 | 403 => Err(GatewayError::Credentials { code: code(&response).unwrap_or_else(|| status.to_string()) }.into()),
        429 => Err(GatewayError::Throttled { retry_after: response.retry_after() }.into()),
        _ if refusals.contains(&status) => Ok(Answer::Refusal(response)),
        500.. => Err(UnknownCause::ServerError(status).into()),
        _ => Err(UnknownCause::Unreadable.into()),
    }
}

/// Sets a field of a body.
pub(crate) fn set_field(body: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value.into());
    }
}
