//! From the state of the obligation to the answer for the page. Whoever asks gets what is recorded, so that every tab is told the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::attempts::decline_of;
use super::progress::{Progress, read_progress};
use super::snapshot::{FINALIZE_STEPS, START};
use crate::flow::Disposition;
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{FrontendContext, Sleeper};
use crate::gateway::{Decline, GatewayName};
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, Finish, StepStatus};
use crate::payments::obligation_context::ObligationContext;
use crate::reason::{CompletionReason, RetryReason};

/// How long another request that is at the same thing is waited for, in moments.
const BUSY_RETRIES: u32 = 40;
const BUSY_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// What the customer is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum PageOutcome {
    /// The order is paid; the payment as Cleeng has it.
    Paid(Value),
    /// The details are stored, as Cleeng has them.
    Stored(Value),
    /// He has to do this first.
    ActionRequired(Value),
    /// It is not known yet; asking again finds it out.
    Pending,
    /// The bank, the scheme or the gateway said no.
    Declined(Decline),
    /// Anything else.
    Refused(ApiError),
}

impl PageOutcome {
    /// The answer to a page that waits for it.
    #[must_use]
    pub fn reply(self, gateway: GatewayName) -> Reply {
        match self {
            Self::Paid(payment) => Reply::ok(json!({ "payment": payment })),
            Self::Stored(details) => Reply::ok(json!({ "paymentDetails": details })),
            Self::ActionRequired(action) => Reply::ok(json!({ "action": action })),
            Self::Pending => Reply::pending(),
            Self::Declined(decline) => Reply::declined(gateway, &decline),
            Self::Refused(refusal) => refusal.reply(Some(gateway)),
        }
    }
}

/// What one try of a request came to.
pub enum TryOutcome {
    /// An answer.
    Answered(PageOutcome),
    /// Another request is at the same thing.
    Busy,
}

/// Tries until no other request is at the same thing: the second click is told what the first one came to.
pub async fn retry_while_busy<F>(desk: &FrontendContext, mut once: impl FnMut() -> F + Send) -> PageOutcome
where
    F: Future<Output = TryOutcome> + Send,
{
    for _ in 0..BUSY_RETRIES {
        if let TryOutcome::Answered(told) = once().await {
            return told;
        }
        let patience: &dyn Sleeper = desk.sleeper.as_ref();
        patience.sleep(BUSY_RETRY_INTERVAL).await;
    }
    PageOutcome::Pending
}

/// What is told where the obligation could not even be read.
#[must_use]
pub fn outcome_without_obligation(disposition: &Disposition) -> TryOutcome {
    if is_busy(disposition) { TryOutcome::Busy } else { TryOutcome::Answered(PageOutcome::Refused(reply::UNAVAILABLE)) }
}

fn is_busy(disposition: &Disposition) -> bool {
    matches!(disposition, Disposition::Retry { reason: RetryReason::Leased | RetryReason::JournalContended, .. })
}

/// What is told where a story ended.
#[must_use]
pub fn page_outcome(case: &ObligationContext<'_>, disposition: &Disposition) -> TryOutcome {
    if is_busy(disposition) {
        return TryOutcome::Busy;
    }
    TryOutcome::Answered(match disposition {
        Disposition::Completed(CompletionReason::Captured) => captured_payment(case).map_or(PageOutcome::Pending, PageOutcome::Paid),
        Disposition::Completed(CompletionReason::Stored) => stored_details(case).map_or(PageOutcome::Pending, PageOutcome::Stored),
        Disposition::Completed(CompletionReason::Declined) => last_decline(case).map_or(PageOutcome::Pending, PageOutcome::Declined),
        Disposition::Completed(CompletionReason::ActionRequired) => {
            required_action(case).map_or(PageOutcome::Pending, PageOutcome::ActionRequired)
        }
        Disposition::Completed(CompletionReason::OrderExpired) => PageOutcome::Refused(reply::ORDER_EXPIRED),
        Disposition::Completed(CompletionReason::OrderChanged) => PageOutcome::Refused(reply::ORDER_CHANGED),
        Disposition::Completed(CompletionReason::TooManyAttempts) => PageOutcome::Refused(reply::TOO_MANY_ATTEMPTS),
        Disposition::Completed(CompletionReason::NothingPending) => PageOutcome::Refused(reply::NOTHING_PENDING),
        Disposition::Completed(_) | Disposition::Parked(_) | Disposition::NotOurs => PageOutcome::Refused(parked_error(case)),
        Disposition::Retry { reason, .. } => retry_outcome(case, *reason),
    })
}

fn parked_error(case: &ObligationContext<'_>) -> ApiError {
    if case.session.obligation.is_blocked() { reply::UNDER_REVIEW } else { reply::GATEWAY_UNSUPPORTED }
}

/// Not now: an error only where it is known that nothing happened.
fn retry_outcome(case: &ObligationContext<'_>, reason: RetryReason) -> PageOutcome {
    use RetryReason as R;
    let at_gateway = match reason {
        R::AnotherPayment => return PageOutcome::Refused(reply::EARLIER_ATTEMPT),
        R::JournalUnavailable
        | R::JournalRefused
        | R::JournalCorrupt
        | R::JournalUnknown
        | R::JournalNewerSchema
        | R::GatewayNotConfigured => {
            return PageOutcome::Refused(reply::UNAVAILABLE);
        }
        R::GatewayMalformed => reply::GATEWAY_REFUSED_REQUEST,
        R::GatewayCredentials | R::GatewayThrottled | R::GatewayUnreachable => reply::GATEWAY_UNAVAILABLE,
        _ => return PageOutcome::Pending,
    };
    // The gateway was asked and did nothing; whatever came after that would have another reason.
    let open = |state: fn(&StepStatus) -> bool| {
        let steps = case.current_attempt().into_iter().flat_map(|attempt| attempt.steps.iter());
        steps.filter(|step| step.name == START || FINALIZE_STEPS.contains(&step.name.as_str())).any(|step| state(&step.state))
    };
    if open(|state| matches!(state, StepStatus::Started)) || !open(|state| matches!(state, StepStatus::NoEffect)) {
        return PageOutcome::Pending;
    }
    PageOutcome::Refused(at_gateway)
}

fn required_action(case: &ObligationContext<'_>) -> Option<Value> {
    match read_progress(case).ok()? {
        Progress::AwaitingCustomer { action, .. } => Some(action),
        _ => None,
    }
}

fn last_decline(case: &ObligationContext<'_>) -> Option<Decline> {
    case.session.obligation.attempts.iter().rev().find_map(decline_of)
}

/// The payment as Cleeng has it (Cleeng, "Finalize initial payment": `{captured_payment}`).
fn captured_payment(case: &ObligationContext<'_>) -> Option<Value> {
    let captured = |attempt: &&Attempt| attempt.finish == Some(Finish::Captured);
    let attempt = case.session.obligation.attempts.iter().find(captured)?;
    let payment = case.payment(attempt.reference.as_ref()?)?;
    Some(payment_json(payment))
}

fn payment_json(payment: &PaymentRecord) -> Value {
    let number = |id: Option<Value>| id.unwrap_or(Value::Null);
    json!({
        "id": number(payment.cleeng_payment.as_ref().map(crate::ids::Id::to_json_number)),
        "orderId": number(payment.order.as_ref().map(crate::ids::Id::to_json_number)),
        "status": "captured",
        "totalAmount": serde_json::from_str::<Value>(&payment.amount.to_decimal()).unwrap_or(Value::Null),
        "currency": payment.amount.currency.as_str(),
        "customerId": payment.customer.to_json_number(),
        "paymentGateway": payment.gateway.as_str(),
        "externalPaymentId": payment.external_payment_id,
        "paymentOperation": "initial-payment",
        "rejectedReason": null,
    })
}

/// The payment details as Cleeng has them (Cleeng, "Add payment details": `{paymentDetails}`), without the token.
fn stored_details(case: &ObligationContext<'_>) -> Option<Value> {
    let attempt = case.session.obligation.attempts.iter().rev().find(|attempt| attempt.finish == Some(Finish::Stored))?;
    let step = attempt.step(super::snapshot::REPORT)?;
    match &step.state {
        StepStatus::Done(details) => Some(details.clone()),
        StepStatus::Started | StepStatus::NoEffect => None,
    }
}
