//! Refunds over random histories of requests, failures, crashes, repetitions and delays: never more is refunded than was captured, and
//! never more is reported to Cleeng than was refunded.

use std::time::Duration;

use connector::flow::{PartialRefunds, SettleOn};
use connector::journal::payment::refunds::RefundState;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::Fault;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::harness::TestEnvironment;

use crate::money::fixtures::{
    SeededPurchase, deliver_requeued, read_payment_record, refund_event, settle_notifications, with_seeded_purchase,
};

#[derive(Clone, Debug)]
enum Action {
    /// A refund is asked for, the first time or again.
    RequestRefund { refund: usize, minor: Option<i64>, named: bool },
    /// Everything that was ever asked for is delivered once more.
    RedeliverAll,
    /// The gateway does what it received, and says so.
    SettleNotifications,
    /// The next operation at the gateway fails.
    FailNextOperation,
    /// Time passes.
    Wait(u64),
    /// The next call goes wrong.
    Fault { at_gateway: bool, kind: usize },
    /// The next worker crashes at this call.
    Crash { nth: usize, after: bool },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        5 => (0_usize..5, prop::option::weighted(0.8, 1_i64..1100), any::<bool>())
            .prop_map(|(refund, minor, named)| Action::RequestRefund { refund, minor, named }),
        1 => Just(Action::RedeliverAll),
        2 => Just(Action::SettleNotifications),
        1 => Just(Action::FailNextOperation),
        2 => (1_u64..40).prop_map(Action::Wait),
        2 => (any::<bool>(), 0_usize..9).prop_map(|(at_gateway, kind)| Action::Fault { at_gateway, kind }),
        1 => (0_usize..6, any::<bool>()).prop_map(|(nth, after)| Action::Crash { nth, after }),
    ]
}

/// What must hold at every moment.
async fn check_invariants(env: &TestEnvironment, bought: &SeededPurchase) -> Result<(), TestCaseError> {
    let record = read_payment_record(env, &bought.reference).await;
    let committed = record.committed_refunds().unwrap().minor;
    prop_assert!(committed <= record.captured.minor, "promised {committed}");
    let back = env.adyen.total_refunded("USD");
    prop_assert!(back <= 999, "refunded {back}");
    prop_assert!(record.refunded.minor <= back, "the journal says {} and {back} went back", record.refunded);
    let told = env.cleeng.payments()[0].refund.as_ref().map_or(0, |refund| refund.amount.minor);
    prop_assert!(told <= back, "Cleeng was told {told} and {back} went back");
    prop_assert_eq!(env.cleeng.violations(), vec![]);
    Ok(())
}

async fn apply(env: &TestEnvironment, bought: &SeededPurchase, asked: &mut Vec<SentWebhook>, event: Action) {
    match event {
        Action::RequestRefund { refund, minor, named } => {
            let refund = refund.to_string();
            let event = refund_event(env, bought, minor, named.then_some(refund.as_str()));
            let _ = env.crash_point.run(env.deliver(&event)).await;
            asked.push(event);
        }
        Action::RedeliverAll => {
            for event in asked.iter() {
                let _ = env.crash_point.run(env.deliver(event)).await;
            }
        }
        Action::SettleNotifications => {
            env.crash_point.disarm();
            for envelope in settle_notifications(env).await {
                deliver_requeued(env, &envelope).await;
            }
        }
        Action::FailNextOperation => env.adyen.fail_next_modification("Refused"),
        Action::Wait(hours) => env.clock.advance(Duration::from_secs(hours * 3600)),
        Action::Fault { at_gateway, kind } => {
            let peer = if at_gateway { "adyen" } else { "cleeng" };
            let fault: Fault = crate::support::faults::FAULTS[kind].clone();
            env.network.inject(fault, move |name, _| name == peer);
        }
        Action::Crash { nth, after } => env.crash_point.arm(nth, if after { CrashTiming::After } else { CrashTiming::Before }),
    }
}

/// Once everything works again, every request ends, and no reservation is left.
async fn check_everything_settles(env: &TestEnvironment, bought: &SeededPurchase, asked: &[SentWebhook]) -> Result<(), TestCaseError> {
    env.crash_point.disarm();
    env.network.clear_faults();
    env.clock.advance(Duration::from_secs(100));
    for event in asked {
        let last = env.deliver_until_settled(event).await;
        prop_assert!(!matches!(last, connector::flow::Disposition::Retry { .. }), "{last:?}");
    }
    for envelope in settle_notifications(env).await {
        deliver_requeued(env, &envelope).await;
    }
    check_invariants(env, bought).await?;
    let record = read_payment_record(env, &bought.reference).await;
    let left: Vec<_> = record.refunds.iter().filter(|part| part.state.is_in_flight()).collect();
    // The only reservations that stay are those of which nobody will ever know.
    let unknown = env.metrics.count(connector::metrics::Metric::Parked, "outcome_unknown");
    prop_assert!(left.len() <= unknown && left.iter().all(|part| part.state == RefundState::Requested), "{left:?}");
    let done: i64 = record.refunds.iter().filter(|part| part.state == RefundState::Done).map(|part| part.amount.minor).sum();
    prop_assert_eq!(record.refunded.minor, done);
    if unknown == 0 {
        prop_assert_eq!(env.adyen.total_refunded("USD"), done);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn never_more_is_refunded_than_was_captured(
        events in prop::collection::vec(action(), 1..30),
        send in any::<bool>(),
        on_receipt in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (env, bought) = with_seeded_purchase(TestEnvironment::new(|rules| {
                rules.partial_refunds = if send { PartialRefunds::Send } else { PartialRefunds::Park };
                rules.settle_on = if on_receipt { SettleOn::Receipt } else { SettleOn::Notification };
            })).await;
            let mut asked = Vec::new();
            for event in events {
                apply(&env, &bought, &mut asked, event).await;
                // With settle on receipt Cleeng is told before the gateway has done it.
                if !on_receipt {
                    check_invariants(&env, &bought).await?;
                }
            }
            if on_receipt { Ok(()) } else { check_everything_settles(&env, &bought, &asked).await }
        })?;
    }
}
