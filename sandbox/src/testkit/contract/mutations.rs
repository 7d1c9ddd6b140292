//! Answers that arrive changed: each field removed, or set to another type or an unknown value. The result must never be a
//! wrong decision about money: either unknown, or what the ledger says.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::gateway::{DeclineClass, InquiryRequest, MerchantInitiated, Operation, OperationKind, Outcome, StoredToken, UnknownCause};
use serde_json::{Value, json};

use crate::simulators::network::Fault;
use crate::testkit::contract::modifications::{full_refund_request, payment_cancel_request};
use crate::testkit::contract::{
    CallResult, ContractFailure, ContractResult, GatewayFactory, GatewayUnderTest, InquiryCall, LedgerEntry, RequestMatcher, authorise,
    authorise_and_capture, capture_request, describe, ensure, expect_done_or_received, expect_unknown, payment_request, report_skipped,
};

/// One step into a JSON document.
#[derive(Clone, Debug)]
enum PathSegment {
    Field(String),
    Item(usize),
}

/// One change of an answer.
#[derive(Clone, Debug)]
enum FieldChange {
    Remove,
    Set(Value),
}

fn changes_for(old: &Value) -> Vec<FieldChange> {
    let mut changes = vec![FieldChange::Remove];
    let texts = ["", "no such value", "no-such-value", "../../no/such"].map(Value::from);
    let others = [json!(null), json!(true), json!(17), json!(-1), json!([]), json!({}), json!([old])];
    changes.extend(texts.into_iter().chain(others).filter(|other| other != old).map(FieldChange::Set));
    if let Some(number) = old.as_i64() {
        changes.push(FieldChange::Set(json!(number.saturating_add(1))));
        changes.push(FieldChange::Set(json!(number.to_string())));
    }
    changes
}

/// Every place in a document, with what stands there.
fn collect_paths(value: &Value, here: &[PathSegment], found: &mut Vec<(Vec<PathSegment>, Value)>) {
    let mut go = |step: PathSegment, value: &Value| {
        let path: Vec<_> = here.iter().cloned().chain([step]).collect();
        found.push((path.clone(), value.clone()));
        collect_paths(value, &path, found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| go(PathSegment::Field(name.clone()), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| go(PathSegment::Item(index), value)),
        _ => {}
    }
}

fn apply(document: &mut Value, path: &[PathSegment], change: &FieldChange) {
    let Some((step, rest)) = path.split_first() else { return };
    if !rest.is_empty() {
        let inner = match step {
            PathSegment::Field(name) => document.get_mut(name),
            PathSegment::Item(index) => document.get_mut(index),
        };
        return inner.into_iter().for_each(|inner| apply(inner, rest, change));
    }
    match (step, change, document) {
        (PathSegment::Field(name), FieldChange::Remove, Value::Object(fields)) => drop(fields.remove(name)),
        (PathSegment::Field(name), FieldChange::Set(value), Value::Object(fields)) => drop(fields.insert(name.clone(), value.clone())),
        (PathSegment::Item(index), FieldChange::Remove, Value::Array(items)) if *index < items.len() => drop(items.remove(*index)),
        (PathSegment::Item(index), FieldChange::Set(value), Value::Array(items)) => {
            items.get_mut(*index).into_iter().for_each(|item| *item = value.clone())
        }
        _ => {}
    }
}

/// An operation whose answers are changed, and how to judge what the adapter made of one.
#[async_trait]
pub(super) trait MutationScenario: Sync {
    /// The operation, for the texts of failures.
    fn operation(&self) -> &'static str;
    /// What has to be there first.
    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, ContractFailure>;
    /// The operation.
    async fn run(&self, world: &dyn GatewayUnderTest, prepared: Option<&LedgerEntry>) -> Result<CallResult, ContractFailure>;
    /// Whether the ledger says that it happened.
    fn took_effect(&self, entry: &LedgerEntry) -> bool;
    /// Picks the call whose answer is changed.
    fn matcher(&self, world: &dyn GatewayUnderTest) -> RequestMatcher {
        world.write_matcher()
    }
}

/// Runs a scenario with every change of its answer.
pub(super) async fn run_mutations(factory: GatewayFactory, scenario: &dyn MutationScenario) -> ContractResult {
    let pristine = record_response(factory, scenario).await.map_err(|failure| failure.within(scenario.operation()))?;
    let mut found = Vec::new();
    collect_paths(&pristine, &[], &mut found);
    ensure(found.len() >= 3, "there is hardly an answer to change")?;
    for (path, old) in found {
        for change in changes_for(&old) {
            let world = factory();
            let prepared = scenario.prepare(world.as_ref()).await?;
            let (place, altered) = (path.clone(), change.clone());
            world.network().inject(Fault::Mutate(Arc::new(move |body| apply(body, &place, &altered))), scenario.matcher(world.as_ref()));
            let answered = scenario.run(world.as_ref(), prepared.as_ref()).await?;
            world.process();
            let context = |broken: ContractFailure| broken.within(&format!("{} with {change:?} at {path:?}", scenario.operation()));
            check_against_ledger(world.as_ref(), scenario, prepared.as_ref(), &answered).map_err(context)?;
            if matches!(answered, Ok(Outcome::Unknown(_))) {
                let settled = scenario.run(world.as_ref(), prepared.as_ref()).await?;
                world.process();
                ensure(!matches!(settled, Ok(Outcome::Unknown(_))), "the same key does not settle it").map_err(context)?;
                check_against_ledger(world.as_ref(), scenario, prepared.as_ref(), &settled).map_err(context)?;
            }
        }
    }
    Ok(())
}

/// The answer as the gateway gives it.
async fn record_response(factory: GatewayFactory, scenario: &dyn MutationScenario) -> Result<Value, ContractFailure> {
    let world = factory();
    let prepared = scenario.prepare(world.as_ref()).await?;
    let seen = Arc::new(Mutex::new(Value::Null));
    let recorded = Arc::clone(&seen);
    let fault = Fault::Mutate(Arc::new(move |body| *recorded.lock().unwrap_or_else(PoisonError::into_inner) = body.clone()));
    world.network().inject(fault, scenario.matcher(world.as_ref()));
    let answered = scenario.run(world.as_ref(), prepared.as_ref()).await?;
    ensure(!matches!(answered, Ok(Outcome::Unknown(_))), "an unchanged answer is unknown")?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(seen)
}

/// Holds an answer against the ledger.
fn check_against_ledger(
    world: &dyn GatewayUnderTest,
    scenario: &dyn MutationScenario,
    prepared: Option<&LedgerEntry>,
    answered: &CallResult,
) -> ContractResult {
    let entries: Vec<_> = world.ledger().into_iter().filter(|entry| entry.authorised).collect();
    ensure(entries.len() <= 1, "there are two payments")?;
    let entry = entries.first();
    let happened = entry.is_some_and(|entry| scenario.took_effect(entry));
    match answered {
        Ok(Outcome::Unknown(_)) => Ok(()),
        Ok(Outcome::Done(operation) | Outcome::Received(operation)) => {
            ensure(happened, format!("{} although it did not happen", describe(answered)))?;
            check_operation(operation, entry, prepared)
        }
        other => ensure(!happened, format!("{} although it happened", describe(other))),
    }
}

fn check_operation(operation: &Operation, entry: Option<&LedgerEntry>, prepared: Option<&LedgerEntry>) -> ContractResult {
    let Some(entry) = entry else { return Err(ContractFailure("there is no payment".to_owned())) };
    let known = [Some(entry), prepared].into_iter().flatten().map(|entry| &entry.external_payment_id).collect::<Vec<_>>();
    ensure(operation.external_payment_id.as_ref().is_some_and(|id| known.contains(&id)), "the payment's id is wrong or missing")?;
    ensure(operation.amount.is_none_or(|amount| amount == entry.amount), "the amount is wrong")
}

struct PaymentScenario {
    expects_decline: bool,
    charges: bool,
    /// Whether it is done only when the money is taken.
    takes_money: bool,
}

impl PaymentScenario {
    fn token(&self, world: &dyn GatewayUnderTest) -> Result<StoredToken, ContractFailure> {
        let none = || ContractFailure("there are no details that decline softly".to_owned());
        if self.expects_decline { world.declining_token(DeclineClass::Soft).ok_or_else(none) } else { Ok(world.working_token()) }
    }
}

#[async_trait]
impl MutationScenario for PaymentScenario {
    fn operation(&self) -> &'static str {
        if self.charges { "charge" } else { "authorise" }
    }

    async fn prepare(&self, _world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, ContractFailure> {
        Ok(None)
    }

    async fn run(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<CallResult, ContractFailure> {
        let request = payment_request(world, self.token(world)?, 1);
        Ok(if self.charges { world.gateway().charge(&request).await } else { world.gateway().authorise(&request).await })
    }

    fn took_effect(&self, entry: &LedgerEntry) -> bool {
        entry.authorised && (!self.takes_money || entry.captured == entry.amount)
    }
}

/// What is done to a payment that is there.
enum ModificationScenario {
    Capture,
    Cancel,
    Refund,
}

#[async_trait]
impl MutationScenario for ModificationScenario {
    fn operation(&self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Cancel => "cancel",
            Self::Refund => "refund",
        }
    }

    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, ContractFailure> {
        match self {
            Self::Capture | Self::Cancel => authorise(world, 1).await.map(Some),
            Self::Refund => authorise_and_capture(world, 1).await.map(Some),
        }
    }

    async fn run(&self, world: &dyn GatewayUnderTest, prepared: Option<&LedgerEntry>) -> Result<CallResult, ContractFailure> {
        let Some(entry) = prepared else { return Err(ContractFailure("nothing is prepared".to_owned())) };
        Ok(match self {
            Self::Capture => world.gateway().capture(&capture_request(entry, 1)?).await,
            Self::Cancel => world.gateway().cancel(&payment_cancel_request(entry)?).await,
            Self::Refund => world.gateway().refund(&full_refund_request(entry)).await,
        })
    }

    fn took_effect(&self, entry: &LedgerEntry) -> bool {
        match self {
            Self::Capture => entry.captured == entry.amount,
            Self::Cancel => entry.is_released(),
            Self::Refund => entry.refunded == entry.captured,
        }
    }
}

/// A payment whose answer was lost is asked about.
struct InquiryScenario {
    inquiry_call: InquiryCall,
}

fn lost_payment(world: &dyn GatewayUnderTest) -> MerchantInitiated {
    payment_request(world, world.working_token(), 1)
}

#[async_trait]
impl MutationScenario for InquiryScenario {
    fn operation(&self) -> &'static str {
        "inquire"
    }

    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, ContractFailure> {
        world.network().inject(Fault::TimeoutAfter, world.write_matcher());
        expect_unknown("authorise", &world.gateway().authorise(&lost_payment(world)).await)?;
        if self.inquiry_call.after_catch_up {
            world.wait_for_consistent_reads();
        }
        Ok(None)
    }

    async fn run(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<CallResult, ContractFailure> {
        let request = lost_payment(world);
        let inquiry = InquiryRequest {
            operation: OperationKind::Authorise,
            key: request.key,
            reference: request.reference,
            external_payment_id: None,
            operation_ref: None,
            amount: Some(request.amount),
        };
        // Nothing is no answer, and no wrong one.
        let answered = world.gateway().inquire(&inquiry).await;
        Ok(answered.map(|outcome| outcome.unwrap_or(Outcome::Unknown(UnknownCause::Unreadable))))
    }

    fn took_effect(&self, entry: &LedgerEntry) -> bool {
        entry.authorised
    }

    fn matcher(&self, _world: &dyn GatewayUnderTest) -> RequestMatcher {
        self.inquiry_call.matcher
    }
}

/// No check would look at the answers of an inquiry whose calls are not listed.
fn check_inquiry_calls(can_inquire: bool, calls: &[InquiryCall]) -> ContractResult {
    ensure(
        can_inquire != calls.is_empty(),
        format!("capabilities say inquiry: {can_inquire}, and {} inquiry_calls are listed", calls.len()),
    )
}

/// Every change of every answer that an inquiry rests on.
///
/// # Errors
/// The broken rule, and where the calls of an inquiry are not listed although the adapter can ask.
pub async fn a_mutated_answer_never_makes_a_wrong_inquiry(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let calls = world.inquiry_calls();
    check_inquiry_calls(world.gateway().capabilities().inquiry, &calls)?;
    if calls.is_empty() {
        report_skipped(world.gateway().name(), "inquiries");
    }
    for inquiry_call in calls {
        run_mutations(factory, &InquiryScenario { inquiry_call }).await?;
    }
    Ok(())
}

/// Every change of the answer to an authorisation.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn a_mutated_answer_never_makes_a_wrong_authorisation(factory: GatewayFactory) -> ContractResult {
    run_mutations(factory, &PaymentScenario { expects_decline: false, charges: false, takes_money: false }).await
}

/// Every change of the answer to a charge.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_charge(factory: GatewayFactory) -> ContractResult {
    let takes_money = !factory().gateway().capabilities().takes_by_capture;
    run_mutations(factory, &PaymentScenario { expects_decline: false, charges: true, takes_money }).await
}

/// Every change of a decline.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_decline_never_makes_a_payment(factory: GatewayFactory) -> ContractResult {
    run_mutations(factory, &PaymentScenario { expects_decline: true, charges: false, takes_money: false }).await?;
    run_mutations(factory, &PaymentScenario { expects_decline: true, charges: true, takes_money: false }).await
}

/// Every change of the answer to a capture.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_capture(factory: GatewayFactory) -> ContractResult {
    run_mutations(factory, &ModificationScenario::Capture).await
}

/// Every change of the answer to a cancel.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_cancel(factory: GatewayFactory) -> ContractResult {
    run_mutations(factory, &ModificationScenario::Cancel).await
}

/// Every change of the answer to a refund, and one that is right.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_refund(factory: GatewayFactory) -> ContractResult {
    run_mutations(factory, &ModificationScenario::Refund).await?;
    let world = factory();
    let entry = authorise_and_capture(world.as_ref(), 1).await?;
    expect_done_or_received("refund", world.gateway().refund(&full_refund_request(&entry)).await).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::{InquiryCall, check_inquiry_calls};

    #[test]
    fn an_inquiry_has_calls_and_calls_belong_to_an_inquiry() {
        let listed = [InquiryCall { matcher: |_, _| true, after_catch_up: false }];
        let checked = [(true, &listed[..]), (false, &[]), (true, &[]), (false, &listed[..])];
        assert_eq!(checked.map(|(can_inquire, calls)| check_inquiry_calls(can_inquire, calls).is_ok()), [true, true, false, false]);
    }
}
