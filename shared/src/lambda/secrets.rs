//! The secrets of a deployment: one JSON text in AWS Secrets Manager (or, in embedded mode, in the environment variable
//! `CONNECTOR_SECRETS`).
//!
//! ```json
//! {
//!   "idempotency_salt": "at least 16 characters, never changed",
//!   "webhook_path_keys": ["current, at least 16 of A-Z a-z 0-9 _ -", "previous"],
//!   "cleeng": { "publisher_token": ["current", "previous"], "webhook_secrets": ["current", "previous"] },
//!   "adyen": { "api_key": ["current", "previous"], "hmac_keys": ["current", "previous"] },
//!   "paypal": { "client_secret": ["current", "previous"] }
//! }
//! ```
//!
//! Where an upstream rotates, one or two values are accepted, the current one first; a single text may stand for a list of one.
//! Placeholders are refused. Must never quote a value: a mistake is reported by its path and its fix.

mod cache;
mod source;

use std::collections::{BTreeMap, BTreeSet};

pub use cache::{RELOAD_INTERVAL, SecretCache};
use serde_json::Value;
pub use source::{EnvironmentSecret, SecretSource, SecretsManager};
use thiserror::Error;

use crate::gateway::GatewayName;
use crate::secret::{NamedSecrets, SecretString};
use crate::settings::{Problem, Problems};

/// The shortest salt and path key, in characters.
pub const SHORTEST_KEY: usize = 16;
/// The shortest token or secret of an upstream, in characters.
pub const SHORTEST_TOKEN: usize = 8;

/// What a deployment keeps secret.
#[derive(Clone)]
pub struct Secrets {
    /// Salts idempotency keys; never rotated.
    pub idempotency_salt: SecretString,
    /// The unguessable segment of webhook routes, current and previous.
    pub webhook_path_keys: Vec<SecretString>,
    /// Cleeng's.
    pub cleeng: CleengSecrets,
    /// Each gateway's, under its name; the adapter says what it needs.
    pub gateways: BTreeMap<GatewayName, NamedSecrets>,
}

/// What Cleeng and we share.
#[derive(Clone)]
pub struct CleengSecrets {
    /// `X-PublisherAccount-Token`, current and previous.
    pub publisher_tokens: Vec<SecretString>,
    /// The secrets of webhook signatures, current and previous. Empty if none is set, and then nothing can be verified.
    pub webhook_secrets: Vec<SecretString>,
}

/// Why there are no secrets.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// The service did not answer, or throttles.
    #[error("AWS Secrets Manager cannot be reached")]
    Unavailable,
    /// The service refused: permissions, name, encryption key.
    #[error("AWS Secrets Manager refused ({0}): check CONNECTOR_SECRET_ID and the function's role")]
    Refused(&'static str),
    /// The secret is there and is wrong.
    #[error(transparent)]
    Invalid(Problems),
}

impl Secrets {
    /// Reads the JSON text. The gateways in use must have their secrets.
    ///
    /// # Errors
    /// Every [`Problem`] at once.
    pub fn parse(text: &str, gateways: &BTreeSet<GatewayName>) -> Result<Self, Problems> {
        match Self::read(text, gateways) {
            (Some(secrets), problems) if problems.is_empty() => Ok(secrets),
            (_, problems) => Err(Problems(problems)),
        }
    }

    /// As [`Secrets::parse`], with what can be read beside the mistakes: what is wrong is empty or left out. For finding more mistakes; no
    /// function may start with it. `None` if the text is no JSON object.
    #[must_use]
    pub fn read(text: &str, gateways: &BTreeSet<GatewayName>) -> (Option<Self>, Vec<Problem>) {
        let root = match serde_json::from_str(text) {
            Ok(root @ Value::Object(_)) => root,
            _ => {
                return (None, vec![problem("secret", "is not a JSON object", "store the documented JSON as the secret's text")]);
            }
        };
        let mut read = SecretReader { root: &root, problems: Vec::new() };
        let salt = read.list("idempotency_salt", SHORTEST_KEY, true);
        let webhook_path_keys = read.list("webhook_path_keys", SHORTEST_KEY, true);
        read.check_path_segments(&webhook_path_keys);
        let cleeng = CleengSecrets {
            publisher_tokens: read.list("cleeng.publisher_token", SHORTEST_TOKEN, true),
            webhook_secrets: read.list("cleeng.webhook_secrets", SHORTEST_TOKEN, false),
        };
        let gateways = gateways.iter().map(|gateway| (*gateway, read.gateway(&root, *gateway))).collect();
        let idempotency_salt = read.single("idempotency_salt", salt).unwrap_or_else(|| SecretString::new(""));
        (Some(Self { idempotency_salt, webhook_path_keys, cleeng, gateways }), read.problems)
    }

    /// Whether this is one of the path keys, in constant time.
    #[must_use]
    pub fn is_path_key(&self, candidate: &str) -> bool {
        // Every key is compared, so that the duration does not reveal which one matched.
        self.webhook_path_keys.iter().fold(false, |found, key| found | key.matches(candidate))
    }

    /// Every secret text, for the redactor of the logs.
    #[must_use]
    pub fn texts(&self) -> Vec<SecretString> {
        let mut texts = vec![self.idempotency_salt.clone()];
        texts.extend(self.webhook_path_keys.iter().cloned());
        texts.extend(self.cleeng.publisher_tokens.iter().chain(&self.cleeng.webhook_secrets).cloned());
        texts.extend(self.gateways.values().flat_map(|gateway| gateway.0.values().flatten()).cloned());
        texts
    }
}

fn problem(path: &str, problem: &str, fix: &str) -> Problem {
    Problem { setting: path.to_owned(), problem: problem.to_owned(), fix: fix.to_owned() }
}

struct SecretReader<'a> {
    root: &'a Value,
    problems: Vec<Problem>,
}

impl SecretReader<'_> {
    fn add_problem(&mut self, path: &str, what: &str, fix: &str) {
        self.problems.push(problem(path, what, fix));
    }

    /// One or two texts.
    fn list(&mut self, path: &str, shortest: usize, required: bool) -> Vec<SecretString> {
        let found = path.split('.').try_fold(self.root, |value, name| value.get(name)).filter(|value| !value.is_null());
        let values = match found {
            None if required => {
                self.add_problem(path, "is missing from the secret", "add it to the secret's JSON");
                return Vec::new();
            }
            None => return Vec::new(),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        if values.is_empty() && required {
            self.add_problem(path, "is an empty list", "put the current value into it");
        }
        if values.len() > 2 {
            self.add_problem(path, "has more than two values", "keep the current one and the previous one");
        }
        values.iter().enumerate().filter_map(|(place, value)| self.text_at(path, place, value, shortest)).collect()
    }

    fn text_at(&mut self, path: &str, place: usize, value: &Value, shortest: usize) -> Option<SecretString> {
        let path = if place == 0 { path.to_owned() } else { format!("{path}[{place}]") };
        let Value::String(text) = value else {
            self.add_problem(&path, "is not a text", "write it as a JSON string");
            return None;
        };
        let secret = SecretString::new(text.trim());
        if secret.is_placeholder() {
            self.add_problem(&path, "is empty or a placeholder", "put the real value there");
        } else if secret.expose().chars().count() < shortest {
            self.add_problem(&path, "is too short", &format!("use at least {shortest} characters"));
        } else {
            return Some(secret);
        }
        None
    }

    /// Everything under a gateway's name. What it needs is its adapter's business; what is there must be usable.
    fn gateway(&mut self, root: &Value, gateway: GatewayName) -> NamedSecrets {
        let Some(Value::Object(members)) = root.get(gateway.as_str()) else {
            self.add_problem(gateway.as_str(), "is missing from the secret", "add the gateway's object to the secret's JSON");
            return NamedSecrets::default();
        };
        let read = |name: &String| (name.clone(), self.list(&format!("{gateway}.{name}"), SHORTEST_TOKEN, false));
        NamedSecrets(members.keys().map(read).collect())
    }

    fn single(&mut self, path: &str, values: Vec<SecretString>) -> Option<SecretString> {
        if values.len() > 1 {
            self.add_problem(path, "has more than one value", "it is never rotated: keep the one that is in use");
        }
        values.into_iter().next()
    }

    fn check_path_segments(&mut self, keys: &[SecretString]) {
        let fits = |key: &SecretString| key.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !keys.iter().all(fits) {
            self.add_problem("webhook_path_keys", "cannot stand in a URL path", "use letters, digits, '-' and '_' only");
        }
    }
}

#[cfg(test)]
mod tests;
