//! Cleeng's webhook subscriptions: read, merge, write. Writing replaces a topic's whole list, so the list is read right before, others'
//! endpoints are sent along as they were, and the list is read again afterwards. Must never drop or change an endpoint that is not ours,
//! and never show a path: unguessable parts of others' addresses are secrets too.

pub mod merge;

use std::collections::BTreeMap;

use connector::cleeng::client::WebhookEndpoints;
use connector::cleeng::webhook::Topic;
use connector::cleeng::{CleengError, UnknownAnswer};
use connector::lambda::webhook_handler::route_for_topic;
use connector::secret::SecretString;
use serde_json::{Value, json};

use self::merge::{DesiredEndpoint, MergePlan, RETRY_POLICY, foreign_endpoints, is_ours, is_retried, is_verified, with_ours, without_ours};
use crate::arguments::Webhooks;
use crate::command_env::CommandEnv;
use crate::output::{CommandError, CommandOutput, table};
use crate::session::Session;

/// Runs one of the commands.
///
/// # Errors
/// [`CommandError`] if settings are wrong or Cleeng cannot be asked.
pub async fn run(command: &Webhooks, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let session = Session::open(env).await?;
    (env.progress)("reading Cleeng's webhook subscriptions");
    let endpoints = session.cleeng.webhook_endpoints().await.map_err(|error| read_failure(&error))?;
    match command {
        Webhooks::List => Ok(list(&endpoints, &session.secrets.webhook_path_keys)),
        Webhooks::Sync { url, retry_policy, push_secret, apply } => {
            let base = read_base_url(url, session.deployment.is_production())?;
            let retry = read_policy(retry_policy.as_deref())?;
            let (Some(key), Some(secret)) = (session.secrets.webhook_path_keys.first(), session.secrets.cleeng.webhook_secrets.first())
            else {
                let fix = "add cleeng.webhook_secrets with: connectorctl secret put";
                return Err(CommandError::new("the secret has no webhook secret, so that no signature could be verified", fix));
            };
            let wanted = |topic: Topic, first: bool| DesiredEndpoint {
                url: format!("{base}/webhooks/{}/{}", key.expose(), route_for_topic(topic)),
                secret: secret.clone(),
                retry: retry.clone(),
                push_secret: *push_secret && first,
            };
            let plan =
                |keys: &[SecretString], topic, list: &[Value], first| with_ours(list, keys, &route_for_topic(topic), &wanted(topic, first));
            apply_plan(&session, &endpoints, env, *apply, plan).await
        }
        Webhooks::Remove { apply } => {
            let plan = |keys: &[SecretString], topic, list: &[Value], _first| without_ours(list, keys, &route_for_topic(topic));
            apply_plan(&session, &endpoints, env, *apply, plan).await
        }
    }
}

fn read_base_url(url: &str, production: bool) -> Result<String, CommandError> {
    // As the stack's outputs name it, with the first part of the path, or without.
    let base = url.trim_end_matches('/').trim_end_matches("/webhooks");
    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://").filter(|_| !production));
    let good =
        rest.is_some_and(|host| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) && !host.contains(['/', '@', '?', '#']));
    let fix = "give the stack's output WebhookBaseUrl, such as https://abc123.execute-api.eu-west-1.amazonaws.com/webhooks/";
    if good { Ok(base.to_owned()) } else { Err(CommandError::new("--url is not the address of the webhooks", fix)) }
}

fn read_policy(text: Option<&str>) -> Result<(Value, bool), CommandError> {
    let policy = serde_json::from_str(text.unwrap_or(RETRY_POLICY)).ok().filter(Value::is_object);
    let fix = "give the object that Cleeng's reference shows for retryPolicy";
    policy.map(|policy| (policy, text.is_some())).ok_or_else(|| CommandError::new("--retry-policy is not a JSON object", fix))
}

fn read_failure(error: &CleengError) -> CommandError {
    let fix = match error {
        CleengError::Unauthorised { .. } => {
            "correct CLEENG_ENVIRONMENT, or cleeng.publisher_token with: connectorctl secret put --rotate cleeng.publisher_token"
        }
        CleengError::NotFound | CleengError::Unknown(UnknownAnswer::Status(404) | UnknownAnswer::Unconfirmed(404)) => {
            "set up the endpoints in Cleeng's dashboard: it may have replaced this API"
        }
        CleengError::Unreachable(_) => "check the network and CLEENG_API_URL",
        _ => "try again; if it stays like this, set up the endpoints in Cleeng's dashboard",
    };
    CommandError::new(format!("Cleeng's webhook subscriptions cannot be read: {error}"), fix)
}

/// The name under which Cleeng lists a topic, and its endpoints.
pub(crate) fn endpoints_for_topic(endpoints: &WebhookEndpoints, topic: Topic) -> (String, &[Value]) {
    let listed = endpoints.iter().find(|(name, _)| Topic::parse(name) == Some(topic));
    match listed {
        Some((name, list)) => (name.clone(), list),
        None => (topic.as_str().to_owned(), &[]),
    }
}

fn list(endpoints: &WebhookEndpoints, keys: &[SecretString]) -> CommandOutput {
    let mut rows = Vec::new();
    let mut rows_json = Vec::new();
    let mut missing = 0_u32;
    for topic in Topic::ALL {
        let (name, list) = endpoints_for_topic(endpoints, topic);
        let route = route_for_topic(topic);
        if !list.iter().any(|endpoint| is_ours(endpoint, keys, &route)) {
            missing = missing.saturating_add(1);
            rows.push(row(&name, "none of ours", "", "", ""));
            rows_json.push(json!({ "topic": name, "endpoint": null, "ours": true }));
        }
        push_endpoints(&name, list, keys, &route, &mut rows, &mut rows_json);
    }
    for (name, list) in endpoints.iter().filter(|(name, _)| Topic::parse(name).is_none()) {
        push_endpoints(name, list, &[], "", &mut rows, &mut rows_json);
    }
    let mut text = table(&["TOPIC", "ENDPOINT", "OWNER", "VERIFIED", "RETRIED"], &rows);
    if missing > 0 {
        text.push_str(&format!("{missing} topic(s) have no endpoint of ours: connectorctl webhooks sync --url URL\n"));
    }
    CommandOutput { text, json: json!({ "missing": missing, "endpoints": rows_json }), exit_code: 0 }
}

fn row(topic: &str, endpoint: &str, owner: &str, verified: &str, retried: &str) -> Vec<String> {
    [topic, endpoint, owner, verified, retried].map(str::to_owned).to_vec()
}

fn push_endpoints(
    topic: &str,
    list: &[Value],
    keys: &[SecretString],
    route: &str,
    rows: &mut Vec<Vec<String>>,
    rows_json: &mut Vec<Value>,
) {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    for endpoint in list {
        let ours = is_ours(endpoint, keys, route);
        let address = masked(endpoint.get("url").and_then(Value::as_str).unwrap_or_default());
        let (verified, retried) = (is_verified(endpoint), is_retried(endpoint));
        rows.push(row(topic, &address, if ours { "ours" } else { "another's" }, yes_no(verified), yes_no(retried)));
        rows_json.push(json!({ "topic": topic, "endpoint": address, "ours": ours, "verified": verified, "retried": retried }));
    }
}

/// Scheme and host; nothing of what may be secret.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(no address)".to_owned() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A user name before the host may be a secret too.
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/...")
}

/// Plans every topic, and writes if that is asked for. The argument says whether the plan is the first one, or checks what was written.
async fn apply_plan(
    session: &Session,
    endpoints: &WebhookEndpoints,
    env: &CommandEnv,
    apply: bool,
    plan: impl Fn(&[SecretString], Topic, &[Value], bool) -> MergePlan,
) -> Result<CommandOutput, CommandError> {
    let keys = &session.secrets.webhook_path_keys;
    let mut outcomes: BTreeMap<Topic, (String, bool)> = BTreeMap::new();
    let mut others_before: BTreeMap<Topic, Vec<Value>> = BTreeMap::new();
    let mut wrote = false;
    for topic in Topic::ALL {
        let mut fresh = None;
        if apply && plan(keys, topic, endpoints_for_topic(endpoints, topic).1, true) != MergePlan::Leave {
            // Read again right before the replacement, so that changes of another system are kept.
            fresh = Some(session.cleeng.webhook_endpoints().await.map_err(|error| read_failure(&error))?);
        }
        let (name, list) = endpoints_for_topic(fresh.as_ref().unwrap_or(endpoints), topic);
        others_before.insert(topic, foreign_endpoints(list, keys, &route_for_topic(topic)).into_iter().cloned().collect());
        let outcome = match plan(keys, topic, list, true) {
            MergePlan::Leave => ("as it should be".to_owned(), true),
            MergePlan::Refuse(why) => {
                (format!("NOT DONE: {why}; add ours in Cleeng's dashboard, or ask the owner of the other one"), false)
            }
            MergePlan::Write { changes, .. } if !apply => (format!("would change: {}", changes.join(", ")), true),
            MergePlan::Write { endpoints, changes } => {
                (env.progress)(&format!("writing {name}"));
                match session.cleeng.replace_webhook_endpoints(&name, &endpoints).await {
                    Ok(()) => {
                        wrote = true;
                        (format!("changed: {}", changes.join(", ")), true)
                    }
                    Err(error @ CleengError::Refused { .. }) => {
                        let hint = "compare --retry-policy with the form that Cleeng's reference shows for retryPolicy";
                        (format!("NOT DONE: Cleeng: {error}; {hint}"), false)
                    }
                    Err(error) => (format!("NOT DONE: Cleeng: {error}"), false),
                }
            }
        };
        outcomes.insert(topic, outcome);
    }
    if wrote {
        verify_written(session, &others_before, &plan, &mut outcomes).await;
    }
    Ok(to_output(&outcomes, apply))
}

/// Reads back what was written: others' endpoints are as they were, and nothing is left to be done.
async fn verify_written(
    session: &Session,
    others_before: &BTreeMap<Topic, Vec<Value>>,
    plan: &impl Fn(&[SecretString], Topic, &[Value], bool) -> MergePlan,
    outcomes: &mut BTreeMap<Topic, (String, bool)>,
) {
    let keys = &session.secrets.webhook_path_keys;
    let Ok(endpoints) = session.cleeng.webhook_endpoints().await else {
        outcomes.values_mut().for_each(|(outcome, good)| {
            outcome.push_str("; could not be read back: check with connectorctl webhooks list");
            *good = false;
        });
        return;
    };
    for topic in Topic::ALL {
        let (_, list) = endpoints_for_topic(&endpoints, topic);
        let others: Vec<Value> = foreign_endpoints(list, keys, &route_for_topic(topic)).into_iter().cloned().collect();
        let Some((outcome, good)) = outcomes.get_mut(&topic) else { continue };
        if others_before.get(&topic) != Some(&others) {
            outcome.push_str(
                "; ATTENTION: an endpoint of another system changed: another system wrote at the same time, or Cleeng changed it",
            );
            *good = false;
        } else if *good && plan(keys, topic, list, false) != MergePlan::Leave {
            outcome.push_str("; Cleeng accepted it and does not list it: check in its dashboard that verification and retries are on");
            *good = false;
        }
    }
}

fn to_output(outcomes: &BTreeMap<Topic, (String, bool)>, applied: bool) -> CommandOutput {
    let rows: Vec<Vec<String>> = outcomes.iter().map(|(topic, (outcome, _))| vec![topic.as_str().to_owned(), outcome.clone()]).collect();
    let mut text = table(&["TOPIC", "OUTCOME"], &rows);
    let would = outcomes.values().any(|(outcome, _)| outcome.starts_with("would"));
    if would && !applied {
        text.push_str("nothing was changed; --apply makes the changes\n");
    }
    let rows_json: Vec<Value> =
        outcomes.iter().map(|(topic, (outcome, good))| json!({ "topic": topic.as_str(), "outcome": outcome, "good": good })).collect();
    let code = if outcomes.values().all(|(_, good)| *good) { 0 } else { 2 };
    CommandOutput { text, json: json!({ "applied": applied, "topics": rows_json }), exit_code: code }
}
