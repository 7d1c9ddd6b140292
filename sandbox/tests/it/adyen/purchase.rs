//! Purchases and storing of details with the customer present.

use connector::gateway::adyen::CaptureMode;
use connector::gateway::{
    DeclineClass, FinalizeRequest, Gateway, GatewayError, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Outcome,
    PurchaseRequest, Reference, StoreDetailsRequest, UnknownCause,
};
use connector::ids::CustomerId;
use connector::money::Money;
use connector::secret::SecretString;
use sandbox::simulators::adyen::PaymentState;
use serde_json::{Value, json};

use super::harness::{AdyenHarness, SHOPPER, money};

fn key(attempt: &str) -> IdempotencyKey {
    IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), OperationKind::Purchase, "order", attempt)
}

fn purchase(amount: Money, payment_data: Value) -> PurchaseRequest {
    PurchaseRequest {
        key: key("1"),
        reference: Reference::from_key(&key("1")),
        amount,
        customer: CustomerId::new(SHOPPER).unwrap(),
        payment_data,
        store: true,
        return_url: "https://shop.test/back".to_owned(),
        cancel_url: None,
        origin: Some("https://shop.test".to_owned()),
        customer_ip: None,
        customer_email: None,
    }
}

fn card(number: &str) -> Value {
    json!({ "paymentMethod": { "type": "scheme", "encryptedCardNumber": number }, "browserInfo": null, "amount": { "value": 1 } })
}

fn harness() -> AdyenHarness {
    AdyenHarness::new(CaptureMode::Automatic, money(999, "EUR"))
}

#[tokio::test]
async fn a_purchase_charges_the_orders_amount_and_stores_details_for_renewals() {
    let harness = harness();
    let outcome = harness.adapter.start_purchase(&purchase(harness.amount, card("test_4111111111111111"))).await;
    let Ok(Outcome::Done(operation)) = outcome else { panic!("the purchase is done") };
    let payments = harness.simulator.payments();
    assert_eq!((payments.len(), payments[0].amount, payments[0].captured), (1, 999, 999));
    let token = operation.token.unwrap();
    let renewal = MerchantInitiated {
        key: key("2"),
        reference: Reference::from_key(&key("2")),
        amount: harness.amount,
        token,
        customer: CustomerId::new(SHOPPER).unwrap(),
    };
    assert!(matches!(harness.adapter.authorise(&renewal).await, Ok(Outcome::Done(_))));
}

#[tokio::test]
async fn a_purchase_that_needs_the_customer_is_finalized_once_after_the_return() {
    let harness = harness();
    let outcome = harness.adapter.start_purchase(&purchase(harness.amount, card("test_4917610000000000"))).await;
    let Ok(Outcome::ActionRequired(action, _)) = outcome else { panic!("the customer has to act") };
    assert_eq!(harness.simulator.authorisations(), 0);
    let result = action.payload["url"].as_str().unwrap().split("result=").nth(1).unwrap().to_owned();
    let finalize = FinalizeRequest {
        key: key("3"),
        reference: Reference::from_key(&key("1")),
        amount: harness.amount,
        customer: CustomerId::new(SHOPPER).unwrap(),
        external_payment_id: None,
        pending_id: None,
        details: json!({ "details": { "redirectResult": result } }),
    };
    for _ in 0..2 {
        let Ok(Outcome::Done(operation)) = harness.adapter.finalize(&finalize).await else { panic!("the purchase is done") };
        assert!(operation.token.is_some());
    }
    assert_eq!((harness.simulator.authorisations(), harness.simulator.total_captured("EUR")), (1, 999));
}

#[tokio::test]
async fn returned_data_of_another_payment_is_never_done() {
    let harness = harness();
    let outcome = harness.adapter.start_purchase(&purchase(harness.amount, card("test_4917610000000000"))).await;
    let Ok(Outcome::ActionRequired(action, _)) = outcome else { panic!("the customer has to act") };
    let result = action.payload["url"].as_str().unwrap().split("result=").nth(1).unwrap().to_owned();
    let of_another_order = FinalizeRequest {
        key: key("3"),
        reference: Reference::from_key(&key("4")),
        amount: harness.amount,
        customer: CustomerId::new(SHOPPER).unwrap(),
        external_payment_id: None,
        pending_id: None,
        details: json!({ "redirectResult": result }),
    };
    let answered = harness.adapter.finalize(&of_another_order).await;
    assert!(matches!(answered, Ok(Outcome::Unknown(UnknownCause::AnotherPayment))));
    // The same payment with another amount is not another one, and not done either.
    let another_amount = FinalizeRequest { reference: Reference::from_key(&key("1")), amount: money(998, "EUR"), ..of_another_order };
    assert!(matches!(harness.adapter.finalize(&another_amount).await, Ok(Outcome::Unknown(UnknownCause::Unreadable))));
}

#[tokio::test]
async fn storing_details_charges_nothing() {
    let harness = harness();
    let request = StoreDetailsRequest { purchase: purchase(money(0, "EUR"), card("test_4111111111111111")) };
    let Ok(Outcome::Done(operation)) = harness.adapter.store_details(&request).await else { panic!("the details are stored") };
    assert!(operation.token.is_some());
    assert_eq!((harness.simulator.total_captured("EUR"), harness.simulator.payments()[0].amount), (0, 0));
    let priced = StoreDetailsRequest { purchase: purchase(money(1, "EUR"), card("test_4111111111111111")) };
    assert!(matches!(harness.adapter.store_details(&priced).await, Err(GatewayError::Malformed { .. })));
}

#[tokio::test]
async fn a_test_holder_name_on_the_card_declines() {
    let harness = harness();
    let mut data = card("test_4111111111111111");
    data["paymentMethod"]["holderName"] = json!("NOT_ENOUGH_BALANCE");
    let outcome = harness.adapter.start_purchase(&purchase(harness.amount, data)).await;
    assert!(matches!(outcome, Ok(Outcome::Declined(decline)) if decline.class == DeclineClass::Soft && decline.code == "12"));
    assert_eq!(harness.simulator.payments()[0].state, PaymentState::Refused);
}

#[tokio::test]
async fn a_purchase_without_a_payment_method_is_never_sent() {
    let harness = harness();
    for data in [json!({}), json!(null), json!({ "paymentMethod": "scheme" })] {
        assert!(matches!(harness.adapter.start_purchase(&purchase(harness.amount, data)).await, Err(GatewayError::Malformed { .. })));
    }
    assert!(harness.network.calls().is_empty());
}
