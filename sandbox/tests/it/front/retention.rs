//! What a purchase or a setup leaves in the journal, for which customer, and for how long.

use std::time::Duration;

use connector::checkout::order::order_key;
use connector::gateway::GatewayName;
use connector::ids::PaymentDetailsId;
use connector::journal::store::{Key, Store as _};
use connector::money::{Currency, Money};
use connector::payments::subscription_state::StoredDetails;
use connector::payments::token_usage::{self, TokenUsers};
use connector::secret::SecretString;
use sandbox::simulators::cleeng::DetailsRow;
use sandbox::simulators::network::Fault;
use sandbox::testkit::harness::TestEnvironment;
use serde::de::DeserializeOwned;

use crate::front::{Buyer, GOOD, REDIRECTING, buyer, card, is_paid, redirect_result};

const DAY: Duration = Duration::from_secs(86_400);

async fn stored_text(env: &TestEnvironment, key: &Key) -> Option<String> {
    env.store.load(std::slice::from_ref(key)).await.unwrap().remove(0).map(|stored| stored.body)
}

async fn read_document<T: DeserializeOwned>(env: &TestEnvironment, key: &Key) -> Option<T> {
    stored_text(env, key).await.map(|text| serde_json::from_str(&text).unwrap())
}

/// The customer's details in Cleeng.
fn details_in_cleeng(env: &TestEnvironment, buyer: &Buyer) -> DetailsRow {
    env.cleeng.details_of(&buyer.customer).remove(0)
}

fn details_id(env: &TestEnvironment, buyer: &Buyer) -> PaymentDetailsId {
    let payments = env.cleeng.payments();
    payments.into_iter().find(|payment| payment.customer == buyer.customer).and_then(|payment| payment.details).unwrap()
}

async fn token_use(env: &TestEnvironment, buyer: &Buyer) -> TokenUsers {
    let token = SecretString::new(details_in_cleeng(env, buyer).token);
    read_document(env, &token_usage::token_key(&env.flow_context.policy.salt, GatewayName::Adyen, &token)).await.unwrap()
}

#[tokio::test]
async fn neither_the_token_nor_the_returned_data_stays_with_the_order() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    assert!(is_paid(&buyer.finalize(&env, &back).await));
    let order = stored_text(&env, &order_key(&buyer.order)).await.unwrap();
    let token = details_in_cleeng(&env, &buyer).token;
    let stored = token.split_once(':').unwrap().0;
    for secret in [stored, back["redirectResult"].as_str().unwrap()] {
        assert!(!order.contains(secret), "{order}");
    }
}

#[tokio::test]
async fn details_are_retained_for_their_first_renewal_with_the_currency_of_their_order() {
    for minor in [999, 0] {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        env.cleeng.change_order_price(&buyer.order, Money::new(minor, Currency::new("USD").unwrap()), true);
        assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
        let key = StoredDetails::key(&details_id(&env, &buyer));
        let known: StoredDetails = read_document(&env, &key).await.unwrap();
        assert_eq!((known.token, known.currency), (details_in_cleeng(&env, &buyer).token, Currency::new("USD").ok()));
        env.clock.advance(DAY * 399);
        assert!(stored_text(&env, &key).await.is_some());
        env.clock.advance(DAY * 2);
        assert!(stored_text(&env, &key).await.is_none(), "by then it was renewed, or ended");
    }
}

#[tokio::test]
async fn a_token_is_registered_for_its_order_and_then_for_its_details() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    let uses_now = token_use(&env, &buyer).await;
    let active: Vec<_> = uses_now.details.iter().map(|(id, used)| (id.clone(), used.active)).collect();
    assert_eq!(active, [(details_id(&env, &buyer), true)]);
    assert!(uses_now.claims.is_empty());

    // Cleeng's answer is lost: which details came to be is never told, and the claim stays.
    let buyer = crate::front::buyer(&env);
    env.network.inject(Fault::TimeoutAfter, |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    let claims: Vec<String> = token_use(&env, &buyer).await.claims.into_keys().collect();
    assert_eq!(claims, [order_key(&buyer.order).as_str()]);
}

/// How many attempts the journal has of the order.
async fn attempt_count(env: &TestEnvironment, buyer: &Buyer) -> usize {
    let order: serde_json::Value = read_document(env, &order_key(&buyer.order)).await.unwrap();
    order["attempts"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_attempt_that_never_reached_the_gateway_is_reused_unless_the_order_changed() {
    let lost = async |env: &TestEnvironment| {
        let buyer = buyer(env);
        env.network.inject(Fault::NotSent, |peer, _| peer == "adyen");
        assert_eq!(buyer.start(env, &card(GOOD, "J D", "1")).await.status, 503);
        buyer
    };
    let env = TestEnvironment::default();
    let buyer = lost(&env).await;
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    assert_eq!((attempt_count(&env, &buyer).await, env.adyen.total_captured("USD")), (1, 999));

    let env = TestEnvironment::default();
    let buyer = lost(&env).await;
    env.cleeng.change_order_price(&buyer.order, Money::new(1_299, Currency::new("USD").unwrap()), true);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    assert_eq!((attempt_count(&env, &buyer).await, env.adyen.total_captured("USD")), (2, 1_299));

    let env = TestEnvironment::default();
    let buyer = lost(&env).await;
    env.clock.advance(DAY);
    let buyer = Buyer { token: env.cleeng.customer_token(&buyer.customer), ..buyer };
    assert_eq!(crate::front::code(&buyer.start(&env, &card(GOOD, "J D", "1")).await), (422, "ORDER0001"));
    assert!(env.adyen.payments().is_empty());
}
