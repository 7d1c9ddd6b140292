//! Reconciliation with real AWS clients: the index of what is due, and the queues that events go back to.

use serde_json::json;

use crate::deployment::{Deployment, event, sample};
use crate::support::peers::Peers;
use crate::{BILLING, ROUNDS, enabled};

#[tokio::test]
async fn an_event_that_waits_goes_back_to_its_queue_when_it_is_due_and_only_then() {
    if !enabled("an_event_that_waits_goes_back_to_its_queue_when_it_is_due_and_only_then") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut deployment = Deployment::beside(&peers).await;
    for function in [BILLING[0], BILLING[1], ROUNDS] {
        deployment.deploy(function).await;
    }
    crate::billing::live_through(&mut deployment, BILLING[0], 1).await;
    let message = deployment.accepted(BILLING[1], &sample(BILLING[1])).await;
    assert!(!deployment.deliver(BILLING[1], &message).await, "the gateway has not said that the money is taken");
    let round = event(ROUNDS, "schedule.json");
    let nothing = json!({ "due": 0, "broughtBack": 0, "ended": 0, "putOff": 0, "failed": 0 });
    assert_eq!(deployment.runtime.invoke(ROUNDS, &round).await, nothing, "{}", deployment.runtime.output());
    deployment.make_due().await;
    let tally = deployment.runtime.invoke(ROUNDS, &round).await;
    assert_eq!((&tally["broughtBack"], &tally["failed"]), (&json!(1), &json!(0)), "{tally} {}", deployment.runtime.output());
    let copies = deployment.take(BILLING[1]).await;
    assert_eq!(copies.len(), 1);
    assert!(!deployment.deliver(BILLING[1], &copies[0]).await, "a copy changes nothing");
    assert_eq!(deployment.runtime.invoke(ROUNDS, &round).await, nothing);
    deployment.assert_discreet();
}
