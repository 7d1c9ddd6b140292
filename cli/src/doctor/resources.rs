//! What the deployment has in AWS: the journal's table and the queues. Reads only.

use connector::journal::store::{Key, StoreError};
use connector::lambda::operator::{self, Deployment};
use connector::lambda::queue::{QueueError, QueueStatus};

use super::Finding;
use crate::arguments::DEFAULT_LIMIT;
use crate::command_env::CommandEnv;
use crate::parked::ParkedList;
use crate::session;

/// Six times a function's 90 seconds (AWS Lambda, "Using Lambda with Amazon SQS"): with less a message is given to a second worker too
/// early.
const VISIBILITY_SECONDS: u64 = 540;

/// Looks at table and queues.
pub(super) async fn examine(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) {
    if deployment.settings.resources.is_none() && env.store.is_none() {
        return;
    }
    (env.progress)("asking AWS");
    check_table(deployment, env, findings).await;
    // A test that replaces the queues has none to look at.
    if env.queue.is_none() {
        check_queues(deployment, env, findings).await;
    }
}

async fn check_table(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) {
    let Ok(store) = session::store(deployment, env).await else { return };
    let refused = |what: &str, error: StoreError| {
        let fix = match error {
            StoreError::Refused("no such table") => "correct JOURNAL_TABLE, AWS_REGION or the account of your credentials",
            StoreError::Refused(_) => "use credentials with dynamodb:GetItem, BatchGetItem and Query on the table and its index",
            StoreError::Unavailable => "check the network and AWS_REGION, and try again",
            StoreError::Corrupt | StoreError::Unwritable => "use the connectorctl of the deployed release",
        };
        Finding::error("JOURNAL_TABLE", format!("{what}: {error}"), fix)
    };
    if let Err(error) = store.load(&[Key::new("doctor", &["looks"])]).await {
        findings.push(refused("cannot be read", error));
        return;
    }
    match ParkedList::read(store.as_ref(), DEFAULT_LIMIT).await {
        Ok(list) if list.entries.is_empty() => {
            findings.push(Finding::fine("JOURNAL_TABLE", "can be read with its index; nothing is parked"))
        }
        Ok(list) => {
            let more = if list.cut { " or more" } else { "" };
            let problem = format!("{}{more} wait for an operator's decision", list.entries.len());
            findings.push(Finding::warning("parked obligations", problem, "list them with: connectorctl parked list"));
        }
        Err(error) => findings.push(refused("its index due cannot be read", error)),
    }
}

async fn check_queues(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) {
    let get = |name: &str| env.get(name);
    let named = deployment.queues.iter().map(|(topic, url)| (format!("queue {}", topic.as_str()), url.clone()));
    let own = ["QUEUE_URL", "QUARANTINE_QUEUE_URL"].into_iter().filter_map(|name| Some((name.to_owned(), env.get(name)?)));
    let own = own.filter(|(_, url)| !url.trim().is_empty() && !deployment.queues.values().any(|other| other == url));
    for (subject, url) in named.chain(own) {
        match operator::queue(&get, &url).await.status().await {
            Ok(status) => findings.extend(check_queue(&subject, &url, status, env)),
            Err(QueueError::Refused("access denied")) => {
                let fix = "use credentials with sqs:GetQueueAttributes";
                findings.push(Finding::note(subject, "cannot be checked with your credentials", fix));
            }
            Err(error @ QueueError::Refused(_)) => {
                let fix = "correct EVENT_QUEUE_URLS, AWS_REGION or the account of your credentials";
                findings.push(Finding::error(subject, error.to_string(), fix));
            }
            Err(error @ QueueError::Unavailable) => {
                findings.push(Finding::error(subject, error.to_string(), "check the network and AWS_REGION, and try again"));
            }
        }
    }
}

fn check_queue(subject: &str, url: &str, status: QueueStatus, env: &CommandEnv) -> Vec<Finding> {
    let mut findings = Vec::new();
    if env.get("QUARANTINE_QUEUE_URL").is_some_and(|quarantine| quarantine.trim() == url) && status.waiting > 0 {
        let problem = format!("{} event(s) wait whose signature does not verify", status.waiting);
        let fix = "if the webhook secret was rotated in Cleeng, put it into the secret: connectorctl secret put --rotate cleeng.webhook_secrets; otherwise the events are forged";
        findings.push(Finding::warning("quarantine", problem, fix));
    }
    // The quarantine is QUEUE_URL of the function that empties it, and has none: what lies there is tried until it is too old.
    if !status.has_dead_letter_queue && subject.starts_with("queue ") {
        let fix = "deploy the queue with a redrive policy, as template.yaml has it";
        findings.push(Finding::error(subject, "has no dead-letter queue: an event that fails repeatedly is lost", fix));
    }
    if status.visibility_seconds < VISIBILITY_SECONDS {
        let problem = format!(
            "has a visibility timeout of {} seconds: a second worker could get an event while the first one processes it",
            status.visibility_seconds
        );
        findings.push(Finding::warning(subject, problem, format!("set its visibility timeout to {VISIBILITY_SECONDS} seconds")));
    }
    if findings.is_empty() {
        let what = format!("can be reached; {} message(s) wait, {} in flight", status.waiting, status.in_flight);
        findings.push(Finding::fine(subject, what));
    }
    findings
}
