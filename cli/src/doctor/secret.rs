//! The secret: its form, placeholders, and values that are easily guessed or publicly known. Must never quote one.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector::http::Transport;
use connector::lambda::operator::Deployment;
use connector::lambda::secrets::{SecretError, Secrets};
use connector::secret::SecretString;
use serde_json::Value;

use super::Finding;
use crate::command_env::CommandEnv;
use crate::session;

/// What a secret of 32 random bytes has at least, however it is written.
const ADVISED_LENGTH: usize = 32;
/// Fewer different characters than this are typed, not random.
const FEWEST_CHARACTERS: usize = 8;
/// The words of this repository's samples and of its sandbox: everybody knows them.
const PUBLIC_WORDS: [&str; 3] = ["sandbox", "0123456789abcdef", "example"];

/// Looks at the secret. Comes back with it if functions could start with it.
pub(super) async fn examine(deployment: &Deployment, env: &CommandEnv, findings: &mut Vec<Finding>) -> Option<Secrets> {
    let text = match session::secret_text(deployment, env).await {
        Ok(text) => text,
        Err(SecretError::Invalid(problems)) => {
            findings.extend(problems.0.into_iter().map(Finding::from));
            return None;
        }
        Err(error) => {
            let fix = match error {
                SecretError::Unavailable => "check the network and AWS_REGION, and try again",
                _ => {
                    "fill it in with connectorctl secret put if it has no value yet; otherwise check its name, AWS_REGION, and that your credentials may read it (secretsmanager:GetSecretValue, kms:Decrypt)"
                }
            };
            findings.push(Finding::error("CONNECTOR_SECRET_ID", format!("cannot be read: {error}"), fix));
            return None;
        }
    };
    let transport = match session::transport() {
        Ok(transport) => transport,
        Err(failure) => {
            findings.push(Finding::error("SSL_CERT_FILE", failure.problem, failure.fix));
            return None;
        }
    };
    let (secrets, found) = check(text.expose(), deployment, &transport, env);
    findings.extend(found);
    let secrets = secrets?;
    findings.extend(misplaced_values(&secrets, env));
    findings.push(Finding::fine("secret", "is complete"));
    Some(secrets)
}

/// Checks a secret's text as the functions do at their start, and for values that are weak or that nothing reads. Returns the secret if
/// functions could start with it.
pub(crate) fn check(
    text: &str,
    deployment: &Deployment,
    transport: &Arc<dyn Transport>,
    env: &CommandEnv,
) -> (Option<Secrets>, Vec<Finding>) {
    let (secrets, problems) = deployment.check_secret(text, transport, &env.clock);
    let good = problems.is_empty();
    let mut findings: Vec<Finding> = problems.into_iter().map(Finding::from).collect();
    findings.extend(unknown_members(text, deployment));
    if let Some(secrets) = &secrets {
        findings.extend(weak_values(secrets, deployment.is_production()));
    }
    (secrets.filter(|_| good), findings)
}

/// Members that nothing reads: usually misspelt ones.
fn unknown_members(text: &str, deployment: &Deployment) -> Vec<Finding> {
    let Ok(Value::Object(members)) = serde_json::from_str(text) else { return Vec::new() };
    let in_use = deployment.gateways_in_use();
    let mut known: BTreeSet<&str> = ["idempotency_salt", "webhook_path_keys", "cleeng"].into();
    known.extend(in_use.iter().map(|gateway| gateway.as_str()));
    let strange = members.keys().filter(|name| !known.contains(name.as_str()));
    let told = strange.map(|name| {
        let unused = connector::gateway::GatewayName::parse(name).is_some();
        let problem = if unused { "belongs to a gateway that no payment method uses" } else { "is not a name that the connector reads" };
        let fix = if unused { "remove it, or add a payment method" } else { "correct its name, or remove it" };
        if unused { Finding::note(name, problem, fix) } else { Finding::warning(name, problem, fix) }
    });
    let mut found: Vec<Finding> = told.collect();
    let of_cleeng = members.get("cleeng").and_then(Value::as_object).into_iter().flatten();
    for (name, _) in of_cleeng.filter(|(name, _)| !["publisher_token", "webhook_secrets"].contains(&name.as_str())) {
        found.push(Finding::warning(format!("cleeng.{name}"), "is not a name that the connector reads", "correct its name, or remove it"));
    }
    found
}

/// Every value with its path.
fn values(secrets: &Secrets) -> Vec<(String, &SecretString)> {
    let mut groups: Vec<(String, &[SecretString])> = vec![
        ("idempotency_salt".to_owned(), std::slice::from_ref(&secrets.idempotency_salt)),
        ("webhook_path_keys".to_owned(), &secrets.webhook_path_keys),
        ("cleeng.publisher_token".to_owned(), &secrets.cleeng.publisher_tokens),
        ("cleeng.webhook_secrets".to_owned(), &secrets.cleeng.webhook_secrets),
    ];
    for (gateway, texts) in &secrets.gateways {
        groups.extend(texts.0.iter().map(|(name, values)| (format!("{gateway}.{name}"), values.as_slice())));
    }
    let named = |(path, values): (String, &'_ [SecretString])| -> Vec<String> {
        (0..values.len()).map(|place| if place == 0 { path.clone() } else { format!("{path}[{place}]") }).collect()
    };
    groups.into_iter().flat_map(|(path, values)| named((path, values)).into_iter().zip(values)).collect()
}

/// Values that are not random, that are public, or that are used in two places.
fn weak_values(secrets: &Secrets, production: bool) -> Vec<Finding> {
    const GENERATE: &str = "generate a random one, for example with: openssl rand -hex 32";
    let mut findings = Vec::new();
    let values = values(secrets);
    for (path, value) in values.iter().filter(|(_, value)| !value.expose().is_empty()) {
        let text = value.expose();
        let ours =
            path.starts_with("idempotency_salt") || path.starts_with("webhook_path_keys") || path.starts_with("cleeng.webhook_secrets");
        let lower = text.to_ascii_lowercase();
        if PUBLIC_WORDS.iter().any(|word| lower.contains(word)) {
            let finding = if production { Finding::error } else { Finding::warning };
            findings.push(finding(
                path.clone(),
                "looks like a value of the sandbox or of an example, which everybody knows".to_owned(),
                GENERATE.to_owned(),
            ));
        } else if ours && text.chars().collect::<BTreeSet<_>>().len() < FEWEST_CHARACTERS {
            findings.push(Finding::warning(path, "has too few different characters to be random", GENERATE));
        } else if ours && text.len() < ADVISED_LENGTH {
            findings.push(Finding::warning(path, "is shorter than the 32 characters that are advised", GENERATE));
        }
    }
    for (place, (path, value)) in values.iter().enumerate() {
        let twin = values.iter().take(place).find(|(_, other)| !value.expose().is_empty() && other.matches(value.expose()));
        if let Some((other, _)) = twin {
            findings.push(Finding::warning(
                path,
                format!("is the same as {other}"),
                "give each purpose a value of its own; a list has the current and the previous one",
            ));
        }
    }
    findings
}

/// Secrets that were also put among the plain settings.
fn misplaced_values(secrets: &Secrets, env: &CommandEnv) -> Vec<Finding> {
    let texts = secrets.texts();
    let plain = env.variables.iter().filter(|(name, _)| *name != "CONNECTOR_SECRETS" && !name.starts_with("AWS_"));
    let holding = plain.filter(|(_, value)| texts.iter().any(|secret| secret.expose().len() >= 8 && value.contains(secret.expose())));
    let fix = "remove it from there, and rotate the value";
    holding.map(|(name, _)| Finding::error(name, "holds a value of the secret, readable to anyone who may see the settings", fix)).collect()
}
