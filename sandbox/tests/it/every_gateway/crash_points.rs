//! A worker crashes before or after any of its calls, including journal calls; then another one before or after any call of the next
//! delivery. Every pair is tried. In the end there is one effect on both sides.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::gateway::{DeclineClass, GatewayName};
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerEntry};
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{
    Buyer, HOUR, approved_entries, assert_balanced, assert_once, assert_paid_once, at_first_attempt, authorised_and_due, changed_details,
    charged, due_to_be_charged, environment, is_paid, only_external_id, refund, single_purchase, statuses, usd,
};

/// The lease of a crashed worker has run out, and the queue delivers again.
const LEASE_EXPIRY: Duration = Duration::from_secs(100);

/// A scenario with a crash at each call, and one at each call of the next delivery.
pub(crate) async fn crash_every_pair(scene: impl AsyncFn() -> TestEnvironment, check: impl AsyncFn(&TestEnvironment, &str)) -> usize {
    let (mut points, mut crashes) = (0, 0);
    for first_when in [CrashTiming::Before, CrashTiming::After] {
        for first in 0.. {
            let mut first_crashed = false;
            for second_when in [CrashTiming::Before, CrashTiming::After] {
                for second in 0.. {
                    let env = scene().await;
                    first_crashed = crashes_at(&env, first, first_when).await;
                    if !first_crashed {
                        break;
                    }
                    let second_crashed = crashes_at(&env, second, second_when).await;
                    let context = format!("crash {first_when:?} call {first}, then {second_when:?} call {second}");
                    env.run_until_idle().await;
                    check(&env, &context).await;
                    crashes += 1;
                    if !second_crashed {
                        break;
                    }
                }
            }
            if !first_crashed {
                break;
            }
            points += 1;
        }
    }
    print_figures(points, crashes);
    crashes
}

/// The figures for `docs/reliability.md`; `--no-capture_event` shows them.
#[expect(clippy::print_stdout, reason = "only a test's own output can hold them")]
fn print_figures(points: usize, pairs: usize) {
    println!("{}: {points} crash points, {pairs} pairs", std::thread::current().name().unwrap_or_default());
}

async fn crashes_at(env: &TestEnvironment, nth: usize, when: CrashTiming) -> bool {
    env.crash_point.arm(nth, when);
    let survived = env.crash_point.run(env.run_until_idle()).await.is_some();
    env.crash_point.disarm();
    env.clock.advance(LEASE_EXPIRY);
    !survived
}

pub(crate) async fn in_an_authorisation(gateway: GatewayName) {
    let scene = async || {
        let (env, subscriber) = at_first_attempt(gateway);
        env.enqueue(&env.authorisation_event(&subscriber, 72));
        env
    };
    let check = async |env: &TestEnvironment, context: &str| assert_once(env, gateway, &PaymentStatus::Authorised, context);
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 100, "{crashes}");
}

pub(crate) async fn in_a_capture(gateway: GatewayName) {
    let scene = async || {
        let (env, subscriber) = authorised_and_due(gateway).await;
        env.enqueue(&env.capture_event(&subscriber));
        env
    };
    let check = async |env: &TestEnvironment, context: &str| assert_once(env, gateway, &PaymentStatus::Captured, context);
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 50, "{crashes}");
}

pub(crate) async fn in_a_charge(gateway: GatewayName) {
    let scene = async || {
        let (env, subscriber) = due_to_be_charged(gateway);
        env.enqueue(&env.capture_event(&subscriber));
        env
    };
    let check = async |env: &TestEnvironment, context: &str| assert_once(env, gateway, &PaymentStatus::Captured, context);
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 100, "{crashes}");
}

pub(crate) async fn in_a_decline(gateway: GatewayName) {
    let scene = async || {
        let (env, subscriber) = at_first_attempt(gateway);
        assert!(env.gateway(gateway).simulator.decline_next(&subscriber.token, DeclineClass::Soft));
        env.enqueue(&env.authorisation_event(&subscriber, 72));
        env
    };
    let check = async |env: &TestEnvironment, context: &str| {
        // Only the report itself can be lost beyond recall; it moves nothing, and may be made once more. Two crashes at it leave a
        // warning in its place.
        let told = statuses(env);
        let warned = env.metrics.count(connector::metrics::Metric::Warning, "rejected_report_unknown") > 0;
        assert!(
            (usize::from(!warned)..=2).contains(&told.len()) && told.iter().all(|status| *status == PaymentStatus::Rejected),
            "{context}: {told:?}"
        );
        assert_eq!(approved_entries(env, gateway), [], "{context}");
    };
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 100, "{crashes}");
}

pub(crate) async fn in_a_termination(gateway: GatewayName) {
    let scene = async || {
        let (env, subscriber) = at_first_attempt(gateway);
        env.clock.advance_to(subscriber.due.after(2 * HOUR));
        env.enqueue(&env.termination_event(&subscriber));
        env
    };
    let check = async |env: &TestEnvironment, context: &str| {
        let ended = env.cleeng.subscriptions().into_iter().all(|one| one.terminated_as.as_deref() == Some("status"));
        assert!(ended, "{context}");
        assert_balanced(env, context);
    };
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 20, "{crashes}");
}

pub(crate) async fn in_a_clean_up(gateway: GatewayName) {
    let scene = async || {
        let env = TestEnvironment::new(|rules| rules.delete_deactivated_details = true);
        let (_, _, event) = changed_details(&env, gateway).await;
        env.enqueue(&event);
        env
    };
    let check = async |env: &TestEnvironment, context: &str| {
        assert!(approved_entries(env, gateway).iter().all(LedgerEntry::is_released), "{context}");
        assert_eq!(statuses(env), [PaymentStatus::Cancelled], "{context}");
        assert_balanced(env, context);
    };
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 50, "{crashes}");
}

pub(crate) async fn in_a_refund(gateway: GatewayName) {
    let scene = async || {
        let (env, _, payment) = charged(gateway).await;
        env.enqueue(&refund(&env, &payment, None, 1));
        env
    };
    let check = async |env: &TestEnvironment, context: &str| {
        assert_eq!(approved_entries(env, gateway)[0].refunded, usd(999), "{context}");
        // This Cleeng does not show whether it heard of a refund: a report whose answer was lost is an operator's.
        let parked = env.metrics.count(connector::metrics::Metric::Parked, "refund_report_unknown");
        assert!(parked > 0 || statuses(env) == [PaymentStatus::Refunded], "{context}: {:?}", statuses(env));
        assert_eq!(env.cleeng.violations(), [], "{context}");
    };
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 30, "{crashes}");
}

pub(crate) async fn in_the_capture_of_a_single_purchase(gateway: GatewayName) {
    let scene = async || {
        let (env, payment) = single_purchase(gateway).await;
        env.enqueue(&env.cleeng.capture_payment_event(&payment).unwrap());
        env
    };
    let check = async |env: &TestEnvironment, context: &str| assert_once(env, gateway, &PaymentStatus::Captured, context);
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 50, "{crashes}");
}

pub(crate) async fn in_the_report_of_a_chargeback(gateway: GatewayName) {
    let scene = async || {
        let (env, ..) = charged(gateway).await;
        env.gateway(gateway).simulator.charge_back(&only_external_id(&env, gateway));
        env
    };
    let check = async |env: &TestEnvironment, context: &str| {
        let parked = env.metrics.count(connector::metrics::Metric::Parked, "loss_report_unknown");
        assert!(parked > 0 || statuses(env) == [PaymentStatus::Refunded], "{context}: {:?}", statuses(env));
        assert_eq!(env.cleeng.violations(), [], "{context}");
    };
    let crashes = crash_every_pair(scene, check).await;
    assert!(crashes > 10, "{crashes}");
}

/// A page whose function crashes at any call asks again; twice.
async fn crash_every_pair_of_page_calls(
    act: impl AsyncFn(&TestEnvironment, &Buyer),
    gateway: GatewayName,
    check: impl AsyncFn(&TestEnvironment, &Buyer, &str),
) -> usize {
    let (mut points, mut crashes) = (0, 0);
    for (one, other) in [
        (CrashTiming::Before, CrashTiming::Before),
        (CrashTiming::Before, CrashTiming::After),
        (CrashTiming::After, CrashTiming::Before),
        (CrashTiming::After, CrashTiming::After),
    ] {
        for first in 0.. {
            let mut first_crashed = false;
            for second in 0.. {
                let env = environment();
                let buyer = Buyer::new(&env, gateway);
                first_crashed = page_crashes_at(&env, &buyer, &act, first, one).await;
                if !first_crashed {
                    break;
                }
                let second_crashed = page_crashes_at(&env, &buyer, &act, second, other).await;
                act(&env, &buyer).await;
                env.run_until_idle().await;
                check(&env, &buyer, &format!("crash {one:?} call {first}, then {other:?} call {second}")).await;
                crashes += 1;
                if !second_crashed {
                    break;
                }
            }
            if !first_crashed {
                break;
            }
            points += 1;
        }
    }
    print_figures(points, crashes);
    crashes
}

async fn page_crashes_at(
    env: &TestEnvironment,
    buyer: &Buyer,
    act: impl AsyncFn(&TestEnvironment, &Buyer),
    nth: usize,
    when: CrashTiming,
) -> bool {
    env.crash_point.arm(nth, when);
    let survived = env.crash_point.run(act(env, buyer)).await.is_some();
    env.crash_point.disarm();
    env.clock.advance(LEASE_EXPIRY);
    !survived
}

pub(crate) async fn in_a_purchase(gateway: GatewayName) {
    let act = async |env: &TestEnvironment, buyer: &Buyer| {
        let paid = buyer.pay_until_final(env, EnteredDetails::ActionRequired, 1).await;
        assert!(is_paid(&paid), "{}", paid.body);
    };
    let check = async |env: &TestEnvironment, buyer: &Buyer, context: &str| assert_paid_once(env, buyer, context);
    let crashes = crash_every_pair_of_page_calls(act, gateway, check).await;
    assert!(crashes > 100, "{crashes}");
}

pub(crate) async fn in_the_storing_of_details(gateway: GatewayName) {
    let act = async |env: &TestEnvironment, buyer: &Buyer| {
        let stored = buyer.store_until_final(env, EnteredDetails::ActionRequired, 1).await;
        // Cleeng has no way to ask for the details of a customer: a report whose answer is lost is made once more, then it is an operator's.
        let parked = env.metrics.count(connector::metrics::Metric::Parked, "details_report_unknown") > 0;
        assert!(stored.status == 200 || parked, "{}", stored.body);
    };
    let check = async |env: &TestEnvironment, _: &Buyer, context: &str| {
        assert_eq!(approved_entries(env, gateway), [], "{context}");
        assert_balanced(env, context);
    };
    let crashes = crash_every_pair_of_page_calls(act, gateway, check).await;
    assert!(crashes > 50, "{crashes}");
}
