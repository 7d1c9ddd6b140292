//! A function in AWS Lambda: start-up, the two doors, and what they write.
//!
//! ```text
//! HTTP API --> http_door: route key, size, signature, topic, publisher --> queue --> 200
//! queue    --> queue_door: envelope, flow, verdict --> leaves the queue, or comes back later
//! ```
//!
//! | room | duty |
//! |---|---|
//! | [`settings`], [`secrets`] | what the environment says, and what is kept secret |
//! | [`event`] | the runtime's JSON, told apart by its shape |
//! | [`http_door`], [`queue_door`] | the two doors |
//! | [`notification_door`] | the first door for the gateways' notifications |
//! | [`requeue`] | the way back to the queues of events that wait for a gateway's word |
//! | [`front_door`] | the door of functions that customers' browsers call |
//! | [`queue`] | the queue between them, and the envelope on it |
//! | [`app`] | what both doors share |
//! | [`wiring`] | which clients a deployed function has |
//! | [`telemetry`] | log lines and metrics, cleaned of secrets |
//! | [`aws`] | the clients of AWS services |
//! | [`operator`] | a whole deployment, as an operator's tool sees it |
//!
//! Only this folder and the journal's DynamoDB store know AWS. An error of an SDK or of an HTTP client must never be returned from a
//! handler or logged: the runtime writes the Debug form of what it is given, and theirs holds raw headers and bodies.

pub mod app;
pub mod aws;
pub mod event;
pub mod front_door;
pub mod http_door;
pub mod notification_door;
pub mod operator;
pub mod quarantine;
pub mod queue;
pub mod queue_door;
pub mod requeue;
pub mod secrets;
pub mod settings;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod wiring;

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

use self::app::{App, HandlerError, Invocation, Parts, Task};
use self::front_door::{FrontDoor, FrontSettings};
use self::queue::{NoQueue, Queue, SqsQueue};
use self::requeue::EventQueues;
use self::secrets::{Environment, SecretError, SecretKeeper, SecretSource, SecretsManager};
use self::settings::{Doors, Resources, Settings};
use self::telemetry::{EmfSink, Output, Redactor};
use self::wiring::{Base, PeerSettings, Standard, Webhooks};
use crate::cleeng::webhook::Topic;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::flow::{Flow, NoRequeue, NotificationFlow, Requeue, Rounds};
use crate::front::FrontEnd;
use crate::http::ReqwestTransport;
use crate::journal::dynamodb::DynamoStore;
use crate::journal::memory::MemoryStore;
use crate::journal::store::Store;
use crate::metrics::Metrics;
use crate::settings::{Problems, Reader};

/// Why a function does not start. Every cause was logged already.
#[derive(Debug, Error)]
pub enum StartError {
    /// Settings are wrong.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The secrets cannot be had.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// There is no way out.
    #[error("the HTTP client cannot start: no usable CA certificates were found; set SSL_CERT_FILE to a PEM bundle")]
    HttpClient,
    /// The runtime's interface failed.
    #[error("the Lambda runtime cannot be reached: AWS_LAMBDA_RUNTIME_API has its address")]
    Runtime,
}

/// Runs a function until the runtime ends it: the whole of a `main`.
///
/// # Errors
/// [`StartError`], before the first event is taken; every mistake is named in the log.
pub async fn run(flow: impl Flow + 'static) -> Result<(), StartError> {
    serve(start(Task::Webhooks(Arc::new(flow))).await).await
}

/// As [`run`], for the function that takes the gateways' notifications.
///
/// # Errors
/// As [`run`].
pub async fn run_notifications(flow: impl NotificationFlow + 'static) -> Result<(), StartError> {
    serve(start(Task::Notifications(Arc::new(flow))).await).await
}

/// As [`run`], for the function that a schedule starts.
///
/// # Errors
/// As [`run`].
pub async fn run_rounds(rounds: impl Rounds + 'static) -> Result<(), StartError> {
    serve(start(Task::Rounds(Arc::new(rounds))).await).await
}

/// Runs a function for customers' browsers until the runtime ends it: the whole of a `main`.
///
/// # Errors
/// As [`run`].
pub async fn run_front_end(front_end: impl FrontEnd + 'static) -> Result<(), StartError> {
    serve(start_front_end(Arc::new(front_end)).await).await
}

/// What the runtime's events are given to.
#[async_trait]
trait Serve: Send + Sync + 'static {
    async fn serve(&self, raw: &str, invocation: &Invocation) -> Result<Value, HandlerError>;
}

#[async_trait]
impl Serve for App {
    async fn serve(&self, raw: &str, invocation: &Invocation) -> Result<Value, HandlerError> {
        self.handle(raw, invocation).await
    }
}

#[async_trait]
impl Serve for FrontDoor {
    async fn serve(&self, raw: &str, invocation: &Invocation) -> Result<Value, HandlerError> {
        self.handle(raw, invocation).await
    }
}

async fn serve(started: Result<Arc<dyn Serve>, StartError>) -> Result<(), StartError> {
    let server = started.inspect_err(tell)?;
    let served = Arc::new(AtomicBool::new(false));
    let serving = Arc::clone(&served);
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let server = Arc::clone(&server);
        serving.store(true, Ordering::Relaxed);
        async move {
            let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
            let invocation = Invocation { request_id: event.context.request_id, deadline };
            server.serve(event.payload.get(), &invocation).await
        }
    });
    match lambda_runtime::run(handler).await {
        Ok(()) => Ok(()),
        Err(_) => gone(served.load(Ordering::Relaxed)).inspect_err(tell),
    }
}

/// The runtime's interface does not answer. One that gave events before has ended, as `sam local` does when it has its answer, and is no
/// mistake of the start.
fn gone(served: bool) -> Result<(), StartError> {
    if !served {
        return Err(StartError::Runtime);
    }
    info!("the Lambda runtime has ended, and the function with it");
    Ok(())
}

fn tell(failure: &StartError) {
    let problems = match failure {
        StartError::Settings(problems) | StartError::Secrets(SecretError::Invalid(problems)) => problems.0.as_slice(),
        _ => &[],
    };
    for wrong in problems {
        error!(setting = wrong.setting, problem = wrong.problem, fix = wrong.fix, "wrong setting");
    }
    // The mistakes have lines of their own.
    let cause = failure.to_string();
    error!(cause = cause.lines().next().unwrap_or_default(), "function cannot start");
}

async fn start(task: Task) -> Result<Arc<dyn Serve>, StartError> {
    let doors = match &task {
        Task::Webhooks(_) => Doors::Both,
        Task::Notifications(_) => Doors::Notifications,
        Task::Rounds(_) => Doors::Schedule,
    };
    let Started { base, keeper, queue, quarantine, .. } = prepare(doors).await?;
    let (mode, max_body_bytes) = (base.settings.mode, base.settings.max_body_bytes);
    let (clock, metrics) = (Arc::clone(&base.clock), base.metrics.clone());
    let webhooks = match &task {
        Task::Webhooks(flow) => Webhooks::Of(flow.topic()),
        Task::Notifications(_) => Webhooks::None,
        Task::Rounds(_) => Webhooks::Any,
    };
    let wiring = Box::new(Standard { webhooks, base });
    Ok(Arc::new(App::new(Parts { task, mode, max_body_bytes, keeper, wiring, queue, quarantine, clock, metrics })?))
}

async fn start_front_end(front_end: Arc<dyn FrontEnd>) -> Result<Arc<dyn Serve>, StartError> {
    let Started { base, keeper, front, .. } = prepare(Doors::FrontOnly).await?;
    let front = front.ok_or_else(|| Problems(Vec::new()))?;
    Ok(Arc::new(FrontDoor::new(front_end, front, base, keeper)?))
}

/// What every function starts with.
struct Started {
    base: Base,
    keeper: SecretKeeper,
    queue: Arc<dyn Queue>,
    quarantine: Arc<dyn Queue>,
    front: Option<FrontSettings>,
}

async fn prepare(doors: Doors) -> Result<Started, StartError> {
    let redactor = Arc::new(Redactor::default());
    let output = Output::new(Box::new(std::io::stdout()), Arc::clone(&redactor));
    let get = |name: &str| std::env::var(name).ok();
    let read = read_all(&get, doors);
    let level = read.as_ref().map_or(LevelFilter::INFO, |start| start.settings.log_level);
    // A second subscriber in one process is a test's business; the first one stays.
    let _ = tracing::subscriber::set_global_default(telemetry::subscriber(output.clone(), level));
    let StartSettings { settings, peers, function, deployment, release, event_queues, front } = read?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), release, "started");
    let metrics = Metrics::new(Arc::new(EmfSink::new(output, deployment, function, Arc::clone(&clock))));
    let Backing { source, store, queue, quarantine, requeue } = match &settings.resources {
        Some(resources) => in_aws(resources, event_queues, &clock).await,
        None => embedded(&get, &clock),
    };
    let gateways: BTreeSet<_> = settings.methods.values().map(|method| method.gateway).collect();
    let keeper = SecretKeeper::open(source, gateways, redactor, Arc::clone(&clock)).await?;
    let transport = Arc::new(ReqwestTransport::new().map_err(|_| StartError::HttpClient)?);
    let base = Base { settings, peers, transport, store, clock, metrics, requeue };
    Ok(Started { base, keeper, queue, quarantine, front })
}

struct StartSettings {
    settings: Settings,
    peers: PeerSettings,
    function: String,
    /// The stack, for the metrics.
    deployment: String,
    /// What the operator calls this state of the settings, for the log.
    release: String,
    /// Only for the function that brings waiting events back.
    event_queues: BTreeMap<Topic, String>,
    /// Only for a function with a front door.
    front: Option<FrontSettings>,
}

/// All settings with one reader, so that one start shows every mistake.
fn read_all(get: &dyn Fn(&str) -> Option<String>, doors: Doors) -> Result<StartSettings, Problems> {
    let mut reader = Reader::new(get);
    let function = read_runtime(&mut reader);
    let settings = Settings::read_for(&mut reader, doors);
    let peers = settings.as_ref().and_then(|settings| wiring::read_peer_settings(&mut reader, settings));
    let deployed = settings.as_ref().is_none_or(|settings| settings.resources.is_some());
    let brings_back = matches!(doors, Doors::Notifications | Doors::Schedule);
    let event_queues = if deployed && brings_back { requeue::read_queues(&mut reader) } else { BTreeMap::new() };
    let front = (doors == Doors::FrontOnly).then(|| FrontSettings::read(&mut reader)).flatten();
    let deployment = reader.text("CONNECTOR_DEPLOYMENT").unwrap_or_else(|| "local".to_owned());
    let release = reader.text("CONNECTOR_RELEASE").unwrap_or_default();
    let all = function.zip(settings).zip(peers);
    let all =
        all.map(|((function, settings), peers)| StartSettings { settings, peers, function, deployment, release, event_queues, front });
    reader.finish(all)
}

/// What the runtime's own library panics without.
fn read_runtime(reader: &mut Reader<'_>) -> Option<String> {
    let fix = "this binary is started by the Lambda runtime: use `sam local invoke`, or `cargo run` for the sandbox";
    reader.required("AWS_LAMBDA_RUNTIME_API", fix);
    reader.required("AWS_LAMBDA_FUNCTION_VERSION", fix);
    if reader.required("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", fix).is_some() {
        reader.number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 128_i32, 1, i32::MAX);
    }
    reader.required("AWS_LAMBDA_FUNCTION_NAME", fix)
}

struct Backing {
    source: Box<dyn SecretSource>,
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    quarantine: Arc<dyn Queue>,
    requeue: Arc<dyn Requeue>,
}

async fn in_aws(resources: &Resources, event_queues: BTreeMap<Topic, String>, clock: &Arc<dyn Clock>) -> Backing {
    let config = aws::load().await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let queue_of = |url: String| -> Arc<dyn Queue> { Arc::new(SqsQueue::new(sqs.clone(), url)) };
    let event_queues = event_queues.into_iter().map(|(topic, url)| (topic, queue_of(url))).collect();
    let Resources { table, queue_url, quarantine_url, secret_id } = resources.clone();
    Backing {
        source: Box::new(SecretsManager::new(aws_sdk_secretsmanager::Client::new(&config), secret_id)),
        store: Arc::new(DynamoStore::new(aws_sdk_dynamodb::Client::new(&config), table, Arc::clone(clock))),
        queue: queue_of(queue_url),
        quarantine: queue_of(quarantine_url),
        requeue: Arc::new(EventQueues::new(event_queues, Arc::clone(clock))),
    }
}

fn embedded(get: &dyn Fn(&str) -> Option<String>, clock: &Arc<dyn Clock>) -> Backing {
    Backing {
        source: Box::new(Environment::new(get("CONNECTOR_SECRETS"))),
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
        let problems = |doors| read_all(&|_| None, doors).err().unwrap().to_string();
        assert!(problems(Doors::Notifications).contains("EVENT_QUEUE_URLS"));
        assert!(!problems(Doors::Both).contains("EVENT_QUEUE_URLS"));
    }

    #[test]
    fn a_start_without_any_setting_names_them_all() {
        let problems = read_all(&|_| None, Doors::Both).err().unwrap().to_string();
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
        assert!(gone(true).is_ok());
        assert!(matches!(gone(false), Err(StartError::Runtime)));
    }

    #[test]
    fn a_memory_size_that_the_runtime_cannot_read_is_a_mistake_and_no_panic() {
        let get = |name: &str| name.starts_with("AWS_LAMBDA").then(|| "many".to_owned());
        let problems = read_all(&get, Doors::Both).err().unwrap().to_string();
        assert!(problems.contains("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
        assert!(!problems.contains("many"));
    }
}
