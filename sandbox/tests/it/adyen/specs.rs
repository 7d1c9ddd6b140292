//! What the adapter of Adyen sends, and what the simulator answers and notifies, against Adyen's own OpenAPI files. Those are third-party
//! data and no part of the project: `CONNECTOR_TEST_SPECS` says where they are, and without them these tests say that they were skipped.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::spec::{Spec, specs};
use connector::gateway::{
    CancelRequest, CancelTarget, CaptureRequest, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayName, GatewayText, IdempotencyKey,
    MerchantInitiated, OperationKind, Outcome, PurchaseRequest, Reference, RefundRequest, StoreDetailsRequest, StoredToken,
};
use connector::http::Method;
use connector::ids::{CustomerId, ExternalPaymentId};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::simulators::adyen::AdyenSimulator;
use sandbox::simulators::network::{ServerRequest, SimulatedServer};
use sandbox::testkit::gateway_fixtures::{ADYEN_API_KEY, MERCHANT_ACCOUNT};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

/// A card, a name on it that asks for an outcome, an amount.
const PURCHASES: [(&str, &str, i64, &str); 11] = [
    (GOOD, "J. Smith", 999, "USD"),
    (GOOD, "J. Smith", 1200, "JPY"),
    (GOOD, "J. Smith", 0, "EUR"),
    (GOOD, "NOT_ENOUGH_BALANCE", 999, "USD"),
    (GOOD, "FRAUD", 0, "USD"),
    (GOOD, "ISSUER_UNAVAILABLE", 999, "USD"),
    (GOOD, "PENDING", 999, "USD"),
    (REDIRECTING, "J. Smith", 999, "USD"),
    (REDIRECTING, "NOT_3D_AUTHENTICATED", 0, "USD"),
    (NATIVE, "J. Smith", 999, "USD"),
    (NATIVE, "CARD_EXPIRED", 999, "USD"),
];
const GOOD: &str = "test_4111111111111111";
const REDIRECTING: &str = "test_4917610000000000";
const NATIVE: &str = "test_5201281505129736";

/// Purchases and storing as the page of the sample event begins them, each to its end.
async fn purchases(env: &TestEnvironment, gateway: &dyn Gateway) {
    let event: Value = serde_json::from_str(include_str!("../../../../events/initial-purchase/http.json")).unwrap();
    let page: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
    let customer = CustomerId::new("927751142").unwrap();
    for (index, (card, holder, minor, currency)) in PURCHASES.into_iter().enumerate() {
        let mut payment_data = page.clone();
        payment_data["paymentMethod"]["encryptedCardNumber"] = json!(card);
        payment_data["paymentMethod"]["holderName"] = json!(holder);
        let key = key(&format!("purchase {index}"), OperationKind::Purchase);
        let reference = Reference::from_key(&key);
        let amount = Money::new(minor, Currency::new(currency).unwrap());
        let request = PurchaseRequest {
            key,
            reference: reference.clone(),
            amount,
            customer: customer.clone(),
            payment_data,
            store: true,
            return_url: page["returnUrl"].as_str().unwrap().to_owned(),
            cancel_url: None,
            origin: page["origin"].as_str().map(str::to_owned),
            customer_ip: Some("192.0.2.7".to_owned()),
            customer_email: None,
        };
        let outcome = match minor {
            0 => gateway.store_details(&StoreDetailsRequest { purchase: request }).await,
            _ => gateway.start_purchase(&request).await,
        };
        let finalize = FinalizeRequest {
            key: self::key(&format!("finalize {index}"), OperationKind::Purchase),
            reference,
            amount,
            customer: customer.clone(),
            external_payment_id: None,
            pending_id: None,
            details: Value::Null,
        };
        finalize_until_final(gateway, outcome.unwrap(), finalize).await;
    }
    env.adyen.process();
}

/// The customer completes the actions, and in the end submits data that no action returned.
async fn finalize_until_final(gateway: &dyn Gateway, mut outcome: Outcome, mut finalize: FinalizeRequest) {
    let was_asked = matches!(outcome, Outcome::ActionRequired(..));
    for round in 1.. {
        let Outcome::ActionRequired(action, _) = outcome else { break };
        finalize.details = match action.payload["url"].as_str() {
            Some(url) => json!({ "details": { "redirectResult": url.split_once("result=").unwrap().1 } }),
            None => json!({ "details": { "threeDSResult": action.payload["token"] } }),
        };
        finalize.key = key(&format!("{} {round}", finalize.reference), OperationKind::Purchase);
        outcome = gateway.finalize(&finalize).await.unwrap();
    }
    if was_asked {
        finalize.details = json!({ "details": { "redirectResult": "nobody's" } });
        finalize.key = key(&format!("{} once more", finalize.reference), OperationKind::Purchase);
        let _ = gateway.finalize(&finalize).await;
    }
}

fn key(name: &str, operation: OperationKind) -> IdempotencyKey {
    IdempotencyKey::derive(&SecretString::new("spec-salt"), GatewayText("adyen"), operation, "spec", name)
}

/// Every operation of the adapter, with answers of every kind.
async fn exercise(env: &TestEnvironment) {
    let gateway: std::sync::Arc<dyn Gateway> = env.flow_context.gateways.get(GatewayName::Adyen).unwrap().clone();
    let customer = CustomerId::new("927751142").unwrap();
    let token = |stored: &str| StoredToken(SecretString::new(format!("{stored}:shopper")));
    let money = |minor, code: &str| Money::new(minor, Currency::new(code).unwrap());
    let stored = env.adyen.store_method("shopper");
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
        env.adyen.decline_next_with(&stored, code);
        let _ = gateway.authorise(&pay(&format!("refused {code}"), money(999, "USD"))).await;
    }
    for result in ["Pending", "Received", "Error", "Cancelled"] {
        env.adyen.set_next_result_code(&stored, result);
        let _ = gateway.authorise(&pay(result, money(999, "USD"))).await;
    }
    let _ = gateway.charge(&pay("charge", money(999, "EUR"))).await;
    let _ = gateway.charge(&pay("with another account's key", money(999, "EUR"))).await;
    env.adyen.process();
    for payment in env.adyen.payments().into_iter().take(2) {
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
        env.adyen.process();
        let refund = RefundRequest {
            key: operation(OperationKind::Refund),
            reference: Reference::from_key(&operation(OperationKind::Refund)),
            external_payment_id,
            amount,
            captured: amount,
        };
        let _ = gateway.refund(&refund).await;
        env.adyen.process();
    }
    for (name, target) in [
        ("by id", CancelTarget::Payment(ExternalPaymentId::new(&env.adyen.payments()[2].psp_reference).unwrap())),
        (
            "by reference",
            CancelTarget::Reference { reference: Reference::parse(&env.adyen.payments()[3].reference).unwrap(), pending_id: None },
        ),
    ] {
        let reference = Reference::from_key(&key(name, OperationKind::Cancel));
        let _ = gateway.cancel(&CancelRequest { key: key(name, OperationKind::Cancel), reference, target }).await;
    }
    env.adyen.process();
    let delete = DeleteDetailsRequest { key: key("delete", OperationKind::Delete), token: token(&stored), customer: customer.clone() };
    let _ = gateway.delete_details(&delete).await;
    let _ = gateway.authorise(&pay("with deleted details", money(999, "USD"))).await;
    purchases(env, gateway.as_ref()).await;
    env.adyen.accept_api_keys(&["another"]);
    let _ = gateway.authorise(&pay("without credentials", money(999, "USD"))).await;
}

#[tokio::test]
async fn every_request_to_adyen_and_simulated_answer_matches_its_checkout_spec() {
    let Some(folder) = specs("every_request_to_adyen_and_simulated_answer_matches_its_checkout_spec") else { return };
    let mut spec = Spec::read(&folder, "adyen/CheckoutService-v71.json");
    let env = TestEnvironment::default();
    exercise(&env).await;
    let mut checked = BTreeSet::new();
    for call in env.network.calls() {
        checked.insert(spec.check("/v71", &call));
    }
    for (operation, statuses) in [
        ("post-payments", [200, 401, 422].as_slice()),
        ("post-payments-details", &[200, 422]),
        ("post-payments-paymentPspReference-captures", &[201]),
        ("post-payments-paymentPspReference-cancels", &[201]),
        ("post-payments-paymentPspReference-refunds", &[201]),
        ("post-cancels", &[201]),
        ("delete-storedPaymentMethods-storedPaymentMethodId", &[204]),
    ] {
        for status in statuses {
            assert!(checked.contains(&(operation.to_owned(), *status)), "{operation} {status} is not among {checked:?}");
        }
    }
}

#[tokio::test]
async fn every_outcome_of_a_purchase_is_among_the_checked_ones() {
    let env = TestEnvironment::default();
    exercise(&env).await;
    let calls = env.network.calls();
    let results: BTreeSet<&str> = calls.iter().filter_map(|call| call.response_body["resultCode"].as_str()).collect();
    for result in
        ["Authorised", "Refused", "Error", "Cancelled", "Pending", "Received", "RedirectShopper", "IdentifyShopper", "ChallengeShopper"]
    {
        assert!(results.contains(result), "{result} is not among {results:?}");
    }
    let stored = calls.iter().filter(|call| !call.response_body["additionalData"]["tokenization.storedPaymentMethodId"].is_null()).count();
    assert!(stored >= 4, "purchases and storings that left a token: {stored}");
}

/// A reversal, which the adapter never asks for and the simulator can do.
fn reverse(adyen: &AdyenSimulator, psp_reference: &str) {
    adyen.accept_api_keys(&[ADYEN_API_KEY]);
    let headers = [("x-api-key", ADYEN_API_KEY)].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let answer = adyen.handle(&ServerRequest {
        method: Method::POST,
        path: format!("/v71/payments/{psp_reference}/reversals"),
        query: Vec::new(),
        headers: headers.into_iter().collect(),
        body: json!({ "merchantAccount": MERCHANT_ACCOUNT, "reference": "reversal" }).to_string().into(),
    });
    assert_eq!(answer.status, 201);
    adyen.process();
}

#[tokio::test]
async fn every_notification_that_is_simulated_keeps_to_adyens_webhook_spec() {
    let Some(folder) = specs("every_notification_that_is_simulated_keeps_to_adyens_webhook_spec") else { return };
    let mut spec = Spec::read(&folder, "adyen/Webhooks-v1.json");
    let env = TestEnvironment::default();
    exercise(&env).await;
    let adyen = &env.adyen;
    let of = |index: usize| adyen.payments()[index].psp_reference.clone();
    adyen.capture_fails_later(&of(0));
    adyen.recapture(&of(0));
    adyen.charge_back(&of(1));
    adyen.reverse_chargeback(&of(1));
    adyen.expire(&of(4));
    let held = adyen.payments().into_iter().find(|payment| payment.state == sandbox::simulators::adyen::PaymentState::Authorised).unwrap();
    reverse(adyen, &held.psp_reference);
    let mut bodies = adyen.take_notifications();
    for code in ["REFUND", "CAPTURE", "CANCELLATION"] {
        bodies.push(adyen.notification(code, false, "0PERAT0R00000001", &of(0), &adyen.payments()[0].reference));
    }
    bodies.push(adyen.notification_with_amount("REFUND_FAILED", "0PERAT0R00000002", &of(0), &adyen.payments()[0].reference, ("USD", 999)));
    let mut kinds = BTreeMap::new();
    for body in bodies {
        let body: Value = serde_json::from_str(&body).unwrap();
        let item = &body["notificationItems"][0]["NotificationRequestItem"];
        let code = item["eventCode"].as_str().unwrap().to_owned();
        let schema = spec.webhook(&format!("/{code}")).unwrap_or_else(|| panic!("{code} is no notification of Adyen's"));
        assert_eq!(spec.errors(&schema, &body), Vec::<String>::new(), "{code}: {body}");
        *kinds.entry((code, item["success"] == "true")).or_insert(0) += 1;
    }
    for kind in [
        "AUTHORISATION",
        "CAPTURE",
        "CAPTURE_FAILED",
        "REFUND",
        "REFUND_FAILED",
        "CANCELLATION",
        "TECHNICAL_CANCEL",
        "CANCEL_OR_REFUND",
        "EXPIRE",
        "CHARGEBACK",
        "CHARGEBACK_REVERSED",
    ] {
        assert!(kinds.contains_key(&(kind.to_owned(), true)), "{kind} is not among {kinds:?}");
    }
    for kind in ["AUTHORISATION", "CAPTURE", "REFUND", "CANCELLATION"] {
        assert!(kinds.contains_key(&(kind.to_owned(), false)), "a failed {kind} is not among {kinds:?}");
    }
}

#[tokio::test]
async fn every_notification_about_stored_details_keeps_to_adyens_tokenization_spec() {
    let Some(folder) = specs("every_notification_about_stored_details_keeps_to_adyens_tokenization_spec") else { return };
    let mut spec = Spec::read(&folder, "adyen/TokenizationNotification-v1.json");
    let env = TestEnvironment::default();
    exercise(&env).await;
    let mut bodies: Vec<String> = env.adyen.take_tokenization_webhooks().into_iter().map(|(_, body)| body).collect();
    assert!(bodies.len() >= 4, "every purchase that stored details is told: {}", bodies.len());
    let kinds = ["created", "updated", "alreadyExisting", "disabled"].map(|kind| format!("recurring.token.{kind}"));
    bodies.extend(kinds.iter().map(|kind| env.adyen.tokenization_webhook(kind, "8415718415718415", "927751142").1));
    for body in bodies {
        let body: Value = serde_json::from_str(&body).unwrap();
        let kind = body["type"].as_str().unwrap();
        let schema = spec.webhook(kind).unwrap_or_else(|| panic!("{kind} is no notification of Adyen's"));
        assert_eq!(spec.errors(&schema, &body), Vec::<String>::new(), "{kind}: {body}");
    }
}

#[test]
fn the_sample_notification_keeps_to_adyens_webhook_spec() {
    let Some(folder) = specs("the_sample_notification_keeps_to_adyens_webhook_spec") else { return };
    let mut spec = Spec::read(&folder, "adyen/Webhooks-v1.json");
    let event: Value = serde_json::from_str(include_str!("../../../../events/gateway-notification/http.json")).unwrap();
    let body: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
    let schema = spec.webhook("/CAPTURE").unwrap();
    assert_eq!(spec.errors(&schema, &body), Vec::<String>::new());
}

#[test]
fn a_request_that_breaks_the_spec_would_be_found() {
    let Some(folder) = specs("a_request_that_breaks_the_spec_would_be_found") else { return };
    let mut spec = Spec::read(&folder, "adyen/CheckoutService-v71.json");
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
