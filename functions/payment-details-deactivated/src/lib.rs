//! `paymentDetailsDeactivated`: the customer changed the card, and what is authorised with the old one has to be released.
//!
//! Cleeng's checklist: fetch the authorised payments of the details, cancel each at the gateway and then in Cleeng; after that, if it is
//! configured, delete the stored details at the gateway and in Cleeng. In that order, because an authorisation outlives its token and would
//! never be released; a cancel that the gateway only acknowledged is waited for. A payment that is being captured or is captured is left
//! alone: a cancel never returns captured money.

mod deletion;
mod in_flight;
mod release;

use async_trait::async_trait;
use connector::cleeng::Payment;
use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::{DeactivationEvent, Topic, Verified, Webhook};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, Flow, FlowContext, PaymentMethodConfig};
use connector::gateway::Reference;
use connector::journal::payment::PaymentState;
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::metrics::Metric;
use connector::payments;
use connector::payments::deleted_details::{AuthorisedList, authorised_payments, deactivation_key};
use connector::payments::obligation_context::{ObligationContext, TypedStepState};
use connector::payments::{FlowResult, retry, token_usage};
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use connector::renewal::eligibility;

use crate::in_flight::InFlight;
use crate::release::{HeldPayment, ReleaseResult};

const KIND: AttemptKind = AttemptKind::Deactivate;
/// The step that holds which payments are to be released. It is no call: it is done as soon as it is started.
const PAYMENTS_TO_RELEASE: &str = "payments_to_release";

/// Cleans up after payment details.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentDetailsDeactivated;

/// The event and its payment method.
struct DeactivatedDetails {
    event: DeactivationEvent,
    /// `None` if the event does not name it.
    method: Option<PaymentMethodConfig>,
    received_at: Timestamp,
}

impl DeactivatedDetails {
    /// The key under which the journal keeps who uses the token; `None` if the event does not name the token.
    fn token_key(&self, flow_context: &FlowContext) -> Option<Key> {
        let (token, method) = self.event.token.as_ref().zip(self.method)?;
        Some(token_usage::token_key(&flow_context.policy.salt, method.gateway, token))
    }
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
    let listed = authorised_payments(ctx.flow_context, &deactivated.event.details).await;
    let authorised = match &listed {
        Ok(AuthorisedList::Payments(payments)) => payments.as_slice(),
        // What the journal knows to be held is released whether or not the details are gone in Cleeng.
        Ok(AuthorisedList::DetailsGone) | Err(Disposition::Retry { reason: RetryReason::CleengNotFound, .. }) => &[],
        Err(disposition) => return Err(disposition.clone()),
    };
    // Cleeng does not list what has not been reported to it yet.
    let unlisted = in_flight::unlisted_authorisations(ctx.flow_context, deactivated).await?;
    if let Some(outcome) = earlier_outcome(ctx, listed.is_ok() && authorised.is_empty() && unlisted.is_empty()) {
        return Ok(eligibility::duplicate(ctx.flow_context, outcome));
    }
    if ctx.current_attempt().is_none() {
        ctx.open_attempt(KIND, deactivated.received_at, Some(deactivated.event.details.clone()))?;
    }
    let payments = collect_payments(ctx, deactivated, authorised, unlisted).await?;
    let released = release_all(ctx.flow_context, deactivated, payments, delivery).await?;
    record_token_inactive(ctx, deactivated).await?;
    if released.parked {
        return ctx.park(ParkReason::AuthorisationNotReleased, false).await;
    }
    let gone = require_answer(ctx, listed).await? == AuthorisedList::DetailsGone;
    if !ctx.flow_context.policy.delete_deactivated_details {
        require_none_in_flight(ctx, deactivated, false).await?;
        return ctx.finish(Finish::Deactivated).await;
    }
    // The deactivation is written before payments in flight are looked for: earlier payments are visible to the check, and later ones see
    // the deactivation, say so, and prevent the deletion.
    ctx.save_and_release_lease().await?;
    require_none_in_flight(ctx, deactivated, true).await?;
    if released.being_captured {
        return Err(retry(RetryReason::CaptureInFlight));
    }
    require_all_final(ctx).await?;
    deletion::delete_all(ctx, deactivated, gone).await?;
    ctx.finish(Finish::Deactivated).await
}

/// How an earlier delivery ended, if nothing is left to be done. Details can be made active again and be deactivated again; what counts is
/// whether an authorisation is left.
fn earlier_outcome(ctx: &ObligationContext<'_>, nothing_held: bool) -> Option<CompletionReason> {
    let obligation = &ctx.session.obligation;
    let last = obligation.last_finished(KIND).filter(|_| ctx.current_attempt().is_none())?;
    let is_done = nothing_held || obligation.was_parked();
    is_done.then(|| last.finish.as_ref().map_or(CompletionReason::Finished, CompletionReason::from))
}

/// Ends the flow if something is in flight with the details. Their deletion waits for captures as well, because Cleeng needs the details
/// until the capture is reported; and an operator may have to report a parked payment, which Cleeng refuses for deleted details.
async fn require_none_in_flight(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails, deletes: bool) -> FlowResult<()> {
    match in_flight::find_in_flight(ctx.flow_context, deactivated, &payments_to_release(ctx)?).await? {
        InFlight::Authorisation => Err(retry(RetryReason::AuthorisationInFlight)),
        InFlight::Payment if deletes => Err(retry(RetryReason::CaptureInFlight)),
        InFlight::UnderReview if deletes => ctx.park(ParkReason::DetailsOfAParkedPayment, false).await,
        InFlight::None | InFlight::Payment | InFlight::UnderReview => Ok(()),
    }
}

/// What Cleeng lists as authorised. Until it is certain that the details are gone, others may be held with them that the journal does not
/// know.
async fn require_answer(ctx: &mut ObligationContext<'_>, listed: FlowResult<AuthorisedList>) -> FlowResult<AuthorisedList> {
    let Err(Disposition::Retry { after, reason }) = listed else { return listed };
    let opened = ctx.current_attempt().map_or(ctx.now(), |attempt| attempt.opened_at);
    if ctx.now().since(opened) > ctx.flow_context.policy.unknown_deadline {
        return ctx.park(ParkReason::DetailsNotFoundInCleeng, false).await;
    }
    // Written, so that it is known since when.
    Err(ctx.retry_later(after, reason).await)
}

/// The payments of the details that are to be released.
struct PaymentsToRelease {
    /// Those that Cleeng or the journal lists as authorised.
    held: Vec<HeldPayment>,
    /// Those whose release an earlier delivery has started, and that are not listed any more.
    started: Vec<Reference>,
}

/// Collects the payments and writes which ones they are, because Cleeng no longer lists a payment once its cancel is accepted: a crash
/// after that, or a lost answer, would lose it.
async fn collect_payments(
    ctx: &mut ObligationContext<'_>,
    deactivated: &DeactivatedDetails,
    authorised: &[Payment],
    unlisted: Vec<HeldPayment>,
) -> FlowResult<PaymentsToRelease> {
    let mut held = Vec::new();
    for payment in authorised {
        held.push(release::identify(ctx.flow_context, deactivated, payment).await?);
    }
    for payment in unlisted {
        if held.iter().all(|other: &HeldPayment| other.reference() != payment.reference()) {
            held.push(payment);
        }
    }
    let earlier = payments_to_release(ctx)?;
    let mut all: Vec<Reference> = held.iter().filter_map(HeldPayment::reference).cloned().collect();
    let started: Vec<Reference> = earlier.iter().filter(|reference| !all.contains(reference)).cloned().collect();
    all.extend(started.iter().cloned());
    all.sort_unstable();
    if all != earlier {
        ctx.checkpoint(PAYMENTS_TO_RELEASE, &all);
        ctx.save_and_release_lease().await?;
    }
    Ok(PaymentsToRelease { held, started })
}

/// What became of the payments together.
#[derive(Default)]
struct Released {
    /// An operator has to decide about one.
    parked: bool,
    /// One is left alone because it is being captured.
    being_captured: bool,
    /// One has to wait.
    waits: Option<Disposition>,
}

/// Releases every payment, each under an obligation of its own. One that has to wait does not hold back the others.
async fn release_all(
    flow_context: &FlowContext,
    deactivated: &DeactivatedDetails,
    payments: PaymentsToRelease,
    delivery: &Delivery,
) -> FlowResult<Released> {
    let mut released = Released::default();
    for reference in &payments.started {
        let result = release::resume_release(flow_context, deactivated, reference, delivery).await;
        released.add(flow_context, deactivated, result)?;
    }
    for payment in payments.held {
        let result = release::release_one(flow_context, deactivated, payment, delivery).await;
        released.add(flow_context, deactivated, result.map(Some))?;
    }
    match released.waits {
        Some(disposition) => Err(disposition),
        None => Ok(released),
    }
}

impl Released {
    fn add(
        &mut self,
        flow_context: &FlowContext,
        deactivated: &DeactivatedDetails,
        result: FlowResult<Option<ReleaseResult>>,
    ) -> FlowResult<()> {
        let left_alone = |reason: &'static str| {
            flow_context.metrics.count(Metric::Warning, &[("reason", reason)]);
            tracing::warn!(details = %deactivated.event.details, reason, "a payment of deactivated details is left alone");
        };
        match result {
            Ok(None | Some(ReleaseResult::Released)) => {}
            Ok(Some(ReleaseResult::Parked)) | Err(Disposition::Parked(_)) => self.parked = true,
            Ok(Some(ReleaseResult::BeingCaptured)) => {
                left_alone("capture_in_progress");
                self.being_captured = true;
            }
            Ok(Some(ReleaseResult::Captured)) => left_alone("already_captured"),
            Err(disposition @ Disposition::Retry { .. }) => self.waits = Some(disposition),
            Err(disposition) => return Err(disposition),
        }
        Ok(())
    }
}

/// The payments whose release was started, as the journal has them.
fn payments_to_release(ctx: &ObligationContext<'_>) -> FlowResult<Vec<Reference>> {
    Ok(match ctx.step_state(PAYMENTS_TO_RELEASE)? {
        TypedStepState::Done(known) => known,
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => Vec::new(),
    })
}

/// Nothing is deleted before the gateway has confirmed that every authorisation is gone: a cancel that it only acknowledged can still fail,
/// and an authorisation outlives its token.
async fn require_all_final(ctx: &mut ObligationContext<'_>) -> FlowResult<()> {
    let all = payments_to_release(ctx)?;
    let mut states = Vec::new();
    for reference in &all {
        ctx.load_payment(reference).await?;
        states.extend(ctx.payment(reference).map(|payment| payment.state));
    }
    if states.contains(&PaymentState::Authorised) {
        return ctx.park(ParkReason::AuthorisationNotReleased, false).await;
    }
    if !states.contains(&PaymentState::Cancelling) {
        return Ok(());
    }
    let opened = ctx.current_attempt().map_or(ctx.now(), |attempt| attempt.opened_at);
    if ctx.now().since(opened) > ctx.flow_context.policy.unknown_deadline {
        return ctx.park(ParkReason::CancelNotFinal, false).await;
    }
    ctx.store_queued_event(None);
    Err(ctx.retry_later(None, RetryReason::CancelNotFinal).await)
}

/// Records that the details do not use their token any more, for other details that share it.
async fn record_token_inactive(ctx: &mut ObligationContext<'_>, deactivated: &DeactivatedDetails) -> FlowResult<()> {
    let Some(key) = deactivated.token_key(ctx.flow_context) else { return Ok(()) };
    let now = ctx.now();
    token_usage::mark_inactive(&mut ctx.session.transaction, &key, &deactivated.event.details, deactivated.received_at, now).await?;
    Ok(())
}
