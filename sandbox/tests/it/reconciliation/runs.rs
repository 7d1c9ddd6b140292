//! The runs themselves: what is requeued, in which order, and with how little time.

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::Clock as _;
use connector::delivery::Delivery;
use connector::flow::{Disposition, RunReport, ScheduledJob as _};
use connector::journal::store::StoreError;
use connector::reason::{CompletionReason, RetryReason};
use reconciliation::Reconciliation;
use sandbox::simulators::cleeng::{OperatorRefund, SentWebhook};
use sandbox::simulators::simulated_gateway::EnteredDetails;
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::TestEnvironment;

use crate::reconciliation::{Buyer, HOUR};

/// A capture that Adyen took, whose message and whose notification are lost.
pub(crate) async fn with_lost_capture() -> TestEnvironment {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    env.clock.advance_to(subscriber.due);
    assert!(matches!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Retry { .. }));
    env.adyen.process();
    env.adyen.take_notifications();
    env
}

#[tokio::test]
async fn an_event_whose_message_is_lost_is_requeued_and_settled() {
    let env = with_lost_capture().await;
    for _ in 0..24 {
        env.clock.advance(HOUR / 12);
        env.run_reconciliation().await;
        env.run_until_idle().await;
    }
    assert_eq!(env.cleeng.payments()[0].status, PaymentStatus::Captured);
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}

/// Seed 15950. Copies of a waiting event were requeued while it was on its queue: up to twenty in a day, each of which stayed.
#[tokio::test]
async fn an_event_on_its_queue_is_not_requeued_and_one_that_left_it_comes_back_once() {
    let (env, event) = with_unconfirmed_cancel().await;
    let mut copies = 0;
    for _ in 0..4 {
        // As its queue does, at its longest backoff.
        assert_eq!(env.deliver(&event).await, Disposition::Retry { after: None, reason: RetryReason::CancelNotFinal });
        for _ in 0..3 {
            env.clock.advance(HOUR / 12);
            copies += env.run_reconciliation().await.requeued;
        }
    }
    assert_eq!(copies, 0);
    assert_eq!(env.deliver(&event).await, Disposition::Postponed(RetryReason::CancelNotFinal), "after an hour");
    for _ in 0..12 * 12 {
        env.clock.advance(HOUR / 12);
        copies += env.run_reconciliation().await.requeued;
    }
    assert_eq!(copies, 1, "the copy is on its queue");
    assert_eq!(env.deliver(&event).await, Disposition::Postponed(RetryReason::CancelNotFinal), "and leaves it again");
    for _ in 0..7 * 12 {
        env.clock.advance(HOUR / 12);
        copies += env.run_reconciliation().await.requeued;
    }
    assert_eq!(copies, 2);
}

/// Old details that are to be deleted, and whose hold the gateway has taken the order to release and has not said what became of it.
async fn with_unconfirmed_cancel() -> (TestEnvironment, SentWebhook) {
    let env = TestEnvironment::new(|rules| rules.delete_deactivated_details = true);
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let mut sent = env.cleeng.due_webhooks();
    sent.retain(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated);
    (env, sent.remove(0))
}

#[tokio::test]
async fn a_refund_whose_notification_is_lost_is_queried_less_often_with_age() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    let payment = env.cleeng.payments()[0].id.clone();
    let asked = OperatorRefund { amount: None, id: Some(id("1")), reason: None };
    assert_eq!(
        env.deliver(&env.cleeng.refund_event(&payment, &asked).unwrap()).await,
        Disposition::Completed(CompletionReason::RefundReceived)
    );
    env.adyen.process();
    let _ = env.adyen.take_notifications();
    let mut brought_back = Vec::new();
    for hour in 0..72 {
        let mut times = 0;
        for _ in 0..12 {
            env.clock.advance(HOUR / 12);
            times += env.run_reconciliation().await.requeued;
            env.deliver_requeued().await;
        }
        if hour == 0 || hour == 71 {
            brought_back.push(times);
        }
    }
    assert!(brought_back[0] >= 3 && brought_back[1] <= 1, "{brought_back:?}");
}

#[tokio::test]
async fn two_concurrent_runs_do_everything_once_at_every_interleaving() {
    for head_start in 0..20 {
        let env = with_lost_capture().await;
        env.clock.advance(HOUR);
        let second = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            env.run_reconciliation().await
        };
        let (one, other) = tokio::join!(env.run_reconciliation(), second);
        assert_eq!(one.requeued + other.requeued, 1, "{head_start}: {one:?} {other:?}");
        assert_eq!(env.requeue.take_events().len(), 1);
    }
}

#[tokio::test]
async fn a_run_without_time_starts_nothing_and_the_next_one_continues() {
    let env = with_lost_capture().await;
    env.clock.advance(HOUR);
    let now = env.clock.now();
    let hurried = Delivery { id: "hurried".to_owned(), deadline: now.after(HOUR / 120), received_at: now, count: 1 };
    assert_eq!(Reconciliation.run(&env.flow_context, &hurried).await, RunReport::default());
    assert_eq!(env.run_reconciliation().await.requeued, 1);
}

#[tokio::test]
async fn an_item_that_fails_does_not_block_the_others() {
    let env = TestEnvironment::default();
    // More customers who are away than are asked for at a time, and behind them one whose order is over.
    let late = Buyer::new(&env);
    late.start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    env.clock.advance(23 * HOUR);
    for _ in 0..60 {
        Buyer::new(&env).start(&env, EnteredDetails::ActionRequired, 1).await.unwrap();
    }
    env.clock.advance(2 * HOUR);
    let report = env.run_reconciliation().await;
    assert_eq!((report.due, report.finished, report.deferred), (61, 1, 60), "{report:?}");
}

#[tokio::test]
async fn a_leased_item_is_skipped() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    env.crash_point.arm(2, sandbox::testkit::crash::CrashTiming::After);
    assert!(env.crash_point.run(env.deliver(&env.authorisation_event(&subscriber, 72))).await.is_none());
    // Its lease still runs, and its event is on its queue. The subscription's head is due as well, to look for the next event.
    let due = env.flow_context.store.due(env.clock.now().after(HOUR), 10).await;
    assert_eq!(due.as_ref().map(Vec::len), Ok::<_, &StoreError>(2));
    assert_eq!(env.run_reconciliation().await, RunReport::default());
    env.clock.advance(HOUR);
    assert_eq!(env.run_reconciliation().await.deferred, 2);
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
}
