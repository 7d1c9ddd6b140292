//! Where the secrets' text comes from.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use super::SecretError;
use crate::secret::SecretString;
use crate::settings::{Problem, Problems};

/// Fetches the secrets' JSON text.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The text as it is now.
    ///
    /// # Errors
    /// [`SecretError`].
    async fn fetch(&self) -> Result<SecretString, SecretError>;
}

/// AWS Secrets Manager.
pub struct SecretsManager {
    client: Client,
    id: String,
}

impl SecretsManager {
    /// Reads the secret of this name or ARN.
    #[must_use]
    pub const fn new(client: Client, id: String) -> Self {
        Self { client, id }
    }
}

#[async_trait]
impl SecretSource for SecretsManager {
    async fn fetch(&self) -> Result<SecretString, SecretError> {
        // The SDK's error contains the raw answer: only its kind is passed on.
        let answer = self.client.get_secret_value().secret_id(&self.id).send().await.map_err(|error| classify_error(&error))?;
        answer.secret_string.map(SecretString::new).ok_or(SecretError::Refused("the secret holds bytes and no text"))
    }
}

fn classify_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> SecretError {
    match (error, error.code().unwrap_or_default()) {
        (SdkError::ConstructionFailure(_), _) => SecretError::Refused("the request could not be built"),
        (SdkError::ServiceError(_), "ResourceNotFoundException") => SecretError::Refused("no such secret"),
        (SdkError::ServiceError(_), "AccessDeniedException") => SecretError::Refused("access denied"),
        (SdkError::ServiceError(_), "DecryptionFailure" | "DecryptionFailureException") => SecretError::Refused("its key cannot be used"),
        (SdkError::ServiceError(_), "InvalidRequestException") => SecretError::Refused("the secret is being deleted"),
        (SdkError::ServiceError(_), "UnrecognizedClientException" | "ExpiredTokenException" | "InvalidSignatureException") => {
            SecretError::Refused("credentials")
        }
        _ => SecretError::Unavailable,
    }
}

/// The environment variable `CONNECTOR_SECRETS`; embedded mode only.
pub struct EnvironmentSecret(Option<SecretString>);

impl EnvironmentSecret {
    /// From the variable's value.
    #[must_use]
    pub fn new(value: Option<String>) -> Self {
        Self(value.map(SecretString::new))
    }
}

#[async_trait]
impl SecretSource for EnvironmentSecret {
    async fn fetch(&self) -> Result<SecretString, SecretError> {
        self.0.clone().ok_or_else(|| {
            SecretError::Invalid(Problems(vec![Problem {
                setting: "CONNECTOR_SECRETS".to_owned(),
                problem: "is missing".to_owned(),
                fix: "embedded mode takes the secrets' JSON from it".to_owned(),
            }]))
        })
    }
}
