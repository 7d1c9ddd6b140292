//! Capture, cancel, refund, and the end of stored details.

use connector::gateway::{
    CancelRequest, CancelTarget, DeclineClass, DeleteDetailsRequest, NotificationItem, NotificationKind, OperationKind, Outcome, Reference,
    RefundRequest,
};
use connector::money::Money;

use crate::simulators::network::Fault;
use crate::testkit::contract::{
    ContractFailure, ContractResult, GatewayFactory, LedgerEntry, authorise, authorise_and_capture, capture_request, describe, ensure,
    expect_done, expect_done_or_received, expect_only_payment, expect_unknown, key, payment_request, release_count, report_skipped,
};

/// Twice the same key takes the money once; the payment's id is the ledger's afterwards.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn a_capture_is_taken_once_under_its_key(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let entry = authorise(world.as_ref(), 1).await?;
    let request = capture_request(&entry, 1)?;
    let first = expect_done_or_received("capture", world.gateway().capture(&request).await)?;
    let second = expect_done_or_received("capture", world.gateway().capture(&request).await)?;
    world.process();
    let entry = expect_only_payment(world.as_ref())?;
    ensure(entry.captured == entry.amount, "the capture did not take exactly the amount")?;
    ensure(first.external_payment_id == Some(entry.external_payment_id), "the id is not the ledger's")?;
    ensure(first.external_payment_id == second.external_payment_id, "the second answer names another payment")?;
    ensure(first.operation_ref == second.operation_ref, "the second answer names another capture")
}

/// The answer to a capture was lost: unknown, and the same key settles it.
///
/// # Errors
/// The broken rule.
pub async fn a_capture_whose_answer_was_lost_is_taken_once(factory: GatewayFactory) -> ContractResult {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500)] {
        let world = factory();
        let request = capture_request(&authorise(world.as_ref(), 1).await?, 1)?;
        world.network().inject(fault, world.write_matcher());
        expect_unknown("capture", &world.gateway().capture(&request).await)?;
        world.process();
        expect_done_or_received("capture", world.gateway().capture(&request).await)?;
        world.process();
        let entry = expect_only_payment(world.as_ref())?;
        ensure(entry.captured == entry.amount, "the capture did not take exactly the amount")?;
    }
    Ok(())
}

fn cancel_request(entry: &LedgerEntry, target: CancelTarget, number: u32) -> Result<CancelRequest, ContractFailure> {
    let reference = Reference::parse(&entry.reference).ok_or_else(|| ContractFailure("the ledger's reference is not ours".to_owned()))?;
    Ok(CancelRequest { key: key(OperationKind::Cancel, number), reference, target })
}

/// A cancel releases the authorisation, and a second one changes nothing. Suites that say "nothing was released" count releases, so that a
/// release is counted is proven here.
///
/// # Errors
/// The broken rule.
pub async fn a_cancel_releases_the_hold(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let entry = authorise(world.as_ref(), 1).await?;
    let request = cancel_request(&entry, CancelTarget::Payment(entry.external_payment_id.clone()), 1)?;
    let count = release_count(world.as_ref());
    ensure(count == 0, format!("an authorisation is counted as {count} releases"))?;
    expect_done_or_received("cancel", world.gateway().cancel(&request).await)?;
    let count = release_count(world.as_ref());
    ensure(count == 1, format!("a cancel is counted as {count} releases: see SimulatedGateway::is_release"))?;
    expect_done_or_received("cancel", world.gateway().cancel(&request).await)?;
    world.process();
    let entry = expect_only_payment(world.as_ref())?;
    ensure(entry.is_released() && entry.captured.is_zero(), "the hold was not released")
}

/// Where the gateway can: a payment whose answer was lost is released by our reference.
///
/// # Errors
/// The broken rule.
pub async fn a_payment_is_cancelled_by_reference_alone(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    if !world.gateway().capabilities().cancel_by_reference {
        report_skipped(world.gateway().name(), "cancels by reference");
        return Ok(());
    }
    let lost = payment_request(world.as_ref(), world.working_token(), 1);
    world.network().inject(Fault::TimeoutAfter, world.write_matcher());
    expect_unknown("authorise", &world.gateway().authorise(&lost).await)?;
    authorise(world.as_ref(), 2).await?;
    let request = CancelRequest {
        key: key(OperationKind::Cancel, 1),
        reference: lost.reference.clone(),
        target: CancelTarget::Reference { reference: lost.reference.clone(), pending_id: None },
    };
    expect_done_or_received("cancel", world.gateway().cancel(&request).await)?;
    world.process();
    for entry in world.ledger() {
        let aimed_at = entry.reference == lost.reference.as_str();
        ensure(entry.is_released() == aimed_at, "not exactly the payment of this reference was released")?;
    }
    Ok(())
}

/// A cancel that comes after the capture is declined, at once or by notification; the money stays where it is.
///
/// # Errors
/// The broken rule.
pub async fn a_cancel_after_the_capture_refunds_nothing(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let entry = authorise_and_capture(world.as_ref(), 1).await?;
    world.take_notifications();
    let request = cancel_request(&entry, CancelTarget::Payment(entry.external_payment_id.clone()), 1)?;
    let answered = world.gateway().cancel(&request).await;
    world.process();
    match &answered {
        Ok(Outcome::Declined(decline)) => ensure(decline.class == DeclineClass::Hard, "the decline is not hard")?,
        Ok(Outcome::Received(_)) => {
            let mut failed = false;
            for notification in world.take_notifications() {
                let read = world.gateway().read_notification(&notification.headers, &notification.body).await;
                let is_failure = |one: &NotificationItem| one.as_ref().is_ok_and(|one| one.kind == NotificationKind::CancelFailed);
                failed |= read.is_ok_and(|read| read.iter().any(is_failure));
            }
            ensure(failed, "no notification says that the cancel failed")?;
        }
        _ => return Err(ContractFailure(format!("expected declined or received, got {}", describe(&answered)))),
    }
    let entry = expect_only_payment(world.as_ref())?;
    ensure(entry.captured == entry.amount && entry.refunded.is_zero() && !entry.is_released(), "a cancel moved captured money")
}

fn refund_request(entry: &LedgerEntry, amount: Money, number: u32) -> RefundRequest {
    let key = key(OperationKind::Refund, number);
    RefundRequest {
        reference: Reference::from_key(&key),
        key,
        external_payment_id: entry.external_payment_id.clone(),
        amount,
        captured: entry.captured,
    }
}

/// A part, then the rest, each twice under its key; then nothing is left to refund.
///
/// # Errors
/// The broken rule.
pub async fn refunds_are_made_in_parts_and_each_once(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let entry = authorise_and_capture(world.as_ref(), 1).await?;
    let part = Money::new(entry.amount.minor.div_euclid(4), entry.amount.currency);
    let rest = entry.amount.checked_sub(part).map_err(|error| ContractFailure(error.to_string()))?;
    for (number, amount) in [(1, part), (2, rest)] {
        let request = refund_request(&entry, amount, number);
        let first = expect_done_or_received("refund", world.gateway().refund(&request).await)?;
        let second = expect_done_or_received("refund", world.gateway().refund(&request).await)?;
        ensure(
            first.operation_ref.is_some() && first.operation_ref == second.operation_ref,
            "one key made two refunds, or one without an id",
        )?;
        world.process();
        let given = if number == 1 { part } else { entry.amount };
        ensure(expect_only_payment(world.as_ref())?.refunded == given, "not exactly the amount was refunded")?;
    }
    ensure(release_count(world.as_ref()) == 0, "a capture or a refund is counted as a release")?;
    ensure(expect_only_payment(world.as_ref())?.external_payment_id == entry.external_payment_id, "the payment's id changed")
}

/// More than was captured, and nothing at all, are refused before any call.
///
/// # Errors
/// The broken rule.
pub async fn a_refund_above_the_capture_is_refused(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let entry = authorise_and_capture(world.as_ref(), 1).await?;
    let calls = world.network().calls().len();
    let above = Money::new(entry.amount.minor.saturating_add(1), entry.amount.currency);
    for (number, amount) in [(1, above), (2, Money::new(0, above.currency)), (3, Money::new(-1, above.currency))] {
        let answered = world.gateway().refund(&refund_request(&entry, amount, number)).await;
        ensure(answered.is_err(), format!("expected an error for {amount}, got {}", describe(&answered)))?;
    }
    world.process();
    ensure(world.network().calls().len() == calls, "the gateway was called")?;
    ensure(expect_only_payment(world.as_ref())?.refunded.is_zero(), "something was refunded")
}

/// Deleting is idempotent; afterwards the details pay nothing.
///
/// # Errors
/// The broken rule.
pub async fn deleting_details_twice_is_done_twice(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let token = world.working_token();
    ensure(world.has_stored_details(&token), "the details are not there to begin with")?;
    for number in 1..3 {
        let request = DeleteDetailsRequest { key: key(OperationKind::Delete, number), token: token.clone(), customer: world.customer() };
        expect_done("delete_details", world.gateway().delete_details(&request).await)?;
        ensure(!world.has_stored_details(&token), "the details are still there")?;
    }
    let answered = world.gateway().authorise(&payment_request(world.as_ref(), token, 1)).await;
    let declined = matches!(&answered, Ok(Outcome::Declined(d)) if matches!(d.class, DeclineClass::NeedsNewDetails | DeclineClass::Hard));
    ensure(declined, format!("expected deleted details to be declined, got {}", describe(&answered)))
}

/// A refund for the mutation checks.
pub(super) fn full_refund_request(entry: &LedgerEntry) -> RefundRequest {
    refund_request(entry, entry.captured, 1)
}

/// A cancel for the mutation checks.
pub(super) fn payment_cancel_request(entry: &LedgerEntry) -> Result<CancelRequest, ContractFailure> {
    cancel_request(entry, CancelTarget::Payment(entry.external_payment_id.clone()), 1)
}
