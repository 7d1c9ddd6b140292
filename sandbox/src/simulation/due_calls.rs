//! Whether Cleeng was asked, by the same worker and with the answer that the money is due, before a call that holds or takes it: judged by what
//! passes between the connector and the outside. A repetition under a known key asks nothing: its first call may have had its effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector::http::{Method, Request, Response};
use connector::journal::record::{Attempt, AttemptKind};
use connector::journal::store::Key;
use serde_json::Value;

use super::context::SimulationContext;
use super::journal_checker::{Intent, JournalChecker};

/// What workers were told, and the keys of the calls that were begun. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct DueCalls(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By worker: the subscriptions and orders that Cleeng showed.
    answers: BTreeMap<u64, Vec<Value>>,
    begun: BTreeSet<String>,
}

impl DueCalls {
    /// A worker is about to send this.
    pub(super) fn check_request(&self, request: &Request, checker: &JournalChecker, context: &SimulationContext) {
        // Each gateway has a header of its own for the key.
        let keys = request.headers.values().filter_map(|value| value.to_str().ok()).filter_map(|key| Some((key, checker.intent(key)?)));
        let Some((key, intent)) = keys.into_iter().find(|(_, intent)| takes_money(intent)) else { return };
        let Intent { obligation, attempt, is_repeated, .. } = intent;
        let mut state = self.lock();
        // A worker that crashed after the intent leaves an unknown outcome.
        if !state.begun.insert(key.to_owned()) || is_repeated {
            return;
        }
        let answers = state.answers.get(&context.current_worker()).map_or(&[][..], Vec::as_slice);
        if !answers.iter().any(|answer| says_due(answer, &obligation, &attempt)) {
            context.report_violation(format!("money is asked for {obligation}, and Cleeng did not say just now that it is due"));
        }
    }

    /// A worker was answered.
    pub(super) fn record_answer(&self, method: &Method, url: &str, answer: &Response, context: &SimulationContext) {
        let is_question = *method == Method::GET && (url.contains("/3.1/subscriptions/") || url.contains("/3.1/orders/"));
        if is_question
            && answer.status.is_success()
            && let Some(body) = answer.json()
        {
            self.lock().answers.entry(context.current_worker()).or_default().push(body);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a step holds or takes the money of a renewal, or of a single purchase that is captured later.
fn takes_money(intent: &Intent) -> bool {
    intent.step == "pay" || (intent.step == "capture" && intent.attempt.kind == AttemptKind::Capture)
}

/// Whether an answer of Cleeng says that the money of this obligation is due, with these details where it names any.
fn says_due(answer: &Value, obligation: &Key, attempt: &Attempt) -> bool {
    let Some((subscription, expiration)) = obligation.as_str().strip_prefix("period#").and_then(|rest| rest.split_once('#')) else {
        // A single purchase: its order was read.
        return attempt.kind == AttemptKind::Capture && answer.pointer("/order/id").or_else(|| answer.get("id")).is_some();
    };
    let text =
        |name: &str| answer.get(name).filter(|value| !value.is_null()).map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    let paid_until = answer.get("dateTo").and_then(Value::as_i64);
    let details = text("paymentDetailsId");
    text("subscriptionId").as_deref() == Some(subscription)
        && text("status").as_deref() == Some("active")
        && paid_until.is_some_and(|until| expiration.parse().is_ok_and(|expiration: i64| until <= expiration))
        && attempt.details.as_ref().is_none_or(|expected| details.is_none_or(|named| named == expected.as_str()))
}
