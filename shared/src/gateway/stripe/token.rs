//! The stored token of Stripe details as one text: `<payment method>:<customer>`. Stripe takes a payment method again only together with
//! the customer that it is attached to. Must never end up in a log; it has no `Debug`.

use serde_json::Value;

use super::id::{id_of, is_id};
use crate::gateway::{GatewayError, StoredToken};
use crate::secret::SecretString;

/// What a stored token holds.
pub(super) struct StripeToken {
    /// `pm_…`; older details are `card_…` and `src_…`.
    pub(super) payment_method: SecretString,
    /// `cus_…`.
    pub(super) customer: String,
}

impl StripeToken {
    /// Reads a token.
    pub(super) fn read(token: &StoredToken) -> Result<Self, GatewayError> {
        let (method, customer) = token.0.expose().split_once(':').ok_or(GatewayError::BadToken)?;
        if !is_method(method) || !is_id(customer, "cus_") {
            return Err(GatewayError::BadToken);
        }
        Ok(Self { payment_method: SecretString::new(method), customer: customer.to_owned() })
    }

    /// Writes a token; `None` if a part is one that [`StripeToken::read`] would refuse.
    pub(super) fn write(payment_method: &str, customer: &str) -> Option<StoredToken> {
        let fits = is_method(payment_method) && is_id(customer, "cus_");
        fits.then(|| StoredToken(SecretString::new(format!("{payment_method}:{customer}"))))
    }

    /// The stored details of an intent: its `payment_method` and `customer`, expanded or not.
    pub(super) fn from_intent(intent: &Value) -> Option<StoredToken> {
        Self::write(id_of(intent.get("payment_method")?)?, id_of(intent.get("customer")?)?)
    }
}

fn is_method(text: &str) -> bool {
    ["pm_", "card_", "src_"].iter().any(|prefix| is_id(text, prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<(String, String), GatewayError> {
        let token = StripeToken::read(&StoredToken(SecretString::new(text)))?;
        Ok((token.payment_method.expose().to_owned(), token.customer))
    }

    #[test]
    fn a_token_names_the_method_and_its_customer() {
        assert_eq!(read("pm_1MqLiJLkdIwHu7ix:cus_9s6XKzkNRiz8i3"), Ok(("pm_1MqLiJLkdIwHu7ix".to_owned(), "cus_9s6XKzkNRiz8i3".to_owned())));
    }

    #[test]
    fn garbage_is_no_token() {
        for text in [
            "",
            ":",
            "pm_1",
            "pm_1:",
            ":cus_1",
            "cus_1:pm_1",
            "pm_:cus_1",
            "pm_1:cus_",
            "pm_1:cus_1:x",
            "pm_1/../x:cus_1",
            "pm_1 :cus_1",
            "pm_ä:cus_1",
        ] {
            assert_eq!(read(text), Err(GatewayError::BadToken), "{text:?}");
        }
        assert_eq!(read(&format!("pm_{}:cus_1", "x".repeat(300))), Err(GatewayError::BadToken));
    }

    #[test]
    fn an_intent_has_its_details_expanded_or_not() {
        for intent in [
            json!({ "payment_method": "pm_1", "customer": "cus_1" }),
            json!({ "payment_method": { "id": "pm_1" }, "customer": { "id": "cus_1" } }),
        ] {
            assert_eq!(StripeToken::from_intent(&intent).map(|token| token.0.expose().to_owned()).as_deref(), Some("pm_1:cus_1"));
        }
        for intent in
            [json!({ "payment_method": "pm_1" }), json!({ "payment_method": null, "customer": "cus_1" }), json!({ "customer": 1 })]
        {
            assert!(StripeToken::from_intent(&intent).is_none(), "{intent}");
        }
    }

    #[test]
    fn no_token_is_written_that_could_not_be_read() {
        for (method, customer) in [("pm_1", "1"), ("1", "cus_1"), ("pm_1", ""), ("pm 1", "cus_1"), ("1", "1")] {
            assert!(StripeToken::write(method, customer).is_none(), "{method} {customer}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(method in "pm_[0-9a-zA-Z]{1,64}", customer in "cus_[0-9a-zA-Z]{1,36}") {
            let written = StripeToken::write(&method, &customer).unwrap();
            prop_assert_eq!(read(written.0.expose()), Ok((method, customer)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = read(&text);
        }
    }
}
