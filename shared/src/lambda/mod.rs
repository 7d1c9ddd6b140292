//! A function in AWS Lambda: start-up, state, dispatch, handlers and telemetry.
//!
//! ```text
//! HTTP API --> webhook_handler: route key, size, signature, topic, publisher --> queue --> 200
//! queue    --> queue_consumer: envelope, flow, disposition --> leaves the queue, or is delivered again
//! ```
//!
//! | module | purpose |
//! |---|---|
//! | [`settings`], [`secrets`] | the settings and the secret of a deployment |
//! | [`dependencies`] | the clients of a deployed function, built from them |
//! | [`state`], [`reloadable`] | what the handlers share, and what is built again when secrets change |
//! | [`app`] | dispatch: which handler an event goes to |
//! | [`event`], `response` | the runtime's events by their shape, and responses in the HTTP API's format |
//! | `webhook_handler`, [`verifier`] | the HTTP handler of Cleeng's webhooks |
//! | `notification_handler` | the HTTP handler of the gateways' notifications |
//! | [`frontend_handler`] | the HTTP handler of the functions that customers' browsers call |
//! | [`queue`], `queue_consumer` | the queue of a function, and its consumer |
//! | `quarantine` | webhooks whose signature does not fit yet |
//! | `unreadable_event` | events that Cleeng signed and that cannot be acted on |
//! | [`requeue`] | puts events that wait in the journal back on their queues |
//! | [`telemetry`] | log lines and metrics, cleaned of secrets |
//! | [`aws`] | the clients of AWS services |
//! | [`operator`] | a whole deployment, as an operator's tool sees it |
//!
//! Only this folder and the journal's DynamoDB store know AWS. An error of an SDK or of an HTTP client must never be returned from a
//! handler or logged: the runtime writes the Debug form of what it is given, and theirs holds raw headers and bodies.

pub mod app;
pub mod aws;
pub mod dependencies;
pub mod event;
pub mod frontend_handler;
mod notification_handler;
pub mod operator;
mod quarantine;
pub mod queue;
mod queue_consumer;
pub mod reloadable;
pub mod requeue;
mod response;
#[cfg(test)]
mod rollout_tests;
pub mod secrets;
pub mod settings;
pub mod state;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod unreadable_event;
pub mod verifier;
pub mod webhook_handler;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{error, info};

use self::app::App;
use self::dependencies::{SharedDeps, UpstreamSettings};
use self::event::EventError;
use self::frontend_handler::{FrontendApp, FrontendSettings};
use self::queue::{NoQueue, Queue, SqsQueue};
use self::requeue::EventQueues;
use self::secrets::{EnvironmentSecret, SecretCache, SecretError, SecretSource, SecretsManager};
use self::settings::{RequiredSettings, Resources, Settings};
use self::state::{FunctionKind, Invocation};
use self::telemetry::{EmfSink, Output, Redactor};
use crate::cleeng::webhook::Topic;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::flow::{Flow, NoRequeue, NotificationFlow, Requeue, ScheduledJob};
use crate::frontend_api::FrontendFlow;
use crate::http::ReqwestTransport;
use crate::journal::dynamodb::DynamoStore;
use crate::journal::memory::MemoryStore;
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::settings::{Problems, SettingsReader};

/// Why a function does not start. Every cause was logged already.
#[derive(Debug, Error)]
pub enum StartError {
    /// Settings are wrong.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The secrets cannot be read.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// The HTTP client cannot start.
    #[error("the HTTP client cannot start: no usable CA certificates were found; set SSL_CERT_FILE to a PEM bundle")]
    HttpClient,
    /// The runtime's API failed.
    #[error("the Lambda runtime cannot be reached: AWS_LAMBDA_RUNTIME_API has its address")]
    Runtime,
}

/// Runs a function until the runtime ends it: the whole of a `main`.
///
/// # Errors
/// [`StartError`], before the first event is handled; every mistake is named in the log.
pub async fn run(flow: impl Flow + 'static) -> Result<(), StartError> {
    serve_events(build_app(FunctionKind::Webhooks(Arc::new(flow))).await).await
}

/// As [`run`], for the function that receives the gateways' notifications.
///
/// # Errors
/// As [`run`].
pub async fn run_notifications(flow: impl NotificationFlow + 'static) -> Result<(), StartError> {
    serve_events(build_app(FunctionKind::Notifications(Arc::new(flow))).await).await
}

/// As [`run`], for the function that a schedule starts.
///
/// # Errors
/// As [`run`].
pub async fn run_scheduled(job: impl ScheduledJob + 'static) -> Result<(), StartError> {
    serve_events(build_app(FunctionKind::Scheduled(Arc::new(job))).await).await
}

/// Runs a function for customers' browsers until the runtime ends it: the whole of a `main`.
///
/// # Errors
/// As [`run`].
pub async fn run_frontend(flow: impl FrontendFlow + 'static) -> Result<(), StartError> {
    serve_events(build_frontend(Arc::new(flow)).await).await
}

/// Handles the runtime's events.
#[async_trait]
trait EventHandler: Send + Sync + 'static {
    async fn handle_event(&self, raw: &str, invocation: &Invocation) -> Result<Value, EventError>;
}

#[async_trait]
impl EventHandler for App {
    async fn handle_event(&self, raw: &str, invocation: &Invocation) -> Result<Value, EventError> {
        self.handle(raw, invocation).await
    }
}

#[async_trait]
impl EventHandler for FrontendApp {
    async fn handle_event(&self, raw: &str, invocation: &Invocation) -> Result<Value, EventError> {
        self.handle(raw, invocation).await
    }
}

async fn serve_events(started: Result<Arc<dyn EventHandler>, StartError>) -> Result<(), StartError> {
    let server = started.inspect_err(log_start_error)?;
    let handled_any = Arc::new(AtomicBool::new(false));
    let serving = Arc::clone(&handled_any);
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let server = Arc::clone(&server);
        serving.store(true, Ordering::Relaxed);
        async move {
            let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
            let invocation = Invocation { request_id: event.context.request_id, deadline };
            server.handle_event(event.payload.get(), &invocation).await
        }
    });
    match lambda_runtime::run(handler).await {
        Ok(()) => Ok(()),
        Err(_) => runtime_ended(handled_any.load(Ordering::Relaxed)).inspect_err(log_start_error),
    }
}

/// The runtime's API does not answer. One that delivered events before has ended, as `sam local` does once it has its response; that is no
/// failed start.
fn runtime_ended(handled_any: bool) -> Result<(), StartError> {
    if !handled_any {
        return Err(StartError::Runtime);
    }
    info!("the Lambda runtime has ended, and the function with it");
    Ok(())
}

fn log_start_error(failure: &StartError) {
    let problems = match failure {
        StartError::Settings(problems) | StartError::Secrets(SecretError::Invalid(problems)) => problems.0.as_slice(),
        _ => &[],
    };
    for wrong in problems {
        error!(setting = wrong.setting, problem = wrong.problem, fix = wrong.fix, "wrong setting");
    }
    // Each mistake has a line of its own.
    let cause = failure.to_string();
    error!(cause = cause.lines().next().unwrap_or_default(), "function cannot start");
}

async fn build_app(kind: FunctionKind) -> Result<Arc<dyn EventHandler>, StartError> {
    let StartupState { deps, secret_cache, queue, quarantine, .. } = prepare(kind.required_settings()).await?;
    Ok(Arc::new(App::new(deps.into_state(kind, secret_cache, queue, quarantine)?)))
}

async fn build_frontend(flow: Arc<dyn FrontendFlow>) -> Result<Arc<dyn EventHandler>, StartError> {
    let StartupState { deps, secret_cache, frontend, .. } = prepare(RequiredSettings::FRONTEND).await?;
    let frontend = frontend.ok_or_else(|| Problems(Vec::new()))?;
    Ok(Arc::new(FrontendApp::new(flow, frontend, deps, secret_cache)?))
}

/// What every function starts with.
struct StartupState {
    deps: SharedDeps,
    secret_cache: SecretCache,
    queue: Arc<dyn Queue>,
    quarantine: Arc<dyn Queue>,
    frontend: Option<FrontendSettings>,
}

async fn prepare(required: RequiredSettings) -> Result<StartupState, StartError> {
    let redactor = Arc::new(Redactor::default());
    let output = Output::new(Box::new(std::io::stdout()), Arc::clone(&redactor));
    let get = |name: &str| std::env::var(name).ok();
    let read = read_all_settings(&get, required);
    let level = read.as_ref().map_or(LevelFilter::INFO, |start| start.settings.log_level);
    // Only a test sets a second subscriber in one process; the first one stays.
    let _ = tracing::subscriber::set_global_default(telemetry::subscriber(output.clone(), level));
    let StartSettings { settings, upstreams, function, deployment, release, event_queues, frontend } = read?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), release, "started");
    let metrics = Metrics::new(Arc::new(EmfSink::new(output, deployment, function.name, function.version, Arc::clone(&clock))));
    let Backends { source, store, queue, quarantine, requeue } = match &settings.resources {
        Some(resources) => aws_backends(resources, event_queues, &clock).await,
        None => embedded_backends(&get, &clock),
    };
    let gateways: BTreeSet<_> = settings.methods.values().map(|method| method.gateway).collect();
    let secret_cache = SecretCache::open(source, gateways, redactor, Arc::clone(&clock)).await?;
    let transport = Arc::new(ReqwestTransport::new().map_err(|_| StartError::HttpClient)?);
    let deps = SharedDeps { settings, upstreams, transport, store, clock, metrics, requeue };
    Ok(StartupState { deps, secret_cache, queue, quarantine, frontend })
}

struct StartSettings {
    settings: Settings,
    upstreams: UpstreamSettings,
    function: FunctionIdentity,
    /// The stack, for the metrics.
    deployment: String,
    /// The operator's name for this state of the settings, for the log.
    release: String,
    /// Only for functions that put waiting events back on their queues.
    event_queues: BTreeMap<Topic, String>,
    /// Only for functions for customers' browsers.
    frontend: Option<FrontendSettings>,
}

/// All settings with one reader, so that one start shows every mistake.
fn read_all_settings(get: &dyn Fn(&str) -> Option<String>, required: RequiredSettings) -> Result<StartSettings, Problems> {
    let mut reader = SettingsReader::new(get);
    let function = read_runtime(&mut reader);
    let settings = Settings::read_for(&mut reader, required);
    let upstreams = settings.as_ref().and_then(|settings| dependencies::read_upstream_settings(&mut reader, settings));
    let deployed = settings.as_ref().is_none_or(|settings| settings.resources.is_some());
    let event_queues = if deployed && required.event_queues { requeue::read_queues(&mut reader) } else { BTreeMap::new() };
    let frontend = required.frontend.then(|| FrontendSettings::read(&mut reader)).flatten();
    let deployment = reader.text("CONNECTOR_DEPLOYMENT").unwrap_or_else(|| "local".to_owned());
    let release = reader.text("CONNECTOR_RELEASE").unwrap_or_default();
    let all = function.zip(settings).zip(upstreams);
    let all = all.map(|((function, settings), upstreams)| StartSettings {
        settings,
        upstreams,
        function,
        deployment,
        release,
        event_queues,
        frontend,
    });
    reader.finish(all)
}

/// What the runtime calls the function.
struct FunctionIdentity {
    name: String,
    version: String,
}

/// The variables without which the runtime's own library panics.
fn read_runtime(reader: &mut SettingsReader<'_>) -> Option<FunctionIdentity> {
    let fix = "this binary is started by the Lambda runtime: use `sam local invoke`, or `cargo run` for the sandbox";
    reader.required("AWS_LAMBDA_RUNTIME_API", fix);
    let version = reader.required("AWS_LAMBDA_FUNCTION_VERSION", fix);
    if reader.required("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", fix).is_some() {
        reader.number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 128_i32, 1, i32::MAX);
    }
    let name = reader.required("AWS_LAMBDA_FUNCTION_NAME", fix);
    name.zip(version).map(|(name, version)| FunctionIdentity { name, version })
}

struct Backends {
    source: Box<dyn SecretSource>,
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    quarantine: Arc<dyn Queue>,
    requeue: Arc<dyn Requeue>,
}

async fn aws_backends(resources: &Resources, event_queues: BTreeMap<Topic, String>, clock: &Arc<dyn Clock>) -> Backends {
    let config = aws::load().await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let queue_of = |url: String| -> Arc<dyn Queue> { Arc::new(SqsQueue::new(sqs.clone(), url)) };
    let event_queues = event_queues.into_iter().map(|(topic, url)| (topic, queue_of(url))).collect();
    let Resources { table, queue_url, quarantine_url, secret_id } = resources.clone();
    Backends {
        source: Box::new(SecretsManager::new(aws_sdk_secretsmanager::Client::new(&config), secret_id)),
        store: Arc::new(DynamoStore::new(aws_sdk_dynamodb::Client::new(&config), table, Arc::clone(clock))),
        queue: queue_of(queue_url),
        quarantine: queue_of(quarantine_url),
        requeue: Arc::new(EventQueues::new(event_queues, Arc::clone(clock))),
    }
}

fn embedded_backends(get: &dyn Fn(&str) -> Option<String>, clock: &Arc<dyn Clock>) -> Backends {
    Backends {
        source: Box::new(EnvironmentSecret::new(get("CONNECTOR_SECRETS"))),
        store: Arc::new(MemoryStore::new(Arc::clone(clock))),
        queue: Arc::new(NoQueue),
        quarantine: Arc::new(NoQueue),
        requeue: Arc::new(NoRequeue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_function_that_brings_events_back_needs_their_queues() {
        let problems = |required| read_all_settings(&|_| None, required).err().unwrap().to_string();
        assert!(problems(RequiredSettings::NOTIFICATIONS).contains("EVENT_QUEUE_URLS"));
        assert!(!problems(RequiredSettings::WEBHOOKS).contains("EVENT_QUEUE_URLS"));
    }

    #[test]
    fn a_start_without_any_setting_names_them_all() {
        let problems = read_all_settings(&|_| None, RequiredSettings::WEBHOOKS).err().unwrap().to_string();
        for name in [
            "AWS_LAMBDA_RUNTIME_API",
            "JOURNAL_TABLE",
            "QUEUE_URL",
            "QUARANTINE_QUEUE_URL",
            "CONNECTOR_SECRET_ID",
            "CONNECTOR_PUBLISHER_ID",
            "PAYMENT_METHODS",
        ] {
            assert!(problems.contains(name), "{name} is not in {problems}");
        }
    }

    #[test]
    fn a_runtime_that_ends_after_it_gave_events_is_no_failed_start() {
        assert!(runtime_ended(true).is_ok());
        assert!(matches!(runtime_ended(false), Err(StartError::Runtime)));
    }

    #[test]
    fn a_memory_size_that_the_runtime_cannot_read_is_a_mistake_and_no_panic() {
        let get = |name: &str| name.starts_with("AWS_LAMBDA").then(|| "many".to_owned());
        let problems = read_all_settings(&get, RequiredSettings::WEBHOOKS).err().unwrap().to_string();
        assert!(problems.contains("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
        assert!(!problems.contains("many"));
    }
}
