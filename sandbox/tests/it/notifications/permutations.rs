//! The notifications of a payment's whole life, in every order, repeated, and two at once: the record reaches the same end.

use connector::flow::Disposition;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::Value;

use crate::notifications::{assert_balanced, authorised, capturing, only_payment_ids, payment_record};

/// All orders of so many things.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(count - 1);
    shorter.iter().flat_map(|order| (0..count).map(move |place| [&order[..place], &[count - 1], &order[place..]].concat())).collect()
}

/// Delivers as queues do: a deferred message comes back behind the others, and a requeued one is delivered in between.
async fn deliver_all(env: &TestEnvironment, messages: &[String]) {
    let mut queue = messages.to_vec();
    for _ in 0..100 {
        for message in std::mem::take(&mut queue) {
            if let Disposition::Retry { .. } = env.deliver_notification(&message).await {
                queue.push(message);
            }
            env.deliver_requeued().await;
        }
        if queue.is_empty() {
            return;
        }
        env.clock.advance(std::time::Duration::from_secs(60));
    }
    panic!("{} messages are never settled", queue.len());
}

/// What of a record must not depend on the order.
fn order_independent_part(mut record: Value) -> Value {
    // Whether Cleeng heard of a loss as "refunded" or as "rejected" depends on what it knew by then.
    record.as_object_mut().unwrap().remove("loss_reported");
    // A capture that succeeded after Cleeng heard of its failure is another payment there, or is given back if the period is not due.
    for field in ["cleeng_payment", "order", "refunds"] {
        record.as_object_mut().unwrap().remove(field);
    }
    record
}

/// The messages of a life; the order is the one in which they happened.
type PaymentEvents = fn(&TestEnvironment);

async fn messages_after(env: &TestEnvironment, life: PaymentEvents) -> Vec<String> {
    life(env);
    env.collect_notifications().await
}

async fn every_order_ends_alike<F: Future<Output = (TestEnvironment, sandbox::testkit::harness::TestSubscriber)>>(
    scene: fn() -> F,
    life: PaymentEvents,
    state: &str,
    balanced: bool,
) {
    let (env, _) = scene().await;
    let messages = messages_after(&env, life).await;
    deliver_all(&env, &messages).await;
    let expected = order_independent_part(payment_record(&env).await);
    assert_eq!(expected["state"], state);
    for order in permutations(messages.len()) {
        for repetitions in [1, 5] {
            let (env, _) = scene().await;
            let messages = messages_after(&env, life).await;
            let shuffled: Vec<String> = order.iter().flat_map(|index| std::iter::repeat_n(messages[*index].clone(), repetitions)).collect();
            deliver_all(&env, &shuffled).await;
            assert_eq!(order_independent_part(payment_record(&env).await), expected, "{order:?}, each {repetitions} times");
            if balanced {
                assert_balanced(&env);
            }
        }
    }
}

#[tokio::test]
async fn authorised_and_captured() {
    every_order_ends_alike(capturing, |env| env.adyen.process(), "captured", true).await;
}

#[tokio::test]
async fn captured_failed_and_captured_again() {
    let life: PaymentEvents = |env| {
        env.adyen.process();
        let psp = only_payment_ids(env).0;
        env.adyen.capture_fails_later(&psp);
        env.adyen.recapture(&psp);
    };
    // Where Cleeng heard of the failure it cannot be told of the second capture: an operator was called.
    every_order_ends_alike(capturing, life, "captured", false).await;
}

#[tokio::test]
async fn captured_and_failed_later() {
    let life: PaymentEvents = |env| {
        env.adyen.process();
        env.adyen.capture_fails_later(&only_payment_ids(env).0);
    };
    every_order_ends_alike(capturing, life, "capture_failed", true).await;
}

#[tokio::test]
async fn charged_back_won_and_charged_back_again() {
    let life: PaymentEvents = |env| {
        env.adyen.process();
        let psp = only_payment_ids(env).0;
        env.adyen.charge_back(&psp);
        env.adyen.reverse_chargeback(&psp);
        env.adyen.charge_back(&psp);
    };
    every_order_ends_alike(capturing, life, "charged_back", true).await;
}

#[tokio::test]
async fn charged_back_and_won() {
    let life: PaymentEvents = |env| {
        env.adyen.process();
        let psp = only_payment_ids(env).0;
        env.adyen.charge_back(&psp);
        env.adyen.reverse_chargeback(&psp);
    };
    every_order_ends_alike(capturing, life, "captured", false).await;
}

#[tokio::test]
async fn authorised_and_expired() {
    every_order_ends_alike(authorised, |env| env.adyen.expire(&only_payment_ids(env).0), "expired", false).await;
}

#[tokio::test]
async fn a_failed_capture() {
    let life: PaymentEvents = |env| {
        env.adyen.fail_next_modification("refused");
        env.adyen.process();
    };
    every_order_ends_alike(capturing, life, "capture_failed", false).await;
}
