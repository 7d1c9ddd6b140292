//! What the Stripe adapter sends, and what its simulator answers and notifies, against Stripe's own OpenAPI file (stripe/openapi, 2023-08-16).
//! It is third-party data and no part of the project: `CONNECTOR_TEST_SPECS` says where it is, and without it these tests say that they were
//! skipped.

use std::collections::BTreeMap;
use std::path::PathBuf;

use connector::gateway::{CancelTarget, DeclineClass, DeleteDetailsRequest, Gateway, InquiryRequest, OperationKind, Reference};
use connector::http::Method;
use sandbox::simulators::network::{ServerRequest, SimulatedServer as _};
use sandbox::simulators::simulated_gateway::SimulatedGateway;
use serde_json::{Value, json};

use super::harness::{self, StripeHarness, form, money, token};
use super::requests::{self, action, cancel, capture, customer, finalize, key, payment, purchase, refund};

/// The folder with the specs; says so if there is none.
fn specs(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CONNECTOR_TEST_SPECS").map(|folder| PathBuf::from(folder).join("stripe"));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("SKIPPED {test}: set CONNECTOR_TEST_SPECS to a folder with the gateways' OpenAPI files");
    }
    folder
}

/// The OpenAPI file with its validators, made once per schema.
struct Spec {
    file: Value,
    validators: BTreeMap<String, jsonschema::Validator>,
}

/// OpenAPI 3.0 writes `nullable` where JSON Schema has a type of its own.
fn without_nullable(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(without_nullable);
            if fields.remove("nullable") == Some(Value::Bool(true)) {
                let inner = Value::Object(std::mem::take(fields));
                fields.insert("anyOf".to_owned(), json!([inner, { "type": "null" }]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_nullable),
        _ => {}
    }
}

impl Spec {
    fn new(folder: &std::path::Path) -> Self {
        let mut file = serde_json::from_str(&std::fs::read_to_string(folder.join("spec3-2023-08-16.json")).unwrap()).unwrap();
        without_nullable(&mut file);
        Self { file, validators: BTreeMap::new() }
    }

    /// What is wrong with an instance of a schema of this file.
    fn errors(&mut self, schema: &Value, instance: &Value) -> Vec<String> {
        let key = schema.to_string();
        if !self.validators.contains_key(&key) {
            let mut root = schema.clone();
            root["components"] = self.file["components"].clone();
            self.validators.insert(key.clone(), jsonschema::validator_for(&root).unwrap());
        }
        self.validators[&key].iter_errors(instance).map(|error| format!("{error} at {}", error.instance_path())).collect()
    }

    fn operation(&self, request: &ServerRequest) -> Option<Value> {
        let segments: Vec<&str> = request.path.split('/').collect();
        let paths = self.file["paths"].as_object().unwrap();
        let fits = |template: &&String| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == segments.len() && parts.iter().zip(&segments).all(|(part, segment)| part.starts_with('{') || part == segment)
        };
        let template = paths.keys().find(|template| **template == request.path).or_else(|| paths.keys().find(fits))?;
        self.file["paths"][template].get(request.method.as_str().to_ascii_lowercase()).cloned()
    }
}

/// A form as the tree that its schema is about: digits are numbers and words truths, but in `metadata`.
fn tree(pairs: &[(String, String)]) -> Value {
    let mut root = json!({});
    for (name, text) in pairs {
        let leaf = match text.as_str() {
            "true" | "false" => json!(text == "true"),
            _ if name.starts_with("metadata") => json!(text),
            digits => digits.parse::<i64>().map_or_else(|_| json!(digits), Value::from),
        };
        match name.split_once('[') {
            None => root[name] = leaf,
            Some((list, rest)) if rest.trim_end_matches(']').parse::<usize>().is_ok() => {
                if root[list].is_null() {
                    root[list] = json!([]);
                }
                root[list].as_array_mut().unwrap().push(leaf);
            }
            Some((map, rest)) => {
                if root[map].is_null() {
                    root[map] = json!({});
                }
                root[map][rest.trim_end_matches(']')] = leaf;
            }
        }
    }
    root
}

/// Every operation of the adapter, with answers of every kind.
async fn exercise(harness: &StripeHarness) {
    let (gateway, simulator) = (&harness.adapter, &harness.simulator);
    for (attempt, amount) in [("eur", money(999, "EUR")), ("jpy", money(500, "JPY")), ("isk", money(1_990, "ISK"))] {
        let held = requests::done(gateway.authorise(&payment(amount, &harness.token, attempt)).await).external_payment_id.unwrap();
        requests::done(gateway.capture(&capture(amount, &held, attempt)).await);
        requests::done(gateway.refund(&refund(amount, amount, &held, attempt)).await);
        requests::declined(gateway.refund(&refund(amount, amount, &held, &format!("{attempt} again"))).await);
    }
    for class in [DeclineClass::Soft, DeclineClass::NeedsCustomer, DeclineClass::NeedsNewDetails, DeclineClass::Hard, DeclineClass::Risk] {
        SimulatedGateway::decline_next(simulator.as_ref(), &harness.token, class);
        requests::declined(gateway.authorise(&payment(harness.amount, &harness.token, class.as_str())).await);
    }
    simulator.leave_next_processing(&harness.token, None);
    requests::received(gateway.charge(&payment(harness.amount, &harness.token, "processing")).await);
    simulator.set_next_refund_status("pending");
    let taken = requests::done(gateway.charge(&payment(harness.amount, &harness.token, "charge")).await).external_payment_id.unwrap();
    requests::received(gateway.refund(&refund(money(400, "EUR"), harness.amount, &taken, "pending")).await);
    simulator.process();
    simulator.fail_refund_later(&simulator.refunds().last().unwrap().0);
    let released = requests::authorise(harness, "release").await;
    for attempt in ["release", "release again"] {
        let target = CancelTarget::Payment(released.clone());
        requests::done(
            gateway.cancel(&connector::gateway::CancelRequest { reference: reference("release"), ..cancel(attempt, target) }).await,
        );
    }
    ask(harness, OperationKind::Authorise, "eur").await;
    ask(harness, OperationKind::Charge, "never made").await;
    let paid = purchase(harness.amount, &simulator.tokenize_card("pm_card_visa", 1), "paid");
    requests::done(gateway.start_purchase(&paid).await);
    for amount in [harness.amount, money(0, "EUR")] {
        let method = simulator.tokenize_card("pm_card_authenticationRequired", u32::from(amount.is_zero()));
        let request = purchase(amount, &method, &amount.to_string());
        let (payload, operation) = action(gateway.start_purchase(&request).await);
        simulator.complete_action(&payload);
        requests::done(gateway.finalize(&finalize(&request, operation.pending_id.as_deref(), Value::Null)).await);
    }
    let refused = purchase(money(0, "EUR"), &simulator.tokenize_card("pm_card_chargeDeclined", 3), "refused");
    requests::declined(gateway.start_purchase(&refused).await);
    let lapsing = requests::authorise(harness, "lapsing").await;
    simulator.expire(lapsing.as_str());
    let disputed = requests::captured(harness, "disputed").await;
    simulator.charge_back(disputed.as_str());
    simulator.close_dispute(disputed.as_str(), true);
    simulator.update_card_automatically(&harness.token);
    for attempt in ["1", "2"] {
        let delete = DeleteDetailsRequest { key: key(OperationKind::Delete, attempt), token: token(&harness.token), customer: customer() };
        requests::done(gateway.delete_details(&delete).await);
    }
}

fn reference(attempt: &str) -> Reference {
    Reference::from_key(&key(OperationKind::Authorise, attempt))
}

async fn ask(harness: &StripeHarness, operation: OperationKind, attempt: &str) {
    let question = InquiryRequest {
        operation,
        key: key(OperationKind::Authorise, attempt),
        reference: reference(attempt),
        external_payment_id: None,
        operation_ref: None,
        amount: Some(harness.amount),
    };
    assert!(harness.adapter.inquire(&question).await.is_ok());
}

#[tokio::test]
async fn every_request_to_stripe_and_simulated_answer_matches_its_spec() {
    let Some(folder) = specs("every_request_to_stripe_and_simulated_answer_matches_its_spec") else { return };
    let mut spec = Spec::new(&folder);
    let harness = StripeHarness::new(money(999, "EUR"));
    exercise(&harness).await;
    let (sent, calls) = (harness.sent.lock().unwrap().clone(), harness.network.calls());
    assert_eq!(sent.len(), calls.len());
    let mut checked = BTreeMap::new();
    for (request, call) in sent.iter().zip(&calls) {
        let operation =
            spec.operation(request).unwrap_or_else(|| panic!("{} {} is no operation of Stripe's", request.method, request.path));
        let what = format!("{} {} {:?}", call.method, call.path, call.status);
        if request.method == Method::POST {
            let schema = operation.pointer("/requestBody/content/application~1x-www-form-urlencoded/schema").unwrap().clone();
            let body = tree(&form(request));
            assert_eq!(spec.errors(&schema, &body), Vec::<String>::new(), "request of {what}: {body}");
        } else {
            for (name, value) in tree(&request.query).as_object().unwrap() {
                let parameters = operation["parameters"].as_array().unwrap().clone();
                let parameter = parameters.iter().find(|one| one["name"] == name.as_str()).unwrap_or_else(|| panic!("{what}: {name}"));
                assert_eq!(spec.errors(&parameter["schema"], value), Vec::<String>::new(), "{name} of {what}");
            }
        }
        let answer = operation["responses"].get(call.status.unwrap().to_string()).unwrap_or(&operation["responses"]["default"]);
        let schema = answer.pointer("/content/application~1json/schema").unwrap().clone();
        assert_eq!(spec.errors(&schema, &call.response_body), Vec::<String>::new(), "answer of {what}: {}", call.response_body);
        *checked.entry(operation["operationId"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    for operation in [
        "GetCustomersSearch",
        "GetPaymentIntents",
        "GetPaymentIntentsIntent",
        "GetPaymentIntentsSearch",
        "GetPaymentMethodsPaymentMethod",
        "GetRefunds",
        "GetSetupIntentsIntent",
        "PostCustomers",
        "PostPaymentIntents",
        "PostPaymentIntentsIntentCancel",
        "PostPaymentIntentsIntentCapture",
        "PostPaymentMethodsPaymentMethodDetach",
        "PostRefunds",
        "PostSetupIntents",
    ] {
        assert!(checked.contains_key(operation), "{operation} is not among {checked:?}");
    }
    // What the adapter never reads, and the simulator has all the same.
    for path in ["/v1/setup_intents", &format!("/v1/refunds/{}", harness.simulator.refunds()[0].0)] {
        let request =
            ServerRequest { method: Method::GET, path: path.to_owned(), query: Vec::new(), body: bytes::Bytes::new(), ..sent[0].clone() };
        let answer: Value = serde_json::from_slice(&harness.simulator.handle(&request).body).unwrap();
        let schema = spec.operation(&request).unwrap().pointer("/responses/200/content/application~1json/schema").unwrap().clone();
        assert_eq!(spec.errors(&schema, &answer), Vec::<String>::new(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn every_event_that_is_simulated_keeps_to_stripes_spec() {
    let Some(folder) = specs("every_event_that_is_simulated_keeps_to_stripes_spec") else { return };
    let mut spec = Spec::new(&folder);
    let harness = StripeHarness::new(money(999, "EUR"));
    exercise(&harness).await;
    let mut kinds = BTreeMap::new();
    for posted in harness.simulator.take_notifications() {
        assert!(harness.adapter.read_notification(&posted.headers, &posted.body).await.is_ok());
        let event: Value = serde_json::from_slice(&posted.body).unwrap();
        assert_eq!(spec.errors(&json!({ "$ref": "#/components/schemas/event" }), &event), Vec::<String>::new(), "{event}");
        let object = &event["data"]["object"];
        let schema = json!({ "$ref": format!("#/components/schemas/{}", object["object"].as_str().unwrap()) });
        assert_eq!(spec.errors(&schema, object), Vec::<String>::new(), "{event}");
        *kinds.entry(event["type"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    for kind in [
        "charge.captured",
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn",
        "charge.expired",
        "charge.failed",
        "charge.refund.updated",
        "charge.refunded",
        "charge.succeeded",
        "customer.created",
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "payment_intent.created",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "payment_method.attached",
        "payment_method.automatically_updated",
        "payment_method.detached",
        "refund.created",
        "refund.failed",
        "refund.updated",
        "setup_intent.created",
        "setup_intent.requires_action",
        "setup_intent.setup_failed",
        "setup_intent.succeeded",
    ] {
        assert!(kinds.contains_key(kind), "{kind} is not among {kinds:?}");
    }
}

#[test]
fn a_request_that_breaks_the_spec_would_be_found() {
    let Some(folder) = specs("a_request_that_breaks_the_spec_would_be_found") else { return };
    let mut spec = Spec::new(&folder);
    let schema = "/paths/~1v1~1payment_intents/post/requestBody/content/application~1x-www-form-urlencoded/schema";
    let schema = spec.file.pointer(schema).unwrap().clone();
    let good = json!({ "amount": 999, "currency": "eur", "confirm": true, "off_session": true, "capture_method": "manual" });
    assert_eq!(spec.errors(&schema, &good), Vec::<String>::new());
    for (name, value) in [
        ("amount", json!("9.99")),
        ("currency", json!(null)),
        ("confirm", json!("yes")),
        ("capture_method", json!("later")),
        ("reference", json!("clg-1")),
        ("expand", json!("latest_charge")),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert!(!spec.errors(&schema, &bad).is_empty(), "{name}");
    }
    let schema = json!({ "$ref": "#/components/schemas/payment_intent" });
    let mut intent = harness::foreign_intent("order-17");
    let more =
        json!({ "confirmation_method": "automatic", "created": 1, "livemode": false, "payment_method_types": ["card"], "customer": null });
    intent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(spec.errors(&schema, &intent), Vec::<String>::new());
    intent["status"] = json!("paid");
    assert!(!spec.errors(&schema, &intent).is_empty());
}
