//! Test refusals (docs.adyen.com, "Testing result codes and refusal reasons"): a name as `paymentMethod.holderName`, or a number as
//! `additionalData.RequestedTestAcquirerResponseCode`.

use serde_json::Value;

use crate::simulators::adyen::state::ScriptedOutcome;

const NAMES: &[(&str, &str)] = &[
    ("DECLINED", "2"),
    ("BLOCK_CARD", "5"),
    ("CARD_EXPIRED", "6"),
    ("INVALID_AMOUNT", "7"),
    ("INVALID_CARD", "8"),
    ("ISSUER_UNAVAILABLE", "9"),
    ("NOT_SUPPORTED", "10"),
    ("NOT_3D_AUTHENTICATED", "11"),
    ("NOT_ENOUGH_BALANCE", "12"),
    ("FRAUD", "20"),
    ("TRANSACTION_NOT_PERMITTED", "23"),
    ("CVC_DECLINED", "24"),
    ("RESTRICTED_CARD", "25"),
    ("REVOCATION_OF_AUTH", "26"),
    ("ISSUER_SUSPECTED_FRAUD", "31"),
    ("AUTHENTICATION_REQUIRED", "38"),
    ("ERPS_BLOCK", "46"),
];

/// The outcome that the request asks for.
pub(super) fn requested_outcome(body: &Value) -> Option<ScriptedOutcome> {
    let code = body.get("additionalData").and_then(|data| data.get("RequestedTestAcquirerResponseCode")).and_then(Value::as_str);
    if let Some(code) = code {
        return Some(ScriptedOutcome::Decline(code.to_owned()));
    }
    let name = body.get("paymentMethod").and_then(|method| method.get("holderName")).and_then(Value::as_str)?;
    if name == "PENDING" {
        return Some(ScriptedOutcome::ResultCode("Received".to_owned()));
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, code)| ScriptedOutcome::Decline((*code).to_owned()))
}

/// The result code that comes with a refusal.
pub(super) fn result_code(code: &str) -> &'static str {
    match code {
        "4" | "9" => "Error",
        "15" | "16" => "Cancelled",
        _ => "Refused",
    }
}
