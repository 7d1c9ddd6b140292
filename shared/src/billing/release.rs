//! Giving up an authorisation that nobody will capture: the card was changed, it lapsed, or the subscription ends. First at the gateway,
//! then in Cleeng. A release never gives captured money back.

use super::Story;
use super::case::{Case, StepTurn};
use super::gateway_step::{self, Call, Fact};
use super::report::{self, Change};
use crate::clock::Timestamp;
use crate::gateway::{CancelRequest, CancelTarget, Decline, DeclineClass, OperationKind, Reference};
use crate::journal::JournalError;
use crate::journal::payment::PaymentState;
use crate::journal::store::StoreError;

/// The steps of a release: what is cancelled at the gateway, and what is told to Cleeng.
struct Steps {
    cancel: &'static str,
    report: &'static str,
}

const RELEASE: Steps = Steps { cancel: "release", report: "release_report" };
/// What an attempt holds itself is given up beside what it may have released before.
const CANCEL: Steps = Steps { cancel: "cancel", report: "cancel_report" };
/// The step that cancels what the gateway refused to capture.
const REFUSED: &str = "release_refused_hold";

/// Releases the subscription's live authorisation, if there is one, as steps of the open attempt.
///
/// # Errors
/// Later or parked.
pub async fn release_live(case: &mut Case<'_>) -> Story<()> {
    let Some(live) = case.head.live.clone() else { return Ok(()) };
    let reference = live.reference;
    if case.attempt().is_some_and(|attempt| attempt.reference.as_ref() == Some(&reference)) {
        // The open attempt made it: this is a resumption, and there is nothing to give up.
        return Ok(());
    }
    if let Released::Refused(_) = give_up(case, &reference).await? {
        return Err(case.park("release_refused", true).await?);
    }
    Ok(())
}

/// What became of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// The gateway gave the money free or took the order to, and Cleeng knows.
    Yes,
    /// The gateway refuses, as it does for money that is captured already. Nothing was said to Cleeng.
    Refused(Decline),
}

/// Releases an authorisation as steps of the open attempt: cancels it at the gateway, then in Cleeng, and forgets it where it was the
/// subscription's live one.
///
/// # Errors
/// Later or parked.
pub async fn give_up(case: &mut Case<'_>, reference: &Reference) -> Story<Released> {
    give_up_in(case, reference, &RELEASE).await
}

/// Gives up what the open attempt itself holds, because Cleeng will never hear of it.
///
/// # Errors
/// Later or parked.
pub async fn give_up_own(case: &mut Case<'_>, reference: &Reference) -> Story<()> {
    match give_up_in(case, reference, &CANCEL).await? {
        Released::Yes => Ok(()),
        Released::Refused(_) => Err(case.park("release_refused", true).await?),
    }
}

async fn give_up_in(case: &mut Case<'_>, reference: &Reference, steps: &Steps) -> Story<Released> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, free, authorisation) = (payment.gateway, payment.free, payment.authorisation.clone());
    let gone = matches!(payment.state, PaymentState::Cancelled | PaymentState::Expired);
    if payment.state == PaymentState::Authorised {
        case.change(reference, |payment, now| payment.become_state(PaymentState::Cancelling, now))?;
    }
    if !free && !gone {
        let target =
            authorisation.map_or_else(|| CancelTarget::Reference { reference: reference.clone(), started: None }, CancelTarget::Payment);
        let make = |key| Call::Cancel(CancelRequest { key, reference: reference.clone(), target });
        match gateway_step::run(case, steps.cancel, gateway, OperationKind::Cancel, make).await? {
            // Accepted is enough to open a new attempt: the gateway has the order, and its notification says the rest.
            Fact::Received { .. } => {}
            Fact::Done { .. } => cancelled(case, reference)?,
            Fact::Declined(decline) => return Ok(Released::Refused(decline)),
        }
    } else {
        cancelled(case, reference)?;
    }
    report::change(case, steps.report, reference, Change::Cancelled).await?;
    forget_live(case, reference);
    Ok(Released::Yes)
}

/// Releases at the gateway what it refused to capture, as a step of the attempt that was refused. Cleeng has the payment as rejected, and is told
/// nothing more. `since` is when it was to be released first: what cannot be found out for too long counts as refused.
///
/// # Errors
/// Later or parked.
pub async fn after_refusal(case: &mut Case<'_>, reference: &Reference, since: Timestamp) -> Story<Released> {
    let payment = case.payment(reference).ok_or(JournalError::Store(StoreError::Corrupt))?;
    let (gateway, authorisation) = (payment.gateway, payment.authorisation.clone());
    let open = !matches!(case.turn::<Fact>(REFUSED)?, StepTurn::Done(_));
    if open && case.now().since(since) > gateway_step::patience(case, gateway)? {
        return Ok(Released::Refused(Decline::new(DeclineClass::Soft, "release_unknown")));
    }
    let target =
        authorisation.map_or_else(|| CancelTarget::Reference { reference: reference.clone(), started: None }, CancelTarget::Payment);
    let make = |key| Call::Cancel(CancelRequest { key, reference: reference.clone(), target });
    Ok(match gateway_step::run(case, REFUSED, gateway, OperationKind::Cancel, make).await? {
        // Its notification says the rest, and one of a failure is alarmed.
        Fact::Received { .. } | Fact::Done { .. } => Released::Yes,
        Fact::Declined(decline) => Released::Refused(decline),
    })
}

/// Forgets a payment as the subscription's live authorisation.
pub fn forget_live(case: &mut Case<'_>, reference: &Reference) {
    if case.head.live.as_ref().is_some_and(|live| live.reference == *reference) {
        case.head.live = None;
    }
}

fn cancelled(case: &mut Case<'_>, reference: &Reference) -> Story<()> {
    case.change(reference, |payment, now| {
        if payment.state == PaymentState::Cancelling { payment.become_state(PaymentState::Cancelled, now) } else { Ok(()) }
    })
}
