//! Reading a request's body: the one place that says what a field may be, for all front-end functions.

use serde_json::{Value, json};

use super::redirect_urls::{RedirectUrls, ReturnTarget};
use super::reply::{self, ApiError};
use super::{CallKind, FrontendContext, FrontendRequest};
use crate::gateway::GatewayName;
use crate::ids::Id;
use crate::secret::EmailAddress;

/// Addresses that a body may name; each must be within the allowed origins.
const ADDRESS_FIELDS: [&str; 5] = ["origin", "returnUrl", "successUrl", "cancelUrl", "errorUrl"];
/// The longest name of a payment method, in bytes.
const MAX_METHOD_NAME: usize = 32;
/// The longest address, in bytes.
const MAX_ADDRESS_BYTES: usize = 2_048;

/// The id under this name.
///
/// # Errors
/// [`reply::bad_request`].
pub fn read_id<K>(request: &FrontendRequest, name: &str, message: &'static str) -> Result<Id<K>, ApiError> {
    let value = request.body.get(name).ok_or(reply::bad_request(message))?;
    Id::from_json(value).map_err(|_| reply::bad_request(message))
}

/// Checks every address, and the captcha at a start.
///
/// # Errors
/// The refusal.
pub async fn validate(context: &FrontendContext, request: &FrontendRequest) -> Result<(), ApiError> {
    for name in ADDRESS_FIELDS {
        match request.body.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(url)) if url.len() <= MAX_ADDRESS_BYTES && context.origins.contains_url(url) => {}
            Some(_) => return Err(reply::ADDRESS_NOT_ALLOWED),
        }
    }
    if matches!(request.kind, CallKind::Start | CallKind::RedirectStart) {
        let value = request.body.get("captchaValue").and_then(Value::as_str);
        if !context.captcha.passes(value, request.customer_ip.as_deref()).await {
            return Err(reply::CAPTCHA_FAILED);
        }
    }
    Ok(())
}

/// What a start passes to the gateway.
#[derive(Clone)]
pub struct PaymentInput {
    /// The whole body; the adapter takes from it what it passes on.
    pub payment_data: Value,
    /// The customer's input, which distinguishes attempts; an empty object if everything is entered at the gateway.
    pub payment_method: Value,
    /// Where the gateway sends the customer after they are done there.
    pub return_target: ReturnTarget,
    /// The page's origin.
    pub origin: Option<String>,
    /// The customer's IP address.
    pub customer_ip: Option<String>,
    /// The customer's e-mail address as Cleeng has it, once it is read.
    pub customer_email: Option<EmailAddress>,
}

impl PaymentInput {
    /// Reads the body of a start of either style. `redirect_path` is the path of the redirect style behind the gateway's name.
    ///
    /// # Errors
    /// [`reply::bad_request`], [`reply::PAYMENT_METHOD_MISSING`], [`reply::PUBLIC_URL_UNKNOWN`].
    pub fn read(context: &FrontendContext, request: &FrontendRequest, redirect_path: &str) -> Result<Self, ApiError> {
        let payment_method = match request.body.get("paymentMethod") {
            None | Some(Value::Null) if !context.needs_payment_method(request.gateway) => Value::Object(serde_json::Map::new()),
            None | Some(Value::Null) if request.kind == CallKind::RedirectStart => return Err(reply::PAYMENT_METHOD_MISSING),
            Some(method @ Value::Object(_)) => method.clone(),
            _ => return Err(reply::bad_request("paymentMethod must be the object of the gateway's component")),
        };
        // A customer must not name stored details: they could belong to another customer.
        if let Some(field) = context.stored_details_member(request.gateway, &payment_method) {
            return Err(ApiError { field: Some(field), ..reply::STORED_DETAILS });
        }
        let text = |name: &str| request.body.get(name).and_then(Value::as_str).map(str::to_owned);
        let return_target = if request.kind == CallKind::RedirectStart {
            let base_url = context.public_url.as_deref().or(request.request_base_url.as_deref()).ok_or(reply::PUBLIC_URL_UNKNOWN)?;
            ReturnTarget::Connector {
                redirect_base: format!("{base_url}/connectors/{}/{redirect_path}", request.gateway),
                redirect_urls: RedirectUrls::read(request)?,
            }
        } else {
            ReturnTarget::Page {
                return_url: text("returnUrl").ok_or(reply::bad_request("returnUrl is missing"))?,
                cancel_url: text("cancelUrl"),
            }
        };
        let page_url = if let ReturnTarget::Page { return_url, .. } = &return_target { Some(return_url.as_str()) } else { None };
        if let Some(gateway) = context.flow_context.gateways.get(request.gateway) {
            gateway.check_page_data(&request.body, page_url).map_err(reply::bad_request)?;
        }
        Ok(Self {
            payment_data: request.body.clone(),
            payment_method,
            return_target,
            origin: text("origin").or_else(|| request.origin.clone()),
            customer_ip: request.customer_ip.clone(),
            customer_email: None,
        })
    }

    /// What the customer pays with, in the words of Cleeng's media store SDK; the gateway's name if everything is entered there.
    #[must_use]
    pub fn method_name(&self, gateway: GatewayName) -> String {
        match self.payment_method.get("type").and_then(Value::as_str) {
            Some("scheme") => "card".to_owned(),
            Some("bcmc") => "bancontact_card".to_owned(),
            Some("bcmc_mobile") => "bancontact_mobile".to_owned(),
            // The word comes from a browser.
            Some(word) if word.len() <= MAX_METHOD_NAME && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => word.to_owned(),
            _ => gateway.as_str().to_owned(),
        }
    }

    /// What distinguishes this attempt from others: the customer's input, and where the page wants them sent afterwards.
    #[must_use]
    pub fn attempt_identity(&self) -> Value {
        match &self.return_target {
            ReturnTarget::Page { .. } => self.payment_method.clone(),
            ReturnTarget::Connector { redirect_urls, .. } => {
                json!({ "paymentMethod": self.payment_method, "redirectUrls": redirect_urls })
            }
        }
    }

    /// Whether the customer entered nothing here, so that two requests of theirs look the same.
    #[must_use]
    pub fn has_no_payment_data(&self) -> bool {
        self.payment_method.as_object().is_some_and(serde_json::Map::is_empty)
    }
}

/// The data that the customer returned with: `details`, and `paymentData` beside it.
///
/// # Errors
/// [`reply::bad_request`].
pub fn returned_data(request: &FrontendRequest) -> Result<Value, ApiError> {
    let details = request.body.get("details").filter(|details| details.as_object().is_some_and(|members| !members.is_empty()));
    let details = details.ok_or(reply::bad_request("details must be the object of the gateway's component or redirect"))?;
    let mut returned_data = serde_json::Map::new();
    returned_data.insert("details".to_owned(), details.clone());
    if let Some(data @ Value::String(_)) = request.body.get("paymentData") {
        returned_data.insert("paymentData".to_owned(), data.clone());
    }
    Ok(Value::Object(returned_data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_object_has_no_payment_data() {
        for (payment_method, is_empty) in [(json!({}), true), (json!({ "type": "scheme" }), false), (Value::Null, false)] {
            let return_target = ReturnTarget::Page { return_url: "https://shop.test/back".to_owned(), cancel_url: None };
            let input = PaymentInput {
                payment_data: Value::Null,
                payment_method: payment_method.clone(),
                return_target,
                origin: None,
                customer_ip: None,
                customer_email: None,
            };
            assert_eq!(input.has_no_payment_data(), is_empty, "{payment_method}");
        }
    }
}
