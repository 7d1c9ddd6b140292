//! From the state of the obligation to the answer for the page. Whoever asks gets what is recorded, so that every tab is told the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::facts::{ROUNDS, START};
use super::position::{Position, position};
use crate::billing::case::Case;
use crate::billing::gateway_step::ANOTHER_PAYMENT;
use crate::flow::Verdict;
use crate::front::reply::{self, Refusal, Reply};
use crate::front::{Desk, Patience};
use crate::gateway::{Decline, GatewayName};
use crate::journal::payment::PaymentRecord;
use crate::journal::record::{Attempt, Finish, StepState};

/// How long another request that is at the same thing is waited for, in moments.
const MOMENTS: u32 = 40;
const MOMENT: Duration = Duration::from_millis(250);

/// What one try of a request came to.
pub enum Turned {
    /// An answer.
    Told(Reply),
    /// Another request is at the same thing.
    Busy,
}

/// Tries until no other request is at the same thing: the second click is told what the first one came to.
pub async fn patiently<F>(desk: &Desk, mut once: impl FnMut() -> F + Send) -> Reply
where
    F: Future<Output = Turned> + Send,
{
    for _ in 0..MOMENTS {
        if let Turned::Told(reply) = once().await {
            return reply;
        }
        let patience: &dyn Patience = desk.patience.as_ref();
        patience.wait(MOMENT).await;
    }
    Reply::pending()
}

/// The answer where the obligation could not even be read.
#[must_use]
pub fn unopened(verdict: &Verdict) -> Turned {
    if is_busy(verdict) { Turned::Busy } else { Turned::Told(reply::UNAVAILABLE.reply(None)) }
}

fn is_busy(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Later { reason: "leased" | "journal_contended", .. })
}

/// The answer for where a story ended.
#[must_use]
pub fn tell(case: &Case<'_>, gateway: GatewayName, verdict: &Verdict) -> Turned {
    if is_busy(verdict) {
        return Turned::Busy;
    }
    let refused = |refusal: Refusal| refusal.reply(Some(gateway));
    Turned::Told(match verdict {
        Verdict::Settled("captured") => payment(case).unwrap_or_else(Reply::pending),
        Verdict::Settled("stored") => stored(case).unwrap_or_else(Reply::pending),
        Verdict::Settled("declined") => declined(case, gateway).unwrap_or_else(Reply::pending),
        Verdict::Settled("action") => action(case).unwrap_or_else(Reply::pending),
        Verdict::Settled("order_expired") => refused(reply::ORDER_EXPIRED),
        Verdict::Settled("order_changed") => refused(reply::ORDER_CHANGED),
        Verdict::Settled("too_many_attempts") => refused(reply::TOO_MANY_ATTEMPTS),
        Verdict::Settled("nothing_waits") => refused(reply::NOTHING_WAITS),
        Verdict::Settled("earlier_attempt") => refused(reply::EARLIER_ATTEMPT),
        Verdict::Settled(_) | Verdict::Parked(_) | Verdict::NotOurs => refused(parked(case)),
        Verdict::Later { reason, .. } => later(case, gateway, reason),
    })
}

fn parked(case: &Case<'_>) -> Refusal {
    if case.run.obligation.is_blocked() { reply::NEEDS_OPERATOR } else { reply::GATEWAY_CANNOT }
}

/// Not now: an error only where it is known that nothing happened.
fn later(case: &Case<'_>, gateway: GatewayName, reason: &str) -> Reply {
    let refused = |refusal: Refusal| refusal.reply(Some(gateway));
    if reason == ANOTHER_PAYMENT {
        return refused(reply::EARLIER_ATTEMPT);
    }
    if reason.starts_with("journal_") || reason == "gateway_not_configured" {
        return refused(reply::UNAVAILABLE);
    }
    // The gateway was asked and did nothing; whatever came after that would have another reason.
    let open = |state: fn(&StepState) -> bool| {
        let steps = case.attempt().into_iter().flat_map(|attempt| attempt.steps.iter());
        steps.filter(|step| step.name == START || ROUNDS.contains(&step.name.as_str())).any(|step| state(&step.state))
    };
    if open(|state| matches!(state, StepState::Begun)) || !open(|state| matches!(state, StepState::Refused)) {
        return Reply::pending();
    }
    match reason {
        "gateway_malformed" => refused(reply::GATEWAY_REFUSED_REQUEST),
        _ if reason.starts_with("gateway_") => refused(reply::GATEWAY_UNAVAILABLE),
        _ => Reply::pending(),
    }
}

fn action(case: &Case<'_>) -> Option<Reply> {
    match position(case).ok()? {
        Position::Waiting { action, .. } => Some(Reply::ok(json!({ "action": action }))),
        _ => None,
    }
}

fn declined(case: &Case<'_>, gateway: GatewayName) -> Option<Reply> {
    case.run.obligation.attempts.iter().rev().find_map(|attempt| match &attempt.finish {
        Some(Finish::Declined { class, code }) => Some(Reply::declined(gateway, &Decline::new(*class, code.as_str()))),
        _ => None,
    })
}

/// The payment as Cleeng has it (Cleeng, "Finalize initial payment": `{payment}`).
fn payment(case: &Case<'_>) -> Option<Reply> {
    let captured = |attempt: &&Attempt| attempt.finish == Some(Finish::Captured);
    let attempt = case.run.obligation.attempts.iter().find(captured)?;
    let payment = case.payment(attempt.reference.as_ref()?)?;
    Some(Reply::ok(json!({ "payment": show(payment) })))
}

fn show(payment: &PaymentRecord) -> Value {
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
fn stored(case: &Case<'_>) -> Option<Reply> {
    let attempt = case.run.obligation.attempts.iter().rev().find(|attempt| attempt.finish == Some(Finish::Stored))?;
    let step = attempt.step(super::facts::REPORT)?;
    match &step.state {
        StepState::Done(details) => Some(Reply::ok(json!({ "paymentDetails": details }))),
        StepState::Begun | StepState::Refused => None,
    }
}
