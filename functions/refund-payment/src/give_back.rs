//! The steps of a refund: the gateway first, then Cleeng, and in between the wait for the gateway's word where it only took the order.
//!
//! Cleeng has no idempotency keys, and no way to read a captured or refunded payment back: neither its list of authorised payments nor the
//! subscription tells whether a refund was booked. A repeated report could be booked as a second refund. So a report whose answer is lost is
//! never repeated: the money is back, and an operator compares.

use connector::billing::case::{Case, StepTurn};
use connector::billing::gateway_step::{self, Call, Fact};
use connector::billing::{Story, later};
use connector::cleeng::{CALL_TIMEOUT, CleengError, PaymentOperation, PaymentPatch};
use connector::clock::Timestamp;
use connector::flow::{SettleOn, Verdict};
use connector::gateway::{Decline, DeclineClass, OperationKind, Reference, RefundRequest};
use connector::journal::JournalError;
use connector::journal::record::Finish;
use connector::journal::refunds::{RefundPart, RefundState};
use connector::journal::store::StoreError;
use connector::metrics::Metric;
use connector::money::Money;

use crate::{Asked, call_operator};

const REFUND: &str = "refund";
const REPORT: &str = "report";

/// Reserves the refund in the payment record, in memory: the next write is that of the intent.
pub(crate) async fn reserve(case: &mut Case<'_>, payment: &Reference, amount: Money) -> Story<()> {
    let record = case.payment(payment).ok_or_else(|| later("payment_not_loaded"))?;
    let (gateway, obligation) = (record.gateway, case.run.key().clone());
    let reference = gateway_step::reference_of(case, gateway, OperationKind::Refund);
    let mut refused = None;
    case.change(payment, |record, _| {
        refused = record.reserve_refund(&obligation, reference.clone(), amount).err();
        Ok(())
    })?;
    if let Some(refused) = refused {
        tracing::error!(obligation = %case.run.key(), error = %refused, "refund cannot be reserved");
        return Err(case.park("refund_cannot_be_reserved", false).await?);
    }
    case.add_operation(gateway, reference.as_str(), payment);
    if let Some(attempt) = case.run.obligation.open_mut() {
        attempt.reference = Some(payment.clone());
    }
    Ok(())
}

/// Takes the open attempt from wherever it stands to its end, or to the wait for the gateway's word.
pub(crate) async fn go_on(case: &mut Case<'_>, asked: &Asked, payment: &Reference) -> Story<Verdict> {
    let fact = ask_gateway(case, payment).await?;
    if let Fact::Declined(decline) = fact {
        return failed(case, payment, decline, "refund_declined").await;
    }
    let part = part(case, payment)?;
    let on_receipt = case.world.rules.settle_on == SettleOn::Receipt;
    match part.state {
        RefundState::Done => report(case, asked, payment, part.amount).await,
        RefundState::Received if on_receipt => {
            // Taken for done, as a capture is: a failure that comes later is then told as what it is, and alarmed.
            let obligation = case.run.key().clone();
            case.change(payment, |record, now| {
                let of_it = record.refunds.iter().position(|part| part.obligation == obligation.as_str());
                of_it.map_or(Ok(()), |index| record.end_refund(index, true, now).map(drop))
            })?;
            report(case, asked, payment, part.amount).await
        }
        RefundState::Failed => {
            let decline = Decline::new(DeclineClass::Soft, "refund_failed");
            failed(case, payment, decline, "refund_failed").await
        }
        RefundState::Received | RefundState::Asked => wait(case, &fact).await,
    }
}

fn part(case: &Case<'_>, payment: &Reference) -> Story<RefundPart> {
    let part = case.payment(payment).and_then(|record| record.refund_of(case.run.key())).cloned();
    Ok(part.ok_or(JournalError::Store(StoreError::Corrupt))?)
}

/// The gateway's word, noted in the payment record. The notification may have been faster.
async fn ask_gateway(case: &mut Case<'_>, payment: &Reference) -> Story<Fact> {
    let part = part(case, payment)?;
    let record = case.payment(payment).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, captured) = (record.gateway, record.captured);
    let external_payment_id = record.external_payment_id.clone().ok_or(JournalError::Store(StoreError::Corrupt))?;
    let make = |key| {
        let request = RefundRequest { key, reference: part.reference.clone(), external_payment_id, amount: part.amount, captured };
        Call::Refund(request)
    };
    let fact = gateway_step::run(case, REFUND, gateway, OperationKind::Refund, make).await?;
    if part.state == RefundState::Asked {
        match &fact {
            Fact::Done { .. } => end(case, payment, true)?,
            Fact::Declined(_) => end(case, payment, false)?,
            Fact::Received { operation_ref, .. } => {
                let obligation = case.run.key().clone();
                case.change(payment, |record, _| {
                    record.refund_received(&obligation, operation_ref.clone());
                    Ok(())
                })?;
                if let Some(operation_ref) = operation_ref {
                    case.add_operation(gateway, operation_ref, payment);
                }
            }
        }
    }
    Ok(fact)
}

fn end(case: &mut Case<'_>, payment: &Reference, success: bool) -> Story<()> {
    let obligation = case.run.key().clone();
    case.change(payment, |record, now| {
        let index = record.refunds.iter().position(|part| part.obligation == obligation.as_str());
        index.map_or(Ok(false), |index| record.end_refund(index, success, now)).map(drop)
    })
}

/// The gateway took the order. The event leaves the queue and is kept in the attempt; the gateway's notification brings it back.
async fn wait(case: &mut Case<'_>, fact: &Fact) -> Story<Verdict> {
    case.keep_event();
    if taken_at(fact).is_some_and(|at| case.now().since(at) > case.world.rules.unknown_deadline) {
        case.world.metrics.count(Metric::Warning, &[("reason", "refund_not_settled")]);
    }
    case.pause().await?;
    Ok(Verdict::Settled("refund_received"))
}

const fn taken_at(fact: &Fact) -> Option<Timestamp> {
    match fact {
        Fact::Received { at, .. } => Some(*at),
        Fact::Done { .. } | Fact::Declined(_) => None,
    }
}

/// Nothing went back: the reservation is free, and Cleeng is told nothing, because nothing changed.
async fn failed(case: &mut Case<'_>, payment: &Reference, decline: Decline, reason: &'static str) -> Story<Verdict> {
    end(case, payment, false)?;
    case.finish(Finish::Declined { class: decline.class, code: decline.code }).await?;
    Ok(call_operator(case, payment, reason))
}

/// Tells Cleeng, once.
async fn report(case: &mut Case<'_>, asked: &Asked, payment: &Reference, amount: Money) -> Story<Verdict> {
    match case.turn::<()>(REPORT)? {
        StepTurn::Done(()) => return case.finish(Finish::Refunded).await,
        StepTurn::Unknown(_) => return case.park("refund_report_unknown", false).await,
        StepTurn::Fresh => {}
    }
    let record = case.payment(payment).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let order = record.order.clone().or_else(|| asked.event.payment.order.clone());
    let (Some(id), Some(order)) = (record.cleeng_payment.clone(), order) else {
        return case.park("refund_cannot_be_reported", false).await;
    };
    let operation = match asked.event.payment.operation {
        _ if record.subscription.is_some() => PaymentOperation::Recurring,
        Some(told) => told,
        None => PaymentOperation::Initial,
    };
    let patch = PaymentPatch::Refunded {
        order,
        operation,
        reason: asked.event.reason.clone().unwrap_or_else(|| "refund".to_owned()),
        amount: (amount != record.captured).then_some(amount),
        chargeback: false,
    };
    case.begin(REPORT, None, CALL_TIMEOUT).await?;
    match case.world.cleeng.update_payment(&id, &patch).await {
        Ok(()) => {
            case.done(REPORT, &());
            case.finish(Finish::Refunded).await
        }
        Err(CleengError::Refused { .. } | CleengError::NotFound) => case.park("cleeng_refused_refund", false).await,
        Err(CleengError::Unknown(_)) => case.park("refund_report_unknown", false).await,
        Err(CleengError::Throttled { retry_after }) => Err(case.no_effect(REPORT, retry_after, "cleeng_throttled").await),
        Err(error) => Err(case.no_effect(REPORT, None, error.code()).await),
    }
}
