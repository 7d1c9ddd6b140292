//! Refunds over random histories: whatever is asked, fails, dies, is repeated or comes late, never more goes back than was captured, and
//! Cleeng never hears of more than went back.

use std::time::Duration;

use connector::flow::{PartialRefunds, SettleOn};
use connector::journal::refunds::RefundState;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sandbox::cleeng::SentWebhook;
use sandbox::crash::When;
use sandbox::peer::Fault;
use sandbox::stage::Stage;

use crate::world::{Bought, bring_back, read_payment, refund_event, settle_notifications, with_purchase};

#[derive(Clone, Debug)]
enum Event {
    /// A refund is asked for, the first time or again.
    Ask { refund: usize, minor: Option<i64>, named: bool },
    /// Everything that was ever asked for is delivered once more.
    Repeat,
    /// The gateway does what it received, and says so.
    Settle,
    /// The next operation at the gateway fails.
    Fail,
    /// Time passes.
    Wait(u64),
    /// The next call goes wrong.
    Fault { at_gateway: bool, kind: usize },
    /// The next worker dies at this call.
    Die { nth: usize, after: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0_usize..5, prop::option::weighted(0.8, 1_i64..1100), any::<bool>())
            .prop_map(|(refund, minor, named)| Event::Ask { refund, minor, named }),
        1 => Just(Event::Repeat),
        2 => Just(Event::Settle),
        1 => Just(Event::Fail),
        2 => (1_u64..40).prop_map(Event::Wait),
        2 => (any::<bool>(), 0_usize..9).prop_map(|(at_gateway, kind)| Event::Fault { at_gateway, kind }),
        1 => (0_usize..6, any::<bool>()).prop_map(|(nth, after)| Event::Die { nth, after }),
    ]
}

/// What must hold at every moment.
async fn check(stage: &Stage, bought: &Bought) -> Result<(), TestCaseError> {
    let record = read_payment(stage, &bought.reference).await;
    let committed = record.committed_refunds().unwrap().minor;
    prop_assert!(committed <= record.captured.minor, "promised {committed}");
    let back = stage.adyen.total_refunded("USD");
    prop_assert!(back <= 999, "given back {back}");
    prop_assert!(record.refunded.minor <= back, "the journal says {} and {back} went back", record.refunded);
    let told = stage.cleeng.payments()[0].refund.as_ref().map_or(0, |refund| refund.amount.minor);
    prop_assert!(told <= back, "Cleeng was told {told} and {back} went back");
    prop_assert_eq!(stage.cleeng.violations(), vec![]);
    Ok(())
}

async fn happen(stage: &Stage, bought: &Bought, asked: &mut Vec<SentWebhook>, event: Event) {
    match event {
        Event::Ask { refund, minor, named } => {
            let refund = refund.to_string();
            let event = refund_event(stage, bought, minor, named.then_some(refund.as_str()));
            let _ = stage.switch.run(stage.deliver(&event)).await;
            asked.push(event);
        }
        Event::Repeat => {
            for event in asked.iter() {
                let _ = stage.switch.run(stage.deliver(event)).await;
            }
        }
        Event::Settle => {
            stage.switch.disarm();
            for envelope in settle_notifications(stage).await {
                bring_back(stage, &envelope).await;
            }
        }
        Event::Fail => stage.adyen.fail_next_modification("Refused"),
        Event::Wait(hours) => stage.clock.advance(Duration::from_secs(hours * 3600)),
        Event::Fault { at_gateway, kind } => {
            let peer = if at_gateway { "adyen" } else { "cleeng" };
            let fault: Fault = crate::faults::FAULTS[kind].clone();
            stage.road.lay(fault, move |name, _| name == peer);
        }
        Event::Die { nth, after } => stage.switch.arm(nth, if after { When::After } else { When::Before }),
    }
}

/// Once everything works again, whatever was asked for comes to an end, and no reservation is left over.
async fn everything_ends(stage: &Stage, bought: &Bought, asked: &[SentWebhook]) -> Result<(), TestCaseError> {
    stage.switch.disarm();
    stage.road.clear();
    stage.clock.advance(Duration::from_secs(100));
    for event in asked {
        let last = stage.deliver_until_settled(event).await;
        prop_assert!(!matches!(last, connector::flow::Verdict::Later { .. }), "{last:?}");
    }
    for envelope in settle_notifications(stage).await {
        bring_back(stage, &envelope).await;
    }
    check(stage, bought).await?;
    let record = read_payment(stage, &bought.reference).await;
    let left: Vec<_> = record.refunds.iter().filter(|part| part.state.is_in_flight()).collect();
    // The only reservations that stay are those of which nobody will ever know.
    let unknown = stage.metrics.count(connector::metrics::Metric::Parked, "outcome_unknown");
    prop_assert!(left.len() <= unknown && left.iter().all(|part| part.state == RefundState::Asked), "{left:?}");
    let done: i64 = record.refunds.iter().filter(|part| part.state == RefundState::Done).map(|part| part.amount.minor).sum();
    prop_assert_eq!(record.refunded.minor, done);
    if unknown == 0 {
        prop_assert_eq!(stage.adyen.total_refunded("USD"), done);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn never_more_goes_back_than_was_captured(
        events in prop::collection::vec(event(), 1..30),
        send in any::<bool>(),
        on_receipt in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (stage, bought) = with_purchase(Stage::new(|rules| {
                rules.partial_refunds = if send { PartialRefunds::Send } else { PartialRefunds::Park };
                rules.settle_on = if on_receipt { SettleOn::Receipt } else { SettleOn::Notification };
            })).await;
            let mut asked = Vec::new();
            for event in events {
                happen(&stage, &bought, &mut asked, event).await;
                // With settle on receipt Cleeng is told before the gateway has done it.
                if !on_receipt {
                    check(&stage, &bought).await?;
                }
            }
            if on_receipt { Ok(()) } else { everything_ends(&stage, &bought, &asked).await }
        })?;
    }
}
