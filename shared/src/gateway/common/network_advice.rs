//! What the card network says about trying a declined payment again. Its word wins over the class of a gateway's own code.
//!
//! Mastercard sends a merchant advice code of two digits. Visa sorts its response codes into categories, and names the category or leaves it to
//! be read from the response code (developer.cybersource.com, "processorInformation.merchantAdvice.code"; docs.adyen.com,
//! "Raw responses"). Must never read the text beside a code, which is meant for people.

use crate::gateway::RetryAdvice;
use crate::gateway::common::code_table::contains;

/// Mastercard: do not try again; the customer stopped the recurring payment.
const NEVER: &str = "03 21";
/// Mastercard: try again after 1 hour, 24 hours, 2, 4, 6, 8 and 10 days.
const HOURS: &[(&str, u32)] = &[("24", 1), ("25", 24), ("26", 48), ("27", 96), ("28", 144), ("29", 192), ("30", 240)];
/// Visa's response codes of category 1, "issuer never approves": pick up, no such issuer, lost, stolen, closed, not permitted, stopped and
/// revoked.
const VISA_CATEGORY_1: &str = "04 07 12 15 41 43 46 57 R0 R1 R3";

/// What a gateway passes on of the network's answer.
#[derive(Clone, Copy, Default)]
pub(crate) struct NetworkAnswer<'a> {
    /// The network, in the gateway's spelling.
    pub(crate) brand: Option<&'a str>,
    /// The advice code or category.
    pub(crate) advice: Option<&'a str>,
    /// The response code.
    pub(crate) response: Option<&'a str>,
}

/// The network's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetworkAdvice {
    /// It restricts when the details may be tried again.
    Restricted(RetryAdvice),
    /// They may be tried again, whatever the gateway's own code says.
    Allowed,
}

impl NetworkAnswer<'_> {
    /// When the details may be tried again: the network's word, or `otherwise` if it says nothing.
    pub(crate) fn restriction(&self, otherwise: Option<RetryAdvice>) -> Option<RetryAdvice> {
        match self.advice() {
            Some(NetworkAdvice::Restricted(advice)) => Some(advice),
            Some(NetworkAdvice::Allowed) => None,
            None => otherwise,
        }
    }

    /// The network's word; `None` if it says nothing that is understood.
    fn advice(&self) -> Option<NetworkAdvice> {
        const NEVER_AGAIN: NetworkAdvice = NetworkAdvice::Restricted(RetryAdvice::Never);
        let visa = self.brand.is_some_and(|brand| brand.to_ascii_lowercase().starts_with("visa"));
        match self.advice.map(leading_code).filter(|code| !code.is_empty()) {
            Some("1") => Some(NEVER_AGAIN),
            Some("01") if visa => Some(NEVER_AGAIN),
            Some("2" | "02" | "3") => Some(NetworkAdvice::Allowed),
            Some("03") if visa => Some(NetworkAdvice::Allowed),
            Some(code) if contains(NEVER, code) => Some(NEVER_AGAIN),
            code => code.and_then(waiting_hours).map(|hours| NetworkAdvice::Restricted(RetryAdvice::AfterHours(hours))).or_else(|| {
                let response = self.response.map(leading_code);
                response.filter(|code| visa && contains(VISA_CATEGORY_1, code)).map(|_| NEVER_AGAIN)
            }),
        }
    }
}

/// The hours of an advice that names a time.
fn waiting_hours(code: &str) -> Option<u32> {
    HOURS.iter().find(|(listed, _)| *listed == code).map(|(_, hours)| *hours)
}

/// A code stands alone, or before a colon or a space and a text.
fn leading_code(text: &str) -> &str {
    text.trim_start().split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(brand: &str, advice: Option<&str>, response: Option<&str>) -> Option<NetworkAdvice> {
        NetworkAnswer { brand: Some(brand), advice, response }.advice()
    }

    const NEVER_AGAIN: Option<NetworkAdvice> = Some(NetworkAdvice::Restricted(RetryAdvice::Never));

    #[test]
    fn mastercard_forbids_another_try_or_names_a_time() {
        for text in ["03", "21", "03 : Do not try again", "21: Stop recurring payment requests"] {
            assert_eq!(advice("mc", Some(text), None), NEVER_AGAIN, "{text}");
        }
        for (code, hours) in HOURS {
            let expected = Some(NetworkAdvice::Restricted(RetryAdvice::AfterHours(*hours)));
            assert_eq!(advice("mastercard", Some(code), None), expected);
        }
        assert_eq!(advice("mc", Some("02"), None), Some(NetworkAdvice::Allowed));
        for code in ["030", "01", "99", ""] {
            assert_eq!(advice("mc", Some(code), None), None, "{code}");
        }
    }

    #[test]
    fn visa_says_it_by_its_category_or_by_its_response_code() {
        assert_eq!(advice("visa", Some("1"), None), NEVER_AGAIN);
        assert_eq!(advice("visacredit", Some("01"), None), NEVER_AGAIN);
        assert_eq!(advice("visa", None, Some("43 : Stolen card, pick up")), NEVER_AGAIN);
        assert_eq!(advice("visa", Some("2"), Some("43")), Some(NetworkAdvice::Allowed), "the category is what Visa says itself");
        assert_eq!(advice("visa", None, Some("51 : Insufficient funds")), None);
        assert_eq!(advice("visa", Some("03"), None), Some(NetworkAdvice::Allowed), "category 3: the data are to be checked");
        assert_eq!(advice("amex", None, Some("43")), None);
    }
}
