//! ExampleGateway's webhooks: whether one is ExampleGateway's, and what it says. Must never look into a body before its signature is known to
//! fit.

use serde_json::Value;

use crate::gateway::common::signature::{HmacKeys, from_hex};
use crate::gateway::{GatewayNotification, NotificationError, NotificationKind};
use crate::http::HeaderMap;
use crate::secret::SecretString;

/// TODO: the header of the signature, and over which bytes it is.
const SIGNATURE_HEADER: &str = "example-gateway-signature";

/// Verifies and reads events of one account.
pub(super) struct NotificationVerifier {
    keys: HmacKeys,
}

impl NotificationVerifier {
    pub(super) fn new(secrets: &[SecretString]) -> Self {
        Self { keys: HmacKeys::new(secrets.iter().map(|secret| secret.expose().as_bytes())) }
    }

    /// Verifies a body and reads it.
    ///
    /// # Errors
    /// Unsigned, a signature that does not fit, or no event.
    pub(super) fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<GatewayNotification, NotificationError> {
        let signature = headers.get(SIGNATURE_HEADER).ok_or(NotificationError::Unsigned)?;
        let signature = signature.to_str().ok().and_then(from_hex).ok_or(NotificationError::BadSignature)?;
        if !self.keys.verify(body, &signature) {
            return Err(NotificationError::BadSignature);
        }
        let event: Value = serde_json::from_slice(body).map_err(|_| NotificationError::Malformed)?;
        let id = event.get("id").and_then(Value::as_str).ok_or(NotificationError::Malformed)?;
        // TODO: what each kind of event means; what is unknown, or not of our reference, is ignored.
        Ok(GatewayNotification {
            kind: NotificationKind::Ignored,
            external_payment_id: None,
            reference: None,
            operation_ref: None,
            amount: None,
            at: None,
            dedupe_key: format!("event:{id}"),
            reason: None,
            decline: None,
            token: None,
        })
    }
}
