//! What a purchase or a storing leaves in the journal, for whom, and for how long.

use std::time::Duration;

use connector::billing::tokens::{self, TokenUse};
use connector::billing::watch::KnownDetails;
use connector::gateway::GatewayName;
use connector::ids::PaymentDetailsId;
use connector::journal::store::{Key, Store as _};
use connector::money::{Currency, Money};
use connector::purchase::order::order_key;
use connector::secret::SecretString;
use sandbox::cleeng::DetailsRecord;
use sandbox::peer::Fault;
use sandbox::stage::Stage;
use serde::de::DeserializeOwned;

use crate::{Buyer, GOOD, REDIRECTING, buyer, card, is_paid, redirect_result};

const DAY: Duration = Duration::from_secs(86_400);

async fn text(stage: &Stage, key: &Key) -> Option<String> {
    stage.store.load(std::slice::from_ref(key)).await.unwrap().remove(0).map(|stored| stored.body)
}

async fn read<T: DeserializeOwned>(stage: &Stage, key: &Key) -> Option<T> {
    text(stage, key).await.map(|text| serde_json::from_str(&text).unwrap())
}

/// The customer's details in Cleeng.
fn details(stage: &Stage, buyer: &Buyer) -> DetailsRecord {
    stage.cleeng.details_of(&buyer.customer).remove(0)
}

fn details_id(stage: &Stage, buyer: &Buyer) -> PaymentDetailsId {
    let payments = stage.cleeng.payments();
    payments.into_iter().find(|payment| payment.customer == buyer.customer).and_then(|payment| payment.details).unwrap()
}

async fn uses(stage: &Stage, buyer: &Buyer) -> TokenUse {
    let token = SecretString::new(details(stage, buyer).token);
    read(stage, &tokens::key(&stage.world.rules.salt, GatewayName::Adyen, &token)).await.unwrap()
}

#[tokio::test]
async fn neither_the_token_nor_what_the_customer_brought_back_stays_with_the_order() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    assert!(is_paid(&buyer.finalize(&stage, &back).await));
    let order = text(&stage, &order_key(&buyer.order)).await.unwrap();
    let token = details(&stage, &buyer).token;
    let stored = token.split_once(':').unwrap().0;
    for secret in [stored, back["redirectResult"].as_str().unwrap()] {
        assert!(!order.contains(secret), "{order}");
    }
}

#[tokio::test]
async fn details_are_remembered_for_their_first_renewal_with_the_currency_in_which_something_was_paid() {
    for (minor, currency) in [(999, Currency::new("USD").ok()), (0, None)] {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        stage.cleeng.reprice(&buyer.order, Money::new(minor, Currency::new("USD").unwrap()), true);
        assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
        let key = KnownDetails::key(&details_id(&stage, &buyer));
        let known: KnownDetails = read(&stage, &key).await.unwrap();
        assert_eq!((known.token, known.currency), (details(&stage, &buyer).token, currency));
        stage.clock.advance(DAY * 399);
        assert!(text(&stage, &key).await.is_some());
        stage.clock.advance(DAY * 2);
        assert!(text(&stage, &key).await.is_none(), "by then it was renewed, or ended");
    }
}

#[tokio::test]
async fn a_token_is_known_to_be_used_by_the_details_that_came_to_be_and_before_that_by_the_order() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    let uses_now = uses(&stage, &buyer).await;
    let active: Vec<_> = uses_now.details.iter().map(|(id, used)| (id.clone(), used.active)).collect();
    assert_eq!(active, [(details_id(&stage, &buyer), true)]);
    assert!(uses_now.claims.is_empty());

    // Cleeng's answer is lost: which details came to be is never told, and the claim stays.
    let buyer = crate::buyer(&stage);
    stage.road.lay(Fault::TimeoutAfter, |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    let claims: Vec<String> = uses(&stage, &buyer).await.claims.into_keys().collect();
    assert_eq!(claims, [order_key(&buyer.order).as_str()]);
}

/// How many attempts the journal has of the order.
async fn attempts(stage: &Stage, buyer: &Buyer) -> usize {
    let order: serde_json::Value = read(stage, &order_key(&buyer.order)).await.unwrap();
    order["attempts"].as_array().unwrap().len()
}

#[tokio::test]
async fn what_never_reached_the_gateway_is_the_same_attempt_unless_the_order_is_another_one_now() {
    let lost = async |stage: &Stage| {
        let buyer = buyer(stage);
        stage.road.lay(Fault::NotSent, |peer, _| peer == "adyen");
        assert_eq!(buyer.start(stage, &card(GOOD, "J D", "1")).await.status, 503);
        buyer
    };
    let stage = Stage::default();
    let buyer = lost(&stage).await;
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    assert_eq!((attempts(&stage, &buyer).await, stage.adyen.total_captured("USD")), (1, 999));

    let stage = Stage::default();
    let buyer = lost(&stage).await;
    stage.cleeng.reprice(&buyer.order, Money::new(1_299, Currency::new("USD").unwrap()), true);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    assert_eq!((attempts(&stage, &buyer).await, stage.adyen.total_captured("USD")), (2, 1_299));

    let stage = Stage::default();
    let buyer = lost(&stage).await;
    stage.clock.advance(DAY);
    let buyer = Buyer { token: stage.cleeng.customer_token(&buyer.customer), ..buyer };
    assert_eq!(crate::code(&buyer.start(&stage, &card(GOOD, "J D", "1")).await), (422, "ORDER0001"));
    assert!(stage.adyen.payments().is_empty());
}
