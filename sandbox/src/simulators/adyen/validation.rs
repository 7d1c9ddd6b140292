//! What every body is checked for, and errors as Adyen writes them.

use serde_json::{Value, json};

use crate::simulators::adyen::state::State;
use crate::simulators::network::ServerResponse;

/// An answer, or a refusal that leaves everything as it was.
pub(super) type HandlerResult = Result<ServerResponse, ErrorResponse>;

/// An error as Adyen writes it (CheckoutService v71, `ServiceError`).
#[derive(Clone, Copy)]
pub(super) struct ErrorResponse {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) kind: &'static str,
    pub(super) message: &'static str,
}

impl ErrorResponse {
    pub(super) fn response(self) -> ServerResponse {
        if self.status == 404 {
            return ServerResponse::empty(404);
        }
        let Self { status, code, kind, message } = self;
        ServerResponse::json(status, &json!({ "status": status, "errorCode": code, "errorType": kind, "message": message }))
    }
}

pub(super) const fn error_response(status: u16, code: &'static str, kind: &'static str, message: &'static str) -> ErrorResponse {
    ErrorResponse { status, code, kind, message }
}

/// Checks the account that a body names: 403 for another one, as for one that the key has no right to.
pub(super) fn check_account(state: &State, body: &Value) -> Result<(), ErrorResponse> {
    if body.get("merchantAccount").and_then(Value::as_str) == Some(state.config.merchant_account.as_str()) {
        return Ok(());
    }
    Err(error_response(403, "901", "security", "Invalid Merchant Account"))
}

/// Reads `{"currency", "value"}`.
pub(super) fn read_amount(body: &Value) -> Result<(String, i64), ErrorResponse> {
    let missing = || error_response(422, "100", "validation", "No amount specified");
    let wrong = |code, message| error_response(422, code, "validation", message);
    let amount = body.get("amount").ok_or_else(missing)?;
    let currency = amount.get("currency").and_then(Value::as_str).filter(|code| code.len() == 3);
    let currency = currency.ok_or_else(|| wrong("138", "Unsupported currency specified"))?;
    let value = amount.get("value").and_then(Value::as_i64).filter(|value| *value >= 0);
    let value = value.ok_or_else(|| wrong("137", "Invalid amount specified"))?;
    Ok((currency.to_owned(), value))
}
