//! What the tests share: purchases that are there already, and a stand-in for the function that takes the gateway's notifications.

use std::sync::Arc;
use std::time::Duration;

use connector::billing::case::Lookup;
use connector::billing::settlement::{GatewayOperation, RefundSettlement, settle_refund};
use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::Verdict;
use connector::gateway::{
    Gateway, GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, NotificationKind, OperationKind, Outcome, Reference, StoredToken,
};
use connector::http::HeaderMap;
use connector::ids::{ExternalPaymentId, OrderId, PaymentId};
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::Obligation;
use connector::journal::store::Key;
use connector::journal::work::{Keep, Work};
use connector::lambda::queue::Envelope;
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::cleeng::{Purchase, RefundRequest, SentWebhook};
use sandbox::crash::When;
use sandbox::stage::{Cast, METHOD, OFFER, Stage, id};

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

pub(crate) fn settled(word: &'static str) -> Verdict {
    Verdict::Settled(word)
}

pub(crate) fn parked(reason: &'static str) -> Verdict {
    Verdict::Parked(reason)
}

/// A payment that both sides know.
#[derive(Clone, Debug)]
pub(crate) struct Bought {
    pub(crate) payment: PaymentId,
    pub(crate) order: OrderId,
    pub(crate) external: ExternalPaymentId,
    pub(crate) reference: Reference,
}

/// A subscriber's single purchase of 9.99, authorised or captured, that the journal does not know.
pub(crate) async fn purchase_of_others(stage: &Stage, cast: &Cast, status: PaymentStatus, number: usize) -> Bought {
    let salt = SecretString::new("purchase");
    let name = format!("{}-{number}", cast.subscriber.customer);
    let key = IdempotencyKey::derive(&salt, GatewayText("adyen"), OperationKind::Charge, &name, "1");
    let reference = Reference::from_key(&key);
    let token = stage.cleeng.details(&cast.subscriber.details).unwrap().token;
    let (token, customer) = (StoredToken(SecretString::new(token)), cast.subscriber.customer.clone());
    let request = MerchantInitiated { key, reference: reference.clone(), amount: usd(999), token, customer: customer.clone() };
    let adyen = Arc::clone(stage.world.gateways.get(GatewayName::Adyen).unwrap());
    let captured = status == PaymentStatus::Captured;
    let outcome = if captured { adyen.charge(&request).await } else { adyen.authorise(&request).await };
    let Ok(Outcome::Done(operation)) = outcome else { panic!("the purchase is not paid") };
    let external = operation.external_payment_id.unwrap();
    let (details, method) = (Some(cast.subscriber.details.clone()), id(METHOD));
    let purchase = Purchase { customer, offer: id(OFFER), method, details, total: usd(999), external: external.clone(), status };
    let (payment, order) = stage.cleeng.put_purchase(purchase).unwrap();
    stage.adyen.process();
    let _ = stage.adyen.take_notifications();
    Bought { payment, order, external, reference }
}

/// The same, in the journal as the purchase would have left it.
pub(crate) async fn purchase(stage: &Stage, cast: &Cast, status: PaymentStatus) -> Bought {
    let captured = status == PaymentStatus::Captured;
    let bought = purchase_of_others(stage, cast, status, 0).await;
    let now = stage.clock.now();
    let obligation = Key::new("order", &[bought.order.as_str()]);
    let customer = cast.subscriber.customer.clone();
    let mut record = PaymentRecord::starting(bought.reference.clone(), GatewayName::Adyen, &obligation, customer, usd(999), now);
    record.become_state(if captured { PaymentState::Captured } else { PaymentState::Authorised }, now).unwrap();
    record.captured = usd(if captured { 999 } else { 0 });
    (record.order, record.details) = (Some(bought.order.clone()), Some(cast.subscriber.details.clone()));
    record.cleeng_payment = Some(bought.payment.clone());
    (record.authorisation, record.external_payment_id) = (Some(bought.external.clone()), Some(bought.external.clone()));
    let mut work = Work::new(stage.world.store.clone());
    work.stage(&PaymentRecord::key(&bought.reference), &record, Keep::default()).unwrap();
    for key in [PaymentRecord::by_cleeng(&bought.payment), PaymentRecord::by_gateway(GatewayName::Adyen, &bought.external)] {
        work.stage(&key, &Lookup { reference: bought.reference.clone() }, Keep::default()).unwrap();
    }
    work.commit().await.unwrap();
    bought
}

/// A stage with a captured purchase of 9.99.
pub(crate) async fn with_purchase(stage: Stage) -> (Stage, Bought) {
    let cast = stage.subscriber(METHOD);
    let bought = purchase(&stage, &cast, PaymentStatus::Captured).await;
    (stage, bought)
}

pub(crate) async fn read_payment(stage: &Stage, reference: &Reference) -> PaymentRecord {
    read(stage, &PaymentRecord::key(reference)).await.unwrap()
}

/// Changes the payment record as another worker would.
pub(crate) async fn rewrite(stage: &Stage, bought: &Bought, change: impl FnOnce(&mut PaymentRecord)) {
    let key = PaymentRecord::key(&bought.reference);
    let mut work = Work::new(stage.world.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let mut record: PaymentRecord = work.read(&key).unwrap().unwrap();
    change(&mut record);
    work.stage(&key, &record, Keep::default()).unwrap();
    work.commit().await.unwrap();
}

pub(crate) async fn read<T: serde::de::DeserializeOwned>(stage: &Stage, key: &Key) -> Option<T> {
    let mut work = Work::new(stage.world.store.clone());
    work.load(std::slice::from_ref(key)).await.unwrap();
    work.read(key).unwrap()
}

pub(crate) fn refund_event(stage: &Stage, bought: &Bought, minor: Option<i64>, refund: Option<&str>) -> SentWebhook {
    let asked = RefundRequest { amount: minor.map(usd), id: refund.map(id), reason: None };
    stage.cleeng.refund_event(&bought.payment, &asked).unwrap()
}

/// Adyen does what it received, and its notifications about refunds reach the journal. Returns the events that waited for them.
pub(crate) async fn settle_notifications(stage: &Stage) -> Vec<Envelope> {
    stage.adyen.process();
    let adyen = Arc::clone(stage.world.gateways.get(GatewayName::Adyen).unwrap());
    let mut waiting = Vec::new();
    for body in stage.adyen.take_notifications() {
        assert!(!body.contains("Insufficient balance"), "the gateway was asked for more than was captured");
        for notification in adyen.read_notification(&HeaderMap::new(), body.as_bytes()).await.unwrap() {
            let notification = notification.unwrap();
            let success = match notification.kind {
                NotificationKind::Refunded => true,
                NotificationKind::RefundFailed => false,
                _ => continue,
            };
            // The gateway's id of the refund, or our own name of it where the worker that asked died before it learnt the id.
            let names = [notification.operation_ref.unwrap(), notification.reference.unwrap().as_str().to_owned()];
            waiting.extend(settle_one(stage, &names, success).await);
        }
    }
    waiting
}

async fn settle_one(stage: &Stage, names: &[String; 2], success: bool) -> Option<Envelope> {
    let mut work = Work::new(Arc::clone(&stage.world.store));
    let keys = names.each_ref().map(|name| GatewayOperation::key(GatewayName::Adyen, name).unwrap());
    work.load(&keys).await.unwrap();
    let known = names.iter().zip(&keys).find_map(|(name, key)| Some((name, work.read::<GatewayOperation>(key).unwrap()?)));
    let (name, operation) = known.unwrap();
    let (payment, obligation) = (PaymentRecord::key(&operation.reference), Key::from_stored(operation.obligation));
    work.load(&[payment.clone(), obligation.clone()]).await.unwrap();
    let mut record: PaymentRecord = work.read(&payment).unwrap().unwrap();
    let settlement = settle_refund(&mut record, name, success, stage.clock.now()).unwrap();
    assert_ne!(settlement, RefundSettlement::NotFound);
    work.stage(&payment, &record, Keep::default()).unwrap();
    work.commit().await.unwrap();
    let obligation: Obligation = work.read(&obligation).unwrap().unwrap();
    obligation.open()?.waiting_event.as_deref().map(|text| Envelope::from_text(text).unwrap())
}

/// Brings an event back that waited, as the queue does, until it leaves it.
pub(crate) async fn bring_back(stage: &Stage, envelope: &Envelope) -> Verdict {
    let event = envelope.open().unwrap();
    for _ in 0..50 {
        let verdict = stage.deliver_event(&event, envelope.received_at()).await;
        let Verdict::Later { after, .. } = verdict else { return verdict };
        stage.clock.advance(after.unwrap_or(Duration::from_secs(100)).max(Duration::from_secs(1)));
    }
    panic!("the event never leaves the queue")
}

/// Delivers a refund, lets the gateway do it, and brings the event back: the whole way.
pub(crate) async fn play(stage: &Stage, event: &SentWebhook) -> Verdict {
    let first = stage.deliver_until_settled(event).await;
    let mut last = first;
    for envelope in settle_notifications(stage).await {
        last = bring_back(stage, &envelope).await;
    }
    last
}

pub(crate) fn assert_balanced(stage: &Stage) {
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}

pub(crate) fn statuses(stage: &Stage) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

/// Plays an act with a death at every call, before and after it, and then what follows a death. Returns how many deaths there were.
pub(crate) async fn die_everywhere<A>(
    scene: impl AsyncFn() -> (Stage, A),
    act: impl AsyncFn(&Stage, &A),
    afterwards: impl AsyncFn(&Stage, &A, &str),
) -> usize {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 0.. {
            let (stage, prop) = scene().await;
            stage.switch.arm(nth, when);
            let survived = stage.switch.run(act(&stage, &prop)).await;
            stage.switch.disarm();
            if survived.is_some() {
                break;
            }
            deaths += 1;
            // The lease of the dead worker runs out.
            stage.clock.advance(Duration::from_secs(100));
            afterwards(&stage, &prop, &format!("death {when:?} call {nth}")).await;
        }
    }
    deaths
}

/// Two deliveries of two events run at the same time, the second starting after so many turns of the first.
pub(crate) async fn at_once(stage: &Stage, one: &SentWebhook, other: &SentWebhook, head_start: usize) -> (Verdict, Verdict) {
    let second = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        stage.deliver(other).await
    };
    tokio::join!(stage.deliver(one), second)
}

/// A gateway in place of Adyen in what the flows are given.
pub(crate) fn with_gateway(stage: Stage, gateway: Arc<dyn Gateway>) -> Stage {
    let mut world = stage.world.clone();
    world.gateways = connector::gateway::Gateways::default().with(gateway);
    Stage { world, ..stage }
}
