//! The history behind an id, read from a journal that real flows wrote, with Cleeng queried over HTTP.

use std::sync::Arc;
use std::time::Duration;

use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::lambda::queue::CapturingQueue;
use connector::reason::{CompletionReason, ParkReason};
use connectorctl::output::CommandOutput;
use sandbox::simulators::network::{Fault, FaultyNetwork, RunningServer, SimulatedServer, serve};
use sandbox::testkit::gateway_fixtures;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::support::{deployed, run_command, run_command_with};

/// A renewal that was paid.
async fn paid_renewal() -> (TestEnvironment, TestSubscriber) {
    let stage = TestEnvironment::default();
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation_event(&cast, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture_event(&cast)).await, Disposition::Completed(CompletionReason::Captured));
    (stage, cast)
}

async fn explain(stage: &TestEnvironment, cleeng: &RunningServer, id: &str) -> CommandOutput {
    let mut settings = deployed();
    settings.insert("CLEENG_API_URL".to_owned(), format!("{}/3.1", cleeng.url()));
    run_command_with(stage, &Arc::default(), settings, "", &["explain", id]).await
}

async fn serve_cleeng(stage: &TestEnvironment) -> RunningServer {
    serve(Arc::new(stage.cleeng.clone()), FaultyNetwork::default(), "127.0.0.1:0".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_id_of_a_payment_tells_the_same_story() {
    let (stage, cast) = paid_renewal().await;
    let cleeng = serve_cleeng(&stage).await;
    let payment = stage.cleeng.payments()[0].clone();
    let subscription = cast.ids.subscription.to_string();
    let first = explain(&stage, &cleeng, &subscription).await;
    assert_eq!(first.exit_code, 0, "{}", first.text);
    for word in [
        "began to authorise the renewal",
        "step pay: done",
        "the money is held",
        "the money was captured",
        "captured, and reported to Cleeng",
    ] {
        assert!(first.text.contains(word), "{word}: {}", first.text);
    }
    assert!(first.text.contains(&format!("Cleeng: subscription {subscription} is active")), "{}", first.text);
    let period = format!("period#{subscription}#{}", cast.due.secs());
    let external = payment.external_payment_id.to_string();
    let reference = first.text.split_whitespace().find(|word| word.len() > 36 && word.contains('-')).unwrap().trim_end_matches(':');
    for id in [payment.id.as_str(), &external, &period, reference] {
        let told = explain(&stage, &cleeng, id).await;
        assert_eq!(told.json["happened"], first.json["happened"], "{id}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_told_as_unknown_with_where_to_look() {
    let stage = TestEnvironment::default();
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    stage.network.inject(Fault::TimeoutAfter, |peer, request| peer == "adyen" && request.path.ends_with("/payments"));
    assert!(matches!(stage.deliver(&stage.authorisation_event(&cast, 72)).await, Disposition::Retry { .. }));
    let cleeng = serve_cleeng(&stage).await;
    let told = explain(&stage, &cleeng, cast.ids.subscription.as_str()).await;
    assert!(told.text.contains("step pay: no result is recorded: its outcome is UNKNOWN"), "{}", told.text);
    assert!(told.text.contains("look up") && told.text.contains("in its dashboard"), "{}", told.text);
}

#[tokio::test]
async fn what_an_operator_decided_is_part_of_the_story() {
    let stage = TestEnvironment::new(|rules| rules.capture_wait = Duration::from_secs(60));
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.after(Duration::from_secs(3600)));
    assert_eq!(stage.deliver(&stage.capture_event(&cast)).await, Disposition::Parked(ParkReason::CaptureWithoutAuthorisation));
    let key = format!("period#{}#{}", cast.ids.subscription, cast.due.secs());
    let queue = Arc::new(CapturingQueue::default());
    let told = run_command(&stage, &queue, &["explain", &key]).await;
    assert!(told.text.contains("PARKED (capture_without_authorisation)"), "{}", told.text);
    let words = ["parked", "resolve", &key, "--as", "done", "--by", "night shift", "--note", "paid by bank transfer", "--apply"];
    assert_eq!(run_command(&stage, &queue, &words).await.exit_code, 0);
    let told = run_command(&stage, &queue, &["explain", &key]).await;
    assert!(told.text.contains("night shift decided \"done\" about capture_without_authorisation: paid by bank transfer"), "{}", told.text);
    assert!(told.text.contains("settled by hand"), "{}", told.text);
}

#[tokio::test]
async fn an_id_that_nobody_knows_and_a_cleeng_that_is_away_are_said_to_be_so() {
    let (stage, cast) = paid_renewal().await;
    let cleeng = serve_cleeng(&stage).await;
    let unknown = explain(&stage, &cleeng, "999999999").await;
    assert!(unknown.exit_code == 1 && unknown.text.contains("the journal has no document of 999999999"), "{}", unknown.text);
    let mut settings = deployed();
    settings.insert("CLEENG_API_URL".to_owned(), "http://127.0.0.1:1/3.1".to_owned());
    let id = cast.ids.subscription.to_string();
    let told = run_command_with(&stage, &Arc::default(), settings, "", &["explain", &id]).await;
    assert!(
        told.exit_code == 0 && told.text.contains("the money was captured") && told.text.contains("Cleeng: subscription"),
        "{}",
        told.text
    );
}

#[tokio::test]
async fn a_gateway_that_can_be_asked_is_asked_what_became_of_an_unknown_step() {
    for gateway in GatewayName::ALL {
        let stage = TestEnvironment::default();
        let guest = stage.gateway(*gateway).clone();
        let cast = stage.subscriber(guest.capture_only_method);
        stage.clock.advance_to(cast.due);
        let name = gateway.as_str();
        stage.network.inject(Fault::TimeoutAfter, move |peer, request| {
            peer == name && request.method == Method::POST && !request.path.ends_with("/oauth2/token")
        });
        assert!(matches!(stage.deliver(&stage.capture_event(&cast)).await, Disposition::Retry { .. }));
        let house: Arc<dyn SimulatedServer> = guest.simulator.clone();
        let server = serve(house, FaultyNetwork::default(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut settings = deployed();
        settings.insert("PAYMENT_METHODS".to_owned(), format!("{}={gateway}:capture_only", guest.capture_only_method));
        settings.extend(
            gateway_fixtures::gateway_settings(*gateway, Some(&server.url())).into_iter().map(|(name, value)| (name.to_owned(), value)),
        );
        let told = run_command_with(&stage, &Arc::default(), settings, "", &["explain", cast.ids.subscription.as_str()]).await;
        let can_tell = stage.flow_context.gateways.get(*gateway).unwrap().capabilities().inquiry;
        let expected = if can_tell { format!("{gateway}: step pay of") } else { format!("{gateway}: cannot be queried about step pay") };
        let line = told.text.lines().find(|line| line.contains(&expected)).unwrap_or_else(|| panic!("{gateway}: {}", told.text));
        // The gateway took the money, and reports that if it can.
        assert_eq!(line.ends_with(": done"), can_tell, "{gateway}: {line}");
    }
}
