//! `capturePayment`: an authorised single purchase is to be captured.
//!
//! Cleeng lists the topic and explains it nowhere; by its name, a payment that was authorised earlier and is no renewal is to be captured:
//! at the gateway, then reported `captured` or `rejected`, once. An event that does not match a payment is parked. A renewal has its own
//! event and its own guards against a second charge: it is never captured from here.

mod payment_lookup;

use async_trait::async_trait;
use connector::cleeng::CleengError;
use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::{CapturePaymentEvent, Topic, Verified, Webhook};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, Flow, FlowContext};
use connector::gateway::Reference;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, Finish, StepState};
use connector::payments;
use connector::payments::capture::{CAPTURE, capture};
use connector::payments::late_capture::capture_key;
use connector::payments::obligation_context::ObligationContext;
use connector::payments::{FlowResult, find, read_failed, retry};
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use connector::renewal::{eligibility, late_success};

const KIND: AttemptKind = AttemptKind::Capture;

/// Captures a single purchase.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapturePayment;

/// What is asked for.
struct RequestedCapture {
    event: CapturePaymentEvent,
    received_at: Timestamp,
}

#[async_trait]
impl Flow for CapturePayment {
    fn topic(&self) -> Topic {
        Topic::CapturePayment
    }

    async fn handle(&self, flow_context: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        run(flow_context, event, delivery).await.unwrap_or_else(|disposition| disposition)
    }
}

async fn run(flow_context: &FlowContext, webhook: &Verified<Webhook>, delivery: &Delivery) -> FlowResult<Disposition> {
    let event = CapturePaymentEvent::read(webhook.get())?;
    if let Some(method) = &event.payment.method {
        payments::configured_method(flow_context, method)?;
    }
    let lookups = find::lookup_keys(flow_context, event.payment.payment.as_ref(), event.payment.external.as_ref());
    let key = capture_key(event.payment.stable_id());
    let mut ctx = ObligationContext::open_without_subscription(flow_context, key, &lookups, delivery).await?;
    let received_at = delivery.received_at;
    ctx.event = Some(Envelope::reseal(webhook, received_at).to_text());
    let request = RequestedCapture { event, received_at };
    let disposition = process(&mut ctx, &request).await;
    let disposition = ctx.conclude(disposition).await;
    Ok(late_success::after_attempt(flow_context, disposition, ctx.session.key(), delivery).await)
}

async fn process(ctx: &mut ObligationContext<'_>, request: &RequestedCapture) -> FlowResult<Disposition> {
    let obligation = &ctx.session.obligation;
    if !obligation.late_successes.is_empty() || obligation.current_attempt().is_some_and(|open| open.kind != KIND) {
        return Err(retry(RetryReason::LateSuccessUnsettled));
    }
    if let Some(attempt) = ctx.current_attempt() {
        let (reference, due) = (attempt.reference.clone(), attempt.due);
        let reference = reference.ok_or_else(|| retry(RetryReason::NothingToResume))?;
        return capture_if_due(ctx, &reference, due).await;
    }
    if let Some(last) = ctx.session.obligation.last_finished(KIND) {
        let outcome = last.finish.as_ref().map_or(CompletionReason::Finished, CompletionReason::from);
        return Ok(eligibility::duplicate(ctx.flow_context, outcome));
    }
    let reference = match payment_lookup::find_payment(ctx, &request.event).await? {
        Ok(reference) => reference,
        Err(reason) => return ctx.park_without_attempt(KIND, request.received_at, reason).await,
    };
    let record = ctx.payment(&reference).ok_or_else(|| retry(RetryReason::PaymentNotLoaded))?;
    match capturability(record, ctx.now()) {
        Capturability::Capturable => {}
        Capturability::AlreadyCaptured => return ctx.skip(KIND, request.received_at, Finish::Captured).await,
        // Another worker is processing the payment, or the purchase is being authorised.
        Capturability::InProgress if ctx.now().since(request.received_at) < ctx.flow_context.policy.capture_wait => {
            return Err(retry(RetryReason::PaymentInFlight));
        }
        Capturability::InProgress => return ctx.park_without_attempt(KIND, request.received_at, ParkReason::PaymentInFlightTooLong).await,
        Capturability::NotCapturable(reason) => return ctx.park_without_attempt(KIND, request.received_at, reason).await,
    }
    ctx.open_attempt(KIND, request.received_at, None)?;
    ctx.set_attempt_payment(&reference);
    capture_if_due(ctx, &reference, request.received_at).await
}

/// Captures what was authorised, if Cleeng still has the order: it is asked in every delivery, until the capture is begun.
async fn capture_if_due(ctx: &mut ObligationContext<'_>, reference: &Reference, due: Timestamp) -> FlowResult<Disposition> {
    if matches!(ctx.session.step_state(CAPTURE), StepState::NotStarted) {
        require_order(ctx, reference).await?;
    }
    capture(ctx, reference, due).await
}

/// Ends the flow unless Cleeng knows the order of the payment, and has it for the same customer.
async fn require_order(ctx: &mut ObligationContext<'_>, reference: &Reference) -> FlowResult<()> {
    let payment = ctx.payment(reference).ok_or_else(|| retry(RetryReason::PaymentNotLoaded))?;
    let (order, customer) = (payment.order.clone(), payment.customer.clone());
    if let Some(order) = order {
        match ctx.flow_context.cleeng.order(&order).await {
            Ok(order) if order.customer.as_ref().is_none_or(|named| *named == customer) => {}
            Ok(_) => return ctx.park(ParkReason::EventContradictsOrder, false).await,
            Err(CleengError::NotFound) => return ctx.park(ParkReason::OrderNotFound, false).await,
            Err(error) => return Err(read_failed(&error)),
        }
    }
    ctx.confirm_due();
    Ok(())
}

enum Capturability {
    /// Authorised, to be captured.
    Capturable,
    /// Already captured.
    AlreadyCaptured,
    /// Another worker is processing it.
    InProgress,
    /// An operator has to decide.
    NotCapturable(ParkReason),
}

fn capturability(record: &PaymentRecord, now: Timestamp) -> Capturability {
    if record.subscription.is_some() {
        return Capturability::NotCapturable(ParkReason::PaymentOfARenewal);
    }
    match record.state {
        PaymentState::Authorised if record.is_live(now) => Capturability::Capturable,
        PaymentState::Authorised => Capturability::NotCapturable(ParkReason::AuthorisationLapsed),
        PaymentState::Captured | PaymentState::Refunded | PaymentState::ChargedBack => Capturability::AlreadyCaptured,
        PaymentState::Starting | PaymentState::Capturing => Capturability::InProgress,
        PaymentState::Declined
        | PaymentState::CaptureFailed
        | PaymentState::Cancelling
        | PaymentState::Cancelled
        | PaymentState::Expired => Capturability::NotCapturable(ParkReason::PaymentNotAuthorised),
    }
}
