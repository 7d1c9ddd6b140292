//! Every mistake of this list is found with the parameter's name and what to do, and its value is not repeated.

use std::collections::BTreeMap;

use crate::support::{ADYEN_KEY, PATH_KEY, PUBLISHER_TOKEN, deployed, embedded, secret};
use connectorctl::arguments::Doctor;
use connectorctl::command_env::CommandEnv;
use connectorctl::doctor::{Finding, Level, findings};
use serde_json::{Value, json};

const OFFLINE: Doctor = Doctor { strict: false, offline: true };

async fn examine(settings: BTreeMap<String, String>) -> Vec<Finding> {
    findings(&OFFLINE, &CommandEnv::new(settings)).await
}

/// The findings that must be fixed.
fn problems(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.level >= Level::Warning).collect()
}

/// Settings (an empty value is an absent one), whose name the finding has, a word of the fix.
type WrongSetting = (&'static [(&'static str, &'static str)], &'static str, &'static str);

const SETTINGS: &[WrongSetting] = &[
    (&[("CONNECTOR_PUBLISHER_ID", "")], "CONNECTOR_PUBLISHER_ID", "publisher id"),
    (&[("CONNECTOR_PUBLISHER_ID", "my company")], "CONNECTOR_PUBLISHER_ID", "publisher id"),
    (&[("PAYMENT_METHODS", "")], "PAYMENT_METHODS", "123123123=adyen"),
    (&[("PAYMENT_METHODS", "123123123")], "PAYMENT_METHODS", "authorise_then_capture"),
    (&[("PAYMENT_METHODS", "123123123=adyen")], "PAYMENT_METHODS", "authorise_then_capture"),
    (&[("PAYMENT_METHODS", "123123123=mollie:capture_only")], "PAYMENT_METHODS", "adyen"),
    (&[("PAYMENT_METHODS", "123123123=adyen:capture")], "PAYMENT_METHODS", "capture_only"),
    (&[("PAYMENT_METHODS", "1=adyen:capture_only,1=adyen:capture_only")], "PAYMENT_METHODS", "keep one"),
    (&[("PAYMENT_METHODS", ","), ("QUEUE_URL", "")], "PAYMENT_METHODS", "123123123=adyen"),
    (&[("PAYMENT_METHOD", "123123123=adyen:capture_only")], "PAYMENT_METHOD", "PAYMENT_METHODS"),
    (&[("CLEENG_ENVIRONMENT", "")], "CLEENG_ENVIRONMENT", "sandbox or production"),
    (&[("CLEENG_ENVIRONMENT", "prod")], "CLEENG_ENVIRONMENT", "sandbox or production"),
    (&[("CLEENG_API_URL", "api.cleeng.com/3.1")], "CLEENG_API_URL", "URL"),
    (&[("CLEENG_API_URL", "https://api.cleeng.com/3.1")], "CLEENG_API_URL", "CLEENG_ENVIRONMENT"),
    (&[("CLEENG_AUTHORISED_LIST", "put")], "CLEENG_AUTHORISED_LIST", "post or get"),
    (&[("CLEENG_TERMINATION", "delete")], "CLEENG_TERMINATION", "patch or terminate"),
    (&[("CLEENG_AUTHORISED_SPELLING", "authorize")], "CLEENG_AUTHORISED_SPELLING", "authorized or authorised"),
    (&[("CLEENG_FREE_START_OPERATION", "free")], "CLEENG_FREE_START_OPERATION", "initial-payment"),
    (&[("CLEENG_REFUND_REASON_FIELD", "status")], "CLEENG_REFUND_REASON_FIELD", "JSON field"),
    (&[("CLEENG_REFUND_AMOUNT_FIELD", "refundType")], "CLEENG_REFUND_*_FIELD", "name of its own"),
    (&[("CLEENG_SIGNATURE_HEADER", "x cleeng")], "CLEENG_SIGNATURE_HEADER", "HTTP header"),
    (&[("CLEENG_SIGNATURE_PREFIX", "sha256,")], "CLEENG_SIGNATURE_PREFIX", "visible characters"),
    (&[("CLEENG_SIGNATURE_ENCODING", "base32")], "CLEENG_SIGNATURE_ENCODING", "hex, base64"),
    (&[("CLEENG_DANGEROUSLY_ACCEPT_UNSIGNED_WEBHOOKS", "yes")], "CLEENG_DANGEROUSLY_ACCEPT_UNSIGNED_WEBHOOKS", "remove it"),
    (
        &[("CLEENG_DANGEROUSLY_ACCEPT_UNSIGNED_WEBHOOKS", "anyone-may-forge-charges")],
        "CLEENG_DANGEROUSLY_ACCEPT_UNSIGNED_WEBHOOKS",
        "webhooks sync",
    ),
    (&[("CLEENG_SIGNATUR_HEADER", "x-signature")], "CLEENG_SIGNATUR_HEADER", "CLEENG_SIGNATURE_HEADER"),
    (&[("CLEENG_TOKEN", "kT9vQ2mmZ81L")], "CLEENG_TOKEN", "remove it"),
    (&[("CLEENG_MEDIASTORE_URL", "mediastore")], "CLEENG_MEDIASTORE_URL", "URL"),
    (&[("ADYEN_ENVIRONMENT", "")], "ADYEN_ENVIRONMENT", "test or live"),
    (&[("ADYEN_ENVIRONMENT", "production")], "ADYEN_ENVIRONMENT", "test or live"),
    (&[("ADYEN_ENVIRONMENT", "live")], "ADYEN_LIVE_PREFIX", "prefix"),
    (&[("ADYEN_ENVIRONMENT", "live"), ("ADYEN_LIVE_PREFIX", "1797a841fbb37ca7-StreamCo")], "ADYEN_ENVIRONMENT", "CLEENG_ENVIRONMENT"),
    (&[("CLEENG_ENVIRONMENT", "production")], "PAYPAL_ENVIRONMENT", "live"),
    (&[("ADYEN_MERCHANT_ACCOUNT", "")], "ADYEN_MERCHANT_ACCOUNT", "Customer Area"),
    (&[("ADYEN_MERCHANT_ACCOUNT", "\"StreamCoECOM\"")], "ADYEN_MERCHANT_ACCOUNT", "quotes"),
    (&[("ADYEN_CAPTURE", "")], "ADYEN_CAPTURE", "manual"),
    (&[("ADYEN_CAPTURE", "later")], "ADYEN_CAPTURE", "manual"),
    (&[("ADYEN_BASE_URL", "checkout-test.adyen.com")], "ADYEN_BASE_URL", "URL"),
    (&[("ADYEN_RETURN_URL", "http://shop.example.com")], "ADYEN_RETURN_URL", "https"),
    (&[("ADYEN_MERCHANT_ACOUNT", "StreamCoECOM")], "ADYEN_MERCHANT_ACOUNT", "ADYEN_MERCHANT_ACCOUNT"),
    (&[("PAYPAL_ENVIRONMENT", "test")], "PAYPAL_ENVIRONMENT", "sandbox or live"),
    (&[("PAYPAL_CLIENT_ID", "")], "PAYPAL_CLIENT_ID", "Developer Dashboard"),
    (&[("PAYPAL_CLIENT_ID", "short")], "PAYPAL_CLIENT_ID", "Developer Dashboard"),
    (&[("PAYPAL_WEBHOOK_ID", "")], "PAYPAL_WEBHOOK_ID", "Developer Dashboard"),
    (&[("PAYPAL_WEBHOOK_ID", "WEBHOOKID")], "PAYPAL_WEBHOOK_ID", "Developer Dashboard"),
    (&[("PAYPAL_USAGE_PATTERN", "MONTHLY")], "PAYPAL_USAGE_PATTERN", "SUBSCRIPTION_PREPAID"),
    (&[("PAYPAL_STORED_CREDENTIAL", "yes")], "PAYPAL_STORED_CREDENTIAL", "send or omit"),
    (&[("PAYPAL_TRUST_ROOT", "bm9uZQ==")], "PAYPAL_TRUST_ROOT", "remove it"),
    (&[("PAYPAL_ENVIRONMENT", "live"), ("PAYPAL_BASE_URL", "https://api.example.com")], "PAYPAL_BASE_URL", "remove it"),
    (&[("CAPTURE_WAIT_MINUTES", "an hour")], "CAPTURE_WAIT_MINUTES", "1440"),
    (&[("CAPTURE_WAIT_MINUTES", "120")], "CAPTURE_WAIT_MINUTES", "less than 120"),
    (&[("SETTLE_ON", "webhook")], "SETTLE_ON", "notification or receipt"),
    (&[("SETTLE_ON", "receipt")], "SETTLE_ON", "notification"),
    (&[("SETTLE_DEADLINE_MINUTES", "0")], "SETTLE_DEADLINE_MINUTES", "whole number"),
    (&[("SETTLE_DEADLINE_MINUTES", "120")], "SETTLE_DEADLINE_MINUTES", "less than 120"),
    (&[("GRACE_PERIOD_MINUTES", "30")], "SETTLE_DEADLINE_MINUTES", "GRACE_PERIOD_MINUTES"),
    (&[("GRACE_PERIOD_MINUTES", "2h")], "GRACE_PERIOD_MINUTES", "whole number"),
    (&[("UNKNOWN_DEADLINE_HOURS", "1000")], "UNKNOWN_DEADLINE_HOURS", "72"),
    (&[("PARTIAL_REFUNDS", "yes")], "PARTIAL_REFUNDS", "park or send"),
    (&[("PARTIAL_REFUNDS", "send")], "PARTIAL_REFUNDS", "CLEENG_REFUND_AMOUNT_FIELD"),
    (&[("DELETE_DEACTIVATED_DETAILS", "true")], "DELETE_DEACTIVATED_DETAILS", "yes or no"),
    (&[("MAX_BODY_BYTES", "10MB")], "MAX_BODY_BYTES", "65536"),
    (&[("LOG_LEVEL", "trace")], "LOG_LEVEL", "debug"),
    (&[("JOURNAL_TABLE", "")], "JOURNAL_TABLE", "DynamoDB"),
    (&[("JOURNAL_TABLE", "my table")], "JOURNAL_TABLE", "name"),
    (&[("CONNECTOR_SECRET_ID", "")], "CONNECTOR_SECRET_ID", "Secrets Manager"),
    (&[("CONNECTOR_SECRET_ID", "{\"cleeng\": \"kT9vQ2mmZ81L\"}")], "CONNECTOR_SECRET_ID", "rotate"),
    (&[("CONNECTOR_SECRETS", "{\"cleeng\": \"kT9vQ2mmZ81L\"}")], "CONNECTOR_SECRETS", "rotate"),
    (&[("QUEUE_URL", "my-queue")], "QUEUE_URL", "URL"),
    (&[("EVENT_QUEUE_URLS", "")], "EVENT_QUEUE_URLS", "--env-file"),
    (&[("EVENT_QUEUE_URLS", "refunds=https://sqs.example.com/1/q")], "EVENT_QUEUE_URLS", "refundPayment="),
    (&[("EVENT_QUEUE_URLS", "refundPayment=https://sqs.example.com/1/q")], "EVENT_QUEUE_URLS", "capturePayment="),
    (
        &[("EVENT_QUEUE_URLS", "refundPayment=https://sqs.example.com/1/q,capturePayment=https://sqs.example.com/1/q")],
        "EVENT_QUEUE_URLS",
        "queue of its own function",
    ),
    (&[("ALLOWED_ORIGINS", "")], "ALLOWED_ORIGINS", "origins"),
    (&[("ALLOWED_ORIGINS", "https://shop.example.com/checkout")], "ALLOWED_ORIGINS", "origins"),
    (&[("ALLOWED_ORIGINS", "*")], "ALLOWED_ORIGINS", "origins"),
    (&[("CONNECTOR_EMBEDDED", "true")], "CONNECTOR_EMBEDDED", "1 (no AWS"),
    (&[("CONNECTOR_EMBEDDED", "1")], "CONNECTOR_EMBEDDED", "0"),
    (&[("AWS_ENDPOINT_URL", "https://elsewhere.example.com")], "AWS_ENDPOINT_URL", "remove it"),
];

#[tokio::test]
async fn a_right_deployment_has_nothing_to_be_mended() {
    for settings in [deployed(), embedded()] {
        let found = examine(settings).await;
        assert!(problems(&found).is_empty(), "{found:#?}");
        assert!(found.iter().any(|finding| finding.level == Level::Fine));
    }
}

#[tokio::test]
async fn every_wrong_setting_is_named_with_its_fix_and_never_quoted() {
    assert!(SETTINGS.len() >= 50, "the list shrank to {}", SETTINGS.len());
    for (changes, subject, fix) in SETTINGS {
        let mut settings = deployed();
        settings.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let found = examine(settings).await;
        let named = problems(&found).into_iter().any(|finding| finding.subject == *subject && finding.fix.contains(fix));
        assert!(named, "{changes:?} is not found as {subject} with a fix about {fix}: {found:#?}");
        for (_, value) in changes.iter().filter(|(_, value)| value.len() > 8 && value.contains("kT9vQ2mmZ81L")) {
            assert!(found.iter().all(|finding| !finding.problem.contains(value) && !finding.fix.contains("kT9vQ2mmZ81L")), "{found:#?}");
        }
    }
}

/// A change of the secret, the path that the finding has, a word of the fix.
type WrongSecret = (fn(&mut Value), &'static str, &'static str);

const SECRETS: &[WrongSecret] = &[
    (|secret| *secret = json!("text"), "secret", "JSON"),
    (|secret| *secret = json!([1]), "secret", "JSON"),
    (|secret| secret["idempotency_salt"] = Value::Null, "idempotency_salt", "add it"),
    (|secret| secret["idempotency_salt"] = json!("short"), "idempotency_salt", "16"),
    (|secret| secret["idempotency_salt"] = json!("changeme-changeme-changeme"), "idempotency_salt", "real value"),
    (
        |secret| secret["idempotency_salt"] = json!(["h4Kd9sLq2Wm7Xz5Vb8Nc3Rt6", "Yp1Jf0GaYp1Jf0GaYp1Jf0Ga"]),
        "idempotency_salt",
        "never rotated",
    ),
    (|secret| secret["idempotency_salt"] = json!("abababababababababababababababab"), "idempotency_salt", "openssl"),
    (|secret| secret["idempotency_salt"] = json!("h4Kd9sLq2Wm7Xz5V"), "idempotency_salt", "openssl"),
    (|secret| secret["idempotency_salt"] = json!("sandbox-salt-0123456789abcdef0123456789"), "idempotency_salt", "openssl"),
    (|secret| secret["webhook_path_keys"] = json!([]), "webhook_path_keys", "current value"),
    (|secret| secret["webhook_path_keys"] = json!(["with/slash/in/the/key/of/the/path"]), "webhook_path_keys", "letters, digits"),
    (|secret| secret["webhook_path_keys"] = json!(["a", "b", "c"]), "webhook_path_keys", "current one and the previous one"),
    (|secret| secret["webhook_path_keys"] = json!([PATH_KEY, PATH_KEY]), "webhook_path_keys[1]", "of its own"),
    (|secret| secret["webhook_path_key"] = json!([PATH_KEY]), "webhook_path_key", "correct its name"),
    (|secret| secret["cleeng"] = json!({}), "cleeng.publisher_token", "add it"),
    (|secret| secret["cleeng"]["publisher_token"] = json!("<token>"), "cleeng.publisher_token", "real value"),
    (|secret| secret["cleeng"]["publisher_token"] = json!("two words of it"), "cleeng.publisher_token", "dashboard"),
    (|secret| secret["cleeng"]["publisher_token"] = json!(12_345_678), "cleeng.publisher_token", "JSON string"),
    (|secret| secret["cleeng"]["webhook_secrets"] = json!([]), "cleeng.webhook_secrets", "shared secret"),
    (|secret| secret["cleeng"]["webhook_secrets"] = json!("tooshort1"), "cleeng.webhook_secrets", "32 bytes"),
    (|secret| secret["cleeng"]["webhook_secrets"] = json!("x9".repeat(40)), "cleeng.webhook_secrets", "32 bytes"),
    (|secret| secret["cleeng"]["webhook_secrets"] = json!(PATH_KEY), "cleeng.webhook_secrets", "of its own"),
    (|secret| secret["cleeng"]["webhook_secret"] = json!(PATH_KEY), "cleeng.webhook_secret", "correct its name"),
    (|secret| secret["adyen"] = Value::Null, "adyen", "add the gateway's object"),
    (|secret| secret["adyen"]["api_key"] = json!("AQEshort-key"), "adyen.api_key", "Customer Area"),
    (|secret| secret["adyen"]["api_key"] = json!([ADYEN_KEY, ""]), "adyen.api_key[1]", ""),
    (|secret| secret["adyen"]["hmac_keys"] = Value::Null, "adyen.hmac_keys", "Customer Area"),
    (|secret| secret["adyen"]["hmac_keys"] = json!(["9F3A6C1E8B2D7054"]), "adyen.hmac_keys[0]", "64 hex digits"),
    (|secret| secret["paypal"]["client_secret"] = json!("EGnHDxD_qRPd"), "paypal.client_secret", "Developer Dashboard"),
    (|secret| secret["paypal"]["secret"] = secret["paypal"]["client_secret"].take(), "paypal.client_secret", "Developer Dashboard"),
];

#[tokio::test]
async fn every_mistake_in_the_secret_is_told_by_its_path_with_its_fix_and_no_value_is_shown() {
    for (number, (change, path, fix)) in SECRETS.iter().enumerate() {
        let (mut settings, mut changed) = (embedded(), secret());
        change(&mut changed);
        let text = if changed.is_string() { "plain text".to_owned() } else { changed.to_string() };
        settings.insert("CONNECTOR_SECRETS".to_owned(), text);
        let found = examine(settings).await;
        let named = problems(&found).into_iter().any(|finding| finding.subject == *path && finding.fix.contains(fix));
        assert!(named, "number {number} is not found as {path} with a fix about {fix}: {found:#?}");
        let told = format!("{found:?}");
        for value in [PUBLISHER_TOKEN, PATH_KEY, ADYEN_KEY, "h4Kd9sLq2Wm7Xz5V"] {
            assert!(!told.contains(value), "number {number} shows a value");
        }
    }
}

#[tokio::test]
async fn what_is_inside_something_that_is_missing_is_not_told_as_well() {
    let (mut settings, mut changed) = (embedded(), secret());
    changed["adyen"] = Value::Null;
    settings.insert("CONNECTOR_SECRETS".to_owned(), changed.to_string());
    let found = examine(settings).await;
    let subjects: Vec<&str> = problems(&found).into_iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects, ["adyen"]);
}

#[tokio::test]
async fn several_mistakes_are_all_told_at_once() {
    let (mut settings, mut changed) = (embedded(), secret());
    changed["idempotency_salt"] = json!("short");
    changed["adyen"]["hmac_keys"] = json!(["zz"]);
    changed["cleeng"]["webhook_secrets"] = json!([]);
    settings.insert("CONNECTOR_SECRETS".to_owned(), changed.to_string());
    settings.insert("LOG_LEVEL".to_owned(), "trace".to_owned());
    let found = examine(settings).await;
    let subjects: Vec<&str> = problems(&found).into_iter().map(|finding| finding.subject.as_str()).collect();
    for subject in ["LOG_LEVEL", "idempotency_salt", "cleeng.webhook_secrets"] {
        assert!(subjects.contains(&subject), "{subject} is not among {subjects:?}");
    }
    assert!(subjects.iter().any(|subject| subject.starts_with("adyen.hmac_keys")), "{subjects:?}");
}

#[tokio::test]
async fn a_secret_among_the_plain_settings_is_found_by_its_value() {
    let mut settings = embedded();
    settings.insert("CONNECTOR_RELEASE".to_owned(), PUBLISHER_TOKEN.to_owned());
    let found = examine(settings).await;
    assert!(found.iter().any(|finding| finding.level == Level::Error && finding.subject == "CONNECTOR_RELEASE"), "{found:#?}");
}
