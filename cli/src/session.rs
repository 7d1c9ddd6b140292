//! Settings, secret and clients, opened for one command. Every secret is registered with the redactor before anything else happens.

use std::sync::Arc;

use connector::cleeng::client::CoreApi;
use connector::cleeng::webhook::Topic;
use connector::gateway::Gateways;
use connector::http::{ReqwestTransport, Transport};
use connector::journal::store::Store;
use connector::lambda::operator::{self, Deployment};
use connector::lambda::queue::{Queue, QueueError};
use connector::lambda::secrets::{SecretError, Secrets};
use connector::secret::SecretString;
use connector::settings::{Problems, SettingsReader};
use serde_json::Value;

use crate::aws;
use crate::command_env::CommandEnv;
use crate::output::CommandError;

/// A deployment's settings with nothing wrong in them.
///
/// # Errors
/// Every mistake.
pub fn deployment(env: &CommandEnv) -> Result<Deployment, CommandError> {
    let get = |name: &str| env.get(name);
    let mut reader = SettingsReader::new(&get);
    let deployment = Deployment::read(&mut reader);
    reader.finish(deployment).map_err(|problems| CommandError::settings(&problems))
}

/// The text of the secret, every text in it known to the redactor.
///
/// # Errors
/// [`SecretError`].
pub async fn secret_text(deployment: &Deployment, env: &CommandEnv) -> Result<SecretString, SecretError> {
    let text = match &env.secret {
        Some(text) => text.clone(),
        None => deployment.secret_text(&|name| env.get(name)).await?,
    };
    register_secrets(text.expose(), env);
    Ok(text)
}

/// Makes every text of a JSON document known to the redactor, at any depth and whether or not it is a valid secret.
pub fn register_secrets(text: &str, env: &CommandEnv) {
    fn texts(value: &Value, found: &mut Vec<SecretString>) {
        match value {
            Value::String(text) => found.extend([SecretString::new(text.as_str()), SecretString::new(text.trim())]),
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Object(members) => members.values().for_each(|member| texts(member, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    match serde_json::from_str(text) {
        Ok(value) => texts(&value, &mut found),
        Err(_) => found.push(SecretString::new(text)),
    }
    env.redactor.register(&found);
}

/// The transport to all upstreams.
///
/// # Errors
/// If there are no certificates to trust.
pub fn transport() -> Result<Arc<dyn Transport>, CommandError> {
    let transport = ReqwestTransport::new().map_err(|_| {
        CommandError::new("the HTTP client cannot start: no usable CA certificates were found", "set SSL_CERT_FILE to a PEM bundle")
    })?;
    Ok(Arc::new(transport))
}

/// A deployment with its clients.
pub struct Session {
    /// The settings.
    pub deployment: Deployment,
    /// The secret.
    pub secrets: Secrets,
    /// Cleeng's Core API.
    pub cleeng: CoreApi,
    /// The gateways in use.
    pub gateways: Gateways,
}

impl Session {
    /// Opens settings, secret and clients.
    ///
    /// # Errors
    /// Every mistake in them.
    pub async fn open(env: &CommandEnv) -> Result<Self, CommandError> {
        let deployment = deployment(env)?;
        check_aws_access(&deployment, env).await?;
        let text = secret_text(&deployment, env).await.map_err(|error| secret_failure(&error))?;
        let transport = transport()?;
        let (secrets, problems) = deployment.check_secret(text.expose(), &transport, &env.clock);
        let Some(secrets) = secrets.filter(|_| problems.is_empty()) else { return Err(CommandError::settings(&Problems(problems))) };
        let wrong = |problems: Problems| CommandError::settings(&problems);
        let cleeng = deployment.core_api(&secrets, &transport).map_err(wrong)?;
        let gateways = deployment.gateways(&secrets, &transport, &env.clock).map_err(wrong)?;
        Ok(Self { deployment, secrets, cleeng, gateways })
    }
}

/// Checks that AWS can be asked, unless the command finds everything without it.
///
/// # Errors
/// As [`aws::check_access`].
pub async fn check_aws_access(deployment: &Deployment, env: &CommandEnv) -> Result<(), CommandError> {
    let replaced = env.secret.is_some() && env.store.is_some();
    if deployment.settings.resources.is_none() || replaced { Ok(()) } else { aws::check_access(env).await }
}

fn secret_failure(error: &SecretError) -> CommandError {
    let fix = match error {
        SecretError::Unavailable => "check the network and AWS_REGION, and try again",
        SecretError::Refused(_) => {
            "fill it in with connectorctl secret put if it has no value yet; otherwise check CONNECTOR_SECRET_ID, AWS_REGION, and that your credentials may read it"
        }
        SecretError::Invalid(_) => "correct the values with connectorctl secret put",
    };
    CommandError::new(error.to_string(), fix)
}

/// The journal.
///
/// # Errors
/// [`CommandError`] in embedded mode, which has no lasting journal.
pub async fn store(deployment: &Deployment, env: &CommandEnv) -> Result<Arc<dyn Store>, CommandError> {
    if let Some(store) = &env.store {
        return Ok(Arc::clone(store));
    }
    check_aws_access(deployment, env).await?;
    let opened = deployment.store(&|name| env.get(name), &env.clock).await;
    opened.ok_or_else(|| {
        CommandError::new(
            "embedded mode keeps its journal in the function's own memory",
            "use the settings of a deployment in AWS: --stack NAME",
        )
    })
}

/// The queue of a topic's events: the one that is named, else the one in `EVENT_QUEUE_URLS`.
///
/// # Errors
/// [`CommandError`] if there is no queue.
pub async fn event_queue(
    topic: Option<Topic>,
    named: Option<&str>,
    deployment: &Deployment,
    env: &CommandEnv,
) -> Result<Arc<dyn Queue>, CommandError> {
    let url = named.or_else(|| deployment.queues.get(&topic?).map(String::as_str));
    let Some(url) = url else {
        let what = topic.map_or("a gateway's notifications", Topic::as_str);
        let fix = "give it with --queue URL (the stack's queue of that function), or use --stack NAME, which reads EVENT_QUEUE_URLS";
        return Err(CommandError::new(format!("the queue of {what} is not known"), fix));
    };
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(CommandError::new(
            "the queue of --queue or EVENT_QUEUE_URLS is not a URL",
            "give the queue's URL, not its name or ARN",
        ));
    }
    if let Some(queue) = &env.queue {
        return Ok(Arc::clone(queue));
    }
    aws::check_access(env).await?;
    Ok(Arc::new(operator::queue(&|name| env.get(name), url).await))
}

/// Puts an envelope on a queue.
///
/// # Errors
/// If the queue does not take it.
pub async fn send(queue: &dyn Queue, envelope: &str) -> Result<(), CommandError> {
    queue.send(envelope).await.map_err(|error| {
        let fix = match error {
            QueueError::Unavailable => "check the network and AWS_REGION, and try again",
            QueueError::Refused(_) => "use the role that the parameter OperatorRoleArn names: everybody else is denied",
        };
        CommandError::new(error.to_string(), fix)
    })
}
