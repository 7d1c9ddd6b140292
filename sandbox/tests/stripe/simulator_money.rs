//! The simulator moves money as the real thing does, and tells it.

use std::time::Duration;

use sandbox::house::{House, Standing};
use serde_json::Value;

use super::calls::{INVALID, error, get, held, id, kinds, post, taken, world};
use super::world::money;

#[test]
fn a_hold_is_taken_or_released_once_and_what_does_not_fit_says_where_it_stands() {
    let world = world();
    let (one, other) = (held(&world, "1"), held(&world, "2"));
    kinds(&world);
    assert_eq!(post(&world, &format!("/payment_intents/{one}/capture"), None, "").1["amount_received"], 999);
    assert_eq!(kinds(&world), ["charge.captured", "payment_intent.succeeded"]);
    assert_eq!(post(&world, &format!("/payment_intents/{other}/cancel"), None, "").1["status"], "canceled");
    // The release is told as a refund of what was never taken.
    assert_eq!(kinds(&world), ["charge.refunded", "payment_intent.canceled"]);
    for (id, status) in [(&one, "succeeded"), (&other, "canceled")] {
        for what in ["capture", "cancel", "confirm"] {
            let answer = post(&world, &format!("/payment_intents/{id}/{what}"), None, "");
            assert_eq!(error(&answer), (400, INVALID, "payment_intent_unexpected_state", ""), "{what}");
            assert_eq!(answer.1["error"]["payment_intent"]["status"], status);
        }
    }
    let entries = world.simulator.ledger();
    assert_eq!(entries.iter().map(|entry| entry.standing).collect::<Vec<_>>(), [Standing::Captured, Standing::Cancelled]);
    assert!(entries.iter().all(|entry| entry.refunded.is_zero()));
    let third = held(&world, "3");
    world.simulator.refuse_next_capture("capture_charge_authorization_expired");
    assert_eq!(post(&world, &format!("/payment_intents/{third}/capture"), None, "").0, 400);
    assert_eq!(error(&post(&world, &format!("/payment_intents/{third}/capture"), None, "amount_to_capture=1000")).2, "amount_too_large");
}

#[test]
fn a_visa_hold_without_the_customer_lapses_after_four_days_and_eighteen_hours_and_others_after_seven_days() {
    let world = world();
    let (_, customer) = world.token.split_once(':').unwrap();
    let visa = held(&world, "1");
    let params =
        format!("amount=999&currency=eur&confirm=true&capture_method=manual&customer={customer}&payment_method=pm_card_mastercard");
    let other = id(&post(&world, "/payment_intents", None, &params));
    let told = get(&world, &format!("/payment_intents/{visa}"), "expand[]=latest_charge").1;
    let until = told.pointer("/latest_charge/payment_method_details/card/capture_before").unwrap().as_i64().unwrap();
    assert_eq!(until - told["created"].as_i64().unwrap(), (4 * 24 + 18) * 3_600);
    world.clock.advance(Duration::from_secs((4 * 24 + 18) * 3_600 - 1));
    assert_eq!(world.simulator.ledger()[0].standing, Standing::Authorised);
    kinds(&world);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(kinds(&world), ["charge.expired", "payment_intent.canceled"]);
    assert_eq!(get(&world, &format!("/payment_intents/{visa}"), "").1["cancellation_reason"], "automatic");
    assert_eq!(world.simulator.ledger()[0].standing, Standing::Expired);
    assert_eq!(get(&world, &format!("/payment_intents/{other}"), "").1["status"], "requires_capture");
    world.clock.advance(Duration::from_secs(3 * 24 * 3_600));
    assert_eq!(get(&world, &format!("/payment_intents/{other}"), "").1["status"], "canceled");
}

#[test]
fn more_than_was_taken_is_never_given_back() {
    let world = world();
    let (intent, open) = (taken(&world, "1"), held(&world, "2"));
    let refund = |params: &str| post(&world, "/refunds", None, &format!("payment_intent={intent}{params}"));
    assert_eq!(error(&refund("&amount=1000")), (400, INVALID, "", "amount"));
    assert_eq!(refund("&amount=400&metadata[reference]=part").1["status"], "succeeded");
    assert_eq!(error(&refund("&amount=600")), (400, INVALID, "", "amount"));
    assert_eq!(refund("").1["amount"], 599);
    assert_eq!(error(&refund("")), (400, INVALID, "charge_already_refunded", ""));
    assert_eq!(post(&world, "/refunds", None, &format!("payment_intent={open}")).0, 400);
    assert_eq!(error(&post(&world, "/refunds", None, "payment_intent=pi_none")).2, "resource_missing");
    assert_eq!(world.simulator.ledger()[0].refunded, money(999, "EUR"));
    let listed = get(&world, "/refunds", &format!("payment_intent={intent}&limit=1")).1;
    assert_eq!((&listed["has_more"], &listed["data"][0]["amount"]), (&true.into(), &599.into()));
    let last = listed["data"][0]["id"].as_str().unwrap();
    let rest = get(&world, "/refunds", &format!("payment_intent={intent}&starting_after={last}")).1;
    assert_eq!((&rest["has_more"], &rest["data"][0]["metadata"]["reference"]), (&false.into(), &"part".into()));
}

#[test]
fn a_refund_that_was_good_can_fail_later_and_then_nothing_was_given_back() {
    let world = world();
    let intent = taken(&world, "1");
    world.simulator.next_refund_is("pending");
    let refund = id(&post(&world, "/refunds", None, &format!("payment_intent={intent}&amount=400")));
    assert!(world.simulator.ledger()[0].refunded.is_zero());
    kinds(&world);
    world.simulator.process();
    assert_eq!(kinds(&world), ["refund.updated", "charge.refund.updated"]);
    assert_eq!(world.simulator.ledger()[0].refunded, money(400, "EUR"));
    world.simulator.refund_fails_later(&refund);
    assert_eq!(kinds(&world), ["refund.updated", "charge.refund.updated", "refund.failed"]);
    assert_eq!(get(&world, &format!("/refunds/{refund}"), "").1["status"], "failed");
    assert!(world.simulator.ledger()[0].refunded.is_zero());
    assert_eq!(post(&world, "/refunds", None, &format!("payment_intent={intent}")).1["amount"], 999);
}

#[test]
fn the_search_knows_the_world_as_it_was_a_minute_ago() {
    let world = world();
    let search = || get(&world, "/payment_intents/search", "query=metadata['reference']:'r-1'").1["data"].clone();
    let intent = taken(&world, "1");
    taken(&world, "2");
    assert_eq!(search(), Value::Array(Vec::new()));
    // A list knows it at once.
    let (_, customer) = world.token.split_once(':').unwrap();
    assert_eq!(get(&world, "/payment_intents", &format!("customer={customer}&limit=100")).1["data"].as_array().unwrap().len(), 2);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!((search().as_array().unwrap().len(), &search()[0]["id"]), (1, &intent.into()));
    assert_eq!(get(&world, "/payment_intents/search", "query=everything").0, 400);
    world.simulator.search_lags(Duration::from_secs(600));
    assert_eq!(search(), Value::Array(Vec::new()));
    let customers =
        |ours: &str| get(&world, "/customers/search", &format!("query=metadata['cleengCustomerId']:'{ours}'")).1["data"].clone();
    assert_eq!(customers("332332332"), Value::Array(Vec::new()));
    world.simulator.search_lags(Duration::ZERO);
    assert_eq!(customers("332332332")[0]["id"], customer);
}

#[test]
fn what_is_processing_is_decided_later() {
    let world = world();
    for code in [None, Some("insufficient_funds")] {
        world.simulator.process_next(&world.token, code);
    }
    let (good, bad) = (taken(&world, "1"), taken(&world, "2"));
    assert_eq!(world.simulator.intents(), [(good.clone(), "processing"), (bad.clone(), "processing")]);
    assert_eq!(error(&post(&world, &format!("/payment_intents/{good}/cancel"), None, "")).2, "payment_intent_unexpected_state");
    kinds(&world);
    world.simulator.process();
    assert_eq!(kinds(&world), ["charge.succeeded", "payment_intent.succeeded", "charge.failed", "payment_intent.payment_failed"]);
    assert_eq!(world.simulator.intents(), [(good, "succeeded"), (bad, "requires_payment_method")]);
}

#[test]
fn a_dispute_takes_the_money_back_until_it_is_won() {
    let world = world();
    let intent = taken(&world, "1");
    kinds(&world);
    world.simulator.charge_back(&intent);
    assert_eq!(kinds(&world), ["charge.dispute.created", "charge.dispute.funds_withdrawn"]);
    assert_eq!(world.simulator.ledger()[0].standing, Standing::ChargedBack);
    assert_eq!(error(&post(&world, "/refunds", None, &format!("payment_intent={intent}"))).2, "charge_disputed");
    world.simulator.close_dispute(&intent, true);
    assert_eq!(kinds(&world), ["charge.dispute.funds_reinstated", "charge.dispute.closed"]);
    assert_eq!(world.simulator.ledger()[0].standing, Standing::Captured);
}
