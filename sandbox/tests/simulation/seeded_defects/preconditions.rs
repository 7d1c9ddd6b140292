//! Defects in asking Cleeng before money moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::http::{Method, Request, Response, Transport, TransportError};
use sandbox::testkit::interceptors::Interceptors;
use serde_json::{Value, json};

use super::assert_detected;

/// What Cleeng said of a subscription once is taken for true ever after, as if a resumed attempt did not ask again.
#[derive(Default)]
struct SubscriptionRemembered(Arc<Mutex<BTreeMap<String, Response>>>);

struct RememberingTransport {
    inner: Arc<dyn Transport>,
    answers: Arc<Mutex<BTreeMap<String, Response>>>,
}

#[async_trait]
impl Transport for RememberingTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let url = request.url.clone();
        let is_question = request.method == Method::GET && url.contains("/3.1/subscriptions/");
        let remembered = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&url).cloned().filter(|_| is_question);
        if let Some(answer) = remembered {
            return Ok(answer);
        }
        let answer = self.inner.send(request).await?;
        if is_question && answer.status.is_success() {
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(url, answer.clone());
        }
        Ok(answer)
    }
}

impl Interceptors for SubscriptionRemembered {
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(RememberingTransport { inner: way, answers: Arc::clone(&self.0) })
    }

    fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// An order is read, and its time is not: one that lapsed is paid.
struct OrderNeverLapses;

struct LongOrderTransport(Arc<dyn Transport>);

#[async_trait]
impl Transport for LongOrderTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let is_order = request.method == Method::GET && request.url.contains("/orders/");
        let mut answer = self.0.send(request).await?;
        if let Some(mut body) = Some(answer.json().unwrap_or_default()).filter(|_| is_order)
            && let Some(expires) = expiration_of(&mut body)
        {
            *expires = json!(4_000_000_000_i64);
            answer.body = body.to_string().into();
        }
        Ok(answer)
    }
}

fn expiration_of(value: &mut Value) -> Option<&mut Value> {
    let members = value.as_object_mut()?;
    if members.contains_key("expirationDate") {
        return members.get_mut("expirationDate");
    }
    members.values_mut().find_map(expiration_of)
}

impl Interceptors for OrderNeverLapses {
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(LongOrderTransport(way))
    }
}

#[test]
fn an_order_that_lapsed_and_is_paid_is_detected() {
    assert_detected(&OrderNeverLapses, &["did not say just now that it is due", "Cleeng's contract"]);
}

#[test]
fn a_precondition_that_is_not_asked_again_is_detected() {
    assert_detected(&SubscriptionRemembered::default(), &["did not say just now that it is due"]);
}
