use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::lambda::telemetry::Redactor;
use crate::lambda::testing::TestClock;

const ADYEN: [GatewayName; 1] = [GatewayName::Adyen];

fn complete() -> Value {
    json!({
        "idempotency_salt": "salt-of-the-earth-1234",
        "webhook_path_keys": ["path-key-current-1", "path_key_previous_1"],
        "cleeng": { "publisher_token": "token-of-the-publisher", "webhook_secrets": ["signing-one", "signing-two"] },
        "adyen": { "api_key": ["api-key-of-adyen"], "hmac_keys": ["44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"] }
    })
}

fn parse(value: &Value) -> Result<Secrets, Problems> {
    Secrets::parse(&value.to_string(), &ADYEN.into())
}

fn mistakes(value: &Value) -> Vec<String> {
    parse(value).err().map(|problems| problems.0.into_iter().map(|problem| problem.setting).collect()).unwrap_or_default()
}

#[test]
fn the_documented_shape_is_read() {
    let secrets = parse(&complete()).ok().unwrap();
    assert!(secrets.idempotency_salt.matches("salt-of-the-earth-1234"));
    assert_eq!(secrets.cleeng.publisher_tokens.len(), 1);
    assert_eq!(secrets.cleeng.webhook_secrets.len(), 2);
    let adyen = &secrets.gateways[&GatewayName::Adyen];
    assert_eq!((adyen.values("api_key").len(), adyen.values("hmac_keys").len()), (1, 1));
    assert_eq!(secrets.texts().len(), 8);
    assert!(secrets.is_path_key("path-key-current-1"));
    assert!(secrets.is_path_key("path_key_previous_1"));
    assert!(!secrets.is_path_key("path-key-current-2"));
    assert!(!secrets.is_path_key(""));
}

#[test]
fn a_placeholder_is_refused_wherever_it_stands() {
    let paths = ["/idempotency_salt", "/webhook_path_keys/0", "/cleeng/publisher_token", "/cleeng/webhook_secrets/0", "/adyen/api_key/0"];
    let placeholders =
        ["", "   ", "changeme", "ChangeMe-please-now-1", "<your publisher token>", "xxxxxxxxxxxxxxxxxxxx", "your_secret_goes_here"];
    for path in paths {
        for placeholder in placeholders {
            let mut value = complete();
            *value.pointer_mut(path).unwrap() = json!(placeholder);
            assert_eq!(mistakes(&value).len(), 1, "{path} = {placeholder:?}");
        }
    }
}

#[test]
fn every_mistake_names_its_path_and_quotes_no_value() {
    let value = json!({
        "idempotency_salt": ["tiny-salt"],
        "webhook_path_keys": ["has/slash/in/the/key", "b-long-enough-key-123", "c-long-enough-key-123"],
        "cleeng": { "publisher_token": 12_345_678_901_234_i64, "webhook_secrets": [true] },
    });
    let problems = parse(&value).err().unwrap();
    let names: Vec<&str> = problems.0.iter().map(|problem| problem.setting.as_str()).collect();
    let expected =
        ["idempotency_salt", "webhook_path_keys", "webhook_path_keys", "cleeng.publisher_token", "cleeng.webhook_secrets", "adyen"];
    assert_eq!(names, expected);
    let shown = problems.to_string();
    for value in ["tiny-salt", "has/slash", "12345678901234", "c-long"] {
        assert!(!shown.contains(value), "{shown}");
    }
}

#[test]
fn a_gateway_that_is_not_used_needs_no_secrets() {
    let mut value = complete();
    value.as_object_mut().unwrap().remove("adyen");
    assert_eq!(mistakes(&value), ["adyen"]);
    assert!(Secrets::parse(&value.to_string(), &BTreeSet::new()).is_ok_and(|secrets| secrets.gateways.is_empty()));
}

#[test]
fn a_salt_has_one_value_because_it_is_never_rotated() {
    let mut value = complete();
    value["idempotency_salt"] = json!(["salt-of-the-earth-1234", "salt-of-the-earth-5678"]);
    assert_eq!(mistakes(&value), ["idempotency_salt"]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        prop_assert!(Secrets::parse(&text, &ADYEN.into()).is_err());
    }
}

/// Gives the first text once and the second ever after, and counts.
struct Rotating(Arc<AtomicU32>, [Result<Value, SecretError>; 2]);

#[async_trait]
impl SecretSource for Rotating {
    async fn fetch(&self) -> Result<SecretString, SecretError> {
        let call = self.0.fetch_add(1, Ordering::SeqCst);
        self.1[usize::from(call > 0)].clone().map(|value| SecretString::new(value.to_string()))
    }
}

async fn cache_with(second: Result<Value, SecretError>) -> (SecretCache, Arc<AtomicU32>, TestClock) {
    let (calls, clock) = (Arc::new(AtomicU32::new(0)), TestClock::default());
    let source = Box::new(Rotating(Arc::clone(&calls), [Ok(complete()), second]));
    let redactor = Arc::new(Redactor::default());
    let secret_cache = SecretCache::open(source, ADYEN.into(), redactor, Arc::new(clock.clone())).await.ok().unwrap();
    (secret_cache, calls, clock)
}

fn rotated() -> Value {
    let mut value = complete();
    value["cleeng"]["webhook_secrets"] = json!(["signing-new", "signing-one"]);
    value
}

#[tokio::test]
async fn secrets_are_read_again_at_most_once_a_minute() {
    let (secret_cache, calls, clock) = cache_with(Ok(rotated())).await;
    assert_eq!(secret_cache.reload().await, Ok(false));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(60));
    assert_eq!(secret_cache.reload().await, Ok(true));
    assert!(secret_cache.current().cleeng.webhook_secrets[0].matches("signing-new"));
    assert_eq!(secret_cache.reload().await, Ok(false));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    clock.advance(Duration::from_secs(61));
    assert_eq!(secret_cache.reload().await, Ok(false), "nothing changed any more");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn secrets_that_went_wrong_leave_the_old_ones_in_force() {
    for second in [Err(SecretError::Unavailable), Ok(json!({"idempotency_salt": "changeme"}))] {
        let (secret_cache, _, clock) = cache_with(second).await;
        clock.advance(Duration::from_secs(60));
        assert!(secret_cache.reload().await.is_err());
        assert!(secret_cache.current().cleeng.webhook_secrets[0].matches("signing-one"));
    }
}

#[tokio::test]
async fn without_the_variable_embedded_mode_says_which_one() {
    let missing = EnvironmentSecret::new(None).fetch().await.err().unwrap();
    assert!(missing.to_string().contains("CONNECTOR_SECRETS"));
    assert!(EnvironmentSecret::new(Some("{}".to_owned())).fetch().await.is_ok_and(|text| text.matches("{}")));
}
