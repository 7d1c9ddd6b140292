//! `refundPayment`: a payment is to be refunded.
//!
//! Cleeng's checklist: refund at the gateway, report the payment `refunded`. One obligation per refund: the payment and Cleeng's id of the
//! refund, else the payment, the amount and a hash of the event's data. The same event again within a day is a repeated delivery; later it
//! may be another refund or an old message, so an operator decides; one that failed may be asked for again. What is asked for is reserved in
//! the payment record with the intent: the refunds of a payment are never above what was captured.

mod payment_lookup;
mod refund;

use std::time::Duration;

use async_trait::async_trait;
use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::{RefundEvent, RefundOperator, Topic, Verified, Webhook};
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, Flow, FlowContext, PartialRefunds};
use connector::journal::payment::refunds::RefundState;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::operator_decision::OperatorDecision;
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::money::Money;
use connector::payments;
use connector::payments::obligation_context::ObligationContext;
use connector::payments::{FlowResult, find, retry};
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use connector::renewal::eligibility;

const KIND: AttemptKind = AttemptKind::Refund;
/// How long a repetition of the same refund counts as the same delivery.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Refunds payments.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefundPayment;

/// What is asked for.
struct RequestedRefund {
    event: RefundEvent,
    received_at: Timestamp,
}

#[async_trait]
impl Flow for RefundPayment {
    fn topic(&self) -> Topic {
        Topic::RefundPayment
    }

    async fn handle(&self, flow_context: &FlowContext, event: &Verified<Webhook>, delivery: &Delivery) -> Disposition {
        run(flow_context, event, delivery).await.unwrap_or_else(|disposition| disposition)
    }
}

async fn run(flow_context: &FlowContext, webhook: &Verified<Webhook>, delivery: &Delivery) -> FlowResult<Disposition> {
    let event = RefundEvent::read(webhook.get())?;
    if let Some(method) = &event.payment.method {
        payments::configured_method(flow_context, method)?;
    }
    let lookups = find::lookup_keys(flow_context, event.payment.payment.as_ref(), event.payment.external.as_ref());
    let mut ctx = ObligationContext::open_without_subscription(flow_context, obligation_key(&event), &lookups, delivery).await?;
    let received_at = delivery.received_at;
    ctx.event = Some(Envelope::reseal(webhook, received_at).to_text());
    let request = RequestedRefund { event, received_at };
    let disposition = process(&mut ctx, &request).await;
    Ok(ctx.conclude(disposition).await)
}

fn obligation_key(event: &RefundEvent) -> Key {
    let payment = event.payment.stable_id();
    match &event.refund {
        Some(refund) => Key::new("refund", &[payment, refund.as_str()]),
        None => {
            let amount = event.amount.as_ref().map_or("all", |amount| amount.as_str());
            Key::new("refund", &[payment, amount, &event.fingerprint])
        }
    }
}

async fn process(ctx: &mut ObligationContext<'_>, request: &RequestedRefund) -> FlowResult<Disposition> {
    if let Some(attempt) = ctx.current_attempt() {
        let reference = attempt.reference.clone().ok_or_else(|| retry(RetryReason::NothingToResume))?;
        return refund::resume(ctx, request, &reference).await;
    }
    match last_refund(ctx, request) {
        LastRefund::None => {}
        LastRefund::Failed => {
            // What failed needs no decision any more.
            let failed = ctx.session.obligation.attempts.iter_mut().filter(|attempt| attempt.is_parked());
            failed.for_each(|attempt| attempt.finish = Some(Finish::Superseded));
        }
        LastRefund::SameDelivery(outcome) => return Ok(eligibility::duplicate(ctx.flow_context, outcome)),
        LastRefund::Earlier => return ctx.park_without_attempt(KIND, request.received_at, ParkReason::RefundRepeated).await,
    }
    let reference = match payment_lookup::find_payment(ctx, &request.event).await? {
        Ok(reference) => reference,
        Err(reason) => return ctx.park_without_attempt(KIND, request.received_at, reason).await,
    };
    let record = ctx.payment(&reference).ok_or_else(|| retry(RetryReason::PaymentNotLoaded))?;
    if is_being_captured(record) && ctx.now().since(request.received_at) < ctx.flow_context.policy.unknown_deadline {
        return Err(retry(RetryReason::CaptureInFlight));
    }
    let amount = match refund_amount(record, &request.event, ctx.flow_context.policy.partial_refunds) {
        Ok(amount) => amount,
        Err(reason) => return ctx.park_without_attempt(KIND, request.received_at, reason).await,
    };
    ctx.open_attempt(KIND, request.received_at, None)?;
    if let Some(RefundOperator { by, note }) = request.event.operator.clone() {
        let (at, due, kind) = (ctx.now(), request.received_at, KIND);
        let (decision, reason) = ("refund".to_owned(), "requested_by_operator".to_owned());
        ctx.session.obligation.record_decision(OperatorDecision { at, by, decision, note, reason, kind, due });
    }
    refund::reserve(ctx, &reference, amount).await?;
    refund::resume(ctx, request, &reference).await
}

/// What became of the last request for this refund.
enum LastRefund {
    /// There is none.
    None,
    /// The gateway refused it, at once or later, and this is a new request.
    Failed,
    /// It is so recent that this is a repeated delivery.
    SameDelivery(CompletionReason),
    /// It is older.
    Earlier,
}

fn last_refund(ctx: &ObligationContext<'_>, request: &RequestedRefund) -> LastRefund {
    let Some(last) = ctx.session.obligation.last_finished(KIND) else { return LastRefund::None };
    let part = last.reference.as_ref().and_then(|payment| ctx.payment(payment)?.refund_for(ctx.session.key()));
    let failed = part.is_some_and(|part| part.state == RefundState::Failed);
    let outcome = last.finish.as_ref().map_or(CompletionReason::Finished, CompletionReason::from);
    if failed && request.received_at > last.due {
        LastRefund::Failed
    } else if request.received_at.since(last.due) < DUPLICATE_WINDOW {
        LastRefund::SameDelivery(outcome)
    } else {
        LastRefund::Earlier
    }
}

/// The capture is in flight: Cleeng may know the payment as captured already.
const fn is_being_captured(record: &PaymentRecord) -> bool {
    matches!(record.state, PaymentState::Starting | PaymentState::Capturing)
}

/// How much is to be refunded, or why an operator has to decide.
fn refund_amount(record: &PaymentRecord, event: &RefundEvent, partial: PartialRefunds) -> Result<Money, ParkReason> {
    match record.state {
        PaymentState::Captured => {}
        PaymentState::Refunded => return Err(ParkReason::AlreadyRefunded),
        PaymentState::ChargedBack => return Err(ParkReason::PaymentChargedBack),
        _ => return Err(ParkReason::PaymentNotCaptured),
    }
    let captured = record.captured;
    if record.zero_amount || captured.minor <= 0 || record.external_payment_id.is_none() {
        return Err(ParkReason::NothingWasCaptured);
    }
    if record.cleeng_payment.is_none() || record.order.as_ref().or(event.payment.order.as_ref()).is_none() {
        // Checked before the money moves, not after.
        return Err(ParkReason::RefundCannotBeReported);
    }
    let committed = record.committed_refunds().map_err(|_| ParkReason::RefundsDoNotAddUp)?;
    let Some(requested) = &event.amount else {
        return if committed.is_zero() { Ok(captured) } else { Err(ParkReason::FullRefundAfterAnother) };
    };
    if event.currency.is_some_and(|currency| currency != captured.currency) {
        return Err(ParkReason::RefundInAnotherCurrency);
    }
    let requested = Money::from_decimal(requested, captured.currency).map_err(|_| ParkReason::RefundAmountUnreadable)?;
    let sum = committed.checked_add(requested).map_err(|_| ParkReason::RefundAboveCaptured)?;
    if sum.minor > captured.minor {
        return Err(ParkReason::RefundAboveCaptured);
    }
    // An operator who asks for a part has decided about it.
    if requested != captured && partial == PartialRefunds::Park && event.operator.is_none() {
        return Err(ParkReason::PartialRefund);
    }
    Ok(requested)
}
