//! What is held for a period that was paid in another way, and that nobody will capture.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::{Billing, Method as PaymentMethod, Rules, Verdict};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::metrics::Metric;
use sandbox::crash::When;
use sandbox::house::{LedgerEntry, Standing};
use sandbox::peer::Fault;
use sandbox::stage::{Cast, Stage, id};

use crate::HOUR;
use crate::faults::FAULTS;
use crate::lost::statuses;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const DRIFT: &str = "drift_hold_for_a_paid_period";

/// A period that is authorised, on the day when it is to be captured.
async fn held(gateway: GatewayName) -> (Stage, Cast) {
    let stage = Stage::default();
    let cast = stage.subscriber(stage.guest(gateway).method);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.clock.advance_to(cast.due);
    (stage, cast)
}

/// The same, paid meanwhile by a payment that the connector knows nothing of.
async fn paid_elsewhere(gateway: GatewayName) -> (Stage, Cast) {
    let (stage, cast) = held(gateway).await;
    stage.cleeng.pay_elsewhere(&cast.subscriber.subscription, &id("elsewhere-1"), cast.due.after(MONTH));
    (stage, cast)
}

/// Rounds every five minutes, while everything else goes on.
async fn rounds(stage: &Stage, hours: u32) {
    for _ in 0..hours * 12 {
        stage.go_round().await;
        stage.run_until_quiet().await;
        stage.clock.advance(HOUR / 12);
    }
}

/// As often as is needed at the most, whenever the journal says that something is due again.
async fn later_rounds(stage: &Stage) {
    for _ in 0..6 {
        stage.go_round().await;
        stage.run_until_quiet().await;
        stage.clock.advance(HOUR / 3);
    }
}

fn ledger(stage: &Stage, gateway: GatewayName) -> Vec<LedgerEntry> {
    stage.guest(gateway).house.ledger()
}

fn assert_released(stage: &Stage, gateway: GatewayName, context: &str) {
    let standings: Vec<_> = ledger(stage, gateway).iter().map(|entry| (entry.standing, entry.captured.minor)).collect();
    assert_eq!(standings, [(Standing::Cancelled, 0)], "{gateway} {context}");
    assert_eq!(statuses(stage), [PaymentStatus::Cancelled], "{gateway} {context}");
    assert_eq!(stage.disagreements(), Vec::<String>::new(), "{gateway} {context}");
    assert_eq!(stage.metrics.count(Metric::Parked, ""), 0, "{gateway} {context}");
}

fn assert_kept(stage: &Stage, gateway: GatewayName, context: &str) {
    assert_eq!(ledger(stage, gateway)[0].standing, Standing::Authorised, "{gateway} {context}");
    assert_eq!(stage.cleeng.payments()[0].status, PaymentStatus::Authorised, "{gateway} {context}");
}

/// How often the gateway was asked to give a hold free.
fn asked_to_release(stage: &Stage) -> usize {
    let releases = |path: &str| path.ends_with("/cancels") || path.ends_with("/void") || path.ends_with("/cancel");
    let all = stage.road.calls().into_iter().filter(|call| call.peer != "cleeng" && call.method == Method::POST);
    all.filter(|call| releases(&call.path)).count()
}

#[tokio::test]
async fn what_is_held_for_a_period_that_was_paid_otherwise_goes_back_at_the_gateway_and_in_cleeng() {
    for gateway in GatewayName::ALL {
        let (stage, cast) = paid_elsewhere(*gateway).await;
        let tally = stage.go_round().await;
        assert_eq!((tally.released, tally.put_off, tally.failed), (1, 0, 0), "{gateway}: {tally:?}");
        stage.run_until_quiet().await;
        assert_released(&stage, *gateway, "at once");
        assert_eq!(stage.metrics.count(Metric::Warning, DRIFT), 1, "{gateway}");
        rounds(&stage, 24).await;
        assert_eq!((asked_to_release(&stage), stage.metrics.count(Metric::Warning, DRIFT)), (1, 1), "{gateway}: done once");
        // The period that was paid otherwise is followed by one that is paid here.
        let event = |topic, attempt| stage.event(topic, &cast, attempt, cast.due.after(MONTH));
        stage.clock.advance_to(cast.due.after(MONTH).before(72 * HOUR));
        let authorisation = event(Topic::SubscriptionReadyForPaymentAuthorisation, cast.due.after(MONTH).before(72 * HOUR));
        assert_eq!(stage.play(&authorisation).await, Verdict::Settled("authorised"), "{gateway}");
        stage.clock.advance_to(cast.due.after(MONTH));
        let capture = event(Topic::SubscriptionReadyForPaymentCapture, cast.due.after(MONTH));
        assert_eq!(stage.play(&capture).await, Verdict::Settled("captured"), "{gateway}");
        assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Captured], "{gateway}");
    }
}

#[tokio::test]
async fn it_goes_back_where_billing_was_switched_to_capture_only_meanwhile() {
    for gateway in GatewayName::ALL {
        let (mut stage, _) = paid_elsewhere(*gateway).await;
        let mut rules: Rules = (*stage.world.rules).clone();
        let method = stage.guest(*gateway).method;
        rules.methods.insert(id(method), PaymentMethod { gateway: *gateway, billing: Billing::CaptureOnly });
        stage.world.rules = Arc::new(rules);
        rounds(&stage, 1).await;
        assert_released(&stage, *gateway, "capture only");
    }
}

#[tokio::test]
async fn it_goes_back_where_the_customer_left_for_a_method_of_another_connector() {
    for gateway in GatewayName::ALL {
        let (mut stage, _) = paid_elsewhere(*gateway).await;
        let mut rules: Rules = (*stage.world.rules).clone();
        rules.methods.remove(&id(stage.guest(*gateway).method));
        stage.world.rules = Arc::new(rules);
        rounds(&stage, 1).await;
        assert_released(&stage, *gateway, "another connector's");
    }
}

#[tokio::test]
async fn nothing_is_released_where_cleeng_leaves_a_doubt() {
    let own = |stage: &Stage| stage.cleeng.payments()[0].external_payment_id.clone();
    type Doubt = fn(&Stage, &Cast, ExternalPaymentId);
    let doubts: [(&str, Doubt); 4] = [
        ("not paid", |_, _, _| {}),
        ("the end moved by three days", |stage, cast, _| {
            stage.cleeng.pay_elsewhere(&cast.subscriber.subscription, &id("elsewhere-1"), cast.due.after(72 * HOUR));
        }),
        ("the hold is what paid", |stage, cast, own| {
            stage.cleeng.pay_elsewhere(&cast.subscriber.subscription, &own, cast.due.after(MONTH));
        }),
        ("the hold moved with the period", |stage, cast, _| {
            stage.cleeng.quirks(|quirks| quirks.counts_every_hold = true);
            stage.cleeng.pay_elsewhere(&cast.subscriber.subscription, &id("elsewhere-1"), cast.due.after(MONTH));
        }),
    ];
    for gateway in GatewayName::ALL {
        for (context, doubt) in &doubts {
            let (stage, cast) = held(*gateway).await;
            doubt(&stage, &cast, own(&stage));
            for _ in 0..24 {
                stage.go_round().await;
                let _ = stage.requeue.take();
                stage.clock.advance(HOUR / 12);
            }
            assert_kept(&stage, *gateway, context);
            assert_eq!(asked_to_release(&stage), 0, "{gateway} {context}");
            let told = stage.metrics.count(Metric::Warning, DRIFT) > 0;
            assert_eq!(told, *context != "not paid", "{gateway} {context}");
        }
    }
}

#[tokio::test]
async fn what_cleeng_does_not_list_as_authorised_is_not_released() {
    for gateway in GatewayName::ALL {
        let (stage, _) = paid_elsewhere(*gateway).await;
        let payment = stage.cleeng.payments()[0].id.clone();
        // Somebody ended it in Cleeng by hand.
        stage.world.cleeng.cancel_payment(&payment).await.unwrap();
        rounds(&stage, 2).await;
        assert_eq!(ledger(&stage, *gateway)[0].standing, Standing::Authorised, "{gateway}");
        assert_eq!(asked_to_release(&stage), 0, "{gateway}");
        assert!(stage.metrics.count(Metric::Warning, DRIFT) > 0, "{gateway}");
    }
}

#[tokio::test]
async fn a_hold_that_is_being_captured_is_left_alone() {
    for gateway in GatewayName::ALL {
        let (stage, cast) = held(*gateway).await;
        // Its worker dies when the gateway has taken the order.
        stage.switch.arm(1, When::After);
        assert!(stage.switch.run(stage.deliver(&stage.capture(&cast))).await.is_none(), "{gateway}");
        stage.switch.disarm();
        stage.cleeng.pay_elsewhere(&cast.subscriber.subscription, &id("elsewhere-1"), cast.due.after(MONTH));
        for _ in 0..24 {
            stage.go_round().await;
            stage.clock.advance(HOUR / 12);
        }
        assert_eq!(asked_to_release(&stage), 0, "{gateway}");
    }
}

#[tokio::test]
async fn a_round_that_dies_anywhere_over_it_at_adyen_is_finished_by_a_later_one() {
    every_pair_of_deaths(GatewayName::Adyen).await;
}

#[tokio::test]
async fn a_round_that_dies_anywhere_over_it_at_paypal_is_finished_by_a_later_one() {
    every_pair_of_deaths(GatewayName::PayPal).await;
}

#[tokio::test]
async fn a_round_that_dies_anywhere_over_it_at_stripe_is_finished_by_a_later_one() {
    every_pair_of_deaths(GatewayName::Stripe).await;
}

/// A round dies before or after each of its calls, and the next one as well.
async fn every_pair_of_deaths(gateway: GatewayName) {
    let mut deaths = 0;
    for (one, other) in [(When::Before, When::After), (When::After, When::Before), (When::After, When::After)] {
        for first in 0.. {
            let mut first_died = false;
            for second in 0.. {
                let (stage, _) = paid_elsewhere(gateway).await;
                first_died = dies(&stage, first, one).await;
                if !first_died {
                    break;
                }
                let second_died = dies(&stage, second, other).await;
                later_rounds(&stage).await;
                assert_released(&stage, gateway, &format!("death {one:?} call {first}, then {other:?} call {second}"));
                deaths += 1;
                if !second_died {
                    break;
                }
            }
            if !first_died {
                break;
            }
        }
    }
    assert!(deaths > 100, "{deaths}");
}

/// A round that dies; the next one comes when the lease of the dead has run out and the journal says that something is due.
async fn dies(stage: &Stage, nth: usize, when: When) -> bool {
    stage.switch.arm(nth, when);
    let survived = stage.switch.run(stage.go_round()).await.is_some();
    stage.switch.disarm();
    stage.clock.advance(HOUR / 3);
    !survived
}

#[tokio::test]
async fn every_write_may_go_wrong_in_every_way_once_and_twice() {
    for gateway in GatewayName::ALL {
        for at_cleeng in [true, false] {
            for (kind, fault) in FAULTS.iter().enumerate() {
                for times in 1..=2 {
                    let (stage, _) = paid_elsewhere(*gateway).await;
                    for _ in 0..times {
                        let write = move |peer: &str, request: &sandbox::peer::PeerRequest| {
                            (peer == "cleeng") == at_cleeng && request.method != Method::GET
                        };
                        stage.road.lay(fault.clone(), write);
                    }
                    later_rounds(&stage).await;
                    assert_released(&stage, *gateway, &format!("fault {kind}, {times} times, at Cleeng: {at_cleeng}"));
                }
            }
        }
    }
}

#[tokio::test]
async fn two_rounds_at_once_release_it_once_wherever_they_meet() {
    for gateway in GatewayName::ALL {
        for head_start in 0..30 {
            let (stage, _) = paid_elsewhere(*gateway).await;
            let second = async {
                for _ in 0..head_start {
                    tokio::task::yield_now().await;
                }
                stage.go_round().await
            };
            let (one, other) = tokio::join!(stage.go_round(), second);
            assert!(one.released + other.released <= 1, "{gateway} {head_start}: {one:?} {other:?}");
            later_rounds(&stage).await;
            assert_released(&stage, *gateway, &format!("head start {head_start}"));
            assert_eq!(asked_to_release(&stage), 1, "{gateway} {head_start}");
        }
    }
}

#[tokio::test]
async fn a_round_and_the_capture_of_the_hold_never_both_have_it_wherever_they_meet() {
    for gateway in GatewayName::ALL {
        for head_start in 0..30 {
            let (stage, cast) = paid_elsewhere(*gateway).await;
            let capture = async {
                for _ in 0..head_start {
                    tokio::task::yield_now().await;
                }
                stage.deliver(&stage.capture(&cast)).await
            };
            tokio::join!(stage.go_round(), capture);
            stage.play(&stage.capture(&cast)).await;
            later_rounds(&stage).await;
            assert_released(&stage, *gateway, &format!("head start {head_start}"));
        }
    }
}

#[tokio::test]
async fn a_cleeng_that_asks_to_slow_down_is_asked_no_more_in_this_round_and_the_next_one_goes_on() {
    let (stage, _) = paid_elsewhere(GatewayName::Adyen).await;
    let list = |peer: &str, request: &sandbox::peer::PeerRequest| peer == "cleeng" && request.path.contains("/payments");
    stage.road.lay(Fault::StatusBefore(429), list);
    let tally = stage.go_round().await;
    assert_eq!((tally.released, tally.put_off), (0, 1), "{tally:?}");
    assert_kept(&stage, GatewayName::Adyen, "throttled");
    rounds(&stage, 1).await;
    assert_released(&stage, GatewayName::Adyen, "after that");
}

#[tokio::test]
async fn a_hold_that_the_gateway_will_not_release_is_an_operators_and_is_asked_about_once() {
    // PayPal says at once that the money is taken: somebody captured it there by hand.
    let gateway = GatewayName::PayPal;
    let (stage, _) = paid_elsewhere(gateway).await;
    stage.paypal.capture_by_hand(ledger(&stage, gateway)[0].external_payment_id.as_str());
    rounds(&stage, 24).await;
    assert_eq!(stage.metrics.count(Metric::Parked, "release_refused"), 1);
    assert_eq!((asked_to_release(&stage), stage.guest(gateway).house.ledger()[0].refunded.minor), (1, 0));
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised], "Cleeng is told nothing that is not so");
}

#[tokio::test]
async fn a_stopped_subscription_that_is_paid_otherwise_gets_its_hold_back_and_goes_on_until_its_end() {
    let (stage, cast) = paid_elsewhere(GatewayName::Stripe).await;
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Stopped);
    rounds(&stage, 1).await;
    assert_released(&stage, GatewayName::Stripe, "stopped");
    assert_eq!(stage.cleeng.subscription(&cast.subscriber.subscription).unwrap().status, SubscriptionStatus::Stopped);
}
