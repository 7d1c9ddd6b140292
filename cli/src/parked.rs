//! What is parked for an operator's decision: the list, and the decision about one entry. The rules are the journal's own
//! ([`connector::manual_review`]).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use connector::cleeng::envelope::Envelope;
use connector::clock::Timestamp;
use connector::journal::JournalError;
use connector::journal::record::AttemptKind;
use connector::journal::store::{Key, Store, StoreError};
use connector::lambda::operator::Deployment;
use connector::manual_review::{self, Decision, DecisionError, DecisionRequest, ParkedAttempt, PreparedDecision};
use serde_json::{Value, json};

use crate::arguments::{DecisionArgument, Parked, Resolve};
use crate::command_env::CommandEnv;
use crate::output::{CommandError, CommandOutput, table};
use crate::session;

/// Runs one of the commands.
///
/// # Errors
/// [`CommandError`] if the journal cannot be read, or the decision may not be carried out.
pub async fn run(command: &Parked, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let deployment = session::deployment(env)?;
    match command {
        Parked::List { limit } => list(&deployment, *limit, env).await,
        Parked::Resolve(options) => resolve(&deployment, options, env).await,
    }
}

async fn list(deployment: &Deployment, limit: usize, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let store = session::store(deployment, env).await?;
    (env.progress)("reading the journal");
    let list = ParkedList::read(store.as_ref(), limit).await.map_err(|error| journal_error(&JournalError::Store(error)))?;
    let rows: Vec<Vec<String>> = list
        .entries
        .iter()
        .map(|work| {
            let money = if work.money_unknown { "UNKNOWN" } else { "known" };
            let reference = work.reference.as_ref().map_or("-", |reference| reference.as_str());
            let kind = work.kind.map_or("-", AttemptKind::as_str);
            let since = work.since.map_or_else(|| "-".to_owned(), Timestamp::to_rfc3339);
            [work.key.as_str(), kind, &since, money, &work.reason, reference].map(str::to_owned).to_vec()
        })
        .collect();
    let text = if rows.is_empty() && !list.cut {
        "nothing is parked\n".to_owned()
    } else {
        let table = table(&["OBLIGATION", "WHAT", "SINCE", "MONEY", "REASON", "PAYMENT"], &rows);
        let more = if list.cut { " listed, and more are parked: raise --limit" } else { " parked" };
        format!(
            "{table}{}{more}. The runbook has an entry for each reason; connectorctl explain OBLIGATION shows its history.\n",
            rows.len()
        )
    };
    let entries: Vec<Value> = list.entries.iter().map(parked_json).collect();
    Ok(CommandOutput { text, json: json!({ "parked": entries, "cut": list.cut }), exit_code: 0 })
}

/// The longest parked attempts.
pub(crate) struct ParkedList {
    /// At most as many as were asked for.
    pub(crate) entries: Vec<ParkedAttempt>,
    /// Whether there are more.
    pub(crate) cut: bool,
}

impl ParkedList {
    /// Reads one more than is asked for, to know whether there are more.
    pub(crate) async fn read(store: &dyn Store, limit: usize) -> Result<Self, StoreError> {
        let mut entries = manual_review::list_parked(store, limit.saturating_add(1)).await?;
        let cut = entries.len() > limit;
        entries.truncate(limit);
        Ok(Self { entries, cut })
    }
}

fn parked_json(work: &ParkedAttempt) -> Value {
    json!({
        "obligation": work.key.as_str(), "kind": work.kind.map(AttemptKind::as_str), "since": work.since.map(Timestamp::to_rfc3339), "reason": work.reason,
        "money_unknown": work.money_unknown, "reference": work.reference.as_ref().map(|reference| reference.as_str().to_owned()),
    })
}

async fn resolve(deployment: &Deployment, options: &Resolve, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let store = session::store(deployment, env).await?;
    let decision = match options.decision {
        DecisionArgument::Done => Decision::Done,
        DecisionArgument::Retry => Decision::Retry,
        DecisionArgument::Abandon => Decision::Abandon,
    };
    let order = DecisionRequest { decision, by: options.by.clone(), note: options.note.clone(), no_money_moved: options.no_money_moved };
    let operator = Operator { store, order, apply: options.apply, deployment, env };
    if let Some(reason) = &options.reason {
        return operator.resolve_all(reason).await;
    }
    let key = Key::from_stored(options.key.as_deref().unwrap_or_default());
    let Resolved { meaning, about, outcome } = operator.resolve_one(&key).await?;
    let text = format!("{key}: {meaning}\n{}\n", outcome.as_deref().unwrap_or(NOTHING_CHANGED));
    let mut json = json!({ "applied": outcome.is_some(), "meaning": meaning, "about": about });
    if let (Some(outcome), Some(members)) = (outcome, json.as_object_mut()) {
        members.insert("outcome".to_owned(), Value::from(outcome));
    }
    Ok(CommandOutput { text, json, exit_code: 0 })
}

const NOTHING_CHANGED: &str = "nothing was changed; --apply records it";
/// So many obligations are resolved at a time.
const MAX_RESOLVED: usize = 10_000;

/// A decision, and what it is recorded with.
struct Operator<'a> {
    store: Arc<dyn Store>,
    order: DecisionRequest,
    apply: bool,
    deployment: &'a Deployment,
    env: &'a CommandEnv,
}

/// A decision about one obligation.
struct Resolved {
    meaning: &'static str,
    about: Vec<Value>,
    /// `None` if it was only shown.
    outcome: Option<String>,
}

impl Operator<'_> {
    async fn resolve_one(&self, key: &Key) -> Result<Resolved, CommandError> {
        let prepared = PreparedDecision::prepare(&self.store, key, &self.order, self.env.clock.now()).await;
        let mut plan = prepared.map_err(|refusal| refusal_error(&refusal))?;
        let (meaning, about) = (meaning(self.order.decision, &plan), plan.affected.iter().map(parked_json).collect());
        let outcome = if self.apply { Some(carry_out(&mut plan, self.deployment, self.env).await?) } else { None };
        Ok(Resolved { meaning, about, outcome })
    }

    /// Decides in the same way about everything that is parked for this reason. One that is refused does not hold back the others.
    async fn resolve_all(&self, reason: &str) -> Result<CommandOutput, CommandError> {
        let list = ParkedList::read(self.store.as_ref(), MAX_RESOLVED).await.map_err(|error| journal_error(&JournalError::Store(error)))?;
        let has_reason = |work: &&ParkedAttempt| work.reason == reason;
        let others: BTreeSet<&Key> = list.entries.iter().filter(|work| !has_reason(work)).map(|work| &work.key).collect();
        let keys: BTreeSet<&Key> = list.entries.iter().filter(has_reason).map(|work| &work.key).collect();
        let (mut text, mut resolved, mut refused) = (String::new(), Vec::new(), Vec::new());
        for key in keys {
            let result = if others.contains(key) {
                Err(CommandError::new("it is parked for another reason as well", "decide about it by its key"))
            } else {
                self.resolve_one(key).await
            };
            match result {
                Ok(Resolved { meaning, outcome, .. }) => {
                    let _ = writeln!(text, "{key}: {}", outcome.as_deref().unwrap_or(meaning));
                    resolved.push(json!({ "obligation": key.as_str(), "meaning": meaning, "outcome": outcome }));
                }
                Err(error) => {
                    let _ = writeln!(text, "{key}: refused: {}; {}", error.problem, error.fix);
                    refused.push(json!({ "obligation": key.as_str(), "problem": error.problem, "fix": error.fix }));
                }
            }
        }
        let more = if list.cut { "; more are parked: repeat it" } else { "" };
        let done = if self.apply { "recorded" } else { NOTHING_CHANGED };
        let _ = writeln!(text, "{} resolved, {} refused{more}; {done}", resolved.len(), refused.len());
        let exit_code = if refused.is_empty() { 0 } else { 2 };
        let json = json!({ "applied": self.apply, "resolved": resolved, "refused": refused, "cut": list.cut });
        Ok(CommandOutput { text, json, exit_code })
    }
}

const fn meaning(decision: Decision, plan: &PreparedDecision) -> &'static str {
    match (decision, plan.event.is_some(), plan.event_needs_queue()) {
        (Decision::Done, ..) => "it counts as settled by hand; the connector closes the obligation, and opens no other attempt of it",
        (Decision::Abandon, ..) => "it is abandoned, and no money moved; the next event of the same obligation may try again",
        (Decision::Retry, true, true) => "it had started nothing, so its event is requeued and passes all guards again",
        (Decision::Retry, true, false) => {
            "it continues where it stopped: finished steps are not repeated, an unknown step is queried first"
        }
        (Decision::Retry, false, _) => "the next run of reconciliation continues where it stopped",
    }
}

/// Writes the decision, then sends the event. The queue is found before anything is written.
async fn carry_out(plan: &mut PreparedDecision, deployment: &Deployment, env: &CommandEnv) -> Result<String, CommandError> {
    let Some(event) = plan.event.clone() else {
        plan.commit().await.map_err(|refusal| refusal_error(&refusal))?;
        return Ok("recorded".to_owned());
    };
    let envelope = Envelope::from_waiting_event(&event, env.clock.now());
    let fix = "have Cleeng send the event again, or settle it by hand and use --as done";
    let envelope = envelope.map_err(|error| CommandError::new(format!("the event in the record cannot be read: {error}"), fix))?;
    let queue = session::event_queue(Some(envelope.topic()), None, deployment, env).await;
    if plan.event_needs_queue() {
        let queue = queue?;
        plan.commit().await.map_err(|refusal| refusal_error(&refusal))?;
        let Err(failure) = session::send(queue.as_ref(), &envelope.to_text()).await else {
            return Ok("recorded; its event was requeued".to_owned());
        };
        let parked_again = plan.revert().await;
        let problem = match parked_again {
            Ok(()) => format!("{}; it is parked again as it was", failure.problem),
            Err(_) => format!(
                "{}; and it could not be parked again: check it with connectorctl explain, and have Cleeng repeat the event",
                failure.problem
            ),
        };
        return Err(CommandError::new(problem, failure.fix));
    }
    plan.commit().await.map_err(|refusal| refusal_error(&refusal))?;
    let sent = match queue {
        Ok(queue) => session::send(queue.as_ref(), &envelope.to_text()).await,
        Err(failure) => Err(failure),
    };
    Ok(match sent {
        Ok(()) => "recorded; its event was requeued".to_owned(),
        // The record keeps the event and is due.
        Err(failure) => {
            format!(
                "recorded; its event could not be requeued from here ({}), and the next run of reconciliation requeues it",
                failure.problem
            )
        }
    })
}

fn refusal_error(refusal: &DecisionError) -> CommandError {
    let fix = match refusal {
        DecisionError::NotFound => "copy the obligation from connectorctl parked list, and write it in quotes",
        DecisionError::NotParked => "connectorctl parked list shows what is parked",
        DecisionError::MoneyUnknown => {
            "check at the gateway: use --as abandon --no-money-moved if no money moved, --as done if both sides were corrected by hand"
        }
        DecisionError::Journal(error) => return journal_error(error),
        _ => "connectorctl explain OBLIGATION shows its history",
    };
    CommandError::new(refusal.to_string(), fix)
}

pub(crate) fn journal_error(error: &JournalError) -> CommandError {
    let fix = match error {
        JournalError::Contended => "another worker or operator wrote first: check again with connectorctl parked list",
        JournalError::Store(StoreError::Unavailable) => "check the network and AWS_REGION, and try again",
        JournalError::Store(_) => "check JOURNAL_TABLE, AWS_REGION, and that your credentials may read and write the table",
        JournalError::NewerSchema(_) => "use the connectorctl of the deployed release",
        _ => "check with connectorctl parked list before you repeat it",
    };
    CommandError::new(error.to_string(), fix)
}
