//! From the gateway's word to the report and the end of the attempt.

use serde_json::Value;

use super::facts::{Answered, NOTIFIED, ROUNDS, START, Snapshot};
use super::{ask, details, position, report};
use crate::billing::Story;
use crate::billing::case::{Case, StepTurn};
use crate::cleeng::PaymentSource;
use crate::clock::Timestamp;
use crate::flow::Verdict;
use crate::gateway::{Decline, Reference};
use crate::ids::ExternalPaymentId;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, Finish};
use crate::secret::SecretString;

/// Goes on with what the gateway said about the open attempt.
///
/// # Errors
/// Later or parked.
pub async fn go_on(case: &mut Case<'_>, snapshot: &Snapshot, answered: Answered) -> Story<Verdict> {
    match answered {
        Answered::Done { external, at, .. } => done(case, snapshot, &external, at).await,
        Answered::Received { external, .. } => {
            let reference = ask::reference(case)?;
            if let Some(external) = &external {
                name_it(case, &reference, external)?;
            }
            Ok(case.put_back(None, "payment_pending").await)
        }
        Answered::Action { started, .. } => {
            let reference = ask::reference(case)?;
            case.change(&reference, |payment, _| {
                payment.started = started.or(payment.started.take());
                Ok(())
            })?;
            case.pause().await?;
            Ok(Verdict::Settled("action"))
        }
        Answered::Declined(decline) => declined(case, snapshot, &decline).await,
    }
}

/// The money is taken, or the details are stored.
async fn done(case: &mut Case<'_>, snapshot: &Snapshot, external: &ExternalPaymentId, at: Timestamp) -> Story<Verdict> {
    let reference = ask::reference(case)?;
    taken(case, &reference, external)?;
    let Some(source) = stored(case)? else {
        // The token may come later than the rest, by notification. Without it Cleeng could never renew.
        if case.now().since(at) > case.world.rules.unknown_deadline {
            return case.park("token_missing", true).await;
        }
        return Ok(case.put_back(None, "token_pending").await);
    };
    if case.attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        return details::report(case, snapshot, source).await;
    }
    report::captured(case, snapshot, &reference, source).await?;
    position::forget(case)?;
    case.finish(Finish::Captured).await
}

/// Records that the money of a payment is taken, in memory.
///
/// # Errors
/// Later, if the record does not allow it.
pub fn taken(case: &mut Case<'_>, reference: &Reference, external: &ExternalPaymentId) -> Story<()> {
    case.change(reference, |payment, now| {
        // Resumed later, it may have moved on already.
        if matches!(payment.state, PaymentState::Starting | PaymentState::Cancelling) {
            payment.become_state(PaymentState::Captured, now)?;
            payment.captured = payment.amount;
        }
        Ok(())
    })?;
    name_it(case, reference, external)
}

/// Records the gateway's id of a payment, in memory.
fn name_it(case: &mut Case<'_>, reference: &Reference, external: &ExternalPaymentId) -> Story<()> {
    let mut gateway = None;
    case.change(reference, |payment, _| {
        if payment.external_payment_id.is_none() {
            payment.external_payment_id = Some(external.clone());
            payment.authorisation = Some(external.clone());
            gateway = Some(payment.gateway);
        }
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        case.add_lookup(PaymentRecord::by_gateway(gateway, external), reference);
    }
    Ok(())
}

/// The stored details, from whichever answers brought them and what may be shown of them.
fn stored(case: &Case<'_>) -> Story<Option<PaymentSource>> {
    let (mut found, mut display) = (None, Value::Null);
    for step in [NOTIFIED, START].into_iter().chain(ROUNDS) {
        if let StepTurn::Done(Answered::Done { token, shown, .. }) = case.turn::<Answered>(step)? {
            found = found.or(token);
            display = if display.is_null() { shown } else { display };
        }
    }
    Ok(found.map(|token| PaymentSource::New { token: SecretString::new(token), shown: display }))
}

async fn declined(case: &mut Case<'_>, snapshot: &Snapshot, decline: &Decline) -> Story<Verdict> {
    let reference = ask::reference(case)?;
    let refused = decline.payment.clone();
    case.change(&reference, |payment, now| {
        payment.external_payment_id = payment.external_payment_id.take().or(refused);
        if payment.state == PaymentState::Starting { payment.become_state(PaymentState::Declined, now) } else { Ok(()) }
    })?;
    if case.attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        details::count_decline(case, &snapshot.customer).await?;
    } else {
        report::rejected(case, snapshot, &reference, decline).await?;
    }
    position::forget(case)?;
    case.finish(Finish::Declined { class: decline.class, code: decline.code.clone() }).await
}

/// Ends the open attempt without a result, because another one takes its place or its time is over. In memory.
///
/// # Errors
/// Later, if a step cannot be read.
pub fn close(case: &mut Case<'_>, finish: Finish) -> Story<()> {
    // What never got to the gateway holds nothing.
    if matches!(position::position(case)?, position::Position::NotStarted) {
        let reference = ask::reference(case)?;
        case.change(&reference, |payment, now| payment.become_state(PaymentState::Declined, now))?;
    } else {
        case.run.obligation.left_over = true;
    }
    position::forget(case)?;
    if let Some(attempt) = case.run.obligation.open_mut() {
        attempt.finish = Some(finish);
    }
    case.head.in_flight = None;
    Ok(())
}
