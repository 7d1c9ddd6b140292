//! Functions that are stopped by the clock.

use serde_json::{Value, json};

use crate::billing::effects;
use crate::deployment::{Deployment, binary, event, nowhere};
use crate::support::peers::{Peers, local};
use crate::support::process::until;
use crate::support::runtime::Emulated;
use crate::{BILLING, enabled};

#[tokio::test]
async fn a_function_without_enough_time_gives_its_message_back_and_the_next_delivery_settles_it_once() {
    if !enabled("a_function_without_enough_time_gives_its_message_back_and_the_next_delivery_settles_it_once") {
        return;
    }
    let function = BILLING[0];
    // A Cleeng that takes connections and never says a word.
    let hole = std::net::TcpListener::bind(local(0)).unwrap();
    let port = hole.local_addr().unwrap().port();
    let event = event(function, "queue.json");
    let mut deployment = Deployment::at(&format!("http://127.0.0.1:{port}/3.1"), &nowhere(), &nowhere()).await;
    deployment.make_queue(function).await;
    let mut hurried = Emulated::start(function, &binary(function), &deployment.environment(function), 4).await;
    let answer = hurried.invoke(&event).await;
    let given_back = answer.contains("timed out") || answer.contains("059f36b4-87a3-44ab-83d2-661975830a7d");
    assert!(given_back, "the message is neither given back nor kept by the timeout: {answer}");
    drop((hurried, hole));

    let peers = Peers::start(port).await;
    deployment.turn_to(&peers);
    let function = Emulated::start(function, &binary(function), &deployment.environment(function), 90).await;
    let function = tokio::sync::Mutex::new(function);
    until("the event to be settled", || async {
        let answer = function.lock().await.invoke(&event).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        (answer["batchItemFailures"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(effects(&peers), [1, 1, 1]);
}

#[tokio::test]
async fn a_function_that_its_timeout_kills_leaves_nothing_that_the_next_delivery_does_twice() {
    if !enabled("a_function_that_its_timeout_kills_leaves_nothing_that_the_next_delivery_does_twice") {
        return;
    }
    let function = BILLING[0];
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    deployment.make_queue(function).await;
    let event = event(function, "queue.json");
    let environment = deployment.environment(function);
    // A journal that takes connections and never says a word: its client is more patient than the function may be.
    let hole = std::net::TcpListener::bind(local(0)).unwrap();
    let mut stuck = environment.clone();
    stuck.push(("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", hole.local_addr().unwrap())));
    let mut killed = Emulated::start(function, &binary(function), &stuck, 10).await;
    let answer = killed.invoke(&event).await;
    assert!(answer.contains("timed out after 10.00 seconds"), "{answer}");
    assert_eq!(effects(&peers), [0, 0, 0], "nothing is done that the journal does not know");

    let mut next = Emulated::start(function, &binary(function), &environment, 90).await;
    for _ in 0..2 {
        let answer: Value = serde_json::from_str(&next.invoke(&event).await).unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
        assert_eq!(effects(&peers), [1, 1, 1]);
    }
}
