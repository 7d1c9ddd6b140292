//! Errors as Stripe writes them.

use serde_json::{Value, json};

use crate::simulators::network::ServerResponse;
use crate::simulators::stripe::cards::Decline;

/// An answer, or a refusal.
pub(super) type HandlerResult = Result<ServerResponse, ErrorResponse>;

/// An error as Stripe writes it (docs.stripe.com/api/errors).
#[derive(Clone, Debug)]
pub(super) struct ErrorResponse {
    pub(super) status: u16,
    /// What stands in `error`.
    pub(super) error: Value,
    /// Whether it came up while the request was executed: only then is it kept under the idempotency key.
    pub(super) executed: bool,
}

impl ErrorResponse {
    pub(super) fn response(&self) -> ServerResponse {
        ServerResponse::json(self.status, &json!({ "error": self.error }))
    }

    /// Adds an object to the error, such as the intent that a decline left behind.
    #[must_use]
    pub(super) fn with(mut self, name: &str, object: Value) -> Self {
        if let Some(error) = self.error.as_object_mut() {
            error.insert(name.to_owned(), object);
        }
        self
    }
}

fn error_response(status: u16, kind: &str, code: Option<&str>, param: Option<&str>, message: &str, executed: bool) -> ErrorResponse {
    let mut error = json!({ "type": kind, "message": message });
    if let Some(error) = error.as_object_mut() {
        for (name, value) in [("code", code), ("param", param)] {
            if let Some(value) = value {
                error.insert(name.to_owned(), json!(value));
            }
        }
    }
    ErrorResponse { status, error, executed }
}

/// A request that was refused before anything was done.
pub(super) fn invalid(code: &str, param: Option<&str>, message: &str) -> ErrorResponse {
    error_response(400, "invalid_request_error", Some(code), param, message, false)
}

/// A parameter that is none, of a kind without a code of its own.
pub(super) fn invalid_param(param: &str, message: &str) -> ErrorResponse {
    error_response(400, "invalid_request_error", None, Some(param), message, false)
}

/// A request that does not fit what is there.
pub(super) fn failed_precondition(code: Option<&str>, param: Option<&str>, message: &str) -> ErrorResponse {
    error_response(400, "invalid_request_error", code, param, message, true)
}

/// An error of a kind of its own, found before anything was done.
pub(super) fn error_of_type(status: u16, kind: &str, code: Option<&str>, message: &str) -> ErrorResponse {
    error_response(status, kind, code, None, message, false)
}

/// A decline.
pub(super) fn decline_error(why: &Decline) -> ErrorResponse {
    let mut refused = error_response(402, "card_error", Some(&why.code), None, "Your card was declined.", true);
    let codes = [("decline_code", &why.decline_code), ("advice_code", &why.advice_code), ("network_advice_code", &why.network_advice_code)];
    for (name, value) in codes {
        if let Some(value) = value {
            refused = refused.with(name, json!(value));
        }
    }
    refused
}

/// What the path names is not there.
pub(super) fn not_found(kind: &str, id: &str) -> ErrorResponse {
    error_response(404, "invalid_request_error", Some("resource_missing"), None, &format!("No such {kind}: '{id}'"), true)
}

/// What a parameter names is not there.
pub(super) fn param_not_found(kind: &str, param: &str, id: &str) -> ErrorResponse {
    failed_precondition(Some("resource_missing"), Some(param), &format!("No such {kind}: '{id}'"))
}
