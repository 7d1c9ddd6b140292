//! Purchases with the customer present, whose answers arrive changed.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use connector::gateway::{FinalizeRequest, OperationKind, Outcome, PurchaseRequest, Reference};
use serde_json::Value;

use super::mutations::{Scene, play};
use super::{Answered, Checked, Chooser, GatewayUnderTest, LedgerEntry, Make, Violation, describe, key};
use crate::house::Entry;

fn purchase(world: &dyn GatewayUnderTest, entry: Entry) -> PurchaseRequest {
    let key = key(OperationKind::Purchase, 1);
    PurchaseRequest {
        reference: Reference::from_key(&key),
        key,
        amount: world.amount(),
        customer: world.customer(),
        payment_data: world.house().entered(entry, 1),
        store: true,
        return_url: "https://shop.test/back".to_owned(),
        cancel_url: None,
        origin: Some("https://shop.test".to_owned()),
        customer_ip: None,
    }
}

/// A start with details that pay without a question, where the gateway has such.
struct Starting {
    /// Whether the gateway's reads know the customer already.
    known: bool,
}

#[async_trait]
impl Scene for Starting {
    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, Violation> {
        if self.known {
            world.let_reads_catch_up();
        }
        Ok(None)
    }

    async fn act(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<Answered, Violation> {
        Ok(world.gateway().start_purchase(&purchase(world, Entry::Good)).await)
    }

    fn happened(&self, entry: &LedgerEntry) -> bool {
        entry.authorised
    }
}

/// The customer has agreed and is back.
#[derive(Default)]
struct Finishing {
    back: Mutex<(Option<String>, Value)>,
}

#[async_trait]
impl Scene for Finishing {
    async fn prepare(&self, world: &dyn GatewayUnderTest) -> Result<Option<LedgerEntry>, Violation> {
        let answered = world.gateway().start_purchase(&purchase(world, Entry::Asked)).await;
        let Ok(Outcome::ActionRequired(action, operation)) = answered else {
            return Err(Violation(format!("expected an action, got {}", describe(&answered))));
        };
        let back = world.house().agree(&action.payload);
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = (operation.started, back);
        Ok(None)
    }

    async fn act(&self, world: &dyn GatewayUnderTest, _prepared: Option<&LedgerEntry>) -> Result<Answered, Violation> {
        let request = purchase(world, Entry::Asked);
        let (started, details) = self.back.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let finish = FinalizeRequest {
            key: key(OperationKind::Purchase, 2),
            reference: request.reference,
            amount: request.amount,
            customer: request.customer,
            external_payment_id: None,
            started,
            details,
        };
        Ok(world.gateway().finalize(&finish).await)
    }

    fn happened(&self, entry: &LedgerEntry) -> bool {
        entry.authorised
    }

    fn chooser(&self, _world: &dyn GatewayUnderTest) -> Chooser {
        |_, _| true
    }
}

/// Every change of the first answer to a write in the start of a purchase, of a customer that the gateway knows or not.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn a_mutated_answer_never_makes_a_wrong_start(make: Make) -> Checked {
    play(make, &Starting { known: true }).await?;
    play(make, &Starting { known: false }).await
}

/// Every change of the first answer after the customer has agreed.
///
/// # Errors
/// The broken rule.
pub async fn a_mutated_answer_never_makes_a_wrong_finish(make: Make) -> Checked {
    play(make, &Finishing::default()).await
}
