//! What Adyen's refusal codes mean for the subscription. The codes are Adyen's (docs.adyen.com, "Refusal reasons"), the classes are ours.
//! Must never read `refusalReason` or another text that is meant for people.

use crate::gateway::{Decline, DeclineClass};

/// Every published refusal code, its name there, and what can be done about it; `None` for those that are a mistake of ours and not an
/// answer of the bank. The cases of card terminals (37, 40, 44, 45) cannot come from a stored card; they are listed so that none is
/// unknown.
const CODES: &[(&str, &str, Option<DeclineClass>)] = &[
    ("2", "Refused", Some(DeclineClass::Soft)),
    ("3", "Referral", Some(DeclineClass::Soft)),
    ("4", "Acquirer Error", Some(DeclineClass::Soft)),
    ("5", "Blocked Card", Some(DeclineClass::Hard)),
    ("6", "Expired Card", Some(DeclineClass::NeedsNewDetails)),
    ("7", "Invalid Amount", None),
    ("8", "Invalid Card Number", Some(DeclineClass::NeedsNewDetails)),
    ("9", "Issuer Unavailable", Some(DeclineClass::Soft)),
    ("10", "Not supported", Some(DeclineClass::Hard)),
    ("11", "3D Not Authenticated", Some(DeclineClass::NeedsCustomer)),
    ("12", "Not enough balance", Some(DeclineClass::Soft)),
    ("14", "Acquirer Fraud", Some(DeclineClass::Risk)),
    ("15", "Cancelled", Some(DeclineClass::Cancelled)),
    ("16", "Shopper Cancelled", Some(DeclineClass::Cancelled)),
    ("17", "Invalid Pin", Some(DeclineClass::NeedsNewDetails)),
    ("18", "Pin tries exceeded", Some(DeclineClass::NeedsNewDetails)),
    ("19", "Pin validation not possible", Some(DeclineClass::NeedsNewDetails)),
    ("20", "FRAUD", Some(DeclineClass::Risk)),
    ("21", "Not Submitted", None),
    ("22", "FRAUD-CANCELLED", Some(DeclineClass::Risk)),
    ("23", "Transaction Not Permitted", Some(DeclineClass::Hard)),
    ("24", "CVC Declined", Some(DeclineClass::NeedsNewDetails)),
    ("25", "Restricted Card", Some(DeclineClass::Hard)),
    ("26", "Revocation Of Auth", Some(DeclineClass::Hard)),
    ("27", "Declined Non Generic", Some(DeclineClass::Soft)),
    ("28", "Withdrawal amount exceeded", Some(DeclineClass::Soft)),
    ("29", "Withdrawal count exceeded", Some(DeclineClass::Soft)),
    ("31", "Issuer Suspected Fraud", Some(DeclineClass::Risk)),
    ("32", "AVS Declined", Some(DeclineClass::NeedsNewDetails)),
    ("33", "Card requires online pin", Some(DeclineClass::NeedsNewDetails)),
    ("34", "No checking account available on Card", Some(DeclineClass::Hard)),
    ("35", "No savings account available on Card", Some(DeclineClass::Hard)),
    ("36", "Mobile pin required", Some(DeclineClass::NeedsNewDetails)),
    ("37", "Contactless fallback", Some(DeclineClass::Soft)),
    ("38", "Authentication required", Some(DeclineClass::NeedsCustomer)),
    ("39", "RReq not received from DS", Some(DeclineClass::NeedsCustomer)),
    ("40", "Current AID is in Penalty Box", Some(DeclineClass::Soft)),
    ("41", "CVM Required Restart Payment", Some(DeclineClass::NeedsNewDetails)),
    ("42", "3DS Authentication Error", Some(DeclineClass::NeedsCustomer)),
    ("43", "Online PIN required", Some(DeclineClass::NeedsNewDetails)),
    ("44", "Try another interface", Some(DeclineClass::Soft)),
    ("45", "Chip downgrade mode", Some(DeclineClass::Soft)),
    ("46", "Transaction blocked by Adyen to prevent excessive retry fees", Some(DeclineClass::Risk)),
];

/// Mastercard's merchant advice codes for "do not try again": 03 and 21 (21: the customer cancelled the payment plan).
const DO_NOT_RETRY_ADVICE: &[&str] = &["03", "21"];

/// The code of a refusal for which Adyen gave none.
pub(super) const UNSPECIFIED: &str = "unspecified";

/// What a refusal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefusalClass {
    /// A word of the bank, the scheme or Adyen's risk rules.
    Decline(Decline),
    /// A mistake in what we sent, which no customer can correct; the code.
    ConnectorFault(String),
}

/// Reads a refusal by its `refusalReasonCode` and, if there is one, Mastercard's `merchantAdviceCode`. A code that is not listed is soft:
/// dunning tries again within its limits, and its next answer may be clearer.
pub(super) fn classify(code: Option<&str>, advice: Option<&str>) -> RefusalClass {
    let code = code.filter(|code| is_code(code)).unwrap_or(UNSPECIFIED);
    if advice.is_some_and(forbids_retry) {
        return RefusalClass::Decline(Decline::new(DeclineClass::Hard, code));
    }
    let listed = CODES.iter().find(|(listed, _, _)| *listed == code).map(|(_, _, class)| *class);
    match listed {
        Some(None) => RefusalClass::ConnectorFault(code.to_owned()),
        Some(Some(class)) => RefusalClass::Decline(Decline::new(class, code)),
        None => RefusalClass::Decline(Decline::new(DeclineClass::Soft, code)),
    }
}

/// Adyen writes the advice as a bare code or as the code, a colon or space, and a text.
fn forbids_retry(advice: &str) -> bool {
    let code = advice.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    DO_NOT_RETRY_ADVICE.contains(&code)
}

/// Codes are short numbers; anything else could be a text about a person.
fn is_code(code: &str) -> bool {
    !code.is_empty() && code.len() <= 4 && code != "0" && code.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decline(class: DeclineClass, code: &str) -> RefusalClass {
        RefusalClass::Decline(Decline::new(class, code))
    }

    #[test]
    fn one_code_of_each_class_means_what_the_table_says() {
        for (code, class) in [
            ("12", DeclineClass::Soft),
            ("38", DeclineClass::NeedsCustomer),
            ("6", DeclineClass::NeedsNewDetails),
            ("26", DeclineClass::Hard),
            ("46", DeclineClass::Risk),
            ("16", DeclineClass::Cancelled),
        ] {
            assert_eq!(classify(Some(code), None), decline(class, code));
        }
    }

    #[test]
    fn a_mistake_of_ours_is_no_decline() {
        assert_eq!(classify(Some("7"), None), RefusalClass::ConnectorFault("7".to_owned()));
        assert_eq!(classify(Some("21"), None), RefusalClass::ConnectorFault("21".to_owned()));
    }

    #[test]
    fn an_unknown_or_missing_code_is_soft_and_never_a_text() {
        assert_eq!(classify(Some("77"), None), decline(DeclineClass::Soft, "77"));
        for code in [None, Some(""), Some("0"), Some("Jane Doe"), Some("12345")] {
            assert_eq!(classify(code, None), decline(DeclineClass::Soft, UNSPECIFIED), "{code:?}");
        }
    }

    #[test]
    fn mastercards_never_again_overrides_a_soft_code() {
        assert_eq!(classify(Some("2"), Some("03")), decline(DeclineClass::Hard, "2"));
        assert_eq!(classify(Some("2"), Some("21: Stop recurring payment requests")), decline(DeclineClass::Hard, "2"));
        assert_eq!(classify(Some("2"), Some("03 : Do not try again")), decline(DeclineClass::Hard, "2"));
        assert_eq!(classify(Some("2"), Some("02")), decline(DeclineClass::Soft, "2"));
        assert_eq!(classify(Some("2"), Some("030")), decline(DeclineClass::Soft, "2"));
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<_> = CODES.iter().map(|(code, _, _)| code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }
}
