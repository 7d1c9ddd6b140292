//! Amounts as PayPal reads them.

use connector::money::{Currency, Money};
use serde_json::Value;

use crate::simulators::paypal::state::{ErrorResponse, error_response};

/// The currencies that PayPal takes (developer.paypal.com, "Currency codes").
const CURRENCIES: [&str; 25] = [
    "AUD", "BRL", "CAD", "CNY", "CZK", "DKK", "EUR", "HKD", "HUF", "ILS", "JPY", "MYR", "MXN", "TWD", "NZD", "NOK", "PHP", "PLN", "GBP",
    "RUB", "SGD", "SEK", "CHF", "THB", "USD",
];
/// Those of them without decimals.
pub(super) const NO_DECIMALS: [&str; 3] = ["HUF", "JPY", "TWD"];

/// Reads `{"currency_code", "value"}` by PayPal's rules.
pub(super) fn read_amount(body: Option<&Value>) -> Result<Money, ErrorResponse> {
    let amount = body.ok_or_else(|| error_response(400, "MISSING_REQUIRED_PARAMETER"))?;
    let text = |name: &str| amount.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let code =
        text("currency_code").filter(|code| CURRENCIES.contains(code)).ok_or_else(|| error_response(422, "INVALID_CURRENCY_CODE"))?;
    let value = text("value").ok_or_else(|| error_response(400, "INVALID_PARAMETER_SYNTAX"))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || value.ends_with('.') {
        return Err(error_response(400, "INVALID_PARAMETER_SYNTAX"));
    }
    if NO_DECIMALS.contains(&code) && value.contains('.') {
        return Err(error_response(422, "DECIMALS_NOT_SUPPORTED"));
    }
    if fraction.len() > 2 {
        return Err(error_response(422, "DECIMAL_PRECISION"));
    }
    let currency = Currency::new(code).map_err(|_| error_response(422, "INVALID_CURRENCY_CODE"))?;
    let money = Money::parse(value, currency).map_err(|_| error_response(400, "INVALID_PARAMETER_SYNTAX"))?;
    if money.minor <= 0 { Err(error_response(422, "CANNOT_BE_ZERO_OR_NEGATIVE")) } else { Ok(money) }
}
