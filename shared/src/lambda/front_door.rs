//! The door of the functions that customers' browsers call: origin, size, card numbers, path; then the story, whose answer goes back at once.
//!
//! It must never log or quote what came in: bodies hold encrypted cards and tokens, and whatever somebody typed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, ORIGIN, RETRY_AFTER,
    VARY,
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tracing::{info, warn};

use super::app::{HandlerError, Invocation, Live};
use super::event::{self, Answer, Event, EventError, HttpRequest};
use super::queue_door::deadline;
use super::secrets::{SecretKeeper, Secrets};
use super::wiring::Base;
use crate::cleeng::client::Environment;
use crate::cleeng::mediastore::{MediaStore, MediaStoreApi, MediaStoreSettings};
use crate::flow::Delivery;
use crate::front::card_numbers::holds_card_number;
use crate::front::reply::{self, Refusal, Reply};
use crate::front::{Desk, FrontEnd, FrontRequest, GATEWAY_TIMEOUT, NoCaptcha, Origins, RealPatience, Stage};
use crate::gateway::GatewayName;
use crate::http::{Request, Response, Transport, TransportError};
use crate::metrics::{Metric, Metrics};
use crate::secret::SecretString;
use crate::settings::{Problems, Reader};

/// The time of a function with this door where the runtime tells none: the `Timeout` that `template.yaml` gives it, which is all that API
/// Gateway waits for.
const DEPLOYED_TIME: Duration = Duration::from_secs(29);

/// The settings that only functions with this door have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontSettings {
    /// Where pages may be.
    pub origins: Origins,
    /// Where MediaStore is.
    pub mediastore: MediaStoreSettings,
}

impl FrontSettings {
    /// Reads `ALLOWED_ORIGINS` and `CLEENG_MEDIASTORE_URL`.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        // Its absence is noted where the Core API's settings are read.
        let environment = match reader.text("CLEENG_ENVIRONMENT").as_deref() {
            Some("production") => Environment::Production,
            _ => Environment::Sandbox,
        };
        let mediastore = MediaStoreSettings::read(reader, environment);
        let origins = Origins::read(reader, environment == Environment::Sandbox)?;
        Some(Self { origins, mediastore })
    }
}

/// A function with a front door at work.
pub struct FrontDoor {
    front_end: Arc<dyn FrontEnd>,
    max_body_bytes: usize,
    live: Live<Desk>,
    metrics: Metrics,
}

impl FrontDoor {
    /// Wires it up with the secrets in force.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn new(front_end: Arc<dyn FrontEnd>, settings: FrontSettings, base: Base, keeper: SecretKeeper) -> Result<Self, Problems> {
        let (max_body_bytes, metrics) = (base.settings.max_body_bytes, base.metrics.clone());
        let origins = Arc::new(settings.origins);
        let mediastore: Arc<dyn MediaStore> = Arc::new(MediaStoreApi::new(settings.mediastore, Arc::clone(&base.transport)));
        let to_gateways: Arc<dyn Transport> = Arc::new(Bounded { inner: Arc::clone(&base.transport), longest: GATEWAY_TIMEOUT });
        let make = move |secrets: &Secrets| {
            Ok(Desk {
                world: base.world(secrets, &to_gateways)?,
                mediastore: Arc::clone(&mediastore),
                origins: Arc::clone(&origins),
                patience: Arc::new(RealPatience),
                captcha: Arc::new(NoCaptcha),
            })
        };
        Ok(Self { front_end, max_body_bytes, live: Live::new(keeper, Box::new(make))?, metrics })
    }

    /// Deals with one event.
    ///
    /// # Errors
    /// [`HandlerError`] for an event that is no request.
    pub async fn handle(&self, raw: &str, invocation: &Invocation) -> Result<Value, HandlerError> {
        match event::read(raw) {
            Ok(Event::Http(request)) => {
                let desk = self.live.wired();
                let reply = answer(self.front_end.as_ref(), &desk, self.max_body_bytes, &request, invocation).await;
                let word = reply.body.get("code").and_then(Value::as_str).unwrap_or("done");
                self.metrics.count(if reply.status.is_success() { Metric::Settled } else { Metric::EventRefused }, &[("reason", word)]);
                info!(request_id = invocation.request_id, code = word, status = reply.status.as_u16(), "front-end call answered");
                if reply.status == StatusCode::SERVICE_UNAVAILABLE {
                    // It may be for credentials that were rotated: the page's next try finds the new ones.
                    self.live.refresh("front_end_unavailable").await;
                }
                Ok(to_answer(reply, &request.headers, &desk).to_event())
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
pub async fn answer(front_end: &dyn FrontEnd, desk: &Desk, max_body_bytes: usize, request: &HttpRequest, invocation: &Invocation) -> Reply {
    let (gateway, checked) = check(front_end, desk, max_body_bytes, request);
    match checked {
        Err(refusal) => refusal.reply(gateway),
        Ok(None) => Reply { status: StatusCode::NO_CONTENT, body: Value::Null, retry_after: None },
        Ok(Some(checked)) => {
            let clock = desk.world.clock.as_ref();
            let (deadline, received_at) = (deadline(clock, invocation, DEPLOYED_TIME), clock.now());
            let delivery = Delivery { id: invocation.request_id.clone(), deadline, received_at, count: 1 };
            front_end.answer(desk, &checked, &delivery).await
        }
    }
}

type Checked = (Option<GatewayName>, Result<Option<FrontRequest>, Refusal>);

/// Everything that can be said about a request without looking at what it wants. Nothing is the answer to a preflight.
fn check(front_end: &dyn FrontEnd, desk: &Desk, max_body_bytes: usize, request: &HttpRequest) -> Checked {
    let Some((gateway, stage)) = route(front_end.route(), &request.path) else { return (None, Err(reply::BAD_PATH)) };
    (Some(gateway), check_rest(desk, max_body_bytes, request, gateway, stage))
}

fn check_rest(
    desk: &Desk,
    max_body_bytes: usize,
    request: &HttpRequest,
    gateway: GatewayName,
    stage: Stage,
) -> Result<Option<FrontRequest>, Refusal> {
    if desk.world.gateways.get(gateway).is_none() {
        return Err(reply::BAD_PATH);
    }
    let header = |name| request.headers.get(name).map(|value| value.to_str().map(str::to_owned));
    // A browser always names its page; a native app has none.
    let origin = header(ORIGIN).transpose().map_err(|_| reply::BAD_ORIGIN)?;
    if origin.as_deref().is_some_and(|origin| !desk.origins.allows(origin)) {
        return Err(reply::BAD_ORIGIN);
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
    if holds_card_number(&body) {
        return Err(reply::CARD_NUMBER);
    }
    if !body.is_object() {
        return Err(reply::bad_request("the body is no JSON object"));
    }
    let authorization = header(AUTHORIZATION).transpose().map_err(|_| reply::TOKEN_INVALID)?.map(SecretString::new);
    Ok(Some(FrontRequest { gateway, stage, body, authorization, origin, ip: request.source_ip.clone() }))
}

/// `.../connectors/{gateway}/{route}` or the same with `/finalize`; a stage may stand before it.
fn route(route: &str, path: &str) -> Option<(GatewayName, Stage)> {
    let (rest, stage) = match path.strip_suffix("/finalize") {
        Some(rest) => (rest, Stage::Finalize),
        None => (path, Stage::Start),
    };
    let mut segments = rest.rsplit('/');
    let (last, gateway, room) = (segments.next()?, segments.next()?, segments.next()?);
    if last != route || room != "connectors" {
        return None;
    }
    GatewayName::parse(gateway).map(|gateway| (gateway, stage))
}

/// The answer with the headers of CORS. API Gateway puts its own in their place; without one, as on a developer's machine, these count.
fn to_answer(reply: Reply, headers: &HeaderMap, desk: &Desk) -> Answer {
    let mut answer = Answer::new(reply.status, reply.body);
    if let Some(seconds) = reply.retry_after {
        answer = answer.with(RETRY_AFTER, seconds.to_string());
    }
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        answer = answer.with(ALLOW, "POST");
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
struct Bounded {
    inner: Arc<dyn Transport>,
    longest: Duration,
}

#[async_trait]
impl Transport for Bounded {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let timeout = request.timeout.min(self.longest);
        self.inner.send(Request { timeout, ..request }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_functions_own_path_leads_to_it() {
        let found = |path: &str| route("initial-payment", path);
        assert_eq!(found("/connectors/adyen/initial-payment"), Some((GatewayName::Adyen, Stage::Start)));
        assert_eq!(found("/stage/connectors/adyen/initial-payment/finalize"), Some((GatewayName::Adyen, Stage::Finalize)));
        for path in [
            "/connectors/unknown/initial-payment",
            "/connectors/adyen/payment-details",
            "/adyen/initial-payment",
            "/connectors/adyen/initial-payment/",
            "/connectors/adyen/initial-payment/finalize/finalize",
            "/webhooks/adyen/initial-payment",
            "/finalize",
            "",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn pages_of_production_are_reached_by_https_only() {
        let read = |environment: &str, origins: &str| {
            let get = |name: &str| match name {
                "CLEENG_ENVIRONMENT" => Some(environment.to_owned()),
                "ALLOWED_ORIGINS" => Some(origins.to_owned()),
                _ => None,
            };
            let mut reader = Reader::new(&get);
            let settings = FrontSettings::read(&mut reader);
            reader.finish(settings)
        };
        assert!(read("sandbox", "http://localhost:3000").is_ok());
        assert_eq!(
            read("sandbox", "http://localhost:3000").map(|s| s.mediastore.url),
            Ok("https://mediastore-sandbox.cleeng.com".to_owned())
        );
        assert!(read("production", "http://shop.example.com").is_err());
        assert!(read("production", "").is_err());
        assert_eq!(
            read("production", "https://shop.example.com").map(|s| s.mediastore.url),
            Ok("https://mediastore.cleeng.com".to_owned())
        );
    }
}
