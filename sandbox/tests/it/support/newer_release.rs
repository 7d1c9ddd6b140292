//! Documents as a newer release writes them, for a release that was rolled back.

use std::sync::Arc;

use connector::clock::Timestamp;
use connector::journal::SCHEMA;
use connector::journal::store::{Key, Put, Store};
use serde_json::{Value, json};

/// A document's text as a newer release writes it: with its schema, and with a field that this release does not know.
pub(crate) fn newer_body(body: &str) -> String {
    let mut document: Value = serde_json::from_str(body).unwrap();
    document["schema"] = json!(SCHEMA + 1);
    document["field_of_a_newer_release"] = json!({ "kept": true });
    document.to_string()
}

/// Rewrites documents as a newer release writes them, due at this time.
pub(crate) async fn rewrite_as_newer(store: &Arc<dyn Store>, keys: &[Key], due_at: Option<Timestamp>) {
    for key in keys {
        let stored = store.load(std::slice::from_ref(key)).await.unwrap().remove(0).unwrap();
        let (expected_version, body) = (Some(stored.version), newer_body(&stored.body));
        store.commit(&[Put { key: key.clone(), expected_version, body, due_at, parked_since: None, expires_at: None }]).await.unwrap();
    }
}

/// The texts of documents.
pub(crate) async fn bodies(store: &Arc<dyn Store>, keys: &[Key]) -> Vec<String> {
    store.load(keys).await.unwrap().into_iter().map(|stored| stored.unwrap().body).collect()
}
