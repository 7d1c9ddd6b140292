//! Parked work from its cause to its end: real flows park it, the tool decides, real flows continue, and the gateway's ledger is checked.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{Disposition, PartialRefunds};
use connector::gateway::GatewayName;
use connector::lambda::queue::{CapturingQueue, QueueError};
use connector::money::{Currency, Money};
use connector::reason::{CompletionReason, ParkReason};
use sandbox::simulators::cleeng::OperatorRefund;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::support::{deliver_queued, run_command};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn is_authorise(peer: &str, request: &ServerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/payments")
}

/// A renewal whose authorisation has an unknown outcome, parked after three hours: Cleeng still knows its order then, which lapses after a
/// day.
async fn parked_by(fault: Fault) -> (TestEnvironment, TestSubscriber, String) {
    let stage = TestEnvironment::new(|rules| rules.unknown_deadline = Duration::from_secs(3 * 3600));
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.before(3 * DAY));
    for _ in 0..400 {
        stage.network.inject(fault.clone(), is_authorise);
    }
    let event = stage.authorisation_event(&cast, 72);
    while let Disposition::Retry { .. } | Disposition::Postponed(_) = stage.deliver(&event).await {
        stage.clock.advance(Duration::from_secs(900));
    }
    stage.network.clear_faults();
    let key = format!("period#{}#{}", cast.ids.subscription, cast.due.secs());
    (stage, cast, key)
}

fn resolve<'a>(key: &'a str, decision: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["parked", "resolve", key, "--as", decision, "--by", "night shift", "--note", "looked at both sides"], more].concat()
}

fn statuses(stage: &TestEnvironment) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

#[tokio::test]
async fn what_is_parked_is_listed_with_what_matters_for_the_decision() {
    let (stage, _, key) = parked_by(Fault::TimeoutAfter).await;
    let answer = run_command(&stage, &Arc::default(), &["parked", "list"]).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    let parked = &answer.json["parked"][0];
    assert_eq!((parked["obligation"].as_str(), parked["reason"].as_str()), (Some(key.as_str()), Some("outcome_unknown")));
    assert_eq!((parked["money_unknown"].as_bool(), parked["reference"].is_string()), (Some(true), true));
    assert!(answer.text.contains("UNKNOWN") && answer.text.contains(&key) && answer.json["cut"] == false, "{}", answer.text);
    let cut = run_command(&stage, &Arc::default(), &["parked", "list", "--limit", "0"]).await;
    assert!(cut.text.contains("raise --limit") && cut.json["cut"] == true, "{}", cut.text);
}

#[tokio::test]
async fn a_retry_asks_under_the_same_key_and_takes_the_money_once() {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore] {
        let (stage, cast, key) = parked_by(fault).await;
        let queue = Arc::new(CapturingQueue::default());
        let dry = run_command(&stage, &queue, &resolve(&key, "retry", &[])).await;
        assert!(dry.text.contains("nothing was changed") && queue.sent().is_empty(), "{}", dry.text);
        assert_eq!(run_command(&stage, &queue, &["parked", "list"]).await.json["parked"].as_array().map(Vec::len), Some(1));

        let answer = run_command(&stage, &queue, &resolve(&key, "retry", &["--apply"])).await;
        assert_eq!(answer.exit_code, 0, "{}", answer.text);
        assert_eq!(deliver_queued(&stage, &queue).await, [Disposition::Completed(CompletionReason::Authorised)]);
        assert_eq!((statuses(&stage), stage.adyen.authorisations()), (vec![PaymentStatus::Authorised], 1));
        stage.clock.advance_to(cast.due);
        assert_eq!(stage.deliver_until_settled(&stage.capture_event(&cast)).await, Disposition::Completed(CompletionReason::Captured));
        assert_eq!(stage.discrepancies(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_retry_whose_queue_is_away_goes_on_by_the_journal() {
    let (stage, _, key) = parked_by(Fault::TimeoutAfter).await;
    let queue = Arc::new(CapturingQueue::default());
    queue.fail_with(Some(QueueError::Unavailable));
    let answer = run_command(&stage, &queue, &resolve(&key, "retry", &["--apply"])).await;
    assert!(answer.exit_code == 0 && answer.text.contains("the next run of reconciliation requeues it"), "{}", answer.text);
    let due = connector::journal::store::Store::due(stage.store.as_ref(), connector::clock::Clock::now(&stage.clock), 5).await.unwrap();
    assert_eq!(due.iter().map(|due| due.as_str().to_owned()).collect::<Vec<_>>(), [key]);
}

#[tokio::test]
async fn after_done_nobody_is_called_and_nothing_is_charged() {
    let (stage, cast, key) = parked_by(Fault::TimeoutAfter).await;
    let queue = Arc::new(CapturingQueue::default());
    assert_eq!(run_command(&stage, &queue, &resolve(&key, "done", &["--apply"])).await.exit_code, 0);
    assert_eq!(run_command(&stage, &queue, &["parked", "list"]).await.text, "nothing is parked\n");
    assert_eq!(stage.deliver(&stage.authorisation_event(&cast, 24)).await, Disposition::Completed(CompletionReason::Parked));
    assert_eq!((stage.adyen.authorisations(), queue.sent().len()), (1, 0));
}

#[tokio::test]
async fn what_is_abandoned_after_a_look_at_the_gateway_is_tried_anew_by_the_next_attempt() {
    let (stage, cast, key) = parked_by(Fault::TimeoutBefore).await;
    let queue = Arc::new(CapturingQueue::default());
    let refused = run_command(&stage, &queue, &resolve(&key, "abandon", &["--apply"])).await;
    assert!(refused.exit_code == 2 && refused.text.contains("--no-money-moved"), "{}", refused.text);
    let answer = run_command(&stage, &queue, &resolve(&key, "abandon", &["--no-money-moved", "--apply"])).await;
    assert_eq!((answer.exit_code, stage.adyen.authorisations()), (0, 0), "{}", answer.text);
    stage.clock.advance_to(cast.due.before(DAY));
    assert_eq!(stage.deliver(&stage.authorisation_event(&cast, 24)).await, Disposition::Completed(CompletionReason::Authorised));
    assert_eq!(stage.adyen.authorisations(), 1);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture_event(&cast)).await, Disposition::Completed(CompletionReason::Captured));
    assert_eq!(stage.discrepancies(), Vec::<String>::new());
}

/// A second charge that was prevented because the first one was hours ago.
async fn charged_recently() -> (TestEnvironment, String) {
    let stage = TestEnvironment::default();
    let mut cast = stage.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver(&stage.capture_event(&cast)).await, Disposition::Completed(CompletionReason::Captured));
    let extended = stage.cleeng.subscription(&cast.ids.subscription).unwrap().date_to;
    cast.due = extended.after(Duration::from_secs(3 * 3600));
    stage.clock.advance(Duration::from_secs(3600));
    assert_eq!(stage.deliver(&stage.capture_event(&cast)).await, Disposition::Parked(ParkReason::ChargedRecently));
    (stage, format!("period#{}#{}", cast.ids.subscription, cast.due.secs()))
}

#[tokio::test]
async fn a_retry_of_what_had_begun_nothing_meets_the_same_guard_again() {
    let (stage, key) = charged_recently().await;
    let queue = Arc::new(CapturingQueue::default());
    let answer = run_command(&stage, &queue, &resolve(&key, "retry", &["--apply"])).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert_eq!(deliver_queued(&stage, &queue).await, [Disposition::Parked(ParkReason::ChargedRecently)]);
    stage.adyen.process();
    assert_eq!(stage.adyen.total_captured("USD"), 999, "one charge");
}

#[tokio::test]
async fn where_the_event_cannot_be_queued_it_is_parked_again() {
    let (stage, key) = charged_recently().await;
    let queue = Arc::new(CapturingQueue::default());
    queue.fail_with(Some(QueueError::Refused("access denied")));
    let answer = run_command(&stage, &queue, &resolve(&key, "retry", &["--apply"])).await;
    assert!(answer.exit_code == 2 && answer.text.contains("parked again") && answer.text.contains("OperatorRoleArn"), "{}", answer.text);
    assert_eq!(run_command(&stage, &queue, &["parked", "list"]).await.json["parked"][0]["obligation"], key.as_str());
}

#[tokio::test]
async fn a_decision_about_nothing_is_refused_with_what_to_do() {
    let stage = TestEnvironment::default();
    let answer = run_command(&stage, &Arc::default(), &resolve("period#1#2", "done", &["--apply"])).await;
    assert!(answer.exit_code == 2 && answer.text.contains("parked list"), "{}", answer.text);
}

/// A partial refund of a charge, parked because the rules say so.
async fn partial_refund() -> (TestEnvironment, sandbox::simulators::cleeng::SentWebhook, String) {
    let stage = TestEnvironment::new(|rules| rules.partial_refunds = PartialRefunds::Park);
    let cast = stage.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture_event(&cast)).await, Disposition::Completed(CompletionReason::Captured));
    let payment = stage.cleeng.payments()[0].id.clone();
    let asked = OperatorRefund { amount: Some(Money::new(300, Currency::new("USD").unwrap())), id: Some(id("77")), reason: None };
    let event = stage.cleeng.refund_event(&payment, &asked).unwrap();
    assert_eq!(stage.deliver(&event).await, Disposition::Parked(ParkReason::PartialRefund));
    (stage, event, format!("refund#{payment}#77"))
}

#[tokio::test]
async fn a_refund_that_was_abandoned_is_judged_anew_when_cleeng_asks_again() {
    let (stage, event, key) = partial_refund().await;
    assert_eq!(stage.deliver(&event).await, Disposition::Completed(CompletionReason::Parked), "a repetition changes nothing");
    let answer = run_command(&stage, &Arc::default(), &resolve(&key, "abandon", &["--apply"])).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert_eq!(stage.deliver(&event).await, Disposition::Parked(ParkReason::PartialRefund), "it is no repetition any more");
    assert_eq!(stage.adyen.total_refunded("USD"), 0);
}

#[tokio::test]
async fn a_refund_that_was_done_by_hand_is_not_done_again() {
    let (stage, event, key) = partial_refund().await;
    assert_eq!(run_command(&stage, &Arc::default(), &resolve(&key, "done", &["--apply"])).await.exit_code, 0);
    assert_eq!(stage.deliver(&event).await, Disposition::Completed(CompletionReason::Parked));
    assert_eq!(run_command(&stage, &Arc::default(), &["parked", "list"]).await.text, "nothing is parked\n");
    assert_eq!(stage.adyen.total_refunded("USD"), 0);
}

#[tokio::test]
async fn a_hold_that_an_operator_saw_to_calls_nobody_again() {
    let stage = TestEnvironment::default();
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.before(3 * DAY));
    assert_eq!(stage.deliver(&stage.authorisation_event(&cast, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    // Ours is released by what the journal knows of it, and is not on the list any more then.
    let nameless = |body: &mut serde_json::Value| {
        if let Some(payment) = body["data"].get_mut(0).and_then(serde_json::Value::as_object_mut) {
            payment.remove("externalPaymentId");
            payment.insert("id".to_owned(), serde_json::json!(999_999_999));
        }
    };
    let list = |peer: &str, request: &ServerRequest| peer == "cleeng" && request.path.ends_with("/authorised_payments");
    let event = stage.cleeng.deactivation_event(&cast.ids.details).unwrap();
    stage.network.inject(Fault::Mutate(Arc::new(nameless)), list);
    assert_eq!(stage.deliver(&event).await, Disposition::Parked(ParkReason::AuthorisationNotReleased));
    let listed = run_command(&stage, &Arc::default(), &["parked", "list"]).await;
    let keys: Vec<String> =
        listed.json["parked"].as_array().unwrap().iter().map(|it| it["obligation"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 2, "{}", listed.text);
    for key in &keys {
        assert_eq!(run_command(&stage, &Arc::default(), &resolve(key, "done", &["--apply"])).await.exit_code, 0);
    }
    stage.network.inject(Fault::Mutate(Arc::new(nameless)), list);
    assert_eq!(stage.deliver(&event).await, Disposition::Completed(CompletionReason::Parked));
    assert_eq!(run_command(&stage, &Arc::default(), &["parked", "list"]).await.text, "nothing is parked\n");
}

#[tokio::test]
async fn a_charge_that_is_retried_is_taken_once_at_every_gateway_whatever_became_of_the_first_call() {
    for gateway in GatewayName::ALL {
        for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500)] {
            let stage = TestEnvironment::new(|rules| rules.unknown_deadline = Duration::from_secs(3 * 3600));
            let cast = stage.subscriber(stage.gateway(*gateway).capture_only_method);
            stage.clock.advance_to(cast.due);
            // Questions are not answered either.
            for _ in 0..400 {
                let name = gateway.as_str();
                stage.network.inject(fault.clone(), move |peer, request| peer == name && !request.path.ends_with("/oauth2/token"));
            }
            let event = stage.capture_event(&cast);
            while let Disposition::Retry { .. } | Disposition::Postponed(_) = stage.deliver(&event).await {
                stage.clock.advance(Duration::from_secs(900));
            }
            stage.network.clear_faults();
            let queue = Arc::new(CapturingQueue::default());
            let key = format!("period#{}#{}", cast.ids.subscription, cast.due.secs());
            let answer = run_command(&stage, &queue, &resolve(&key, "retry", &["--apply"])).await;
            assert_eq!(answer.exit_code, 0, "{gateway}: {}", answer.text);
            assert_eq!(deliver_queued(&stage, &queue).await, [Disposition::Completed(CompletionReason::Captured)], "{gateway}");
            stage.process_gateways();
            let taken: Vec<i64> =
                stage.gateway(*gateway).simulator.ledger().iter().map(|entry| entry.captured.minor).filter(|minor| *minor > 0).collect();
            assert_eq!(taken, [999], "{gateway}: one charge");
            assert_eq!(stage.discrepancies(), Vec::<String>::new(), "{gateway}");
        }
    }
}

#[tokio::test]
async fn after_an_outage_everything_that_it_parked_is_retried_at_once() {
    let stage = TestEnvironment::new(|rules| rules.unknown_deadline = Duration::from_secs(3 * 3600));
    let subscribers = [stage.subscriber(ADYEN_CAPTURE_ONLY_METHOD), stage.subscriber(ADYEN_CAPTURE_ONLY_METHOD)];
    stage.clock.advance_to(subscribers[0].due);
    for _ in 0..400 {
        stage.network.inject(Fault::StatusBefore(429), is_authorise);
    }
    for subscriber in &subscribers {
        let event = stage.capture_event(subscriber);
        while let Disposition::Retry { .. } | Disposition::Postponed(_) = stage.deliver(&event).await {
            stage.clock.advance(Duration::from_secs(900));
        }
    }
    stage.network.clear_faults();
    let queue = Arc::new(CapturingQueue::default());
    let parked = run_command(&stage, &queue, &["parked", "list"]).await;
    let reasons: Vec<_> = parked.json["parked"].as_array().unwrap().iter().map(|work| work["reason"].clone()).collect();
    assert_eq!(reasons, ["gateway_unavailable", "gateway_unavailable"], "{}", parked.text);
    let all = |more: &[&'static str]| {
        let words =
            ["parked", "resolve", "--reason", "gateway_unavailable", "--as", "retry", "--by", "night shift", "--note", "it is back"];
        [&words, more].concat()
    };
    let shown = run_command(&stage, &queue, &all(&[])).await;
    assert!(shown.text.contains("2 resolved, 0 refused") && queue.sent().is_empty(), "{}", shown.text);
    let answer = run_command(&stage, &queue, &all(&["--apply"])).await;
    assert_eq!((answer.exit_code, answer.json["resolved"].as_array().map(Vec::len)), (0, Some(2)), "{}", answer.text);
    let captured = Disposition::Completed(CompletionReason::Captured);
    assert_eq!(deliver_queued(&stage, &queue).await, [captured.clone(), captured]);
    assert_eq!(run_command(&stage, &queue, &["parked", "list"]).await.text, "nothing is parked\n");
    assert_eq!((stage.adyen.total_captured("USD"), stage.discrepancies()), (2 * 999, Vec::new()));
}
