//! What a round would do, compared with what the next round does.

use std::sync::Arc;
use std::time::Duration;

use connector::flow::{Rounds, Verdict};
use reconciliation::Reconciliation;
use sandbox::stage::{METHOD, Stage};

use crate::support::operate;

/// A renewal whose capture Adyen only took in, an hour later: its event got lost, or its queue would have shown it again.
async fn waiting() -> Stage {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.clock.advance_to(cast.due);
    assert!(matches!(stage.deliver(&stage.capture(&cast)).await, Verdict::Later { .. }));
    stage.clock.advance(Duration::from_secs(3600));
    stage
}

#[tokio::test]
async fn the_dry_run_tells_what_the_next_round_does_and_does_nothing() {
    let stage = waiting().await;
    let writes = stage.store.writes();
    let answer = operate(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    assert_eq!((answer.code, stage.store.writes()), (0, writes), "{}", answer.text);
    assert_eq!(answer.json["counts"]["bring_back"], 1, "{}", answer.text);
    let tally = Reconciliation.go(&stage.world, &stage.delivery()).await;
    assert_eq!((tally.brought_back, tally.due), (1, 1));
    let again = operate(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    assert!(again.json["counts"]["bring_back"].is_null(), "it is not due any more: {}", again.text);
}

#[tokio::test]
async fn a_subscription_is_told_with_what_is_expected_of_it() {
    let stage = waiting().await;
    stage.clock.advance(Duration::from_secs(7200));
    let answer = operate(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    let heads = answer.json["due"].as_array().unwrap().iter().filter(|due| due["due"].as_str().unwrap().starts_with("head#"));
    assert_eq!(heads.count(), 1, "{}", answer.text);
}

#[tokio::test]
async fn nothing_due_and_a_list_that_was_cut_are_said() {
    let stage = Stage::default();
    let answer = operate(&stage, &Arc::default(), &["reconcile", "--dry-run"]).await;
    assert!(answer.text.starts_with("nothing is due\n") && answer.json["due"].as_array().unwrap().is_empty(), "{}", answer.text);
    let stage = waiting().await;
    let answer = operate(&stage, &Arc::default(), &["reconcile", "--dry-run", "--limit", "1"]).await;
    assert!(answer.text.contains("raise --limit"), "{}", answer.text);
}
