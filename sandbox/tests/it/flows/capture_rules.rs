//! When a capture event captures, waits, queries or is parked.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{BillingMode, Disposition};
use connector::metrics::Metric;
use connector::reason::{ParkReason, RetryReason};
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::flows::{assert_balanced, at_due_date_authorised, at_first_attempt, call_counts, completed, statuses};

#[tokio::test]
async fn a_capture_of_a_period_that_was_never_authorised_waits_queries_cleeng_and_is_parked() {
    let (env, subscriber) = at_first_attempt();
    env.clock.advance_to(subscriber.due);
    let capture = env.capture_event(&subscriber);
    assert_eq!(env.deliver(&capture).await, Disposition::Retry { after: None, reason: RetryReason::WaitingForAuthorisation });
    env.clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(env.deliver(&capture).await, Disposition::Retry { after: None, reason: RetryReason::WaitingForAuthorisation });
    assert_eq!(env.store.writes(), 0);
    env.clock.advance(Duration::from_secs(60));
    assert_eq!(env.deliver(&capture).await, Disposition::Parked(ParkReason::CaptureWithoutAuthorisation));
    // One that was made before this connector is not waited for: each delivery asks.
    assert_eq!(env.network.delivered_count("cleeng", &connector::http::Method::POST, "authorised_payments"), 3);
    assert_eq!(env.metrics.count(Metric::Parked, "capture_without_authorisation"), 1);
    assert_eq!(env.deliver(&capture).await, completed("parked"));
    assert_eq!((call_counts(&env), statuses(&env)), ((0, 0, 0), vec![]));
}

#[tokio::test]
async fn a_capture_that_comes_before_its_authorisation_waits_and_captures_once() {
    let (env, subscriber) = at_first_attempt();
    env.clock.advance_to(subscriber.due);
    assert!(!crate::flows::IS_COMPLETED(&env.deliver(&env.capture_event(&subscriber)).await));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 0)).await, completed("authorised"));
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(call_counts(&env), (1, 1, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_capture_that_names_other_details_never_captures_what_the_old_ones_hold() {
    let (env, mut subscriber) = at_due_date_authorised().await;
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let capture = env.capture_event(&subscriber);
    assert!(!crate::flows::IS_COMPLETED(&env.deliver(&capture).await));
    env.clock.advance(Duration::from_secs(3600));
    assert_eq!(env.deliver_until_settled(&capture).await, Disposition::Parked(ParkReason::CaptureWithoutAuthorisation));
    env.adyen.process();
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled]);
    assert_eq!(env.adyen.total_captured("USD"), 0);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_lapsed_authorisation_is_not_captured_and_the_next_attempt_authorises_again() {
    let (env, subscriber) = at_first_attempt();
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    expire_authorisation(&env).await;
    env.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    env.adyen.process();
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(env.adyen.total_captured("USD"), 999);
    assert_balanced(&env);
}

/// Adyen says no date; a gateway that does leaves it in the payment record. It is written there as that gateway's adapter would have it.
async fn expire_authorisation(env: &TestEnvironment) {
    use connector::journal::payment::PaymentRecord;
    use connector::journal::store::Key;
    use connector::journal::transaction::{Retention, Transaction};
    let reference = env.adyen.payments()[0].reference.clone();
    let key = Key::new("payment", &[&reference]);
    let mut work = Transaction::new(env.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let mut payment: PaymentRecord = work.read(&key).unwrap().unwrap();
    payment.expires_at = Some(connector::clock::Clock::now(&env.clock));
    work.stage(&key, &payment, Retention::default()).unwrap();
    work.commit().await.unwrap();
}

#[tokio::test]
async fn an_authorisation_made_before_this_connector_is_found_in_cleeng_and_captured() {
    let (old, subscriber) = at_due_date_authorised().await;
    // The same world, with a journal that knows nothing.
    let empty = std::sync::Arc::new(connector::journal::memory::MemoryStore::new(std::sync::Arc::new(old.clock.clone())));
    let env = TestEnvironment { flow_context: connector::flow::FlowContext { store: empty, ..old.flow_context.clone() }, ..old };
    env.clock.advance(Duration::from_secs(3600));
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_eq!(env.adyen.total_captured("USD"), 999);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_preexisting_authorisation_of_another_customer_or_offer_or_one_already_captured_is_not_captured() {
    let others: [fn(&mut serde_json::Value); 3] = [
        |payment| payment["customerId"] = "99".into(),
        |payment| payment["offerId"] = "S999_US".into(),
        |payment| payment["status"] = "captured".into(),
    ];
    for (number, other) in others.into_iter().enumerate() {
        let (old, subscriber) = at_due_date_authorised().await;
        let empty = std::sync::Arc::new(connector::journal::memory::MemoryStore::new(std::sync::Arc::new(old.clock.clone())));
        let env = TestEnvironment { flow_context: connector::flow::FlowContext { store: empty, ..old.flow_context.clone() }, ..old };
        env.clock.advance(Duration::from_secs(3600));
        let change = move |answer: &mut serde_json::Value| match answer {
            serde_json::Value::Array(list) => list.iter_mut().for_each(other),
            _ => answer.as_object_mut().unwrap().values_mut().filter_map(serde_json::Value::as_array_mut).flatten().for_each(other),
        };
        env.network.inject(sandbox::simulators::network::Fault::Mutate(std::sync::Arc::new(change)), |peer, request| {
            peer == "cleeng" && request.path.ends_with("/authorised_payments")
        });
        assert_eq!(
            env.deliver_until_settled(&env.capture_event(&subscriber)).await,
            Disposition::Parked(ParkReason::CaptureWithoutAuthorisation),
            "{number}"
        );
        assert_eq!(env.adyen.total_captured("USD"), 0, "{number}");
    }
}

#[tokio::test]
async fn a_live_authorisation_is_captured_even_if_billing_was_switched_to_capture_only() {
    let (old, subscriber) = at_due_date_authorised().await;
    let mut rules = (*old.flow_context.policy).clone();
    rules.methods.insert(
        id(ADYEN_METHOD),
        connector::flow::PaymentMethodConfig { gateway: connector::gateway::GatewayName::Adyen, billing: BillingMode::CaptureOnly },
    );
    let env = TestEnvironment {
        flow_context: connector::flow::FlowContext { policy: std::sync::Arc::new(rules), ..old.flow_context.clone() },
        ..old
    };
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!(call_counts(&env), (1, 1, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn the_payment_method_of_an_event_without_one_is_resolved_by_journal_or_cleeng() {
    use connector::cleeng::webhook::Topic;
    let (env, subscriber) = at_due_date_authorised().await;
    let mut body: serde_json::Value = serde_json::from_slice(&env.capture_event(&subscriber).body).unwrap();
    body["data"].as_object_mut().unwrap().remove("paymentMethodId");
    let bare = env.cleeng.event(Topic::SubscriptionReadyForPaymentCapture, &body["data"]);
    assert_eq!(env.deliver_until_settled(&bare).await, completed("captured"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_parked_event_is_kept_until_an_operator_decides_and_a_settled_one_is_not() {
    use connector::cleeng::envelope::Envelope;
    use connector::journal::record::Obligation;
    use connector::journal::store::Store;
    use connector::renewal::eligibility::period_key;
    let waiting = async |env: &TestEnvironment, subscriber: &sandbox::testkit::harness::TestSubscriber| {
        let key = period_key(&subscriber.ids.subscription, subscriber.due);
        let stored = env.store.load(&[key]).await.unwrap().remove(0).unwrap();
        serde_json::from_str::<Obligation>(&stored.body).unwrap().attempts.pop().unwrap().waiting_event
    };
    let (env, subscriber) = at_first_attempt();
    env.clock.advance_to(subscriber.due.after(Duration::from_secs(3600)));
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, Disposition::Parked(ParkReason::CaptureWithoutAuthorisation));
    let event = Envelope::from_text(&waiting(&env, &subscriber).await.unwrap()).unwrap().open().unwrap();
    assert_eq!(event.get().topic, connector::cleeng::webhook::Topic::SubscriptionReadyForPaymentCapture);

    let (env, subscriber) = at_due_date_authorised().await;
    env.deliver(&env.capture_event(&subscriber)).await;
    assert!(waiting(&env, &subscriber).await.is_some(), "while the gateway's word is awaited");
    env.deliver_until_settled(&env.capture_event(&subscriber)).await;
    assert_eq!(waiting(&env, &subscriber).await, None);
}

#[tokio::test]
async fn an_event_that_cannot_be_assigned_is_parked() {
    use connector::cleeng::webhook::Topic;
    use sandbox::simulators::network::Fault;
    let (env, subscriber) = at_first_attempt();
    let mut body: serde_json::Value = serde_json::from_slice(&env.authorisation_event(&subscriber, 72).body).unwrap();
    body["data"].as_object_mut().unwrap().remove("paymentMethodId");
    let bare = env.cleeng.event(Topic::SubscriptionReadyForPaymentAuthorisation, &body["data"]);
    let forget = |answer: &mut serde_json::Value| {
        answer.as_object_mut().unwrap().remove("paymentMethodId");
    };
    env.network.inject(Fault::Mutate(std::sync::Arc::new(forget)), |peer, _| peer == "cleeng");
    assert_eq!(env.deliver(&bare).await, Disposition::Parked(ParkReason::PaymentMethodUnknown));
    assert_eq!(call_counts(&env), (0, 0, 0));
}
