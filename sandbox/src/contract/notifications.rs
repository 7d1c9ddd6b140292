//! What the gateway tells by itself.

use bytes::Bytes;
use connector::gateway::{GatewayNotification, NotificationError, NotificationKind, Outcome};

use super::modifications::{plain_cancel, whole_refund};
use super::{Checked, GatewayUnderTest, LedgerEntry, Make, Posted, Violation, authorise, capture_of, captured, ensure};

async fn read(world: &dyn GatewayUnderTest, posted: &Posted) -> Result<Vec<GatewayNotification>, NotificationError> {
    world.gateway().read_notification(&posted.headers, &posted.body).await?.into_iter().collect()
}

/// Processes, and reads what the gateway tells; everything must be readable.
async fn news(world: &dyn GatewayUnderTest) -> Result<Vec<GatewayNotification>, Violation> {
    world.process();
    let mut all = Vec::new();
    for posted in world.take_notifications() {
        all.extend(read(world, &posted).await.map_err(|error| Violation(format!("a right notification is refused: {error}")))?);
    }
    Ok(all)
}

/// Expects one piece of news of this kind, about this payment and, if given, this operation.
fn expect(news: &[GatewayNotification], kind: NotificationKind, entry: &LedgerEntry, operation_ref: Option<&str>) -> Checked {
    let of_kind: Vec<_> = news.iter().filter(|one| one.kind == kind).collect();
    let [one] = of_kind.as_slice() else { return Err(Violation(format!("expected one {kind:?}, got {}", of_kind.len()))) };
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
pub async fn notifications_tell_what_became_of_each_operation(make: Make) -> Checked {
    let world = make();
    let world = world.as_ref();
    if !world.gateway().capabilities().settles_by_notification {
        return Ok(());
    }
    let entry = authorise(world, 1).await?;
    expect(&news(world).await?, NotificationKind::Authorised, &entry, None)?;
    let received = operation_ref(&world.gateway().capture(&capture_of(&entry, 1)?).await.ok())?;
    expect(&news(world).await?, NotificationKind::Captured, &entry, Some(&received))?;
    let now = LedgerEntry { captured: entry.amount, ..entry };
    let received = operation_ref(&world.gateway().refund(&whole_refund(&now)).await.ok())?;
    expect(&news(world).await?, NotificationKind::Refunded, &now, Some(&received))?;
    let entry = authorise(world, 2).await?;
    let received = operation_ref(&world.gateway().cancel(&plain_cancel(&entry)?).await.ok())?;
    expect(&news(world).await?, NotificationKind::Cancelled, &entry, Some(&received))
}

fn operation_ref(outcome: &Option<Outcome>) -> Result<String, Violation> {
    match outcome {
        Some(Outcome::Received(operation)) => operation.operation_ref.clone(),
        _ => None,
    }
    .ok_or_else(|| Violation("expected received, with the operation's id".to_owned()))
}

/// A repetition is recognised, and two different pieces of news are not taken for one.
///
/// # Errors
/// The broken rule.
pub async fn a_repeated_notification_has_the_same_dedupe_key(make: Make) -> Checked {
    let world = make();
    captured(world.as_ref(), 1).await?;
    authorise(world.as_ref(), 2).await?;
    world.process();
    let mut keys = Vec::new();
    for posted in world.take_notifications() {
        let first = read(world.as_ref(), &posted).await.map_err(|error| Violation(error.to_string()))?;
        let again = read(world.as_ref(), &posted).await.map_err(|error| Violation(error.to_string()))?;
        ensure(first == again, "the same notification reads differently the second time")?;
        keys.extend(first.into_iter().map(|one| one.dedupe_key));
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    ensure(count > 0 && keys.len() == count, "two pieces of news share a dedupe key, or there are none")
}

/// Forged, unsigned, truncated, not text: refused, and never read as news.
///
/// # Errors
/// The broken rule.
pub async fn a_forged_or_broken_notification_is_refused(make: Make) -> Checked {
    let world = make();
    captured(world.as_ref(), 1).await?;
    let Some(posted) = world.take_notifications().pop() else { return Err(Violation("the gateway tells nothing".to_owned())) };
    let forged = read(world.as_ref(), &world.forged(&posted)).await;
    ensure(forged == Err(NotificationError::BadSignature), format!("forged: {forged:?}"))?;
    let unsigned = read(world.as_ref(), &world.without_signature(&posted)).await;
    ensure(unsigned == Err(NotificationError::Unsigned), format!("unsigned: {unsigned:?}"))?;
    for length in 0..posted.body.len() {
        let cut = Posted { body: posted.body.slice(..length), ..posted.clone() };
        ensure(read(world.as_ref(), &cut).await.is_err(), format!("cut after {length} bytes it is still taken"))?;
    }
    for body in [&b"\xff\xfe\xfd"[..], b"null", b"[]", b"{}", b"\"text\"", b"0"] {
        let broken = Posted { body: Bytes::from_static(body), ..posted.clone() };
        ensure(read(world.as_ref(), &broken).await.is_err(), "a body that is no notification is taken")?;
    }
    ensure(read(world.as_ref(), &posted).await.is_ok(), "the right one is refused")
}

/// Kinds that nobody knows, and payments of other systems, are taken and ignored: an error would block the gateway's queue.
///
/// # Errors
/// The broken rule.
pub async fn what_is_unknown_or_not_ours_is_ignored(make: Make) -> Checked {
    let world = make();
    for posted in [world.unknown_notification(), world.foreign_notification()] {
        let read = read(world.as_ref(), &posted).await;
        let ignored = read.as_ref().is_ok_and(|read| !read.is_empty() && read.iter().all(|one| one.kind == NotificationKind::Ignored));
        ensure(ignored, format!("expected ignored, got {read:?}"))?;
    }
    Ok(())
}
