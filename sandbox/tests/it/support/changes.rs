//! Responses that are changed as a whole, once for all suites.

use serde_json::{Value, json};

/// Emptied, and with nothing, nonsense and a number in the place of every value.
pub(crate) const CHANGES: [fn(&mut Value); 4] =
    [empty, |body| change_all(body, &Value::Null), |body| change_all(body, &json!("nonsense")), |body| change_all(body, &json!(123_456))];

fn empty(value: &mut Value) {
    if let Value::Object(members) = value {
        members.clear();
    }
}

fn change_all(value: &mut Value, to: &Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| change_all(member, to)),
        Value::Array(items) => items.iter_mut().for_each(|item| change_all(item, to)),
        other => other.clone_from(to),
    }
}
