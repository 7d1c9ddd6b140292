//! What becomes of one topic's list of endpoints. Pure: it neither asks nor writes.
//!
//! An endpoint is ours if its path is the one of this topic under one of our path keys, which are secret. Every other endpoint belongs to
//! another system and stays as it is, to the last member.

use connector::secret::SecretString;
use serde_json::{Value, json};

/// The retry policy that is set if there is none and no other is given: Cleeng's documents name the member `retryPolicy` and show no form
/// of it in the part that can be read ("Webhook settings"). This is a guess, in this one place.
pub const RETRY_POLICY: &str = r#"{"enabled": true}"#;

/// How our endpoint is to be.
pub struct DesiredEndpoint {
    /// Its URL.
    pub url: String,
    /// What Cleeng signs with.
    pub secret: SecretString,
    /// The retry policy, and whether it replaces one that is there.
    pub retry: (Value, bool),
    /// Whether it is written even where a verification is on: it may be on with another secret, which Cleeng does not report.
    pub push_secret: bool,
}

/// What is to be done about a topic.
#[derive(Clone, Debug, PartialEq)]
pub enum MergePlan {
    /// Nothing.
    Leave,
    /// The whole list is to be written.
    Write {
        /// The list.
        endpoints: Vec<Value>,
        /// What is new in it, in words.
        changes: Vec<&'static str>,
    },
    /// It cannot be written without changing another system's endpoint.
    Refuse(&'static str),
}

/// Another system's endpoint whose verification cannot be written back.
pub const HIDDEN_SECRET: &str =
    "another endpoint of this topic is verified with a secret that Cleeng does not return, and writing the list would remove it";

/// The path of a URL; nothing for what is no plain http(s) URL.
fn path_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let (_, path) = rest.split_once('/')?;
    Some(path)
}

/// Whether this endpoint is ours: its path is `webhooks/KEY/ROUTE` with one of our keys.
#[must_use]
pub fn is_ours(endpoint: &Value, keys: &[SecretString], route: &str) -> bool {
    let url = endpoint.get("url").and_then(Value::as_str).unwrap_or_default();
    let ours = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        matches!(parts.as_slice(), ["webhooks", key, last] if *last == route && keys.iter().any(|known| known.matches(key)))
    };
    path_of(url).is_some_and(ours)
}

/// Whether the endpoint is verified by HMAC with SHA-256. Cleeng does not report whether with our secret.
#[must_use]
pub fn is_verified(endpoint: &Value) -> bool {
    let verification = endpoint.get("verification");
    let name = verification.and_then(|it| it.get("name")).and_then(Value::as_str);
    let algorithm = verification.and_then(|it| it.get("options")).and_then(|it| it.get("hashAlg")).and_then(Value::as_str);
    name == Some("HMAC") && algorithm == Some("SHA256")
}

/// Whether a retry policy is set.
#[must_use]
pub fn is_retried(endpoint: &Value) -> bool {
    let policy = endpoint.get("retryPolicy").filter(|policy| !policy.is_null());
    policy.is_some_and(|policy| policy.get("enabled") != Some(&Value::Bool(false)))
}

/// One endpoint of ours as wanted, every other one as it is.
#[must_use]
pub fn with_ours(existing: &[Value], keys: &[SecretString], route: &str, wanted: &DesiredEndpoint) -> MergePlan {
    let mut changes = Vec::new();
    let mut endpoints = Vec::new();
    let mut placed = false;
    for endpoint in existing {
        if !is_ours(endpoint, keys, route) {
            endpoints.push(endpoint.clone());
        } else if placed {
            changes.push("takes away a second endpoint of ours");
        } else {
            placed = true;
            endpoints.push(updated(endpoint, wanted, &mut changes));
        }
    }
    if !placed {
        endpoints.push(updated(&json!({ "url": wanted.url }), wanted, &mut Vec::new()));
        changes = vec!["adds our endpoint, verified and with retries"];
    }
    to_plan(existing, keys, route, endpoints, changes)
}

/// None of ours, every other one as it is.
#[must_use]
pub fn without_ours(existing: &[Value], keys: &[SecretString], route: &str) -> MergePlan {
    let endpoints: Vec<Value> = existing.iter().filter(|endpoint| !is_ours(endpoint, keys, route)).cloned().collect();
    let changes = if endpoints.len() < existing.len() { vec!["takes our endpoint away"] } else { Vec::new() };
    to_plan(existing, keys, route, endpoints, changes)
}

/// The endpoints of other systems.
#[must_use]
pub fn foreign_endpoints<'a>(endpoints: &'a [Value], keys: &[SecretString], route: &str) -> Vec<&'a Value> {
    endpoints.iter().filter(|endpoint| !is_ours(endpoint, keys, route)).collect()
}

fn to_plan(existing: &[Value], keys: &[SecretString], route: &str, endpoints: Vec<Value>, changes: Vec<&'static str>) -> MergePlan {
    if changes.is_empty() {
        return MergePlan::Leave;
    }
    if foreign_endpoints(existing, keys, route).into_iter().any(hides_a_secret) {
        return MergePlan::Refuse(HIDDEN_SECRET);
    }
    MergePlan::Write { endpoints, changes }
}

/// A verification without its secret cannot be written back (Cleeng, "Webhook verification": the secret cannot be read).
fn hides_a_secret(endpoint: &Value) -> bool {
    let Some(verification) = endpoint.get("verification").filter(|it| !it.is_null()) else { return false };
    let secret = verification.get("options").and_then(|options| options.get("sharedSecret")).and_then(Value::as_str);
    // Stars stand for a secret that is set and not reported.
    secret.is_none_or(|secret| secret.is_empty() || secret.bytes().all(|b| matches!(b, b'*' | b'.')))
}

fn updated(endpoint: &Value, wanted: &DesiredEndpoint, changes: &mut Vec<&'static str>) -> Value {
    let mut updated_endpoint = endpoint.clone();
    let Value::Object(members) = &mut updated_endpoint else { return updated_endpoint };
    if members.get("url").and_then(Value::as_str) != Some(&wanted.url) {
        members.insert("url".to_owned(), wanted.url.as_str().into());
        changes.push("moves our endpoint to the current address");
    }
    if !is_verified(endpoint) {
        changes.push("turns verification on");
    } else if wanted.push_secret {
        changes.push("writes the current webhook secret");
    }
    let (policy, replace) = &wanted.retry;
    if !is_retried(endpoint) {
        changes.push("turns retries on");
        members.insert("retryPolicy".to_owned(), policy.clone());
    } else if *replace && members.get("retryPolicy") != Some(policy) {
        changes.push("changes the retry policy");
        members.insert("retryPolicy".to_owned(), policy.clone());
    }
    // A write of the list includes the secret, since Cleeng does not report the one that is set.
    let verification = json!({ "name": "HMAC", "options": { "hashAlg": "SHA256", "sharedSecret": wanted.secret.expose() } });
    members.insert("verification".to_owned(), verification);
    updated_endpoint
}
