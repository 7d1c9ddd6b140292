//! What waits for an operator: the list, and the decision about one of it. The rules are the journal's own ([`connector::parked`]).

use connector::journal::JournalError;
use connector::journal::store::Key;
use connector::lambda::operator::Deployment;
use connector::lambda::queue::Envelope;
use connector::parked::{self, Decision, Order, ParkedWork, Plan, Refusal};
use serde_json::{Value, json};

use crate::answer::{Answer, Failure, table};
use crate::arguments::{DecisionWord, Parked, Resolve};
use crate::desk;
use crate::surroundings::Surroundings;

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`] if the journal cannot be read, or the decision may not be carried out.
pub async fn run(command: &Parked, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let deployment = desk::deployment(surroundings)?;
    match command {
        Parked::List { limit } => list(&deployment, *limit, surroundings).await,
        Parked::Resolve(options) => resolve(&deployment, options, surroundings).await,
    }
}

async fn list(deployment: &Deployment, limit: usize, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let store = desk::store(deployment, surroundings).await?;
    (surroundings.progress)("reading the journal");
    let found = parked::list(store.as_ref(), limit).await.map_err(|error| journal(&JournalError::Store(error)))?;
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|work| {
            let money = if work.money_unknown { "UNKNOWN" } else { "known" };
            let reference = work.reference.as_ref().map_or("-", |reference| reference.as_str());
            [work.key.as_str(), work.kind.as_str(), &work.since.to_rfc3339(), money, &work.reason, reference].map(str::to_owned).to_vec()
        })
        .collect();
    let text = if rows.is_empty() {
        "nothing is parked\n".to_owned()
    } else {
        let table = table(&["OBLIGATION", "WHAT", "SINCE", "MONEY", "REASON", "PAYMENT"], &rows);
        format!(
            "{table}{} parked. The runbook has an entry for each reason; connectorctl explain OBLIGATION tells its story.\n",
            rows.len()
        )
    };
    Ok(Answer { text, json: json!({ "parked": found.iter().map(shown).collect::<Vec<Value>>() }), code: 0 })
}

fn shown(work: &ParkedWork) -> Value {
    json!({
        "obligation": work.key.as_str(), "kind": work.kind.as_str(), "since": work.since.to_rfc3339(), "reason": work.reason,
        "money_unknown": work.money_unknown, "reference": work.reference.as_ref().map(|reference| reference.as_str().to_owned()),
    })
}

async fn resolve(deployment: &Deployment, options: &Resolve, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let store = desk::store(deployment, surroundings).await?;
    let decision = match options.decision {
        DecisionWord::Done => Decision::Done,
        DecisionWord::Retry => Decision::Retry,
        DecisionWord::Abandon => Decision::Abandon,
    };
    let order = Order { decision, by: options.by.clone(), note: options.note.clone(), no_money_moved: options.no_money_moved };
    let key = Key::from_stored(options.key.as_str());
    let mut plan = Plan::make(&store, &key, &order, surroundings.clock.now()).await.map_err(|refusal| refused(&refusal))?;
    let what = meaning(decision, &plan);
    let about: Vec<Value> = plan.about.iter().map(shown).collect();
    if !options.apply {
        let text = format!("{}: {what}\nnothing was changed; --apply does it\n", options.key);
        return Ok(Answer { text, json: json!({ "applied": false, "meaning": what, "about": about }), code: 0 });
    }
    let outcome = carry_out(&mut plan, deployment, surroundings).await?;
    let text = format!("{}: {what}\n{outcome}\n", options.key);
    Ok(Answer { text, json: json!({ "applied": true, "meaning": what, "outcome": outcome, "about": about }), code: 0 })
}

const fn meaning(decision: Decision, plan: &Plan) -> &'static str {
    match (decision, plan.event.is_some(), plan.event_needs_queue()) {
        (Decision::Done, ..) => {
            "it counts as settled by hand; the connector does nothing more about it, and nothing else of this obligation is tried"
        }
        (Decision::Abandon, ..) => "it is given up without money moved; the next event of the same obligation may try anew",
        (Decision::Retry, true, true) => "nothing of it had begun, so its event goes back to its queue and is judged anew by every guard",
        (Decision::Retry, true, false) => {
            "it goes on where it stopped: what is finished is not done again, what is unknown is asked about first"
        }
        (Decision::Retry, false, _) => "the next round of reconciliation goes on where it stopped",
    }
}

/// Writes the decision, then sends the event. The queue is found before anything is written.
async fn carry_out(plan: &mut Plan, deployment: &Deployment, surroundings: &Surroundings) -> Result<String, Failure> {
    let Some(event) = plan.event.clone() else {
        plan.carry_out().await.map_err(|refusal| refused(&refusal))?;
        return Ok("written".to_owned());
    };
    let envelope = Envelope::of_waiting(&event, surroundings.clock.now());
    let fix = "let the event be sent again, or settle it by hand and decide done";
    let envelope = envelope.map_err(|error| Failure::new(format!("the event in the record cannot be read: {error}"), fix))?;
    let queue = desk::queue_of(Some(envelope.topic()), None, deployment, surroundings).await;
    if plan.event_needs_queue() {
        let queue = queue?;
        plan.carry_out().await.map_err(|refusal| refused(&refusal))?;
        let Err(failure) = desk::send(queue.as_ref(), &envelope.to_text()).await else {
            return Ok("written; its event is on its queue".to_owned());
        };
        let parked_again = plan.take_back().await;
        let problem = match parked_again {
            Ok(()) => format!("{}; it is parked again as it was", failure.problem),
            Err(_) => format!(
                "{}; and it could not be parked again: look at it with connectorctl explain, and have Cleeng repeat the event",
                failure.problem
            ),
        };
        return Err(Failure::new(problem, failure.fix));
    }
    plan.carry_out().await.map_err(|refusal| refused(&refusal))?;
    let sent = match queue {
        Ok(queue) => desk::send(queue.as_ref(), &envelope.to_text()).await,
        Err(failure) => Err(failure),
    };
    Ok(match sent {
        Ok(()) => "written; its event is on its queue".to_owned(),
        // The record keeps the event and is due.
        Err(failure) => format!(
            "written; its event could not be queued from here ({}), the next round of reconciliation brings it back",
            failure.problem
        ),
    })
}

fn refused(refusal: &Refusal) -> Failure {
    let fix = match refusal {
        Refusal::Unknown => "take the obligation from connectorctl parked list, in quotes",
        Refusal::NotParked => "connectorctl parked list shows what is",
        Refusal::MoneyUnknown => "--as abandon --no-money-moved says that you looked, --as done that both sides are in line",
        Refusal::Journal(error) => return journal(error),
        _ => "connectorctl explain OBLIGATION tells its story",
    };
    Failure::new(refusal.to_string(), fix)
}

pub(crate) fn journal(error: &JournalError) -> Failure {
    let fix = match error {
        JournalError::Contended => "somebody was faster: look again with connectorctl parked list",
        JournalError::Store(_) => "check JOURNAL_TABLE, AWS_REGION, and that your credentials may read and write the table",
        JournalError::NewerSchema(_) => "use the connectorctl of the deployed release",
        _ => "look again with connectorctl parked list before you repeat it",
    };
    Failure::new(error.to_string(), fix)
}
