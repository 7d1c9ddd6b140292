//! From the state of the obligation to the answer for the page. Every request gets what is recorded, so that every tab shows the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::attempts::{decline_of, snapshot_of};
use super::progress::{Progress, read_progress};
use super::snapshot::{FINALIZE_STEPS, REPORT, START, Snapshot};
use crate::flow::Disposition;
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{CallKind, FrontendContext, FrontendRequest};
use crate::gateway::Decline;
use crate::ids::Id;
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, AttemptKind, Finish, StepStatus};
use crate::payments::FlowResult;
use crate::payments::obligation_context::ObligationContext;
use crate::reason::{CompletionReason, ParkReason, RetryReason};

/// How often a request tries again while another one works on the same obligation.
const BUSY_RETRIES: u32 = 40;
const BUSY_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// What a page's call came to.
#[derive(Clone, Debug, PartialEq)]
pub enum PageOutcome {
    /// The order is paid; the payment as Cleeng has it.
    Paid(Value),
    /// The details are stored, as Cleeng has them.
    Stored(Value),
    /// The customer has to do this first.
    ActionRequired(Value),
    /// It is not known yet; asking again finds it out.
    Pending,
    /// The order is paid, and the gateway has not stored the details yet; asking again finds them.
    AwaitingDetails,
    /// The bank, the scheme or the gateway declined.
    Declined(Decline),
    /// Anything else.
    Refused(ApiError),
}

impl PageOutcome {
    /// The answer to a page's call.
    #[must_use]
    pub fn reply(self, request: &FrontendRequest) -> Reply {
        match self {
            Self::Paid(payment) => Reply::ok(json!({ "payment": payment })),
            Self::Stored(details) => Reply::ok(json!({ "paymentDetails": details })),
            Self::ActionRequired(_) if request.kind == CallKind::Finalize && !request.prefers_async => {
                reply::ANOTHER_ACTION.reply(Some(request.gateway))
            }
            Self::ActionRequired(action) => Reply::ok(json!({ "action": action })),
            Self::Pending if request.prefers_async => Reply::pending(),
            Self::Pending => reply::PENDING.reply(Some(request.gateway)),
            Self::AwaitingDetails if request.prefers_async => Reply::awaiting_details(),
            Self::AwaitingDetails => reply::AWAITING_DETAILS.reply(Some(request.gateway)),
            Self::Declined(decline) => Reply::declined(request.gateway, &decline),
            Self::Refused(error) => error.reply(Some(request.gateway)),
        }
    }

    /// Whether the returned data belongs to another payment than the one that it was submitted for.
    #[must_use]
    pub fn is_about_another_payment(&self) -> bool {
        matches!(self, Self::Refused(reply::NOTHING_PENDING | reply::EARLIER_ATTEMPT))
    }
}

/// Repeats a try until no other request works on the same obligation: the second click gets what the first one came to.
pub async fn retry_while_busy<F>(context: &FrontendContext, mut once: impl FnMut() -> F + Send) -> PageOutcome
where
    F: Future<Output = FlowResult<PageOutcome>> + Send,
{
    for _ in 0..BUSY_RETRIES {
        match once().await {
            Ok(outcome) => return outcome,
            Err(disposition) if !is_busy(&disposition) => return PageOutcome::Refused(reply::UNAVAILABLE),
            Err(_) => context.sleeper.sleep(BUSY_RETRY_INTERVAL).await,
        }
    }
    PageOutcome::Pending
}

fn is_busy(disposition: &Disposition) -> bool {
    matches!(disposition, Disposition::Retry { reason: RetryReason::Leased | RetryReason::JournalContended, .. })
}

/// What a flow came to, for the page.
///
/// # Errors
/// The disposition if another request works on the same obligation.
pub fn page_outcome(ctx: &ObligationContext<'_>, disposition: Disposition) -> FlowResult<PageOutcome> {
    match disposition {
        busy if is_busy(&busy) => Err(busy),
        Disposition::Completed(reason) => Ok(completed_outcome(ctx, reason)),
        Disposition::Postponed(reason) | Disposition::Retry { reason, .. } => Ok(retry_outcome(ctx, reason)),
        Disposition::Parked(_) | Disposition::NotOurs => Ok(PageOutcome::Refused(parked_error(ctx))),
    }
}

/// What a flow that is completed came to.
pub fn completed_outcome(ctx: &ObligationContext<'_>, reason: CompletionReason) -> PageOutcome {
    match reason {
        CompletionReason::Captured => captured_payment(ctx).map_or(PageOutcome::Pending, PageOutcome::Paid),
        CompletionReason::Stored => stored_details(ctx).map_or(PageOutcome::Pending, PageOutcome::Stored),
        CompletionReason::Declined => last_decline(ctx).map_or(PageOutcome::Pending, PageOutcome::Declined),
        CompletionReason::ActionRequired => required_action(ctx).map_or(PageOutcome::Pending, PageOutcome::ActionRequired),
        CompletionReason::OrderExpired => PageOutcome::Refused(reply::ORDER_EXPIRED),
        CompletionReason::OrderChanged => PageOutcome::Refused(reply::ORDER_CHANGED),
        CompletionReason::OrderRefused => PageOutcome::Refused(reply::ORDER_REFUSED),
        CompletionReason::TooManyAttempts => PageOutcome::Refused(reply::TOO_MANY_ATTEMPTS),
        CompletionReason::NothingPending => PageOutcome::Refused(reply::NOTHING_PENDING),
        _ => PageOutcome::Refused(parked_error(ctx)),
    }
}

fn parked_error(ctx: &ObligationContext<'_>) -> ApiError {
    let last = ctx.session.obligation.attempts.last().and_then(|attempt| attempt.finish.as_ref());
    if matches!(last, Some(Finish::Parked { reason, .. }) if reason == ParkReason::TokenMissing.as_str()) {
        return reply::PAID_WITHOUT_DETAILS;
    }
    if ctx.session.obligation.is_blocked() { reply::UNDER_REVIEW } else { reply::GATEWAY_UNSUPPORTED }
}

/// What a flow that cannot be completed now came to. An error of the gateway only if it is known that nothing happened there.
fn retry_outcome(ctx: &ObligationContext<'_>, reason: RetryReason) -> PageOutcome {
    let error = match reason {
        RetryReason::AnotherPayment => return PageOutcome::Refused(reply::EARLIER_ATTEMPT),
        RetryReason::TokenPending if ctx.current_attempt().is_some_and(|attempt| attempt.kind == AttemptKind::Purchase) => {
            return PageOutcome::AwaitingDetails;
        }
        RetryReason::JournalUnavailable
        | RetryReason::JournalRefused
        | RetryReason::JournalCorrupt
        | RetryReason::JournalUnknown
        | RetryReason::JournalNewerSchema
        | RetryReason::GatewayNotConfigured => return PageOutcome::Refused(reply::UNAVAILABLE),
        RetryReason::GatewayMalformed => reply::GATEWAY_REFUSED_REQUEST,
        RetryReason::GatewayCredentials | RetryReason::GatewayThrottled | RetryReason::GatewayUnreachable => reply::GATEWAY_UNAVAILABLE,
        _ => return PageOutcome::Pending,
    };
    if had_no_effect(ctx) { PageOutcome::Refused(error) } else { PageOutcome::Pending }
}

/// Whether the gateway was asked and did nothing.
fn had_no_effect(ctx: &ObligationContext<'_>) -> bool {
    let any_call = |has_status: fn(&StepStatus) -> bool| {
        let steps = ctx.current_attempt().into_iter().flat_map(|attempt| attempt.steps.iter());
        steps.filter(|step| step.name == START || FINALIZE_STEPS.contains(&step.name.as_str())).any(|step| has_status(&step.state))
    };
    any_call(|status| matches!(status, StepStatus::NoEffect)) && !any_call(|status| matches!(status, StepStatus::Started))
}

fn required_action(ctx: &ObligationContext<'_>) -> Option<Value> {
    match read_progress(ctx).ok()? {
        Progress::AwaitingCustomer { action, .. } => Some(action),
        _ => None,
    }
}

fn last_decline(ctx: &ObligationContext<'_>) -> Option<Decline> {
    ctx.session.obligation.attempts.iter().rev().find_map(decline_of)
}

/// The payment as Cleeng has it (Cleeng, "Finalize initial payment": `{captured_payment}`).
fn captured_payment(ctx: &ObligationContext<'_>) -> Option<Value> {
    let is_captured = |attempt: &&Attempt| attempt.finish == Some(Finish::Captured);
    let attempt = ctx.session.obligation.attempts.iter().find(is_captured)?;
    let payment = ctx.payment(attempt.reference.as_ref()?)?;
    Some(payment_json(payment, snapshot_of(attempt)?))
}

/// Of the members that the SDK's type has, those that are known here.
fn payment_json(payment: &PaymentRecord, snapshot: Snapshot) -> Value {
    json!({
        "id": payment.cleeng_payment.as_ref().map(Id::to_json_number),
        "orderId": payment.order.as_ref().map(Id::to_json_number),
        "status": "captured",
        "totalAmount": serde_json::from_str::<Value>(&payment.amount.to_decimal()).unwrap_or(Value::Null),
        "currency": payment.amount.currency.as_str(),
        "customerId": payment.customer.to_json_number(),
        "paymentGateway": payment.gateway.as_str(),
        "paymentMethod": snapshot.method_name,
        "paymentMethodId": snapshot.method.to_json_number(),
        "offerId": snapshot.offer,
        "externalPaymentId": payment.external_payment_id,
        "paymentOperation": "initial-payment",
        "rejectedReason": null,
        "refundedReason": null,
    })
}

/// The payment details as Cleeng has them (Cleeng, "Add payment details": `{paymentDetails}`), without the token.
fn stored_details(ctx: &ObligationContext<'_>) -> Option<Value> {
    let attempt = ctx.session.obligation.attempts.iter().rev().find(|attempt| attempt.finish == Some(Finish::Stored))?;
    match &attempt.step(REPORT)?.state {
        StepStatus::Done(details) => Some(details.clone()),
        StepStatus::Started | StepStatus::NoEffect => None,
    }
}
