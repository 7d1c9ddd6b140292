//! The addresses of the redirect style: the page names where the customer is sent afterwards, and the gateway returns them to the
//! connector. Must never copy text from a gateway's address into a page's address: only the connector's own words and codes go there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{IntoStaticStr, VariantArray};

use super::FrontendRequest;
use super::reply::{self, ApiError};
use crate::gateway::Reference;

/// The longest that the three addresses together may be, in bytes: every attempt keeps its own in one journal document.
const MAX_TOTAL_BYTES: usize = 3_000;
/// More parameters than this come from no gateway.
const MAX_PARAMETERS: usize = 32;

/// The addresses to which the page wants the customer to be redirected. The allowed origins are checked when the addresses are read, and
/// again before the redirect, because they may have changed. No `Debug`: addresses can contain customer data of the page.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectUrls {
    /// After a success.
    pub success: String,
    /// After the customer cancelled.
    pub cancel: String,
    /// After anything else, with `message` or `status`, and maybe `code`, added to the query.
    pub error: String,
}

impl RedirectUrls {
    /// Reads `successUrl`, `cancelUrl` and `errorUrl`, which [`super::body::validate`] has compared with the allowed origins.
    ///
    /// # Errors
    /// [`reply::bad_request`].
    pub fn read(request: &FrontendRequest) -> Result<Self, ApiError> {
        let text = |name: &str| request.body.get(name).and_then(Value::as_str).map(str::to_owned);
        let missing = reply::bad_request("successUrl, cancelUrl and errorUrl are needed");
        let redirect_urls = Self {
            success: text("successUrl").ok_or(missing)?,
            cancel: text("cancelUrl").ok_or(missing)?,
            error: text("errorUrl").ok_or(missing)?,
        };
        let together = redirect_urls.success.len().saturating_add(redirect_urls.cancel.len()).saturating_add(redirect_urls.error.len());
        if together > MAX_TOTAL_BYTES {
            return Err(reply::bad_request("successUrl, cancelUrl and errorUrl are too long: 3000 bytes together at the most"));
        }
        Ok(redirect_urls)
    }

    /// The success address with the gateway's id of the payment in the query, by which Cleeng's media store SDK knows that one was made.
    #[must_use]
    pub fn success_with(&self, external_payment_id: Option<&str>) -> String {
        with_parameters(&self.success, external_payment_id.map(|id| ("externalPaymentId", id)))
    }

    /// The error address with word and code in the query.
    #[must_use]
    pub fn error_with(&self, message: RedirectMessage, code: Option<&str>) -> String {
        with_parameters(&self.error, [(message.parameter(), message.as_str())].into_iter().chain(code.map(|code| ("code", code))))
    }
}

/// An address with these parameters behind those that it has already.
fn with_parameters<'a>(address: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let (address, fragment) = address.split_once('#').map_or((address, None), |(address, rest)| (address, Some(rest)));
    let mut written = address.to_owned();
    for (name, value) in parameters {
        written.push(if written.contains('?') { '&' } else { '?' });
        written.push_str(&format!("{name}={}", percent_encode(value)));
    }
    if let Some(fragment) = fragment {
        written.push_str(&format!("#{fragment}"));
    }
    written
}

/// The word in the query of the error address. These words are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RedirectMessage {
    /// It is not known yet whether the payment succeeds.
    Pending,
    /// The bank, the scheme or the gateway declined.
    Refused,
    /// The order has expired.
    Expired,
    /// The order was changed.
    Changed,
    /// Another attempt replaced this one.
    Replaced,
    /// A part of the connector or the gateway is not available.
    Unavailable,
    /// Parked: an operator decides.
    UnderReview,
    /// Any other error.
    Failed,
}

impl RedirectMessage {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name of the parameter. Cleeng's media store SDK tells the customer of any `message` that the payment was not processed and to try
    /// again, which is untrue of a payment that may have been made.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Pending | Self::UnderReview => "status",
            _ => "message",
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Where the gateway sends the customer when they are done there.
#[derive(Clone)]
pub enum ReturnTarget {
    /// To the page, which submits the returned data.
    Page {
        /// After the customer agreed.
        return_url: String,
        /// After they cancelled, if that is another address.
        cancel_url: Option<String>,
    },
    /// To the connector, which submits the returned data and redirects the customer to the page.
    Connector {
        /// The address of the start's call; the return and cancel addresses lie below it.
        redirect_base: String,
        /// Where the customer is sent afterwards.
        redirect_urls: RedirectUrls,
    },
}

impl ReturnTarget {
    /// The two addresses for the gateway: after the customer agreed, and after they cancelled. The connector's are bound to the attempt by
    /// its reference, which cannot be guessed.
    #[must_use]
    pub fn gateway_urls(&self, reference: &Reference) -> (String, Option<String>) {
        match self {
            Self::Page { return_url, cancel_url } => (return_url.clone(), cancel_url.clone()),
            Self::Connector { redirect_base: base, .. } => {
                (format!("{base}/return/{reference}"), Some(format!("{base}/cancel/{reference}")))
            }
        }
    }

    /// Where the customer is sent afterwards, if they return to the connector.
    #[must_use]
    pub const fn redirect_urls(&self) -> Option<&RedirectUrls> {
        match self {
            Self::Page { .. } => None,
            Self::Connector { redirect_urls, .. } => Some(redirect_urls),
        }
    }
}

/// Where an action sends the customer, if it does nothing else: `{"type": "redirect", "return_url": ..., "method": "GET"}` (Adyen, "Handle
/// the redirect"; other adapters write the same). `https` only.
#[must_use]
pub fn redirect_url(action: &Value) -> Option<&str> {
    let text = |name: &str| action.get(name).and_then(Value::as_str);
    let plain = text("type") == Some("redirect") && text("method").is_none_or(|method| method.eq_ignore_ascii_case("GET"));
    text("url").filter(|url| plain && url.starts_with("https://") && url.bytes().all(|b| b.is_ascii_graphic()))
}

/// The parameters of a query, decoded. The first of a name counts. `None` for a query that no gateway sends: too many, or no UTF-8.
#[must_use]
pub fn parse_query(query: &str) -> Option<Map<String, Value>> {
    let mut parameters = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (percent_decode(name)?, percent_decode(value)?);
        parameters.entry(name).or_insert(Value::String(value));
    }
    (parameters.len() <= MAX_PARAMETERS).then_some(parameters)
}

/// Everything but unreserved characters percent-escaped (RFC 3986, 2.3).
fn percent_encode(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            written.push(char::from(byte));
        } else {
            written.push_str(&format!("%{byte:02X}"));
        }
    }
    written
}

/// A name or value of a query as forms write it (WHATWG URL, "application/x-www-form-urlencoded parsing"), but a broken escape is refused.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn with_error_url(error: &str) -> RedirectUrls {
        RedirectUrls { success: String::new(), cancel: String::new(), error: error.to_owned() }
    }

    #[test]
    fn a_message_joins_the_parameters_that_the_address_has_already() {
        for (address, expected) in [
            ("https://shop.test/e", "https://shop.test/e?message=expired&code=a%20b%26c"),
            ("https://shop.test/e?u=1", "https://shop.test/e?u=1&message=expired&code=a%20b%26c"),
            ("https://shop.test/e?u=1#top", "https://shop.test/e?u=1&message=expired&code=a%20b%26c#top"),
            ("https://shop.test/#/e?x", "https://shop.test/?message=expired&code=a%20b%26c#/e?x"),
        ] {
            assert_eq!(with_error_url(address).error_with(RedirectMessage::Expired, Some("a b&c")), expected);
        }
        assert_eq!(
            with_error_url("https://shop.test").error_with(RedirectMessage::Refused, Some("PAYPAL0002")),
            "https://shop.test?message=refused&code=PAYPAL0002"
        );
    }

    #[test]
    fn the_parameters_of_a_query_are_read_as_browsers_write_them() {
        let read = |query| parse_query(query).map(Value::Object);
        assert_eq!(
            read("token=5O19%2B&PayerID=a+b&empty&x=1=2"),
            Some(json!({"token": "5O19+", "PayerID": "a b", "empty": "", "x": "1=2"}))
        );
        assert_eq!(read("token=first&token=second"), Some(json!({"token": "first"})));
        assert_eq!(read("&&"), Some(json!({})));
        for broken in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%c3%28"] {
            assert_eq!(read(broken), None, "{broken}");
        }
        let many: Vec<String> = (0..40).map(|number| format!("p{number}=1")).collect();
        assert_eq!(read(&many.join("&")), None);
    }

    #[test]
    fn only_a_plain_redirect_is_one() {
        let action = json!({ "type": "redirect", "url": "https://gateway.test/a?b=c", "method": "GET" });
        assert_eq!(redirect_url(&action), Some("https://gateway.test/a?b=c"));
        for (name, value) in [
            ("type", json!("threeDS2")),
            ("method", json!("POST")),
            ("url", json!("http://gateway.test")),
            ("url", json!("javascript:alert(1)")),
            ("url", json!("https://gateway.test/\r\nSet-Cookie: a=b")),
            ("url", json!(null)),
        ] {
            let mut other = action.clone();
            other[name] = value;
            assert_eq!(redirect_url(&other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text in ".*") {
            let query = format!("a={}", percent_encode(&text));
            prop_assert_eq!(parse_query(&query).and_then(|read| read.get("a").cloned()), Some(Value::String(text)));
        }

        #[test]
        fn no_query_makes_it_panic(query in ".*") {
            let _ = parse_query(&query);
        }
    }
}
