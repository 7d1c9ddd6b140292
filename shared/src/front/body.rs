//! Reading a request's body. What a field may be is said here once, for all front-end functions.

use serde_json::{Value, json};

use super::onward::{BackTo, Onward};
use super::reply::{self, Refusal};
use super::{Desk, FrontRequest, Stage};
use crate::ids::Id;

/// Addresses that a body may name; each must be within the allowed origins.
const ADDRESSES: [&str; 5] = ["origin", "returnUrl", "successUrl", "cancelUrl", "errorUrl"];
/// The longest address, in bytes.
const LONGEST_ADDRESS: usize = 2_048;

/// The id under this name.
///
/// # Errors
/// [`reply::bad_request`].
pub fn id<K>(request: &FrontRequest, name: &str, message: &'static str) -> Result<Id<K>, Refusal> {
    let value = request.body.get(name).ok_or(reply::bad_request(message))?;
    Id::from_json(value).map_err(|_| reply::bad_request(message))
}

/// Checks every address, and the captcha at a start.
///
/// # Errors
/// The refusal.
pub async fn check(desk: &Desk, request: &FrontRequest) -> Result<(), Refusal> {
    for name in ADDRESSES {
        match request.body.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(url)) if url.len() <= LONGEST_ADDRESS && desk.origins.holds(url) => {}
            Some(_) => return Err(reply::BAD_RETURN),
        }
    }
    if matches!(request.stage, Stage::Start | Stage::Tokens) {
        let value = request.body.get("captchaValue").and_then(Value::as_str);
        if !desk.captcha.passes(value, request.ip.as_deref()).await {
            return Err(reply::CAPTCHA_FAILED);
        }
    }
    Ok(())
}

/// What a start brings for the gateway.
#[derive(Clone)]
pub struct PaymentInput {
    /// The whole body; the adapter takes from it what it passes on.
    pub data: Value,
    /// What the customer entered, for telling one attempt from another; an empty object where he enters everything at the gateway.
    pub method: Value,
    /// Where the gateway sends the customer back to.
    pub back_to: BackTo,
    /// The page's origin.
    pub origin: Option<String>,
    /// The customer's address on the network.
    pub ip: Option<String>,
}

impl PaymentInput {
    /// Reads the body of a start of either style. `tokens` is the path of the redirect style behind the gateway's name.
    ///
    /// # Errors
    /// [`reply::bad_request`], [`reply::NEEDS_METHOD`], [`reply::NO_ADDRESS`].
    pub fn read(desk: &Desk, request: &FrontRequest, tokens: &str) -> Result<Self, Refusal> {
        let needed = desk.needs_payment_method(request.gateway);
        let method = match request.body.get("paymentMethod") {
            None | Some(Value::Null) if !needed => Value::Object(serde_json::Map::new()),
            None | Some(Value::Null) if request.stage == Stage::Tokens => return Err(reply::NEEDS_METHOD),
            Some(method @ Value::Object(_)) => method.clone(),
            _ => return Err(reply::bad_request("paymentMethod must be the object of the gateway's component")),
        };
        // Details that are stored already are none of the customer's to name: they could be somebody else's.
        if method.get("storedPaymentMethodId").is_some() || method.get("recurringDetailReference").is_some() {
            return Err(reply::bad_request("stored payment details cannot be used here"));
        }
        let text = |name: &str| request.body.get(name).and_then(Value::as_str).map(str::to_owned);
        let back_to = if request.stage == Stage::Tokens {
            let own = desk.public_url.as_deref().or(request.own_address.as_deref()).ok_or(reply::NO_ADDRESS)?;
            BackTo::Us { tokens: format!("{own}/connectors/{}/{tokens}", request.gateway), onward: Onward::read(request)? }
        } else {
            BackTo::Page { url: text("returnUrl").ok_or(reply::bad_request("returnUrl is missing"))?, cancel: text("cancelUrl") }
        };
        Ok(Self {
            data: request.body.clone(),
            method,
            back_to,
            origin: text("origin").or_else(|| request.origin.clone()),
            ip: request.ip.clone(),
        })
    }

    /// What the customer wants, for telling one attempt from another: a page that sends him elsewhere afterwards wants another one.
    #[must_use]
    pub fn wish(&self) -> Value {
        match &self.back_to {
            BackTo::Page { .. } => self.method.clone(),
            BackTo::Us { onward, .. } => json!({ "paymentMethod": self.method, "onward": onward }),
        }
    }

    /// Whether the customer entered nothing here, so that two wishes of his look the same.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        self.method.as_object().is_some_and(serde_json::Map::is_empty)
    }
}

/// What the customer brought back: `details`, and `paymentData` beside it.
///
/// # Errors
/// [`reply::bad_request`].
pub fn brought_back(request: &FrontRequest) -> Result<Value, Refusal> {
    let details = request.body.get("details").filter(|details| details.as_object().is_some_and(|members| !members.is_empty()));
    let details = details.ok_or(reply::bad_request("details must be the object of the gateway's component or redirect"))?;
    let mut back = serde_json::Map::new();
    back.insert("details".to_owned(), details.clone());
    if let Some(data @ Value::String(_)) = request.body.get("paymentData") {
        back.insert("paymentData".to_owned(), data.clone());
    }
    Ok(Value::Object(back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_object_says_nothing_of_what_the_customer_wants() {
        for (method, nothing) in [(json!({}), true), (json!({ "type": "scheme" }), false), (Value::Null, false)] {
            let back_to = BackTo::Page { url: "https://shop.test/back".to_owned(), cancel: None };
            let input = PaymentInput { data: Value::Null, method: method.clone(), back_to, origin: None, ip: None };
            assert_eq!(input.says_nothing(), nothing, "{method}");
        }
    }
}
