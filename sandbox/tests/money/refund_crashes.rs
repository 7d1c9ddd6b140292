//! Workers that die in a refund, and calls that go wrong: never two refunds, never a report of what did not happen.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{SettleOn, Verdict};
use connector::metrics::Metric;
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::Stage;

use crate::changes::CHANGES;
use crate::faults::FAULTS;
use crate::world::{
    assert_balanced, bring_back, die_everywhere, parked, play, read_payment, refund_event, settle_notifications, settled, statuses, usd,
    with_purchase,
};

fn is_refund(peer: &str, request: &PeerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/refunds")
}

fn is_report(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.path.contains("/payments/")
}

/// The money is back once; Cleeng knows it, or an operator was called because it may not.
fn assert_refunded_once(stage: &Stage, last: &Verdict, context: &str) {
    assert_eq!(stage.adyen.total_refunded("USD"), 999, "{context}");
    if *last == settled("refunded") {
        assert_balanced(stage);
        return;
    }
    assert!(matches!(last, Verdict::Parked("refund_report_unknown") | Verdict::Settled("parked")), "{context}: {last:?}");
    assert_eq!(stage.metrics.count(Metric::Parked, "refund_report_unknown"), 1, "{context}");
    assert!(stage.cleeng.violations().is_empty(), "{context}");
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_refund_leaves_one_refund() {
    let scene = async || {
        let (stage, bought) = with_purchase(Stage::default()).await;
        let event = refund_event(&stage, &bought, None, None);
        (stage, event)
    };
    let act = async |stage: &Stage, event: &_| {
        stage.deliver_until_settled(event).await;
    };
    let afterwards = async |stage: &Stage, event: &_, context: &str| {
        assert_refunded_once(stage, &play(stage, event).await, context);
        assert_balanced(stage);
    };
    let deaths = die_everywhere(scene, act, afterwards).await;
    assert_eq!(deaths, 2 * 3, "one outside write, two journal writes, each before and after");
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_after_the_gateways_word_reports_once_or_calls_an_operator() {
    let scene = async || {
        let (stage, bought) = with_purchase(Stage::default()).await;
        assert_eq!(stage.deliver(&refund_event(&stage, &bought, None, None)).await, settled("refund_received"));
        let envelope = settle_notifications(&stage).await.remove(0);
        (stage, envelope)
    };
    let act = async |stage: &Stage, envelope: &_| {
        bring_back(stage, envelope).await;
    };
    let afterwards = async |stage: &Stage, envelope: &_, context: &str| {
        assert_refunded_once(stage, &bring_back(stage, envelope).await, context);
    };
    let deaths = die_everywhere(scene, act, afterwards).await;
    assert_eq!(deaths, 2 * 3);
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_refund_reported_on_receipt_leaves_one_refund() {
    let scene = async || {
        let (stage, bought) = with_purchase(Stage::new(|rules| rules.settle_on = SettleOn::Receipt)).await;
        let event = refund_event(&stage, &bought, None, None);
        (stage, event)
    };
    let act = async |stage: &Stage, event: &_| {
        stage.deliver_until_settled(event).await;
    };
    let afterwards = async |stage: &Stage, event: &_, context: &str| {
        let last = stage.deliver_until_settled(event).await;
        stage.adyen.process();
        assert_refunded_once(stage, &last, context);
    };
    let deaths = die_everywhere(scene, act, afterwards).await;
    assert_eq!(deaths, 2 * 5);
}

#[tokio::test]
async fn whatever_happens_to_the_call_of_the_gateway_there_is_one_refund() {
    for fault in FAULTS {
        for times in 1..=2 {
            let (stage, bought) = with_purchase(Stage::default()).await;
            for _ in 0..times {
                stage.road.lay(fault.clone(), is_refund);
            }
            assert_eq!(play(&stage, &refund_event(&stage, &bought, None, None)).await, settled("refunded"));
            assert!(!stage.road.has_faults());
            assert_eq!(stage.adyen.total_refunded("USD"), 999);
            assert_balanced(&stage);
        }
    }
}

#[tokio::test]
async fn a_report_whose_answer_is_lost_is_never_repeated_and_one_that_was_not_sent_is() {
    for fault in FAULTS {
        let (stage, bought) = with_purchase(Stage::default()).await;
        let lost = matches!(fault, Fault::TimeoutBefore | Fault::TimeoutAfter | Fault::StatusBefore(500..) | Fault::StatusAfter(_));
        stage.road.lay(fault, is_report);
        let event = refund_event(&stage, &bought, None, None);
        let last = play(&stage, &event).await;
        assert_eq!(last, if lost { parked("refund_report_unknown") } else { settled("refunded") });
        assert_refunded_once(&stage, &last, "lost");
        assert_eq!(stage.deliver(&event).await, if lost { settled("parked") } else { settled("refunded") });
        assert!(stage.road.reached("cleeng", &connector::http::Method::PATCH, "/payments/") <= 1);
    }
}

#[tokio::test]
async fn a_report_that_cleeng_refuses_is_for_an_operator() {
    let (stage, bought) = with_purchase(Stage::default()).await;
    stage.road.lay(Fault::StatusBefore(422), is_report);
    assert_eq!(play(&stage, &refund_event(&stage, &bought, None, None)).await, parked("cleeng_refused_refund"));
    assert_eq!(stage.adyen.total_refunded("USD"), 999);
    assert_eq!(read_payment(&stage, &bought.reference).await.committed_refunds().unwrap(), usd(999));
}

#[tokio::test]
async fn a_gateway_that_never_answers_leaves_the_money_reserved_and_calls_an_operator() {
    let (stage, bought) = with_purchase(Stage::new(|rules| rules.partial_refunds = connector::flow::PartialRefunds::Send)).await;
    stage.adyen.server_error_next(true);
    let event = refund_event(&stage, &bought, Some(600), Some("1"));
    let mut verdict = stage.deliver(&event).await;
    while let Verdict::Later { .. } = verdict {
        stage.clock.advance(Duration::from_secs(900));
        verdict = stage.deliver(&event).await;
    }
    assert_eq!(verdict, parked("outcome_unknown"));
    // It may have happened, and did: what is left is all that can be given back.
    assert_eq!(read_payment(&stage, &bought.reference).await.committed_refunds().unwrap(), usd(600));
    assert_eq!(stage.deliver(&refund_event(&stage, &bought, Some(400), Some("2"))).await, parked("refund_above_captured"));
    stage.adyen.process();
    assert_eq!(stage.adyen.total_refunded("USD"), 600);
    assert_eq!(statuses(&stage), [PaymentStatus::Captured], "Cleeng is told nothing that nobody knows");
}

#[tokio::test]
async fn a_notification_that_is_faster_than_the_gateways_answer_is_not_lost() {
    for fault in [Fault::TimeoutAfter, Fault::StatusAfter(500)] {
        let (stage, bought) = with_purchase(Stage::default()).await;
        stage.road.lay(fault, is_refund);
        let event = refund_event(&stage, &bought, None, None);
        assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
        // The journal knows the refund by our own name of it from the intent on.
        let record = read_payment(&stage, &bought.reference).await;
        let named = record.refunds[0].reference.as_str().to_owned();
        let mut settled_record = record;
        let now = connector::clock::Clock::now(&stage.clock);
        connector::billing::settlement::settle_refund(&mut settled_record, &named, true, now).unwrap();
        write(&stage, &settled_record).await;
        assert_eq!(stage.deliver_until_settled(&event).await, settled("refunded"));
        stage.adyen.process();
        assert_eq!(stage.adyen.total_refunded("USD"), 999);
        assert_balanced(&stage);
    }
}

async fn write(stage: &Stage, record: &connector::journal::payment::PaymentRecord) {
    use connector::journal::work::{Keep, Work};
    let key = connector::journal::payment::PaymentRecord::key(&record.reference);
    let mut work = Work::new(stage.world.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    work.stage(&key, record, Keep::default()).unwrap();
    work.commit().await.unwrap();
}

#[tokio::test]
async fn no_mutated_answer_leads_to_a_second_refund_or_to_a_false_report() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for peer in ["cleeng", "adyen"] {
        for nth in 0..3 {
            for change in CHANGES {
                let (stage, bought) = with_purchase(Stage::default()).await;
                let seen = AtomicUsize::new(0);
                stage.road.lay(Fault::Mutate(std::sync::Arc::new(change)), move |name, _| {
                    name == peer && seen.fetch_add(1, Ordering::SeqCst) == nth
                });
                let last = play(&stage, &refund_event(&stage, &bought, None, None)).await;
                stage.adyen.process();
                assert!(stage.adyen.total_refunded("USD") <= 999);
                let told = statuses(&stage) == [PaymentStatus::Refunded];
                assert!(!told || stage.adyen.total_refunded("USD") == 999, "{peer} call {nth}: {last:?}");
                assert!(stage.cleeng.violations().is_empty(), "{peer} call {nth}: {last:?}");
            }
        }
    }
}
