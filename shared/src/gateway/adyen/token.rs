//! The stored token of Adyen details as one text: `<storedPaymentMethodId>:<shopperReference>`, each part percent-escaped. Adyen needs both
//! to charge or delete, and Cleeng keeps one `token`. Must never end up in a log; it has no `Debug`.

use crate::gateway::{GatewayError, StoredToken};
use crate::ids::CustomerId;
use crate::secret::SecretString;

/// The longest part, in bytes (`shopperReference` has at most 256 characters).
const MAX_PART: usize = 256;
/// The shortest `shopperReference` (CheckoutService v71, `PaymentRequest`).
const MIN_SHOPPER: usize = 3;

/// What a stored token holds.
pub(super) struct AdyenToken {
    /// Adyen's id of the stored payment method.
    pub(super) stored_payment_method_id: SecretString,
    /// The shopper under whom it is stored.
    pub(super) shopper_reference: String,
}

impl AdyenToken {
    /// Reads a token. One without a separator is a bare `storedPaymentMethodId`, as other systems store it; its shopper is then the Cleeng
    /// customer.
    pub(super) fn read(token: &StoredToken, customer: &CustomerId) -> Result<Self, GatewayError> {
        let text = token.0.expose();
        let (id, shopper) = match text.split_once(':') {
            Some((id, shopper)) => (unescape(id), unescape(shopper)),
            None => (unescape(text), Some(customer.as_str().to_owned())),
        };
        let id = id.filter(|id| is_part(id, 1) && id.is_ascii()).ok_or(GatewayError::BadToken)?;
        let shopper_reference = shopper.filter(|shopper| is_part(shopper, MIN_SHOPPER)).ok_or(GatewayError::BadToken)?;
        Ok(Self { stored_payment_method_id: SecretString::new(id), shopper_reference })
    }

    /// Writes a token; `None` if a part is one that [`AdyenToken::read`] would refuse.
    pub(super) fn write(stored_payment_method_id: &str, shopper_reference: &str) -> Option<StoredToken> {
        let fits = is_part(stored_payment_method_id, 1) && stored_payment_method_id.is_ascii() && is_part(shopper_reference, MIN_SHOPPER);
        fits.then(|| StoredToken(SecretString::new(format!("{}:{}", escape(stored_payment_method_id), escape(shopper_reference)))))
    }
}

fn is_part(part: &str, shortest: usize) -> bool {
    (shortest..=MAX_PART).contains(&part.len()) && !part.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Escapes everything but the unreserved characters of RFC 3986; also right for a path segment or a query value.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The reverse of [`escape`]; `None` if a character should have been escaped, so that every token has one spelling.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let (hex, after) = tail.split_at_checked(2)?;
            let hex = std::str::from_utf8(hex).ok().filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = after;
        } else if first.is_ascii_alphanumeric() || matches!(first, b'-' | b'_' | b'.' | b'~') {
            bytes.push(first);
        } else {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<(String, String), GatewayError> {
        let customer = CustomerId::new("332332332").unwrap();
        let token = AdyenToken::read(&StoredToken(SecretString::new(text)), &customer)?;
        Ok((token.stored_payment_method_id.expose().to_owned(), token.shopper_reference))
    }

    #[test]
    fn a_token_names_the_details_and_their_shopper() {
        assert_eq!(read("M5N7TQ4TG5PFWR50:4711"), Ok(("M5N7TQ4TG5PFWR50".to_owned(), "4711".to_owned())));
        assert_eq!(read("M5N7TQ4TG5PFWR50:a%3Ab%25"), Ok(("M5N7TQ4TG5PFWR50".to_owned(), "a:b%".to_owned())));
    }

    #[test]
    fn a_bare_id_belongs_to_the_cleeng_customer() {
        assert_eq!(read("M5N7TQ4TG5PFWR50"), Ok(("M5N7TQ4TG5PFWR50".to_owned(), "332332332".to_owned())));
    }

    #[test]
    fn garbage_is_no_token() {
        for text in [
            "", ":", "a:", ":abc", "a:b:c", "a:bc", "a b:abc", "a%:abc", "a%4:abc", "a%zz:abc", "a%+1:abc", "a/b", "a%FF:abc", "ä:abc",
            "a%0A:abc", "%C3%A4",
        ] {
            assert_eq!(read(text), Err(GatewayError::BadToken), "{text:?}");
        }
        assert_eq!(read(&"x".repeat(300)), Err(GatewayError::BadToken));
    }

    #[test]
    fn no_token_is_written_that_could_not_be_read() {
        let long = "x".repeat(MAX_PART + 1);
        for (id, shopper) in [
            ("", "4711"),
            ("M5N7 4TG5", "4711"),
            ("M5\n7", "4711"),
            ("ä", "4711"),
            (&*long, "4711"),
            ("M5N7", "47"),
            ("M5N7", "4 711"),
            ("M5N7", "4\u{7f}711"),
        ] {
            assert!(AdyenToken::write(id, shopper).is_none(), "{id:?} {shopper:?}");
        }
        assert!(AdyenToken::write(&"x".repeat(MAX_PART), "471").is_some());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(id in "[!-~]{1,64}", shopper in "\\PC{3,60}") {
            prop_assume!(!shopper.chars().any(char::is_whitespace));
            let written = AdyenToken::write(&id, &shopper).unwrap();
            prop_assert_eq!(read(written.0.expose()), Ok((id, shopper)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = read(&text);
        }
    }
}
