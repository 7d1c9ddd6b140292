//! The handler of the functions that customers' browsers call. It checks path, origin, size and card numbers; then the flow answers at
//! once.
//!
//! It must never log or quote what came in: bodies hold encrypted cards, tokens, and what customers typed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW,
    AUTHORIZATION, LOCATION, ORIGIN, REFERRER_POLICY, RETRY_AFTER, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use lambda_http::{Body, Request, Response};
use serde_json::Value;
use tracing::{info, warn};

use super::dependencies::SharedDeps;
use super::event::{self, Event, EventError, InvalidRequest};
use super::reloadable::Reloadable;
use super::response::{json_response, to_event, with_header};
use super::secrets::{SecretCache, Secrets};
use super::state::Invocation;
use crate::cleeng::client::CleengEnvironment;
use crate::cleeng::mediastore::{MediaStore, MediaStoreApi, MediaStoreSettings};
use crate::delivery::Delivery;
use crate::frontend_api::card_numbers::contains_card_number;
use crate::frontend_api::origins::is_base_url;
use crate::frontend_api::redirect_urls::parse_query;
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{CallKind, FrontendContext, FrontendFlow, FrontendRequest, GATEWAY_TIMEOUT, NoCaptcha, Origins, TokioSleeper};
use crate::gateway::{GatewayName, Reference};
use crate::http::{Transport, TransportError};
use crate::json::{self, JsonError};
use crate::metrics::{Metric, Metrics};
use crate::secret::SecretString;
use crate::settings::{Problems, SettingsReader};

/// The time of such a function if the runtime reports none: the `Timeout` that `template.yaml` sets, which is all that API Gateway waits
/// for.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(29);

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The headers that pages may send, as in `template.yaml`: `prefer` asks for 202, and Cleeng's media store SDK sends `x-requested-by` in
/// production.
const ALLOWED_HEADERS: &str = "authorization,content-type,prefer,x-requested-by";

/// The longest query that a gateway adds on the way back, in bytes. API Gateway takes 10,240 with all headers.
const LONGEST_QUERY: usize = 8_192;

/// The settings that only functions for customers' browsers have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendSettings {
    /// The origins that pages may have.
    pub origins: Origins,
    /// Where MediaStore is.
    pub mediastore: MediaStoreSettings,
    /// Where clients reach us, without a slash at its end; `None` if the requests say it.
    pub public_url: Option<String>,
}

impl FrontendSettings {
    /// Reads `ALLOWED_ORIGINS`, `CLEENG_MEDIASTORE_URL` and `CONNECTOR_PUBLIC_URL`.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        // Its absence is noted where the Core API's settings are read.
        let environment = match reader.text("CLEENG_ENVIRONMENT").as_deref() {
            Some("production") => CleengEnvironment::Production,
            _ => CleengEnvironment::Sandbox,
        };
        let mediastore = MediaStoreSettings::read(reader, environment);
        let plain_http = environment == CleengEnvironment::Sandbox;
        let origins = Origins::read(reader, plain_http);
        let public_url = Some(reader.base_url("CONNECTOR_PUBLIC_URL", "", plain_http)).filter(|url| !url.is_empty());
        Some(Self { origins: origins?, mediastore, public_url })
    }
}

/// A function for customers' browsers.
pub struct FrontendApp {
    flow: Arc<dyn FrontendFlow>,
    max_body_bytes: usize,
    context: Reloadable<FrontendContext>,
    metrics: Metrics,
}

impl FrontendApp {
    /// A function with the secrets in force.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn new(
        flow: Arc<dyn FrontendFlow>,
        settings: FrontendSettings,
        deps: SharedDeps,
        secret_cache: SecretCache,
    ) -> Result<Self, Problems> {
        let (max_body_bytes, metrics) = (deps.settings.max_body_bytes, deps.metrics.clone());
        let origins = Arc::new(settings.origins);
        let public_url: Option<Arc<str>> = settings.public_url.map(Into::into);
        let mediastore: Arc<dyn MediaStore> = Arc::new(MediaStoreApi::new(settings.mediastore, Arc::clone(&deps.transport)));
        let to_gateways: Arc<dyn Transport> = Arc::new(BoundedTransport { inner: Arc::clone(&deps.transport), longest: GATEWAY_TIMEOUT });
        let build = move |secrets: &Secrets| {
            Ok(FrontendContext {
                flow_context: deps.flow_context(secrets, &to_gateways)?,
                mediastore: Arc::clone(&mediastore),
                origins: Arc::clone(&origins),
                public_url: public_url.clone(),
                sleeper: Arc::new(TokioSleeper),
                captcha: Arc::new(NoCaptcha),
            })
        };
        Ok(Self { flow, max_body_bytes, context: Reloadable::new(secret_cache, build)?, metrics })
    }

    /// Handles one event.
    ///
    /// # Errors
    /// [`EventError`] for an event that is no request.
    pub async fn handle(&self, raw: &str, invocation: &Invocation) -> Result<Value, EventError> {
        let request = match event::read(raw) {
            Ok(Event::Http(request)) => request,
            Ok(Event::Sqs(_) | Event::Schedule) => return Err(EventError::Shape),
            Err(error) => {
                warn!(request_id = invocation.request_id, "event is not for this function");
                return Err(error);
            }
        };
        let context = self.context.current();
        let reply = handle_request(self.flow.as_ref(), &context, self.max_body_bytes, &request, invocation).await;
        let code = reply.body.get("code").and_then(Value::as_str).unwrap_or("done");
        let succeeded = reply.status.is_success() || (reply.status.is_redirection() && code == "done");
        self.metrics.count(if succeeded { Metric::Settled } else { Metric::EventRefused }, &[("reason", code)]);
        if reply.status.is_server_error() {
            self.metrics.count(Metric::Fault, &[("reason", code)]);
        }
        info!(request_id = invocation.request_id, code, status = reply.status.as_u16(), "front-end call answered");
        if reply.status == StatusCode::SERVICE_UNAVAILABLE {
            // The credentials may have been rotated: the page's next try finds the new ones.
            self.context.refresh("frontend_unavailable").await;
        }
        let route = request.as_ref().ok().and_then(|request| route(self.flow.as_ref(), request.uri().path()));
        let method = if route.is_some_and(|route| route.kind.is_browser_return()) { "GET" } else { "POST" };
        let origin = request.as_ref().ok().and_then(|request| request.headers().get(ORIGIN));
        let origin = origin.filter(|origin| origin.to_str().is_ok_and(|origin| context.origins.allows(origin)));
        Ok(to_event(to_http_response(reply, origin, method)))
    }
}

/// Answers one request: checks it, then runs the flow.
pub async fn handle_request(
    flow: &dyn FrontendFlow,
    context: &FrontendContext,
    max_body_bytes: usize,
    request: &Result<Box<Request>, InvalidRequest>,
    invocation: &Invocation,
) -> Reply {
    let (gateway, checked) = match request {
        Ok(request) => check(flow, context, max_body_bytes, request),
        Err(InvalidRequest::Uri) => (None, Err(reply::bad_request("path and query are no URI"))),
        Err(InvalidRequest::Body) => (None, Err(reply::bad_request("the body is announced as base64 and is not"))),
    };
    match checked {
        Err(refusal) => refusal.reply(gateway),
        Ok(None) => Reply { status: StatusCode::NO_CONTENT, body: Value::Null, retry_after: None, location: None },
        Ok(Some(checked)) => {
            let clock = context.flow_context.clock.as_ref();
            let (deadline, received_at) = (invocation.flow_deadline(clock, FUNCTION_TIMEOUT), clock.now());
            let delivery = Delivery { id: invocation.request_id.clone(), deadline, received_at, count: 1 };
            flow.handle(context, &checked, &delivery).await
        }
    }
}

type CheckedRequest = (Option<GatewayName>, Result<Option<FrontendRequest>, ApiError>);

/// Every check of a request that needs nothing of its flow. `Ok(None)` for a preflight.
fn check(flow: &dyn FrontendFlow, context: &FrontendContext, max_body_bytes: usize, request: &Request) -> CheckedRequest {
    let Some(route) = route(flow, request.uri().path()) else { return (None, Err(reply::BAD_PATH)) };
    let gateway = route.gateway;
    let checked = if context.flow_context.gateways.get(gateway).is_none() {
        Err(reply::BAD_PATH)
    } else if route.kind.is_browser_return() {
        check_browser_return(request, route).map(Some)
    } else {
        check_call(context, max_body_bytes, request, route)
    };
    (Some(gateway), checked)
}

/// Checks a call of a page.
fn check_call(
    context: &FrontendContext,
    max_body_bytes: usize,
    request: &Request,
    route: Route,
) -> Result<Option<FrontendRequest>, ApiError> {
    let header = |name| request.headers().get(name).map(|value| value.to_str().map(str::to_owned));
    // A browser always names its page; a native app has none.
    let origin = header(ORIGIN).transpose().map_err(|_| reply::ORIGIN_NOT_ALLOWED)?;
    if origin.as_deref().is_some_and(|origin| !context.origins.allows(origin)) {
        return Err(reply::ORIGIN_NOT_ALLOWED);
    }
    match *request.method() {
        Method::OPTIONS => return Ok(None),
        Method::POST => {}
        _ => return Err(reply::NOT_POST),
    }
    if request.body().len() > max_body_bytes {
        return Err(reply::TOO_LARGE);
    }
    let body = json::parse(request.body()).map_err(|error| match error {
        JsonError::Syntax => reply::bad_request("the body is no JSON in UTF-8"),
        JsonError::TooDeep | JsonError::ReservedName => reply::bad_request("the body is nested too deep or has a reserved name"),
    })?;
    if contains_card_number(&body) {
        return Err(reply::CARD_NUMBER);
    }
    if !body.is_object() {
        return Err(reply::bad_request("the body is no JSON object"));
    }
    let authorization = header(AUTHORIZATION).transpose().map_err(|_| reply::TOKEN_INVALID)?.map(SecretString::new);
    Ok(Some(FrontendRequest {
        gateway: route.gateway,
        kind: route.kind,
        request_base_url: request_base_url(event::domain_name(request), &route.base_path),
        body,
        authorization,
        origin,
        customer_ip: event::source_ip(request).map(str::to_owned),
        prefers_async: prefers_async(request),
    }))
}

/// Whether `Prefer` names `respond-async` (RFC 7240, 4.1).
fn prefers_async(request: &Request) -> bool {
    let preferences = request.headers().get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

/// Checks the request of a browser that a gateway sends back. It has an address and nothing else, and comes from the gateway's page.
fn check_browser_return(request: &Request, route: Route) -> Result<FrontendRequest, ApiError> {
    if request.method() != Method::GET {
        return Err(reply::NOT_GET);
    }
    let query = request.uri().query().unwrap_or_default();
    if query.len() > LONGEST_QUERY {
        return Err(reply::TOO_LARGE);
    }
    let body = parse_query(query).map(Value::Object).ok_or(reply::BAD_QUERY)?;
    // Its names become those of an object that is stored.
    json::check(body.to_string().as_bytes(), json::MAX_DEPTH).map_err(|_| reply::BAD_QUERY)?;
    if contains_card_number(&body) {
        return Err(reply::CARD_NUMBER);
    }
    Ok(FrontendRequest {
        gateway: route.gateway,
        kind: route.kind,
        request_base_url: None,
        body,
        authorization: None,
        origin: None,
        customer_ip: event::source_ip(request).map(str::to_owned),
        prefers_async: false,
    })
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    /// The path before `/connectors/`: the API's stage, or empty.
    base_path: String,
    gateway: GatewayName,
    kind: CallKind,
}

/// Reads `.../connectors/{gateway}/` and one of the flow's routes.
fn route(flow: &dyn FrontendFlow, path: &str) -> Option<Route> {
    let (base_path, rest) = path.rsplit_once("/connectors/")?;
    let (gateway, rest) = rest.split_once('/')?;
    let kind = match (rest.strip_prefix(flow.route()), rest.strip_prefix(flow.redirect_path())) {
        (Some(""), _) => CallKind::Start,
        (Some("/finalize"), _) => CallKind::Finalize,
        (_, Some("")) => CallKind::RedirectStart,
        (_, Some(rest)) => match rest.strip_prefix('/')?.split_once('/')? {
            ("return", reference) => CallKind::BrowserReturn(Reference::parse(reference)?),
            ("cancel", reference) => CallKind::BrowserCancel(Reference::parse(reference)?),
            _ => return None,
        },
        _ => flow.other_route(rest)?,
    };
    GatewayName::parse(gateway).map(|gateway| Route { base_path: base_path.to_owned(), gateway, kind })
}

/// Where clients reach us: the API's domain, as API Gateway reports it (`$context.domainName`), and its stage.
fn request_base_url(domain: Option<&str>, base_path: &str) -> Option<String> {
    let address = format!("https://{}{base_path}", domain?.to_ascii_lowercase());
    is_base_url(&address).then_some(address)
}

/// The response with the headers of CORS. API Gateway replaces them with its own; without one, as on a developer's machine, these count.
fn to_http_response(reply: Reply, origin: Option<&HeaderValue>, method: &'static str) -> Response<Body> {
    let text = HeaderValue::from_static;
    let mut headers = vec![(VARY, text("origin"))];
    headers.extend(reply.retry_after.map(|seconds| (RETRY_AFTER, u16::from(seconds).into())));
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.push((ALLOW, text(method)));
    }
    if let Some(location) = reply.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        // The address that led here binds its holder to the attempt: the next page must not see it.
        headers.extend([(LOCATION, location), (REFERRER_POLICY, text("no-referrer"))]);
    }
    if let Some(origin) = origin {
        headers.extend([
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            (ACCESS_CONTROL_ALLOW_METHODS, text("POST")),
            (ACCESS_CONTROL_ALLOW_HEADERS, text(ALLOWED_HEADERS)),
            (ACCESS_CONTROL_EXPOSE_HEADERS, text("retry-after")),
        ]);
    }
    let response = json_response(reply.status, &reply.body);
    headers.into_iter().fold(response, |response, (name, value)| with_header(response, name, value))
}

/// A transport on which nothing takes longer than a customer's browser waits.
struct BoundedTransport {
    inner: Arc<dyn Transport>,
    longest: Duration,
}

#[async_trait]
impl Transport for BoundedTransport {
    async fn send(&self, request: crate::http::Request) -> Result<crate::http::Response, TransportError> {
        let timeout = request.timeout.min(self.longest);
        self.inner.send(crate::http::Request { timeout, ..request }).await
    }
}

#[cfg(test)]
mod tests;
