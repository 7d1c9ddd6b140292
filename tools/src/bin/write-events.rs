//! Writes the sample invocation events: `cargo run -p tools --bin write-events [FOLDER]` (default `events`).
//!
//! Per function: `http.json`, the event that an HTTP API sends for a signed webhook (payload 2.0), and `queue.json`, the event that its
//! queue sends for the same webhook. For functions that pages call: `http.json` and `finalize.json`, and in the redirect
//! style `tokens.json`, `return.json` and `cancel.json`, and `payment-methods.json` and `sessions.json` for a component. The bodies are Cleeng's documented
//! payloads ("Webhook subscription topics"), signed with the secret of the sandbox; the gateway's notification is one item of Adyen's
//! standard webhook, signed with the key of Adyen's own test. Never a real secret here.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use connector::reference::{GatewayText, IdempotencyKey, OperationKind, Reference};
use connector::secret::SecretString;
use ring::hmac;
use sandbox::local::IDEMPOTENCY_SALT;
use serde_json::{Value, json};

const NOTIFICATION: &str = "gateway-notification";
const MERCHANT_ACCOUNT: &str = "SandboxMerchant";
const HMAC_KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
const WEBHOOK_SECRET: &str = "sandbox-webhook-secret-0123456789abcdef";
const PATH_KEY: &str = "sandbox-path-key-0123456789";
const SIGNATURE_HEADER: &str = "x-cleeng-signature";
/// 2026-11-04T19:55:42Z, a second after the attempt that the events are about.
const RECEIVED_AT_MILLIS: u64 = 1_793_822_142_000;

/// The webhook of one function.
struct Sample {
    function: &'static str,
    topic: &'static str,
    data: fn() -> Value,
}

const SAMPLES: [Sample; 6] = [
    Sample {
        function: "subscription-ready-for-payment-authorisation",
        topic: "subscriptionReadyForPaymentAuthorisation",
        data: || billing(json!("332332332"), "authorize", "2026-11-04T19:55:41Z", "2026-11-07T19:55:41Z"),
    },
    Sample {
        function: "subscription-ready-for-payment-capture",
        topic: "subscriptionReadyForPaymentCapture",
        // The same instants as above: Cleeng writes offsets, and numbers for ids, as well.
        data: || billing(json!(332_332_332), "capture", "2026-11-04T20:55:41+01:00", "2026-11-07T20:55:41+01:00"),
    },
    Sample {
        function: "subscription-ready-for-termination",
        topic: "subscriptionReadyForTermination",
        data: || {
            json!({
                "subscriptionId": 332_332_332, "offerId": "S123123123_US", "customerId": 123_321_123,
                "customerEmail": "subscriber@example.com", "expirationDate": "2026-11-07T19:55:41Z", "paymentMethodId": 123_123_123,
            })
        },
    },
    // The payloads of the next three are not published: ids as Cleeng names them elsewhere.
    Sample {
        function: "payment-details-deactivated",
        topic: "paymentDetailsDeactivated",
        data: || {
            json!({
                "paymentDetailsId": 665_665_665, "customerId": 123_321_123, "customerEmail": "subscriber@example.com", "active": false,
                "paymentMethodId": 123_123_123, "token": "8415718415718415:123321123", "paymentGateway": "adyen",
            })
        },
    },
    Sample {
        function: "refund-payment",
        topic: "refundPayment",
        data: || {
            json!({
                "paymentId": 1_536_331_075, "orderId": 123_456_788, "externalPaymentId": "D2RGHBT7PGNG5S82", "customerId": 123_321_123,
                "currency": "USD", "amount": 9.99, "reason": "requested by the customer", "paymentMethodId": 123_123_123,
                "paymentOperation": "recurring-payment",
            })
        },
    },
    Sample {
        function: "capture-payment",
        topic: "capturePayment",
        data: || {
            json!({
                "paymentId": 1_536_331_076, "orderId": 123_456_790, "externalPaymentId": "D2RGHBT7PGNG5S83", "customerId": 123_321_123,
                "paymentDetailsId": 665_665_665, "paymentMethodId": 123_123_123,
            })
        },
    },
];

fn billing(subscription: Value, status: &str, attempt: &str, expiration: &str) -> Value {
    json!({
        "subscriptionId": subscription, "offerId": "S123123123_US", "customerId": 123_321_123,
        "customerEmail": "subscriber@example.com", "paymentDetailsId": 665_665_665, "active": true, "dunningAttemptDate": attempt,
        "dunningStatus": status, "expirationDate": expiration, "currency": "USD", "paymentCountry": "US",
        "paymentMethodId": 123_123_123, "token": "8415718415718415:123321123", "paymentGateway": "adyen",
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map_or_else(|| PathBuf::from("events"), PathBuf::from);
    for (function, file, event) in sample_events() {
        let folder = folder.join(function);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(file), file_text(&event))?;
    }
    Ok(())
}

/// A sample event: its function, its file and the event itself.
type SampleEvent = (&'static str, &'static str, Value);

fn sample_events() -> Vec<SampleEvent> {
    let mut events = Vec::new();
    for sample in &SAMPLES {
        let body = json!({ "broadcasterId": 558_186_818, "topic": sample.topic, "data": (sample.data)() }).to_string();
        events.push((sample.function, "http.json", http_event(sample, &body)));
        events.push((sample.function, "queue.json", queue_event(sample, &body)));
    }
    for (function, route, tokens, subject) in frontend_samples() {
        events.extend(frontend_events(function, route, tokens, &subject));
    }
    events.extend(component_events());
    events.push(("reconciliation", "schedule.json", schedule_event()));
    events.extend(notification_events());
    events
}

/// The text of an event's file. The numbers keep their digits.
fn file_text(event: &Value) -> String {
    format!("{event:#}\n")
}

/// A payment of the sandbox's deployment that no journal knows.
fn sample_reference() -> String {
    let salt = SecretString::new(IDEMPOTENCY_SALT);
    Reference::from_key(&IdempotencyKey::derive(&salt, GatewayText("adyen"), OperationKind::Authorise, "sample", "1")).to_string()
}

/// The gateway's notification of a capture.
fn notification_events() -> [SampleEvent; 2] {
    let (own, payment, reference) = ("V4HZ4RBFJGXXGN82", "D2RGHBT7PGNG5S82", sample_reference());
    let signed = format!("{own}:{payment}:{MERCHANT_ACCOUNT}:{reference}:999:USD:CAPTURE:true");
    let key: Vec<u8> =
        HMAC_KEY.as_bytes().chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let signature = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes()));
    let body = json!({ "live": "false", "notificationItems": [{ "NotificationRequestItem": {
        "eventCode": "CAPTURE", "success": "true", "pspReference": own, "originalReference": payment,
        "merchantReference": reference, "merchantAccountCode": MERCHANT_ACCOUNT, "amount": { "currency": "USD", "value": 999 },
        "eventDate": "2026-11-04T20:55:42+01:00", "reason": "", "additionalData": { "hmacSignature": signature },
    }}]})
    .to_string();
    let route = Route {
        key: "POST /gateways/{gateway}/notifications".to_owned(),
        path: "/gateways/adyen/notifications".to_owned(),
        parameters: json!({ "gateway": "adyen" }),
        agent: "Adyen HttpClient 1.0",
    };
    // As the handler reads it.
    let item = json!({
        "kind": "captured", "external_payment_id": payment, "reference": reference, "operation_ref": own,
        "amount": { "minor": 999, "currency": "USD" }, "at": RECEIVED_AT_MILLIS, "dedupe_key": format!("CAPTURE:{own}:true"),
        "reason": null, "token": null,
    });
    let envelope = json!({ "v": 1, "source": "gateway", "gateway": "adyen", "received_at": RECEIVED_AT_MILLIS, "item": item });
    [(NOTIFICATION, "http.json", http(&route, &[], &body)), (NOTIFICATION, "queue.json", sqs(NOTIFICATION, &envelope))]
}

/// What EventBridge sends when the time of the schedule has come.
fn schedule_event() -> Value {
    json!({
        "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event", "source": "aws.events",
        "account": "123456789012", "time": "2026-11-04T19:55:00Z", "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:123456789012:rule/rounds"], "detail": {},
    })
}

/// What a browser asks of a front-end function.
struct FrontendCall<'a> {
    method: &'static str,
    /// Behind the gateway's name, as the route and as the path have it.
    route: (String, String),
    query: &'static str,
    /// `None` for a browser that only follows a redirect.
    body: Option<&'a Value>,
}

/// A front-end call (payload 2.0), as an allowed page makes it, or as a gateway's page has the browser make it.
fn frontend_event(frontend_call: &FrontendCall<'_>) -> Value {
    let FrontendCall { method, route: (route, path), query, body } = frontend_call;
    let key = format!("{method} /connectors/{{gateway}}/{route}");
    let path = format!("/connectors/adyen/{path}");
    let host = "abcdefghij.execute-api.eu-west-1.amazonaws.com";
    let mut headers = json!({ "host": host, "x-forwarded-for": "192.0.2.7", "x-forwarded-port": "443", "x-forwarded-proto": "https" });
    let mut parameters = json!({ "gateway": "adyen" });
    if route.ends_with("{reference}") {
        set_text(&mut parameters, "reference", &sample_reference());
    }
    let body = body.map(Value::to_string);
    if let Some(body) = &body {
        set_text(&mut headers, "authorization", &format!("Bearer {}", customer_token()));
        set_text(&mut headers, "content-length", &body.len().to_string());
        set_text(&mut headers, "content-type", "application/json");
        set_text(&mut headers, "origin", "http://localhost:3000");
    }
    let mut event = json!({
        "version": "2.0", "routeKey": key, "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdefghij", "domainName": host, "domainPrefix": "abcdefghij",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "Mozilla/5.0" },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": key, "stage": "$default",
            "time": "04/Nov/2026:19:55:42 +0000", "timeEpoch": RECEIVED_AT_MILLIS,
        },
        "pathParameters": parameters, "isBase64Encoded": false,
    });
    if let Some(body) = body {
        set_text(&mut event, "body", &body);
    }
    event
}

fn set_text(object: &mut Value, name: &str, text: &str) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), Value::from(text));
    }
}

/// Calls of one front-end function, each in a file: the pair of calls of a page with the gateway's component, then those of the redirect style.
fn frontend_events(function: &'static str, route: &str, tokens: &str, subject: &Value) -> [SampleEvent; 5] {
    let (start, finalize, redirected) = frontend_bodies(subject);
    let call = |suffix: &str, body| {
        let route = format!("{route}{suffix}");
        frontend_event(&FrontendCall { method: "POST", route: (route.clone(), route), query: "", body: Some(body) })
    };
    let redirect_start = FrontendCall { method: "POST", route: (tokens.to_owned(), tokens.to_owned()), query: "", body: Some(&redirected) };
    let redirect = |way: &str| {
        let route = (format!("{tokens}/{way}/{{reference}}"), format!("{tokens}/{way}/{}", sample_reference()));
        frontend_event(&FrontendCall { method: "GET", route, query: "redirectResult=X6XtfGC3%21Y", body: None })
    };
    [
        (function, "http.json", call("", &start)),
        (function, "finalize.json", call("/finalize", &finalize)),
        (function, "tokens.json", frontend_event(&redirect_start)),
        (function, "return.json", redirect("return")),
        (function, "cancel.json", redirect("cancel")),
    ]
}

/// What Adyen's component asks for before a payment.
fn component_events() -> [SampleEvent; 2] {
    let call = |route: &str, body: &Value| {
        frontend_event(&FrontendCall { method: "POST", route: (route.to_owned(), route.to_owned()), query: "", body: Some(body) })
    };
    [
        ("initial-purchase", "payment-methods.json", call("payment-methods", &json!({ "orderId": 123_456_789 }))),
        (
            "initial-purchase",
            "sessions.json",
            call("sessions", &json!({ "orderId": 123_456_789, "returnUrl": "http://localhost:3000/checkout" })),
        ),
    ]
}

/// A token that no Cleeng has signed: MediaStore refuses it.
fn customer_token() -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "customerId": 123_321_123, "publisherId": 558_186_818, "exp": 4_102_444_800_u64 });
    format!("{}.{}.{}", part(&json!({ "alg": "HS256" })), part(&claims), URL_SAFE_NO_PAD.encode("sample"))
}

/// What the sample page sends: the function, its routes in both styles, and what its body names.
fn frontend_samples() -> [(&'static str, &'static str, &'static str, Value); 2] {
    [
        ("initial-purchase", "initial-payment", "v1/tokens", json!({ "orderId": 123_456_789 })),
        ("payment-details", "payment-details", "v1/payment_details/tokens", json!({ "paymentMethodId": 123_123_123 })),
    ]
}

fn frontend_bodies(subject: &Value) -> (Value, Value, Value) {
    let (mut start, mut finalize, mut redirected) = (subject.clone(), subject.clone(), subject.clone());
    let page = "http://localhost:3000";
    let more = json!({
        "paymentMethod": {
            "type": "scheme", "encryptedCardNumber": "test_4111111111111111", "encryptedExpiryMonth": "test_03",
            "encryptedExpiryYear": "test_2030", "encryptedSecurityCode": "test_737", "holderName": "J. Smith",
        },
        // All that Adyen wants to know of a browser (CheckoutService v71, `BrowserInfo`), as its component collects it.
        "browserInfo": {
            "acceptHeader": "*/*", "colorDepth": 24, "javaEnabled": false, "language": "en-US", "screenHeight": 1080, "screenWidth": 1920,
            "timeZoneOffset": -60, "userAgent": "Mozilla/5.0",
        },
        "origin": page, "returnUrl": format!("{page}/checkout"),
    });
    if let (Some(start), Value::Object(more)) = (start.as_object_mut(), more) {
        start.extend(more);
    }
    if let Some(finalize) = finalize.as_object_mut() {
        finalize.insert("details".to_owned(), json!({ "redirectResult": "X6XtfGC3!Y" }));
    }
    if let (Some(redirected), Value::Object(start)) = (redirected.as_object_mut(), &start) {
        let entered = start.iter().filter(|(name, _)| ["paymentMethod", "browserInfo", "origin"].contains(&name.as_str()));
        redirected.extend(entered.map(|(name, value)| (name.clone(), value.clone())));
        for (name, place) in [("successUrl", "thankyou"), ("cancelUrl", "offer"), ("errorUrl", "sorry")] {
            redirected.insert(name.to_owned(), Value::from(format!("{page}/{place}")));
        }
    }
    (start, finalize, redirected)
}

/// Where a request goes.
struct Route {
    key: String,
    path: String,
    parameters: Value,
    agent: &'static str,
}

fn http_event(sample: &Sample, body: &str) -> Value {
    let route = Route {
        key: format!("POST /webhooks/{{key}}/{}", sample.function),
        path: format!("/webhooks/{PATH_KEY}/{}", sample.function),
        parameters: json!({ "key": PATH_KEY }),
        agent: "Cleeng",
    };
    http(&route, &[(SIGNATURE_HEADER, signature(body))], body)
}

fn http(route: &Route, signed: &[(&str, String)], body: &str) -> Value {
    let host = "abcdefghij.execute-api.eu-west-1.amazonaws.com";
    let mut headers = json!({
        "content-length": body.len().to_string(), "content-type": "application/json", "host": host,
        "x-forwarded-for": "192.0.2.1", "x-forwarded-port": "443", "x-forwarded-proto": "https",
    });
    if let Some(headers) = headers.as_object_mut() {
        headers.extend(signed.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))));
    }
    json!({
        "version": "2.0", "routeKey": route.key, "rawPath": route.path, "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdefghij", "domainName": host, "domainPrefix": "abcdefghij",
            "http": { "method": "POST", "path": route.path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": route.agent },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": route.key, "stage": "$default",
            "time": "04/Nov/2026:19:55:42 +0000", "timeEpoch": RECEIVED_AT_MILLIS,
        },
        "pathParameters": route.parameters, "body": body, "isBase64Encoded": false,
    })
}

fn queue_event(sample: &Sample, body: &str) -> Value {
    let envelope = json!({ "v": 1, "source": "cleeng", "topic": sample.topic, "received_at": RECEIVED_AT_MILLIS, "body": body });
    sqs(sample.function, &envelope)
}

fn sqs(function: &str, envelope: &Value) -> Value {
    json!({
        "Records": [{
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d", "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": envelope.to_string(),
            "attributes": {
                "ApproximateReceiveCount": "1", "SentTimestamp": RECEIVED_AT_MILLIS.to_string(),
                "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": RECEIVED_AT_MILLIS.to_string(),
            },
            "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:eu-west-1:123456789012:{function}"), "awsRegion": "eu-west-1",
        }],
    })
}

/// HMAC-SHA256 over the raw body, in hex.
fn signature(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_sample_events_are_what_their_generator_writes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
        for (function, file, event) in sample_events() {
            let committed = fs::read_to_string(folder.join(function).join(file)).unwrap();
            assert!(file_text(&event) == committed, "{function}/{file}: run `cargo run -p tools --bin write-events`");
        }
        let functions = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let files = functions.flat_map(|function| fs::read_dir(function).unwrap()).map(|entry| entry.unwrap().file_name());
        assert_eq!(files.filter(|name| name != "expected.json").count(), sample_events().len(), "a sample that nothing writes");
    }
}
