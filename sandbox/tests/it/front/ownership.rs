//! No customer can pay, read or change anything of another customer with their own token.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector::flow::{BillingMode, PaymentMethodConfig};
use connector::gateway::GatewayName;
use sandbox::simulators::network::Fault;
use sandbox::testkit::fixtures::{OFFER, id};
use sandbox::testkit::gateway_fixtures::ADYEN_CAPTURE_ONLY_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::{Buyer, GOOD, REDIRECTING, buyer, card, code, is_paid, redirect_result, statuses, write_counts};

fn forged(claims: &Value) -> String {
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"),
        URL_SAFE_NO_PAD.encode(claims.to_string()),
        URL_SAFE_NO_PAD.encode("x")
    )
}

#[tokio::test]
async fn another_customers_order_cannot_be_started_finalized_or_read() {
    let env = TestEnvironment::default();
    let (owner, other) = (buyer(&env), buyer(&env));
    let thief = Buyer { order: owner.order.clone(), ..other };
    assert_eq!(code(&thief.start(&env, &card(GOOD, "T", "1")).await), (404, "ADYEN0001"));
    let back = redirect_result(&owner.start(&env, &card(REDIRECTING, "J D", "1")).await);
    // Not even with the owner's returned data, nor to learn the owner's action.
    assert_eq!(code(&thief.finalize(&env, &back).await), (404, "ADYEN0001"));
    assert_eq!(code(&thief.start(&env, &card(REDIRECTING, "J D", "1")).await), (404, "ADYEN0001"));
    assert_eq!(write_counts(&env), (1, 0));
    assert!(is_paid(&owner.finalize(&env, &back).await));
    assert_eq!(code(&thief.start(&env, &card(GOOD, "T", "1")).await), (404, "ADYEN0001"));
    assert_eq!(statuses(&env).len(), 1);
}

#[tokio::test]
async fn another_customers_order_from_mediastore_is_refused() {
    for (field, value) in
        [("customerId", json!(1)), ("publisherId", json!(1)), ("id", json!(1)), ("customerId", Value::Null), ("publisherId", Value::Null)]
    {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let told = value.clone();
        let change = move |body: &mut Value| body["responseData"]["order"][field] = told.clone();
        env.network.inject(Fault::Mutate(std::sync::Arc::new(change)), |peer, request| peer == "cleeng" && request.path.contains("orders"));
        let reply = buyer.start(&env, &card(GOOD, "J D", "1")).await;
        assert!(matches!(reply.status.as_u16(), 403 | 503), "{field} {value}: {}", reply.body);
        assert_eq!(write_counts(&env), (0, 0));
    }
}

#[tokio::test]
async fn a_missing_forged_expired_or_foreign_token_pays_nothing() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let later = env.flow_context.clock.now().after(Duration::from_secs(3600)).secs();
    let claims = json!({ "customerId": buyer.customer, "publisherId": sandbox::testkit::fixtures::PUBLISHER, "exp": later });
    let expired = env.cleeng.customer_token_until(&buyer.customer, env.flow_context.clock.now());
    let foreign = json!({ "customerId": buyer.customer, "publisherId": 1, "exp": later });
    let (head, rest) = buyer.token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let changed = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    for (token, expected) in [
        (String::new(), (401, "AUTH0002")),
        ("garbage".to_owned(), (401, "AUTH0002")),
        (expired, (401, "AUTH0003")),
        (forged(&claims), (401, "AUTH0002")),
        (changed, (401, "AUTH0002")),
        (forged(&foreign), (401, "AUTH0002")),
    ] {
        let anybody = Buyer { token, ..buyer.clone() };
        assert_eq!(code(&anybody.start(&env, &card(GOOD, "J D", "1")).await), expected);
        assert_eq!(code(&anybody.finalize(&env, &json!({ "redirectResult": "X" })).await), expected);
    }
    assert_eq!(write_counts(&env), (0, 0));
}

#[tokio::test]
async fn an_unknown_order_and_one_with_another_payment_method_have_their_own_errors() {
    let env = TestEnvironment::default();
    let first = buyer(&env);
    let unknown = Buyer { order: id("999999999"), ..first.clone() };
    assert_eq!(code(&unknown.start(&env, &card(GOOD, "J D", "1")).await), (404, "ADYEN0001"));
    let order = env.cleeng.new_order(&first.customer, &id(OFFER), &id("777777777")).unwrap();
    let other_method = Buyer { order, ..first };
    assert_eq!(code(&other_method.start(&env, &card(GOOD, "J D", "1")).await), (422, "ORDER0003"));
    assert_eq!(write_counts(&env), (0, 0));
    // Any method of ours behind this gateway will do.
    let customer = env.cleeng.new_customer().unwrap();
    let order = env.cleeng.new_order(&customer, &id(OFFER), &id(ADYEN_CAPTURE_ONLY_METHOD)).unwrap();
    let token = env.cleeng.customer_token(&customer);
    assert!(is_paid(&Buyer { customer, order, token }.start(&env, &card(GOOD, "J D", "1")).await));
    // A method that is ours no more is refused.
    let gone = TestEnvironment::new(|rules| {
        rules.methods =
            [(id(ADYEN_CAPTURE_ONLY_METHOD), PaymentMethodConfig { gateway: GatewayName::Adyen, billing: BillingMode::CaptureOnly })]
                .into();
    });
    let order = crate::front::buyer(&gone);
    assert_eq!(code(&order.start(&gone, &card(GOOD, "J D", "1")).await), (422, "ORDER0003"));
}
