//! `/webhook_subscriptions`: the list of endpoints per topic, replaced as a whole (Cleeng, "Webhook settings"). The shared secret of a
//! verification is stored and never shown again (Cleeng, "Webhook verification").

use connector::cleeng::webhook::Topic;
use serde_json::{Map, Value};

use crate::simulators::cleeng::request_context::{HandlerResult, Rejection, RequestContext, Wrapper, malformed};

const MEMBERS: [&str; 4] = ["url", "verification", "filters", "retryPolicy"];

impl RequestContext<'_> {
    pub(super) fn list_webhooks(&self) -> HandlerResult {
        let topics = self.database.webhooks.iter().filter(|(_, endpoints)| !endpoints.is_empty());
        let shown = topics.map(|(topic, endpoints)| (topic.clone(), Value::Array(endpoints.iter().map(without_secret).collect())));
        Ok(Self::wrapped_response(Wrapper::Data, "data", Value::Object(shown.collect())))
    }

    pub(super) fn replace_webhooks(&mut self, topic: &str) -> HandlerResult {
        if Topic::parse(topic).is_none() {
            return Err(Rejection::Status(404));
        }
        let Value::Array(endpoints) = self.request.json() else { return Err(malformed("webhook_endpoints_are_a_list")) };
        endpoints.iter().try_for_each(check_endpoint)?;
        self.database.webhooks.insert(topic.to_owned(), endpoints);
        self.list_webhooks()
    }
}

fn check_endpoint(endpoint: &Value) -> Result<(), Rejection> {
    let members: &Map<String, Value> = endpoint.as_object().ok_or(malformed("webhook_endpoint_is_an_object"))?;
    if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(malformed("webhook_endpoint_member"));
    }
    let url = members.get("url").and_then(Value::as_str).unwrap_or_default();
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(malformed("webhook_endpoint_url"));
    }
    if members.get("retryPolicy").is_some_and(|policy| !policy.is_object()) {
        return Err(malformed("webhook_retry_policy"));
    }
    let Some(verification) = members.get("verification") else { return Ok(()) };
    let option = |name: &str| verification.get("options").and_then(|options| options.get(name)).and_then(Value::as_str).unwrap_or_default();
    let named = verification.get("name").and_then(Value::as_str) == Some("HMAC") && option("hashAlg") == "SHA256";
    // 16 to 64 bytes (Cleeng, "Webhook verification"). A list written back as it was read has no secret, and loses it.
    if named && (16..=64).contains(&option("sharedSecret").len()) { Ok(()) } else { Err(malformed("webhook_verification")) }
}

fn without_secret(endpoint: &Value) -> Value {
    let mut shown = endpoint.clone();
    if let Some(options) = shown.get_mut("verification").and_then(|it| it.get_mut("options")).and_then(Value::as_object_mut) {
        options.remove("sharedSecret");
    }
    shown
}
