//! API keys that are replaced while calls are made: the current one and the one before the last rotation.

use std::sync::atomic::{AtomicBool, Ordering};

use super::call::CallError;
use super::time_budget::TimeBudget;
use crate::http::{Request, Response, Transport};
use crate::secret::SecretString;

/// What the gateway says to a key that it does not know; nothing was done.
const UNAUTHORISED: u16 = 401;

/// Sends with the key that works.
pub(crate) struct RotatingKeys {
    current: SecretString,
    previous: Option<SecretString>,
    /// Set while the gateway takes the previous key only, so that not every call is refused first.
    previous_works: AtomicBool,
}

impl RotatingKeys {
    pub(crate) const fn new(current: SecretString, previous: Option<SecretString>) -> Self {
        Self { current, previous, previous_works: AtomicBool::new(false) }
    }

    /// Sends with the key that worked last, and once with the other one if the gateway does not know the first. `sign` puts a key into the
    /// request.
    ///
    /// # Errors
    /// No answer came; nothing is sent when the time is over.
    pub(crate) async fn send(
        &self,
        transport: &dyn Transport,
        budget: &TimeBudget,
        request: Request,
        sign: impl Fn(Request, &SecretString) -> Request + Send + Sync,
    ) -> Result<Response, CallError> {
        let in_time = |request: Request| Ok::<_, CallError>(Request { timeout: budget.for_call()?, ..request });
        let Some(previous) = &self.previous else {
            return Ok(transport.send(sign(in_time(request)?, &self.current)).await?);
        };
        let previous_first = self.previous_works.load(Ordering::Relaxed);
        let (first, second) = if previous_first { (previous, &self.current) } else { (&self.current, previous) };
        let response = transport.send(sign(in_time(request.clone())?, first)).await?;
        if response.status.as_u16() != UNAUTHORISED || budget.remaining().is_zero() {
            return Ok(response);
        }
        let response = transport.send(sign(in_time(request)?, second)).await?;
        if response.status.as_u16() != UNAUTHORISED {
            self.previous_works.store(!previous_first, Ordering::Relaxed);
        }
        Ok(response)
    }
}
