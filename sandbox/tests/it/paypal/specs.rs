//! What the PayPal adapter sends, and what its simulator answers and notifies, against PayPal's own OpenAPI files (paypal/paypal-rest-api-specifications,
//! February 2024). Those are third-party data and no part of the project: `CONNECTOR_TEST_SPECS` says where they are, and without them these
//! tests say that they were skipped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use connector::clock::Clock as _;
use connector::gateway::{CancelTarget, DeclineClass, DeleteDetailsRequest, Gateway, OperationKind};
use sandbox::simulators::network::NetworkCall;
use sandbox::simulators::simulated_gateway::SimulatedGateway;
use serde_json::{Value, json};

use super::harness::{PayPalHarness, money, token};
use super::requests::{self, action, cancel, capture, customer, finalize, key, payment, purchase, refund};

/// The folder with the specs; says so if there is none.
fn specs(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CONNECTOR_TEST_SPECS").map(|folder| PathBuf::from(folder).join("paypal"));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("SKIPPED {test}: set CONNECTOR_TEST_SPECS to a folder with the gateways' OpenAPI files");
    }
    folder
}

/// What PayPal takes today and its published files do not know yet (its TypeScript SDK 2.4.0: `vaultTokenRequestType.ts`, `usagePattern.ts`): the
/// value, and where it stands.
const NEWER: [(&str, &str); 3] = [
    ("\"SETUP_TOKEN\"", "/payment_source/token/type"),
    ("\"SUBSCRIPTION_PREPAID\"", "/payment_source/paypal/attributes/vault/usage_pattern"),
    ("\"SUBSCRIPTION_PREPAID\"", "/payment_source/paypal/usage_pattern"),
];

/// One OpenAPI file with its validators, made once per schema.
struct Spec {
    file: Value,
    validators: BTreeMap<String, jsonschema::Validator>,
}

impl Spec {
    fn new(folder: &std::path::Path, file: &str) -> Self {
        let file = serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap();
        Self { file, validators: BTreeMap::new() }
    }

    /// What is wrong with an instance of a schema of this file, but for what is newer than the file.
    fn errors(&mut self, schema: &Value, instance: &Value) -> Vec<String> {
        let key = schema.to_string();
        if !self.validators.contains_key(&key) {
            let mut root = schema.clone();
            root["components"] = self.file["components"].clone();
            self.validators.insert(key.clone(), jsonschema::validator_for(&root).unwrap());
        }
        let told = self.validators[&key].iter_errors(instance);
        let told = told.map(|error| (error.to_string(), error.instance_path().to_string()));
        let newer = |told: &(String, String)| NEWER.iter().any(|(value, place)| told.0.starts_with(value) && told.1 == *place);
        told.filter(|told| !newer(told)).map(|(error, place)| format!("{error} at {place}")).collect()
    }

    fn operation(&self, call: &NetworkCall) -> Option<Value> {
        let segments: Vec<&str> = call.path.split('/').collect();
        let paths = self.file["paths"].as_object().unwrap();
        let fits = |template: &&String| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == segments.len() && parts.iter().zip(&segments).all(|(part, segment)| part.starts_with('{') || part == segment)
        };
        let template = paths.keys().find(|template| **template == call.path).or_else(|| paths.keys().find(fits))?;
        self.file["paths"][template].get(call.method.as_str().to_ascii_lowercase()).cloned()
    }
}

fn schema(content: &Value) -> Option<Value> {
    content.pointer("/content/application~1json/schema").cloned()
}

/// Every operation of the adapter, with answers of every kind.
async fn exercise(harness: &PayPalHarness) {
    let gateway = &harness.adapter;
    for (attempt, amount) in [("eur", money(999, "EUR")), ("jpy", money(500, "JPY")), ("huf", money(199_000, "HUF"))] {
        let held = requests::done(gateway.authorise(&payment(amount, &harness.token, attempt)).await).external_payment_id.unwrap();
        let taken = requests::done(gateway.capture(&capture(amount, &held, attempt)).await).external_payment_id.unwrap();
        requests::done(gateway.refund(&refund(amount, amount, &taken, attempt)).await);
        requests::declined(gateway.refund(&refund(amount, amount, &taken, &format!("{attempt} again"))).await);
    }
    for class in [DeclineClass::Soft, DeclineClass::NeedsCustomer, DeclineClass::NeedsNewDetails, DeclineClass::Hard, DeclineClass::Risk] {
        SimulatedGateway::decline_next(harness.simulator.as_ref(), &harness.token, class);
        requests::declined(gateway.authorise(&payment(harness.amount, &harness.token, class.as_str())).await);
    }
    harness.simulator.decline_inside_next_order(&harness.token);
    requests::declined(gateway.charge(&payment(harness.amount, &harness.token, "inside")).await);
    harness.simulator.leave_next_pending(&harness.token);
    requests::received(gateway.charge(&payment(harness.amount, &harness.token, "pending")).await);
    harness.simulator.omit_payment_from_next_answer(&harness.token);
    requests::done(gateway.charge(&payment(harness.amount, &harness.token, "silent")).await);
    harness.simulator.process();
    let voided = requests::authorise(harness, "void").await;
    for attempt in ["void", "void again"] {
        requests::done(gateway.cancel(&cancel(attempt, CancelTarget::Payment(voided.clone()))).await);
    }
    let mut old = capture(harness.amount, &requests::authorise(harness, "old").await, "old");
    old.authorised_at = Some(harness.clock.now());
    harness.clock.advance(Duration::from_secs(5 * 24 * 3_600));
    requests::done(gateway.capture(&old).await);
    for amount in [harness.amount, money(0, "EUR")] {
        let request = purchase(amount, &amount.to_string());
        let (payload, operation) = action(gateway.start_purchase(&request).await);
        requests::declined(gateway.finalize(&finalize(&request, operation.pending_id.as_deref(), Value::Null)).await);
        harness.simulator.complete_action(&payload);
        requests::done(gateway.finalize(&finalize(&request, operation.pending_id.as_deref(), Value::Null)).await);
    }
    let expiring = requests::authorise(harness, "expiring").await;
    harness.simulator.expire(expiring.as_str());
    let disputed = requests::captured(harness, "disputed").await;
    harness.simulator.charge_back(disputed.as_str());
    let delete = DeleteDetailsRequest { key: key(OperationKind::Delete, "1"), token: token(&harness.token), customer: customer() };
    requests::done(gateway.delete_details(&delete).await);
}

#[tokio::test]
async fn every_request_to_paypal_and_simulated_answer_matches_its_specs() {
    let Some(folder) = specs("every_request_to_paypal_and_simulated_answer_matches_its_specs") else { return };
    let files = ["checkout_orders_v2.json", "payments_payment_v2.json", "vault_payment_tokens_v3.json", "notifications_webhooks_v1.json"];
    let mut specs: Vec<Spec> = files.iter().map(|file| Spec::new(&folder, file)).collect();
    let harness = PayPalHarness::new(money(999, "EUR"));
    exercise(&harness).await;
    harness.simulator.set_certificate(None);
    // The latest: PayPal repeats one for three days alone, and an older one is not believed.
    for posted in harness.simulator.take_notifications().into_iter().rev().take(3) {
        assert!(harness.adapter.read_notification(&posted.headers, &posted.body).await.is_ok());
    }
    let mut checked = BTreeMap::new();
    for call in harness.network.calls() {
        // OAuth and the certificates have no file.
        if call.path.starts_with("/v1/oauth2") || call.path.contains("/certs/") {
            continue;
        }
        let found = specs.iter_mut().find_map(|spec| spec.operation(&call).map(|operation| (spec, operation)));
        let (spec, operation) = found.unwrap_or_else(|| panic!("{} {} is no operation of PayPal's", call.method, call.path));
        let what = format!("{} {} {:?}", call.method, call.path, call.status);
        if let Some(schema) = operation.get("requestBody").and_then(schema) {
            assert_eq!(spec.errors(&schema, &call.request_body), Vec::<String>::new(), "request of {what}: {}", call.request_body);
        }
        let status = call.status.unwrap().to_string();
        let answer = operation["responses"].get(&status).or_else(|| operation["responses"].get("default"));
        let answer = answer.unwrap_or_else(|| panic!("{what}: PayPal never answers {status}"));
        let mut schemas: Vec<Value> = schema(answer).into_iter().collect();
        // With stored details creating, authorising and capturing are one step, with the refusals of all three.
        if call.path == "/v2/checkout/orders" && status == "422" {
            let step = |step: &str| spec.file["paths"][format!("/v2/checkout/orders/{{id}}/{step}")]["post"]["responses"]["422"].clone();
            schemas.extend(["authorize", "capture"].iter().filter_map(|name| schema(&step(name))));
        }
        let told: Vec<_> = schemas.iter().map(|schema| spec.errors(schema, &call.response_body)).collect();
        assert!(told.is_empty() || told.iter().any(Vec::is_empty), "answer of {what}: {} {told:?}", call.response_body);
        *checked.entry(operation["operationId"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    let expected = [
        "authorizations.capture",
        "authorizations.reauthorize",
        "authorizations.void",
        "captures.refund",
        "orders.capture",
        "orders.create",
        "orders.get",
        "payment-tokens.create",
        "payment-tokens.delete",
        "setup-tokens.create",
        "verify-webhook-signature.post",
    ];
    for operation in expected {
        assert!(checked.contains_key(operation), "{operation} is not among {checked:?}");
    }
}

#[tokio::test]
async fn every_notification_that_is_simulated_keeps_to_paypals_specs() {
    let Some(folder) = specs("every_notification_that_is_simulated_keeps_to_paypals_specs") else { return };
    let mut events = Spec::new(&folder, "notifications_webhooks_v1.json");
    let (orders, payments, vault) = ("checkout_orders_v2.json", "payments_payment_v2.json", "vault_payment_tokens_v3.json");
    let mut resources: BTreeMap<&str, (Spec, &str)> = [
        ("checkout-order", (Spec::new(&folder, orders), "order")),
        ("authorization", (Spec::new(&folder, payments), "authorization-2")),
        ("capture", (Spec::new(&folder, payments), "capture-2")),
        ("refund", (Spec::new(&folder, payments), "refund")),
        ("payment_token", (Spec::new(&folder, vault), "payment_token_response")),
    ]
    .into();
    let harness = PayPalHarness::new(money(999, "EUR"));
    exercise(&harness).await;
    let mut kinds = BTreeMap::new();
    for posted in harness.simulator.take_notifications() {
        let event: Value = serde_json::from_slice(&posted.body).unwrap();
        assert_eq!(events.errors(&json!({ "$ref": "#/components/schemas/event" }), &event), Vec::<String>::new(), "{event}");
        let (spec, name) = resources.get_mut(event["resource_type"].as_str().unwrap()).unwrap();
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        assert_eq!(spec.errors(&schema, &event["resource"]), Vec::<String>::new(), "{event}");
        *kinds.entry(event["event_type"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    for kind in [
        "CHECKOUT.ORDER.APPROVED",
        "PAYMENT.AUTHORIZATION.CREATED",
        "PAYMENT.AUTHORIZATION.VOIDED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.DENIED",
        "PAYMENT.CAPTURE.PENDING",
        "PAYMENT.CAPTURE.REFUNDED",
        "PAYMENT.CAPTURE.REVERSED",
        "VAULT.PAYMENT-TOKEN.CREATED",
        "VAULT.PAYMENT-TOKEN.DELETED",
    ] {
        assert!(kinds.contains_key(kind), "{kind} is not among {kinds:?}");
    }
}

#[test]
fn a_request_that_breaks_the_spec_would_be_found() {
    let Some(folder) = specs("a_request_that_breaks_the_spec_would_be_found") else { return };
    let mut spec = Spec::new(&folder, "checkout_orders_v2.json");
    let schema = json!({ "$ref": "#/components/schemas/order_request" });
    let good = json!({ "intent": "CAPTURE", "purchase_units": [{ "amount": { "currency_code": "EUR", "value": "9.99" } }] });
    assert_eq!(spec.errors(&schema, &good), Vec::<String>::new());
    for (place, value) in [
        ("/intent", json!("TAKE")),
        ("/purchase_units/0/amount/value", json!(9.99)),
        ("/purchase_units/0/amount/value", json!("9,99")),
        ("/purchase_units/0/amount/currency_code", json!("EURO")),
        ("/purchase_units", json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value.clone();
        assert!(!spec.errors(&schema, &bad).is_empty(), "{place} {value}");
    }
}
