//! What a run would do, compared with what the next run does.

use std::sync::Arc;
use std::time::Duration;

use connector::flow::{Disposition, ScheduledJob};
use connector::reason::CompletionReason;
use reconciliation::Reconciliation;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;

use crate::support::run_command;

/// A renewal whose capture Adyen only acknowledged, an hour later: its event got lost, or its queue would have shown it again.
async fn waiting() -> TestEnvironment {
    let stage = TestEnvironment::default();
    let cast = stage.subscriber(ADYEN_METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation_event(&cast, 72)).await, Disposition::Completed(CompletionReason::Authorised));
    stage.clock.advance_to(cast.due);
    assert!(matches!(stage.deliver(&stage.capture_event(&cast)).await, Disposition::Retry { .. }));
    stage.clock.advance(Duration::from_secs(3600));
    stage
}

#[tokio::test]
async fn the_dry_run_tells_what_the_next_round_does_and_does_nothing() {
    let stage = waiting().await;
    let writes = stage.store.writes();
    let answer = run_command(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    assert_eq!((answer.exit_code, stage.store.writes()), (0, writes), "{}", answer.text);
    assert_eq!(answer.json["counts"]["requeue"], 1, "{}", answer.text);
    let tally = Reconciliation.run(&stage.flow_context, &stage.delivery_received_now()).await;
    assert_eq!((tally.requeued, tally.due), (1, 1));
    let again = run_command(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    assert!(again.json["counts"]["requeue"].is_null(), "it is not due any more: {}", again.text);
}

#[tokio::test]
async fn a_subscription_is_told_with_what_is_expected_of_it() {
    let stage = waiting().await;
    stage.clock.advance(Duration::from_secs(7200));
    let answer = run_command(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    let heads = answer.json["due"].as_array().unwrap().iter().filter(|due| due["due"].as_str().unwrap().starts_with("subscription#"));
    assert_eq!(heads.count(), 1, "{}", answer.text);
}

#[tokio::test]
async fn nothing_due_and_a_list_that_was_cut_are_said() {
    let stage = TestEnvironment::default();
    let answer = run_command(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    assert!(answer.text.starts_with("nothing is due\n") && answer.json["due"].as_array().unwrap().is_empty(), "{}", answer.text);
    let stage = waiting().await;
    let answer = run_command(&stage, &Arc::default(), &["reconcile", "--dry-run", "--limit", "1"]).await;
    assert!(answer.text.contains("raise --limit") && answer.json["cut"] == true, "{}", answer.text);
}
