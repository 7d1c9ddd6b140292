//! The simulator moves money as Stripe does, and sends the events.

use std::time::Duration;

use sandbox::simulators::simulated_gateway::{LedgerStatus, SimulatedGateway};
use serde_json::Value;

use super::calls::{INVALID, authorised_intent, captured_intent, error, event_kinds, get, harness, id, post};
use super::harness::money;

#[test]
fn an_authorisation_is_captured_or_released_once_and_errors_name_its_status() {
    let harness = harness();
    let (one, other) = (authorised_intent(&harness, "1"), authorised_intent(&harness, "2"));
    event_kinds(&harness);
    assert_eq!(post(&harness, &format!("/payment_intents/{one}/capture"), None, "").1["amount_received"], 999);
    assert_eq!(event_kinds(&harness), ["charge.captured", "payment_intent.succeeded"]);
    assert_eq!(post(&harness, &format!("/payment_intents/{other}/cancel"), None, "").1["status"], "canceled");
    // The release is reported as a refund of what was never taken.
    assert_eq!(event_kinds(&harness), ["charge.refunded", "payment_intent.canceled"]);
    for (id, status) in [(&one, "succeeded"), (&other, "canceled")] {
        for what in ["capture", "cancel", "confirm"] {
            let answer = post(&harness, &format!("/payment_intents/{id}/{what}"), None, "");
            assert_eq!(error(&answer), (400, INVALID, "payment_intent_unexpected_state", ""), "{what}");
            assert_eq!(answer.1["error"]["payment_intent"]["status"], status);
        }
    }
    let entries = harness.simulator.ledger();
    assert_eq!(entries.iter().map(|entry| entry.status).collect::<Vec<_>>(), [LedgerStatus::Captured, LedgerStatus::Cancelled]);
    assert!(entries.iter().all(|entry| entry.refunded.is_zero()));
    let third = authorised_intent(&harness, "3");
    harness.simulator.decline_next_capture_with("capture_charge_authorization_expired");
    assert_eq!(post(&harness, &format!("/payment_intents/{third}/capture"), None, "").0, 400);
    assert_eq!(error(&post(&harness, &format!("/payment_intents/{third}/capture"), None, "amount_to_capture=1000")).2, "amount_too_large");
}

#[test]
fn a_visa_hold_without_the_customer_lapses_after_four_days_and_eighteen_hours_and_others_after_seven_days() {
    let harness = harness();
    let (_, customer) = harness.token.split_once(':').unwrap();
    let visa = authorised_intent(&harness, "1");
    let params =
        format!("amount=999&currency=eur&confirm=true&capture_method=manual&customer={customer}&payment_method=pm_card_mastercard");
    let other = id(&post(&harness, "/payment_intents", None, &params));
    let told = get(&harness, &format!("/payment_intents/{visa}"), "expand[]=latest_charge").1;
    let until = told.pointer("/latest_charge/payment_method_details/card/capture_before").unwrap().as_i64().unwrap();
    assert_eq!(until - told["created"].as_i64().unwrap(), (4 * 24 + 18) * 3_600);
    harness.clock.advance(Duration::from_secs((4 * 24 + 18) * 3_600 - 1));
    assert_eq!(harness.simulator.ledger()[0].status, LedgerStatus::Authorised);
    event_kinds(&harness);
    harness.clock.advance(Duration::from_secs(1));
    assert_eq!(event_kinds(&harness), ["charge.expired", "payment_intent.canceled"]);
    assert_eq!(get(&harness, &format!("/payment_intents/{visa}"), "").1["cancellation_reason"], "automatic");
    assert_eq!(harness.simulator.ledger()[0].status, LedgerStatus::Expired);
    assert_eq!(get(&harness, &format!("/payment_intents/{other}"), "").1["status"], "requires_capture");
    harness.clock.advance(Duration::from_secs(3 * 24 * 3_600));
    assert_eq!(get(&harness, &format!("/payment_intents/{other}"), "").1["status"], "canceled");
}

#[test]
fn more_than_was_captured_is_never_refunded() {
    let harness = harness();
    let (intent, open) = (captured_intent(&harness, "1"), authorised_intent(&harness, "2"));
    let refund = |params: &str| post(&harness, "/refunds", None, &format!("payment_intent={intent}{params}"));
    assert_eq!(error(&refund("&amount=1000")), (400, INVALID, "", "amount"));
    assert_eq!(refund("&amount=400&metadata[reference]=part").1["status"], "succeeded");
    assert_eq!(error(&refund("&amount=600")), (400, INVALID, "", "amount"));
    assert_eq!(refund("").1["amount"], 599);
    assert_eq!(error(&refund("")), (400, INVALID, "charge_already_refunded", ""));
    assert_eq!(post(&harness, "/refunds", None, &format!("payment_intent={open}")).0, 400);
    assert_eq!(error(&post(&harness, "/refunds", None, "payment_intent=pi_none")).2, "resource_missing");
    assert_eq!(harness.simulator.ledger()[0].refunded, money(999, "EUR"));
    let listed = get(&harness, "/refunds", &format!("payment_intent={intent}&limit=1")).1;
    assert_eq!((&listed["has_more"], &listed["data"][0]["amount"]), (&true.into(), &599.into()));
    let last = listed["data"][0]["id"].as_str().unwrap();
    let rest = get(&harness, "/refunds", &format!("payment_intent={intent}&starting_after={last}")).1;
    assert_eq!((&rest["has_more"], &rest["data"][0]["metadata"]["reference"]), (&false.into(), &"part".into()));
}

#[test]
fn a_succeeded_refund_can_fail_later_and_then_refunds_nothing() {
    let harness = harness();
    let intent = captured_intent(&harness, "1");
    harness.simulator.set_next_refund_status("pending");
    let refund = id(&post(&harness, "/refunds", None, &format!("payment_intent={intent}&amount=400")));
    assert!(harness.simulator.ledger()[0].refunded.is_zero());
    event_kinds(&harness);
    harness.simulator.process();
    assert_eq!(event_kinds(&harness), ["refund.updated", "charge.refund.updated"]);
    assert_eq!(harness.simulator.ledger()[0].refunded, money(400, "EUR"));
    harness.simulator.fail_refund_later(&refund);
    assert_eq!(event_kinds(&harness), ["refund.updated", "charge.refund.updated", "refund.failed"]);
    assert_eq!(get(&harness, &format!("/refunds/{refund}"), "").1["status"], "failed");
    assert!(harness.simulator.ledger()[0].refunded.is_zero());
    assert_eq!(post(&harness, "/refunds", None, &format!("payment_intent={intent}")).1["amount"], 999);
}

#[test]
fn the_search_lags_by_a_minute() {
    let harness = harness();
    let search = || get(&harness, "/payment_intents/search", "query=metadata['reference']:'r-1'").1["data"].clone();
    let intent = captured_intent(&harness, "1");
    captured_intent(&harness, "2");
    assert_eq!(search(), Value::Array(Vec::new()));
    // A list knows it at once.
    let (_, customer) = harness.token.split_once(':').unwrap();
    assert_eq!(get(&harness, "/payment_intents", &format!("customer={customer}&limit=100")).1["data"].as_array().unwrap().len(), 2);
    harness.clock.advance(Duration::from_secs(60));
    assert_eq!((search().as_array().unwrap().len(), &search()[0]["id"]), (1, &intent.into()));
    assert_eq!(get(&harness, "/payment_intents/search", "query=everything").0, 400);
    harness.simulator.set_search_delay(Duration::from_secs(600));
    assert_eq!(search(), Value::Array(Vec::new()));
    let customers =
        |ours: &str| get(&harness, "/customers/search", &format!("query=metadata['cleengCustomerId']:'{ours}'")).1["data"].clone();
    assert_eq!(customers("332332332"), Value::Array(Vec::new()));
    harness.simulator.set_search_delay(Duration::ZERO);
    assert_eq!(customers("332332332")[0]["id"], customer);
}

#[test]
fn a_processing_payment_is_decided_later() {
    let harness = harness();
    for code in [None, Some("insufficient_funds")] {
        harness.simulator.leave_next_processing(&harness.token, code);
    }
    let (good, bad) = (captured_intent(&harness, "1"), captured_intent(&harness, "2"));
    assert_eq!(harness.simulator.intents(), [(good.clone(), "processing"), (bad.clone(), "processing")]);
    assert_eq!(error(&post(&harness, &format!("/payment_intents/{good}/cancel"), None, "")).2, "payment_intent_unexpected_state");
    event_kinds(&harness);
    harness.simulator.process();
    assert_eq!(event_kinds(&harness), ["charge.succeeded", "payment_intent.succeeded", "charge.failed", "payment_intent.payment_failed"]);
    assert_eq!(harness.simulator.intents(), [(good, "succeeded"), (bad, "requires_payment_method")]);
}

#[test]
fn a_dispute_withdraws_the_funds_until_it_is_won() {
    let harness = harness();
    let intent = captured_intent(&harness, "1");
    event_kinds(&harness);
    harness.simulator.charge_back(&intent);
    assert_eq!(event_kinds(&harness), ["charge.dispute.created", "charge.dispute.funds_withdrawn"]);
    assert_eq!(harness.simulator.ledger()[0].status, LedgerStatus::ChargedBack);
    assert_eq!(error(&post(&harness, "/refunds", None, &format!("payment_intent={intent}"))).2, "charge_disputed");
    harness.simulator.close_dispute(&intent, true);
    assert_eq!(event_kinds(&harness), ["charge.dispute.funds_reinstated", "charge.dispute.closed"]);
    assert_eq!(harness.simulator.ledger()[0].status, LedgerStatus::Captured);
}
