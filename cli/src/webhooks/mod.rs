//! Cleeng's webhook subscriptions: read, merge, write. Writing replaces a topic's whole list, so the list is read right before, others' endpoints
//! are sent along as they were, and the list is read again afterwards. Must never drop or change an endpoint that is not ours, and never show a
//! path: unguessable parts of others' addresses are secrets too.

pub mod merge;

use std::collections::BTreeMap;

use connector::cleeng::CleengError;
use connector::cleeng::client::Endpoints;
use connector::cleeng::webhook::Topic;
use connector::lambda::http_door::route_of;
use connector::secret::SecretString;
use serde_json::{Value, json};

use self::merge::{Plan, RETRY_POLICY, Wanted, is_ours, is_retried, is_verified, of_others, with_ours, without_ours};
use crate::answer::{Answer, Failure, table};
use crate::arguments::Webhooks;
use crate::desk::Desk;
use crate::surroundings::Surroundings;

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`] if settings are wrong or Cleeng cannot be asked.
pub async fn run(command: &Webhooks, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let desk = Desk::open(surroundings).await?;
    (surroundings.progress)("asking Cleeng for its webhook subscriptions");
    let endpoints = desk.cleeng.webhook_endpoints().await.map_err(|error| asked(&error))?;
    match command {
        Webhooks::List => Ok(list(&endpoints, &desk.secrets.webhook_path_keys)),
        Webhooks::Sync { url, retry_policy, push_secret, apply } => {
            let base = base_of(url, desk.deployment.is_production())?;
            let retry = read_policy(retry_policy.as_deref())?;
            let (Some(key), Some(secret)) = (desk.secrets.webhook_path_keys.first(), desk.secrets.cleeng.webhook_secrets.first()) else {
                let fix = "put cleeng.webhook_secrets into the secret";
                return Err(Failure::new("the secret has no webhook secret, so that Cleeng's signature could not be checked", fix));
            };
            let wanted = |topic: Topic, first: bool| Wanted {
                url: format!("{base}/webhooks/{}/{}", key.expose(), route_of(topic)),
                secret: secret.clone(),
                retry: retry.clone(),
                push_secret: *push_secret && first,
            };
            let plan = |keys: &[SecretString], topic, list: &[Value], first| with_ours(list, keys, &route_of(topic), &wanted(topic, first));
            change(&desk, &endpoints, surroundings, *apply, plan).await
        }
        Webhooks::Remove { apply } => {
            let plan = |keys: &[SecretString], topic, list: &[Value], _first| without_ours(list, keys, &route_of(topic));
            change(&desk, &endpoints, surroundings, *apply, plan).await
        }
    }
}

fn base_of(url: &str, production: bool) -> Result<String, Failure> {
    // As the stack tells it, with the first part of the path, or without.
    let base = url.trim_end_matches('/').trim_end_matches("/webhooks");
    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://").filter(|_| !production));
    let good =
        rest.is_some_and(|host| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) && !host.contains(['/', '@', '?', '#']));
    let fix = "give the stack's output WebhookBaseUrl, such as https://abc123.execute-api.eu-west-1.amazonaws.com/webhooks/";
    if good { Ok(base.to_owned()) } else { Err(Failure::new("--url is not the address of the webhooks", fix)) }
}

fn read_policy(text: Option<&str>) -> Result<(Value, bool), Failure> {
    let policy = serde_json::from_str(text.unwrap_or(RETRY_POLICY)).ok().filter(Value::is_object);
    let fix = "give the object that Cleeng's reference shows for retryPolicy";
    policy.map(|policy| (policy, text.is_some())).ok_or_else(|| Failure::new("--retry-policy is no JSON object", fix))
}

fn asked(error: &CleengError) -> Failure {
    let fix = match error {
        CleengError::Unauthorised { .. } => "correct cleeng.publisher_token in the secret, and CLEENG_ENVIRONMENT",
        CleengError::NotFound => "Cleeng may have replaced this API: set the endpoints up in its dashboard",
        CleengError::Unreachable(_) => "check the network and CLEENG_API_URL",
        _ => "try again; if it stays, set the endpoints up in Cleeng's dashboard",
    };
    Failure::new(format!("Cleeng's webhook subscriptions cannot be read: {error}"), fix)
}

/// The name under which Cleeng lists a topic, and its endpoints.
pub(crate) fn of_topic(endpoints: &Endpoints, topic: Topic) -> (String, &[Value]) {
    let listed = endpoints.iter().find(|(name, _)| Topic::parse(name) == Some(topic));
    match listed {
        Some((name, list)) => (name.clone(), list),
        None => (topic.as_str().to_owned(), &[]),
    }
}

fn list(endpoints: &Endpoints, keys: &[SecretString]) -> Answer {
    let mut rows = Vec::new();
    let mut told = Vec::new();
    let mut missing = 0_u32;
    for topic in Topic::ALL {
        let (name, list) = of_topic(endpoints, topic);
        let route = route_of(topic);
        if !list.iter().any(|endpoint| is_ours(endpoint, keys, &route)) {
            missing = missing.saturating_add(1);
            rows.push(row(&name, "none of ours", "", "", ""));
            told.push(json!({ "topic": name, "endpoint": null, "ours": true }));
        }
        show(&name, list, keys, &route, &mut rows, &mut told);
    }
    for (name, list) in endpoints.iter().filter(|(name, _)| Topic::parse(name).is_none()) {
        show(name, list, &[], "", &mut rows, &mut told);
    }
    let mut text = table(&["TOPIC", "ENDPOINT", "WHOSE", "VERIFIED", "RETRIED"], &rows);
    if missing > 0 {
        text.push_str(&format!("{missing} topic(s) have no endpoint of ours: connectorctl webhooks sync --url URL\n"));
    }
    Answer { text, json: json!({ "missing": missing, "endpoints": told }), code: 0 }
}

fn row(topic: &str, endpoint: &str, whose: &str, verified: &str, retried: &str) -> Vec<String> {
    [topic, endpoint, whose, verified, retried].map(str::to_owned).to_vec()
}

fn show(topic: &str, list: &[Value], keys: &[SecretString], route: &str, rows: &mut Vec<Vec<String>>, told: &mut Vec<Value>) {
    let word = |yes: bool| if yes { "yes" } else { "no" };
    for endpoint in list {
        let ours = is_ours(endpoint, keys, route);
        let address = masked(endpoint.get("url").and_then(Value::as_str).unwrap_or_default());
        let (verified, retried) = (is_verified(endpoint), is_retried(endpoint));
        rows.push(row(topic, &address, if ours { "ours" } else { "another's" }, word(verified), word(retried)));
        told.push(json!({ "topic": topic, "endpoint": address, "ours": ours, "verified": verified, "retried": retried }));
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

/// Plans every topic, and writes where that is asked for. The plan is told whether it is the first one, or the one that checks what was written.
async fn change(
    desk: &Desk,
    endpoints: &Endpoints,
    surroundings: &Surroundings,
    apply: bool,
    plan: impl Fn(&[SecretString], Topic, &[Value], bool) -> Plan,
) -> Result<Answer, Failure> {
    let keys = &desk.secrets.webhook_path_keys;
    let mut outcomes: BTreeMap<Topic, (String, bool)> = BTreeMap::new();
    let mut others_before: BTreeMap<Topic, Vec<Value>> = BTreeMap::new();
    let mut wrote = false;
    for topic in Topic::ALL {
        let mut fresh = None;
        if apply && plan(keys, topic, of_topic(endpoints, topic).1, true) != Plan::Leave {
            // Right before it is replaced, so that what somebody else wrote meanwhile is sent along.
            fresh = Some(desk.cleeng.webhook_endpoints().await.map_err(|error| asked(&error))?);
        }
        let (name, list) = of_topic(fresh.as_ref().unwrap_or(endpoints), topic);
        others_before.insert(topic, of_others(list, keys, &route_of(topic)).into_iter().cloned().collect());
        let outcome = match plan(keys, topic, list, true) {
            Plan::Leave => ("as it should be".to_owned(), true),
            Plan::Refuse(why) => (format!("NOT DONE: {why}; add ours in Cleeng's dashboard, or ask whoever owns the other one"), false),
            Plan::Write { changes, .. } if !apply => (format!("would change: {}", changes.join(", ")), true),
            Plan::Write { endpoints, changes } => {
                (surroundings.progress)(&format!("writing {name}"));
                match desk.cleeng.replace_webhook_endpoints(&name, &endpoints).await {
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
        look_again(desk, &others_before, &plan, &mut outcomes).await;
    }
    Ok(tell(&outcomes, apply))
}

/// Reads back what was written: others' endpoints are as they were, and nothing is left to be done.
async fn look_again(
    desk: &Desk,
    others_before: &BTreeMap<Topic, Vec<Value>>,
    plan: &impl Fn(&[SecretString], Topic, &[Value], bool) -> Plan,
    outcomes: &mut BTreeMap<Topic, (String, bool)>,
) {
    let keys = &desk.secrets.webhook_path_keys;
    let Ok(endpoints) = desk.cleeng.webhook_endpoints().await else {
        outcomes.values_mut().for_each(|(outcome, good)| {
            outcome.push_str("; could not be read back: look with `connectorctl webhooks list`");
            *good = false;
        });
        return;
    };
    for topic in Topic::ALL {
        let (_, list) = of_topic(&endpoints, topic);
        let others: Vec<Value> = of_others(list, keys, &route_of(topic)).into_iter().cloned().collect();
        let Some((outcome, good)) = outcomes.get_mut(&topic) else { continue };
        if others_before.get(&topic) != Some(&others) {
            outcome
                .push_str("; ATTENTION: another's endpoint is not as it was: somebody else wrote at the same time, or Cleeng changed it");
            *good = false;
        } else if *good && plan(keys, topic, list, false) != Plan::Leave {
            outcome.push_str("; Cleeng took it and does not show it: look in its dashboard whether verification and retries are on");
            *good = false;
        }
    }
}

fn tell(outcomes: &BTreeMap<Topic, (String, bool)>, applied: bool) -> Answer {
    let rows: Vec<Vec<String>> = outcomes.iter().map(|(topic, (outcome, _))| vec![topic.as_str().to_owned(), outcome.clone()]).collect();
    let mut text = table(&["TOPIC", "OUTCOME"], &rows);
    let would = outcomes.values().any(|(outcome, _)| outcome.starts_with("would"));
    if would && !applied {
        text.push_str("nothing was changed; --apply does it\n");
    }
    let told: Vec<Value> =
        outcomes.iter().map(|(topic, (outcome, good))| json!({ "topic": topic.as_str(), "outcome": outcome, "good": good })).collect();
    let code = if outcomes.values().all(|(_, good)| *good) { 0 } else { 2 };
    Answer { text, json: json!({ "applied": applied, "topics": told }), code }
}
