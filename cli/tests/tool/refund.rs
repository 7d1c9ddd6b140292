//! Refunds that an operator asks for: made once, by the refund function, also where partial ones of Cleeng wait for an operator.

use std::sync::Arc;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::lambda::queue::CapturingQueue;
use connector::reason::CompletionReason;
use connectorctl::output::CommandOutput;
use sandbox::testkit::gateway_fixtures::STRIPE_CAPTURE_ONLY_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::support::{deliver_queued, run_command};

/// A renewal that is paid: 9.99 USD. With Cleeng's id of the payment.
async fn paid() -> (TestEnvironment, Arc<CapturingQueue>, String) {
    let stage = TestEnvironment::default();
    let subscriber = stage.subscriber(STRIPE_CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(subscriber.due);
    assert_eq!(stage.run_event(&stage.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    let id = stage.cleeng.payments()[0].id.to_string();
    (stage, Arc::new(CapturingQueue::default()), id)
}

async fn refund(stage: &TestEnvironment, queue: &Arc<CapturingQueue>, id: &str, more: &[&str]) -> CommandOutput {
    let words = [&["refund", id, "--by", "ann", "--note", "goodwill"], more].concat();
    run_command(stage, queue, &words).await
}

fn refunded(stage: &TestEnvironment) -> i64 {
    stage.gateways.iter().flat_map(|fixture| fixture.simulator.ledger()).map(|entry| entry.refunded.minor).sum()
}

#[tokio::test]
async fn a_refund_is_shown_first_and_made_once() {
    let (stage, queue, id) = paid().await;
    let shown = refund(&stage, &queue, &id, &[]).await;
    assert!(shown.exit_code == 0 && shown.text.contains("9.99 USD") && shown.text.contains("nothing was sent"), "{}", shown.text);
    assert!(queue.sent().is_empty());
    for _ in 0..2 {
        let sent = refund(&stage, &queue, &id, &["--apply"]).await;
        assert!(sent.exit_code == 0 && sent.text.contains("sent"), "{}", sent.text);
    }
    assert_eq!(deliver_queued(&stage, &queue).await, vec![Disposition::Completed(CompletionReason::Refunded); 2]);
    assert_eq!((refunded(&stage), stage.cleeng.payments()[0].status.clone()), (999, PaymentStatus::Refunded));
    let history = run_command(&stage, &queue, &["explain", &id]).await;
    assert!(history.text.contains("ann") && history.text.contains("goodwill"), "{}", history.text);
}

#[tokio::test]
async fn a_part_is_refunded_although_those_of_cleeng_are_parked() {
    let (stage, queue, id) = paid().await;
    let sent = refund(&stage, &queue, &id, &["--amount", "4.99", "--apply"]).await;
    assert_eq!(sent.exit_code, 0, "{}", sent.text);
    deliver_queued(&stage, &queue).await;
    assert_eq!(refunded(&stage), 499);
    let left = refund(&stage, &queue, &id, &["--apply"]).await;
    assert!(left.text.contains("refund 5.00 USD"), "all that is left: {}", left.text);
    deliver_queued(&stage, &queue).await;
    assert_eq!(refunded(&stage), 999);
}

#[tokio::test]
async fn what_cannot_be_refunded_is_explained_and_nothing_is_sent() {
    let (stage, queue, id) = paid().await;
    for (id, amount, word) in [
        ("300999999", "1.00", "knows no payment"),
        (&id, "10.00", "9.99 USD of the payment is left"),
        (&id, "0", "cannot be refunded"),
        (&id, "4,99", "major units"),
        (&id, "4.999", "major units"),
    ] {
        let answer = refund(&stage, &queue, id, &["--amount", amount, "--apply"]).await;
        assert!(answer.exit_code == 2 && answer.text.contains(word), "{word}: {}", answer.text);
    }
    assert!(queue.sent().is_empty());
}
