//! An operator at the end of a run: everything that is parked is in the list, and some decision frees each of it.

use std::sync::Arc;

use connector::clock::Clock as _;
use connector::journal::store::{Key, Store};
use connector::manual_review::{Decision, DecisionRequest, PreparedDecision, list_parked};

use super::context::SimulationContext;
use super::executor::run_to_completion;
use super::journal_checker::JournalChecker;
use crate::testkit::harness::TestEnvironment;

const DECISIONS: [Decision; 3] = [Decision::Retry, Decision::Abandon, Decision::Done];
/// More attempts than an obligation has.
const MAX_ATTEMPTS: u32 = 20;
/// More than any run parks.
const LIST_LIMIT: usize = 1_000;

/// Decides about all that is parked, and reports what is not listed, or cannot be decided about.
pub(super) fn check_decisions(env: &TestEnvironment, checker: &JournalChecker, context: &SimulationContext) {
    let listed = parked_keys(env);
    for parked in checker.unsettled_obligations().into_iter().filter(|one| one.parked) {
        if !listed.contains(&parked.key) {
            context.report_violation(format!("{} is parked and not in the list of what is parked", parked.key));
        }
    }
    for key in listed {
        // Each attempt of it that is parked is decided about by itself.
        let is_freed =
            |_: &u32| DECISIONS.iter().all(|decision| decide(env, &key, *decision).is_none()) || !parked_keys(env).contains(&key);
        if (0..MAX_ATTEMPTS).find(is_freed).is_none() || parked_keys(env).contains(&key) {
            context.report_violation(format!("{key} is parked, and no decision frees it"));
        }
    }
}

fn parked_keys(env: &TestEnvironment) -> Vec<Key> {
    let listed = run_to_completion(list_parked(env.store.as_ref(), LIST_LIMIT)).and_then(Result::ok).unwrap_or_default();
    listed.into_iter().map(|parked| parked.key).collect()
}

/// Carries a decision out; `None` if it is refused.
fn decide(env: &TestEnvironment, key: &Key, decision: Decision) -> Option<()> {
    let order = DecisionRequest { decision, by: "operator".to_owned(), note: "looked".to_owned(), no_money_moved: true };
    // The journal itself: decisions open again what was closed, which functions never do.
    let store: Arc<dyn Store> = env.store.clone();
    let prepared = PreparedDecision::prepare(&store, key, &order, env.clock.now());
    let mut prepared = run_to_completion(prepared)?.ok()?;
    run_to_completion(prepared.commit())?.ok()
}
