//! `paymentDetailsDeactivated`: the customer changed the card, and what is held with the old one has to go back.
//!
//! Cleeng's checklist: fetch the authorised payments of the details, cancel each at the gateway and then in Cleeng; after that, if it is
//! wanted, delete the stored details at the gateway and in Cleeng. In that order, because an authorisation outlives its token and nobody
//! would release it; a cancel that the gateway only took is waited for. A payment that is being captured or is captured is left alone: a cancel never gives captured money back.

mod deletion;
mod in_flight;
mod release;

use async_trait::async_trait;
use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::{DeactivationEvent, Topic, Verified, Webhook};
use connector::cleeng::{CleengError, Payment};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, Flow, FlowContext, PaymentMethodConfig};
use connector::gateway::Reference;
use connector::ids::PaymentDetailsId;
use connector::journal::payment::PaymentState;
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::metrics::Metric;
use connector::payments;
use connector::payments::deleted_details::deactivation_key;
use connector::payments::obligation_context::{ObligationContext, TypedStepState};
use connector::payments::{FlowResult, read_failed, retry, token_usage};
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use connector::renewal::eligibility;

use crate::in_flight::InFlight;
use crate::release::{HeldPayment, ReleaseResult};

const KIND: AttemptKind = AttemptKind::Deactivate;
/// The step that holds which payments are to be released. It is no call: it is done as soon as it is begun.
const PAYMENTS_TO_RELEASE: &str = "payments_to_release";

/// Cleans up after payment details.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentDetailsDeactivated;

impl DeactivatedDetails {
    /// Where the journal keeps who uses the token; nothing where the event does not tell it.
    fn token_key(&self, flow_context: &FlowContext) -> Option<Key> {
        let (token, method) = self.event.token.as_ref().zip(self.method)?;
        Some(token_usage::token_key(&flow_context.policy.salt, method.gateway, token))
    }
}

/// The event and whose it is.
struct DeactivatedDetails {
    event: DeactivationEvent,
    /// Nothing where the event does not tell.
    method: Option<PaymentMethodConfig>,
    received_at: Timestamp,
}

#[async_trait]
impl Flow for PaymentDetailsDeactivated {
    fn topic(&self) -> Topic {
        Topic::PaymentDetailsDeactivated
    }

    async fn handle(&self, flow_context: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        run(flow_context, event, delivery).await.unwrap_or_else(|disposition| disposition)
    }
}

async fn run(flow_context: &FlowContext, webhook: &Verified<Webhook>, delivery: &Delivery) -> FlowResult<Disposition> {
    let event = DeactivationEvent::read(webhook.get())?;
    let method = event.method.as_ref().map(|method| payments::configured_method(flow_context, method)).transpose()?;
    let deactivated = DeactivatedDetails { event, method, received_at: delivery.received_at };
    let key = deactivation_key(&deactivated.event.details);
    let mut ctx = ObligationContext::open_without_subscription(flow_context, key, &[], delivery).await?;
    ctx.event = Some(Envelope::reseal(webhook, delivery.received_at).to_text());
    let disposition = process(&mut ctx, &deactivated, delivery).await;
    Ok(ctx.conclude(disposition).await)
}

async fn process(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails, delivery: &Delivery) -> FlowResult<Disposition> {
    let authorised = authorised_in_cleeng(ctx.flow_context, &deactivated.event.details).await?;
    // Cleeng does not list what it was not told of yet.
    let unlisted = in_flight::unlisted_authorisations(ctx.flow_context, deactivated).await?;
    if ctx.current_attempt().is_none()
        && let Some(last) = ctx.session.obligation.last_finished(KIND)
        && ((authorised.is_empty() && unlisted.is_empty()) || ctx.session.obligation.was_parked())
    {
        // Details can be made active again and be deactivated once more; what counts is whether something is held.
        let outcome = last.finish.as_ref().map_or(CompletionReason::Finished, CompletionReason::from);
        return Ok(eligibility::duplicate(ctx.flow_context, outcome));
    }
    if ctx.current_attempt().is_none() {
        ctx.open_attempt(KIND, deactivated.received_at, Some(deactivated.event.details.clone()))?;
    }
    let left = release_all(ctx, deactivated, &authorised, unlisted, delivery).await?;
    record_token_inactive(ctx, deactivated).await?;
    if left.contains(&ReleaseResult::Parked) {
        return ctx.park(ParkReason::AuthorisationNotReleased, false).await;
    }
    let deletes = ctx.flow_context.policy.delete_deactivated_details;
    if deletes {
        // Written before it is looked: whoever began to pay with them before is seen, and whoever begins later takes them for inactive, says
        // so, and keeps the deletion from beginning.
        ctx.save_and_release_lease().await?;
    }
    match in_flight::find_in_flight(ctx.flow_context, deactivated, &payments_to_release(ctx)?).await? {
        InFlight::Authorisation => return Err(retry(RetryReason::AuthorisationInFlight)),
        // Cleeng is asked about these details until the capture is reported.
        InFlight::Payment if deletes => return Err(retry(RetryReason::CaptureInFlight)),
        // He may have to report it to Cleeng, which takes nothing that was made with details that are gone.
        InFlight::UnderReview if deletes => return ctx.park(ParkReason::DetailsOfAParkedPayment, false).await,
        InFlight::None | InFlight::Payment | InFlight::UnderReview => {}
    }
    if deletes {
        if left.contains(&ReleaseResult::BeingCaptured) {
            return Err(retry(RetryReason::CaptureInFlight));
        }
        require_all_final(ctx).await?;
        deletion::delete_all(ctx, deactivated).await?;
    }
    ctx.finish(Finish::Deactivated).await
}

/// What Cleeng has as authorised with these details; nothing where the details are deleted.
async fn authorised_in_cleeng(flow_context: &FlowContext, details: &PaymentDetailsId) -> FlowResult<Vec<Payment>> {
    match flow_context.cleeng.authorised_payments(details).await {
        Ok(payments) => Ok(payments),
        Err(CleengError::NotFound) => Ok(Vec::new()),
        Err(error) => Err(read_failed(&error)),
    }
}

/// Releases every payment, each under an obligation of its own. One that has to wait does not hold back the others. Which ones they are is
/// written first: Cleeng lists a payment no more as soon as it has taken its cancel, and whoever dies then, or gets no answer, is not done.
async fn release_all(
    ctx: &mut ObligationContext<'_>,
    deactivated: &DeactivatedDetails,
    authorised: &[Payment],
    unlisted: Vec<HeldPayment>,
    delivery: &Delivery,
) -> FlowResult<Vec<ReleaseResult>> {
    let (flow_context, earlier) = (ctx.flow_context, payments_to_release(ctx)?);
    let mut listed = Vec::new();
    for payment in authorised {
        listed.push(release::identify(flow_context, deactivated, payment).await?);
    }
    for hold in unlisted {
        if listed.iter().all(|other: &HeldPayment| other.reference() != hold.reference()) {
            listed.push(hold);
        }
    }
    let mut all: Vec<Reference> = listed.iter().filter_map(HeldPayment::reference).cloned().collect();
    let unlisted_references: Vec<Reference> = earlier.iter().filter(|reference| !all.contains(reference)).cloned().collect();
    all.extend(unlisted_references.iter().cloned());
    all.sort_unstable();
    if all != earlier {
        ctx.checkpoint(PAYMENTS_TO_RELEASE, &all);
        ctx.save_and_release_lease().await?;
    }
    let (mut left, mut deferred) = (Vec::new(), None);
    let mut add_result = |result: FlowResult<Option<ReleaseResult>>| {
        match result {
            Ok(released) => left.extend(released),
            Err(Disposition::Parked(_)) => left.push(ReleaseResult::Parked),
            Err(disposition @ Disposition::Retry { .. }) => deferred = Some(disposition),
            Err(disposition) => return Err(disposition),
        }
        Ok(())
    };
    for reference in &unlisted_references {
        add_result(release::resume_release(flow_context, deactivated, reference, delivery).await)?;
    }
    for payment in listed {
        add_result(release::release_one(flow_context, deactivated, payment, delivery).await.map(Some))?;
    }
    for (kind, reason) in [(ReleaseResult::BeingCaptured, "capture_in_progress"), (ReleaseResult::Captured, "already_captured")] {
        for _ in left.iter().filter(|left| **left == kind) {
            flow_context.metrics.count(Metric::Warning, &[("reason", reason)]);
            tracing::warn!(details = %deactivated.event.details, reason, "a payment of deactivated details is left alone");
        }
    }
    deferred.map_or(Ok(left), Err)
}

/// The payments that an earlier delivery began to release, as the journal has them.
fn payments_to_release(ctx: &ObligationContext<'_>) -> FlowResult<Vec<Reference>> {
    Ok(match ctx.step_state(PAYMENTS_TO_RELEASE)? {
        TypedStepState::Done(known) => known,
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => Vec::new(),
    })
}

/// Nothing is deleted before the gateway has said that every hold is gone: a cancel that it only took can still fail, and a hold outlives its
/// token.
async fn require_all_final(ctx: &mut ObligationContext<'_>) -> FlowResult<()> {
    let all = payments_to_release(ctx)?;
    let mut states = Vec::new();
    for reference in &all {
        ctx.load_payment(reference).await?;
        states.extend(ctx.payment(reference).map(|payment| payment.state));
    }
    if states.contains(&PaymentState::Authorised) {
        return Err(ctx.park(ParkReason::AuthorisationNotReleased, false).await?);
    }
    if !states.contains(&PaymentState::Cancelling) {
        return Ok(());
    }
    let opened = ctx.current_attempt().map_or(ctx.now(), |attempt| attempt.opened_at);
    if ctx.now().since(opened) > ctx.flow_context.policy.unknown_deadline {
        return Err(ctx.park(ParkReason::CancelNotFinal, false).await?);
    }
    ctx.store_queued_event(None);
    Err(ctx.retry_later(None, RetryReason::CancelNotFinal).await)
}

/// The journal learns that the details do not use their token any more; needed later by other details that share it.
async fn record_token_inactive(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails) -> FlowResult<()> {
    let Some(key) = deactivated.token_key(ctx.flow_context) else { return Ok(()) };
    let now = ctx.now();
    token_usage::mark_inactive(&mut ctx.session.transaction, &key, &deactivated.event.details, deactivated.received_at, now).await?;
    Ok(())
}
