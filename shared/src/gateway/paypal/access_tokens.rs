//! PayPal's access tokens: one for all calls, kept across invocations and renewed before it ends. Must never be asked for per call: PayPal
//! answers that with 429 (developer.paypal.com, "Rate limiting guidelines").

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use crate::clock::{Clock, Timestamp};
use crate::gateway::GatewayError;
use crate::gateway::common::time_budget::TimeBudget;
use crate::http::{HeaderName, Method, Request, Response, Transport, TransportCause, TransportError};
use crate::secret::SecretString;

/// The longest time that asking for a token takes, so that there is some left for what it is needed for.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(8);
/// A token is renewed when this much of its life is over, in percent.
const RENEWAL_PERCENT: u64 = 90;
/// The longest life that is believed, in seconds; PayPal's are about nine hours.
const LONGEST_LIFE: u64 = 86_400;
const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");

/// Gives out access tokens.
pub(super) struct AccessTokens {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    url: String,
    client_id: String,
    /// The current client secret and the one before the last rotation.
    secrets: Vec<SecretString>,
    cached: tokio::sync::Mutex<CachedToken>,
}

#[derive(Default)]
struct CachedToken {
    token: Option<AccessToken>,
    /// Which of the secrets PayPal took last.
    accepted_secret: usize,
}

struct AccessToken {
    text: SecretString,
    renew_at: Timestamp,
}

impl AccessTokens {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        base_url: &str,
        client_id: String,
        secrets: Vec<SecretString>,
    ) -> Self {
        let url = format!("{base_url}/v1/oauth2/token");
        Self { transport, clock, url, client_id, secrets, cached: tokio::sync::Mutex::default() }
    }

    /// Forgets the token that is kept, so that the next one is asked for.
    pub(super) async fn clear(&self) {
        self.cached.lock().await.token = None;
    }

    /// A token that can be used now; another one than `refused`, which PayPal just did not take. A call that comes while a token is being
    /// asked for waits for that one.
    ///
    /// # Errors
    /// What was to be done with it is known not to have been done.
    pub(super) async fn token(&self, refused: Option<&SecretString>, budget: &TimeBudget) -> Result<SecretString, GatewayError> {
        let timeout = GatewayError::Unreachable(TransportError::NotSent(TransportCause::Timeout));
        let mut kept = tokio::time::timeout(budget.remaining(), self.cached.lock()).await.map_err(|_| timeout)?;
        let now = self.clock.now();
        let good = |token: &&AccessToken| now < token.renew_at && refused.is_none_or(|refused| !refused.matches(token.text.expose()));
        if let Some(token) = kept.token.as_ref().filter(good) {
            return Ok(token.text.clone());
        }
        kept.token = None;
        let mut order: Vec<usize> = (0..self.secrets.len()).collect();
        order.sort_by_key(|index| *index != kept.accepted_secret);
        for index in order {
            let Some(secret) = self.secrets.get(index) else { continue };
            if let Some(token) = self.request_token(secret, budget, now).await? {
                let text = token.text.clone();
                *kept = CachedToken { token: Some(token), accepted_secret: index };
                return Ok(text);
            }
        }
        Err(GatewayError::Credentials { code: "invalid_client".to_owned() })
    }

    /// Asks with one secret; `None` if PayPal does not take it.
    async fn request_token(&self, secret: &SecretString, budget: &TimeBudget, now: Timestamp) -> Result<Option<AccessToken>, GatewayError> {
        let basic = SecretString::new(format!("{}:{}", self.client_id, secret.expose()));
        let basic = SecretString::new(format!("Basic {}", STANDARD.encode(basic.expose())));
        let timeout = budget.for_call()?.min(RENEWAL_TIMEOUT);
        let mut request = Request::new(Method::POST, self.url.clone(), timeout)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .secret_header(AUTHORIZATION, basic)
            .repeatable();
        request.body = Bytes::from_static(b"grant_type=client_credentials");
        let response = self.transport.send(request).await.map_err(GatewayError::Unreachable)?;
        match response.status.as_u16() {
            200 => read(&response, now).map(Some).ok_or_else(unreadable),
            401 => Ok(None),
            // `{"error": "invalid_client"}` comes with 401; some proxies of PayPal's make it 400.
            400 if error_of(&response).as_deref() == Some("invalid_client") => Ok(None),
            400 | 403 => Err(GatewayError::Credentials { code: response.status.as_u16().to_string() }),
            429 => Err(GatewayError::Throttled { retry_after: response.retry_after() }),
            _ => Err(unreadable()),
        }
    }
}

const fn unreadable() -> GatewayError {
    GatewayError::Unreachable(TransportError::NoResponse(TransportCause::Malformed))
}

fn error_of(response: &Response) -> Option<String> {
    response.json()?.get("error")?.as_str().map(str::to_owned)
}

/// `{"access_token", "token_type": "Bearer", "expires_in": seconds}`.
fn read(response: &Response, now: Timestamp) -> Option<AccessToken> {
    let body = response.json()?;
    let text = body.get("access_token").and_then(Value::as_str)?;
    let bearer = body.get("token_type").and_then(Value::as_str).is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !bearer || !(1..=4096).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let life = body.get("expires_in").and_then(Value::as_u64).unwrap_or(0).min(LONGEST_LIFE);
    let usable = Duration::from_secs(life.saturating_mul(RENEWAL_PERCENT).div_euclid(100));
    Some(AccessToken { text: SecretString::new(text), renew_at: now.after(usable) })
}
