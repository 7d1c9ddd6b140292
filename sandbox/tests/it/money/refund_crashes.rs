//! Workers that crash in a refund, and calls that fail: never two refunds, never a report of a refund that was not made.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{Disposition, SettleOn};
use connector::metrics::Metric;
use connector::reason::{CompletionReason, ParkReason};
use sandbox::simulators::cleeng::refusal;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::harness::TestEnvironment;

use crate::money::fixtures::{
    assert_balanced, completed, crash_at_every_call, deliver_and_settle, deliver_requeued, parked, read_payment_record, refund_event,
    settle_notifications, statuses, usd, with_seeded_purchase,
};
use crate::support::changes::CHANGES;
use crate::support::faults::FAULTS;

fn is_refund(peer: &str, request: &ServerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/refunds")
}

fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.path.contains("/payments/")
}

/// The money is back once; Cleeng knows it, or an operator was called because it may not.
fn assert_refunded_once(env: &TestEnvironment, last: &Disposition, context: &str) {
    assert_eq!(env.adyen.total_refunded("USD"), 999, "{context}");
    if *last == completed("refunded") {
        assert_balanced(env);
        return;
    }
    assert!(
        matches!(last, Disposition::Parked(ParkReason::RefundReportUnknown) | Disposition::Completed(CompletionReason::Parked)),
        "{context}: {last:?}"
    );
    assert_eq!(env.metrics.count(Metric::Parked, "refund_report_unknown"), 1, "{context}");
    assert!(env.cleeng.violations().is_empty(), "{context}");
}

#[tokio::test]
async fn a_crash_anywhere_in_a_refund_leaves_one_refund() {
    let scene = async || {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        let event = refund_event(&env, &bought, None, None);
        (env, event)
    };
    let act = async |env: &TestEnvironment, event: &_| {
        env.deliver_until_settled(event).await;
    };
    let afterwards = async |env: &TestEnvironment, event: &_, context: &str| {
        assert_refunded_once(env, &deliver_and_settle(env, event).await, context);
        assert_balanced(env);
    };
    let crashes = crash_at_every_call(scene, act, afterwards).await;
    assert_eq!(crashes, 2 * 3, "one outside write, two journal writes, each before and after");
}

#[tokio::test]
async fn a_crash_anywhere_after_the_notification_reports_once_or_parks() {
    let scene = async || {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        assert_eq!(env.deliver(&refund_event(&env, &bought, None, None)).await, completed("refund_received"));
        let envelope = settle_notifications(&env).await.remove(0);
        (env, envelope)
    };
    let act = async |env: &TestEnvironment, envelope: &_| {
        deliver_requeued(env, envelope).await;
    };
    let afterwards = async |env: &TestEnvironment, envelope: &_, context: &str| {
        assert_refunded_once(env, &deliver_requeued(env, envelope).await, context);
    };
    let crashes = crash_at_every_call(scene, act, afterwards).await;
    assert_eq!(crashes, 2 * 3);
}

#[tokio::test]
async fn a_crash_anywhere_in_a_refund_reported_on_receipt_leaves_one_refund() {
    let scene = async || {
        let (env, bought) = with_seeded_purchase(TestEnvironment::new(|rules| rules.settle_on = SettleOn::Receipt)).await;
        let event = refund_event(&env, &bought, None, None);
        (env, event)
    };
    let act = async |env: &TestEnvironment, event: &_| {
        env.deliver_until_settled(event).await;
    };
    let afterwards = async |env: &TestEnvironment, event: &_, context: &str| {
        let last = env.deliver_until_settled(event).await;
        env.adyen.process();
        assert_refunded_once(env, &last, context);
    };
    let crashes = crash_at_every_call(scene, act, afterwards).await;
    assert_eq!(crashes, 2 * 5);
}

#[tokio::test]
async fn a_fault_at_the_gateway_call_leaves_one_refund() {
    for fault in FAULTS {
        for times in 1..=2 {
            let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
            for _ in 0..times {
                env.network.inject(fault.clone(), is_refund);
            }
            assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, None, None)).await, completed("refunded"));
            assert!(!env.network.has_faults());
            assert_eq!(env.adyen.total_refunded("USD"), 999);
            assert_balanced(&env);
        }
    }
}

#[tokio::test]
async fn a_report_whose_answer_is_lost_is_never_repeated_and_one_that_was_not_sent_is() {
    for fault in FAULTS {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        let lost = matches!(fault, Fault::TimeoutBefore | Fault::TimeoutAfter | Fault::StatusBefore(500..) | Fault::StatusAfter(_));
        env.network.inject(fault, is_report);
        let event = refund_event(&env, &bought, None, None);
        let last = deliver_and_settle(&env, &event).await;
        assert_eq!(last, if lost { parked("refund_report_unknown") } else { completed("refunded") });
        assert_refunded_once(&env, &last, "lost");
        assert_eq!(env.deliver(&event).await, if lost { completed("parked") } else { completed("refunded") });
        assert!(env.network.delivered_count("cleeng", &connector::http::Method::PATCH, "/payments/") <= 1);
    }
}

#[tokio::test]
async fn a_report_that_cleeng_refuses_is_parked() {
    let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
    env.network.inject(refusal(422), is_report);
    assert_eq!(deliver_and_settle(&env, &refund_event(&env, &bought, None, None)).await, parked("cleeng_refused_refund"));
    assert_eq!(env.adyen.total_refunded("USD"), 999);
    assert_eq!(read_payment_record(&env, &bought.reference).await.committed_refunds().unwrap(), usd(999));
}

#[tokio::test]
async fn a_gateway_that_never_answers_leaves_the_amount_reserved_and_parks_the_refund() {
    let (env, bought) =
        with_seeded_purchase(TestEnvironment::new(|rules| rules.partial_refunds = connector::flow::PartialRefunds::Send)).await;
    env.adyen.server_error_next(true);
    let event = refund_event(&env, &bought, Some(600), Some("1"));
    let mut disposition = env.deliver(&event).await;
    while let Disposition::Retry { .. } | Disposition::Postponed(_) = disposition {
        env.clock.advance(Duration::from_secs(900));
        disposition = env.deliver(&event).await;
    }
    assert_eq!(disposition, parked("outcome_unknown"));
    // It may have happened, and did: only the rest can be refunded.
    assert_eq!(read_payment_record(&env, &bought.reference).await.committed_refunds().unwrap(), usd(600));
    assert_eq!(env.deliver(&refund_event(&env, &bought, Some(400), Some("2"))).await, parked("refund_above_captured"));
    env.adyen.process();
    assert_eq!(env.adyen.total_refunded("USD"), 600);
    assert_eq!(statuses(&env), [PaymentStatus::Captured], "Cleeng is told nothing that nobody knows");
}

#[tokio::test]
async fn a_notification_that_is_faster_than_the_gateways_answer_is_not_lost() {
    for fault in [Fault::TimeoutAfter, Fault::StatusAfter(500)] {
        let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
        env.network.inject(fault, is_refund);
        let event = refund_event(&env, &bought, None, None);
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { .. }));
        // The journal knows the refund by our own name of it from the intent on.
        let record = read_payment_record(&env, &bought.reference).await;
        let named = record.refunds[0].reference.as_str().to_owned();
        let mut settled_record = record;
        let now = connector::clock::Clock::now(&env.clock);
        connector::payments::settlement::settle_refund(&mut settled_record, &named, true, now).unwrap();
        write_payment_record(&env, &settled_record).await;
        assert_eq!(env.deliver_until_settled(&event).await, completed("refunded"));
        env.adyen.process();
        assert_eq!(env.adyen.total_refunded("USD"), 999);
        assert_balanced(&env);
    }
}

async fn write_payment_record(env: &TestEnvironment, record: &connector::journal::payment::PaymentRecord) {
    use connector::journal::transaction::{Retention, Transaction};
    let key = connector::journal::payment::PaymentRecord::key(&record.reference);
    let mut work = Transaction::new(env.flow_context.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    work.stage(&key, record, Retention::default()).unwrap();
    work.commit().await.unwrap();
}

#[tokio::test]
async fn no_mutated_answer_leads_to_a_second_refund_or_to_a_false_report() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for peer in ["cleeng", "adyen"] {
        for nth in 0..3 {
            for change in CHANGES {
                let (env, bought) = with_seeded_purchase(TestEnvironment::default()).await;
                let seen = AtomicUsize::new(0);
                env.network.inject(Fault::Mutate(std::sync::Arc::new(change)), move |name, _| {
                    name == peer && seen.fetch_add(1, Ordering::SeqCst) == nth
                });
                let last = deliver_and_settle(&env, &refund_event(&env, &bought, None, None)).await;
                env.adyen.process();
                assert!(env.adyen.total_refunded("USD") <= 999);
                let told = statuses(&env) == [PaymentStatus::Refunded];
                assert!(!told || env.adyen.total_refunded("USD") == 999, "{peer} call {nth}: {last:?}");
                assert!(env.cleeng.violations().is_empty(), "{peer} call {nth}: {last:?}");
            }
        }
    }
}
