//! The rounds themselves: what is brought back, in which order, and how little time is enough.

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::Clock as _;
use connector::flow::{Delivery, Rounds as _, Tally, Verdict};
use connector::journal::store::StoreError;
use reconciliation::Reconciliation;
use sandbox::cleeng::{RefundRequest, SentWebhook};
use sandbox::house::Entry;
use sandbox::peer::Fault;
use sandbox::stage::{CAPTURE_ONLY_METHOD, METHOD, Stage, id};

use crate::{Buyer, HOUR};

/// A capture that Adyen took, whose message and whose notification are lost.
async fn lost_capture() -> Stage {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.clock.advance_to(cast.due);
    assert!(matches!(stage.deliver(&stage.capture(&cast)).await, Verdict::Later { .. }));
    stage.adyen.process();
    stage.adyen.take_notifications();
    stage
}

#[tokio::test]
async fn an_event_whose_message_is_lost_goes_back_to_its_queue_and_is_settled() {
    let stage = lost_capture().await;
    for _ in 0..24 {
        stage.clock.advance(HOUR / 12);
        stage.go_round().await;
        stage.run_until_quiet().await;
    }
    assert_eq!(stage.cleeng.payments()[0].status, PaymentStatus::Captured);
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}

/// Seed 15950. Copies of an event that waits were brought back while it was on its queue: up to twenty in a day, each of which stayed.
#[tokio::test]
async fn an_event_that_is_on_its_queue_is_not_brought_back_and_one_that_got_lost_is_once() {
    let (stage, event) = waiting_for_a_cancel().await;
    let mut copies = 0;
    for _ in 0..6 * 4 {
        // As its queue does, at its longest backoff.
        assert_eq!(stage.deliver(&event).await, Verdict::Later { after: None, reason: "cancel_not_final" });
        for _ in 0..3 {
            stage.clock.advance(HOUR / 12);
            copies += stage.go_round().await.brought_back;
        }
    }
    assert_eq!(copies, 0);
    for _ in 0..3 * 12 {
        stage.clock.advance(HOUR / 12);
        copies += stage.go_round().await.brought_back;
    }
    assert_eq!(copies, 1, "nobody delivers it any more");
    for _ in 0..10 * 4 {
        stage.road.lay(Fault::NotSent, |_, request| request.path.ends_with("/authorised_payments"));
        assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
        stage.clock.advance(HOUR / 4);
        copies += stage.go_round().await.brought_back;
    }
    assert_eq!(copies, 1, "the copy is on its queue, whatever keeps its function from saying so");
}

/// Old details that are to be deleted, and whose hold the gateway has taken the order to release and has not said what became of it.
async fn waiting_for_a_cancel() -> (Stage, SentWebhook) {
    let stage = Stage::new(|rules| rules.delete_deactivated_details = true);
    let mut cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.change_card(&mut cast, METHOD);
    let mut sent = stage.cleeng.due_webhooks();
    sent.retain(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated);
    (stage, sent.remove(0))
}

#[tokio::test]
async fn a_refund_whose_notification_is_lost_is_asked_about_the_more_seldom_the_older_it_is() {
    let stage = Stage::default();
    let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, Verdict::Settled("captured"));
    let payment = stage.cleeng.payments()[0].id.clone();
    let asked = RefundRequest { amount: None, id: Some(id("1")), reason: None };
    assert_eq!(stage.deliver(&stage.cleeng.refund_event(&payment, &asked).unwrap()).await, Verdict::Settled("refund_received"));
    stage.adyen.process();
    let _ = stage.adyen.take_notifications();
    let mut brought_back = Vec::new();
    for hour in 0..72 {
        let mut times = 0;
        for _ in 0..12 {
            stage.clock.advance(HOUR / 12);
            times += stage.go_round().await.brought_back;
            stage.deliver_requeued().await;
        }
        if hour == 0 || hour == 71 {
            brought_back.push(times);
        }
    }
    assert!(brought_back[0] >= 3 && brought_back[1] <= 1, "{brought_back:?}");
}

#[tokio::test]
async fn two_rounds_at_once_do_everything_once_wherever_they_meet() {
    for head_start in 0..20 {
        let stage = lost_capture().await;
        stage.clock.advance(HOUR);
        let second = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            stage.go_round().await
        };
        let (one, other) = tokio::join!(stage.go_round(), second);
        assert_eq!(one.brought_back + other.brought_back, 1, "{head_start}: {one:?} {other:?}");
        assert_eq!(stage.requeue.take().len(), 1);
    }
}

#[tokio::test]
async fn a_round_without_time_begins_nothing_and_the_next_one_goes_on() {
    let stage = lost_capture().await;
    stage.clock.advance(HOUR);
    let now = stage.clock.now();
    let hurried = Delivery { id: "hurried".to_owned(), deadline: now.after(HOUR / 120), received_at: now, count: 1 };
    assert_eq!(Reconciliation.go(&stage.world, &hurried).await, Tally::default());
    assert_eq!(stage.go_round().await.brought_back, 1);
}

#[tokio::test]
async fn what_cannot_be_helped_does_not_keep_the_others_from_being_looked_at() {
    let stage = Stage::default();
    // More customers who are away than are asked for at a time, and behind them one whose order is over.
    let late = Buyer::new(&stage);
    late.start(&stage, Entry::Asked, 1).await.unwrap();
    stage.clock.advance(23 * HOUR);
    for _ in 0..60 {
        Buyer::new(&stage).start(&stage, Entry::Asked, 1).await.unwrap();
    }
    stage.clock.advance(2 * HOUR);
    let tally = stage.go_round().await;
    assert_eq!((tally.due, tally.ended, tally.put_off), (61, 1, 60), "{tally:?}");
}

#[tokio::test]
async fn a_worker_at_his_work_is_left_alone() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    stage.switch.arm(2, sandbox::crash::When::After);
    assert!(stage.switch.run(stage.deliver(&stage.authorisation(&cast, 72))).await.is_none());
    // Its lease still runs, and its event is on its queue. The subscription's head is due as well, to look for the next event.
    let due = stage.world.store.due(stage.clock.now().after(HOUR), 10).await;
    assert_eq!(due.as_ref().map(Vec::len), Ok::<_, &StoreError>(2));
    assert_eq!(stage.go_round().await, Tally::default());
    stage.clock.advance(HOUR);
    assert_eq!(stage.go_round().await.put_off, 2);
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
}
