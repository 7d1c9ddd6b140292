//! Purchases and storing with the customer present.

use connector::gateway::adyen::CaptureMode;
use connector::gateway::{
    DeclineClass, FinalizeRequest, Gateway, GatewayError, GatewayText, IdempotencyKey, MerchantInitiated, OperationKind, Outcome,
    PurchaseRequest, Reference, StoreDetailsRequest, UnknownCause,
};
use connector::ids::CustomerId;
use connector::money::Money;
use connector::secret::SecretString;
use sandbox::adyen::PaymentState;
use serde_json::{Value, json};

use super::world::{SHOPPER, World, money};

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
    }
}

fn card(number: &str) -> Value {
    json!({ "paymentMethod": { "type": "scheme", "encryptedCardNumber": number }, "browserInfo": {}, "amount": { "value": 1 } })
}

fn world() -> World {
    World::new(CaptureMode::Manual, money(999, "EUR"))
}

#[tokio::test]
async fn a_purchase_takes_the_orders_amount_and_stores_details_that_pay_renewals() {
    let world = world();
    let outcome = world.adapter.start_purchase(&purchase(world.amount, card("test_4111111111111111"))).await;
    let Ok(Outcome::Done(operation)) = outcome else { panic!("the purchase is done") };
    let payments = world.simulator.payments();
    assert_eq!((payments.len(), payments[0].amount, payments[0].captured), (1, 999, 999));
    let token = operation.token.unwrap();
    let renewal = MerchantInitiated {
        key: key("2"),
        reference: Reference::from_key(&key("2")),
        amount: world.amount,
        token,
        customer: CustomerId::new(SHOPPER).unwrap(),
    };
    assert!(matches!(world.adapter.authorise(&renewal).await, Ok(Outcome::Done(_))));
}

#[tokio::test]
async fn a_purchase_that_needs_the_customer_is_finished_when_he_is_back_and_only_once() {
    let world = world();
    let outcome = world.adapter.start_purchase(&purchase(world.amount, card("test_4917610000000000"))).await;
    let Ok(Outcome::ActionRequired(action, _)) = outcome else { panic!("the customer has to act") };
    assert_eq!(world.simulator.authorisations(), 0);
    let result = action.payload["url"].as_str().unwrap().split("result=").nth(1).unwrap().to_owned();
    let finalize = FinalizeRequest {
        key: key("3"),
        reference: Reference::from_key(&key("1")),
        amount: world.amount,
        customer: CustomerId::new(SHOPPER).unwrap(),
        external_payment_id: None,
        started: None,
        details: json!({ "details": { "redirectResult": result } }),
    };
    for _ in 0..2 {
        let Ok(Outcome::Done(operation)) = world.adapter.finalize(&finalize).await else { panic!("the purchase is done") };
        assert!(operation.token.is_some());
    }
    assert_eq!((world.simulator.authorisations(), world.simulator.total_captured("EUR")), (1, 999));
}

#[tokio::test]
async fn what_a_browser_brings_for_another_payment_is_never_done() {
    let world = world();
    let outcome = world.adapter.start_purchase(&purchase(world.amount, card("test_4917610000000000"))).await;
    let Ok(Outcome::ActionRequired(action, _)) = outcome else { panic!("the customer has to act") };
    let result = action.payload["url"].as_str().unwrap().split("result=").nth(1).unwrap().to_owned();
    let of_another_order = FinalizeRequest {
        key: key("3"),
        reference: Reference::from_key(&key("4")),
        amount: world.amount,
        customer: CustomerId::new(SHOPPER).unwrap(),
        external_payment_id: None,
        started: None,
        details: json!({ "redirectResult": result }),
    };
    let answered = world.adapter.finalize(&of_another_order).await;
    assert!(matches!(answered, Ok(Outcome::Unknown(UnknownCause::AnotherPayment))));
    // His own payment with another amount is not another one, and not done either.
    let another_amount = FinalizeRequest { reference: Reference::from_key(&key("1")), amount: money(998, "EUR"), ..of_another_order };
    assert!(matches!(world.adapter.finalize(&another_amount).await, Ok(Outcome::Unknown(UnknownCause::Unreadable))));
}

#[tokio::test]
async fn storing_details_takes_nothing() {
    let world = world();
    let request = StoreDetailsRequest { purchase: purchase(money(0, "EUR"), card("test_4111111111111111")) };
    let Ok(Outcome::Done(operation)) = world.adapter.store_details(&request).await else { panic!("the details are stored") };
    assert!(operation.token.is_some());
    assert_eq!((world.simulator.total_captured("EUR"), world.simulator.payments()[0].amount), (0, 0));
    let priced = StoreDetailsRequest { purchase: purchase(money(1, "EUR"), card("test_4111111111111111")) };
    assert!(matches!(world.adapter.store_details(&priced).await, Err(GatewayError::Malformed { .. })));
}

#[tokio::test]
async fn a_test_name_on_the_card_declines() {
    let world = world();
    let mut data = card("test_4111111111111111");
    data["paymentMethod"]["holderName"] = json!("NOT_ENOUGH_BALANCE");
    let outcome = world.adapter.start_purchase(&purchase(world.amount, data)).await;
    assert!(matches!(outcome, Ok(Outcome::Declined(decline)) if decline.class == DeclineClass::Soft && decline.code == "12"));
    assert_eq!(world.simulator.payments()[0].state, PaymentState::Refused);
}

#[tokio::test]
async fn a_purchase_without_a_payment_method_is_never_sent() {
    let world = world();
    for data in [json!({}), json!(null), json!({ "paymentMethod": "scheme" })] {
        assert!(matches!(world.adapter.start_purchase(&purchase(world.amount, data)).await, Err(GatewayError::Malformed { .. })));
    }
    assert!(world.road.calls().is_empty());
}
