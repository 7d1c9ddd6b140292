//! Cleeng's webhook subscriptions, for the operator's tool: read all, write one topic's list as a whole (Cleeng, "Webhook settings",
//! `PUT /3.1/webhook_subscriptions/{topic}`, and "Webhooks configuration", `GET /3.1/webhook_subscriptions`).
//!
//! A write replaces the topic's list, so a write has to include the endpoints of others. Endpoints are therefore kept as Cleeng reported
//! them, to the last member. The shape of the list is not published where it could be read: what cannot be read is an error, never an empty
//! list.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use super::request::{ApiRequest, NOT_SENT};
use super::{CoreApi, read};
use crate::cleeng::CleengError;

/// The endpoints of each topic that has any, by the topic's name as Cleeng writes it. Each is an object with a `url`.
pub type WebhookEndpoints = BTreeMap<String, Vec<Value>>;

const UNREADABLE: CleengError = read::unreadable("webhook_subscriptions");

impl CoreApi {
    /// All webhook endpoints of the publisher, this connector's and others'.
    ///
    /// # Errors
    /// [`CleengError`]; a list that cannot be read is [`CleengError::NotFound`].
    pub async fn webhook_endpoints(&self) -> Result<WebhookEndpoints, CleengError> {
        let answer = self.client.send(&ApiRequest::get("/webhook_subscriptions".to_owned())).await?;
        read_endpoints(&read::body(&answer)?)
    }

    /// Replaces the endpoints of one topic.
    ///
    /// # Errors
    /// [`CleengError`]; nothing is sent for a topic that is not a plain word.
    pub async fn replace_webhook_endpoints(&self, topic: &str, endpoints: &[Value]) -> Result<(), CleengError> {
        if topic.is_empty() || !topic.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(NOT_SENT);
        }
        // A whole replacement: sending it twice has the same effect.
        let call = ApiRequest::new(Method::PUT, format!("/webhook_subscriptions/{topic}"))
            .with_body(Value::Array(endpoints.to_vec()))
            .repeatable();
        self.client.send(&call).await.map(drop)
    }
}

/// Reads the list: an object from topics to endpoints, or an array of objects with `topic` and `endpoints`, bare or in one of the known
/// wrappers.
fn read_endpoints(body: &Value) -> Result<WebhookEndpoints, CleengError> {
    let wrapped = ["data", "webhookSubscriptions", "webhook_subscriptions", "responseData"].iter().find_map(|name| body.get(name));
    match wrapped.unwrap_or(body) {
        Value::Object(topics) => {
            let topics = topics.iter().filter(|(name, _)| !["success", "message", "errors"].contains(&name.as_str()));
            topics.map(|(topic, list)| Ok((topic.clone(), read_endpoint_list(list)?))).collect()
        }
        Value::Array(items) => {
            let mut found = WebhookEndpoints::new();
            for item in items {
                let topic = item.get("topic").and_then(Value::as_str).ok_or(UNREADABLE)?;
                let list = item.get("endpoints").or_else(|| item.get("subscriptions")).ok_or(UNREADABLE)?;
                found.entry(topic.to_owned()).or_default().extend(read_endpoint_list(list)?);
            }
            Ok(found)
        }
        _ => Err(UNREADABLE),
    }
}

fn read_endpoint_list(list: &Value) -> Result<Vec<Value>, CleengError> {
    let items = list.as_array().ok_or(UNREADABLE)?;
    let has_url = |item: &Value| item.get("url").is_some_and(Value::is_string);
    if items.iter().all(has_url) { Ok(items.clone()) } else { Err(UNREADABLE) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_likely_shape_says_the_same() {
        let list = json!([{ "url": "https://a.example.com/x", "filters": { "any": [1] } }]);
        let expected = WebhookEndpoints::from([("refundPayment".to_owned(), list.as_array().unwrap().clone())]);
        for body in [
            json!({ "refundPayment": list }),
            json!({ "success": true, "message": "", "data": { "refundPayment": list } }),
            json!([{ "topic": "refundPayment", "endpoints": list }]),
            json!({ "data": [{ "topic": "refundPayment", "subscriptions": list }] }),
        ] {
            assert_eq!(read_endpoints(&body).unwrap(), expected, "{body}");
        }
        assert_eq!(read_endpoints(&json!({ "data": {} })).unwrap(), WebhookEndpoints::new());
    }

    #[test]
    fn what_cannot_be_read_is_never_an_empty_list() {
        for body in [
            json!(null),
            json!("no"),
            json!({ "refundPayment": {} }),
            json!({ "refundPayment": ["https://a"] }),
            json!([{ "url": "https://a" }]),
        ] {
            assert!(read_endpoints(&body).is_err(), "{body}");
        }
    }
}
