//! The runtime's invocation event, distinguished by its shape: a request of an HTTP API (payload format 2.0), a batch of SQS messages or a
//! schedule.
//!
//! `lambda_http` converts requests. Its conversion panics on a URI that is none and on a body that is announced as base64 and is not
//! (`build_request_uri`, `into_api_gateway_v2_request`, `Body::from_maybe_encoded`): with `panic = "abort"` one odd request would end the
//! process. Therefore a request is checked first. Nothing here panics, for any input.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::sqs::SqsEvent;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Uri};
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::{Request, RequestExt as _};
use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use thiserror::Error;

use crate::json::{self, JsonError};

const SQS: &str = "aws:sqs";
/// What EventBridge calls the event of a schedule (Amazon EventBridge, "Creating a rule that runs on a schedule").
const SCHEDULED: &str = "Scheduled Event";
/// The longest path and query together, in bytes. API Gateway takes 10,240 bytes with all headers; `http::Uri` takes 65,534, and a path
/// that is percent-encoded may grow by three.
const LONGEST_URI: usize = 16_384;

/// An event.
pub enum Event {
    /// A request, unless it cannot be read as one.
    Http(Result<Box<Request>, InvalidRequest>),
    /// A batch of messages.
    Sqs(SqsEvent),
    /// The time of a schedule has come.
    Schedule,
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidRequest {
    /// Path or query cannot be in a URI.
    #[error("path and query are no URI")]
    Uri,
    /// The body is announced as base64 and is not.
    #[error("the body is announced as base64 and is not")]
    Body,
}

/// Why an event is not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EventError {
    /// It has none of the shapes.
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
    context: Option<ContextShape>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
}

#[derive(Deserialize)]
struct RecordSource {
    #[serde(rename = "eventSource")]
    source: Option<String>,
}

#[derive(Deserialize)]
struct ContextShape {
    http: Option<IgnoredAny>,
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
        EventShape { context: Some(ContextShape { http: Some(_) }), .. } => read_http(raw).map(Event::Http),
        EventShape { detail_type: Some(kind), .. } if kind == SCHEDULED => Ok(Event::Schedule),
        EventShape { .. } => Err(EventError::Shape),
    }
}

fn read_http(raw: &str) -> Result<Result<Box<Request>, InvalidRequest>, EventError> {
    // The API makes objects of the names in a query.
    let mut event = match json::parse(raw.as_bytes()) {
        Err(JsonError::ReservedName) => return Ok(Err(InvalidRequest::Uri)),
        parsed => parsed.map_err(|_| EventError::Shape)?,
    };
    // A header that cannot be one is left out: for `aws_lambda_events` it would spoil the whole event.
    let headers = event.get_mut("headers").map(Value::take).unwrap_or_default();
    let mut event: ApiGatewayV2httpRequest = serde_json::from_value(event).map_err(|_| EventError::Shape)?;
    event.headers = headers.as_object().into_iter().flatten().filter_map(|(name, value)| read_header(name, value)).collect();
    Ok(convert(event).map(Box::new))
}

fn read_header(name: &str, value: &Value) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, HeaderValue::from_str(value.as_str()?).ok()?))
}

/// Converts what `lambda_http` can convert. The URI is the path and the query as they came: it names no host, because an invalid host would
/// panic, and no stage, which an HTTP API has put into the path already.
fn convert(mut event: ApiGatewayV2httpRequest) -> Result<Request, InvalidRequest> {
    let path = event.raw_path.get_or_insert_default();
    if path.is_empty() {
        path.push('/');
    }
    let query = event.raw_query_string.as_deref().unwrap_or_default();
    let is_uri = path.starts_with('/') && format!("/?{query}").parse::<Uri>().is_ok();
    if !is_uri || path.len().saturating_add(query.len()) > LONGEST_URI {
        return Err(InvalidRequest::Uri);
    }
    if event.is_base64_encoded && event.body.as_deref().is_some_and(|body| STANDARD.decode(body).is_err()) {
        return Err(InvalidRequest::Body);
    }
    let (host, domain) = (event.headers.remove(HOST), event.request_context.domain_name.take());
    event.request_context.stage = None;
    let mut request = Request::from(LambdaRequest::ApiGatewayV2(event));
    request.headers_mut().extend(host.map(|host| (HOST, host)));
    if let Some(RequestContext::ApiGatewayV2(context)) = request.extensions_mut().get_mut() {
        context.domain_name = domain;
    }
    Ok(request)
}

/// The domain under which the API was called, as the API reports it; `None` on a developer's machine.
pub(super) fn domain_name(request: &Request) -> Option<&str> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.domain_name.as_deref(),
        _ => None,
    }
}

/// The network address that the request came from.
pub(super) fn source_ip(request: &Request) -> Option<&str> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.as_deref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read_request(event: &Value) -> Result<Box<Request>, InvalidRequest> {
        let Ok(Event::Http(request)) = read(&event.to_string()) else { panic!("not a request: {event}") };
        request
    }

    #[test]
    fn a_request_whose_path_and_headers_are_odd_is_still_a_request() {
        let event = json!({
            "version": "2.0", "rawPath": "/webhooks/a b{}\u{1F980}", "requestContext": {"http": {"method": "POST"}}, "body": "%%%",
            "headers": {"x y": "1", "ok": "zażółć", "x-a": "1", "host": "a b:99999", "x-forwarded-proto": "/"}
        });
        let request = read_request(&event).unwrap();
        assert_eq!((request.method().as_str(), &request.body()[..]), ("POST", &b"%%%"[..]));
        assert_eq!(request.headers().get("x-a").unwrap(), "1");
        assert_eq!(request.headers().get("host").unwrap(), "a b:99999");
        assert_eq!((request.headers().len(), request.headers().contains_key("x y")), (4, false));
    }

    #[test]
    fn a_body_that_is_announced_as_base64_and_is_not_is_no_request() {
        let event = |body: &str| json!({ "requestContext": {"http": {"method": "POST"}}, "body": body, "isBase64Encoded": true });
        assert_eq!(read_request(&event("%%%")).err(), Some(InvalidRequest::Body));
        assert_eq!(&read_request(&event("YQ==")).unwrap().body()[..], b"a");
    }

    #[test]
    fn a_path_or_a_query_that_is_in_no_uri_is_no_request() {
        let long = "a".repeat(LONGEST_URI);
        for (path, query) in [("a", ""), (":99999", ""), ("/", "a b"), ("/", "\""), ("/", long.as_str())] {
            let event = json!({ "rawPath": path, "rawQueryString": query, "requestContext": {"http": {"method": "GET"}} });
            assert_eq!(read_request(&event).err(), Some(InvalidRequest::Uri), "{path} {query}");
        }
    }

    #[test]
    fn the_query_and_the_domain_are_taken_as_they_are_and_may_be_missing() {
        let read_from = |more: Value, context: Value| {
            let mut event = json!({ "rawPath": "/a", "requestContext": context });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let request = read_request(&event).unwrap();
            (request.uri().query().map(str::to_owned), domain_name(&request).map(str::to_owned))
        };
        let http = json!({ "method": "GET" });
        let full = read_from(json!({ "rawQueryString": "a=%20&b" }), json!({ "http": http, "domainName": "pay.example.com" }));
        assert_eq!(full, (Some("a=%20&b".to_owned()), Some("pay.example.com".to_owned())));
        for more in [json!({}), json!({ "rawQueryString": null })] {
            assert_eq!(read_from(more, json!({ "http": http, "domainName": null })), (None, None));
        }
    }

    #[test]
    fn what_is_neither_request_nor_batch_is_refused() {
        for text in ["null", "[]", "{}", "\"x\"", "{\"requestContext\":{}}", "{\"requestContext\":{\"http\":null}}", "{\"Records\":3}"] {
            assert_eq!(read(text).err(), Some(EventError::Shape), "{text}");
        }
        assert_eq!(read("{\"requestContext\":{\"http\":{\"verb\":1}}}").err(), Some(EventError::Shape));
        assert_eq!(read("{\"Records\":[{\"eventSource\":\"aws:s3\"}]}").err(), Some(EventError::Records));
        assert_eq!(read("{\"Records\":[{\"EventSource\":\"aws:sns\"}]}").err(), Some(EventError::Records));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, path in "/?.*", body in ".*", base64: bool) {
            prop_assert!(read(&String::from_utf8_lossy(&bytes)).is_err());
            let mut event = json!({
                "rawPath": path, "rawQueryString": body.clone(),
                "headers": {body.clone(): path.clone(), "host": body.clone(), "x-forwarded-proto": path.clone()},
                "requestContext": {"http": {"method": "POST"}, "domainName": body.clone(), "stage": path.clone()},
                "body": body.clone(), "isBase64Encoded": base64
            });
            prop_assert!(read(&event.to_string()).is_ok());
            event["requestContext"]["http"]["method"] = json!(body);
            let _ = read(&event.to_string());
        }
    }
}
