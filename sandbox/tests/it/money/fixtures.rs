//! Shared fixtures: existing purchases, and a stand-in for the function that receives the gateway's notifications.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::envelope::Envelope;
use connector::clock::Clock as _;
use connector::flow::Disposition;
use connector::gateway::{Gateway, GatewayName, NotificationKind, Reference};
use connector::http::HeaderMap;
use connector::journal::payment::PaymentRecord;
use connector::journal::record::Obligation;
use connector::journal::store::Key;
use connector::journal::transaction::{Retention, Transaction};
use connector::money::{Currency, Money};
use connector::payments::settlement::{GatewayOperation, RefundSettlement, settle_refund};
use sandbox::simulators::cleeng::{OperatorRefund, SentWebhook};
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
pub(crate) use sandbox::testkit::purchases::SeededPurchase;
use sandbox::testkit::queue_worker::time_to_come_back;

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

pub(crate) fn completed(word: &'static str) -> Disposition {
    Disposition::Completed(word.parse().unwrap())
}

pub(crate) fn parked(reason: &'static str) -> Disposition {
    Disposition::Parked(reason.parse().unwrap())
}

/// A subscriber's single purchase of 9.99, authorised or captured, that the journal does not know.
pub(crate) async fn seed_foreign_purchase(
    env: &TestEnvironment,
    subscriber: &TestSubscriber,
    status: PaymentStatus,
    number: usize,
) -> SeededPurchase {
    env.seed_foreign_purchase(subscriber, status, &format!("{}-{number}", subscriber.ids.customer)).await
}

/// The same, in the journal as the purchase would have left it.
pub(crate) async fn seed_purchase(env: &TestEnvironment, subscriber: &TestSubscriber, status: PaymentStatus) -> SeededPurchase {
    env.seed_purchase(subscriber, status, subscriber.ids.customer.as_str()).await
}

/// An environment with a captured purchase of 9.99.
pub(crate) async fn with_seeded_purchase(env: TestEnvironment) -> (TestEnvironment, SeededPurchase) {
    let subscriber = env.subscriber(ADYEN_METHOD);
    let bought = seed_purchase(&env, &subscriber, PaymentStatus::Captured).await;
    (env, bought)
}

pub(crate) async fn read_payment_record(env: &TestEnvironment, reference: &Reference) -> PaymentRecord {
    read_document(env, &PaymentRecord::key(reference)).await.unwrap()
}

/// Changes the payment record as another worker would.
pub(crate) async fn update_payment_record(env: &TestEnvironment, bought: &SeededPurchase, change: impl FnOnce(&mut PaymentRecord)) {
    let key = PaymentRecord::key(&bought.reference);
    let mut work = Transaction::new(env.flow_context.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let mut record: PaymentRecord = work.read(&key).unwrap().unwrap();
    change(&mut record);
    work.stage(&key, &record, Retention::default()).unwrap();
    work.commit().await.unwrap();
}

pub(crate) async fn read_document<T: serde::de::DeserializeOwned>(env: &TestEnvironment, key: &Key) -> Option<T> {
    let mut work = Transaction::new(env.flow_context.store.clone());
    work.load(std::slice::from_ref(key)).await.unwrap();
    work.read(key).unwrap()
}

pub(crate) fn refund_event(env: &TestEnvironment, bought: &SeededPurchase, minor: Option<i64>, refund: Option<&str>) -> SentWebhook {
    let asked = OperatorRefund { amount: minor.map(usd), id: refund.map(id), reason: None };
    env.cleeng.refund_event(&bought.payment, &asked).unwrap()
}

/// Adyen does what it received, and its notifications about refunds reach the journal. Returns the events that waited for them.
pub(crate) async fn settle_notifications(env: &TestEnvironment) -> Vec<Envelope> {
    env.adyen.process();
    let adyen = Arc::clone(env.flow_context.gateways.get(GatewayName::Adyen).unwrap());
    let mut waiting = Vec::new();
    for body in env.adyen.take_notifications() {
        assert!(!body.contains("Insufficient balance"), "the gateway was asked for more than was captured");
        for notification in adyen.read_notification(&HeaderMap::new(), body.as_bytes()).await.unwrap() {
            let notification = notification.unwrap();
            let success = match notification.kind {
                NotificationKind::Refunded => true,
                NotificationKind::RefundFailed => false,
                _ => continue,
            };
            // The gateway's id of the refund, or our own name of it where the worker that asked crashed before it learnt the id.
            let names = [notification.operation_ref.unwrap(), notification.reference.unwrap().as_str().to_owned()];
            waiting.extend(settle_refund_notification(env, &names, success).await);
        }
    }
    waiting
}

async fn settle_refund_notification(env: &TestEnvironment, names: &[String; 2], success: bool) -> Option<Envelope> {
    let mut work = Transaction::new(Arc::clone(&env.flow_context.store));
    let keys = names.each_ref().map(|name| GatewayOperation::key(GatewayName::Adyen, name).unwrap());
    work.load(&keys).await.unwrap();
    let known = names.iter().zip(&keys).find_map(|(name, key)| Some((name, work.read::<GatewayOperation>(key).unwrap()?)));
    let (name, operation) = known.unwrap();
    let (payment, obligation) = (PaymentRecord::key(&operation.reference), Key::from_stored(operation.obligation));
    work.load(&[payment.clone(), obligation.clone()]).await.unwrap();
    let mut record: PaymentRecord = work.read(&payment).unwrap().unwrap();
    let settlement = settle_refund(&mut record, name, success, env.clock.now()).unwrap();
    assert_ne!(settlement, RefundSettlement::NotFound);
    work.stage(&payment, &record, Retention::default()).unwrap();
    work.commit().await.unwrap();
    let obligation: Obligation = work.read(&obligation).unwrap().unwrap();
    obligation.current_attempt()?.waiting_event.as_deref().map(|text| Envelope::from_text(text).unwrap())
}

/// Brings an event back that waited, as the queue does, until it leaves it.
pub(crate) async fn deliver_requeued(env: &TestEnvironment, envelope: &Envelope) -> Disposition {
    let event = envelope.open().unwrap();
    for _ in 0..50 {
        let disposition = env.deliver_event(&event, envelope.received_at()).await;
        let Some(wait) = time_to_come_back(&disposition) else { return disposition };
        env.clock.advance(wait);
    }
    panic!("the event never leaves the queue")
}

/// Delivers a refund, lets the gateway do it, and brings the event back: the whole way.
pub(crate) async fn deliver_and_settle(env: &TestEnvironment, event: &SentWebhook) -> Disposition {
    let first = env.deliver_until_settled(event).await;
    let mut last = first;
    for envelope in settle_notifications(env).await {
        last = deliver_requeued(env, &envelope).await;
    }
    last
}

pub(crate) fn assert_balanced(env: &TestEnvironment) {
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}

pub(crate) fn statuses(env: &TestEnvironment) -> Vec<PaymentStatus> {
    env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

/// Runs an act with a crash at every call, before and after it, and then what follows a crash. Returns how many crashes there were.
pub(crate) async fn crash_at_every_call<A>(
    scene: impl AsyncFn() -> (TestEnvironment, A),
    act: impl AsyncFn(&TestEnvironment, &A),
    afterwards: impl AsyncFn(&TestEnvironment, &A, &str),
) -> usize {
    let mut crashes = 0;
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            let (env, prop) = scene().await;
            env.crash_point.arm(nth, when);
            let survived = env.crash_point.run(act(&env, &prop)).await;
            env.crash_point.disarm();
            if survived.is_some() {
                break;
            }
            crashes += 1;
            // The lease of the crashed worker runs out.
            env.clock.advance(Duration::from_secs(100));
            afterwards(&env, &prop, &format!("crash {when:?} call {nth}")).await;
        }
    }
    crashes
}

/// Two deliveries of two events run at the same time, the second starting after so many turns of the first.
pub(crate) async fn deliver_concurrently(
    env: &TestEnvironment,
    one: &SentWebhook,
    other: &SentWebhook,
    head_start: usize,
) -> (Disposition, Disposition) {
    let second = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        env.deliver(other).await
    };
    tokio::join!(env.deliver(one), second)
}

/// A gateway in place of Adyen in what the flows are given.
pub(crate) fn with_gateway(env: TestEnvironment, gateway: Arc<dyn Gateway>) -> TestEnvironment {
    let mut world = env.flow_context.clone();
    world.gateways = connector::gateway::Gateways::default().with(gateway);
    TestEnvironment { flow_context: world, ..env }
}
