//! The connector's own part of an event: handlers, checks, flow, journal records, adapter, client, log lines and metrics, with constant answers
//! in place of everything that it calls. Neither network nor TLS, neither the Lambda runtime nor an AWS client.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector::clock::{Clock, Timestamp};
use connector::flow::NoRequeue;
use connector::http::{Request, Response, Transport, TransportCause, TransportError};
use connector::journal::store::{CommitError, Key, List, Listed, Put, Store, StoreError, StoredDocument};
use connector::lambda::app::App;
use connector::lambda::dependencies::{SharedDeps, read_upstream_settings};
use connector::lambda::queue::{Queue, QueueError};
use connector::lambda::secrets::{EnvironmentSecret, SecretCache};
use connector::lambda::settings::Settings;
use connector::lambda::state::{FunctionKind, Invocation};
use connector::lambda::telemetry::{EmfSink, Output, Redactor, subscriber};
use connector::metrics::Metrics;
use connector::settings::SettingsReader;
use sandbox::simulators::network::{FaultyNetwork, InProcessTransport};
use sandbox::simulators::virtual_clock::VirtualClock;
use subscription_ready_for_payment_authorisation::Authorisation;
use tracing::level_filters::LevelFilter;

use crate::aws;
use crate::upstreams::{AdyenStub, CleengStub, PAID_UNTIL};

const CLEENG: &str = "http://cleeng.test";
const ADYEN: &str = "http://adyen.test";

/// Deals with the event so many times.
pub(crate) async fn repeat(event: &str, times: u64) -> Result<String, Box<dyn Error>> {
    let app = build_app().await?;
    let deadline = clock().now().after(Duration::from_secs(90));
    let invocation = Invocation { request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(), deadline };
    for _ in 0..times {
        let answer = app.handle(event, &invocation).await?;
        let failures = answer.get("batchItemFailures").and_then(serde_json::Value::as_array);
        let status = answer.get("statusCode").and_then(serde_json::Value::as_u64);
        if !failures.is_some_and(Vec::is_empty) && status != Some(200) {
            return Err(format!("the event was not dealt with: {answer}").into());
        }
    }
    Ok(String::new())
}

/// Two days before the end of the paid period.
fn clock() -> VirtualClock {
    VirtualClock::starting_at(Timestamp::from_secs(i64::from(PAID_UNTIL) - 2 * 86_400))
}

async fn build_app() -> Result<App, Box<dyn Error>> {
    let environment: BTreeMap<_, _> = aws::environment("http://aws.test", &format!("{CLEENG}/3.1"), ADYEN).into_iter().collect();
    let get = |name: &str| environment.get(name).cloned();
    let mut reader = SettingsReader::new(&get);
    let settings = Settings::read(&mut reader);
    let upstreams = settings.as_ref().and_then(|settings| read_upstream_settings(&mut reader, settings));
    let (settings, upstreams) = reader.finish(settings.zip(upstreams))?;

    let redactor = Arc::new(Redactor::default());
    let output = Output::new(Box::new(std::io::sink()), Arc::clone(&redactor));
    tracing::subscriber::set_global_default(subscriber(output.clone(), LevelFilter::INFO))?;
    let clock: Arc<dyn Clock> = Arc::new(clock());
    let metrics = Metrics::new(Arc::new(EmfSink::new(output, "local", "measured", "1", Arc::clone(&clock))));
    let gateways: BTreeSet<_> = settings.methods.values().map(|method| method.gateway).collect();
    let source = Box::new(EnvironmentSecret::new(Some(aws::SECRET.to_owned())));
    let secret_cache = SecretCache::open(source, gateways, redactor, Arc::clone(&clock)).await?;
    let deps = SharedDeps {
        settings,
        upstreams,
        transport: Arc::new(ReplayingTransport::default()),
        store: Arc::new(NullStore),
        clock,
        metrics,
        requeue: Arc::new(NoRequeue),
    };
    let kind = FunctionKind::Webhooks(Arc::new(Authorisation));
    Ok(App::new(deps.into_state(kind, secret_cache, Arc::new(NullQueue), Arc::new(NullQueue))?))
}

/// Gives the answer that the same question got for the first time, so that the peers' own work is not counted. The same event asks the same
/// questions: the journal forgets it.
#[derive(Default)]
struct ReplayingTransport(Mutex<BTreeMap<(String, String), Response>>);

#[async_trait]
impl Transport for ReplayingTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let question = (request.method.to_string(), request.url.clone());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&question).cloned();
        if let Some(answer) = known {
            return Ok(answer);
        }
        let peers = InProcessTransport::new(FaultyNetwork::default())
            .with_server(CLEENG, Arc::new(CleengStub))
            .with_server(ADYEN, Arc::new(AdyenStub));
        let answer = peers.send(request).await?;
        if !answer.status.is_success() {
            // An answer that the flow has to deal with otherwise would measure something else.
            return Err(TransportError::NotSent(TransportCause::BadRequest));
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(question, answer.clone());
        Ok(answer)
    }
}

/// A journal that knows nothing and takes everything.
struct NullStore;

#[async_trait]
impl Store for NullStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        Ok(keys.iter().map(|_| None).collect())
    }

    async fn commit(&self, _puts: &[Put]) -> Result<(), CommitError> {
        Ok(())
    }

    async fn list(&self, _: List, _: Timestamp, _: Option<&Listed>, _: usize) -> Result<Vec<Listed>, StoreError> {
        Ok(Vec::new())
    }

    async fn relist(&self, _: List, _: &Listed, _: List, _: Timestamp) -> Result<(), CommitError> {
        Ok(())
    }
}

/// A queue that takes everything.
struct NullQueue;

#[async_trait]
impl Queue for NullQueue {
    async fn send(&self, _message: &str) -> Result<(), QueueError> {
        Ok(())
    }

    async fn delay(&self, _receipt_handle: &str, _by: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}
