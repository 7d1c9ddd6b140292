//! What the page sends comes from a browser: it may name anything, even another customer's stored details. An adapter passes on the fields
//! that it lists here, and nothing else.

use serde_json::{Map, Value};

/// The members of an object that are named, as they are; `None` if it is no object.
pub(crate) fn pick(object: Option<&Value>, names: &[&str]) -> Option<Map<String, Value>> {
    let object = object?.as_object()?;
    Some(names.iter().filter_map(|name| Some(((*name).to_owned(), object.get(*name)?.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_named_is_passed_on() {
        let sent = json!({ "type": "scheme", "storedPaymentMethodId": "1" });
        assert_eq!(pick(Some(&sent), &["type", "brand"]).map(Value::Object), Some(json!({ "type": "scheme" })));
        assert_eq!(pick(Some(&json!("scheme")), &["type"]), None);
        assert_eq!(pick(None, &["type"]), None);
    }
}
