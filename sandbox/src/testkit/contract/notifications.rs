//! Notifications of the gateway.

use bytes::Bytes;
use connector::gateway::{GatewayNotification, NotificationError, NotificationKind, Outcome};

use crate::testkit::contract::modifications::{full_refund_request, payment_cancel_request};
use crate::testkit::contract::{
    ContractFailure, ContractResult, GatewayFactory, GatewayUnderTest, LedgerEntry, NotificationRequest, authorise, authorise_and_capture,
    capture_request, ensure, report_skipped,
};

async fn read(world: &dyn GatewayUnderTest, notification: &NotificationRequest) -> Result<Vec<GatewayNotification>, NotificationError> {
    world.gateway().read_notification(&notification.headers, &notification.body).await?.into_iter().collect()
}

/// Processes, and reads the notifications of the gateway; all of them must be readable.
async fn read_notifications(world: &dyn GatewayUnderTest) -> Result<Vec<GatewayNotification>, ContractFailure> {
    world.process();
    let mut all = Vec::new();
    for notification in world.take_notifications() {
        all.extend(read(world, &notification).await.map_err(|error| ContractFailure(format!("a right notification is refused: {error}")))?);
    }
    Ok(all)
}

/// Expects one notification of this kind, about this payment and, if given, this operation.
fn expect_one(
    notifications: &[GatewayNotification],
    kind: NotificationKind,
    entry: &LedgerEntry,
    operation_ref: Option<&str>,
) -> ContractResult {
    let of_kind: Vec<_> = notifications.iter().filter(|one| one.kind == kind).collect();
    let [one] = of_kind.as_slice() else { return Err(ContractFailure(format!("expected one {kind:?}, got {}", of_kind.len()))) };
    ensure(one.external_payment_id.as_ref() == Some(&entry.external_payment_id), format!("{kind:?} names another payment"))?;
    ensure(one.reference.is_some(), format!("{kind:?} carries no reference of ours"))?;
    let same = operation_ref.is_none() || one.operation_ref.as_deref() == operation_ref;
    ensure(same, format!("{kind:?} names another operation than the answer did"))?;
    ensure(one.amount.is_none_or(|amount| amount == entry.amount), format!("{kind:?} has another amount"))
}

/// Where results come by notification, each names the payment and the operation that it is about.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn notifications_report_the_result_of_each_operation(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let world = world.as_ref();
    if !world.gateway().capabilities().settles_by_notification {
        report_skipped(world.gateway().name(), "results that come by notification alone");
        return Ok(());
    }
    let entry = authorise(world, 1).await?;
    expect_one(&read_notifications(world).await?, NotificationKind::Authorised, &entry, None)?;
    let received = operation_ref(&world.gateway().capture(&capture_request(&entry, 1)?).await.ok())?;
    expect_one(&read_notifications(world).await?, NotificationKind::Captured, &entry, Some(&received))?;
    let now = LedgerEntry { captured: entry.amount, ..entry };
    let received = operation_ref(&world.gateway().refund(&full_refund_request(&now)).await.ok())?;
    expect_one(&read_notifications(world).await?, NotificationKind::Refunded, &now, Some(&received))?;
    let entry = authorise(world, 2).await?;
    let received = operation_ref(&world.gateway().cancel(&payment_cancel_request(&entry)?).await.ok())?;
    expect_one(&read_notifications(world).await?, NotificationKind::Cancelled, &entry, Some(&received))
}

fn operation_ref(outcome: &Option<Outcome>) -> Result<String, ContractFailure> {
    match outcome {
        Some(Outcome::Received(operation)) => operation.operation_ref.clone(),
        _ => None,
    }
    .ok_or_else(|| ContractFailure("expected received, with the operation's id".to_owned()))
}

/// A repetition is recognised, and two different notifications are not taken for one.
///
/// # Errors
/// The broken rule.
pub async fn a_repeated_notification_has_the_same_dedupe_key(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    authorise_and_capture(world.as_ref(), 1).await?;
    authorise(world.as_ref(), 2).await?;
    world.process();
    let mut keys = Vec::new();
    for notification in world.take_notifications() {
        let first = read(world.as_ref(), &notification).await.map_err(|error| ContractFailure(error.to_string()))?;
        let again = read(world.as_ref(), &notification).await.map_err(|error| ContractFailure(error.to_string()))?;
        ensure(first == again, "the same notification reads differently the second time")?;
        keys.extend(first.into_iter().map(|one| one.dedupe_key));
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    ensure(count > 0 && keys.len() == count, "two notifications share a dedupe key, or there are none")
}

/// Forged, unsigned, truncated, not text: refused, and never read.
///
/// # Errors
/// The broken rule.
pub async fn a_forged_or_broken_notification_is_refused(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    authorise_and_capture(world.as_ref(), 1).await?;
    let Some(notification) = world.take_notifications().pop() else {
        return Err(ContractFailure("the gateway sends no notification".to_owned()));
    };
    let forged = read(world.as_ref(), &world.with_forged_field(&notification)).await;
    ensure(forged == Err(NotificationError::BadSignature), format!("forged: {forged:?}"))?;
    let unsigned = read(world.as_ref(), &world.without_signature(&notification)).await;
    ensure(unsigned == Err(NotificationError::Unsigned), format!("unsigned: {unsigned:?}"))?;
    for length in 0..notification.body.len() {
        let cut = NotificationRequest { body: notification.body.slice(..length), ..notification.clone() };
        ensure(read(world.as_ref(), &cut).await.is_err(), format!("cut after {length} bytes it is still taken"))?;
    }
    for body in [&b"\xff\xfe\xfd"[..], b"null", b"[]", b"{}", b"\"text\"", b"0"] {
        let broken = NotificationRequest { body: Bytes::from_static(body), ..notification.clone() };
        ensure(read(world.as_ref(), &broken).await.is_err(), "a body that is no notification is taken")?;
    }
    ensure(read(world.as_ref(), &notification).await.is_ok(), "the right one is refused")
}

/// Payments of other systems are taken and ignored, and of ours what is of an unknown kind is taken and said not to be understood: an error
/// would block the gateway's queue.
///
/// # Errors
/// The broken rule.
pub async fn what_is_not_ours_is_ignored_and_what_is_unknown_is_said_so(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let expected =
        [(world.unknown_notification(), NotificationKind::NotUnderstood), (world.foreign_notification(), NotificationKind::Ignored)];
    for (notification, kind) in expected {
        let read = read(world.as_ref(), &notification).await;
        let as_expected = read.as_ref().is_ok_and(|read| !read.is_empty() && read.iter().all(|one| one.kind == kind));
        ensure(as_expected, format!("expected {}, got {read:?}", kind.as_str()))?;
    }
    Ok(())
}
