//! What was found by seeds, each reduced to a story of its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector::cleeng::webhook::Topic;
use connector::clock::Timestamp;
use connector::flow::{SettleOn, Verdict};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::journal::store::{CommitError, Key, Put, Store, StoreError, Stored};
use connector::metrics::Metric;
use sandbox::cleeng::{RefundRequest, SentWebhook};
use sandbox::clock::VirtualClock;
use sandbox::crash::When;
use sandbox::house::Entry;
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::{Backstage, Cast, METHOD, ORIGIN, START, Stage};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3_600);

/// A subscriber whose next period is authorised, and who got other details then; with the announcement about the old ones.
async fn with_other_details(gateway: GatewayName) -> (Stage, Cast, SentWebhook) {
    let stage = Stage::default();
    let method = stage.guest(gateway).method;
    let mut cast = stage.subscriber(method);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.change_card(&mut cast, method);
    let announced = stage.cleeng.due_webhooks().into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated);
    (stage, cast, announced.unwrap())
}

/// Seed 174. Cleeng does not list a payment any more once it took its cancel, and the release of it was never finished: no other period of the
/// subscription could be authorised after it.
#[tokio::test]
async fn a_release_whose_worker_dies_anywhere_is_finished_and_the_next_authorisation_is_made() {
    for gateway in GatewayName::ALL {
        for when in [When::Before, When::After] {
            for nth in 0.. {
                let (stage, cast, gone) = with_other_details(*gateway).await;
                stage.post(&gone);
                stage.switch.arm(nth, when);
                let survived = stage.switch.run(stage.run_until_quiet()).await.is_some();
                stage.switch.disarm();
                stage.clock.advance(Duration::from_secs(100));
                stage.run_until_quiet().await;
                stage.clock.advance_to(cast.due.before(48 * HOUR));
                let next = stage.deliver(&stage.authorisation(&cast, 48)).await;
                assert_eq!(next, Verdict::Settled("authorised"), "{gateway}: death {when:?} call {nth}");
                if survived {
                    break;
                }
            }
        }
    }
}

/// Seed 606. A refund that is told on receipt and fails afterwards was written as failed and nobody was called: Cleeng kept it as given back.
#[tokio::test]
async fn a_refund_that_was_told_on_receipt_and_fails_afterwards_is_alarmed() {
    let mut fail = 0;
    for gateway in GatewayName::ALL {
        let stage = Stage::new(|rules| rules.settle_on = SettleOn::Receipt);
        let cast = stage.subscriber(stage.guest(*gateway).capture_only);
        stage.clock.advance_to(cast.due);
        assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
        if !stage.guest(*gateway).house.fail_next() {
            continue;
        }
        let payment = stage.cleeng.payments().first().unwrap().id.clone();
        stage.cleeng.ask_refund(&payment, &RefundRequest::default()).then_some(()).unwrap();
        for event in stage.cleeng.due_webhooks().iter().filter(|event| event.topic == Topic::RefundPayment) {
            assert_eq!(stage.play(event).await, Verdict::Settled("refunded"));
        }
        stage.hear_gateways().await;
        assert_eq!(stage.metrics.count(Metric::Alarm, "refund_failed_later"), 1, "{gateway}");
        fail += 1;
    }
    assert!(fail > 0);
}

/// Seed 266. A list of authorised payments on which one does not say its id at the gateway was taken for a list without ours, and the report was
/// made a second time.
#[tokio::test]
async fn a_list_on_which_ours_may_be_is_no_reason_to_report_again() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    stage
        .road
        .lay(Fault::TimeoutAfter, |peer, request| peer == "cleeng" && request.method == Method::POST && request.path == "/3.1/payments");
    assert!(matches!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Later { .. }));
    // So long a report that got no answer is left alone.
    stage.clock.advance(Duration::from_secs(600));
    let nameless = Fault::Mutate(Arc::new(|list| without(list, "externalPaymentId")));
    stage.road.lay(nameless, |_, request| request.path.ends_with("/authorised_payments"));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Later { after: None, reason: "cleeng_list_incomplete" });
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    assert_eq!((stage.cleeng.payments().len(), stage.disagreements()), (1, Vec::new()));
}

/// Seed 4190. Details whose start got no answer, and that others took the place of, were called off again and again for ever, where the gateway has
/// nothing to call them off by.
#[tokio::test]
async fn a_start_that_nobody_can_call_off_is_not_looked_at_for_ever() {
    for gateway in GatewayName::ALL {
        let stage = Stage::default();
        let customer = stage.cleeng.new_customer().unwrap();
        let token = stage.cleeng.token_until(&customer, stage.now().after(900 * HOUR));
        let guest = stage.guest(*gateway);
        let lost =
            |peer: &str, request: &PeerRequest| peer != "cleeng" && request.method == Method::POST && !request.path.contains("oauth2");
        stage.road.lay(Fault::TimeoutBefore, lost);
        for number in 0..2 {
            let mut body =
                json!({ "paymentMethodId": guest.method, "returnUrl": format!("{ORIGIN}/account"), "origin": ORIGIN, "captchaValue": "x" });
            body.as_object_mut().unwrap().extend(guest.house.entered(Entry::Asked, number).as_object().cloned().unwrap());
            let reply = stage.call_at(*gateway, "payment-details", &token, &body).await;
            assert_eq!(reply.status.as_u16(), if number == 0 { 202 } else { 200 }, "{}", reply.body);
        }
        let mut due = 0;
        for _ in 0..40 {
            stage.clock.advance(7 * HOUR);
            stage.run_until_quiet().await;
            due = stage.go_round().await.due;
        }
        assert_eq!(due, 0, "{gateway}");
        assert_eq!(stage.disagreements(), Vec::<String>::new());
    }
}

/// Seed 10804. An event that found the attempt of an earlier one waiting for the gateway's word came back every second, until it was a dead letter.
#[tokio::test]
async fn an_event_that_finds_an_earlier_attempt_waiting_waits_as_long() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.clock.advance_to(cast.due.after(HOUR));
    let capture = |at| stage.event(Topic::SubscriptionReadyForPaymentCapture, &cast, at, cast.due);
    assert!(matches!(stage.deliver(&capture(cast.due)).await, Verdict::Later { reason: "capture_received", .. }));
    let later = stage.deliver(&capture(cast.due.after(HOUR / 2))).await;
    assert!(matches!(later, Verdict::Later { after: Some(after), reason: "capture_received" } if after > HOUR / 2), "{later:?}");
    stage.hear_gateways().await;
    assert_eq!(stage.deliver_until_settled(&capture(cast.due.after(HOUR / 2))).await, Verdict::Settled("captured"));
    assert_eq!((stage.cleeng.payments().len(), stage.disagreements()), (1, Vec::new()));
}

/// A journal of which one read fails.
#[derive(Clone, Default)]
struct OneUnread {
    left: Arc<AtomicUsize>,
    written: Arc<Mutex<BTreeSet<String>>>,
}

struct Unread {
    inner: Arc<dyn Store>,
    of: OneUnread,
}

#[async_trait]
impl Store for Unread {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        let left = self.of.left.load(Ordering::SeqCst);
        self.of.left.store(left.saturating_sub(1), Ordering::SeqCst);
        if left == 1 { Err(StoreError::Unavailable) } else { self.inner.load(keys).await }
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        self.inner.commit(puts).await?;
        self.of.written.lock().unwrap().extend(puts.iter().map(|put| put.key.to_string()));
        Ok(())
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.inner.due(until, limit).await
    }

    async fn parked(&self, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.inner.parked(limit).await
    }
}

impl Backstage for OneUnread {
    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Unread { inner: journal, of: self.clone() })
    }
}

/// Seed 26177. A read that failed while a refund was being written took the look-up by which its notification finds it along; the rest was written.
#[tokio::test]
async fn a_read_that_fails_at_any_place_of_a_refund_loses_no_look_up() {
    for gateway in GatewayName::ALL {
        for nth in 1..12 {
            let fails = OneUnread::default();
            let stage = Stage::behind(&fails, VirtualClock::starting_at(START), |_| {});
            let cast = stage.subscriber(stage.guest(*gateway).capture_only);
            stage.clock.advance_to(cast.due);
            assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
            let payment = stage.cleeng.payments().first().unwrap().id.clone();
            let refund = stage.cleeng.refund_event(&payment, &RefundRequest::default()).unwrap();
            fails.left.store(nth, Ordering::SeqCst);
            stage.deliver_until_settled(&refund).await;
            fails.left.store(0, Ordering::SeqCst);
            let found_by = fails.written.lock().unwrap().iter().filter(|key| key.starts_with("gateway-operation#")).count();
            assert!(found_by > 0, "{gateway}, read {nth}");
        }
    }
}

/// Takes a member away wherever it is.
fn without(value: &mut Value, member: &str) {
    match value {
        Value::Object(members) => {
            members.remove(member);
            members.values_mut().for_each(|value| without(value, member));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| without(value, member)),
        _ => {}
    }
}
