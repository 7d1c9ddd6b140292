//! The secrets of the local world: none may be in an answer or in a log line.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use sandbox::local::IDEMPOTENCY_SALT;
use sandbox::testkit::fixtures::{PUBLISHER_TOKEN, WEBHOOK_SECRET};
use sandbox::testkit::gateway_fixtures::gateway_secrets;
use serde_json::Value;

/// Every secret, and what a customer's token and a bearer's header begin with. The salt is one too.
fn canaries() -> Vec<String> {
    let mut found = vec![PUBLISHER_TOKEN.to_owned(), WEBHOOK_SECRET.to_owned(), IDEMPOTENCY_SALT.to_owned(), "Bearer eyJ".to_owned()];
    texts(&gateway_secrets(), &mut found);
    found
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The first secret that a text shows, by its first four characters.
pub(crate) fn find(text: &str) -> Option<String> {
    let shown = canaries().into_iter().find(|canary| text.contains(canary.as_str()))?;
    Some(format!("the secret {}...", shown.chars().take(4).collect::<String>()))
}

/// Everything that the functions write to their log.
#[derive(Clone, Default)]
pub(crate) struct LogCapture(Arc<Mutex<Vec<u8>>>);

impl LogCapture {
    /// Captures the log of this process.
    pub(crate) fn install() -> Self {
        let capture = Self::default();
        let writer = capture.clone();
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::INFO).with_writer(move || writer.clone()).init();
        capture
    }

    /// What was captured.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for LogCapture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
