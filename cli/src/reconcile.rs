//! What a reconciliation run would do now, by the run's own rules. Changes nothing: the function runs on its schedule.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector::journal::JournalError;
use connector::journal::store::MAX_BATCH;
use connector::journal::transaction::Transaction;
use reconciliation::plan::{PlannedAction, plan};
use serde_json::{Value, json};

use crate::arguments::Reconcile;
use crate::command_env::CommandEnv;
use crate::output::{CommandError, CommandOutput, table};
use crate::parked::journal_error;
use crate::session;

/// Lists what is due and what would become of it.
///
/// # Errors
/// [`CommandError`] if the journal cannot be read.
pub async fn run(options: &Reconcile, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let deployment = session::deployment(env)?;
    let store = session::store(&deployment, env).await?;
    let now = env.clock.now();
    (env.progress)("reading what is due");
    let due = store.due(now, options.limit).await.map_err(|error| journal_error(&JournalError::Store(error)))?;
    let mut plans: Vec<(String, PlannedAction)> = Vec::new();
    for batch in due.chunks(MAX_BATCH) {
        let mut transaction = Transaction::new(Arc::clone(&store));
        transaction.load(batch).await.map_err(|error| journal_error(&error))?;
        plans.extend(batch.iter().map(|key| (key.to_string(), plan(&transaction, key, now))));
        (env.progress)(&format!("{} of {} read", plans.len(), due.len()));
    }
    Ok(to_output(&plans, due.len() >= options.limit))
}

fn to_output(plans: &[(String, PlannedAction)], cut: bool) -> CommandOutput {
    let rows: Vec<Vec<String>> = plans.iter().map(|(key, plan)| vec![key.clone(), plan.description()]).collect();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, plan) in plans {
        let count = counts.entry(plan.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    let mut text = if rows.is_empty() { "nothing is due\n".to_owned() } else { table(&["DUE", "NEXT RUN"], &rows) };
    if cut {
        text.push_str("the list was cut, and more may be due: raise --limit\n");
    }
    text.push_str("a run also continues the scan of Cleeng's subscriptions, to find those that the journal does not know yet\n");
    let rows_json: Vec<Value> =
        plans.iter().map(|(key, plan)| json!({ "due": key, "plan": plan.as_str(), "words": plan.description() })).collect();
    CommandOutput { text, json: json!({ "due": rows_json, "counts": counts, "cut": cut }), exit_code: 0 }
}
