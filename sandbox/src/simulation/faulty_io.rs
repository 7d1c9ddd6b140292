//! Transport, journal and queue that inject faults: calls that are lost, responses that are late, truncated or missing, a journal that fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector::clock::Timestamp;
use connector::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Transport, TransportCause, TransportError};
use connector::journal::store::{CommitError, Key, List, Listed, Put, Store, StoreError, StoredDocument};
use connector::lambda::queue::{Queue, QueueError};
use serde_json::Value;

use super::behaviour::Behaviour;
use super::context::SimulationContext;
use super::due_calls::{DueCalls, idempotency_key};
use super::executor::yield_now;
use super::journal_checker::JournalChecker;

/// The host of Cleeng on an environment.
pub(super) const CLEENG_HOST: &str = "cleeng.test";

/// How the trace marks an answer that is not Cleeng's.
const IN_BETWEEN_TRACE: &str = " (answered in between)";

/// Cleeng's Core API there.
const CORE_API: &str = "cleeng.test/3.1/";

/// What proxies, firewalls and API gateways say, which are not Cleeng.
const IN_BETWEEN: [(u16, &str); 10] = [
    (302, ""),
    (200, "<html>maintenance</html>"),
    (400, "<html>bad request</html>"),
    (403, "<html>forbidden</html>"),
    (404, "<html>not found</html>"),
    (425, ""),
    (400, r#"{"message":"Bad Request"}"#),
    (403, r#"{"message":"Forbidden"}"#),
    (404, r#"{"message":"Not Found"}"#),
    (422, r#"{"message":"Unprocessable"}"#),
];

/// The fault of a call.
#[derive(Clone, Copy)]
enum CallFault {
    Delivered,
    NotSent,
    TimeoutBefore,
    TimeoutAfter,
    DeliveredLate,
    ErrorBefore(u16),
    ErrorAfter(u16),
    /// This answer of something in between, and whether the server got the call.
    InBetween(&'static (u16, &'static str), bool),
    TruncatedBody,
    TruncatedField,
}

/// The transport to Cleeng and the gateways.
pub(super) struct FaultyTransport {
    pub(super) inner: Arc<dyn Transport>,
    pub(super) context: SimulationContext,
    pub(super) due_calls: DueCalls,
}

impl FaultyTransport {
    fn choose_fault(&self, request: &Request) -> CallFault {
        let context = &self.context;
        // Cleeng takes no idempotency key: a call that arrives after its caller inquired and saw no effect cannot be distinguished from a second one.
        let may_be_late = request.repeatable && !request.url.contains(CLEENG_HOST);
        if context.chance(|profile| profile.not_sent) {
            CallFault::NotSent
        } else if context.chance(|profile| profile.timeout_before) {
            CallFault::TimeoutBefore
        } else if context.chance(|profile| profile.timeout_after) {
            CallFault::TimeoutAfter
        } else if may_be_late && context.chance(|profile| profile.delivered_late) {
            CallFault::DeliveredLate
        } else if context.chance(|profile| profile.error_before) {
            CallFault::ErrorBefore(context.draw(|prng| prng.choose(500, &[502, 503, 429, 401])))
        } else if context.chance(|profile| profile.error_after) {
            CallFault::ErrorAfter(context.draw(|prng| prng.choose(500, &[502])))
        } else if request.url.contains(CORE_API) && context.chance(|profile| profile.answer_in_between) {
            let (index, after) = context.draw(|prng| (prng.index(IN_BETWEEN.len()), prng.chance(300)));
            IN_BETWEEN.get(index).map_or(CallFault::Delivered, |answer| CallFault::InBetween(answer, after))
        } else if context.chance(|profile| profile.truncated_body) {
            CallFault::TruncatedBody
        } else if context.chance(|profile| profile.truncated_field) {
            CallFault::TruncatedField
        } else {
            CallFault::Delivered
        }
    }

    async fn deliver(&self, request: Request) -> Result<Response, TransportError> {
        let (host, writes) = (host(&request.url).to_owned(), request.method != Method::GET);
        let answer = self.inner.send(request).await;
        if writes {
            self.context.mark_reached(&host);
        }
        answer
    }

    /// A call arrives whose caller has given it up.
    pub(super) async fn deliver_late(&self, request: Request) {
        let call = describe_request(&request);
        let status = self.deliver(request).await.map(|answer| answer.status.as_u16());
        self.context.trace(|| format!("{call} arrives late: {status:?}"));
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Whom, what and where: nothing of the body or the headers.
fn describe_request(request: &Request) -> String {
    let rest = request.url.split_once("://").map_or(request.url.as_str(), |(_, rest)| rest);
    format!("{} {}", request.method, rest.split('?').next().unwrap_or_default())
}

fn empty_response(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(connector::http::HeaderName::from_static("retry-after"), HeaderValue::from_static("7"));
    }
    Response { status, headers, body: Bytes::new() }
}

#[async_trait]
impl Transport for FaultyTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        // An adapter that shares its time among calls knows it to the microsecond, by the real clock; what is left counts here in whole seconds.
        let (context, timeout) = (&self.context, Duration::from_secs(request.timeout.as_secs().saturating_add(1)));
        let call = if context.is_tracing() { describe_request(&request) } else { String::new() };
        let (method, url, key) = (request.method.clone(), request.url.clone(), idempotency_key(&request));
        self.due_calls.check_request(&request, context);
        yield_now().await;
        if context.chance(|profile| profile.slow) {
            yield_now().await;
            context.advance_clock(timeout.checked_div(2).unwrap_or_default());
        }
        let nothing = Err(TransportError::NoResponse(TransportCause::Timeout));
        let (answer, what) = match self.choose_fault(&request) {
            CallFault::Delivered => (self.deliver(request).await, ""),
            CallFault::NotSent => (Err(TransportError::NotSent(TransportCause::Connect)), " (not sent)"),
            CallFault::TimeoutBefore => (nothing, " (lost)"),
            CallFault::TimeoutAfter => {
                let _lost = self.deliver(request).await;
                (nothing, " (done, answer lost)")
            }
            CallFault::DeliveredLate => {
                context.keep_late_request(request);
                (nothing, " (still under way)")
            }
            CallFault::ErrorBefore(status) => (Ok(empty_response(status)), " (refused)"),
            CallFault::ErrorAfter(status) => (self.deliver(request).await.map(|_| empty_response(status)), " (done, answer lost)"),
            CallFault::InBetween((status, body), after) => {
                if after {
                    let _unseen = self.deliver(request).await;
                }
                (Ok(Response { body: Bytes::from_static(body.as_bytes()), ..empty_response(*status) }), IN_BETWEEN_TRACE)
            }
            CallFault::TruncatedBody => (self.deliver(request).await.map(truncate_body), " (cut off)"),
            CallFault::TruncatedField => {
                (self.deliver(request).await.map(|answer| truncate_random_field(answer, context)), " (a field missing)")
            }
        };
        if matches!(answer, Err(TransportError::NoResponse(_))) {
            yield_now().await;
            context.advance_clock(timeout);
        }
        if let Some(behaviour) = answer.as_ref().ok().and_then(|answer| answered_behaviour(&url, answer, what)) {
            context.count(behaviour);
        }
        self.due_calls.record_answer((&method, &url, key), &answer, context);
        context.trace(|| format!("{call}: {}{what}", describe_result(&answer)));
        yield_now().await;
        answer
    }
}

/// What is rare about an answer.
fn answered_behaviour(url: &str, answer: &Response, what: &str) -> Option<Behaviour> {
    let contains = |needle: &str| answer.body.windows(needle.len()).any(|window| window == needle.as_bytes());
    match answer.status.as_u16() {
        _ if what == IN_BETWEEN_TRACE => Some(Behaviour::AnswerInBetween),
        403 if !url.contains(CLEENG_HOST) => Some(Behaviour::StaleAccessToken),
        400 if contains("amount_too_small") => Some(Behaviour::AmountBelowMinimum),
        200 if url.contains(CLEENG_HOST) && url.contains("/orders") && contains("00000000000213") => Some(Behaviour::FloatAmount),
        _ => None,
    }
}

fn describe_result(answer: &Result<Response, TransportError>) -> String {
    match answer {
        Ok(answer) => answer.status.as_u16().to_string(),
        Err(error) => error.to_string(),
    }
}

fn truncate_body(mut answer: Response) -> Response {
    let half = answer.body.len().div_euclid(2);
    answer.body.truncate(half);
    answer
}

/// Takes one member of an object away, or its value: what is left is never untrue, it is only not all.
fn truncate_random_field(mut answer: Response, context: &SimulationContext) -> Response {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
    let members = count_fields(&body);
    let (mut nth, null) = context.draw(|prng| (prng.index(members), prng.chance(500)));
    truncate_field(&mut body, &mut nth, null, context);
    answer.body = Bytes::from(body.to_string());
    answer
}

fn count_fields(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(count_fields).fold(members.len(), usize::saturating_add),
        Value::Array(items) => items.iter().map(count_fields).fold(0, usize::saturating_add),
        _ => 0,
    }
}

fn truncate_field(value: &mut Value, nth: &mut usize, null: bool, context: &SimulationContext) -> bool {
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                let Some(left) = nth.checked_sub(1) else {
                    context.trace(|| format!("missing field: {name}"));
                    if null {
                        members.insert(name, Value::Null);
                    } else {
                        members.remove(&name);
                    }
                    return true;
                };
                *nth = left;
                if members.get_mut(&name).is_some_and(|actor| truncate_field(actor, nth, null, context)) {
                    return true;
                }
            }
            false
        }
        Value::Array(items) => items.iter_mut().any(|item| truncate_field(item, nth, null, context)),
        _ => false,
    }
}

/// The journal.
pub(super) struct FaultyStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) context: SimulationContext,
    pub(super) checker: JournalChecker,
    pub(super) due_calls: DueCalls,
}

impl FaultyStore {
    /// The journal does not do what its worker told it, or the worker does not know.
    fn disturb(&self, what: impl FnOnce() -> String) {
        self.context.trace(what);
        self.due_calls.record_disturbance(self.context.current_worker());
    }
}

/// How long the journal is waited for.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(5);

#[async_trait]
impl Store for FaultyStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        yield_now().await;
        if self.context.chance(|profile| profile.journal_read_error) {
            self.disturb(|| "journal cannot be read".to_owned());
            return Err(StoreError::Unavailable);
        }
        let found = self.inner.load(keys).await;
        yield_now().await;
        found
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        yield_now().await;
        let context = &self.context;
        let names = || puts.iter().map(|put| put.key.as_str()).collect::<Vec<_>>().join(" ");
        if context.chance(|profile| profile.journal_write_error) {
            self.disturb(|| format!("journal does not write {}", names()));
            return Err(CommitError::NotWritten(StoreError::Unavailable));
        }
        let in_doubt = context.chance(|profile| profile.commit_unknown);
        if in_doubt && context.draw(|prng| prng.chance(500)) {
            self.disturb(|| format!("commit of {} is unknown; it was not written", names()));
            context.advance_clock(JOURNAL_TIMEOUT);
            return Err(CommitError::Unknown);
        }
        let result = self.inner.commit(puts).await;
        match &result {
            Ok(()) => {
                context.trace(|| format!("journal: {}", names()));
                self.checker.check_commit(puts, context);
                self.due_calls.record_intents(puts, context.current_worker());
                context.mark_journal_written();
            }
            Err(error) => self.disturb(|| format!("journal refuses {}: {error}", names())),
        }
        yield_now().await;
        if in_doubt && result.is_ok() {
            self.disturb(|| "commit is unknown; it was written".to_owned());
            context.advance_clock(JOURNAL_TIMEOUT);
            return Err(CommitError::Unknown);
        }
        result
    }

    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        yield_now().await;
        if list == List::Due && self.context.chance(|profile| profile.journal_read_error) {
            return Err(StoreError::Unavailable);
        }
        self.inner.list(list, until, after, limit).await
    }

    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError> {
        self.inner.relist(from, found, to, at).await
    }
}

/// The queue of the notification handler.
pub(super) struct FaultyQueue {
    context: SimulationContext,
    messages: Mutex<Vec<String>>,
}

impl FaultyQueue {
    pub(super) const fn new(context: SimulationContext) -> Self {
        Self { context, messages: Mutex::new(Vec::new()) }
    }

    /// What was put there since the last time.
    pub(super) fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn send(&self, message: &str) -> Result<(), QueueError> {
        yield_now().await;
        if self.context.chance(|profile| profile.queue_error) {
            self.context.trace(|| "the queue does not accept the message".to_owned());
            return Err(QueueError::Unavailable);
        }
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
        yield_now().await;
        Ok(())
    }

    async fn delay(&self, _receipt_handle: &str, _by: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}
