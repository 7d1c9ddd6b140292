//! Authorisations whose answer comes by notification: late, or before the answer to the call.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::crash::When;
use sandbox::peer::Fault;
use sandbox::stage::{CAPTURE_ONLY_METHOD, Stage};
use serde_json::json;

use crate::{assert_balanced, at_first_attempt, names, settled, state, statuses};

fn pending() -> Verdict {
    Verdict::Later { after: None, reason: "payment_pending" }
}

#[tokio::test]
async fn a_pending_authorisation_goes_on_when_the_bank_has_decided() {
    let (stage, cast) = at_first_attempt();
    stage.adyen.answer_next(&cast.stored, "Received");
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, pending());
    assert_eq!(stage.hear_gateways().await, [settled("authorised")]);
    assert_eq!(statuses(&stage), []);
    assert_eq!(stage.deliver_requeued().await, [settled("authorised")]);
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised]);
    assert_balanced(&stage);
    // It is as live as any other.
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_pending_authorisation_that_is_declined_is_rejected() {
    let (stage, cast) = at_first_attempt();
    stage.adyen.answer_next(&cast.stored, "Pending");
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, pending());
    let (psp, reference) = names(&stage);
    let declined = stage.adyen.notification("AUTHORISATION", false, &psp, "", &reference);
    let messages = stage.accepted(&json!({}), declined.as_bytes()).await;
    assert_eq!(stage.settle_all(&messages).await, [settled("authorisation_declined")]);
    assert_eq!(stage.deliver_requeued().await, [settled("declined")]);
    assert_eq!((statuses(&stage), state(&stage).await.as_str()), (vec![PaymentStatus::Rejected], "declined"));
}

#[tokio::test]
async fn a_pending_charge_is_captured_when_the_bank_has_decided() {
    let stage = Stage::default();
    let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    stage.adyen.answer_next(&cast.stored, "Received");
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, pending());
    assert_eq!(stage.hear_gateways().await, [settled("authorised")]);
    assert_eq!(stage.deliver_requeued().await, [settled("captured")]);
    assert_eq!((statuses(&stage), stage.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_notification_answers_for_a_call_whose_answer_was_lost() {
    let (stage, cast) = at_first_attempt();
    stage.road.lay(Fault::TimeoutAfter, |peer, request| peer == "adyen" && request.path.ends_with("/payments"));
    let event = stage.authorisation(&cast, 72);
    assert_eq!(stage.deliver(&event).await, Verdict::Later { after: None, reason: "gateway_unknown" });
    assert_eq!(stage.hear_gateways().await, [settled("authorised")]);
    assert_eq!(stage.deliver(&event).await, settled("authorised"));
    let calls = stage.road.calls().into_iter().filter(|call| call.peer == "adyen").count();
    assert_eq!(calls, 1, "nothing had to be asked again");
    assert_eq!(statuses(&stage), [PaymentStatus::Authorised]);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_notification_that_comes_before_the_answer_does_not_disturb_the_worker() {
    for head_start in 0..40 {
        let (stage, cast) = at_first_attempt();
        let event = stage.authorisation(&cast, 72);
        let flow = async { stage.deliver(&event).await };
        let notification = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            let messages = stage.take_notifications().await;
            let mut verdicts = Vec::new();
            for message in &messages {
                verdicts.push(stage.settle(message).await);
            }
            (messages, verdicts)
        };
        let (first, (messages, _)) = tokio::join!(flow, notification);
        assert_eq!(first, settled("authorised"), "after {head_start} turns the worker lost its result");
        stage.settle_all(&messages).await;
        stage.hear_gateways().await;
        assert_eq!((statuses(&stage), state(&stage).await.as_str()), (vec![PaymentStatus::Authorised], "authorised"));
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn a_notification_waits_for_the_lease_of_a_dead_worker_and_then_answers_for_it() {
    let (stage, cast) = at_first_attempt();
    let event = stage.authorisation(&cast, 72);
    // GET subscription, journal, order, journal, and the payment.
    stage.switch.arm(4, When::After);
    assert!(stage.switch.run(stage.deliver(&event)).await.is_none());
    assert_eq!(stage.adyen.authorisations(), 1);
    let messages = stage.take_notifications().await;
    let waiting = Verdict::Later { after: Some(Duration::from_secs(10)), reason: "payment_in_work" };
    assert_eq!(stage.settle(&messages[0]).await, waiting);
    stage.clock.advance(Duration::from_secs(90));
    assert_eq!(stage.settle(&messages[0]).await, settled("authorised"));
    assert_eq!(stage.deliver(&event).await, settled("authorised"));
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/payments"), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn money_that_turns_out_to_be_held_when_nobody_goes_on_any_more_is_alarmed() {
    let (stage, cast) = at_first_attempt();
    let is_payment = |peer: &str, request: &sandbox::peer::PeerRequest| peer == "adyen" && request.path.ends_with("/payments");
    for _ in 0..200 {
        stage.road.lay(Fault::TimeoutAfter, is_payment);
    }
    let event = stage.authorisation(&cast, 72);
    while let Verdict::Later { .. } = stage.deliver(&event).await {
        stage.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(stage.metrics.count(Metric::Parked, "outcome_unknown"), 1);
    assert_eq!(stage.hear_gateways().await, [settled("authorised")]);
    assert_eq!(stage.metrics.count(Metric::Alarm, "authorised_and_nobody_goes_on"), 1);
    assert_eq!((state(&stage).await.as_str(), statuses(&stage)), ("authorised", vec![]));
    assert_eq!(stage.requeue.take().len(), 0);
}
