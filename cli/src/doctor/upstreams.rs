//! Cleeng and the gateways: reachable, our credentials taken, what they know of us right. Only questions that change nothing.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::client::{CoreApi, ListedSubscription};
use connector::cleeng::webhook::Topic;
use connector::cleeng::{CleengError, SubscriptionStatus, UnknownAnswer};
use connector::flow::BillingMode;
use connector::gateway::{GatewayError, GatewayName};
use connector::http::{Method, Request, Transport};
use connector::ids::PaymentMethodId;
use connector::lambda::operator::Deployment;
use connector::lambda::secrets::Secrets;
use connector::lambda::webhook_handler::route_for_topic;

use super::Finding;
use crate::command_env::CommandEnv;
use crate::webhooks::endpoints_for_topic;
use crate::webhooks::merge::{is_ours, is_retried, is_verified};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks Cleeng's Core API.
pub(super) async fn check_cleeng(deployment: &Deployment, secrets: &Secrets, api: &CoreApi, findings: &mut Vec<Finding>) {
    let mut reached = false;
    for (method, ours) in &deployment.settings.methods {
        match api.listed_subscriptions(method).await {
            Ok(standings) => {
                reached = true;
                findings.extend(check_method(deployment, method, ours.billing, &standings));
            }
            Err(error) => {
                findings.push(cleeng_finding(&error));
                // It would say the same of every method.
                return;
            }
        }
    }
    if reached {
        findings.push(Finding::fine("Cleeng Core API", "answers, and accepts the publisher token"));
    }
    check_webhooks(secrets, api, findings).await;
}

fn cleeng_finding(error: &CleengError) -> Finding {
    match error {
        CleengError::Unauthorised { .. } => Finding::error(
            "cleeng.publisher_token",
            format!("is refused by Cleeng ({error})"),
            "copy the token from the dashboard of the environment that CLEENG_ENVIRONMENT names",
        ),
        CleengError::Unreachable(_) => {
            Finding::error("CLEENG_API_URL", format!("cannot be reached: {error}"), "check the network, name resolution and the address")
        }
        CleengError::NotFound | CleengError::Unknown(UnknownAnswer::Status(404) | UnknownAnswer::Unconfirmed(404)) => {
            Finding::error("CLEENG_API_URL", "answers 404: it is not the Core API", "remove it, or give the address up to and with /3.1")
        }
        _ => Finding::error(
            "Cleeng Core API",
            format!("does not answer as it should: {error}"),
            "try again; ask Cleeng if it stays like this",
        ),
    }
}

/// A payment method cannot be read from Cleeng; its subscriptions can.
fn check_method(deployment: &Deployment, method: &PaymentMethodId, billing: BillingMode, standings: &[ListedSubscription]) -> Vec<Finding> {
    let subject = format!("PAYMENT_METHODS {method}");
    if standings.is_empty() {
        let problem = "has no subscription yet, so it cannot be checked whether it exists";
        return vec![Finding::note(subject, problem, "compare the id with the one from Cleeng's support")];
    }
    let foreign_publisher =
        standings.iter().filter_map(|one| one.publisher.as_ref()).find(|publisher| **publisher != deployment.settings.publisher);
    if foreign_publisher.is_some() {
        let problem = "is not the publisher of the subscriptions that Cleeng lists for the token: every webhook would be refused";
        return vec![Finding::error("CONNECTOR_PUBLISHER_ID", problem, "correct it, or the token")];
    }
    let mut findings = vec![Finding::fine(&subject, format!("is in use at Cleeng ({} subscription(s) seen)", standings.len()))];
    findings.extend(check_dunning(&subject, billing, standings));
    findings
}

/// Cleeng's dunning settings cannot be read, but their effect can: when the next payment of an active subscription is due. With the default
/// attempts a connector that charges at the capture event takes the money up to 72 hours early (Cleeng, "Dunning action settings").
fn check_dunning(subject: &str, billing: BillingMode, standings: &[ListedSubscription]) -> Option<Finding> {
    let next_charge = |one: &&ListedSubscription| {
        let active = one.subscription.status == SubscriptionStatus::Active;
        active && one.subscription.next_payment_action.as_deref() == Some("capture") && one.next_payment_at.is_some()
    };
    let charges: Vec<&ListedSubscription> = standings.iter().filter(next_charge).collect();
    if billing != BillingMode::CaptureOnly {
        return None;
    }
    let authorises_first =
        standings.iter().any(|one| matches!(one.subscription.next_payment_action.as_deref(), Some("authorise" | "authorize")));
    if authorises_first {
        let problem =
            "is capture_only, and Cleeng sends authorisation events for it first: authorizedFirst is true in its dunning settings";
        return Some(Finding::error(
            subject,
            problem,
            "bill it authorise_then_capture, or have Cleeng set authorizedFirst to false with attempts at or after the due date",
        ));
    }
    let early = charges.iter().filter_map(|one| Some(one.subscription.paid_until.since(one.next_payment_at?)));
    let earliest = early.max().unwrap_or(Duration::ZERO);
    if earliest > Duration::from_secs(3600) {
        let hours = earliest.as_secs().div_ceil(3600);
        let problem = format!(
            "is capture_only, and Cleeng asks for the charge up to {hours} hours before the paid period ends: subscribers would be charged early"
        );
        let fix = "have the dunning attempts set to 0 and negative hours, such as [0, -24, -48, -72] with a grace period that covers them";
        return Some(Finding::error(subject, problem, fix));
    }
    if charges.is_empty() {
        let problem = "is capture_only, and no subscription shows when Cleeng asks for its charge: with Cleeng's default attempts that is up to 72 hours early";
        let fix = "look at the dunning settings: attempts of 0 and negative hours only, such as [0, -24, -48, -72]";
        return Some(Finding::warning(subject, problem, fix));
    }
    None
}

/// Every topic has our endpoint, verified and retried.
async fn check_webhooks(secrets: &Secrets, api: &CoreApi, findings: &mut Vec<Finding>) {
    const SYNC: &str = "connectorctl webhooks sync --url URL";
    let endpoints = match api.webhook_endpoints().await {
        Ok(endpoints) => endpoints,
        Err(error) => {
            let fix = "look in Cleeng's dashboard whether each topic has our endpoint, with verification and retries";
            findings.push(Finding::warning("webhook subscriptions", format!("cannot be read: {error}"), fix));
            return;
        }
    };
    let mut right = 0_usize;
    for topic in Topic::ALL {
        let (name, list) = endpoints_for_topic(&endpoints, topic);
        let subject = format!("webhook {name}");
        let mut ours = list.iter().filter(|endpoint| is_ours(endpoint, &secrets.webhook_path_keys, &route_for_topic(topic)));
        let Some(endpoint) = ours.next() else {
            findings.push(Finding::error(subject, "has no endpoint of ours at Cleeng: its events never arrive", SYNC));
            continue;
        };
        if ours.next().is_some() {
            findings.push(Finding::warning(&subject, "has several endpoints of ours: every event is delivered twice", SYNC));
        }
        let plain = endpoint.get("url").and_then(serde_json::Value::as_str).is_some_and(|url| url.starts_with("http://"));
        if plain {
            findings.push(Finding::error(&subject, "goes to an http address: anybody on its way can read it", SYNC));
        }
        if !is_verified(endpoint) {
            findings.push(Finding::error(&subject, "is not signed by Cleeng: the connector refuses its events", SYNC));
        }
        if !is_retried(endpoint) {
            findings.push(Finding::warning(
                &subject,
                "is not sent again when it fails: reconciliation cannot recover lost refunds and deactivations",
                SYNC,
            ));
        }
        right = right.saturating_add(usize::from(!plain && is_verified(endpoint) && is_retried(endpoint)));
    }
    if right == Topic::ALL.len() {
        findings.push(Finding::fine("webhook subscriptions", "every topic has our endpoint, verified and retried"));
    }
}

/// MediaStore answers without a token, if only to refuse.
pub(super) async fn check_mediastore(deployment: &Deployment, transport: &Arc<dyn Transport>, findings: &mut Vec<Finding>) {
    let Some(front) = &deployment.frontend else { return };
    let answer = transport.send(Request::new(Method::GET, format!("{}/payment-methods", front.mediastore.url), TIMEOUT).repeatable()).await;
    findings.push(match answer {
        Ok(answer) if answer.status.as_u16() < 500 => Finding::fine("Cleeng MediaStore", "can be reached"),
        Ok(answer) => Finding::error(
            "CLEENG_MEDIASTORE_URL",
            format!("answers with {}", answer.status.as_u16()),
            "try again; ask Cleeng if it stays like this",
        ),
        Err(error) => {
            let fix = "check the network, name resolution and the address";
            Finding::error("CLEENG_MEDIASTORE_URL", format!("cannot be reached: {error}"), fix)
        }
    });
}

/// The address that gateways send customers back to leads to the connector, which answers with an envelope of its own; a proxy's or a
/// custom domain's address without its mapping key leads elsewhere.
pub(super) async fn check_public_url(deployment: &Deployment, transport: &Arc<dyn Transport>, findings: &mut Vec<Finding>) {
    let Some((url, gateway)) = public_url(deployment) else { return };
    // No attempt has this reference.
    let path = format!("{url}/connectors/{gateway}/v1/tokens/return/clg-00000000-0000-8000-8000-000000000000?check=1");
    let answer = transport.send(Request::new(Method::GET, path, TIMEOUT).repeatable()).await;
    let fix = "set PublicUrl to the address under which browsers reach the API, with the API mapping key of a custom domain";
    findings.push(match answer.map(|answer| answer.json().unwrap_or_default()) {
        Ok(body) if body.get("code").is_some_and(|code| code == "REQ0003") => {
            Finding::fine("CONNECTOR_PUBLIC_URL", "leads to the connector")
        }
        Ok(_) => {
            Finding::error("CONNECTOR_PUBLIC_URL", "does not lead to the connector: customers would not come back from a gateway", fix)
        }
        Err(error) => Finding::error("CONNECTOR_PUBLIC_URL", format!("cannot be reached: {error}"), fix),
    });
}

fn public_url(deployment: &Deployment) -> Option<(&str, GatewayName)> {
    let url = deployment.frontend.as_ref()?.public_url.as_deref()?;
    Some((url, deployment.gateways_in_use().into_iter().next()?))
}

/// A harmless question to every gateway in use.
pub(super) async fn check_gateways(
    deployment: &Deployment,
    secrets: &Secrets,
    transport: &Arc<dyn Transport>,
    env: &CommandEnv,
    findings: &mut Vec<Finding>,
) {
    for name in deployment.gateways_in_use() {
        (env.progress)(&format!("asking {name}"));
        let Ok(Some(gateway)) = deployment.gateway(name, secrets, transport, &env.clock) else { continue };
        let prefix = name.as_str().to_ascii_uppercase();
        findings.push(match gateway.check_access().await {
            Ok(()) => Finding::fine(name.as_str(), "answers, and accepts our credentials and account"),
            Err(error @ GatewayError::Credentials { .. }) => {
                let fix = format!("check the object {name} of the secret, {prefix}_ENVIRONMENT, and that the account is ours");
                Finding::error(name.as_str(), error.to_string(), fix)
            }
            Err(error @ GatewayError::Unreachable(_)) => {
                let fix = format!("check the network, name resolution and {prefix}_BASE_URL");
                Finding::error(name.as_str(), error.to_string(), fix)
            }
            Err(error @ GatewayError::Throttled { .. }) => Finding::warning(name.as_str(), error.to_string(), "try again later"),
            Err(error) => Finding::error(name.as_str(), error.to_string(), format!("check the settings {prefix}_*")),
        });
    }
}
