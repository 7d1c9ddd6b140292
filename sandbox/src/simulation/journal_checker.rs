//! Reads every document that the journal takes, and finds what must never be written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector::clock::Timestamp;
use connector::journal::payment::refunds::RefundState;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{Finish, Obligation};
use connector::journal::store::{Key, Put};

use super::context::SimulationContext;

/// What the journal holds, as far as it was written. Clones are the same one.
#[derive(Clone, Default)]
pub struct JournalChecker(Arc<Mutex<BTreeMap<Key, WrittenDocument>>>);

struct WrittenDocument {
    version: u64,
    content: DocumentContent,
    due_at: Option<Timestamp>,
    body: String,
}

enum DocumentContent {
    Payment(Box<PaymentRecord>),
    Obligation(Box<Obligation>),
    Other,
}

impl DocumentContent {
    fn parse(body: &str, key: &Key) -> Result<Self, String> {
        let unreadable = |error: serde_json::Error| format!("{key} was written and cannot be read: {error}");
        if key.as_str().starts_with("payment#") {
            return serde_json::from_str(body).map(|record| Self::Payment(Box::new(record))).map_err(unreadable);
        }
        if body.contains("\"attempts\"") {
            return serde_json::from_str(body).map(|one| Self::Obligation(Box::new(one))).map_err(unreadable);
        }
        Ok(Self::Other)
    }
}

/// An obligation that somebody still has to do something about.
pub struct UnsettledObligation {
    /// Its key.
    pub key: Key,
    /// Its document.
    pub body: String,
    /// Whether an operator has it.
    pub parked: bool,
}

impl JournalChecker {
    /// The journal took these documents.
    pub(super) fn check_commit(&self, puts: &[Put], context: &SimulationContext) {
        let mut documents = self.lock();
        for put in puts {
            let before = documents.get(&put.key);
            if before.is_some_and(|before| put.expected_version != Some(before.version)) && put.expected_version.is_some() {
                context.report_violation(format!("{} was written over another version than the one that was there", put.key));
            }
            let content = match DocumentContent::parse(&put.body, &put.key) {
                Ok(content) => content,
                Err(why) => {
                    context.report_violation(why);
                    DocumentContent::Other
                }
            };
            let wrong = match (&content, before.map(|before| &before.content)) {
                (DocumentContent::Payment(now), Some(DocumentContent::Payment(before))) => check_payment(now, Some(before)),
                (DocumentContent::Payment(now), _) => check_payment(now, None),
                (DocumentContent::Obligation(now), Some(DocumentContent::Obligation(before))) => check_obligation(now, Some(before)),
                (DocumentContent::Obligation(now), _) => check_obligation(now, None),
                _ => Vec::new(),
            };
            for why in wrong {
                context.report_violation(format!("{}: {why}", put.key));
            }
            let version = put.expected_version.map_or(1, |version| version.saturating_add(1));
            documents.insert(put.key.clone(), WrittenDocument { version, content, due_at: put.due_at, body: put.body.clone() });
        }
    }

    /// When somebody has to look at the journal next.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.lock().values().filter_map(|document| document.due_at).min()
    }

    /// Every obligation that is open or parked, or has left something over.
    #[must_use]
    pub fn unsettled_obligations(&self) -> Vec<UnsettledObligation> {
        let documents = self.lock();
        let of = |(key, document): (&Key, &WrittenDocument)| match &document.content {
            DocumentContent::Obligation(one) => {
                let parked = one.attempts.iter().any(|attempt| matches!(attempt.finish, Some(Finish::Parked { .. })));
                let open = !one.is_settled();
                (parked || open).then(|| UnsettledObligation { key: key.clone(), body: document.body.clone(), parked: parked && !open })
            }
            _ => None,
        };
        documents.iter().filter_map(of).collect()
    }

    /// The record of the payment with this reference.
    #[must_use]
    pub fn payment(&self, reference: &str) -> Option<PaymentRecord> {
        match &self.lock().get(&Key::new("payment", &[reference]))?.content {
            DocumentContent::Payment(record) => Some(record.as_ref().clone()),
            _ => None,
        }
    }

    /// The obligation that the payment with this reference belongs to.
    #[must_use]
    pub fn obligation_of(&self, reference: &str) -> Option<String> {
        self.payment(reference).map(|record| record.obligation)
    }

    /// Whether the gateway said of the payment with this reference that it could not do what it had taken, and an operator was called for it.
    #[must_use]
    pub fn has_failed_operation(&self, reference: &str, context: &SimulationContext) -> bool {
        let Some(record) = self.payment(reference) else { return false };
        let came_back = |from: PaymentState| {
            let steps = record.history.iter().zip(record.history.iter().skip(1));
            steps.map(|((_, one), (_, other))| (*one, *other)).any(|step| step == (from, PaymentState::Authorised))
        };
        let capture = record.reached_at(PaymentState::CaptureFailed).is_some() || came_back(PaymentState::Capturing);
        let refund = record.refunds.iter().any(|part| part.state == RefundState::Failed);
        // A refused capture is reported to Cleeng as a decline.
        capture
            || (came_back(PaymentState::Cancelling) && context.has_alarm("cancel_failed"))
            || (refund && (context.has_alarm("refund_failed_later") || context.has_alarm("refund_failed")))
    }

    /// Whether some document names this.
    #[must_use]
    pub fn mentions(&self, what: &str) -> bool {
        self.lock().iter().any(|(key, document)| key.as_str().contains(what) || document.body.contains(what))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, WrittenDocument>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_payment(now: &PaymentRecord, before: Option<&PaymentRecord>) -> Vec<String> {
    let mut wrong = Vec::new();
    let steps = now.history.iter().zip(now.history.iter().skip(1));
    for ((_, from), (_, to)) in steps {
        if !from.can_transition_to(*to) {
            wrong.push(format!("a payment went from {} to {}", from.as_str(), to.as_str()));
        }
    }
    if now.history.last().is_none_or(|(_, last)| *last != now.state) {
        wrong.push(format!("the history of a payment does not end with {}", now.state.as_str()));
    }
    if let Some(before) = before {
        let capped = now.history.len() < before.history.len() || now.history.first() != before.history.first();
        if !capped && !now.history.starts_with(&before.history) {
            wrong.push("the history of a payment was rewritten".to_owned());
        }
        // Until it is asked for, a payment follows its latest order.
        let repriced = now.amount != before.amount && before.state != PaymentState::Starting;
        if repriced || now.reference != before.reference || now.obligation != before.obligation {
            wrong.push("the identity of a payment changed".to_owned());
        }
    }
    if now.captured.minor > now.amount.minor {
        wrong.push(format!("{} of {} captured", now.captured, now.amount));
    }
    // Where a capture fails after a part was given back, the refund fails after it, or an operator has both.
    if now.refunded.minor > now.captured.minor && now.state != PaymentState::CaptureFailed {
        wrong.push(format!("{} of {} refunded", now.refunded, now.captured));
    }
    wrong
}

fn check_obligation(now: &Obligation, before: Option<&Obligation>) -> Vec<String> {
    let mut wrong = Vec::new();
    let open = now.attempts.iter().filter(|attempt| attempt.finish.is_none()).count();
    if open > 1 || (open == 1 && now.current_attempt().is_none()) {
        wrong.push(format!("{open} attempts are open at once"));
    }
    let Some(before) = before else { return wrong };
    let finished = before.attempts.iter().filter(|attempt| attempt.finish.is_some());
    for old in finished {
        let same = now.attempts.iter().find(|new| new.kind == old.kind && new.due == old.due && new.opened_at == old.opened_at);
        // One that is gone was forgotten for its age.
        if let Some(new) = same
            && new.finish.is_none()
        {
            wrong.push(format!("an attempt that was {} is open again", old.finish.as_ref().map_or("", Finish::as_str)));
        }
    }
    wrong
}
