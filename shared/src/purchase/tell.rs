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

/// What the customer is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The order is paid; the payment as Cleeng has it.
    Paid(Value),
    /// The details are stored, as Cleeng has them.
    Stored(Value),
    /// He has to do this first.
    Action(Value),
    /// It is not known yet; asking again finds it out.
    Pending,
    /// The bank, the scheme or the gateway said no.
    Declined(Decline),
    /// Anything else.
    Refused(Refusal),
}

impl Told {
    /// The answer to a page that waits for it.
    #[must_use]
    pub fn reply(self, gateway: GatewayName) -> Reply {
        match self {
            Self::Paid(payment) => Reply::ok(json!({ "payment": payment })),
            Self::Stored(details) => Reply::ok(json!({ "paymentDetails": details })),
            Self::Action(action) => Reply::ok(json!({ "action": action })),
            Self::Pending => Reply::pending(),
            Self::Declined(decline) => Reply::declined(gateway, &decline),
            Self::Refused(refusal) => refusal.reply(Some(gateway)),
        }
    }
}

/// What one try of a request came to.
pub enum Turned {
    /// An answer.
    Told(Told),
    /// Another request is at the same thing.
    Busy,
}

/// Tries until no other request is at the same thing: the second click is told what the first one came to.
pub async fn patiently<F>(desk: &Desk, mut once: impl FnMut() -> F + Send) -> Told
where
    F: Future<Output = Turned> + Send,
{
    for _ in 0..MOMENTS {
        if let Turned::Told(told) = once().await {
            return told;
        }
        let patience: &dyn Patience = desk.patience.as_ref();
        patience.wait(MOMENT).await;
    }
    Told::Pending
}

/// What is told where the obligation could not even be read.
#[must_use]
pub fn unopened(verdict: &Verdict) -> Turned {
    if is_busy(verdict) { Turned::Busy } else { Turned::Told(Told::Refused(reply::UNAVAILABLE)) }
}

fn is_busy(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Later { reason: "leased" | "journal_contended", .. })
}

/// What is told where a story ended.
#[must_use]
pub fn tell(case: &Case<'_>, verdict: &Verdict) -> Turned {
    if is_busy(verdict) {
        return Turned::Busy;
    }
    Turned::Told(match verdict {
        Verdict::Settled("captured") => payment(case).map_or(Told::Pending, Told::Paid),
        Verdict::Settled("stored") => stored(case).map_or(Told::Pending, Told::Stored),
        Verdict::Settled("declined") => declined(case).map_or(Told::Pending, Told::Declined),
        Verdict::Settled("action") => action(case).map_or(Told::Pending, Told::Action),
        Verdict::Settled("order_expired") => Told::Refused(reply::ORDER_EXPIRED),
        Verdict::Settled("order_changed") => Told::Refused(reply::ORDER_CHANGED),
        Verdict::Settled("too_many_attempts") => Told::Refused(reply::TOO_MANY_ATTEMPTS),
        Verdict::Settled("nothing_waits") => Told::Refused(reply::NOTHING_WAITS),
        Verdict::Settled("earlier_attempt") => Told::Refused(reply::EARLIER_ATTEMPT),
        Verdict::Settled(_) | Verdict::Parked(_) | Verdict::NotOurs => Told::Refused(parked(case)),
        Verdict::Later { reason, .. } => later(case, reason),
    })
}

fn parked(case: &Case<'_>) -> Refusal {
    if case.run.obligation.is_blocked() { reply::NEEDS_OPERATOR } else { reply::GATEWAY_CANNOT }
}

/// Not now: an error only where it is known that nothing happened.
fn later(case: &Case<'_>, reason: &str) -> Told {
    if reason == ANOTHER_PAYMENT {
        return Told::Refused(reply::EARLIER_ATTEMPT);
    }
    if reason.starts_with("journal_") || reason == "gateway_not_configured" {
        return Told::Refused(reply::UNAVAILABLE);
    }
    // The gateway was asked and did nothing; whatever came after that would have another reason.
    let open = |state: fn(&StepState) -> bool| {
        let steps = case.attempt().into_iter().flat_map(|attempt| attempt.steps.iter());
        steps.filter(|step| step.name == START || ROUNDS.contains(&step.name.as_str())).any(|step| state(&step.state))
    };
    if open(|state| matches!(state, StepState::Begun)) || !open(|state| matches!(state, StepState::Refused)) {
        return Told::Pending;
    }
    match reason {
        "gateway_malformed" => Told::Refused(reply::GATEWAY_REFUSED_REQUEST),
        _ if reason.starts_with("gateway_") => Told::Refused(reply::GATEWAY_UNAVAILABLE),
        _ => Told::Pending,
    }
}

fn action(case: &Case<'_>) -> Option<Value> {
    match position(case).ok()? {
        Position::Waiting { action, .. } => Some(action),
        _ => None,
    }
}

fn declined(case: &Case<'_>) -> Option<Decline> {
    case.run.obligation.attempts.iter().rev().find_map(decline_of)
}

/// The refusal of an attempt, if it ended with one.
#[must_use]
pub fn decline_of(attempt: &Attempt) -> Option<Decline> {
    match &attempt.finish {
        Some(Finish::Declined { class, code }) => Some(Decline::new(*class, code.as_str())),
        _ => None,
    }
}

/// The payment as Cleeng has it (Cleeng, "Finalize initial payment": `{payment}`).
fn payment(case: &Case<'_>) -> Option<Value> {
    let captured = |attempt: &&Attempt| attempt.finish == Some(Finish::Captured);
    let attempt = case.run.obligation.attempts.iter().find(captured)?;
    let payment = case.payment(attempt.reference.as_ref()?)?;
    Some(show(payment))
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
fn stored(case: &Case<'_>) -> Option<Value> {
    let attempt = case.run.obligation.attempts.iter().rev().find(|attempt| attempt.finish == Some(Finish::Stored))?;
    let step = attempt.step(super::facts::REPORT)?;
    match &step.state {
        StepState::Done(details) => Some(details.clone()),
        StepState::Begun | StepState::Refused => None,
    }
}
