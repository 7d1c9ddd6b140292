//! Functions that reach their timeout.

use serde_json::{Value, json};

use crate::billing::effect_counts;
use crate::deployment::{Deployment, binary, event, unreachable_url};
use crate::support::process::wait_for;
use crate::support::runtime::EmulatedFunction;
use crate::support::upstreams::{Upstreams, local};
use crate::{BILLING, enabled};

#[tokio::test]
async fn a_function_without_enough_time_returns_its_message_and_the_next_delivery_settles_it_once() {
    if !enabled("a_function_without_enough_time_returns_its_message_and_the_next_delivery_settles_it_once") {
        return;
    }
    let function = BILLING[0];
    // A Cleeng that takes connections and never says a word.
    let hole = std::net::TcpListener::bind(local(0)).unwrap();
    let port = hole.local_addr().unwrap().port();
    let event = event(function, "queue.json");
    let mut deployment = Deployment::with_urls(&format!("http://127.0.0.1:{port}/3.1"), &unreachable_url(), &unreachable_url()).await;
    deployment.make_queue(function).await;
    let mut hurried = EmulatedFunction::start(function, &binary(function), &deployment.environment(function), 4).await;
    let answer = hurried.invoke(&event).await;
    let given_back = answer.contains("timed out") || answer.contains("059f36b4-87a3-44ab-83d2-661975830a7d");
    assert!(given_back, "the message is neither returned nor kept by the timeout: {answer}");
    drop((hurried, hole));

    let peers = Upstreams::start(port).await;
    deployment.switch_upstreams(&peers);
    let function = EmulatedFunction::start(function, &binary(function), &deployment.environment(function), 90).await;
    let function = tokio::sync::Mutex::new(function);
    wait_for("the event to be settled", || async {
        let answer = function.lock().await.invoke(&event).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        (answer["batchItemFailures"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(effect_counts(&peers), [1, 1, 1]);
}

#[tokio::test]
async fn a_function_killed_by_its_timeout_has_no_effect_twice() {
    if !enabled("a_function_killed_by_its_timeout_has_no_effect_twice") {
        return;
    }
    let function = BILLING[0];
    let peers = Upstreams::start(0).await;
    let mut deployment = Deployment::with_upstreams(&peers).await;
    deployment.make_queue(function).await;
    let event = event(function, "queue.json");
    let environment = deployment.environment(function);
    // A journal that takes connections and never says a word: its client is more patient than the function may be.
    let hole = std::net::TcpListener::bind(local(0)).unwrap();
    let mut stuck = environment.clone();
    stuck.push(("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", hole.local_addr().unwrap())));
    let mut killed = EmulatedFunction::start(function, &binary(function), &stuck, 10).await;
    let answer = killed.invoke(&event).await;
    assert!(answer.contains("timed out after 10.00 seconds"), "{answer}");
    assert_eq!(effect_counts(&peers), [0, 0, 0], "nothing is done that the journal does not know");

    let mut next = EmulatedFunction::start(function, &binary(function), &environment, 90).await;
    for _ in 0..2 {
        let answer: Value = serde_json::from_str(&next.invoke(&event).await).unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
        assert_eq!(effect_counts(&peers), [1, 1, 1]);
    }
}
