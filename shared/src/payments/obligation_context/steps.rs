//! The steps of the open attempt: their state, their intents and their results.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ObligationContext;
use crate::flow::Disposition;
use crate::gateway::IdempotencyKey;
use crate::journal::JournalError;
use crate::journal::record::{Step, StepState};
use crate::journal::store::StoreError;
use crate::metrics::Metric;
use crate::payments::FlowResult;
use crate::reason::RetryReason;

/// The state of a step, with its result read.
pub enum TypedStepState<T> {
    /// Not begun, or known to have had no effect.
    NotStarted,
    /// Begun, result unknown.
    Unknown(Step),
    /// Done.
    Done(T),
}

impl ObligationContext<'_> {
    /// The recorded result of a step, or its state.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if the result cannot be read.
    pub fn step_state<T: DeserializeOwned>(&self, step: &str) -> FlowResult<TypedStepState<T>> {
        Ok(match self.session.step_state(step) {
            StepState::NotStarted => TypedStepState::NotStarted,
            StepState::Unknown(step) => TypedStepState::Unknown(step),
            StepState::Done(value) => {
                TypedStepState::Done(serde_json::from_value(value).map_err(|_| JournalError::Store(StoreError::Corrupt))?)
            }
        })
    }

    /// Whether the outcome of this step has been unknown for as long as it is asked about. An operator who has it tried again decides
    /// otherwise.
    #[must_use]
    pub fn is_overdue(&self, step: &Step) -> bool {
        !self.session.obligation.is_retried() && self.now().since(step.started_at) > self.flow_context.policy.unknown_deadline
    }

    /// Writes the intent of a step, with every result so far and the lease, before its call is made.
    ///
    /// # Errors
    /// `Err(Disposition::Retry)` if time is too short, the journal is not available, or another worker holds the lease now.
    pub async fn begin_step(&mut self, step: &str, key: Option<IdempotencyKey>, timeout: Duration) -> FlowResult<()> {
        let before = self.session.obligation.clone();
        if let Err(out_of_time) = self.session.begin_step(step, key, timeout) {
            self.save_and_release_lease().await?;
            return Err(out_of_time.into());
        }
        let written = self.save().await;
        if written.is_err() {
            // The call is not made: a later write must not say that it may have been, or nothing would be asked before it.
            self.session.obligation = before;
        }
        written
    }

    /// Records the result of a step, in memory: the next write includes it.
    pub fn record_result<T: Serialize>(&mut self, step: &str, result: &T) {
        let value = serde_json::to_value(result).unwrap_or(Value::Null);
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.record_result(step, value);
        }
    }

    /// A step that is done is to be done again, in memory: its result is out of date.
    pub fn reopen_step(&mut self, step: &str) {
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.record_no_effect(step);
        }
    }

    /// Records something that is no call as a step that is done, in memory.
    pub fn checkpoint<T: Serialize>(&mut self, step: &str, value: &T) {
        let now = self.now();
        if let Some(attempt) = self.session.obligation.current_attempt_mut()
            && attempt.step(step).is_none()
        {
            attempt.record_intent(step, None, now);
        }
        self.record_result(step, value);
    }

    /// Records that the first call of a step is known to have had no effect, releases the lease, and puts the event back.
    pub async fn retry_without_effect(&mut self, step: &str, after: Option<Duration>, reason: RetryReason) -> Disposition {
        if let Some(attempt) = self.session.obligation.current_attempt_mut() {
            attempt.record_no_effect(step);
        }
        self.retry_later(after, reason).await
    }

    /// Leaves a step unknown, releases the lease, and puts the event back.
    pub async fn leave_unknown(&mut self, step: &str, reason: RetryReason) -> Disposition {
        self.flow_context.metrics.count(Metric::UnknownOutcome, &[("step", step)]);
        tracing::warn!(obligation = %self.session.key(), step, reason = reason.as_str(), "outcome unknown");
        self.retry_later(None, reason).await
    }
}
