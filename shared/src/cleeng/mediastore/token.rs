//! A customer's JWT, decoded for routing only. Must never be believed: its signature cannot be checked here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::ids::{CustomerId, PublisherId};
use crate::json;
use crate::secret::SecretString;

/// The longest token that is read, in bytes.
const LONGEST: usize = 8_192;

/// Why a token is not even tried.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    /// There is no token.
    #[error("the Authorization header with the customer's token is missing")]
    Missing,
    /// It is no JWT of Cleeng's.
    #[error("the customer's token is not one of Cleeng's")]
    Invalid,
    /// Its time is over.
    #[error("the customer's token has expired: log in again")]
    Expired,
}

/// A customer's token. It has no `Debug`.
#[derive(Clone)]
pub struct CustomerToken {
    text: SecretString,
    customer: CustomerId,
    publisher: PublisherId,
}

impl CustomerToken {
    /// Reads `Bearer <JWT>`; claims `customerId`, `publisherId` and `exp` (Cleeng, "Register").
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn from_header(header: Option<&str>, now: Timestamp) -> Result<Self, TokenError> {
        let header = header.map(str::trim).filter(|header| !header.is_empty()).ok_or(TokenError::Missing)?;
        let (scheme, text) = header.split_once(' ').ok_or(TokenError::Invalid)?;
        let text = text.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || text.len() > LONGEST {
            return Err(TokenError::Invalid);
        }
        let claims = claims(text).ok_or(TokenError::Invalid)?;
        let id = |name: &str| claims.get(name).ok_or(TokenError::Invalid);
        let expires = claims.get("exp").and_then(Value::as_i64).map(Timestamp::from_secs).ok_or(TokenError::Invalid)?;
        let token = Self {
            customer: CustomerId::from_json(id("customerId")?).map_err(|_| TokenError::Invalid)?,
            publisher: PublisherId::from_json(id("publisherId")?).map_err(|_| TokenError::Invalid)?,
            text: SecretString::new(text),
        };
        if expires <= now { Err(TokenError::Expired) } else { Ok(token) }
    }

    /// The customer that it names; to be confirmed by MediaStore.
    #[must_use]
    pub const fn customer(&self) -> &CustomerId {
        &self.customer
    }

    /// The publisher that it names; to be confirmed by MediaStore.
    #[must_use]
    pub const fn publisher(&self) -> &PublisherId {
        &self.publisher
    }

    /// The header to send it in.
    pub(super) fn header(&self) -> SecretString {
        SecretString::new(format!("Bearer {}", self.text.expose()))
    }
}

/// The second of three parts, all in the alphabet of URL-safe base64.
fn claims(text: &str) -> Option<Value> {
    let parts: Vec<&str> = text.split('.').collect();
    let plain = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let [_, payload, _] = parts.as_slice() else { return None };
    if !parts.iter().all(plain) {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    json::parse(&bytes).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn jwt(claims: &Value) -> String {
        format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn error(header: Option<&str>) -> Option<TokenError> {
        CustomerToken::from_header(header, NOW).err()
    }

    #[test]
    fn a_token_names_its_customer_and_publisher() {
        let claims = json!({ "customerId": 927_751_142, "publisherId": "558186818", "exp": 1_790_000_001 });
        let token = CustomerToken::from_header(Some(&jwt(&claims)), NOW).ok().unwrap();
        assert_eq!((token.customer().as_str(), token.publisher().as_str()), ("927751142", "558186818"));
    }

    #[test]
    fn what_is_no_token_of_cleengs_is_refused() {
        assert_eq!(error(None), Some(TokenError::Missing));
        assert_eq!(error(Some("  ")), Some(TokenError::Missing));
        let expired = jwt(&json!({ "customerId": 1, "publisherId": 2, "exp": 1_790_000_000 }));
        assert_eq!(error(Some(&expired)), Some(TokenError::Expired));
        let incomplete =
            [json!({ "publisherId": 2, "exp": 1_790_000_001 }), json!({ "customerId": 1, "exp": 1_790_000_001 }), json!({}), json!(3)];
        for claims in incomplete {
            assert_eq!(error(Some(&jwt(&claims))), Some(TokenError::Invalid), "{claims}");
        }
        for text in ["Bearer", "Basic e30.e30.c2ln", "Bearer e30", "Bearer a.b", "Bearer ..", "Bearer e30.e3\r\n0.c2ln", "Bearer a.b.c.d"] {
            assert_eq!(error(Some(text)), Some(TokenError::Invalid), "{text}");
        }
    }

    #[test]
    fn a_token_is_tried_only_as_bearer_within_its_length_and_alphabet() {
        let claims = json!({ "customerId": 1, "publisherId": 2, "exp": 1_790_000_001 });
        let good = jwt(&claims);
        assert_eq!(error(Some(&good)), None);
        assert_eq!(error(Some(&good.replacen("Bearer", "Basic", 1))), Some(TokenError::Invalid));
        let padded = |length: usize| {
            let signature = "a".repeat((LONGEST + "Bearer ".len() + "c2ln".len()).saturating_sub(good.len()) + length);
            format!("{}{signature}", good.strip_suffix("c2ln").unwrap())
        };
        assert_eq!((error(Some(&padded(0))), error(Some(&padded(1)))), (None, Some(TokenError::Invalid)));
        for wrong in
            [good.replacen("e30", "", 1), good.replacen("e30", "e+0", 1), good.replacen("c2ln", "", 1), good.replacen("c2ln", "c/ln", 1)]
        {
            assert_eq!(error(Some(&wrong)), Some(TokenError::Invalid), "{wrong}");
        }
        let dashed = good.replacen("e30", "-_0", 1);
        assert_eq!(error(Some(&dashed)), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = CustomerToken::from_header(Some(&text), NOW);
        }
    }
}
