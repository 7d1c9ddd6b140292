//! What the tool alone asks of AWS: whether it can be asked at all, and the secret, read to be written. Everything else is asked by the
//! functions' own code. Must never quote what AWS answered: it may hold the secret.

use std::error::Error;

use async_trait::async_trait;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use connector::lambda::aws;
use connector::secret::SecretString;

use crate::command_env::CommandEnv;
use crate::output::CommandError;

/// The version id of the first value that this tool writes into a secret. AWS refuses another value under the id of a version that exists
/// (AWS, "PutSecretValue", `ClientRequestToken`), so of two first writes at the same time the second one is refused: a salt that is in use
/// cannot be replaced.
const FIRST_VERSION: &str = "connectorctl-first-version-of-this-secret";
/// The most characters of a cause that are shown.
const CAUSE_LENGTH: usize = 300;

/// Checks that there are a region and credentials. Without it each service would only look unreachable.
///
/// # Errors
/// [`CommandError`] with the cause: no region, no credentials, a wrong profile, an expired SSO session, a failed `credential_process`.
pub async fn check_access(env: &CommandEnv) -> Result<(), CommandError> {
    let config = aws::load_with(&|name| env.get(name)).await;
    if config.region().is_none() {
        let problem = "no AWS region is set: neither AWS_REGION nor the profile in use names one";
        return Err(CommandError::new(problem, "set AWS_REGION to the stack's region, or AWS_PROFILE to a profile that has one"));
    }
    let Some(provider) = config.credentials_provider() else {
        return Err(CommandError::new("no source of AWS credentials is configured", NO_CREDENTIALS_FIX));
    };
    provider.provide_credentials().await.map(drop).map_err(|error| credentials_error(&error, env.get("AWS_PROFILE").as_deref()))
}

const NO_CREDENTIALS_FIX: &str = "set AWS_PROFILE to a profile of your AWS configuration (aws configure list-profiles), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

fn credentials_error(error: &CredentialsError, profile: Option<&str>) -> CommandError {
    if let CredentialsError::CredentialsNotLoaded(_) = error {
        let place =
            profile.map_or_else(|| "in the environment or in a default profile".to_owned(), |name| format!("in the profile {name}"));
        return CommandError::new(format!("no AWS credentials were found {place}"), NO_CREDENTIALS_FIX);
    }
    let cause = cause_of(error);
    let (problem, fix) = match error {
        CredentialsError::InvalidConfiguration(_) => {
            ("the AWS configuration is not valid", "correct the profile in ~/.aws/config or ~/.aws/credentials")
        }
        CredentialsError::ProviderTimedOut(_) => ("AWS credentials were not provided in time", "check the network, and try again"),
        _ if cause.contains("SSO") => {
            ("the AWS SSO session cannot be used", "sign in with: aws sso login, with --profile NAME for a profile")
        }
        _ => ("AWS credentials cannot be loaded", "check the profile's source of credentials with: aws sts get-caller-identity"),
    };
    CommandError::new(format!("{problem}: {cause}"), fix)
}

/// The innermost causes, which name the profile, the session or the command that failed. They hold no credentials.
fn cause_of(error: &CredentialsError) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(cause) = next {
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        // The outer classes repeat themselves at every level.
        if cause.downcast_ref::<CredentialsError>().is_none() && !causes.contains(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ").chars().take(CAUSE_LENGTH).collect() }
}

/// A secret that can be written.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The current text; `None` if no value was ever written.
    ///
    /// # Errors
    /// [`CommandError`] if it cannot be read, or is no text.
    async fn read(&self) -> Result<Option<SecretString>, CommandError>;

    /// Writes the text as the current version. `first` says that [`SecretStore::read`] found no value: the write is refused if there is one.
    ///
    /// # Errors
    /// [`CommandError`] if it is not written, or if that is unknown.
    async fn write(&self, text: &SecretString, first: bool) -> Result<(), CommandError>;
}

/// A secret in AWS Secrets Manager.
pub struct SecretsManagerStore {
    client: Client,
    id: String,
}

impl SecretsManagerStore {
    /// The secret of this name or ARN.
    pub async fn open(env: &CommandEnv, id: &str) -> Self {
        let config = aws::load_with(&|name| env.get(name)).await;
        Self { client: Client::new(&config), id: id.to_owned() }
    }
}

#[async_trait]
impl SecretStore for SecretsManagerStore {
    async fn read(&self) -> Result<Option<SecretString>, CommandError> {
        match self.client.get_secret_value().secret_id(&self.id).send().await {
            Ok(answer) => answer.secret_string.map(|text| Some(SecretString::new(text))).ok_or_else(|| {
                CommandError::new("the secret holds bytes and no text", "check CONNECTOR_SECRET_ID: it may name another system's secret")
            }),
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                // AWS answers the same for a secret without a value and for one that does not exist.
                let described = self.client.describe_secret().secret_id(&self.id).send().await;
                let versions = described.map_err(|error| secret_error("read", &error))?.version_ids_to_stages.unwrap_or_default();
                if versions.values().flatten().any(|stage| stage == "AWSCURRENT") {
                    return Err(CommandError::new("the secret changed while it was read", "run the command again"));
                }
                Ok(None)
            }
            Err(error) => Err(secret_error("read", &error)),
        }
    }

    async fn write(&self, text: &SecretString, first: bool) -> Result<(), CommandError> {
        let mut write = self.client.put_secret_value().secret_id(&self.id).secret_string(text.expose());
        if first {
            write = write.client_request_token(FIRST_VERSION);
        }
        write.send().await.map(drop).map_err(|error| secret_error("written", &error))
    }
}

fn secret_error<E: ProvideErrorMetadata, R>(done: &str, error: &SdkError<E, R>) -> CommandError {
    let (cause, fix) = match (error, error.code().unwrap_or_default()) {
        (SdkError::ServiceError(_), "ResourceNotFoundException") => {
            ("no such secret", "check --secret-id or CONNECTOR_SECRET_ID, AWS_REGION, and the account of your credentials")
        }
        (SdkError::ServiceError(_), "AccessDeniedException") => (
            "access denied",
            "use credentials with secretsmanager:GetSecretValue, DescribeSecret and PutSecretValue, and with kms:Decrypt and GenerateDataKey for a key of your own",
        ),
        (SdkError::ServiceError(_), "DecryptionFailure" | "EncryptionFailure") => {
            ("its KMS key cannot be used", "enable the key, and allow your credentials kms:Decrypt and kms:GenerateDataKey")
        }
        (SdkError::ServiceError(_), "InvalidRequestException") => {
            ("it is scheduled for deletion", "restore it with: aws secretsmanager restore-secret")
        }
        (SdkError::ServiceError(_), "ResourceExistsException") => {
            ("another operator wrote its first value at the same time", "run the command again: it keeps the salt that is there")
        }
        (SdkError::ServiceError(_), "UnrecognizedClientException" | "ExpiredTokenException" | "InvalidSignatureException") => {
            ("AWS does not accept the credentials", "renew them: for SSO with aws sso login")
        }
        _ => ("AWS Secrets Manager cannot be reached", "check the network and AWS_REGION, and run the command again"),
    };
    CommandError::new(format!("the secret cannot be {done}: {cause}"), fix)
}
