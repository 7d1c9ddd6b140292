//! What Adyen's refusal codes mean for the subscription. The codes are Adyen's (docs.adyen.com, "Refusal reasons"), the classes are ours.
//! Must never read `refusalReason` or another text that is meant for people.

use crate::gateway::common::code_table::contains;
use crate::gateway::common::network_advice::NetworkAnswer;
use crate::gateway::{Decline, DeclineClass, RetryAdvice};

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

/// Refusals after which the same details must not be tried again, unless the network says otherwise: blocked (lost or stolen), revoked, and
/// what Adyen itself blocks so that the networks charge no fees for excessive retries.
const NEVER_AGAIN: &str = "5 26 46";

/// Error codes of a payment whose details cannot be paid with (docs.adyen.com, "Error codes and messages"): those that Adyen does not have or
/// does not take for recurring payments, and those whose number, security code or expiry date is wrong.
const DETAILS_REFUSED: &str = "101 103 129 800 802 803 805 806";

/// "Invalid Amount" (docs.adyen.com, "Refusal reasons"), and the error "Invalid amount specified" (there, "Error codes and messages"): what
/// an amount below the least of the payment method and the currency is refused with, which Adyen has no code of its own for.
const INVALID_AMOUNT_REFUSAL: &str = "7";
const INVALID_AMOUNT_ERROR: &str = "137";

/// The code of a refusal for which Adyen gave none.
pub(super) const UNSPECIFIED: &str = "unspecified";

/// What a refusal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefusalClass {
    /// A word of the bank, the scheme or Adyen's risk rules.
    Decline(Decline),
    /// The amount is not one that can be paid; the code.
    InvalidAmount(String),
    /// A mistake in what we sent, which no customer can correct; the code.
    ConnectorFault(String),
}

/// Reads a refusal by its `refusalReasonCode` and by the network's answer. A code that is not listed is soft: dunning tries again within its
/// limits, and its next answer may be clearer.
pub(super) fn classify(code: Option<&str>, network: &NetworkAnswer<'_>) -> RefusalClass {
    let code = code.filter(|code| is_code(code)).unwrap_or(UNSPECIFIED);
    let retry = network.restriction(contains(NEVER_AGAIN, code).then_some(RetryAdvice::Never));
    if network.restriction(None) == Some(RetryAdvice::Never) {
        return RefusalClass::Decline(Decline { retry, ..Decline::new(DeclineClass::Hard, code) });
    }
    let listed = CODES.iter().find(|(listed, _, _)| *listed == code).map(|(_, _, class)| *class);
    match listed {
        Some(None) if code == INVALID_AMOUNT_REFUSAL => RefusalClass::InvalidAmount(code.to_owned()),
        Some(None) => RefusalClass::ConnectorFault(code.to_owned()),
        Some(Some(class)) => RefusalClass::Decline(Decline { retry, ..Decline::new(class, code) }),
        None => RefusalClass::Decline(Decline { retry, ..Decline::new(DeclineClass::Soft, code) }),
    }
}

/// What the error of a payment is.
pub(super) fn classify_error(code: String) -> RefusalClass {
    if contains(DETAILS_REFUSED, &code) {
        RefusalClass::Decline(Decline::details_unknown(code))
    } else if code == INVALID_AMOUNT_ERROR {
        RefusalClass::InvalidAmount(code)
    } else {
        RefusalClass::ConnectorFault(code)
    }
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

    fn never_again(class: DeclineClass, code: &str) -> RefusalClass {
        RefusalClass::Decline(Decline { retry: Some(RetryAdvice::Never), ..Decline::new(class, code) })
    }

    fn classify(code: Option<&str>) -> RefusalClass {
        super::classify(code, &NetworkAnswer::default())
    }

    #[test]
    fn one_code_of_each_class_means_what_the_table_says() {
        for (code, class) in [
            ("12", DeclineClass::Soft),
            ("38", DeclineClass::NeedsCustomer),
            ("6", DeclineClass::NeedsNewDetails),
            ("23", DeclineClass::Hard),
            ("20", DeclineClass::Risk),
            ("16", DeclineClass::Cancelled),
        ] {
            assert_eq!(classify(Some(code)), decline(class, code));
        }
    }

    #[test]
    fn blocked_and_revoked_details_are_never_tried_again() {
        assert_eq!(classify(Some("5")), never_again(DeclineClass::Hard, "5"));
        assert_eq!(classify(Some("26")), never_again(DeclineClass::Hard, "26"));
        assert_eq!(classify(Some("46")), never_again(DeclineClass::Risk, "46"));
    }

    #[test]
    fn a_mistake_of_ours_is_no_decline() {
        assert_eq!(classify(Some("21")), RefusalClass::ConnectorFault("21".to_owned()));
        assert_eq!(classify_error("702".to_owned()), RefusalClass::ConnectorFault("702".to_owned()));
    }

    #[test]
    fn an_amount_that_cannot_be_paid_is_neither() {
        assert_eq!(classify(Some("7")), RefusalClass::InvalidAmount("7".to_owned()));
        assert_eq!(classify_error("137".to_owned()), RefusalClass::InvalidAmount("137".to_owned()));
    }

    #[test]
    fn an_unknown_or_missing_code_is_soft_and_never_a_text() {
        assert_eq!(classify(Some("77")), decline(DeclineClass::Soft, "77"));
        for code in [None, Some(""), Some("0"), Some("Jane Doe"), Some("12345")] {
            assert_eq!(classify(code), decline(DeclineClass::Soft, UNSPECIFIED), "{code:?}");
        }
    }

    #[test]
    fn the_networks_word_wins_over_the_class_of_the_code() {
        let with = |code, advice| super::classify(Some(code), &NetworkAnswer { advice: Some(advice), ..NetworkAnswer::default() });
        assert_eq!(with("2", "03"), never_again(DeclineClass::Hard, "2"));
        assert_eq!(with("26", "02"), decline(DeclineClass::Hard, "26"));
        let later = Decline { retry: Some(RetryAdvice::AfterHours(24)), ..Decline::new(DeclineClass::Soft, "12") };
        assert_eq!(with("12", "25"), RefusalClass::Decline(later));
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<_> = CODES.iter().map(|(code, _, _)| code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }
}
