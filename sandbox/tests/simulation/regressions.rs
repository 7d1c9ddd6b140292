//! Findings of the simulation, each reduced to a test.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector::cleeng::webhook::Topic;
use connector::clock::Timestamp;
use connector::flow::{Disposition, SettleOn};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::journal::store::{CommitError, Key, List, Listed, Put, Store, StoreError, StoredDocument};
use connector::metrics::Metric;
use connector::reason::{CompletionReason, RetryReason};
use sandbox::simulators::cleeng::{OperatorRefund, SentWebhook};
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::simulators::simulated_gateway::EnteredDetails;
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::contract::report_skipped;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::fixtures::{SHOP_ORIGIN, START};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use sandbox::testkit::interceptors::Interceptors;
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3_600);

/// A subscriber whose next period is authorised, and who got other details then; with the announcement about the old ones.
async fn authorised_then_changed_details(gateway: GatewayName) -> (TestEnvironment, TestSubscriber, SentWebhook) {
    let env = TestEnvironment::default();
    let method = env.gateway(gateway).method;
    let mut subscriber = env.subscriber(method);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    env.change_card(&mut subscriber, method);
    let announced = env.cleeng.due_webhooks().into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated);
    (env, subscriber, announced.unwrap())
}

/// Seed 174. Cleeng does not list a payment any more once it took its cancel, and the release of it was never finished: no other period of the
/// subscription could be authorised after it.
#[tokio::test]
async fn a_crash_anywhere_in_a_release_is_resumed_and_the_next_authorisation_is_made() {
    for gateway in GatewayName::ALL {
        for when in [CrashTiming::Before, CrashTiming::After] {
            for nth in 0.. {
                let (env, subscriber, gone) = authorised_then_changed_details(*gateway).await;
                env.enqueue(&gone);
                env.crash_point.arm(nth, when);
                let survived = env.crash_point.run(env.run_until_idle()).await.is_some();
                env.crash_point.disarm();
                env.clock.advance(Duration::from_secs(100));
                env.run_until_idle().await;
                env.clock.advance_to(subscriber.due.before(48 * HOUR));
                let next = env.deliver(&env.authorisation_event(&subscriber, 48)).await;
                assert_eq!(next, Disposition::Completed(CompletionReason::Authorised), "{gateway}: crash {when:?} call {nth}");
                if survived {
                    break;
                }
            }
        }
    }
}

/// Seed 606. A refund that is reported on receipt and fails afterwards was recorded as failed without an alarm: Cleeng kept it as refunded.
#[tokio::test]
async fn a_refund_reported_on_receipt_that_fails_afterwards_raises_an_alarm() {
    let mut fail = 0;
    for gateway in GatewayName::ALL {
        let env = TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt);
        let subscriber = env.subscriber(env.gateway(*gateway).capture_only_method);
        env.clock.advance_to(subscriber.due);
        assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
        if !env.gateway(*gateway).simulator.fail_next_operation() {
            report_skipped(*gateway, "an acknowledged operation that fails afterwards");
            continue;
        }
        let payment = env.cleeng.payments().first().unwrap().id.clone();
        env.cleeng.request_refund(&payment, &OperatorRefund::default()).then_some(()).unwrap();
        for event in env.cleeng.due_webhooks().iter().filter(|event| event.topic == Topic::RefundPayment) {
            assert_eq!(env.run_event(event).await, Disposition::Completed(CompletionReason::Refunded));
        }
        env.deliver_notifications().await;
        assert_eq!(env.metrics.count(Metric::Alarm, "refund_failed_later"), 1, "{gateway}");
        fail += 1;
    }
    assert!(fail > 0);
}

/// Seed 266. A list of authorised payments on which one does not say its id at the gateway was taken for a list without ours, and the report was
/// made a second time.
#[tokio::test]
async fn a_list_that_may_contain_our_payment_does_not_repeat_the_report() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    env.network
        .inject(Fault::TimeoutAfter, |peer, request| peer == "cleeng" && request.method == Method::POST && request.path == "/3.1/payments");
    assert!(matches!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, Disposition::Retry { .. }));
    // So long a report that got no answer is left alone.
    env.clock.advance(Duration::from_secs(600));
    let nameless = Fault::Mutate(Arc::new(|list| remove_member(list, "externalPaymentId")));
    env.network.inject(nameless, |_, request| request.path.ends_with("/authorised_payments"));
    assert_eq!(
        env.deliver(&env.authorisation_event(&subscriber, 72)).await,
        Disposition::Retry { after: None, reason: RetryReason::CleengListIncomplete }
    );
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    assert_eq!((env.cleeng.payments().len(), env.discrepancies()), (1, Vec::new()));
}

/// Seed 4190. Details whose start got no answer, and that others took the place of, were called off again and again for ever, where the gateway has
/// nothing to call them off by.
#[tokio::test]
async fn a_start_that_cannot_be_cancelled_does_not_stay_due() {
    for gateway in GatewayName::ALL {
        let env = TestEnvironment::default();
        let customer = env.cleeng.new_customer().unwrap();
        let token = env.cleeng.customer_token_until(&customer, env.now().after(900 * HOUR));
        let fixture = env.gateway(*gateway);
        let lost =
            |peer: &str, request: &ServerRequest| peer != "cleeng" && request.method == Method::POST && !request.path.contains("oauth2");
        env.network.inject(Fault::TimeoutBefore, lost);
        for number in 0..2 {
            let mut body = json!({ "paymentMethodId": fixture.method, "returnUrl": format!("{SHOP_ORIGIN}/account"), "origin": SHOP_ORIGIN, "captchaValue": "x" });
            body.as_object_mut()
                .unwrap()
                .extend(fixture.simulator.payment_data(EnteredDetails::ActionRequired, number).as_object().cloned().unwrap());
            let reply = env.call_at(*gateway, "payment-details", &token, &body).await;
            assert_eq!(reply.status.as_u16(), if number == 0 { 202 } else { 200 }, "{}", reply.body);
        }
        let mut due = 0;
        for _ in 0..40 {
            env.clock.advance(7 * HOUR);
            env.run_until_idle().await;
            due = env.run_reconciliation().await.due;
        }
        assert_eq!(due, 0, "{gateway}");
        assert_eq!(env.discrepancies(), Vec::<String>::new());
    }
}

/// Seed 10804. An event that found the attempt of an earlier one waiting for the gateway's word came back every second, until it was a dead letter.
#[tokio::test]
async fn an_event_behind_a_waiting_attempt_waits_as_long() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    env.clock.advance_to(subscriber.due.after(HOUR / 2));
    let capture = |at| env.billing_event(Topic::SubscriptionReadyForPaymentCapture, &subscriber, at, subscriber.due);
    assert!(matches!(env.deliver(&capture(subscriber.due)).await, Disposition::Retry { reason: RetryReason::CaptureReceived, .. }));
    let later = env.deliver(&capture(subscriber.due.after(HOUR / 4))).await;
    assert!(
        matches!(later, Disposition::Retry { after: Some(after), reason: RetryReason::CaptureReceived } if after > HOUR / 2),
        "{later:?}"
    );
    env.deliver_notifications().await;
    assert_eq!(
        env.deliver_until_settled(&capture(subscriber.due.after(HOUR / 4))).await,
        Disposition::Completed(CompletionReason::Captured)
    );
    assert_eq!((env.cleeng.payments().len(), env.discrepancies()), (1, Vec::new()));
}

/// A journal of which one read fails.
#[derive(Clone, Default)]
struct OneReadError {
    reads_left: Arc<AtomicUsize>,
    written_keys: Arc<Mutex<BTreeSet<String>>>,
}

struct OneReadErrorStore {
    inner: Arc<dyn Store>,
    shared: OneReadError,
}

#[async_trait]
impl Store for OneReadErrorStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        let left = self.shared.reads_left.load(Ordering::SeqCst);
        self.shared.reads_left.store(left.saturating_sub(1), Ordering::SeqCst);
        if left == 1 { Err(StoreError::Unavailable) } else { self.inner.load(keys).await }
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        self.inner.commit(puts).await?;
        self.shared.written_keys.lock().unwrap().extend(puts.iter().map(|put| put.key.to_string()));
        Ok(())
    }

    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(list, until, after, limit).await
    }

    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError> {
        self.inner.relist(from, found, to, at).await
    }
}

impl Interceptors for OneReadError {
    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(OneReadErrorStore { inner: journal, shared: self.clone() })
    }
}

/// Seed 26177. A read that failed while a refund was being written took the look-up by which its notification finds it along; the rest was written.
#[tokio::test]
async fn a_failed_read_anywhere_in_a_refund_loses_no_look_up() {
    for gateway in GatewayName::ALL {
        for nth in 1..12 {
            let fails = OneReadError::default();
            let env = TestEnvironment::with_interceptors(&fails, VirtualClock::starting_at(START), |_| {});
            let subscriber = env.subscriber(env.gateway(*gateway).capture_only_method);
            env.clock.advance_to(subscriber.due);
            assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
            let payment = env.cleeng.payments().first().unwrap().id.clone();
            let refund = env.cleeng.refund_event(&payment, &OperatorRefund::default()).unwrap();
            fails.reads_left.store(nth, Ordering::SeqCst);
            env.deliver_until_settled(&refund).await;
            fails.reads_left.store(0, Ordering::SeqCst);
            let found_by = fails.written_keys.lock().unwrap().iter().filter(|key| key.starts_with("gateway-operation#")).count();
            assert!(found_by > 0, "{gateway}, read {nth}");
        }
    }
}

/// Takes a member away wherever it is.
fn remove_member(value: &mut Value, member: &str) {
    match value {
        Value::Object(members) => {
            members.remove(member);
            members.values_mut().for_each(|value| remove_member(value, member));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| remove_member(value, member)),
        _ => {}
    }
}
