//! The form of Stripe's ids.

use serde_json::Value;

/// The longest id, in characters (docs.stripe.com/upgrades: "object IDs ... won't exceed 255 characters").
const LONGEST_ID: usize = 255;

/// Whether this is an id of Stripe's with this prefix.
pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    let plain = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text.len() <= LONGEST_ID && text.strip_prefix(prefix).is_some_and(plain)
}

/// The id of an object, or the id that stands for one that is not expanded.
pub(super) fn id_of(value: &Value) -> Option<&str> {
    let id = value.as_str().or_else(|| value.get("id").and_then(Value::as_str))?;
    is_id(id, "").then_some(id)
}
