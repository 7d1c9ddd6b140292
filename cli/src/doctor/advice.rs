//! Settings that are each right and do not go together, or that will hurt some day: what no function can notice at its start.

use std::collections::BTreeMap;

use connector::cleeng::webhook::Topic;
use connector::flow::{PartialRefunds, SettleOn};
use connector::lambda::operator::Deployment;

use super::Finding;
use crate::command_env::CommandEnv;

/// The topics whose events can wait in the journal or be requeued: each needs its queue in `EVENT_QUEUE_URLS` (template.yaml).
const REQUEUED_TOPICS: [Topic; 5] = [
    Topic::SubscriptionReadyForPaymentAuthorisation,
    Topic::SubscriptionReadyForPaymentCapture,
    Topic::PaymentDetailsDeactivated,
    Topic::RefundPayment,
    Topic::CapturePayment,
];

/// Everything that can be checked without a call.
pub(super) fn check(deployment: &Deployment, env: &CommandEnv) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_environments(deployment, &mut findings);
    check_addresses(deployment, env, &mut findings);
    check_times(deployment, env, &mut findings);
    check_risks(deployment, env, &mut findings);
    match &deployment.settings.resources {
        Some(_) => check_resources(deployment, env, &mut findings),
        None => check_embedded(env, &mut findings),
    }
    findings
}

/// Cleeng and the gateways are all production or all test environments.
fn check_environments(deployment: &Deployment, findings: &mut Vec<Finding>) {
    let live = deployment.live_gateways();
    for gateway in deployment.gateways_in_use() {
        let setting = format!("{}_ENVIRONMENT", gateway.as_str().to_ascii_uppercase());
        match (deployment.is_production(), live.contains(&gateway)) {
            (true, false) => findings.push(Finding::error(
                setting,
                "is a test environment, and CLEENG_ENVIRONMENT is production: subscribers would get access without a real payment",
                "set it to live, or CLEENG_ENVIRONMENT to sandbox",
            )),
            (false, true) => findings.push(Finding::error(
                setting,
                "is live, and CLEENG_ENVIRONMENT is sandbox: test subscribers would be charged real money",
                "set it to the test environment, or CLEENG_ENVIRONMENT to production",
            )),
            (true, true) | (false, false) => {}
        }
    }
}

/// Addresses that are not the upstreams' own.
fn check_addresses(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) {
    let overridden = env.variables.iter().filter(|(name, value)| {
        let name = name.as_str();
        (name.ends_with("_BASE_URL") || name == "CLEENG_API_URL" || name == "CLEENG_MEDIASTORE_URL") && !value.trim().is_empty()
    });
    for (name, _) in overridden.filter(|_| deployment.is_production()) {
        let fix = "remove it, unless Cleeng or the gateway gave you this address";
        findings.push(Finding::warning(name, "replaces the upstream's own address in production", fix));
    }
    if let Some(address) = env.get("AWS_ENDPOINT_URL").filter(|address| !address.trim().is_empty()) {
        let local = address.contains("localhost") || address.contains("127.0.0.1");
        if deployment.is_production() || !local {
            findings.push(Finding::warning("AWS_ENDPOINT_URL", "replaces AWS's own addresses", "remove it; it is for tests"));
        }
    }
    for setting in deployment.missing_page_settings() {
        let fix = "set it to what the gateway gives to pages, unless yours do not use its component";
        findings.push(Finding::warning(setting, "is not set: pages with the gateway's component get no payment methods", fix));
    }
    if deployment.settings.resources.is_some() && deployment.frontend.is_none() {
        let fix = "set it to the origins of your pages, or use --stack, or give the settings of a front-end function as another --env-file";
        findings.push(Finding::warning("ALLOWED_ORIGINS", "is not set: the functions that pages call do not start without it", fix));
    }
}

/// Times that depend on each other.
fn check_times(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) {
    let is_set = |name: &str| env.get(name).is_some_and(|value| !value.trim().is_empty());
    let grace_minutes = env.get("GRACE_PERIOD_MINUTES").and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(120);
    if !is_set("GRACE_PERIOD_MINUTES") {
        let fix = "set it to the grace period of your dunning settings; Cleeng has no address to read them from";
        findings.push(Finding::note("GRACE_PERIOD_MINUTES", "is not set; 120 minutes are assumed", fix));
    }
    if deployment.settings.capture_wait.as_secs().checked_div(60).unwrap_or(0) >= grace_minutes {
        let problem =
            "is not shorter than GRACE_PERIOD_MINUTES, so a subscription can end while its capture still waits for an authorisation";
        findings.push(Finding::warning("CAPTURE_WAIT_MINUTES", problem, format!("set it to less than {grace_minutes}")));
    }
    if deployment.settings.settle_on == SettleOn::Receipt {
        let problem = "is receipt: a capture that the gateway only acknowledged is reported as paid, and may still fail";
        findings.push(Finding::warning("SETTLE_ON", problem, "set it to notification, unless your gateway sends no notifications"));
    }
}

/// Protections that are switched off, and risky features that are switched on.
fn check_risks(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) {
    if deployment.signature().accept_unsigned {
        let fix = "remove it as soon as Cleeng signs its webhooks (connectorctl webhooks sync turns that on)";
        findings.push(Finding::warning(
            "CLEENG_DANGEROUSLY_ACCEPT_UNSIGNED_WEBHOOKS",
            "is on: anyone who learns the address can have subscribers charged",
            fix,
        ));
    }
    if deployment.settings.partial_refunds == PartialRefunds::Send
        && env.get("CLEENG_REFUND_AMOUNT_FIELD").is_none_or(|name| name.is_empty())
    {
        let problem = "is send, and the name of the amount's field is a guess: if Cleeng ignores it, a partial refund becomes a full one and ends the subscription";
        findings.push(Finding::warning(
            "PARTIAL_REFUNDS",
            problem,
            "try it in Cleeng's sandbox and set CLEENG_REFUND_AMOUNT_FIELD, or set it to park",
        ));
    }
    if deployment.settings.delete_deactivated_details {
        findings.push(Finding::note("DELETE_DEACTIVATED_DETAILS", "is yes: deleted details cannot be restored", ""));
    }
    if deployment.is_production() && env.get("LOG_LEVEL").is_some_and(|level| level.trim().eq_ignore_ascii_case("debug")) {
        findings.push(Finding::warning("LOG_LEVEL", "is debug in production: logs are large and cost money", "set it to info or warn"));
    }
}

/// Table, secret and queues by their names.
fn check_resources(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) {
    let Some(resources) = &deployment.settings.resources else { return };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let is_name = (3..=255).contains(&resources.table.len()) && resources.table.bytes().all(plain);
    if !is_name && !resources.table.starts_with("arn:") {
        let fix = "set it to the table's name, 3 to 255 letters, digits, '_', '.' and '-'";
        findings.push(Finding::error("JOURNAL_TABLE", "is not the name of a DynamoDB table", fix));
    }
    if resources.secret_id.contains(char::is_whitespace) || resources.secret_id.len() > 2048 {
        let fix = "set it to the secret's name or ARN in AWS Secrets Manager";
        findings.push(Finding::error("CONNECTOR_SECRET_ID", "is not the name or ARN of a secret", fix));
    }
    if env.get("AWS_REGION").or_else(|| env.get("AWS_DEFAULT_REGION")).is_none_or(|region| region.trim().is_empty()) {
        findings.push(Finding::note(
            "AWS_REGION",
            "is not set; the AWS configuration of this machine decides",
            "set it to the stack's region",
        ));
    }
    if env.get("CONNECTOR_SECRETS").is_some_and(|text| !text.trim().is_empty()) {
        let fix = "remove it and rotate what it holds: it is readable to anyone who may see the function's settings";
        findings.push(Finding::error("CONNECTOR_SECRETS", "is set outside embedded mode, where nothing reads it", fix));
    }
    check_queues(deployment, findings);
}

fn check_queues(deployment: &Deployment, findings: &mut Vec<Finding>) {
    if deployment.queues.is_empty() {
        let fix = "use --stack, or give the settings of reconciliation as another --env-file";
        let problem = "is not set: the functions that requeue events do not start without it";
        findings.push(Finding::warning("EVENT_QUEUE_URLS", problem, fix));
        return;
    }
    for topic in REQUEUED_TOPICS.into_iter().filter(|topic| !deployment.queues.contains_key(topic)) {
        let fix = format!("add {}=URL of its function's queue", topic.as_str());
        findings.push(Finding::error("EVENT_QUEUE_URLS", format!("lacks {}: its events cannot be requeued", topic.as_str()), fix));
    }
    if !deployment.queues.contains_key(&Topic::SubscriptionReadyForTermination) {
        let topic = Topic::SubscriptionReadyForTermination.as_str();
        let problem = format!("lacks {topic}, which reconciliation needs to recover missed terminations");
        findings.push(Finding::warning(
            "EVENT_QUEUE_URLS",
            problem,
            "give the settings of reconciliation with --env-file, or use --stack; those of gateway-notification lack it",
        ));
    }
    let mut owners: BTreeMap<&str, Topic> = BTreeMap::new();
    for (topic, url) in &deployment.queues {
        if let Some(other) = owners.insert(url, *topic) {
            let problem = format!("names one queue for {} and {}", other.as_str(), topic.as_str());
            findings.push(Finding::error("EVENT_QUEUE_URLS", problem, "give each topic the queue of its own function"));
        }
    }
}

fn check_embedded(env: &CommandEnv, findings: &mut Vec<Finding>) {
    let table = env.get("JOURNAL_TABLE").is_some_and(|name| !name.trim().is_empty());
    if table && env.get("AWS_SAM_LOCAL").is_none() {
        let fix = "set CONNECTOR_EMBEDDED to 0 or remove it; 1 is for a machine without AWS";
        let problem = "is on beside a JOURNAL_TABLE: the journal would be lost with every restart, and charges could be repeated";
        findings.push(Finding::error("CONNECTOR_EMBEDDED", problem, fix));
    }
}
