//! The stored token of PayPal details as one text: `<vault id>:<PayPal's customer id>`. Only the vault id is needed to charge; the customer
//! belongs to it. Must never end up in a log; it has no `Debug`.

use serde_json::Value;

use crate::gateway::{GatewayError, StoredToken};
use crate::secret::SecretString;

/// The longest part, in characters (Orders v2, `vault_id`; the customer's id is shorter).
const LONGEST_PART: usize = 255;

/// What a stored token holds.
pub(super) struct PayPalToken {
    /// PayPal's id of the stored payment method.
    pub(super) vault_id: SecretString,
}

impl PayPalToken {
    /// Reads a token. One without a separator is a bare vault id, as other systems store it.
    pub(super) fn read(token: &StoredToken) -> Result<Self, GatewayError> {
        let (vault_id, customer) = match token.0.expose().split_once(':') {
            Some((vault_id, customer)) => (vault_id, Some(customer)),
            None => (token.0.expose(), None),
        };
        if !is_part(vault_id) || customer.is_some_and(|customer| !is_part(customer)) {
            return Err(GatewayError::BadToken);
        }
        Ok(Self { vault_id: SecretString::new(vault_id) })
    }

    /// Writes a token; `None` if a part is one that [`PayPalToken::read`] would refuse.
    pub(super) fn write(vault_id: &str, customer: &str) -> Option<StoredToken> {
        (is_part(vault_id) && is_part(customer)).then(|| StoredToken(SecretString::new(format!("{vault_id}:{customer}"))))
    }

    /// The stored details in an answer or a notification: `{"id", "customer": {"id"}}`.
    pub(super) fn from_payment_token(value: &Value) -> Option<StoredToken> {
        let customer = value.get("customer").and_then(|customer| customer.get("id"))?.as_str()?;
        Self::write(value.get("id")?.as_str()?, customer)
    }
}

/// What PayPal's ids of the vault look like (Vault v3, `vault_id`, `merchant_partner_customer_id`).
fn is_part(part: &str) -> bool {
    (1..=LONGEST_PART).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<String, GatewayError> {
        PayPalToken::read(&StoredToken(SecretString::new(text))).map(|token| token.vault_id.expose().to_owned())
    }

    #[test]
    fn a_token_names_the_details_with_or_without_their_customer() {
        assert_eq!(read("8kk8451636559962p:bygeLlrpZF"), Ok("8kk8451636559962p".to_owned()));
        assert_eq!(read("8kk8451636559962p"), Ok("8kk8451636559962p".to_owned()));
    }

    #[test]
    fn garbage_is_no_token() {
        for text in ["", " ", ":", "a:", ":a", "a:b:c", "a b", "a/b:c", "../../etc", "{\"id\":1}", "tok\nen", "tök", "a:b%20"] {
            assert_eq!(read(text), Err(GatewayError::BadToken), "{text:?}");
        }
        assert_eq!(read(&"x".repeat(256)), Err(GatewayError::BadToken));
    }

    #[test]
    fn an_answer_without_id_or_customer_holds_no_token() {
        let whole = json!({ "id": "3nqvjt3n", "customer": { "id": "208743798" } });
        assert_eq!(PayPalToken::from_payment_token(&whole).map(|token| token.0.expose().to_owned()).as_deref(), Some("3nqvjt3n:208743798"));
        for value in [json!({ "id": "3nqvjt3n" }), json!({ "customer": { "id": "1" } }), json!({ "id": 3, "customer": { "id": "1" } })] {
            assert!(PayPalToken::from_payment_token(&value).is_none(), "{value}");
        }
    }

    #[test]
    fn no_token_is_written_that_could_not_be_read() {
        for (id, customer) in [("", "208743798"), ("3nqvjt3n", ""), ("3nq:jt3n", "208743798"), ("3nqvjt3n", "2087 3798")] {
            assert!(PayPalToken::write(id, customer).is_none(), "{id} {customer}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(id in "[0-9a-zA-Z_-]{1,64}", customer in "[0-9a-zA-Z_-]{1,36}") {
            let written = PayPalToken::write(&id, &customer).unwrap();
            prop_assert_eq!(read(written.0.expose()), Ok(id));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = read(&text);
        }
    }
}
