//! What PayPal's issues mean for the subscription. The issues are those of its specifications (Orders 2.13, Payments 2.5:
//! `details[].issue`; REAUTHORIZATION_TOO_SOON of its sandbox), the classes are ours. Must never read `message` or `description`, which are
//! meant for people.

use serde_json::Value;

use crate::gateway::common::code_table::{CodeTable, contains};
use crate::gateway::common::network_advice::NetworkAnswer;
use crate::gateway::{Decline, DeclineClass, RetryAdvice};

const ISSUES: CodeTable = CodeTable(&[
    (DeclineClass::Soft, SOFT),
    (DeclineClass::NeedsCustomer, NEEDS_CUSTOMER),
    (DeclineClass::NeedsNewDetails, NEEDS_NEW_DETAILS),
    (DeclineClass::Hard, HARD),
    (DeclineClass::Risk, RISK),
]);

/// May succeed later: funds, limits, authorisations that are gone, refunds that have to wait.
const SOFT: &str = "ALIAS_DECLINED_BY_PROCESSOR AUTHORIZATION_DENIED AUTHORIZATION_EXPIRED AUTHORIZATION_VOIDED DECLINED_DUE_TO_RELATED_TXN \
INSTRUMENT_DECLINED MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED ORDER_EXPIRED PAYER_CANNOT_PAY PAYMENT_SOURCE_CANNOT_BE_USED \
PAYMENT_SOURCE_DECLINED_BY_PROCESSOR PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED PENDING_CAPTURE REFUND_FAILED_INSUFFICIENT_FUNDS \
TRANSACTION_DISPUTED TRANSACTION_LIMIT_EXCEEDED TRANSACTION_RECEIVING_LIMIT_EXCEEDED TRANSACTION_REFUSED";
/// The payer has to do something at PayPal.
const NEEDS_CUSTOMER: &str = "CARD_EXPIRED ORDER_IS_PENDING_APPROVAL ORDER_NOT_APPROVED PAYER_ACTION_REQUIRED \
REDIRECT_PAYER_FOR_ALTERNATE_FUNDING REFERENCED_CARD_EXPIRED";
/// The agreement behind the stored details is gone.
const NEEDS_NEW_DETAILS: &str = "AGREEMENT_ALREADY_CANCELLED BILLING_AGREEMENT_ID_MISMATCH BILLING_AGREEMENT_NOT_FOUND \
MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE PAYPAL_TRANSACTION_ID_EXPIRED PAYPAL_TRANSACTION_ID_NOT_FOUND PNREF_EXPIRED PNREF_NOT_FOUND \
TOKEN_EXPIRED TOKEN_ID_NOT_FOUND";
/// Never again: the payer's account, and refunds and releases that cannot be.
const HARD: &str = "CANNOT_BE_VOIDED CAPTURE_FULLY_REFUNDED DOMESTIC_TRANSACTION_REQUIRED MAX_NUMBER_OF_REFUNDS_EXCEEDED \
PARTIAL_REFUND_NOT_ALLOWED PAYER_ACCOUNT_LOCKED_OR_CLOSED PAYER_ACCOUNT_RESTRICTED PREVIOUSLY_CAPTURED REFUND_AMOUNT_EXCEEDED \
REFUND_AMOUNT_TOO_LOW REFUND_IS_RESTRICTED REFUND_NOT_ALLOWED REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK REFUND_TIME_LIMIT_EXCEEDED";
/// Those of the above after which the same details must not be tried again: the payer revoked the agreement, or closed the account.
const NEVER_AGAIN: &str = "AGREEMENT_ALREADY_CANCELLED PAYER_ACCOUNT_LOCKED_OR_CLOSED";
/// Those of the above that another account of ours would be answered too.
const DETAILS_UNKNOWN: &str =
    "BILLING_AGREEMENT_ID_MISMATCH BILLING_AGREEMENT_NOT_FOUND MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE TOKEN_ID_NOT_FOUND";
/// PayPal's or the payee's rules against fraud.
const RISK: &str = "COMPLIANCE_VIOLATION DECLINED_BY_RISK_FRAUD_FILTERS PAYEE_BLOCKED_TRANSACTION \
PREVIOUS_TRANSACTION_REFERENCE_HAS_CHARGEBACK PREVIOUS_TRANSACTION_REFERENCE_VOIDED TRANSACTION_BLOCKED_BY_PAYEE";
/// The same call is still being worked on.
const IN_PROGRESS: &str = "ORDER_COMPLETION_IN_PROGRESS PREVIOUS_REQUEST_IN_PROGRESS";
/// It was done before, by us or by another system: only the resource itself shows the current state.
const ALREADY_DONE: &str = "AUTHORIZATION_ALREADY_CAPTURED DUPLICATE_INVOICE_ID MAX_AUTHORIZATION_COUNT_EXCEEDED MAX_CAPTURE_COUNT_EXCEEDED \
ORDER_ALREADY_AUTHORIZED ORDER_ALREADY_CAPTURED ORDER_ALREADY_COMPLETED ORDER_COMPLETED_OR_VOIDED PREVIOUSLY_VOIDED";
/// Mistakes of the request, the account or its settings, which no payer can correct.
const CONNECTOR_FAULT: &str = "ACTION_DOES_NOT_MATCH_INTENT AMOUNT_CANNOT_BE_SPECIFIED AMOUNT_CHANGE_NOT_ALLOWED AMOUNT_MISMATCH AMOUNT_NOT_PATCHABLE \
APPLE_PAY_AMOUNT_MISMATCH AUTHORIZATION_AMOUNT_EXCEEDED AUTHORIZATION_CURRENCY_MISMATCH AUTH_CAPTURE_CURRENCY_MISMATCH \
AUTH_CAPTURE_NOT_ENABLED AUTH_CURRENCY_MISMATCH BANK_NOT_SUPPORTED_FOR_VERIFICATION BILLING_ADDRESS_INVALID \
BLIK_ONE_CLICK_MISSING_REQUIRED_PARAMETER CANCEL_URL_REQUIRED CANNOT_BE_NEGATIVE CANNOT_BE_ZERO_OR_NEGATIVE CAPTURE_ID_NOT_FOUND \
CAPTURE_STATUS_NOT_VALID CARD_BRAND_NOT_SUPPORTED CARD_EXPIRY_REQUIRED CARD_NUMBER_REQUIRED CARD_TYPE_NOT_SUPPORTED CITY_REQUIRED \
CONSENT_NEEDED COUNTRY_NOT_SUPPORTED_BY_PAYMENT_SOURCE CRYPTOGRAM_REQUIRED CURRENCY_MISMATCH CURRENCY_NOT_SUPPORTED_FOR_BANK \
CURRENCY_NOT_SUPPORTED_FOR_CARD_TYPE CURRENCY_NOT_SUPPORTED_FOR_COUNTRY DECIMALS_NOT_SUPPORTED DECIMAL_PRECISION \
DEVICE_DATA_NOT_AVAILABLE DONATION_ITEMS_NOT_SUPPORTED DUPLICATE_REFERENCE_ID EMV_DATA_REQUIRED FIELD_NOT_PATCHABLE \
GOOGLE_PAY_GATEWAY_MERCHANT_ID_MISMATCH IBAN_COUNTRY_NOT_SUPPORTED IDENTIFIER_NOT_FOUND INCOMPATIBLE_PARAMETER_VALUE \
INVALID_ACCOUNT_STATUS INVALID_ARRAY_MAX_ITEMS INVALID_ARRAY_MIN_ITEMS INVALID_COUNTRY_CODE INVALID_CURRENCY_CODE INVALID_EXPIRY_DATE \
INVALID_FX_RATE_ID INVALID_GOOGLE_PAY_TOKEN INVALID_IBAN INVALID_JSON_POINTER_FORMAT INVALID_PARAMETER INVALID_PARAMETER_SYNTAX \
INVALID_PARAMETER_VALUE INVALID_PATCH_OPERATION INVALID_PAYEE_PRICING_TIER_ID INVALID_PAYER_ID INVALID_PICKUP_ADDRESS \
INVALID_PLATFORM_FEES_ACCOUNT INVALID_PLATFORM_FEES_AMOUNT INVALID_PREVIOUS_TRANSACTION_REFERENCE INVALID_RESOURCE_ID \
INVALID_SECURITY_CODE_LENGTH INVALID_STRING_LENGTH INVALID_STRING_MAX_LENGTH ITEM_CATEGORY_NOT_SUPPORTED_BY_PAYMENT_SOURCE \
ITEM_SKU_MISMATCH ITEM_TOTAL_MISMATCH ITEM_TOTAL_REQUIRED MALFORMED_REQUEST_JSON MAX_CAPTURE_AMOUNT_EXCEEDED MAX_VALUE_EXCEEDED \
MERCHANT_INITIATED_WITH_AUTHENTICATION_RESULTS MERCHANT_INITIATED_WITH_MULTIPLE_PURCHASE_UNITS MERCHANT_INITIATED_WITH_SECURITY_CODE \
MISSING_CRYPTOGRAM MISSING_PICKUP_ADDRESS MISSING_PREVIOUS_REFERENCE MISSING_REQUIRED_PARAMETER MSP_NOT_SUPPORTED \
MULTIPLE_ITEM_CATEGORIES MULTIPLE_SHIPPING_ADDRESS_NOT_SUPPORTED MULTIPLE_SHIPPING_OPTION_SELECTED MULTIPLE_SHIPPING_TYPE_NOT_SUPPORTED \
MULTI_CURRENCY_ORDER NOT_ELIGIBLE_FOR_PAYPAL_TRANSACTION_ID_PROCESSING NOT_ELIGIBLE_FOR_PNREF_PROCESSING \
NOT_ELIGIBLE_FOR_TOKEN_PROCESSING NOT_ENABLED_FOR_APPLE_PAY NOT_ENABLED_FOR_BANK_PROCESSING NOT_ENABLED_FOR_CARD_PROCESSING \
NOT_ENABLED_FOR_GOOGLE_PAY NOT_ENABLED_TO_VAULT_PAYMENT_SOURCE NOT_PATCHABLE NOT_SUPPORTED NO_PAYMENT_SOURCE_PROVIDED \
ONE_OF_PARAMETERS_REQUIRED ONE_OF_THE_PARAMETERS_REQUIRED ONLY_ONE_BANK_SOURCE_ALLOWED ONLY_ONE_PAYMENT_SOURCE_ALLOWED \
ORDER_CANNOT_BE_CONFIRMED ORDER_CANNOT_BE_SAVED ORDER_COMPLETE_ON_PAYMENT_APPROVAL PATCH_PATH_REQUIRED PATCH_VALUE_REQUIRED \
PAYEE_ACCOUNT_INVALID PAYEE_ACCOUNT_LOCKED_OR_CLOSED PAYEE_ACCOUNT_NOT_VERIFIED PAYEE_ACCOUNT_RESTRICTED \
PAYEE_COUNTRY_NOT_SUPPORTED_FOR_PAYMENT_SOURCE PAYEE_FX_RATE_ID_CURRENCY_MISMATCH PAYEE_FX_RATE_ID_EXPIRED \
PAYEE_NOT_ENABLED_FOR_BANK_PROCESSING PAYEE_NOT_ENABLED_FOR_CARD_PROCESSING PAYEE_PRICING_TIER_ID_NOT_ENABLED PAYMENT_ALREADY_APPROVED \
PAYMENT_SOURCE_MISMATCH PAYMENT_SOURCE_NOT_SUPPORTED PAYMENT_TYPE_NOT_SUPPORTED_FOR_INTENT PAYPAL_REQUEST_ID_REQUIRED PERMISSION_DENIED \
PERMISSION_DENIED_FOR_DONATION_ITEMS PLATFORM_FEES_NOT_SUPPORTED PLATFORM_FEE_EXCEEDED PLATFORM_FEE_NOT_ENABLED \
PLATFORM_FEE_PAYEE_CANNOT_BE_SAME_AS_PAYER POSTAL_CODE_REQUIRED PREFERRED_PAYMENT_SOURCE_MISMATCH \
PREFERRED_SHIPPING_OPTION_AMOUNT_MISMATCH REAUTHORIZATION_NOT_SUPPORTED REAUTHORIZATION_TOO_SOON REFERENCE_ID_NOT_FOUND \
REFERENCE_ID_REQUIRED REFUND_CAPTURE_CURRENCY_MISMATCH REQUIRED_PARAMETER_FOR_CUSTOMER_INITIATED_PAYMENT \
REQUIRED_PARAMETER_FOR_PAYMENT_SOURCE RETURN_URL_REQUIRED SAVE_ORDER_NOT_SUPPORTED SETUP_ERROR_FOR_BANK SHIPPING_ADDRESS_INVALID \
SHIPPING_OPTIONS_NOT_SUPPORTED SHIPPING_OPTION_NOT_SELECTED SHIPPING_TYPE_NOT_SUPPORTED_FOR_CLIENT TAX_TOTAL_MISMATCH TAX_TOTAL_REQUIRED \
TRACKER_ID_NOT_FOUND UNSUPPORTED_INTENT UNSUPPORTED_INTENT_FOR_PAYMENT_SOURCE UNSUPPORTED_PATCH_PARAMETER_VALUE \
UNSUPPORTED_PAYMENT_INSTRUCTION UNSUPPORTED_PROCESSING_INSTRUCTION UNSUPPORTED_SHIPPING_TYPE VAULT_INSTRUCTION_DUPLICATED \
VAULT_INSTRUCTION_REQUIRED";

/// A refusal under an issue that the specifications call a business rule.
pub(super) const UNPROCESSABLE: u16 = 422;

/// What a refusal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefusalClass {
    /// A word of PayPal's risk rules, the funding source or the agreement.
    Decline(Decline),
    /// The same call is still in progress.
    InProgress,
    /// It was done before: the resource has to be read.
    AlreadyDone,
    /// A mistake in what we sent or in the account; the issue.
    ConnectorFault(String),
}

/// Reads a refusal by its issue, whose form is checked before. One that is not listed is soft where PayPal calls it a business rule, since
/// dunning tries again within its limits and its next answer may be clearer, and ours where it calls the request wrong.
pub(super) fn classify(status: u16, issue: &str) -> RefusalClass {
    if contains(IN_PROGRESS, issue) {
        return RefusalClass::InProgress;
    }
    if contains(ALREADY_DONE, issue) {
        return RefusalClass::AlreadyDone;
    }
    if contains(DETAILS_UNKNOWN, issue) {
        return RefusalClass::Decline(Decline::details_unknown(issue));
    }
    if let Some(class) = ISSUES.class_of(issue) {
        let retry = contains(NEVER_AGAIN, issue).then_some(RetryAdvice::Never);
        return RefusalClass::Decline(Decline { retry, ..Decline::new(class, issue) });
    }
    if status == UNPROCESSABLE && !contains(CONNECTOR_FAULT, issue) {
        return RefusalClass::Decline(Decline::new(DeclineClass::Soft, issue));
    }
    RefusalClass::ConnectorFault(issue.to_owned())
}

/// The decline of a payment whose own status says so, by its `status_details.reason` where it has one, and by the network's answer to a card
/// behind it.
pub(super) fn from_status(payment: &Value, otherwise: &str) -> Decline {
    let reason = payment.get("status_details").and_then(|details| details.get("reason")).and_then(Value::as_str);
    let code = reason.filter(|reason| is_code(reason)).unwrap_or(otherwise);
    let advice = payment.get("processor_response").and_then(|response| response.get("payment_advice_code")).and_then(Value::as_str);
    let retry = NetworkAnswer { advice, ..NetworkAnswer::default() }.restriction(None);
    Decline { retry, ..Decline::new(ISSUES.class_of(code).unwrap_or(DeclineClass::Soft), code) }
}

/// Issues and reasons are constants in capitals; anything else could be a text about a person.
pub(super) fn is_code(code: &str) -> bool {
    (2..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && code.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decline(class: DeclineClass, code: &str) -> RefusalClass {
        RefusalClass::Decline(Decline::new(class, code))
    }

    #[test]
    fn one_issue_of_each_class_means_what_the_table_says() {
        for (issue, class) in [
            ("INSTRUMENT_DECLINED", DeclineClass::Soft),
            ("PAYER_ACTION_REQUIRED", DeclineClass::NeedsCustomer),
            ("TOKEN_EXPIRED", DeclineClass::NeedsNewDetails),
            ("PAYER_ACCOUNT_RESTRICTED", DeclineClass::Hard),
            ("COMPLIANCE_VIOLATION", DeclineClass::Risk),
        ] {
            assert_eq!(classify(422, issue), decline(class, issue));
        }
        assert_eq!(classify(422, "ORDER_ALREADY_CAPTURED"), RefusalClass::AlreadyDone);
        assert_eq!(classify(422, "ORDER_COMPLETION_IN_PROGRESS"), RefusalClass::InProgress);
    }

    #[test]
    fn a_revoked_agreement_and_what_the_network_forbids_are_never_tried_again() {
        let never = Some(RetryAdvice::Never);
        let revoked = Decline { retry: never, ..Decline::new(DeclineClass::NeedsNewDetails, "AGREEMENT_ALREADY_CANCELLED") };
        assert_eq!(classify(422, "AGREEMENT_ALREADY_CANCELLED"), RefusalClass::Decline(revoked));
        for (advice, retry) in [("03", never), ("21", never), ("25", Some(RetryAdvice::AfterHours(24))), ("02", None)] {
            assert_eq!(from_status(&json!({ "processor_response": { "payment_advice_code": advice } }), "CAPTURE_DECLINED").retry, retry);
        }
    }

    #[test]
    fn details_that_paypal_does_not_know_may_be_those_of_another_account() {
        assert_eq!(classify(422, "TOKEN_ID_NOT_FOUND"), RefusalClass::Decline(Decline::details_unknown("TOKEN_ID_NOT_FOUND")));
    }

    #[test]
    fn a_mistake_of_ours_is_no_decline_whatever_its_status() {
        for status in [400, 404, 422] {
            assert_eq!(classify(status, "DECIMALS_NOT_SUPPORTED"), RefusalClass::ConnectorFault("DECIMALS_NOT_SUPPORTED".to_owned()));
        }
        assert_eq!(classify(422, "PAYEE_ACCOUNT_RESTRICTED"), RefusalClass::ConnectorFault("PAYEE_ACCOUNT_RESTRICTED".to_owned()));
    }

    #[test]
    fn an_unknown_issue_is_soft_only_where_it_is_a_business_rule() {
        assert_eq!(classify(422, "BRAND_NEW_ISSUE"), decline(DeclineClass::Soft, "BRAND_NEW_ISSUE"));
        assert_eq!(classify(400, "BRAND_NEW_ISSUE"), RefusalClass::ConnectorFault("BRAND_NEW_ISSUE".to_owned()));
    }

    #[test]
    fn a_status_has_its_own_reason_or_the_name_of_the_status() {
        let risk = json!({ "status_details": { "reason": "DECLINED_BY_RISK_FRAUD_FILTERS" } });
        assert_eq!(from_status(&risk, "X_DENIED"), Decline::new(DeclineClass::Risk, "DECLINED_BY_RISK_FRAUD_FILTERS"));
        for payment in [json!({}), json!({ "status_details": { "reason": "Jane Doe" } }), json!({ "status_details": { "reason": 7 } })] {
            assert_eq!(from_status(&payment, "AUTHORIZATION_DENIED"), Decline::new(DeclineClass::Soft, "AUTHORIZATION_DENIED"));
        }
    }

    #[test]
    fn no_issue_is_listed_twice() {
        let mut issues = ISSUES.codes();
        issues.extend([IN_PROGRESS, ALREADY_DONE, CONNECTOR_FAULT].iter().flat_map(|table| table.split_ascii_whitespace()));
        assert!(issues.iter().all(|issue| is_code(issue)));
        let count = issues.len();
        issues.sort_unstable();
        issues.dedup();
        assert_eq!(issues.len(), count);
    }
}
