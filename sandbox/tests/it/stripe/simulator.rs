//! The simulator is as strict as Stripe about requests, payment details and customers.

use std::time::Duration;

use connector::http::Method;
use sandbox::simulators::network::SimulatedServer;
use sandbox::simulators::simulated_gateway::{LedgerStatus, SimulatedGateway};
use serde_json::Value;

use super::calls::{INVALID, captured_intent, details, error, event_kinds, get, harness, id, post, read, request};
use super::harness::VERSION;

#[test]
fn a_body_in_json_a_missing_version_and_a_wrong_key_are_refused() {
    let harness = harness();
    let good = request(Method::POST, "/customers", None, "");
    let mut json = good.clone();
    json.headers.insert("content-type", "application/json".parse().unwrap());
    json.body = "{}".into();
    assert_eq!(read(&harness.simulator.handle(&json)).0, 400);
    let mut unversioned = good.clone();
    unversioned.headers.remove("stripe-version");
    assert_eq!(read(&harness.simulator.handle(&unversioned)).0, 400);
    let mut newer = good.clone();
    newer.headers.insert("stripe-version", "2020-01-01".parse().unwrap());
    assert_eq!(read(&harness.simulator.handle(&newer)).0, 400);
    let mut stranger = good.clone();
    stranger.headers.insert("authorization", "Bearer sk_test_other".parse().unwrap());
    assert_eq!(read(&harness.simulator.handle(&stranger)).0, 401);
    let before = harness.simulator.customers();
    assert_eq!(read(&harness.simulator.handle(&good)).0, 200);
    assert_eq!(harness.simulator.customers(), before + 1);
}

#[test]
fn parameters_have_to_be_known_and_well_written() {
    let harness = harness();
    for (params, expected) in [
        ("amount=999", (400, INVALID, "parameter_missing", "currency")),
        ("currency=eur", (400, INVALID, "parameter_missing", "amount")),
        ("amount=999&currency=EUR", (400, INVALID, "", "currency")),
        ("amount=999&currency=xxx", (400, INVALID, "", "currency")),
        ("amount=9.99&currency=eur", (400, INVALID, "parameter_invalid_integer", "amount")),
        ("amount=0&currency=eur", (400, INVALID, "parameter_invalid_integer", "amount")),
        ("amount=-5&currency=eur", (400, INVALID, "parameter_invalid_integer", "amount")),
        ("amount=49&currency=eur", (400, INVALID, "amount_too_small", "amount")),
        ("amount=100000000&currency=eur", (400, INVALID, "amount_too_large", "amount")),
        ("amount=1001&currency=kwd", (400, INVALID, "", "amount")),
        ("amount=1050&currency=isk", (400, INVALID, "", "amount")),
        ("amount=999&currency=eur&reference=x", (400, INVALID, "parameter_unknown", "reference")),
        ("amount=999&currency=eur&confirm=yes", (400, INVALID, "", "confirm")),
        ("amount=999&currency=eur&confirm=true", (400, INVALID, "payment_intent_unexpected_state", "")),
        ("amount=999&currency=eur&payment_method=", (400, INVALID, "parameter_invalid_empty", "payment_method")),
        ("amount=999&currency=eur&payment_method=pm_none", (400, INVALID, "resource_missing", "payment_method")),
        ("amount=999&currency=eur&customer=cus_none", (400, INVALID, "resource_missing", "customer")),
        ("amount=999&currency=eur&expand[0]=everything", (400, INVALID, "", "expand")),
        ("amount=999&currency=eur&off_session=true", (400, INVALID, "", "off_session")),
        ("amount=999&currency=eur&return_url=https://x", (400, INVALID, "", "return_url")),
        ("amount=999&currency=eur&payment_method_types[0]=ideal", (400, INVALID, "", "payment_method_types")),
        (
            "amount=999&currency=eur&confirm=true&off_session=true&setup_future_usage=off_session",
            (400, INVALID, "parameters_exclusive", "setup_future_usage"),
        ),
    ] {
        assert_eq!(error(&post(&harness, "/payment_intents", None, params)), expected, "{params}");
    }
    assert!(harness.simulator.intents().is_empty());
    assert_eq!(error(&get(&harness, "/payment_intents/pi_none", "")), (404, INVALID, "resource_missing", ""));
    assert_eq!(get(&harness, "/everything", "").0, 404);
    for harmless in ["balance", "account"] {
        assert_eq!(get(&harness, &format!("/{harmless}"), "").1["object"], harmless);
    }
}

#[test]
fn a_key_gets_its_first_answer_again_declines_and_server_errors_included_for_a_day() {
    let harness = harness();
    harness.simulator.decline_next_with(&harness.token, "insufficient_funds");
    let params = format!("amount=999&currency=eur&off_session=true&confirm=true&{}", details(&harness));
    let first = post(&harness, "/payment_intents", Some("k1"), &params);
    assert_eq!(error(&first), (402, "card_error", "card_declined", ""));
    assert_eq!(first.1["error"]["decline_code"], "insufficient_funds");
    let again = harness.simulator.handle(&request(Method::POST, "/payment_intents", Some("k1"), &params));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(read(&again), first);
    assert_eq!(post(&harness, "/payment_intents", Some("k2"), &params).1["status"], "succeeded");
    for (key, effect) in [("k3", false), ("k4", true)] {
        harness.simulator.server_error_next(effect);
        assert_eq!(post(&harness, "/payment_intents", Some(key), &params).0, 500);
        assert_eq!(post(&harness, "/payment_intents", Some(key), &params).0, 500);
    }
    // One refused, one paid, and the one of the last error.
    assert_eq!(harness.simulator.intents().len(), 3);
    harness.clock.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(post(&harness, "/payment_intents", Some("k1"), &params).1["status"], "succeeded");
}

#[test]
fn a_key_with_other_parameters_is_refused_and_what_failed_validation_is_not_kept() {
    let harness = harness();
    let params = format!("amount=999&currency=eur&{}", details(&harness));
    assert_eq!(post(&harness, "/payment_intents", Some("k"), "amount=999&currency=EUR").0, 400);
    harness.simulator.throttle_next(3);
    assert_eq!(post(&harness, "/payment_intents", Some("k"), &params).0, 429);
    harness.simulator.in_progress_next();
    assert_eq!(error(&post(&harness, "/payment_intents", Some("k"), &params)), (409, "idempotency_error", "idempotency_key_in_use", ""));
    let made = id(&post(&harness, "/payment_intents", Some("k"), &params));
    let other = params.replace("999", "998");
    assert_eq!(error(&post(&harness, "/payment_intents", Some("k"), &other)), (400, "idempotency_error", "", ""));
    let capture = post(&harness, &format!("/payment_intents/{made}/capture"), Some("k"), "");
    assert_eq!(error(&capture), (400, "idempotency_error", "", ""));
    assert_eq!(harness.simulator.intents().len(), 1);
    harness.simulator.should_retry_next(false);
    let answer = harness.simulator.handle(&request(Method::POST, "/payment_intents", Some("k"), &params));
    assert_eq!((answer.status.as_u16(), answer.headers["stripe-should-retry"].to_str().unwrap()), (200, "false"));
}

#[test]
fn a_decline_leaves_an_intent_behind_that_waits_for_other_details() {
    let harness = harness();
    let (_, customer) = harness.token.split_once(':').unwrap();
    for (card, code, decline_code) in [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_radarBlock", "card_declined", "fraudulent"),
    ] {
        let params = format!("amount=999&currency=eur&confirm=true&customer={customer}&payment_method={card}");
        let answer = post(&harness, "/payment_intents", None, &params);
        assert_eq!(error(&answer), (402, "card_error", code, ""), "{card}");
        assert_eq!(answer.1["error"]["decline_code"], decline_code);
        let intent = &answer.1["error"]["payment_intent"];
        assert_eq!((&intent["status"], &intent["payment_method"]), (&"requires_payment_method".into(), &Value::Null));
        assert_eq!(intent["last_payment_error"]["decline_code"], decline_code);
        let path = format!("/payment_intents/{}", intent["id"].as_str().unwrap());
        let charge = get(&harness, &path, "expand[]=latest_charge").1["latest_charge"].clone();
        assert_eq!((&charge["status"], charge["outcome"]["type"] == "blocked"), (&"failed".into(), card == "pm_card_radarBlock"));
        let paid = post(&harness, &format!("{path}/confirm"), None, "payment_method=pm_card_visa");
        assert_eq!(paid.1["status"], "succeeded", "{card}");
    }
    assert!(harness.simulator.ledger().iter().all(|entry| entry.status == LedgerStatus::Captured));
}

#[test]
fn details_that_were_not_set_up_or_of_another_customer_pay_nothing_off_session() {
    let harness = harness();
    let (_, customer) = harness.token.split_once(':').unwrap();
    let another = id(&post(&harness, "/customers", None, "metadata[cleengCustomerId]=7"));
    let pay = |customer: &str, method: &str, more: &str| {
        post(
            &harness,
            "/payment_intents",
            None,
            &format!("amount=999&currency=eur&confirm=true&customer={customer}&payment_method={method}{more}"),
        )
    };
    // Set up for the customer's own visits only.
    let here = pay(customer, "pm_card_visa", "&setup_future_usage=on_session").1["payment_method"].as_str().unwrap().to_owned();
    assert_eq!(error(&pay(customer, &here, "&off_session=true")).2, "authentication_required");
    let kept = pay(customer, "pm_card_visa", "&setup_future_usage=off_session").1["payment_method"].as_str().unwrap().to_owned();
    assert_eq!(pay(customer, &kept, "&off_session=true").1["status"], "succeeded");
    assert_eq!(error(&pay(&another, &kept, "&off_session=true")), (400, INVALID, "", "payment_method"));
    // Never stored: it paid once.
    let spent = pay(customer, "pm_card_visa", "").1["payment_method"].as_str().unwrap().to_owned();
    assert_eq!(error(&pay(customer, &spent, "")), (400, INVALID, "", "payment_method"));
    let storable =
        post(&harness, "/setup_intents", None, &format!("customer={customer}&payment_method=pm_card_chargeCustomerFail&confirm=true"));
    let storable = storable.1["payment_method"].as_str().unwrap().to_owned();
    assert!(harness.simulator.has_details(&storable));
    assert_eq!(error(&pay(customer, &storable, "&off_session=true")).2, "card_declined");
}

#[test]
fn detached_details_never_pay_again_and_cannot_be_detached_twice() {
    let harness = harness();
    let (method, customer) = harness.token.split_once(':').unwrap();
    event_kinds(&harness);
    let gone = post(&harness, &format!("/payment_methods/{method}/detach"), None, "");
    assert_eq!((gone.0, &gone.1["customer"]), (200, &Value::Null));
    let posted = harness.simulator.take_notifications();
    let event: Value = serde_json::from_slice(&posted[0].body).unwrap();
    assert_eq!((&event["type"], &event["data"]["previous_attributes"]["customer"]), (&"payment_method.detached".into(), &customer.into()));
    assert_eq!(error(&post(&harness, &format!("/payment_methods/{method}/detach"), None, "")), (400, INVALID, "", ""));
    assert_eq!(error(&post(&harness, "/payment_methods/pm_none/detach", None, "")), (404, INVALID, "resource_missing", ""));
    let params = format!("amount=999&currency=eur&off_session=true&confirm=true&{}", details(&harness));
    assert_eq!(error(&post(&harness, "/payment_intents", None, &params)), (400, INVALID, "", "payment_method"));
}

#[test]
fn an_authentication_succeeds_or_fails() {
    let harness = harness();
    let (_, customer) = harness.token.split_once(':').unwrap();
    let start = |card: &str, more: &str| {
        let params =
            format!("amount=999&currency=eur&confirm=true&customer={customer}&payment_method={card}&setup_future_usage=off_session{more}");
        post(&harness, "/payment_intents", None, &params)
    };
    let away = start("pm_card_threeDSecure2Required", "&return_url=https://shop.example.com/back");
    assert_eq!((&away.1["status"], &away.1["next_action"]["type"]), (&"requires_action".into(), &"redirect_to_url".into()));
    assert!(!harness.simulator.has_details(away.1["payment_method"].as_str().unwrap()));
    assert!(harness.simulator.authenticate(&id(&away)));
    assert!(harness.simulator.has_details(away.1["payment_method"].as_str().unwrap()));
    let inside = start("pm_card_authenticationRequired", "");
    assert_eq!(inside.1["next_action"]["type"], "use_stripe_sdk");
    harness.simulator.fail_authentication(&id(&inside));
    let failed = get(&harness, &format!("/payment_intents/{}", id(&inside)), "").1;
    assert_eq!(
        (&failed["status"], &failed["last_payment_error"]["code"]),
        (&"requires_payment_method".into(), &"payment_intent_authentication_failure".into())
    );
    let poor = start("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "");
    assert!(harness.simulator.authenticate(&id(&poor)));
    assert!(!harness.simulator.authenticate(&id(&poor)));
    let standings: Vec<_> = harness.simulator.ledger().iter().map(|entry| entry.status).collect();
    assert_eq!(standings, [LedgerStatus::Captured, LedgerStatus::Declined, LedgerStatus::Declined]);
    let asked = start("pm_card_authenticationRequired", "");
    assert_eq!(
        post(&harness, &format!("/payment_intents/{}/cancel", id(&asked)), None, "cancellation_reason=abandoned").1["status"],
        "canceled"
    );
}

#[test]
fn details_are_stored_without_a_charge_or_are_not() {
    let harness = harness();
    let (_, customer) = harness.token.split_once(':').unwrap();
    let start = |card: &str| {
        let params = format!(
            "customer={customer}&payment_method={card}&usage=off_session&confirm=true&return_url=https://x&expand[0]=payment_method"
        );
        post(&harness, "/setup_intents", None, &params)
    };
    event_kinds(&harness);
    let stored = start("pm_card_visa");
    assert_eq!((&stored.1["status"], &stored.1["payment_method"]["customer"]), (&"succeeded".into(), &customer.into()));
    assert_eq!(event_kinds(&harness), ["setup_intent.created", "payment_method.attached", "setup_intent.succeeded"]);
    let path = format!("/setup_intents/{}/cancel", id(&stored));
    assert_eq!(error(&post(&harness, &path, None, "")).2, "setup_intent_unexpected_state");
    let refused = start("pm_card_chargeDeclined");
    assert_eq!((refused.0, &refused.1["error"]["setup_intent"]["status"]), (402, &"requires_payment_method".into()));
    assert_eq!(event_kinds(&harness), ["setup_intent.created", "setup_intent.setup_failed"]);
    let asked = start("pm_card_authenticationRequired");
    assert_eq!(asked.1["status"], "requires_action");
    assert!(harness.simulator.authenticate(&id(&asked)));
    assert_eq!(get(&harness, &format!("/setup_intents/{}", id(&asked)), "").1["status"], "succeeded");
    let left = start("pm_card_authenticationRequired");
    assert_eq!(post(&harness, &format!("/setup_intents/{}/cancel", id(&left)), None, "").1["status"], "canceled");
    let listed = get(&harness, "/setup_intents", &format!("customer={customer}")).1;
    assert_eq!(listed["data"].as_array().unwrap().len(), 4);
    assert!(harness.simulator.ledger().is_empty());
}

#[test]
fn an_event_names_the_request_that_it_comes_from_and_the_version_that_it_is_written_in() {
    let harness = harness();
    event_kinds(&harness);
    captured_intent(&harness, "the-key");
    let posted = harness.simulator.take_notifications();
    let event: Value = serde_json::from_slice(&posted[1].body).unwrap();
    assert_eq!((&event["api_version"], &event["request"]["idempotency_key"]), (&VERSION.into(), &"the-key".into()));
    let signature = posted[1].headers["stripe-signature"].to_str().unwrap();
    assert!(signature.starts_with("t=1790000000,v1=") && signature.contains(",v0="), "{signature}");
    harness.simulator.update_card_automatically(&harness.token);
    harness.simulator.detach_in_dashboard(&harness.token);
    let posted = harness.simulator.take_notifications();
    let event: Value = serde_json::from_slice(&posted[0].body).unwrap();
    assert_eq!((&event["type"], &event["request"]["id"]), (&"payment_method.automatically_updated".into(), &Value::Null));
    assert!(!harness.simulator.has_details(&harness.token));
}
