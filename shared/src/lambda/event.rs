//! What the runtime hands over, told apart by its shape: a request of an HTTP API (payload format 2.0) or a batch of SQS messages.
//!
//! The HTTP event is read here and not by `lambda_http`, whose conversion panics on a path or a base64 body that it cannot represent
//! (`into_api_gateway_v2_request`, `Body::from_maybe_encoded`): with `panic = "abort"` one odd request would end the process. Nothing here
//! panics, whatever comes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_lambda_events::sqs::SqsEvent;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use thiserror::Error;

const SQS: &str = "aws:sqs";
/// What EventBridge calls the event of a schedule (Amazon EventBridge, "Creating a rule that runs on a schedule").
const SCHEDULED: &str = "Scheduled Event";

/// An event.
pub enum Event {
    /// A request.
    Http(Box<HttpRequest>),
    /// A batch of messages.
    Sqs(SqsEvent),
    /// The time of a schedule has come.
    Schedule,
}

/// A request as the HTTP API hands it over. It has no `Debug`: headers and body hold what must not be seen.
pub struct HttpRequest {
    /// The method, in capitals.
    pub method: String,
    /// The path without the query, stage included.
    pub path: String,
    /// The query as it was sent, without its `?`.
    pub query: String,
    /// The domain under which the API was called, as the API says; nothing where there is none, as on a developer's machine.
    pub domain: Option<String>,
    /// The headers; one that cannot be a header is left out.
    pub headers: HeaderMap,
    /// The address on the network that it came from.
    pub source_ip: Option<String>,
    /// The body; nothing if it is said to be base64 and is not.
    pub body: Option<Bytes>,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// Headers beside the content type.
    pub headers: Vec<(HeaderName, Cow<'static, str>)>,
    /// The body. A text goes out as it is, anything else as JSON.
    pub body: Value,
}

/// Why an event is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EventError {
    /// Neither of the two shapes.
    #[error("this function takes HTTP API events (payload format 2.0) and SQS events; this is neither")]
    Shape,
    /// A batch of something else than SQS messages.
    #[error("this function takes records of SQS only")]
    Records,
    /// Something else than a schedule, or a schedule for a function that has none.
    #[error("this event is for another function: only reconciliation is started by a schedule, and by nothing else")]
    Schedule,
}

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self { error_type: "UnsupportedEvent".to_owned(), error_message: error.to_string() }
    }
}

#[derive(Deserialize)]
struct EventShape {
    #[serde(rename = "Records")]
    records: Option<Vec<RecordSource>>,
    #[serde(rename = "requestContext")]
    context: Option<RequestContext>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
}

#[derive(Deserialize)]
struct RecordSource {
    #[serde(rename = "eventSource")]
    source: Option<String>,
}

#[derive(Deserialize)]
struct RequestContext {
    http: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct HttpEvent {
    #[serde(rename = "requestContext")]
    context: HttpContext,
    #[serde(rename = "rawPath", default)]
    raw_path: String,
    // Local emulations of the HTTP API write null where there is no query.
    #[serde(rename = "rawQueryString")]
    raw_query: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(rename = "isBase64Encoded", default)]
    is_base64: bool,
}

#[derive(Deserialize)]
struct HttpContext {
    http: HttpLine,
    #[serde(rename = "domainName")]
    domain: Option<String>,
}

#[derive(Deserialize)]
struct HttpLine {
    method: String,
    #[serde(rename = "sourceIp")]
    source_ip: Option<String>,
}

/// Reads an event.
///
/// # Errors
/// [`EventError`].
pub fn read(raw: &str) -> Result<Event, EventError> {
    let shape: EventShape = serde_json::from_str(raw).map_err(|_| EventError::Shape)?;
    match shape {
        EventShape { records: Some(records), .. } => {
            if records.iter().any(|record| record.source.as_deref() != Some(SQS)) {
                return Err(EventError::Records);
            }
            serde_json::from_str(raw).map(Event::Sqs).map_err(|_| EventError::Shape)
        }
        EventShape { context: Some(RequestContext { http: Some(_) }), .. } => {
            let event: HttpEvent = serde_json::from_str(raw).map_err(|_| EventError::Shape)?;
            Ok(Event::Http(Box::new(event.into())))
        }
        EventShape { detail_type: Some(kind), .. } if kind == SCHEDULED => Ok(Event::Schedule),
        EventShape { .. } => Err(EventError::Shape),
    }
}

impl From<HttpEvent> for HttpRequest {
    fn from(event: HttpEvent) -> Self {
        let body = match event.body {
            None => Some(Bytes::new()),
            Some(text) if event.is_base64 => STANDARD.decode(text).ok().map(Bytes::from),
            Some(text) => Some(Bytes::from(text)),
        };
        let headers = event
            .headers
            .iter()
            .filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?)));
        let headers = headers.collect();
        let HttpContext { http: HttpLine { method, source_ip }, domain } = event.context;
        Self {
            method: method.to_ascii_uppercase(),
            path: event.raw_path,
            query: event.raw_query.unwrap_or_default(),
            domain,
            headers,
            source_ip,
            body,
        }
    }
}

impl HttpResponse {
    /// An answer with this body.
    #[must_use]
    pub const fn new(status: StatusCode, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// An answer with this plain text.
    #[must_use]
    pub fn text(status: StatusCode, text: &str) -> Self {
        Self::new(status, Value::from(text)).with(CONTENT_TYPE, "text/plain")
    }

    /// A refusal: a stable code, and a sentence that names the field and the fix.
    #[must_use]
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::new(status, json!({ "error": code, "message": message }))
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer in the HTTP API's format (API Gateway, "Lambda function response for format 2.0").
    #[must_use]
    pub fn to_event(&self) -> Value {
        let mut headers = serde_json::Map::new();
        headers.insert("content-type".to_owned(), Value::from("application/json"));
        headers.insert("cache-control".to_owned(), Value::from("no-store"));
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str().to_owned(), Value::from(value.as_ref()))));
        let status = self.status.as_u16();
        let body = self.body.as_str().map_or_else(|| self.body.to_string(), str::to_owned);
        // Local emulations of the HTTP API take no answer without its list of cookies.
        json!({ "statusCode": status, "headers": headers, "cookies": [], "body": body, "isBase64Encoded": false })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_whose_path_and_body_are_odd_is_still_a_request() {
        let event = json!({
            "version": "2.0", "rawPath": "/webhooks/a b{}\u{1F980}", "headers": {"x y": "1", "ok": "zażółć", "x-a": "1"},
            "requestContext": {"http": {"method": "post"}}, "body": "%%%", "isBase64Encoded": true
        });
        let Ok(Event::Http(request)) = read(&event.to_string()) else { panic!("not a request") };
        assert_eq!(request.method, "POST");
        assert!(request.body.is_none());
        assert_eq!(request.headers.get("x-a").unwrap(), "1");
        assert!(!request.headers.contains_key("x y"));
    }

    #[test]
    fn the_query_and_the_domain_are_taken_as_they_are_and_may_be_missing() {
        let read_from = |more: Value, context: Value| {
            let mut event = json!({ "rawPath": "/a", "requestContext": context });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let Ok(Event::Http(request)) = read(&event.to_string()) else { panic!("not a request: {event}") };
            (request.query, request.domain)
        };
        let http = json!({ "method": "GET" });
        let full = read_from(json!({ "rawQueryString": "a=%20&b" }), json!({ "http": http, "domainName": "pay.example.com" }));
        assert_eq!(full, ("a=%20&b".to_owned(), Some("pay.example.com".to_owned())));
        for more in [json!({}), json!({ "rawQueryString": null })] {
            assert_eq!(read_from(more, json!({ "http": http, "domainName": null })), (String::new(), None));
        }
    }

    #[test]
    fn whatever_is_neither_request_nor_batch_is_refused() {
        for text in ["null", "[]", "{}", "\"x\"", "{\"requestContext\":{}}", "{\"requestContext\":{\"http\":null}}", "{\"Records\":3}"] {
            assert_eq!(read(text).err(), Some(EventError::Shape), "{text}");
        }
        assert_eq!(read("{\"requestContext\":{\"http\":{\"verb\":1}}}").err(), Some(EventError::Shape));
        assert_eq!(read("{\"Records\":[{\"eventSource\":\"aws:s3\"}]}").err(), Some(EventError::Records));
        assert_eq!(read("{\"Records\":[{\"EventSource\":\"aws:sns\"}]}").err(), Some(EventError::Records));
    }

    #[test]
    fn an_answer_has_every_member_of_the_http_apis_format() {
        let answer = HttpResponse::error(StatusCode::METHOD_NOT_ALLOWED, "code", "a sentence").with(http::header::ALLOW, "POST");
        let expected = json!({
            "statusCode": 405,
            "headers": { "content-type": "application/json", "cache-control": "no-store", "allow": "POST" },
            "cookies": [],
            "body": "{\"error\":\"code\",\"message\":\"a sentence\"}",
            "isBase64Encoded": false
        });
        assert_eq!(answer.to_event(), expected);
    }

    #[test]
    fn a_plain_text_goes_out_as_it_is() {
        let event = HttpResponse::text(StatusCode::OK, "[accepted]").to_event();
        assert_eq!((&event["body"], &event["headers"]["content-type"]), (&json!("[accepted]"), &json!("text/plain")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, path in ".*", body in ".*", base64: bool) {
            prop_assert!(read(&String::from_utf8_lossy(&bytes)).is_err());
            let event = json!({
                "rawPath": path, "headers": {body.clone(): path.clone()}, "requestContext": {"http": {"method": body.clone()}},
                "body": body, "isBase64Encoded": base64
            });
            prop_assert!(read(&event.to_string()).is_ok());
        }
    }
}
