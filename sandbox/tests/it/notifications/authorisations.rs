//! Authorisations whose result comes by notification: late, or before the response to the call.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::RetryReason;
use sandbox::simulators::network::Fault;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::gateway_fixtures::ADYEN_CAPTURE_ONLY_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use crate::notifications::{assert_balanced, at_first_attempt, completed, only_payment_ids, payment_state, statuses};

fn pending() -> Disposition {
    completed("payment_pending")
}

#[tokio::test]
async fn a_pending_authorisation_continues_when_the_bank_has_decided() {
    let (env, subscriber) = at_first_attempt();
    env.adyen.set_next_result_code(&subscriber.stored_id, "Received");
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, pending());
    assert_eq!(env.deliver_notifications().await, [completed("authorised")]);
    assert_eq!(statuses(&env), []);
    assert_eq!(env.deliver_requeued().await, [completed("authorised")]);
    assert_eq!(statuses(&env), [PaymentStatus::Authorised]);
    assert_balanced(&env);
    // It is as live as any other.
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_pending_authorisation_that_is_declined_is_rejected() {
    let (env, subscriber) = at_first_attempt();
    env.adyen.set_next_result_code(&subscriber.stored_id, "Pending");
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, pending());
    let (psp, reference) = only_payment_ids(&env);
    let declined = env.adyen.notification("AUTHORISATION", false, &psp, "", &reference);
    let messages = env.post_accepted_notification(&json!({}), declined.as_bytes()).await;
    assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("authorisation_declined")]);
    assert_eq!(env.deliver_requeued().await, [completed("declined")]);
    assert_eq!((statuses(&env), payment_state(&env).await.as_str()), (vec![PaymentStatus::Rejected], "declined"));
}

#[tokio::test]
async fn a_pending_charge_is_captured_when_the_bank_has_decided() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    env.adyen.set_next_result_code(&subscriber.stored_id, "Received");
    assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, pending());
    assert_eq!(env.deliver_notifications().await, [completed("authorised")]);
    assert_eq!(env.deliver_requeued().await, [completed("captured")]);
    assert_eq!((statuses(&env), env.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_notification_settles_a_call_whose_answer_was_lost() {
    let (env, subscriber) = at_first_attempt();
    env.network.inject(Fault::TimeoutAfter, |peer, request| peer == "adyen" && request.path.ends_with("/payments"));
    let event = env.authorisation_event(&subscriber, 72);
    assert_eq!(env.deliver(&event).await, Disposition::Retry { after: None, reason: RetryReason::GatewayUnknown });
    assert_eq!(env.deliver_notifications().await, [completed("authorised")]);
    assert_eq!(env.deliver(&event).await, completed("authorised"));
    let calls = env.network.calls().into_iter().filter(|call| call.server == "adyen").count();
    assert_eq!(calls, 1, "nothing had to be asked again");
    assert_eq!(statuses(&env), [PaymentStatus::Authorised]);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_notification_that_comes_before_the_answer_does_not_disturb_the_worker() {
    for head_start in 0..40 {
        let (env, subscriber) = at_first_attempt();
        let event = env.authorisation_event(&subscriber, 72);
        let flow = async { env.deliver(&event).await };
        let notification = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            let messages = env.collect_notifications().await;
            let mut dispositions = Vec::new();
            for message in &messages {
                dispositions.push(env.deliver_notification(message).await);
            }
            (messages, dispositions)
        };
        let (first, (messages, _)) = tokio::join!(flow, notification);
        assert_eq!(first, completed("authorised"), "after {head_start} turns the worker lost its result");
        env.deliver_messages_until_settled(&messages).await;
        env.deliver_notifications().await;
        assert_eq!((statuses(&env), payment_state(&env).await.as_str()), (vec![PaymentStatus::Authorised], "authorised"));
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn a_notification_waits_for_the_lease_of_a_crashed_worker_and_then_settles_its_call() {
    let (env, subscriber) = at_first_attempt();
    let event = env.authorisation_event(&subscriber, 72);
    // GET subscription, journal, order, journal, and the payment.
    env.crash_point.arm(4, CrashTiming::After);
    assert!(env.crash_point.run(env.deliver(&event)).await.is_none());
    assert_eq!(env.adyen.authorisations(), 1);
    let messages = env.collect_notifications().await;
    let waiting = Disposition::Retry { after: Some(Duration::from_secs(10)), reason: RetryReason::PaymentLeased };
    assert_eq!(env.deliver_notification(&messages[0]).await, waiting);
    env.clock.advance(Duration::from_secs(90));
    assert_eq!(env.deliver_notification(&messages[0]).await, completed("authorised"));
    assert_eq!(env.deliver(&event).await, completed("authorised"));
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/payments"), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn an_authorisation_found_after_the_attempt_was_parked_is_reported_and_raises_an_alarm() {
    let (env, subscriber) = at_first_attempt();
    let is_payment =
        |peer: &str, request: &sandbox::simulators::network::ServerRequest| peer == "adyen" && request.path.ends_with("/payments");
    for _ in 0..200 {
        env.network.inject(Fault::TimeoutAfter, is_payment);
    }
    let event = env.authorisation_event(&subscriber, 72);
    while let Disposition::Retry { .. } | Disposition::Postponed(_) = env.deliver(&event).await {
        env.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(env.metrics.count(Metric::Parked, "outcome_unknown"), 1);
    assert_eq!(env.deliver_notifications().await, [completed("authorised")]);
    assert_eq!(env.metrics.count(Metric::Alarm, "authorised_without_open_attempt"), 1);
    assert_eq!((payment_state(&env).await.as_str(), statuses(&env)), ("authorised", vec![PaymentStatus::Authorised]));
    assert_eq!(env.requeue.take_events().len(), 0);
}
