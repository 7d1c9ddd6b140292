//! Giving back what nobody is to be charged for: an attempt that was replaced, or whose order lapsed, and that succeeded after all. Its
//! obligation is its own, so that it depends on nothing else that happens to the order. Must never touch a payment that was reported.

use crate::billing::case::Case;
use crate::billing::gateway_step::{self, Call, Fact};
use crate::billing::{Story, later};
use crate::flow::{Delivery, Verdict, World};
use crate::gateway::{CancelRequest, CancelTarget, Decline, IdempotencyKey, OperationKind, Reference, RefundRequest};
use crate::ids::ExternalPaymentId;
use crate::journal::JournalError;
use crate::journal::payment::PaymentState;
use crate::journal::record::{Attempt, AttemptKind, Finish};
use crate::journal::refunds::CannotReserve;
use crate::journal::store::{Key, StoreError};
use crate::metrics::Metric;

use super::settle::taken;

const REFUND: &str = "refund";
const CANCEL: &str = "cancel";

/// Gives a payment back: refunded where it is known to be taken, which `external` says; else cancelled by our reference, for whatever may be
/// there. May be called again and again.
///
/// # Errors
/// Never: what is left to be done is in the verdict.
pub async fn give_back(world: &World, reference: &Reference, external: Option<&ExternalPaymentId>, delivery: &Delivery) -> Verdict {
    match open(world, reference, delivery).await {
        Ok(mut case) => {
            let story = story(&mut case, reference, external).await;
            case.conclude(story).await
        }
        Err(verdict) => verdict,
    }
}

async fn open<'w>(world: &'w World, reference: &Reference, delivery: &Delivery) -> Story<Case<'w>> {
    let mut case = Case::open_alone(world, Key::new("give-back", &[reference.as_str()]), &[], delivery).await?;
    case.load_payment(reference).await?;
    Ok(case)
}

async fn story(case: &mut Case<'_>, reference: &Reference, external: Option<&ExternalPaymentId>) -> Story<Verdict> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    if payment.cleeng_payment.is_some() && payment.state == PaymentState::Captured {
        return park(case, "reported_payment_to_be_given_back").await;
    }
    let external = external.or(payment.external_payment_id.as_ref()).cloned();
    let has = |step: &'static str| move |attempt: &Attempt| attempt.step(step).is_some();
    let attempts = &case.run.obligation.attempts;
    let (refunded, cancelled) = (attempts.iter().any(has(REFUND)), attempts.iter().any(has(CANCEL)));
    let open = case.attempt().is_some();
    match external {
        _ if open && refunded => refund(case, reference).await,
        Some(_) if refunded => Ok(Verdict::Settled("given_back")),
        Some(external) => {
            if open {
                // It was being cancelled without its id; the id is better.
                if let Some(attempt) = case.run.obligation.open_mut() {
                    attempt.finish = Some(Finish::Superseded);
                }
            }
            take_note(case, reference, &external).await?;
            begin(case, 2)?;
            refund(case, reference).await
        }
        None if !open && cancelled => Ok(Verdict::Settled("given_back")),
        None => {
            if !open {
                begin(case, 1)?;
            }
            cancel(case, reference).await
        }
    }
}

/// The two ways of one obligation have dates of their own, because keys are derived from them.
fn begin(case: &mut Case<'_>, way: i64) -> Story<()> {
    case.open_attempt(AttemptKind::GiveBack, crate::clock::Timestamp::from_secs(way), None)
}

/// The money is known to be taken.
async fn take_note(case: &mut Case<'_>, reference: &Reference, external: &ExternalPaymentId) -> Story<()> {
    let state = case.payment(reference).map(|payment| payment.state);
    if matches!(state, Some(PaymentState::Starting | PaymentState::Cancelling | PaymentState::Captured)) {
        return taken(case, reference, external);
    }
    // A payment that was declined, cancelled or given back cannot be taken as well: an operator has to see that.
    Err(park(case, "closed_payment_succeeded").await?)
}

async fn park(case: &mut Case<'_>, reason: &'static str) -> Story<Verdict> {
    if case.attempt().is_none() {
        begin(case, 3)?;
    }
    case.park(reason, true).await
}

async fn refund(case: &mut Case<'_>, reference: &Reference) -> Story<Verdict> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, amount, captured, external) = (payment.gateway, payment.amount, payment.captured, payment.external_payment_id.clone());
    if amount.is_zero() {
        return case.finish(Finish::Stale { reason: "nothing_was_taken".to_owned() }).await;
    }
    let external = external.ok_or_else(|| later("payment_without_id"))?;
    let key = case.run.key().clone();
    let own = gateway_step::reference_of(case, gateway, OperationKind::Refund);
    if let Some(Err(cannot)) = reserve(case, reference, &key, &own) {
        tracing::error!(obligation = %key, error = %cannot, "a replaced payment cannot be given back");
        return case.park("give_back_above_captured", true).await;
    }
    // From the intent on, so that a notification finds the payment by our own name of the refund.
    case.add_operation(gateway, own.as_str(), reference);
    let make = |key: IdempotencyKey| Call::Refund(RefundRequest { key, reference: own, external_payment_id: external, amount, captured });
    let fact = gateway_step::run(case, REFUND, gateway, OperationKind::Refund, make).await?;
    if let Fact::Received { operation_ref: Some(operation), .. } = &fact {
        case.add_operation(gateway, operation, reference);
        case.change(reference, |payment, _| {
            payment.refund_received(&key, Some(operation.clone()));
            Ok(())
        })?;
    }
    match fact {
        Fact::Done { .. } | Fact::Received { .. } => {
            case.world.metrics.count(Metric::Warning, &[("reason", "replaced_payment_given_back")]);
            case.finish(Finish::GivenBack).await
        }
        Fact::Declined(_) => case.park("give_back_refused", true).await,
    }
}

/// Reserves all of the payment for this refund, in memory; nothing if that was done before.
fn reserve(case: &mut Case<'_>, reference: &Reference, key: &Key, own: &Reference) -> Option<Result<(), CannotReserve>> {
    if case.payment(reference)?.refund_of(key).is_some() {
        return None;
    }
    let mut reserved = Ok(());
    let changed = case.change(reference, |payment, _| {
        reserved = payment.reserve_refund(key, own.clone(), payment.captured);
        Ok(())
    });
    changed.ok().map(|()| reserved)
}

async fn cancel(case: &mut Case<'_>, reference: &Reference) -> Story<Verdict> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, started) = (payment.gateway, payment.started.clone());
    // Called off, also where the gateway cannot be told: if it succeeds after all, it is given back then.
    case.change(reference, |payment, now| {
        if payment.state == PaymentState::Starting { payment.become_state(PaymentState::Cancelling, now) } else { Ok(()) }
    })?;
    if started.is_none() && !case.gateway(gateway)?.capabilities().cancel_by_reference {
        return case.finish(Finish::Stale { reason: "cannot_be_cancelled_by_reference".to_owned() }).await;
    }
    let target = CancelTarget::Reference { reference: reference.clone(), started };
    let make = |key| Call::Cancel(CancelRequest { key, reference: reference.clone(), target });
    match gateway_step::run(case, CANCEL, gateway, OperationKind::Cancel, make).await? {
        Fact::Done { .. } | Fact::Received { .. } => case.finish(Finish::GivenBack).await,
        // It is taken already, and the gateway says under which id: the other way gives it back.
        Fact::Declined(Decline { payment: Some(external), .. }) => {
            if let Some(attempt) = case.run.obligation.open_mut() {
                attempt.finish = Some(Finish::Superseded);
            }
            take_note(case, reference, &external).await?;
            begin(case, 2)?;
            refund(case, reference).await
        }
        Fact::Declined(_) => case.finish(Finish::Stale { reason: "nothing_to_cancel".to_owned() }).await,
    }
}
