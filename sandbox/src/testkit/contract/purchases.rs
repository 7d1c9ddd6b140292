//! Purchases with the customer present, whose answers arrive changed.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use connector::gateway::{FinalizeRequest, OperationKind, Outcome, PurchaseRequest, Reference, StoreDetailsRequest};
use serde_json::Value;

use crate::simulators::simulated_gateway::EnteredDetails;
use crate::testkit::contract::mutations::{MutationScenario, run_mutations};
use crate::testkit::contract::{
    CallResult, ContractFailure, ContractResult, GatewayFactory, GatewayUnderTest, LedgerEntry, RequestMatcher, describe, ensure, key,
};

fn purchase_request(world: &dyn GatewayUnderTest, entry: EnteredDetails) -> PurchaseRequest {
    let key = key(OperationKind::Purchase, 1);
    PurchaseRequest {
        reference: Reference::from_key(&key),
        key,
        amount: world.amount(),
        customer: world.customer(),
        payment_data: world.simulator().payment_data(entry, 1),
        store: true,
        return_url: "https://shop.test/back".to_owned(),
        cancel_url: None,
        origin: Some("https://shop.test".to_owned()),
        customer_ip: None,
        customer_email: None,
    }
}

/// A start with details that pay without a question, where the gateway has such.
struct StartScenario {
    /// Whether the gateway's reads know the customer already.
    customer_is_known: bool,
}

#[async_trait]
impl MutationScenario for StartScenario {
    fn operation(&self) -> &'static str {
        "start_purchase"
    }

    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, ContractFailure> {
        if self.customer_is_known {
            world.wait_for_consistent_reads();
        }
        Ok(None)
    }

    async fn run(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<CallResult, ContractFailure> {
        Ok(world.gateway().start_purchase(&purchase_request(world, EnteredDetails::Frictionless)).await)
    }

    fn took_effect(&self, entry: &LedgerEntry) -> bool {
        entry.authorised
    }
}

/// The customer has agreed and is back.
#[derive(Default)]
struct FinalizeScenario {
    returned: Mutex<(Option<String>, Value)>,
}

#[async_trait]
impl MutationScenario for FinalizeScenario {
    fn operation(&self) -> &'static str {
        "finalize"
    }

    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, ContractFailure> {
        let answered = world.gateway().start_purchase(&purchase_request(world, EnteredDetails::ActionRequired)).await;
        let Ok(Outcome::ActionRequired(action, operation)) = answered else {
            return Err(ContractFailure(format!("expected an action, got {}", describe(&answered))));
        };
        let back = world.simulator().complete_action(&action.payload);
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = (operation.pending_id, back);
        Ok(None)
    }

    async fn run(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<CallResult, ContractFailure> {
        let request = purchase_request(world, EnteredDetails::ActionRequired);
        let (pending_id, details) = self.returned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let finish = FinalizeRequest {
            key: key(OperationKind::Purchase, 2),
            reference: request.reference,
            amount: request.amount,
            customer: request.customer,
            external_payment_id: None,
            pending_id,
            details,
        };
        Ok(world.gateway().finalize(&finish).await)
    }

    fn took_effect(&self, entry: &LedgerEntry) -> bool {
        entry.authorised
    }

    fn matcher(&self, _world: &dyn GatewayUnderTest) -> RequestMatcher {
        |_, _| true
    }
}

/// Every change of the first answer to a write in the start of a purchase, of a customer that the gateway knows or not.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn a_mutated_answer_never_makes_a_wrong_start(factory: GatewayFactory) -> ContractResult {
    run_mutations(factory, &StartScenario { customer_is_known: true }).await?;
    run_mutations(factory, &StartScenario { customer_is_known: false }).await
}

/// Every change of the first answer after the customer has agreed.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_finish(factory: GatewayFactory) -> ContractResult {
    run_mutations(factory, &FinalizeScenario::default()).await
}

/// Names under which gateways take stored details or their owner.
const NAMES_OF_STORED_DETAILS: [&str; 14] = [
    "storedPaymentMethodId",
    "recurringDetailReference",
    "shopperReference",
    "networkPaymentReference",
    "token",
    "vault_id",
    "vaultId",
    "customer",
    "customerId",
    "mandate",
    "source",
    "sourceId",
    "payment_method",
    "payment_source",
];

/// A page that names somebody else's stored details, under whichever name, beside what the customer entered: what an adapter does not name itself
/// is not passed on.
///
/// # Errors
/// The broken rule.
pub async fn stored_details_in_the_data_of_a_page_never_reach_the_gateway(factory: GatewayFactory) -> ContractResult {
    for (nested, overwrite) in [(false, false), (false, true), (true, false), (true, true)] {
        let world = factory();
        let stored = world.simulator().add_stored_details("somebody-else");
        let mut request = purchase_request(world.as_ref(), EnteredDetails::Frictionless);
        name_stored_details(&mut request.payment_data, &stored, nested, overwrite);
        let _ = world.gateway().start_purchase(&request).await;
        request.amount.minor = 0;
        let _ = world.gateway().store_details(&StoreDetailsRequest { purchase: request }).await;
        let parts = stored.split(':').filter(|part| part.len() >= 8).collect::<Vec<_>>();
        ensure(!parts.is_empty(), "the stored details have no part that could be recognised")?;
        for call in world.network().calls() {
            let said = format!("{} {:?} {}", call.path, call.query, call.request_text);
            let found = parts.iter().any(|part| said.contains(part));
            ensure(!found, format!("start_purchase or store_details passes them on to {} {}", call.method, call.path))?;
        }
    }
    Ok(())
}

/// Names them beside what the page fills in, or in its place as well.
fn name_stored_details(data: &mut Value, stored: &str, nested: bool, overwrite: bool) {
    let place = if nested { data.get_mut("paymentMethod") } else { Some(data) };
    let Some(place) = place.and_then(Value::as_object_mut) else { return };
    let id = stored.split(':').next().unwrap_or_default();
    for name in NAMES_OF_STORED_DETAILS {
        if overwrite || !place.contains_key(name) {
            place.insert(name.to_owned(), Value::from(id));
        }
    }
    place.insert("attributes".to_owned(), serde_json::json!({ "vault": { "id": id } }));
}
