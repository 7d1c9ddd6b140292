//! What the adapters send, and what their simulators answer and notify, against the gateways' own OpenAPI files. Those are third-party data
//! and no part of the project: `CONNECTOR_TEST_SPECS` says where they are, and without them these tests say that they were skipped.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skipped"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use connector::gateway::{
    CancelRequest, CancelTarget, CaptureRequest, DeleteDetailsRequest, Gateway, GatewayName, GatewayText, IdempotencyKey,
    MerchantInitiated, OperationKind, Reference, RefundRequest, StoredToken,
};
use connector::ids::{CustomerId, ExternalPaymentId};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::peer::Call;
use sandbox::stage::Stage;
use serde_json::{Value, json};

/// The folder with the specs; says so if there is none.
fn specs(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CONNECTOR_TEST_SPECS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED {test}: set CONNECTOR_TEST_SPECS to a folder with the gateways' OpenAPI files");
    }
    folder
}

fn read(folder: &std::path::Path, file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

/// Validators of one OpenAPI file, made once per schema.
struct Spec {
    file: Value,
    validators: BTreeMap<String, jsonschema::Validator>,
}

impl Spec {
    fn new(file: Value) -> Self {
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
        self.validators[&key].iter_errors(instance).map(|error| format!("{} at {}", error, error.instance_path())).collect()
    }

    fn operation(&self, call: &Call) -> Option<Value> {
        let path = call.path.strip_prefix("/v71")?;
        let segments: Vec<&str> = path.split('/').collect();
        let paths = self.file["paths"].as_object().unwrap();
        let fits = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == segments.len() && parts.iter().zip(&segments).all(|(part, segment)| part.starts_with('{') || part == segment)
        };
        // A literal path wins over a template.
        let template = paths.keys().find(|template| *template == path).or_else(|| paths.keys().find(|template| fits(template)))?;
        self.file["paths"][template].get(call.method.as_str().to_ascii_lowercase()).cloned()
    }
}

fn schema(content: &Value) -> Option<Value> {
    content.pointer("/content/application~1json/schema").cloned()
}

fn key(name: &str, operation: OperationKind) -> IdempotencyKey {
    IdempotencyKey::derive(&SecretString::new("spec-salt"), GatewayText("adyen"), operation, "spec", name)
}

/// Every operation of the adapter, with answers of every kind.
async fn exercise(stage: &Stage) {
    let gateway: std::sync::Arc<dyn Gateway> = stage.world.gateways.get(GatewayName::Adyen).unwrap().clone();
    let customer = CustomerId::new("927751142").unwrap();
    let token = |stored: &str| StoredToken(SecretString::new(format!("{stored}:shopper")));
    let money = |minor, code: &str| Money::new(minor, Currency::new(code).unwrap());
    let stored = stage.adyen.store_method("shopper");
    let pay = |name: &str, amount| MerchantInitiated {
        key: key(name, OperationKind::Authorise),
        reference: Reference::from_key(&key(name, OperationKind::Purchase)),
        amount,
        token: token(&stored),
        customer: customer.clone(),
    };
    for (index, code) in ["USD", "JPY", "CLP", "KWD", "ISK"].into_iter().enumerate() {
        let name = format!("authorise {index}");
        let _ = gateway.authorise(&pay(&name, money(5000, code))).await;
    }
    for code in ["2", "12", "38", "6"] {
        stage.adyen.refuse_next(&stored, code);
        let _ = gateway.authorise(&pay(&format!("refused {code}"), money(999, "USD"))).await;
    }
    for result in ["Pending", "Received", "Error", "Cancelled"] {
        stage.adyen.answer_next(&stored, result);
        let _ = gateway.authorise(&pay(result, money(999, "USD"))).await;
    }
    let _ = gateway.charge(&pay("charge", money(999, "EUR"))).await;
    let _ = gateway.charge(&pay("with another account's key", money(999, "EUR"))).await;
    stage.adyen.process();
    for payment in stage.adyen.payments().into_iter().take(2) {
        let external_payment_id = ExternalPaymentId::new(&payment.psp_reference).unwrap();
        let reference = Reference::parse(&payment.reference).unwrap();
        let amount = money(5000, &payment.currency);
        let operation = |kind| key(&payment.psp_reference, kind);
        let capture = CaptureRequest {
            key: operation(OperationKind::Capture),
            reference: reference.clone(),
            external_payment_id: external_payment_id.clone(),
            amount,
            authorised_at: None,
        };
        let _ = gateway.capture(&capture).await;
        stage.adyen.process();
        let refund = RefundRequest {
            key: operation(OperationKind::Refund),
            reference: Reference::from_key(&operation(OperationKind::Refund)),
            external_payment_id,
            amount,
            captured: amount,
        };
        let _ = gateway.refund(&refund).await;
        stage.adyen.process();
    }
    for (name, target) in [
        ("by id", CancelTarget::Payment(ExternalPaymentId::new(&stage.adyen.payments()[2].psp_reference).unwrap())),
        (
            "by reference",
            CancelTarget::Reference { reference: Reference::parse(&stage.adyen.payments()[3].reference).unwrap(), started: None },
        ),
    ] {
        let reference = Reference::from_key(&key(name, OperationKind::Cancel));
        let _ = gateway.cancel(&CancelRequest { key: key(name, OperationKind::Cancel), reference, target }).await;
    }
    stage.adyen.process();
    let delete = DeleteDetailsRequest { key: key("delete", OperationKind::Delete), token: token(&stored), customer: customer.clone() };
    let _ = gateway.delete_details(&delete).await;
    stage.adyen.accept_api_keys(&["another"]);
    let _ = gateway.authorise(&pay("without credentials", money(999, "USD"))).await;
}

#[tokio::test]
async fn everything_that_is_sent_to_adyen_and_simulated_of_it_keeps_to_its_checkout_spec() {
    let Some(folder) = specs("everything_that_is_sent_to_adyen_and_simulated_of_it_keeps_to_its_checkout_spec") else { return };
    let mut spec = Spec::new(read(&folder, "adyen/CheckoutService-v71.json"));
    let stage = Stage::default();
    exercise(&stage).await;
    let mut checked = BTreeMap::new();
    for call in stage.road.calls() {
        let operation = spec.operation(&call).unwrap_or_else(|| panic!("{} {} is no operation of Adyen's", call.method, call.path));
        let what = format!("{} {} {:?}", call.method, call.path, call.status);
        if let Some(schema) = operation.get("requestBody").and_then(schema) {
            assert_eq!(spec.errors(&schema, &call.sent), Vec::<String>::new(), "request of {what}: {}", call.sent);
        }
        let status = call.status.unwrap().to_string();
        let answer = operation["responses"].get(&status).unwrap_or_else(|| panic!("{what}: Adyen never answers {status}"));
        if let Some(schema) = schema(answer) {
            assert_eq!(spec.errors(&schema, &call.answered), Vec::<String>::new(), "answer of {what}: {}", call.answered);
        }
        *checked.entry(operation["operationId"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!(checked.len() >= 6, "{checked:?}");
}

#[tokio::test]
async fn every_notification_that_is_simulated_keeps_to_adyens_webhook_spec() {
    let Some(folder) = specs("every_notification_that_is_simulated_keeps_to_adyens_webhook_spec") else { return };
    let mut spec = Spec::new(read(&folder, "adyen/Webhooks-v1.json"));
    let stage = Stage::default();
    exercise(&stage).await;
    let captured = stage.adyen.payments()[0].psp_reference.clone();
    stage.adyen.capture_fails_later(&captured);
    stage.adyen.charge_back(&stage.adyen.payments()[1].psp_reference.clone());
    stage.adyen.expire(&stage.adyen.payments()[4].psp_reference.clone());
    let mut kinds = BTreeMap::new();
    for body in stage.adyen.take_notifications() {
        let body: Value = serde_json::from_str(&body).unwrap();
        let code = body["notificationItems"][0]["NotificationRequestItem"]["eventCode"].as_str().unwrap().to_owned();
        let webhook = &spec.file["webhooks"][format!("/{code}")]["post"]["requestBody"];
        let schema = schema(webhook).unwrap_or_else(|| panic!("{code} is no notification of Adyen's"));
        assert_eq!(spec.errors(&schema, &body), Vec::<String>::new(), "{code}: {body}");
        *kinds.entry(code).or_insert(0) += 1;
    }
    for kind in ["AUTHORISATION", "CAPTURE", "REFUND", "CANCELLATION", "TECHNICAL_CANCEL"] {
        assert!(kinds.contains_key(kind), "{kind} is not among {kinds:?}");
    }
}

#[test]
fn a_request_that_breaks_the_spec_would_be_found() {
    let Some(folder) = specs("a_request_that_breaks_the_spec_would_be_found") else { return };
    let mut spec = Spec::new(read(&folder, "adyen/CheckoutService-v71.json"));
    let schema = json!({ "$ref": "#/components/schemas/PaymentRequest" });
    let good = json!({
        "merchantAccount": "StreamCoECOM", "reference": "r", "amount": { "currency": "USD", "value": 999 }, "returnUrl": "https://x.test",
        "paymentMethod": { "type": "scheme", "storedPaymentMethodId": "1" },
    });
    assert_eq!(spec.errors(&schema, &good), Vec::<String>::new());
    let mut bad = good.clone();
    bad["amount"]["value"] = json!("9.99");
    assert!(!spec.errors(&schema, &bad).is_empty());
    let mut bad = good;
    bad["amuont"] = json!(1);
    assert!(!spec.errors(&schema, &bad).is_empty());
}
