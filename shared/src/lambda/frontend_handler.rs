//! The door of the functions that customers' browsers call: origin, size, card numbers, path; then the story, whose answer goes back at once.
//!
//! It must never log or quote what came in: bodies hold encrypted cards and tokens, and whatever somebody typed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, LOCATION, ORIGIN,
    REFERRER_POLICY, RETRY_AFTER, VARY,
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tracing::{info, warn};

use super::app::{HandlerError, Invocation, Reloadable};
use super::dependencies::SharedDeps;
use super::event::{self, Event, EventError, HttpRequest, HttpResponse};
use super::queue_consumer::deadline;
use super::secrets::{SecretCache, Secrets};
use crate::cleeng::client::CleengEnvironment;
use crate::cleeng::mediastore::{MediaStore, MediaStoreApi, MediaStoreSettings};
use crate::delivery::Delivery;
use crate::frontend_api::card_numbers::contains_card_number;
use crate::frontend_api::origins::is_base_url;
use crate::frontend_api::redirect_urls::parse_query;
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{CallKind, FrontendContext, FrontendFlow, FrontendRequest, GATEWAY_TIMEOUT, NoCaptcha, Origins, TokioSleeper};
use crate::gateway::{GatewayName, Reference};
use crate::http::{Request, Response, Transport, TransportError};
use crate::metrics::{Metric, Metrics};
use crate::secret::SecretString;
use crate::settings::{Problems, SettingsReader};

/// The time of a function with this door where the runtime tells none: the `Timeout` that `template.yaml` gives it, which is all that API
/// Gateway waits for.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(29);

/// The longest query that a gateway adds on the way back, in bytes. API Gateway takes 10,240 with all headers.
const LONGEST_QUERY: usize = 8_192;

/// The settings that only functions with this door have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendSettings {
    /// Where pages may be.
    pub origins: Origins,
    /// Where MediaStore is.
    pub mediastore: MediaStoreSettings,
    /// Where the outside reaches us, without a slash at its end; nothing where the requests tell.
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

/// A function with a front door at work.
pub struct FrontendApp {
    flow: Arc<dyn FrontendFlow>,
    max_body_bytes: usize,
    reloadable: Reloadable<FrontendContext>,
    metrics: Metrics,
}

impl FrontendApp {
    /// Wires it up with the secrets in force.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn new(
        front_end: Arc<dyn FrontendFlow>,
        settings: FrontendSettings,
        base: SharedDeps,
        keeper: SecretCache,
    ) -> Result<Self, Problems> {
        let (max_body_bytes, metrics) = (base.settings.max_body_bytes, base.metrics.clone());
        let origins = Arc::new(settings.origins);
        let public_url: Option<Arc<str>> = settings.public_url.map(Into::into);
        let mediastore: Arc<dyn MediaStore> = Arc::new(MediaStoreApi::new(settings.mediastore, Arc::clone(&base.transport)));
        let to_gateways: Arc<dyn Transport> = Arc::new(BoundedTransport { inner: Arc::clone(&base.transport), longest: GATEWAY_TIMEOUT });
        let make = move |secrets: &Secrets| {
            Ok(FrontendContext {
                flow_context: base.flow_context(secrets, &to_gateways)?,
                mediastore: Arc::clone(&mediastore),
                origins: Arc::clone(&origins),
                public_url: public_url.clone(),
                sleeper: Arc::new(TokioSleeper),
                captcha: Arc::new(NoCaptcha),
            })
        };
        Ok(Self { flow: front_end, max_body_bytes, reloadable: Reloadable::new(keeper, Box::new(make))?, metrics })
    }

    /// Deals with one event.
    ///
    /// # Errors
    /// [`HandlerError`] for an event that is no request.
    pub async fn handle(&self, raw: &str, invocation: &Invocation) -> Result<Value, HandlerError> {
        match event::read(raw) {
            Ok(Event::Http(request)) => {
                let desk = self.reloadable.current();
                let reply = handle_request(self.flow.as_ref(), &desk, self.max_body_bytes, &request, invocation).await;
                let word = reply.body.get("code").and_then(Value::as_str).unwrap_or("done");
                let well = reply.status.is_success() || (reply.status.is_redirection() && word == "done");
                self.metrics.count(if well { Metric::Settled } else { Metric::EventRefused }, &[("reason", word)]);
                info!(request_id = invocation.request_id, code = word, status = reply.status.as_u16(), "front-end call answered");
                if reply.status == StatusCode::SERVICE_UNAVAILABLE {
                    // It may be for credentials that were rotated: the page's next try finds the new ones.
                    self.reloadable.refresh("frontend_unavailable").await;
                }
                let is_browser_return = route(self.flow.as_ref(), &request.path).is_some_and(|route| route.kind.is_browser_return());
                Ok(to_http_response(reply, &request.headers, if is_browser_return { "GET" } else { "POST" }, &desk).to_event())
            }
            Ok(Event::Sqs(_) | Event::Schedule) => Err(HandlerError::Event(EventError::Shape)),
            Err(error) => {
                warn!(request_id = invocation.request_id, "event is not for this function");
                Err(HandlerError::Event(error))
            }
        }
    }
}

/// Answers one request: what the door checks, then the story.
pub async fn handle_request(
    front_end: &dyn FrontendFlow,
    desk: &FrontendContext,
    max_body_bytes: usize,
    request: &HttpRequest,
    invocation: &Invocation,
) -> Reply {
    let (gateway, checked) = check(front_end, desk, max_body_bytes, request);
    match checked {
        Err(refusal) => refusal.reply(gateway),
        Ok(None) => Reply { status: StatusCode::NO_CONTENT, body: Value::Null, retry_after: None, location: None },
        Ok(Some(checked)) => {
            let clock = desk.flow_context.clock.as_ref();
            let (deadline, received_at) = (deadline(clock, invocation, FUNCTION_TIMEOUT), clock.now());
            let delivery = Delivery { id: invocation.request_id.clone(), deadline, received_at, count: 1 };
            front_end.handle(desk, &checked, &delivery).await
        }
    }
}

type CheckedRequest = (Option<GatewayName>, Result<Option<FrontendRequest>, ApiError>);

/// Everything that can be said about a request without looking at what it wants. Nothing is the answer to a preflight.
fn check(front_end: &dyn FrontendFlow, desk: &FrontendContext, max_body_bytes: usize, request: &HttpRequest) -> CheckedRequest {
    let Some(route) = route(front_end, &request.path) else { return (None, Err(reply::BAD_PATH)) };
    let gateway = route.gateway;
    let checked = if route.kind.is_browser_return() {
        check_browser_return(desk, request, route).map(Some)
    } else {
        check_call(desk, max_body_bytes, request, route)
    };
    (Some(gateway), checked)
}

/// A call of a page.
fn check_call(
    desk: &FrontendContext,
    max_body_bytes: usize,
    request: &HttpRequest,
    route: Route,
) -> Result<Option<FrontendRequest>, ApiError> {
    if desk.flow_context.gateways.get(route.gateway).is_none() {
        return Err(reply::BAD_PATH);
    }
    let header = |name| request.headers.get(name).map(|value| value.to_str().map(str::to_owned));
    // A browser always names its page; a native app has none.
    let origin = header(ORIGIN).transpose().map_err(|_| reply::ORIGIN_NOT_ALLOWED)?;
    if origin.as_deref().is_some_and(|origin| !desk.origins.allows(origin)) {
        return Err(reply::ORIGIN_NOT_ALLOWED);
    }
    match request.method.as_str() {
        "OPTIONS" => return Ok(None),
        "POST" => {}
        _ => return Err(reply::NOT_POST),
    }
    let raw = request.body.as_ref().ok_or(reply::bad_request("the body is announced as base64 and is not"))?;
    if raw.len() > max_body_bytes {
        return Err(reply::TOO_LARGE);
    }
    let body: Value = serde_json::from_slice(raw).map_err(|_| reply::bad_request("the body is no JSON in UTF-8"))?;
    if contains_card_number(&body) {
        return Err(reply::CARD_NUMBER);
    }
    if !body.is_object() {
        return Err(reply::bad_request("the body is no JSON object"));
    }
    let authorization = header(AUTHORIZATION).transpose().map_err(|_| reply::TOKEN_INVALID)?.map(SecretString::new);
    let own_address = request_base_url(request, &route.base_path);
    let ip = request.source_ip.clone();
    Ok(Some(FrontendRequest {
        gateway: route.gateway,
        kind: route.kind,
        request_base_url: own_address,
        body,
        authorization,
        origin,
        customer_ip: ip,
    }))
}

/// A browser that a gateway sends back: it has the address and nothing else, and comes from the gateway's page.
fn check_browser_return(desk: &FrontendContext, request: &HttpRequest, route: Route) -> Result<FrontendRequest, ApiError> {
    if desk.flow_context.gateways.get(route.gateway).is_none() {
        return Err(reply::BAD_PATH);
    }
    if request.method != "GET" {
        return Err(reply::NOT_GET);
    }
    if request.query.len() > LONGEST_QUERY {
        return Err(reply::TOO_LARGE);
    }
    let body = parse_query(&request.query).map(Value::Object).ok_or(reply::BAD_QUERY)?;
    if contains_card_number(&body) {
        return Err(reply::CARD_NUMBER);
    }
    let (authorization, origin, own_address) = (None, None, None);
    Ok(FrontendRequest {
        gateway: route.gateway,
        kind: route.kind,
        request_base_url: own_address,
        body,
        authorization,
        origin,
        customer_ip: request.source_ip.clone(),
    })
}

/// What a path says.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    /// What stands before `/connectors/`: the stage of the API, or nothing.
    base_path: String,
    gateway: GatewayName,
    kind: CallKind,
}

/// `.../connectors/{gateway}/` and a route of this front end behind it.
fn route(front_end: &dyn FrontendFlow, path: &str) -> Option<Route> {
    let (before, rest) = path.rsplit_once("/connectors/")?;
    let (gateway, rest) = rest.split_once('/')?;
    let stage = match (rest.strip_prefix(front_end.route()), rest.strip_prefix(front_end.redirect_path())) {
        (Some(""), _) => CallKind::Start,
        (Some("/finalize"), _) => CallKind::Finalize,
        (_, Some("")) => CallKind::RedirectStart,
        (_, Some(way)) => match way.strip_prefix('/')?.split_once('/')? {
            ("return", reference) => CallKind::BrowserReturn(Reference::parse(reference)?),
            ("cancel", reference) => CallKind::BrowserCancel(Reference::parse(reference)?),
            _ => return None,
        },
        _ => return None,
    };
    GatewayName::parse(gateway).map(|gateway| Route { base_path: before.to_owned(), gateway, kind: stage })
}

/// Where the outside reached us: the API's domain, of which it says that the request came in by it (API Gateway, `$context.domainName`), and
/// its stage.
fn request_base_url(request: &HttpRequest, before: &str) -> Option<String> {
    let address = format!("https://{}{before}", request.domain.as_deref()?.to_ascii_lowercase());
    is_base_url(&address).then_some(address)
}

/// The answer with the headers of CORS. API Gateway puts its own in their place; without one, as on a developer's machine, these count.
fn to_http_response(reply: Reply, headers: &HeaderMap, method: &'static str, desk: &FrontendContext) -> HttpResponse {
    let mut answer = HttpResponse::new(reply.status, reply.body);
    if let Some(seconds) = reply.retry_after {
        answer = answer.with(RETRY_AFTER, seconds.to_string());
    }
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        answer = answer.with(ALLOW, method);
    }
    if let Some(location) = reply.location {
        // The address that led here binds whoever has it to the attempt: it is not to be told to the next page.
        answer = answer.with(LOCATION, location).with(REFERRER_POLICY, "no-referrer");
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).filter(|origin| desk.origins.allows(origin));
    match origin {
        Some(origin) => answer
            .with(VARY, "origin")
            .with(ACCESS_CONTROL_ALLOW_ORIGIN, origin.to_owned())
            .with(ACCESS_CONTROL_ALLOW_METHODS, "POST")
            .with(ACCESS_CONTROL_ALLOW_HEADERS, "authorization,content-type"),
        None => answer.with(VARY, "origin"),
    }
}

/// A way out on which nothing takes longer than a customer's browser waits.
struct BoundedTransport {
    inner: Arc<dyn Transport>,
    longest: Duration,
}

#[async_trait]
impl Transport for BoundedTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let timeout = request.timeout.min(self.longest);
        self.inner.send(Request { timeout, ..request }).await
    }
}

#[cfg(test)]
mod tests;
