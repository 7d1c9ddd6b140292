//! Single purchases that were made before a test begins.

use std::sync::Arc;

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Outcome, Reference, StoredToken};
use connector::ids::{ExternalPaymentId, OrderId, PaymentId};
use connector::journal::payment::{NewPayment, PaymentRecord, PaymentState};
use connector::journal::store::Key;
use connector::journal::transaction::{Retention, Transaction};
use connector::money::{Currency, Money};
use connector::payments::obligation_context::PaymentLookup;
use connector::secret::SecretString;

use crate::expect::expect_fixture;
use crate::simulators::cleeng::PaidPurchase;
use crate::testkit::fixtures::{OFFER, id};
use crate::testkit::harness::{TestEnvironment, TestSubscriber};

/// A single purchase that Cleeng and the gateway know.
#[derive(Clone, Debug)]
pub struct SeededPurchase {
    /// The payment in Cleeng.
    pub payment: PaymentId,
    /// Its order.
    pub order: OrderId,
    /// The payment's id at the gateway.
    pub external_payment_id: ExternalPaymentId,
    /// The reference that it was made under.
    pub reference: Reference,
    gateway: GatewayName,
}

/// What every seeded purchase costs.
fn price() -> Money {
    Money::new(999, expect_fixture(Currency::new("USD").ok()))
}

impl TestEnvironment {
    /// A subscriber's single purchase of 9.99, authorised or captured, that the journal does not know. `name` tells two purchases apart.
    ///
    /// # Panics
    /// If it is not paid.
    pub async fn seed_foreign_purchase(&self, subscriber: &TestSubscriber, status: PaymentStatus, name: &str) -> SeededPurchase {
        let details = expect_fixture(self.cleeng.details(&subscriber.ids.details));
        let fixture = self.gateway_of_method(details.method.as_str());
        let gateway = fixture.simulator.gateway_name();
        let salt = SecretString::new("single");
        let key = IdempotencyKey::derive(&salt, GatewayText(gateway.as_str()), OperationKind::Authorise, "single", name);
        let (reference, customer) = (Reference::from_key(&key), subscriber.ids.customer.clone());
        let token = StoredToken(SecretString::new(details.token));
        let request = MerchantInitiated { key, reference: reference.clone(), amount: price(), token, customer: customer.clone() };
        let adapter = Arc::clone(expect_fixture(self.flow_context.gateways.get(gateway)));
        let captured = status == PaymentStatus::Captured;
        let outcome = if captured { adapter.charge(&request).await } else { adapter.authorise(&request).await };
        let Ok(Outcome::Done(operation)) = outcome else { return expect_fixture(None) };
        let purchase = PaidPurchase {
            customer,
            offer: id(OFFER),
            method: id(fixture.method),
            details: Some(subscriber.ids.details.clone()),
            total: price(),
            external_payment_id: expect_fixture(operation.external_payment_id),
            status,
        };
        let external_payment_id = purchase.external_payment_id.clone();
        let (payment, order) = expect_fixture(self.cleeng.insert_purchase(purchase));
        // Its notifications were received before the test begins.
        fixture.simulator.process();
        fixture.simulator.take_notifications();
        SeededPurchase { payment, order, external_payment_id, reference, gateway }
    }

    /// The same, in the journal as the purchase would have left it.
    ///
    /// # Panics
    /// If it is not paid, or the journal is unavailable.
    pub async fn seed_purchase(&self, subscriber: &TestSubscriber, status: PaymentStatus, name: &str) -> SeededPurchase {
        let captured = status == PaymentStatus::Captured;
        let bought = self.seed_foreign_purchase(subscriber, status, name).await;
        let (now, obligation) = (self.clock.now(), Key::new("order", &[bought.order.as_str()]));
        let new = NewPayment {
            reference: bought.reference.clone(),
            gateway: bought.gateway,
            subscription: None,
            customer: subscriber.ids.customer.clone(),
            details: Some(subscriber.ids.details.clone()),
            order: Some(bought.order.clone()),
            amount: price(),
            zero_amount: false,
            taken_at_once: captured,
        };
        let mut record = PaymentRecord {
            cleeng_payment: Some(bought.payment.clone()),
            authorisation: Some(bought.external_payment_id.clone()),
            external_payment_id: Some(bought.external_payment_id.clone()),
            ..PaymentRecord::new(new, &obligation, now)
        };
        expect_fixture(record.transition_to(if captured { PaymentState::Captured } else { PaymentState::Authorised }, now).ok());
        if captured {
            record.captured = price();
        }
        let mut transaction = Transaction::new(Arc::clone(&self.flow_context.store));
        expect_fixture(transaction.stage(&PaymentRecord::key(&bought.reference), &record, Retention::default()).ok());
        let by_gateway_id = PaymentRecord::gateway_id_key(bought.gateway, &bought.external_payment_id);
        for key in [PaymentRecord::cleeng_id_key(&bought.payment), by_gateway_id] {
            let lookup = PaymentLookup { reference: bought.reference.clone() };
            expect_fixture(transaction.stage(&key, &lookup, Retention::default()).ok());
        }
        expect_fixture(transaction.commit().await.ok());
        bought
    }
}
