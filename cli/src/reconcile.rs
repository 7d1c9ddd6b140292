//! What a round of reconciliation would do now, by the round's own rules. Changes nothing: rounds are made by the function, on its schedule.

use std::collections::BTreeMap;

use connector::journal::JournalError;
use connector::journal::store::MAX_BATCH;
use reconciliation::plan::{Plan, plan};
use serde_json::{Value, json};

use crate::answer::{Answer, Failure, table};
use crate::arguments::Reconcile;
use crate::desk;
use crate::parked::journal;
use crate::surroundings::Surroundings;

/// Lists what is due and what would become of it.
///
/// # Errors
/// [`Failure`] if the journal cannot be read.
pub async fn run(options: &Reconcile, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let deployment = desk::deployment(surroundings)?;
    let store = desk::store(&deployment, surroundings).await?;
    let now = surroundings.clock.now();
    (surroundings.progress)("reading what is due");
    let read = |error| journal(&JournalError::Store(error));
    let due = store.due(now, options.limit).await.map_err(read)?;
    let mut plans: Vec<(String, Plan)> = Vec::new();
    for batch in due.chunks(MAX_BATCH) {
        let stored = store.load(batch).await.map_err(read)?;
        for (key, stored) in batch.iter().zip(stored) {
            let what = stored.map_or(Plan::Settled, |stored| plan(key, &stored.body, now));
            plans.push((key.to_string(), what));
        }
        (surroundings.progress)(&format!("{} of {} looked at", plans.len(), due.len()));
    }
    Ok(tell(&plans, due.len() >= options.limit))
}

fn tell(plans: &[(String, Plan)], cut: bool) -> Answer {
    let rows: Vec<Vec<String>> = plans.iter().map(|(key, plan)| vec![key.clone(), plan.words()]).collect();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, plan) in plans {
        let count = counts.entry(plan.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    let mut text = if rows.is_empty() { "nothing is due\n".to_owned() } else { table(&["DUE", "A ROUND"], &rows) };
    if cut {
        text.push_str("there may be more: raise --limit\n");
    }
    text.push_str("a round also reads on through Cleeng's subscriptions, to watch over those that the journal does not know yet\n");
    let told: Vec<Value> = plans.iter().map(|(key, plan)| json!({ "due": key, "plan": plan.as_str(), "words": plan.words() })).collect();
    Answer { text, json: json!({ "due": told, "counts": counts, "cut": cut }), code: 0 }
}
