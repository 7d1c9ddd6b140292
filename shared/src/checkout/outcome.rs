//! From the gateway's result to the report and the end of the attempt.

use std::time::Duration;

use serde_json::Value;

use super::report::OrderReport;
use super::snapshot::{FINALIZE_STEPS, NOTIFIED, PurchaseResult, START, Snapshot};
use super::{details_report, gateway_calls, pending_setups, progress, report};
use crate::cleeng::PaymentSource;
use crate::clock::Timestamp;
use crate::flow::Disposition;
use crate::gateway::{Decline, Reference, StoredDetailsQuery};
use crate::ids::ExternalPaymentId;
use crate::journal::payment::{PaymentRecord, PaymentState};
use crate::journal::record::{AttemptKind, Finish};
use crate::metrics::Metric;
use crate::payments::FlowResult;
use crate::payments::capture::take_held_payment;
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::reason::{AlarmReason, CompletionReason, ParkReason, RetryReason};
use crate::secret::SecretString;

/// A customer who paid and has no access for this long is worth an alarm.
const DETAILS_ALARM: Duration = Duration::from_secs(30 * 60);

/// Applies the gateway's result to the open attempt.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn apply_result(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, result: PurchaseResult) -> FlowResult<Disposition> {
    match result {
        PurchaseResult::Done { external, details_owner, at, .. } => complete_purchase(ctx, snapshot, &external, details_owner, at).await,
        PurchaseResult::Received { external, .. } => {
            let reference = gateway_calls::payment_reference(ctx)?;
            if let Some(external) = &external {
                ctx.record_external_id(&reference, external)?;
            }
            Ok(ctx.retry_later(None, RetryReason::PaymentPending).await)
        }
        PurchaseResult::ActionRequired { pending_id, .. } => {
            let reference = gateway_calls::payment_reference(ctx)?;
            if let Some(pending_id) = &pending_id {
                // Details that it stores may be notified under this name.
                ctx.add_operation(snapshot.gateway, pending_id, &reference);
            }
            ctx.update_payment(&reference, |payment, _| {
                payment.pending_id = pending_id.or(payment.pending_id.take());
                Ok(())
            })?;
            ctx.save_and_release_lease().await?;
            Ok(Disposition::Completed(CompletionReason::ActionRequired))
        }
        PurchaseResult::Declined(decline) => record_decline(ctx, snapshot, &decline).await,
    }
}

/// The money is captured, or the details are stored.
async fn complete_purchase(
    ctx: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    external: &ExternalPaymentId,
    details_owner: Option<String>,
    at: Timestamp,
) -> FlowResult<Disposition> {
    let reference = gateway_calls::payment_reference(ctx)?;
    take_held_payment(ctx, &reference, external).await?;
    record_captured(ctx, &reference, external)?;
    let source = match payment_source(ctx)? {
        Some(source) => Some(source),
        None => find_stored_details(ctx, snapshot, &reference).await?,
    };
    let stores_only = ctx.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails);
    let source = match source {
        Some(source) => source,
        None if snapshot.renews() => return wait_for_details(ctx, snapshot, &reference, details_owner, at).await,
        // Nothing renews with them, and Cleeng wants some: the reference is a token that no gateway takes.
        None => PaymentSource::New { token: SecretString::new(reference.as_str()), display_params: Value::Null },
    };
    if stores_only {
        return details_report::report_stored_details(ctx, snapshot, source).await;
    }
    match report::report_captured(ctx, snapshot, &reference, source).await? {
        OrderReport::Taken => {
            progress::erase_sensitive_data(ctx)?;
            ctx.finish(Finish::Captured).await
        }
        OrderReport::Refused => {
            close_attempt(ctx, Finish::stale(CompletionReason::OrderRefused))?;
            ctx.save_and_release_lease().await?;
            Ok(Disposition::Completed(CompletionReason::OrderRefused))
        }
    }
}

/// Asks the gateway for the details that the purchase stored: they can come to be later than its answer, and their notification can be lost.
async fn find_stored_details(ctx: &ObligationContext<'_>, snapshot: &Snapshot, reference: &Reference) -> FlowResult<Option<PaymentSource>> {
    let pending_id = ctx.payment(reference).and_then(|payment| payment.pending_id.clone());
    let query = StoredDetailsQuery { reference: reference.clone(), amount: snapshot.amount, pending_id };
    // An answer that fails is as good as none: the next round asks again.
    let found = ctx.gateway(snapshot.gateway)?.find_stored_details(&query).await.ok().flatten();
    Ok(found.and_then(|operation| {
        let token = operation.token?;
        Some(PaymentSource::New { token: token.0, display_params: operation.display_params })
    }))
}

/// The payment is taken, and without its details Cleeng could never renew. They come by notification, or with one of the next rounds.
async fn wait_for_details(
    ctx: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    reference: &Reference,
    details_owner: Option<String>,
    at: Timestamp,
) -> FlowResult<Disposition> {
    let waited = ctx.now().since(at);
    if waited > ctx.flow_context.policy.unknown_deadline {
        return ctx.park(ParkReason::TokenMissing, true).await;
    }
    if waited > DETAILS_ALARM {
        let reason = AlarmReason::StoredDetailsMissing.as_str();
        ctx.flow_context.metrics.count(Metric::Alarm, &[("reason", reason)]);
        tracing::error!(obligation = %ctx.session.key(), reason, "a purchase is paid, and the gateway has not stored its details");
    }
    if let Some(owner) = details_owner {
        ctx.add_operation(snapshot.gateway, &owner, reference);
    }
    Ok(ctx.retry_later(None, RetryReason::TokenPending).await)
}

/// Records that the money of a payment is captured, in memory. Resumed later, it may have moved on already.
fn record_captured(ctx: &mut ObligationContext<'_>, reference: &Reference, external: &ExternalPaymentId) -> FlowResult<()> {
    let mut gateway = None;
    ctx.update_payment(reference, |payment, now| {
        gateway = payment.record_success(external, now)?.then_some(payment.gateway);
        Ok(())
    })?;
    if let Some(gateway) = gateway {
        ctx.add_lookup(PaymentRecord::gateway_id_key(gateway, external), reference);
    }
    Ok(())
}

/// The stored details, from whichever results have them, with what may be shown of them.
fn payment_source(ctx: &ObligationContext<'_>) -> FlowResult<Option<PaymentSource>> {
    let (mut found, mut display) = (None, Value::Null);
    for step in [NOTIFIED, START].into_iter().chain(FINALIZE_STEPS) {
        if let TypedStepState::Done(PurchaseResult::Done { token, display_params, .. }) = ctx.step_state::<PurchaseResult>(step)? {
            found = found.or(token);
            display = if display.is_null() { display_params } else { display };
        }
    }
    Ok(found.map(|token| PaymentSource::New { token: SecretString::new(token), display_params: display }))
}

async fn record_decline(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, decline: &Decline) -> FlowResult<Disposition> {
    let reference = gateway_calls::payment_reference(ctx)?;
    let refused = decline.payment.clone();
    ctx.update_payment(&reference, |payment, now| {
        payment.external_payment_id = payment.external_payment_id.take().or(refused);
        if payment.state == PaymentState::Starting { payment.transition_to(PaymentState::Declined, now) } else { Ok(()) }
    })?;
    if ctx.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::StoreDetails) {
        pending_setups::count_decline(ctx, &snapshot.customer).await?;
    } else {
        report::report_rejected(ctx, snapshot, &reference, decline).await?;
    }
    progress::erase_sensitive_data(ctx)?;
    ctx.finish(Finish::Declined { class: decline.class, code: decline.code.clone() }).await
}

/// Ends the open attempt without a result, because another one takes its place or it has expired. In memory.
///
/// # Errors
/// `Disposition::Retry` if a step cannot be read.
pub fn close_attempt(ctx: &mut ObligationContext<'_>, finish: Finish) -> FlowResult<()> {
    // A payment that never reached the gateway holds nothing.
    if matches!(progress::read_progress(ctx)?, progress::Progress::NotStarted) {
        let reference = gateway_calls::payment_reference(ctx)?;
        ctx.update_payment(&reference, |payment, now| payment.transition_to(PaymentState::Declined, now))?;
    } else {
        ctx.session.obligation.needs_cleanup = true;
    }
    progress::erase_sensitive_data(ctx)?;
    if let Some(attempt) = ctx.session.obligation.current_attempt_mut() {
        attempt.finish = Some(finish);
    }
    ctx.subscription_state.in_flight = None;
    Ok(())
}
