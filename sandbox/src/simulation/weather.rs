//! The ways out of the functions under an open sky: calls that get lost, answers that come late, cut off or not at all, a journal that fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::Timestamp;
use connector::http::{Cause, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Transport, TransportError};
use connector::journal::store::{CommitError, Key, Put, Store, StoreError, Stored};
use connector::lambda::queue::{Queue, QueueError};
use serde_json::Value;

use super::sky::{Sky, turn};
use super::watch::Watch;

/// The host of Cleeng on a stage.
pub(super) const CLEENG: &str = "cleeng.test";

/// What becomes of a call.
#[derive(Clone, Copy)]
enum Fate {
    Arrives,
    NotSent,
    Lost,
    AnswerLost,
    Late,
    Refused(u16),
    FailedAfter(u16),
    Cut,
    Maimed,
}

/// The way to the peers.
pub(super) struct WindyTransport {
    pub(super) inner: Arc<dyn Transport>,
    pub(super) sky: Sky,
}

impl WindyTransport {
    fn fate(&self, request: &Request) -> Fate {
        let sky = &self.sky;
        // Cleeng takes no idempotency key: a call that arrives after its caller has asked and been told "no" cannot be told from a second one.
        let may_be_late = request.repeatable && !request.url.contains(CLEENG);
        if sky.happens(|climate| climate.not_sent) {
            Fate::NotSent
        } else if sky.happens(|climate| climate.timeout_before) {
            Fate::Lost
        } else if sky.happens(|climate| climate.timeout_after) {
            Fate::AnswerLost
        } else if may_be_late && sky.happens(|climate| climate.late) {
            Fate::Late
        } else if sky.happens(|climate| climate.refused) {
            Fate::Refused(sky.draw(|dice| dice.pick(500, &[502, 503, 429, 401])))
        } else if sky.happens(|climate| climate.failed_after) {
            Fate::FailedAfter(sky.draw(|dice| dice.pick(500, &[502])))
        } else if sky.happens(|climate| climate.cut) {
            Fate::Cut
        } else if sky.happens(|climate| climate.maimed) {
            Fate::Maimed
        } else {
            Fate::Arrives
        }
    }

    async fn arrive(&self, request: Request) -> Result<Response, TransportError> {
        let (host, writes) = (host(&request.url).to_owned(), request.method != Method::GET);
        let answer = self.inner.send(request).await;
        if writes {
            self.sky.reached(&host);
        }
        answer
    }

    /// A call arrives whose caller has given it up.
    pub(super) async fn arrive_late(&self, request: Request) {
        let call = described(&request);
        let status = self.arrive(request).await.map(|answer| answer.status.as_u16());
        self.sky.note(|| format!("{call} arrives late: {status:?}"));
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Whom, what and where: nothing of the body or the headers.
fn described(request: &Request) -> String {
    let rest = request.url.split_once("://").map_or(request.url.as_str(), |(_, rest)| rest);
    format!("{} {}", request.method, rest.split('?').next().unwrap_or_default())
}

fn bare(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(connector::http::HeaderName::from_static("retry-after"), HeaderValue::from_static("7"));
    }
    Response { status, headers, body: Bytes::new() }
}

#[async_trait]
impl Transport for WindyTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        // An adapter that shares its time among calls knows it to the microsecond, by the real clock; what is left counts here in whole seconds.
        let (sky, timeout) = (&self.sky, Duration::from_secs(request.timeout.as_secs().saturating_add(1)));
        let call = if sky.traces() { described(&request) } else { String::new() };
        turn().await;
        if sky.happens(|climate| climate.slow) {
            turn().await;
            sky.pass(timeout.checked_div(2).unwrap_or_default());
        }
        let nothing = Err(TransportError::Unanswered(Cause::Timeout));
        let (answer, what) = match self.fate(&request) {
            Fate::Arrives => (self.arrive(request).await, ""),
            Fate::NotSent => (Err(TransportError::NotSent(Cause::Connect)), " (not sent)"),
            Fate::Lost => (nothing, " (lost)"),
            Fate::AnswerLost => {
                let _lost = self.arrive(request).await;
                (nothing, " (done, answer lost)")
            }
            Fate::Late => {
                sky.keep_late(request);
                (nothing, " (still under way)")
            }
            Fate::Refused(status) => (Ok(bare(status)), " (refused)"),
            Fate::FailedAfter(status) => (self.arrive(request).await.map(|_| bare(status)), " (done, answer lost)"),
            Fate::Cut => (self.arrive(request).await.map(cut), " (cut off)"),
            Fate::Maimed => (self.arrive(request).await.map(|answer| maimed(answer, sky)), " (maimed)"),
        };
        if matches!(answer, Err(TransportError::Unanswered(_))) {
            turn().await;
            sky.pass(timeout);
        }
        sky.note(|| format!("{call}: {}{what}", told(&answer)));
        turn().await;
        answer
    }
}

fn told(answer: &Result<Response, TransportError>) -> String {
    match answer {
        Ok(answer) => answer.status.as_u16().to_string(),
        Err(error) => error.to_string(),
    }
}

fn cut(mut answer: Response) -> Response {
    let half = answer.body.len().div_euclid(2);
    answer.body.truncate(half);
    answer
}

/// Takes one member of an object away, or its value: what is left is never untrue, it is only not all.
fn maimed(mut answer: Response, sky: &Sky) -> Response {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
    let members = count(&body);
    let (mut nth, null) = sky.draw(|dice| (dice.index(members), dice.happens(500)));
    maim(&mut body, &mut nth, null, sky);
    answer.body = Bytes::from(body.to_string());
    answer
}

fn count(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(count).fold(members.len(), usize::saturating_add),
        Value::Array(items) => items.iter().map(count).fold(0, usize::saturating_add),
        _ => 0,
    }
}

fn maim(value: &mut Value, nth: &mut usize, null: bool, sky: &Sky) -> bool {
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                let Some(left) = nth.checked_sub(1) else {
                    sky.note(|| format!("what is missing is {name}"));
                    if null {
                        members.insert(name, Value::Null);
                    } else {
                        members.remove(&name);
                    }
                    return true;
                };
                *nth = left;
                if members.get_mut(&name).is_some_and(|member| maim(member, nth, null, sky)) {
                    return true;
                }
            }
            false
        }
        Value::Array(items) => items.iter_mut().any(|item| maim(item, nth, null, sky)),
        _ => false,
    }
}

/// The journal.
pub(super) struct WindyStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) sky: Sky,
    pub(super) watch: Watch,
}

/// How long the journal is waited for.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(5);

#[async_trait]
impl Store for WindyStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        turn().await;
        if self.sky.happens(|climate| climate.unread) {
            self.sky.note(|| "journal cannot be read".to_owned());
            return Err(StoreError::Unavailable);
        }
        let found = self.inner.load(keys).await;
        turn().await;
        found
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        turn().await;
        let sky = &self.sky;
        let names = || puts.iter().map(|put| put.key.as_str()).collect::<Vec<_>>().join(" ");
        if sky.happens(|climate| climate.unwritten) {
            sky.note(|| format!("journal does not take {}", names()));
            return Err(CommitError::NotWritten(StoreError::Unavailable));
        }
        let in_doubt = sky.happens(|climate| climate.doubtful_commit);
        if in_doubt && sky.draw(|dice| dice.happens(500)) {
            sky.note(|| format!("journal does not say whether it took {}; it did not", names()));
            sky.pass(JOURNAL_TIMEOUT);
            return Err(CommitError::Unknown);
        }
        let result = self.inner.commit(puts).await;
        match &result {
            Ok(()) => {
                sky.note(|| format!("journal: {}", names()));
                self.watch.committed(puts, sky);
                sky.written();
            }
            Err(error) => sky.note(|| format!("journal refuses {}: {error}", names())),
        }
        turn().await;
        if in_doubt && result.is_ok() {
            sky.note(|| "journal does not say that it took it".to_owned());
            sky.pass(JOURNAL_TIMEOUT);
            return Err(CommitError::Unknown);
        }
        result
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<Key>, StoreError> {
        turn().await;
        if self.sky.happens(|climate| climate.unread) {
            return Err(StoreError::Unavailable);
        }
        self.inner.due(until, limit).await
    }

    async fn parked(&self, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.inner.parked(limit).await
    }
}

/// The queue behind the door where gateways post.
pub(super) struct WindyQueue {
    sky: Sky,
    messages: Mutex<Vec<String>>,
}

impl WindyQueue {
    pub(super) const fn new(sky: Sky) -> Self {
        Self { sky, messages: Mutex::new(Vec::new()) }
    }

    /// What was put there since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Queue for WindyQueue {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        turn().await;
        if self.sky.happens(|climate| climate.queue) {
            self.sky.note(|| "the queue does not take it".to_owned());
            return Err(QueueError::Unavailable);
        }
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
        turn().await;
        Ok(())
    }

    async fn delay(&self, _receipt_handle: &str, _by: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}
