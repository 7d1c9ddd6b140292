//! Billing webhooks that were missed. Cleeng promises no retry, so every subscription that the journal knows is checked when its next event
//! should have arrived: Cleeng is asked what it expects, and an event that the journal has not received is put on its function's queue, as
//! Cleeng would have sent it. If it arrives later after all, it is a repetition.
//!
//! Limits: an event cannot be recovered if the subscription's payment details were stored elsewhere and no webhook has named them here yet,
//! because Cleeng sends their token in webhooks only; that raises an alarm. Whether a subscription ends because it is unpaid is Cleeng's
//! decision: a termination is recovered only if the subscription was stopped.

use std::time::Duration;

use connector::cleeng::{CleengError, Subscription, SubscriptionStatus};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, FlowContext, PaymentMethodConfig};
use connector::ids::PaymentMethodId;
use connector::journal::JournalError;
use connector::journal::record::{AttemptKind, Obligation};
use connector::journal::store::Key;
use connector::journal::transaction::{Retention, Transaction};
use connector::metrics::Metric;
use connector::payments::obligation_context::ObligationContext;
use connector::payments::subscription_state::{BillingAction, CHECK_IN_FLIGHT, ExpectedEvent, StoredDetails, SubscriptionState};
use connector::reason::ParkReason;
use connector::reason::{CompletionReason, RetryReason};
use connector::renewal::eligibility;
use connector::renewal::expected_event::DELIVERY_SLACK;

use crate::due::ItemResult;
use crate::{documents, obsolete_authorisations};

/// After a check without a result.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// A recovered event should be settled by then.
const AFTER_RECOVERY: Duration = Duration::from_secs(1800);
/// For a subscription that is paused.
const PAUSED_INTERVAL: Duration = Duration::from_secs(86_400);

/// The state of a subscription that is due.
pub(crate) struct DueSubscription<'a> {
    flow_context: &'a FlowContext,
    key: &'a Key,
    transaction: Transaction,
    state: SubscriptionState,
}

impl<'a> DueSubscription<'a> {
    /// The state as it was loaded.
    pub(crate) fn new(flow_context: &'a FlowContext, key: &'a Key, transaction: Transaction) -> Result<Self, JournalError> {
        let state = transaction.read(key)?.unwrap_or_default();
        Ok(Self { flow_context, key, transaction, state })
    }

    /// An attempt is in flight, whose own due time counts.
    pub(crate) async fn leave_in_flight(self) -> ItemResult {
        self.reschedule(CHECK_IN_FLIGHT, ItemResult::Deferred).await
    }

    /// Asks Cleeng what it expects, and recovers what is missing.
    pub(crate) async fn check(mut self, delivery: &Delivery) -> ItemResult {
        let Some(id) = self.state.last_billing_event.as_ref().map(|event| event.subscription.clone()) else {
            return ItemResult::UpToDate;
        };
        let subscription = match self.flow_context.cleeng.subscription(&id).await {
            Ok(subscription) => subscription,
            Err(CleengError::NotFound) => return self.stop().await,
            Err(CleengError::Throttled { .. }) => return ItemResult::Throttled,
            Err(error) => {
                tracing::warn!(document = %self.key, error = error.code(), "the subscription cannot be read from Cleeng");
                return self.reschedule(RECHECK_INTERVAL, ItemResult::Failed).await;
            }
        };
        if let Some(result) = self.release_if_obsolete(&subscription, delivery).await {
            return result;
        }
        let Some((method, config)) = self.payment_method(&subscription) else { return self.stop().await };
        if subscription.status == SubscriptionStatus::Terminated && self.state.live_authorisation.is_some() {
            // Cleeng ended it, and the authorisation would lapse days later: the termination releases it.
            self.warn("drift_authorisation_of_an_ended_subscription");
            let (at, expiration) = (subscription.paid_until, subscription.paid_until);
            let end = ExpectedEvent { action: BillingAction::Terminate, at, expiration, exact: false };
            return self.recover(&subscription, &method, end, delivery).await;
        }
        self.report_drift(&subscription);
        let next = ExpectedEvent::next(&subscription, &self.state, config.billing);
        match self.find_missing(&subscription, next.as_ref()).await {
            Ok(Some(missing)) => self.recover(&subscription, &method, missing, delivery).await,
            Ok(None) => self.schedule_next(&subscription, next).await,
            Err(error) => {
                tracing::warn!(document = %self.key, error = error.code(), "the obligation of a subscription cannot be read");
                self.reschedule(RECHECK_INTERVAL, ItemResult::Failed).await
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.flow_context.clock.now()
    }

    fn warn(&self, reason: &'static str) {
        self.flow_context.metrics.count(Metric::Warning, &[("reason", reason)]);
    }

    /// The subscription's payment method, if it is configured here.
    fn payment_method(&self, subscription: &Subscription) -> Option<(PaymentMethodId, PaymentMethodConfig)> {
        let method = subscription.payment_method.as_ref().or(self.state.method.as_ref())?;
        let config = self.flow_context.policy.methods.get(method)?;
        Some((method.clone(), *config))
    }

    /// Releases an authorisation that will never be captured, because its period was paid in another way. `None` if there is no such
    /// authorisation, or if it is doubtful: then the check continues, and the drift is reported.
    async fn release_if_obsolete(&self, subscription: &Subscription, delivery: &Delivery) -> Option<ItemResult> {
        // The authorisation of a subscription that Cleeng ended is released by its termination.
        let ended = subscription.status == SubscriptionStatus::Terminated;
        let live = self.state.live_authorisation.as_ref().filter(|_| !ended)?;
        if !obsolete_authorisations::is_obsolete(self.flow_context, live, subscription) {
            return None;
        }
        match obsolete_authorisations::release_obsolete(self.flow_context, &subscription.id, &live.reference, delivery).await {
            Disposition::Completed(CompletionReason::Released) => Some(ItemResult::Released),
            Disposition::Completed(_) | Disposition::NotOurs => None,
            Disposition::Retry { reason: RetryReason::CleengThrottled, .. } => Some(ItemResult::Throttled),
            Disposition::Parked(_) | Disposition::Postponed(_) | Disposition::Retry { .. } => Some(ItemResult::Deferred),
        }
    }

    /// Reports where Cleeng and the journal disagree, for an operator. The next event corrects it, or parks.
    fn report_drift(&self, subscription: &Subscription) {
        let paid = |expiration: Timestamp| subscription.paid_until > expiration.after(RECHECK_INTERVAL);
        let unpaid = |at: Timestamp| self.now() > at.after(PAUSED_INTERVAL);
        let drift = match (&self.state.live_authorisation, &self.state.last_charge) {
            (Some(live), _) if paid(live.expiration) => obsolete_authorisations::DRIFT,
            (None, Some(charge)) if charge.certain && !paid(charge.expiration) && unpaid(charge.at) => {
                "drift_charged_and_not_paid_in_cleeng"
            }
            _ => return,
        };
        tracing::warn!(document = %self.key, drift, "Cleeng and the journal disagree");
        self.warn(drift);
    }

    /// The event that should have arrived, by what Cleeng said before or says now, and that was not received.
    async fn find_missing(
        &mut self,
        subscription: &Subscription,
        next: Option<&ExpectedEvent>,
    ) -> Result<Option<ExpectedEvent>, JournalError> {
        let Some(last_event) = &self.state.last_billing_event else { return Ok(None) };
        let now = self.now();
        let overdue = |expected: &&ExpectedEvent| expected.is_overdue(now) && expected.is_still_expected(subscription);
        for expected in last_event.expected_event.iter().chain(next).filter(overdue) {
            let key = match expected.action {
                BillingAction::Terminate => eligibility::termination_key(&subscription.id),
                BillingAction::Authorise | BillingAction::Capture => eligibility::period_key(&subscription.id, expected.expiration),
            };
            self.transaction.load(std::slice::from_ref(&key)).await?;
            let obligation: Option<Obligation> = self.transaction.read(&key)?;
            if !expected.was_received(&self.state, obligation.as_ref()) {
                // Later than what was tried with other details: attempts are told apart by their dates.
                let last = obligation.iter().flat_map(|obligation| &obligation.attempts).map(|attempt| attempt.due).max();
                let at = if last.is_some_and(|last| last >= expected.at) { now } else { expected.at };
                return Ok(Some(ExpectedEvent { at, ..expected.clone() }));
            }
        }
        Ok(None)
    }

    /// The event goes on its queue before this is written: an extra copy is harmless, and a missing one would be the loss that this
    /// prevents.
    async fn recover(
        mut self,
        subscription: &Subscription,
        method: &PaymentMethodId,
        missing: ExpectedEvent,
        delivery: &Delivery,
    ) -> ItemResult {
        let Some(last_event) = &self.state.last_billing_event else { return ItemResult::UpToDate };
        let details = subscription.payment_details.as_ref().unwrap_or(&last_event.details);
        let stored = match documents::read::<StoredDetails>(self.flow_context, &StoredDetails::key(details)).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(document = %self.key, error = error.code(), "the details of a subscription cannot be read");
                return self.reschedule(RECHECK_INTERVAL, ItemResult::Failed).await;
            }
        };
        let last_event = last_event.updated(subscription, stored);
        let event = missing.to_webhook(&last_event, &self.state, subscription, &self.flow_context.policy.publisher, method);
        let Some(event) = event else { return self.park_unrecoverable(subscription, &missing, delivery).await };
        if let Err(error) = self.flow_context.requeue.requeue(&event).await {
            tracing::error!(document = %self.key, %error, "a missed billing event could not be requeued");
            return ItemResult::Failed;
        }
        tracing::warn!(document = %self.key, expected = ?missing.action, "missed billing event recovered");
        self.warn("missed_event_recovered");
        self.expect(Some(missing));
        self.reschedule(AFTER_RECOVERY, ItemResult::Recovered).await
    }

    /// The event cannot be made here: it is parked as an attempt of its period, which keeps nothing from happening if it comes after all.
    async fn park_unrecoverable(self, subscription: &Subscription, missing: &ExpectedEvent, delivery: &Delivery) -> ItemResult {
        let key = eligibility::period_key(&subscription.id, missing.expiration);
        let opened = ObligationContext::open(self.flow_context, key, &subscription.id, delivery).await;
        let Ok(mut ctx) = opened else { return self.reschedule(RECHECK_INTERVAL, ItemResult::Deferred).await };
        if ctx.current_attempt().is_none() {
            ctx.event_is_recovered = true;
            let kind = if missing.action == BillingAction::Authorise { AttemptKind::Authorise } else { AttemptKind::Capture };
            // The context writes the subscription's state as well.
            let _parked = ctx.park_without_attempt::<()>(kind, missing.at, ParkReason::MissedEventOfUnknownDetails).await;
        }
        ItemResult::Deferred
    }

    /// Nothing is missing: the next event is noted, and when to check for it.
    async fn schedule_next(mut self, subscription: &Subscription, next: Option<ExpectedEvent>) -> ItemResult {
        let now = self.now();
        let due_at = match (&next, &subscription.status) {
            (Some(expected), _) if expected.is_overdue(now) => now.after(RECHECK_INTERVAL),
            (Some(expected), _) => expected.at.after(DELIVERY_SLACK),
            (None, SubscriptionStatus::Paused) => now.after(PAUSED_INTERVAL),
            (None, _) => return self.stop().await,
        };
        self.expect(next);
        self.save(Some(due_at), ItemResult::UpToDate).await
    }

    fn expect(&mut self, next: Option<ExpectedEvent>) {
        if let Some(last_event) = self.state.last_billing_event.as_mut() {
            last_event.expected_event = next;
        }
    }

    /// No more events are expected.
    async fn stop(mut self) -> ItemResult {
        self.state.last_billing_event = None;
        self.save(None, ItemResult::UpToDate).await
    }

    /// Checks again after this time.
    async fn reschedule(self, wait: Duration, result: ItemResult) -> ItemResult {
        let due_at = self.now().after(wait);
        self.save(Some(due_at), result).await
    }

    /// Writes the state, unless another worker has written it meanwhile and set its time.
    async fn save(mut self, due_at: Option<Timestamp>, result: ItemResult) -> ItemResult {
        let keep = Retention { due_at, parked_since: None, expires_at: self.state.expires_at(self.now()) };
        let staged = self.transaction.reschedule(self.key, &self.state, keep);
        let written = match staged {
            Ok(()) => self.transaction.commit().await,
            Err(error) => Err(error),
        };
        written.map_or_else(ItemResult::from, |()| result)
    }
}
