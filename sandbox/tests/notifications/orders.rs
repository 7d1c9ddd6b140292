//! The notifications of a payment's whole life, in every order, repeated, and two at once: the record comes to the same end.

use connector::flow::Verdict;
use sandbox::stage::Stage;
use serde_json::Value;

use crate::{assert_balanced, authorised, capturing, names, record};

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    shorter.iter().flat_map(|order| (0..count).map(move |place| [&order[..place], &[count - 1], &order[place..]].concat())).collect()
}

/// Delivers as queues do: what is put off comes back behind the others, and what is brought back is delivered in between.
async fn play(stage: &Stage, messages: &[String]) {
    let mut queue = messages.to_vec();
    for _ in 0..100 {
        for message in std::mem::take(&mut queue) {
            if let Verdict::Later { .. } = stage.settle(&message).await {
                queue.push(message);
            }
            stage.deliver_requeued().await;
        }
        if queue.is_empty() {
            return;
        }
        stage.clock.advance(std::time::Duration::from_secs(60));
    }
    panic!("{} messages are never settled", queue.len());
}

/// What of a record must not depend on the order.
fn end(mut record: Value) -> Value {
    // Whether Cleeng heard of a loss as "refunded" or as "rejected" depends on what it knew by then.
    record.as_object_mut().unwrap().remove("loss_reported");
    record
}

/// The messages of a life; the order is the one in which they happened.
type Life = fn(&Stage);

async fn messages_of(stage: &Stage, life: Life) -> Vec<String> {
    life(stage);
    stage.take_notifications().await
}

async fn every_order_has_one_end<F: Future<Output = (Stage, sandbox::stage::Cast)>>(
    scene: fn() -> F,
    life: Life,
    state: &str,
    balanced: bool,
) {
    let (stage, _) = scene().await;
    let messages = messages_of(&stage, life).await;
    play(&stage, &messages).await;
    let expected = end(record(&stage).await);
    assert_eq!(expected["state"], state);
    for order in orders(messages.len()) {
        for repetitions in [1, 5] {
            let (stage, _) = scene().await;
            let messages = messages_of(&stage, life).await;
            let shuffled: Vec<String> = order.iter().flat_map(|index| std::iter::repeat_n(messages[*index].clone(), repetitions)).collect();
            play(&stage, &shuffled).await;
            assert_eq!(end(record(&stage).await), expected, "{order:?}, each {repetitions} times");
            if balanced {
                assert_balanced(&stage);
            }
        }
    }
}

#[tokio::test]
async fn authorised_and_captured() {
    every_order_has_one_end(capturing, |stage| stage.adyen.process(), "captured", true).await;
}

#[tokio::test]
async fn captured_failed_and_captured_again() {
    let life: Life = |stage| {
        stage.adyen.process();
        let psp = names(stage).0;
        stage.adyen.capture_fails_later(&psp);
        stage.adyen.capture_again(&psp);
    };
    // Where Cleeng heard of the failure it cannot be told of the second capture: an operator was called.
    every_order_has_one_end(capturing, life, "captured", false).await;
}

#[tokio::test]
async fn captured_and_failed_later() {
    let life: Life = |stage| {
        stage.adyen.process();
        stage.adyen.capture_fails_later(&names(stage).0);
    };
    every_order_has_one_end(capturing, life, "capture_failed", true).await;
}

#[tokio::test]
async fn charged_back_won_and_charged_back_again() {
    let life: Life = |stage| {
        stage.adyen.process();
        let psp = names(stage).0;
        stage.adyen.charge_back(&psp);
        stage.adyen.reverse_chargeback(&psp);
        stage.adyen.charge_back(&psp);
    };
    every_order_has_one_end(capturing, life, "charged_back", true).await;
}

#[tokio::test]
async fn charged_back_and_won() {
    let life: Life = |stage| {
        stage.adyen.process();
        let psp = names(stage).0;
        stage.adyen.charge_back(&psp);
        stage.adyen.reverse_chargeback(&psp);
    };
    every_order_has_one_end(capturing, life, "captured", false).await;
}

#[tokio::test]
async fn authorised_and_expired() {
    every_order_has_one_end(authorised, |stage| stage.adyen.expire(&names(stage).0), "expired", false).await;
}

#[tokio::test]
async fn a_failed_capture() {
    let life: Life = |stage| {
        stage.adyen.fail_next_modification("refused");
        stage.adyen.process();
    };
    every_order_has_one_end(capturing, life, "capture_failed", false).await;
}
