//! A worker dies before or after any of its calls, the journal's included; then another one before or after any of the calls of the delivery
//! that follows. Every pair is tried. In the end there is one effect, at both sides.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::gateway::{DeclineClass, GatewayName};
use sandbox::crash::When;
use sandbox::house::{Entry, LedgerEntry};
use sandbox::stage::Stage;

use crate::scenes::{
    Buyer, HOUR, agreed, assert_balanced, assert_once, assert_paid_once, at_first_attempt, authorised_and_due, changed_details, charged,
    due_to_be_charged, is_paid, only_id, refund, single_purchase, stage, statuses, usd,
};

/// The lease of a dead worker has run out, and the queue delivers again.
const LEASE: Duration = Duration::from_secs(100);

/// A story with a death at each call, and one at each call of the delivery after it.
pub(crate) async fn every_pair(scene: impl AsyncFn() -> Stage, check: impl AsyncFn(&Stage, &str)) -> usize {
    let (mut points, mut deaths) = (0, 0);
    for first_when in [When::Before, When::After] {
        for first in 0.. {
            let mut first_died = false;
            for second_when in [When::Before, When::After] {
                for second in 0.. {
                    let stage = scene().await;
                    first_died = dies(&stage, first, first_when).await;
                    if !first_died {
                        break;
                    }
                    let second_died = dies(&stage, second, second_when).await;
                    let context = format!("death {first_when:?} call {first}, then {second_when:?} call {second}");
                    stage.run_until_quiet().await;
                    check(&stage, &context).await;
                    deaths += 1;
                    if !second_died {
                        break;
                    }
                }
            }
            if !first_died {
                break;
            }
            points += 1;
        }
    }
    tell(points, deaths);
    deaths
}

/// The figures for `docs/reliability.md`; `--no-capture` shows them.
#[expect(clippy::print_stdout, reason = "only a test's own output can hold them")]
fn tell(points: usize, pairs: usize) {
    println!("{}: {points} crash points, {pairs} pairs", std::thread::current().name().unwrap_or_default());
}

async fn dies(stage: &Stage, nth: usize, when: When) -> bool {
    stage.switch.arm(nth, when);
    let survived = stage.switch.run(stage.run_until_quiet()).await.is_some();
    stage.switch.disarm();
    stage.clock.advance(LEASE);
    !survived
}

pub(crate) async fn in_an_authorisation(gateway: GatewayName) {
    let scene = async || {
        let (stage, cast) = at_first_attempt(gateway);
        stage.post(&stage.authorisation(&cast, 72));
        stage
    };
    let check = async |stage: &Stage, context: &str| assert_once(stage, gateway, &PaymentStatus::Authorised, context);
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 100, "{deaths}");
}

pub(crate) async fn in_a_capture(gateway: GatewayName) {
    let scene = async || {
        let (stage, cast) = authorised_and_due(gateway).await;
        stage.post(&stage.capture(&cast));
        stage
    };
    let check = async |stage: &Stage, context: &str| assert_once(stage, gateway, &PaymentStatus::Captured, context);
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 50, "{deaths}");
}

pub(crate) async fn in_a_charge(gateway: GatewayName) {
    let scene = async || {
        let (stage, cast) = due_to_be_charged(gateway);
        stage.post(&stage.capture(&cast));
        stage
    };
    let check = async |stage: &Stage, context: &str| assert_once(stage, gateway, &PaymentStatus::Captured, context);
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 100, "{deaths}");
}

pub(crate) async fn in_a_decline(gateway: GatewayName) {
    let scene = async || {
        let (stage, cast) = at_first_attempt(gateway);
        assert!(stage.guest(gateway).house.refuse_next(&cast.token, DeclineClass::Soft));
        stage.post(&stage.authorisation(&cast, 72));
        stage
    };
    let check = async |stage: &Stage, context: &str| {
        // Only the report itself can be lost beyond recall; it moves nothing, and may be made once more. Whoever dies twice at it leaves a
        // warning in its place.
        let told = statuses(stage);
        let warned = stage.metrics.count(connector::metrics::Metric::Warning, "rejected_report_unknown") > 0;
        assert!(
            (usize::from(!warned)..=2).contains(&told.len()) && told.iter().all(|status| *status == PaymentStatus::Rejected),
            "{context}: {told:?}"
        );
        assert_eq!(agreed(stage, gateway), [], "{context}");
    };
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 100, "{deaths}");
}

pub(crate) async fn in_a_termination(gateway: GatewayName) {
    let scene = async || {
        let (stage, cast) = at_first_attempt(gateway);
        stage.clock.advance_to(cast.due.after(2 * HOUR));
        stage.post(&stage.termination(&cast));
        stage
    };
    let check = async |stage: &Stage, context: &str| {
        let ended = stage.cleeng.subscriptions().into_iter().all(|one| one.terminated_as.as_deref() == Some("paymentCancel"));
        assert!(ended, "{context}");
        assert_balanced(stage, context);
    };
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 20, "{deaths}");
}

pub(crate) async fn in_a_clean_up(gateway: GatewayName) {
    let scene = async || {
        let stage = Stage::new(|rules| rules.delete_deactivated_details = true);
        let (_, _, event) = changed_details(&stage, gateway).await;
        stage.post(&event);
        stage
    };
    let check = async |stage: &Stage, context: &str| {
        assert!(agreed(stage, gateway).iter().all(LedgerEntry::released), "{context}");
        assert_eq!(statuses(stage), [PaymentStatus::Cancelled], "{context}");
        assert_balanced(stage, context);
    };
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 50, "{deaths}");
}

pub(crate) async fn in_a_refund(gateway: GatewayName) {
    let scene = async || {
        let (stage, _, payment) = charged(gateway).await;
        stage.post(&refund(&stage, &payment, None, 1));
        stage
    };
    let check = async |stage: &Stage, context: &str| {
        assert_eq!(agreed(stage, gateway)[0].refunded, usd(999), "{context}");
        // Cleeng cannot be asked whether it heard of a refund: a report whose answer was lost is an operator's.
        let parked = stage.metrics.count(connector::metrics::Metric::Parked, "refund_report_unknown");
        assert!(parked > 0 || statuses(stage) == [PaymentStatus::Refunded], "{context}: {:?}", statuses(stage));
        assert_eq!(stage.cleeng.violations(), [], "{context}");
    };
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 30, "{deaths}");
}

pub(crate) async fn in_the_capture_of_a_single_purchase(gateway: GatewayName) {
    let scene = async || {
        let (stage, payment) = single_purchase(gateway).await;
        stage.post(&stage.cleeng.capture_payment_event(&payment).unwrap());
        stage
    };
    let check = async |stage: &Stage, context: &str| assert_once(stage, gateway, &PaymentStatus::Captured, context);
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 50, "{deaths}");
}

pub(crate) async fn in_the_report_of_a_chargeback(gateway: GatewayName) {
    let scene = async || {
        let (stage, ..) = charged(gateway).await;
        stage.guest(gateway).house.charge_back(&only_id(&stage, gateway));
        stage
    };
    let check = async |stage: &Stage, context: &str| {
        let parked = stage.metrics.count(connector::metrics::Metric::Parked, "loss_report_unknown");
        assert!(parked > 0 || statuses(stage) == [PaymentStatus::Refunded], "{context}: {:?}", statuses(stage));
        assert_eq!(stage.cleeng.violations(), [], "{context}");
    };
    let deaths = every_pair(scene, check).await;
    assert!(deaths > 10, "{deaths}");
}

/// A page whose function dies at any call asks again; twice.
async fn every_pair_at_the_page(
    act: impl AsyncFn(&Stage, &Buyer),
    gateway: GatewayName,
    check: impl AsyncFn(&Stage, &Buyer, &str),
) -> usize {
    let (mut points, mut deaths) = (0, 0);
    for (one, other) in [(When::Before, When::Before), (When::Before, When::After), (When::After, When::Before), (When::After, When::After)]
    {
        for first in 0.. {
            let mut first_died = false;
            for second in 0.. {
                let stage = stage();
                let buyer = Buyer::new(&stage, gateway);
                first_died = page_dies(&stage, &buyer, &act, first, one).await;
                if !first_died {
                    break;
                }
                let second_died = page_dies(&stage, &buyer, &act, second, other).await;
                act(&stage, &buyer).await;
                stage.run_until_quiet().await;
                check(&stage, &buyer, &format!("death {one:?} call {first}, then {other:?} call {second}")).await;
                deaths += 1;
                if !second_died {
                    break;
                }
            }
            if !first_died {
                break;
            }
            points += 1;
        }
    }
    tell(points, deaths);
    deaths
}

async fn page_dies(stage: &Stage, buyer: &Buyer, act: impl AsyncFn(&Stage, &Buyer), nth: usize, when: When) -> bool {
    stage.switch.arm(nth, when);
    let survived = stage.switch.run(act(stage, buyer)).await.is_some();
    stage.switch.disarm();
    stage.clock.advance(LEASE);
    !survived
}

pub(crate) async fn in_a_purchase(gateway: GatewayName) {
    let act = async |stage: &Stage, buyer: &Buyer| {
        let paid = buyer.pay(stage, Entry::Asked, 1).await;
        assert!(is_paid(&paid), "{}", paid.body);
    };
    let check = async |stage: &Stage, buyer: &Buyer, context: &str| assert_paid_once(stage, buyer, context);
    let deaths = every_pair_at_the_page(act, gateway, check).await;
    assert!(deaths > 100, "{deaths}");
}

pub(crate) async fn in_the_storing_of_details(gateway: GatewayName) {
    let act = async |stage: &Stage, buyer: &Buyer| {
        let stored = buyer.store_patiently(stage, Entry::Asked, 1).await;
        // Cleeng has no way to ask for the details of a customer: a report whose answer is lost is made once more, then it is an operator's.
        let parked = stage.metrics.count(connector::metrics::Metric::Parked, "details_report_unknown") > 0;
        assert!(stored.status == 200 || parked, "{}", stored.body);
    };
    let check = async |stage: &Stage, _: &Buyer, context: &str| {
        assert_eq!(agreed(stage, gateway), [], "{context}");
        assert_balanced(stage, context);
    };
    let deaths = every_pair_at_the_page(act, gateway, check).await;
    assert!(deaths > 50, "{deaths}");
}
