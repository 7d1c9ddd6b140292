//! What Stripe's codes mean for the subscription. The codes are those of docs.stripe.com/declines/codes (`decline_code`),
//! docs.stripe.com/error-codes (`code`) and docs.stripe.com/refunds (`failure_reason`), the classes are ours; `advice_code` is the bank's
//! own word on trying again (docs.stripe.com/declines/card, "advice code"). Must never read `message`, which is meant for people.

use serde_json::Value;

use crate::gateway::common::code_table::{CodeTable, contains};
use crate::gateway::common::network_advice::NetworkAnswer;
use crate::gateway::{Decline, DeclineClass, RetryAdvice};

const CODES: CodeTable = CodeTable(&[
    (DeclineClass::Soft, SOFT),
    (DeclineClass::NeedsCustomer, NEEDS_CUSTOMER),
    (DeclineClass::NeedsNewDetails, NEEDS_NEW_DETAILS),
    (DeclineClass::Hard, HARD),
    (DeclineClass::Risk, RISK),
]);

/// May succeed later: funds, limits, banks that cannot be reached, reasons that the bank keeps to itself, and refunds that failed.
const SOFT: &str = "approve_with_id authorization_expired automatic call_issuer capture_charge_authorization_expired card_declined \
card_decline_rate_limit_exceeded card_velocity_exceeded charge_exceeds_source_limit charge_exceeds_transaction_limit charge_expired_for_capture declined do_not_honor \
duplicate_transaction expired generic_decline insufficient_funds issuer_not_available no_action_taken payment_intent_canceled \
payment_intent_payment_attempt_expired payment_intent_payment_attempt_failed processing_error reenter_transaction requires_payment_method \
service_not_allowed setup_intent_canceled setup_intent_setup_attempt_expired try_again_later unknown unspecified \
withdrawal_count_limit_exceeded";
/// The customer has to authenticate.
const NEEDS_CUSTOMER: &str = "authentication_not_handled authentication_required mobile_device_authentication_required \
offline_pin_required online_or_offline_pin_required payment_intent_action_required payment_intent_authentication_failure \
setup_intent_authentication_failure";
/// The stored details have to be replaced.
const NEEDS_NEW_DETAILS: &str = "expired_card incorrect_address incorrect_cvc incorrect_number incorrect_pin incorrect_zip \
invalid_card_type invalid_cvc invalid_expiry_month invalid_expiry_year invalid_number invalid_pin live_mode_test_card missing \
new_account_information_available payment_method_not_available payment_method_unactivated payment_method_unexpected_state \
pin_try_exceeded postal_code_invalid test_mode_live_card testmode_decline";
/// Never again with these details; or money that can no longer be refunded.
const HARD: &str = "card_not_supported charge_already_captured charge_already_refunded charge_disputed charge_for_pending_refund_disputed \
charge_not_refundable currency_not_supported customer_canceled do_not_try_again expired_or_canceled_card invalid_account invalid_amount \
lost_card lost_or_stolen_card merchant_request not_permitted payment_method_customer_decline payment_method_provider_decline \
payment_method_provider_timeout pickup_card refund_disputed_payment restricted_card revocation_of_all_authorizations \
revocation_of_authorization security_violation stolen_card stop_payment_order transaction_not_allowed";
/// The bank's or Stripe's rules against fraud.
const RISK: &str = "fraudulent highest_risk_level merchant_blacklist rule";

/// Declines after which the same details must not be tried again, unless the bank or the network says otherwise: lost, stolen, closed,
/// revoked (docs.stripe.com/declines/codes).
const NEVER_AGAIN: &str = "do_not_try_again invalid_account lost_card pickup_card revocation_of_all_authorizations \
revocation_of_authorization stolen_card stop_payment_order";

/// The decline that a `card_error` or an intent's `last_payment_error` describes.
pub(super) fn from_error(error: &Value, otherwise: &str) -> Decline {
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|code| is_code(code));
    let code = text("decline_code").or_else(|| text("code")).unwrap_or(otherwise);
    let advice = text("advice_code");
    Decline { retry: retry_advice(error, advice, code), ..Decline::new(apply_advice(advice, class_of(code)), code) }
}

/// When the details may be tried again: as the network says (`network_advice_code`, `network_decline_code`) and Stripe's `advice_code` sums
/// up, else as the code means.
fn retry_advice(error: &Value, advice: Option<&str>, code: &str) -> Option<RetryAdvice> {
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let card = error.get("payment_method").and_then(|method| method.get("card"));
    let network = NetworkAnswer {
        brand: card.and_then(|card| card.get("brand")).and_then(Value::as_str),
        advice: text("network_advice_code"),
        response: text("network_decline_code"),
    };
    match advice {
        Some("do_not_try_again") => Some(RetryAdvice::Never),
        Some("try_again_later" | "confirm_card_data") => network.restriction(None),
        _ => network.restriction(contains(NEVER_AGAIN, code).then_some(RetryAdvice::Never)),
    }
}

/// The bank's word on trying again wins over what its code usually means, except that advice to wait does not lift what is stricter for a
/// reason of its own: customers who have to act, and fraud.
fn apply_advice(advice: Option<&str>, class: DeclineClass) -> DeclineClass {
    match (advice, class) {
        (Some("do_not_try_again"), DeclineClass::Risk) => DeclineClass::Risk,
        (Some("do_not_try_again"), _) => DeclineClass::Hard,
        (Some("confirm_card_data"), DeclineClass::Soft | DeclineClass::Hard) => DeclineClass::NeedsNewDetails,
        (Some("try_again_later"), DeclineClass::Hard | DeclineClass::NeedsNewDetails) => DeclineClass::Soft,
        (_, class) => class,
    }
}

/// The decline of this code.
pub(super) fn from_code(code: &str) -> Decline {
    Decline::new(class_of(code), code)
}

/// The class of a code; one that is not listed is soft, since dunning tries again within its limits and the next answer may be clearer.
fn class_of(code: &str) -> DeclineClass {
    CODES.class_of(code).unwrap_or(DeclineClass::Soft)
}

/// Codes are words in lower case; anything else could be a text about a person.
pub(super) fn is_code(code: &str) -> bool {
    (2..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && code.bytes().any(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_code_of_each_class_means_what_the_table_says() {
        for (code, class) in [
            ("insufficient_funds", DeclineClass::Soft),
            ("authentication_required", DeclineClass::NeedsCustomer),
            ("expired_card", DeclineClass::NeedsNewDetails),
            ("transaction_not_allowed", DeclineClass::Hard),
            ("fraudulent", DeclineClass::Risk),
            ("brand_new_code", DeclineClass::Soft),
        ] {
            let error = json!({ "code": "card_declined", "decline_code": code });
            assert_eq!(from_error(&error, "unspecified"), Decline::new(class, code));
        }
    }

    #[test]
    fn stripes_own_code_counts_where_the_bank_gave_none() {
        assert_eq!(
            from_error(&json!({ "code": "expired_card" }), "unspecified"),
            Decline::new(DeclineClass::NeedsNewDetails, "expired_card")
        );
        assert_eq!(from_error(&json!({ "code": "Jane Doe" }), "unspecified"), Decline::new(DeclineClass::Soft, "unspecified"));
    }

    #[test]
    fn the_banks_advice_wins_except_over_what_is_stricter_for_its_own_reason() {
        for (code, advice, class) in [
            ("generic_decline", "do_not_try_again", DeclineClass::Hard),
            ("generic_decline", "confirm_card_data", DeclineClass::NeedsNewDetails),
            ("lost_card", "try_again_later", DeclineClass::Soft),
            ("fraudulent", "try_again_later", DeclineClass::Risk),
            ("fraudulent", "do_not_try_again", DeclineClass::Risk),
            ("authentication_required", "try_again_later", DeclineClass::NeedsCustomer),
            ("generic_decline", "brand_new_advice", DeclineClass::Soft),
        ] {
            assert_eq!(from_error(&json!({ "decline_code": code, "advice_code": advice }), "x1").class, class, "{code} {advice}");
        }
    }

    #[test]
    fn lost_and_revoked_cards_are_never_tried_again_unless_the_bank_says_otherwise() {
        let never = Some(RetryAdvice::Never);
        for (error, expected) in [
            (json!({ "decline_code": "stolen_card" }), never),
            (json!({ "decline_code": "stolen_card", "advice_code": "try_again_later" }), None),
            (json!({ "decline_code": "generic_decline" }), None),
            (json!({ "decline_code": "generic_decline", "advice_code": "do_not_try_again" }), never),
            (json!({ "decline_code": "generic_decline", "network_advice_code": "03" }), never),
            (json!({ "decline_code": "insufficient_funds", "network_advice_code": "24" }), Some(RetryAdvice::AfterHours(1))),
            (
                json!({ "decline_code": "do_not_honor", "network_decline_code": "R1", "payment_method": { "card": { "brand": "visa" } } }),
                never,
            ),
        ] {
            assert_eq!(from_error(&error, "x1").retry, expected, "{error}");
        }
    }

    /// Every `decline_code` of docs.stripe.com/declines/codes, listed a second time, so that no code is soft only because it was forgotten.
    #[test]
    fn every_documented_decline_code_is_in_a_table() {
        let documented = "authentication_not_handled authentication_required approve_with_id call_issuer card_not_supported \
card_velocity_exceeded currency_not_supported do_not_honor do_not_try_again duplicate_transaction expired_card fraudulent generic_decline \
incorrect_address incorrect_cvc incorrect_number incorrect_pin incorrect_zip insufficient_funds invalid_account invalid_amount invalid_cvc \
invalid_expiry_month invalid_expiry_year invalid_number invalid_pin issuer_not_available live_mode_test_card lost_card merchant_blacklist \
mobile_device_authentication_required new_account_information_available no_action_taken not_permitted offline_pin_required \
online_or_offline_pin_required pickup_card pin_try_exceeded processing_error reenter_transaction restricted_card \
revocation_of_all_authorizations revocation_of_authorization security_violation service_not_allowed stolen_card stop_payment_order \
test_mode_live_card testmode_decline transaction_not_allowed try_again_later withdrawal_count_limit_exceeded";
        let known = CODES.codes();
        for code in documented.split_ascii_whitespace() {
            assert!(known.contains(&code), "{code}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes = CODES.codes();
        assert!(codes.iter().all(|code| is_code(code)));
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
