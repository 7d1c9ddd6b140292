//! Whether Cleeng sent a webhook, as the handlers ask it, and why a request is rejected.

use http::{HeaderMap, StatusCode};

use super::event::InvalidRequest;
use crate::cleeng::signature::WebhookVerifier;
use crate::cleeng::webhook::{Topic, Verified, Webhook};
use crate::ids::PublisherId;

/// Checks that Cleeng sent a body.
pub trait Verify: Send + Sync {
    /// Checks the signature over the raw bytes, before anything else is believed about them.
    ///
    /// # Errors
    /// [`Rejection`].
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Rejection>;

    /// Whether Cleeng signed the body, whatever is in it. An unsigned one never fits.
    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool;
}

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// 401 for a bad or missing signature.
    pub status: StatusCode,
    /// A stable code.
    pub code: &'static str,
    /// Names the field and the fix, and quotes nothing of the request.
    pub message: String,
}

impl Rejection {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<InvalidRequest> for Rejection {
    fn from(invalid: InvalidRequest) -> Self {
        let code = match invalid {
            InvalidRequest::Uri => "invalid_uri",
            InvalidRequest::Body => "invalid_body",
        };
        Self::new(StatusCode::BAD_REQUEST, code, invalid.to_string())
    }
}

/// Checks webhooks for one publisher.
pub(super) struct TopicVerifier {
    pub(super) verifier: WebhookVerifier,
    pub(super) publisher: PublisherId,
    /// `None` for the function that rechecks the quarantine, which holds webhooks of every topic.
    pub(super) topic: Option<Topic>,
}

impl Verify for TopicVerifier {
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified<Webhook>, Rejection> {
        self.verifier.verify(headers, body, &self.publisher, self.topic).map_err(|error| {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            Rejection::new(status, error.code(), error.to_string())
        })
    }

    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        self.verifier.signature_matches(headers, body)
    }
}

/// The verifier of a function that takes no webhooks of Cleeng.
pub struct NoWebhooks;

impl Verify for NoWebhooks {
    fn verify(&self, _headers: &HeaderMap, _body: &[u8]) -> Result<Verified<Webhook>, Rejection> {
        Err(Rejection::new(StatusCode::NOT_FOUND, "not_found", "this function takes no webhooks of Cleeng"))
    }

    fn is_signed(&self, _headers: &HeaderMap, _body: &[u8]) -> bool {
        false
    }
}
