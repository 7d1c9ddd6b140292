//! An answer that something in between gives in Cleeng's place is not Cleeng's: a redirect, a page, a route that is lost for hours. What is
//! reported meanwhile is asked about and reported again, until Cleeng itself has said something.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use sandbox::simulators::network::{Fault, ServerRequest, ServerResponse};
use sandbox::testkit::harness::TestEnvironment;
use sandbox::testkit::queue_worker::time_to_come_back;
use serde_json::json;

use crate::money::fixtures::{assert_balanced, completed, parked, statuses};

const HOUR: Duration = Duration::from_secs(3_600);
const QUARTER_HOUR: Duration = Duration::from_secs(900);

fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.method != Method::GET && request.path.contains("/payments")
}

/// What a proxy, a firewall or an API gateway says.
fn answers() -> Vec<ServerResponse> {
    let page = |status| {
        let mut page = ServerResponse::empty(status).with_header("content-type", "text/html");
        page.body = "<html><body>Sorry</body></html>".into();
        page
    };
    let message = |status| ServerResponse::json(status, &json!({ "message": "Not Found" }));
    let redirect = ServerResponse::empty(302).with_header("location", "https://maintenance.example.com/");
    vec![redirect, page(404), page(400), page(403), page(422), page(425), page(200), page(503), message(404), message(400), message(422)]
}

/// For so long every report gets this answer; then nothing is in between any more. Returns how the event ends.
async fn deliver_through(
    env: &TestEnvironment,
    event: &sandbox::simulators::cleeng::SentWebhook,
    answer: &ServerResponse,
    last: Duration,
) -> Disposition {
    let until = env.now().after(last);
    while env.now() < until {
        env.network.clear_faults();
        for _ in 0..4 {
            env.network.inject(Fault::AnswerBefore(answer.clone()), is_report);
        }
        let disposition = env.deliver(event).await;
        let Some(after) = time_to_come_back(&disposition) else { return disposition };
        env.process_gateways();
        env.deliver_notifications().await;
        env.clock.advance(after.max(QUARTER_HOUR));
    }
    env.network.clear_faults();
    env.deliver_until_settled(event).await
}

#[tokio::test]
async fn a_charge_is_reported_once_after_eight_hours_of_answers_from_in_between() {
    for answer in answers() {
        let env = TestEnvironment::default();
        for fixture in &env.gateways {
            let subscriber = env.subscriber(fixture.capture_only_method);
            env.clock.advance_to(subscriber.due);
            let event = env.capture_event(&subscriber);
            let context = format!("{} {:?}", fixture.capture_only_method, answer.status);
            assert_eq!(deliver_through(&env, &event, &answer, 8 * HOUR).await, completed("captured"), "{context}");
            let renewed = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
            assert!(renewed.date_to > subscriber.due, "{context}");
        }
        env.process_gateways();
        assert_eq!(statuses(&env), vec![PaymentStatus::Captured; env.gateways.len()]);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn an_authorisation_and_its_capture_are_reported_once_after_hours_of_answers_from_in_between() {
    for answer in answers() {
        let env = TestEnvironment::default();
        for fixture in &env.gateways {
            let subscriber = env.subscriber(fixture.method);
            env.clock.advance_to(subscriber.due.before(72 * HOUR));
            let context = format!("{} {:?}", fixture.method, answer.status);
            let authorisation = env.authorisation_event(&subscriber, 72);
            assert_eq!(deliver_through(&env, &authorisation, &answer, 8 * HOUR).await, completed("authorised"), "{context}");
            env.clock.advance_to(subscriber.due);
            let capture = env.capture_event(&subscriber);
            assert_eq!(deliver_through(&env, &capture, &answer, 8 * HOUR).await, completed("captured"), "{context}");
        }
        env.process_gateways();
        assert_eq!(statuses(&env), vec![PaymentStatus::Captured; env.gateways.len()]);
        assert_balanced(&env);
    }
}

/// The report is booked, and something in between answers in Cleeng's place.
#[tokio::test]
async fn a_report_that_was_booked_behind_an_answer_from_in_between_is_not_made_twice() {
    for status in [302, 404, 400, 422, 403, 425] {
        let env = TestEnvironment::default();
        for fixture in &env.gateways {
            let subscriber = env.subscriber(fixture.capture_only_method);
            env.clock.advance_to(subscriber.due);
            env.network.inject(Fault::StatusAfter(status), is_report);
            assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"), "{status}");
        }
        env.process_gateways();
        assert_eq!(env.network.delivered_count("cleeng", &Method::POST, "/payments"), env.gateways.len(), "{status}");
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn what_is_in_between_for_longer_than_an_outcome_is_asked_about_is_parked() {
    for answer in answers().into_iter().take(2) {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(env.gateways[0].capture_only_method);
        env.clock.advance_to(subscriber.due);
        let event = env.capture_event(&subscriber);
        assert_eq!(deliver_through(&env, &event, &answer, 30 * HOUR).await, parked("report_unknown"));
        let charged: i64 = env.gateways[0].simulator.ledger().iter().map(|entry| entry.captured.minor).sum();
        assert_eq!((statuses(&env), charged), (vec![], 999), "an operator knows of it");
    }
}

#[tokio::test]
async fn a_subscription_is_ended_after_hours_of_answers_from_in_between() {
    for answer in answers() {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(env.gateways[0].method);
        env.clock.advance_to(subscriber.due.after(3 * HOUR));
        let event = env.termination_event(&subscriber);
        for _ in 0..20 {
            env.network.clear_faults();
            for _ in 0..2 {
                env.network.inject(Fault::AnswerBefore(answer.clone()), |_, request| {
                    request.method != Method::GET && request.path.contains("/subscriptions")
                });
            }
            let waits = env.deliver(&event).await;
            assert!(time_to_come_back(&waits).is_some(), "{:?}: {waits:?}", answer.status);
            env.clock.advance(QUARTER_HOUR);
        }
        env.network.clear_faults();
        assert_eq!(env.deliver(&event).await, completed("terminated"));
    }
}

/// A question that something in between answers is no word of Cleeng's either: nothing is ended, and nothing is gone.
#[tokio::test]
async fn a_subscription_that_something_in_between_does_not_find_is_neither_ended_nor_charged() {
    for answer in answers() {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(env.gateways[0].capture_only_method);
        env.clock.advance_to(subscriber.due.after(51 * HOUR));
        for event in [env.termination_event(&subscriber), env.capture_event(&subscriber)] {
            env.network.inject(Fault::AnswerBefore(answer.clone()), |_, request| request.method == Method::GET);
            let waits = env.deliver(&event).await;
            assert!(time_to_come_back(&waits).is_some(), "{:?}: {waits:?}", answer.status);
        }
        assert_eq!((statuses(&env), env.gateways[0].simulator.ledger().len()), (vec![], 0));
    }
}
