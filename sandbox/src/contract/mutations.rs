//! Answers that arrive changed: each field removed, or set to another type or an unknown value. Whatever comes of them, it must not be a
//! wrong decision about money: either unknown, or what the ledger says.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::gateway::{DeclineClass, InquiryRequest, MerchantInitiated, Operation, OperationKind, Outcome, StoredToken, UnknownCause};
use serde_json::{Value, json};

use super::modifications::{plain_cancel, whole_refund};
use super::{
    Answered, Checked, Chooser, GatewayUnderTest, LedgerEntry, Make, Question, Violation, authorise, capture_of, captured, describe,
    done_or_received, ensure, ensure_unknown, payment,
};
use crate::peer::Fault;

/// One step into a JSON document.
#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Item(usize),
}

/// One change of an answer.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Set(Value),
}

fn changes(old: &Value) -> Vec<Change> {
    let mut changes = vec![Change::Remove];
    let texts = ["", "no such value", "no-such-value", "../../no/such"].map(Value::from);
    let others = [json!(null), json!(true), json!(17), json!(-1), json!([]), json!({}), json!([old])];
    changes.extend(texts.into_iter().chain(others).filter(|other| other != old).map(Change::Set));
    if let Some(number) = old.as_i64() {
        changes.push(Change::Set(json!(number.saturating_add(1))));
        changes.push(Change::Set(json!(number.to_string())));
    }
    changes
}

/// Every place in a document, with what stands there.
fn places(value: &Value, here: &[Step], found: &mut Vec<(Vec<Step>, Value)>) {
    let mut go = |step: Step, value: &Value| {
        let path: Vec<_> = here.iter().cloned().chain([step]).collect();
        found.push((path.clone(), value.clone()));
        places(value, &path, found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| go(Step::Field(name.clone()), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| go(Step::Item(index), value)),
        _ => {}
    }
}

fn apply(document: &mut Value, path: &[Step], change: &Change) {
    let Some((step, rest)) = path.split_first() else { return };
    if !rest.is_empty() {
        let inner = match step {
            Step::Field(name) => document.get_mut(name),
            Step::Item(index) => document.get_mut(index),
        };
        return inner.into_iter().for_each(|inner| apply(inner, rest, change));
    }
    match (step, change, document) {
        (Step::Field(name), Change::Remove, Value::Object(fields)) => drop(fields.remove(name)),
        (Step::Field(name), Change::Set(value), Value::Object(fields)) => drop(fields.insert(name.clone(), value.clone())),
        (Step::Item(index), Change::Remove, Value::Array(items)) if *index < items.len() => drop(items.remove(*index)),
        (Step::Item(index), Change::Set(value), Value::Array(items)) => {
            items.get_mut(*index).into_iter().for_each(|item| *item = value.clone())
        }
        _ => {}
    }
}

/// An operation whose answers are changed, and how to judge what the adapter made of one.
#[async_trait]
pub(super) trait Scene: Sync {
    /// What has to be there first.
    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, Violation>;
    /// The operation.
    async fn act(&self, world: &dyn GatewayUnderTest, prepared: Option<&LedgerEntry>) -> Result<Answered, Violation>;
    /// Whether the ledger says that it happened.
    fn happened(&self, entry: &LedgerEntry) -> bool;
    /// Picks the call whose answer is changed.
    fn chooser(&self, world: &dyn GatewayUnderTest) -> Chooser {
        world.writes()
    }
}

/// Runs a scene with every change of its answer.
pub(super) async fn play(make: Make, scene: &dyn Scene) -> Checked {
    let pristine = record(make, scene).await?;
    let mut found = Vec::new();
    places(&pristine, &[], &mut found);
    ensure(found.len() >= 3, "there is hardly an answer to change")?;
    for (path, old) in found {
        for change in changes(&old) {
            let world = make();
            let prepared = scene.prepare(world.as_ref()).await?;
            let (place, altered) = (path.clone(), change.clone());
            world.road().lay(Fault::Mutate(Arc::new(move |body| apply(body, &place, &altered))), scene.chooser(world.as_ref()));
            let answered = scene.act(world.as_ref(), prepared.as_ref()).await?;
            world.process();
            let context = |broken: Violation| Violation(format!("{path:?} {change:?}: {broken}"));
            judge(world.as_ref(), scene, prepared.as_ref(), &answered).map_err(context)?;
            if matches!(answered, Ok(Outcome::Unknown(_))) {
                let settled = scene.act(world.as_ref(), prepared.as_ref()).await?;
                world.process();
                ensure(!matches!(settled, Ok(Outcome::Unknown(_))), "the same key does not settle it").map_err(context)?;
                judge(world.as_ref(), scene, prepared.as_ref(), &settled).map_err(context)?;
            }
        }
    }
    Ok(())
}

/// The answer as the gateway gives it.
async fn record(make: Make, scene: &dyn Scene) -> Result<Value, Violation> {
    let world = make();
    let prepared = scene.prepare(world.as_ref()).await?;
    let seen = Arc::new(Mutex::new(Value::Null));
    let seen_on_the_road = Arc::clone(&seen);
    let fault = Fault::Mutate(Arc::new(move |body| *seen_on_the_road.lock().unwrap_or_else(PoisonError::into_inner) = body.clone()));
    world.road().lay(fault, scene.chooser(world.as_ref()));
    let answered = scene.act(world.as_ref(), prepared.as_ref()).await?;
    ensure(!matches!(answered, Ok(Outcome::Unknown(_))), "an unchanged answer is unknown")?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(seen)
}

/// Holds an answer against the ledger.
fn judge(world: &dyn GatewayUnderTest, scene: &dyn Scene, prepared: Option<&LedgerEntry>, answered: &Answered) -> Checked {
    let entries: Vec<_> = world.ledger().into_iter().filter(|entry| entry.authorised).collect();
    ensure(entries.len() <= 1, "there are two payments")?;
    let entry = entries.first();
    let happened = entry.is_some_and(|entry| scene.happened(entry));
    match answered {
        Ok(Outcome::Unknown(_)) => Ok(()),
        Ok(Outcome::Done(operation) | Outcome::Received(operation)) => {
            ensure(happened, format!("{} although it did not happen", describe(answered)))?;
            judge_operation(operation, entry, prepared)
        }
        other => ensure(!happened, format!("{} although it happened", describe(other))),
    }
}

fn judge_operation(operation: &Operation, entry: Option<&LedgerEntry>, prepared: Option<&LedgerEntry>) -> Checked {
    let Some(entry) = entry else { return Err(Violation("there is no payment".to_owned())) };
    let known = [Some(entry), prepared].into_iter().flatten().map(|entry| &entry.external_payment_id).collect::<Vec<_>>();
    ensure(operation.external_payment_id.as_ref().is_some_and(|id| known.contains(&id)), "the payment's id is wrong or missing")?;
    ensure(operation.amount.is_none_or(|amount| amount == entry.amount), "the amount is wrong")
}

struct Paying {
    declined: bool,
    charging: bool,
}

impl Paying {
    fn token(&self, world: &dyn GatewayUnderTest) -> Result<StoredToken, Violation> {
        let none = || Violation("there are no details that decline softly".to_owned());
        if self.declined { world.declining_token(DeclineClass::Soft).ok_or_else(none) } else { Ok(world.working_token()) }
    }
}

#[async_trait]
impl Scene for Paying {
    async fn prepare(&self, _world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, Violation> {
        Ok(None)
    }

    async fn act(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<Answered, Violation> {
        let request = payment(world, self.token(world)?, 1);
        Ok(if self.charging { world.gateway().charge(&request).await } else { world.gateway().authorise(&request).await })
    }

    fn happened(&self, entry: &LedgerEntry) -> bool {
        entry.authorised && (!self.charging || entry.captured == entry.amount)
    }
}

/// What is done to a payment that is there.
enum Modifying {
    Capture,
    Cancel,
    Refund,
}

#[async_trait]
impl Scene for Modifying {
    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, Violation> {
        match self {
            Self::Capture | Self::Cancel => authorise(world, 1).await.map(Some),
            Self::Refund => captured(world, 1).await.map(Some),
        }
    }

    async fn act(&self, world: &dyn GatewayUnderTest, prepared: Option<&LedgerEntry>) -> Result<Answered, Violation> {
        let Some(entry) = prepared else { return Err(Violation("nothing is prepared".to_owned())) };
        Ok(match self {
            Self::Capture => world.gateway().capture(&capture_of(entry, 1)?).await,
            Self::Cancel => world.gateway().cancel(&plain_cancel(entry)?).await,
            Self::Refund => world.gateway().refund(&whole_refund(entry)).await,
        })
    }

    fn happened(&self, entry: &LedgerEntry) -> bool {
        match self {
            Self::Capture => entry.captured == entry.amount,
            Self::Cancel => entry.released(),
            Self::Refund => entry.refunded == entry.captured,
        }
    }
}

/// A payment whose answer was lost is asked about.
struct Asking {
    question: Question,
}

fn lost(world: &dyn GatewayUnderTest) -> MerchantInitiated {
    payment(world, world.working_token(), 1)
}

#[async_trait]
impl Scene for Asking {
    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, Violation> {
        world.road().lay(Fault::TimeoutAfter, world.writes());
        ensure_unknown(&world.gateway().authorise(&lost(world)).await)?;
        if self.question.caught_up {
            world.let_reads_catch_up();
        }
        Ok(None)
    }

    async fn act(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<Answered, Violation> {
        let request = lost(world);
        let question = InquiryRequest {
            operation: OperationKind::Authorise,
            key: request.key,
            reference: request.reference,
            external_payment_id: None,
            amount: Some(request.amount),
        };
        // Nothing is no answer, and no wrong one.
        let answered = world.gateway().inquire(&question).await;
        Ok(answered.map(|outcome| outcome.unwrap_or(Outcome::Unknown(UnknownCause::Unreadable))))
    }

    fn happened(&self, entry: &LedgerEntry) -> bool {
        entry.authorised
    }

    fn chooser(&self, _world: &dyn GatewayUnderTest) -> Chooser {
        self.question.picks
    }
}

/// Every change of every answer that an inquiry rests on.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_inquiry(make: Make) -> Checked {
    for question in make().questions() {
        play(make, &Asking { question }).await?;
    }
    Ok(())
}

/// Every change of the answer to an authorisation.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn a_mutated_answer_never_makes_a_wrong_authorisation(make: Make) -> Checked {
    play(make, &Paying { declined: false, charging: false }).await
}

/// Every change of the answer to a charge.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_charge(make: Make) -> Checked {
    play(make, &Paying { declined: false, charging: true }).await
}

/// Every change of a decline.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_decline_never_makes_a_payment(make: Make) -> Checked {
    play(make, &Paying { declined: true, charging: false }).await?;
    play(make, &Paying { declined: true, charging: true }).await
}

/// Every change of the answer to a capture.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_capture(make: Make) -> Checked {
    play(make, &Modifying::Capture).await
}

/// Every change of the answer to a cancel.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_cancel(make: Make) -> Checked {
    play(make, &Modifying::Cancel).await
}

/// Every change of the answer to a refund, and one that is right.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_refund(make: Make) -> Checked {
    play(make, &Modifying::Refund).await?;
    let world = make();
    let entry = captured(world.as_ref(), 1).await?;
    done_or_received(world.gateway().refund(&whole_refund(&entry)).await).map(|_| ())
}
