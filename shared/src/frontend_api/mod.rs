//! The front-end API: the calls of a customer's browser and their answers. Paths, shapes and envelope are those of Cleeng's own connectors.
//!
//! | module | purpose |
//! |---|---|
//! | [`reply`] | the envelope of an answer, its codes, and the page's next step |
//! | [`card_numbers`] | detection of card numbers, which must never come here |
//! | [`origins`] | the allowed origins of pages and of their return addresses |
//! | [`body`] | reading the request's body |
//! | [`redirect_urls`] | the addresses of the redirect style |
//!
//! Nothing that comes from a browser is believed: not the customer (MediaStore is asked with their token), not the amount (the order has
//! it), not the addresses (they must be within the allowed origins). Bodies and tokens must never be logged.

pub mod body;
pub mod card_numbers;
pub mod origins;
pub mod redirect_urls;
pub mod reply;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use self::origins::Origins;
pub use self::reply::{ApiError, NextStep, Reply};
use crate::cleeng::mediastore::{CustomerToken, MediaStore, MediaStoreError, TokenError};
use crate::delivery::Delivery;
use crate::flow::FlowContext;
use crate::gateway::{GatewayName, Reference};
use crate::metrics::Metric;
use crate::secret::SecretString;

/// The longest that one call to a gateway takes while a customer waits: an HTTP API cuts after 30 s.
pub const GATEWAY_TIMEOUT: Duration = Duration::from_secs(20);

/// Everything that a front-end function works with.
#[derive(Clone)]
pub struct FrontendContext {
    /// What flows work with.
    pub flow_context: FlowContext,
    /// Cleeng as the customer sees it.
    pub mediastore: Arc<dyn MediaStore>,
    /// The allowed origins of pages.
    pub origins: Arc<Origins>,
    /// The public base URL of the connector, without a slash at its end; `None` if it is taken from the requests.
    pub public_url: Option<Arc<str>>,
    /// Waits while another request works on the same obligation.
    pub sleeper: Arc<dyn Sleeper>,
    /// Keeps machines out.
    pub captcha: Arc<dyn Captcha>,
}

impl FrontendContext {
    /// Whether a start must have the data that this gateway's front-end component collected.
    #[must_use]
    pub fn needs_payment_method(&self, gateway: GatewayName) -> bool {
        self.flow_context.gateways.get(gateway).is_none_or(|gateway| gateway.capabilities().needs_payment_method)
    }

    /// The member of the page's `paymentMethod` that names stored details of this gateway, if one does.
    #[must_use]
    pub fn stored_details_member(&self, gateway: GatewayName, payment_method: &Value) -> Option<&'static str> {
        let members = self.flow_context.gateways.get(gateway)?.capabilities().stored_details_members;
        members.iter().copied().find(|member| payment_method.get(member).is_some())
    }

    /// The page's error for a read from MediaStore that failed.
    #[must_use]
    pub fn mediastore_error(&self, error: MediaStoreError) -> ApiError {
        match error {
            MediaStoreError::Refused => reply::TOKEN_INVALID,
            MediaStoreError::NotFound => reply::ORDER_NOT_FOUND,
            MediaStoreError::Throttled | MediaStoreError::Unavailable(_) => reply::UNAVAILABLE,
            MediaStoreError::Unreadable(field) => {
                self.flow_context.metrics.count(Metric::Warning, &[("reason", error.code())]);
                tracing::error!(field, "MediaStore's answer is not understood");
                reply::UNAVAILABLE
            }
        }
    }
}

/// Which of the calls it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// The first call, of a page that submits the returned data itself.
    Start,
    /// The customer returned to such a page (`/finalize`).
    Finalize,
    /// The first call, of a page that only redirects the customer (`tokens`).
    RedirectStart,
    /// The gateway sent the customer back to the connector, for this attempt. The call carries nothing but the address.
    BrowserReturn(Reference),
    /// The customer cancelled at the gateway.
    BrowserCancel(Reference),
    /// Which payment methods a component can show.
    PageMethods,
    /// A session of the component that lists them.
    Session,
}

impl CallKind {
    /// Whether a browser is sent here by a gateway, rather than a page calling.
    #[must_use]
    pub const fn is_browser_return(&self) -> bool {
        matches!(self, Self::BrowserReturn(_) | Self::BrowserCancel(_))
    }
}

/// A request that the front-end handler has checked: its origin is allowed, its body is a JSON object without a card number.
pub struct FrontendRequest {
    /// The gateway of the path.
    pub gateway: GatewayName,
    /// Which of the calls.
    pub kind: CallKind,
    /// The address that the caller used, up to `/connectors/`; `None` if it is not known.
    pub request_base_url: Option<String>,
    /// The body; for a browser return, the parameters of the query.
    pub body: Value,
    /// The `Authorization` header.
    pub authorization: Option<SecretString>,
    /// The `Origin` header.
    pub origin: Option<String>,
    /// The customer's IP address.
    pub customer_ip: Option<String>,
    /// Whether the page handles answers that are no end (`Prefer: respond-async`; RFC 7240, 4.1): 202 for a result that is not known yet, and
    /// another action after finalize. Cleeng's own front ends take both for a success, and get an error.
    pub prefers_async: bool,
}

impl FrontendRequest {
    /// The customer's token, decoded for routing.
    ///
    /// # Errors
    /// The answer for a token that cannot be tried.
    pub fn token(&self, context: &FrontendContext) -> Result<CustomerToken, ApiError> {
        let header = self.authorization.as_ref().map(SecretString::expose);
        CustomerToken::from_header(header, context.flow_context.clock.now()).map_err(|error| match error {
            TokenError::Missing => reply::TOKEN_MISSING,
            TokenError::Invalid => reply::TOKEN_INVALID,
            TokenError::Expired => reply::TOKEN_EXPIRED,
        })
    }
}

/// The flow of the calls for one purpose.
#[async_trait]
pub trait FrontendFlow: Send + Sync {
    /// The path behind the gateway's name, without `/finalize`.
    fn route(&self) -> &'static str;

    /// The same for the redirect style, without `/return/...` and `/cancel/...`.
    fn redirect_path(&self) -> &'static str;

    /// The call at another path behind the gateway's name, if this function serves one there.
    fn other_route(&self, _path: &str) -> Option<CallKind> {
        None
    }

    /// Answers. Must be idempotent: repeated calls with the same request, even concurrent ones, have the effect of one call.
    async fn handle(&self, context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply;
}

/// Pauses a request.
#[async_trait]
pub trait Sleeper: Send + Sync {
    /// Waits for about this long.
    async fn sleep(&self, duration: Duration);
}

/// Waits in real time.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioSleeper;

#[async_trait]
impl Sleeper for TokioSleeper {
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Keeps machines out, by what the page sends as `captchaValue`.
#[async_trait]
pub trait Captcha: Send + Sync {
    /// Whether the request may continue.
    async fn passes(&self, value: Option<&str>, ip: Option<&str>) -> bool;
}

/// Lets every request pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCaptcha;

#[async_trait]
impl Captcha for NoCaptcha {
    async fn passes(&self, _value: Option<&str>, _ip: Option<&str>) -> bool {
        true
    }
}
