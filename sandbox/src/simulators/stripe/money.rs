//! Amounts as Stripe takes them (docs.stripe.com/currencies), said once more so that the adapter's table is not its own witness.

use connector::money::{Currency, Money};

use crate::expect::expect_fixture;
use crate::simulators::stripe::error::{ErrorResponse, invalid, invalid_param};
use crate::simulators::stripe::form::Params;

/// Currencies without decimals.
const NO_DECIMALS: [&str; 15] = ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"];
/// Currencies with three decimals, of which the last is 0.
const THREE_DECIMALS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];
/// Currencies with two decimals for history's sake: both are 0.
const ZERO_ONLY_DECIMALS: [&str; 2] = ["isk", "ugx"];
/// The smallest amounts of the commonest currencies.
const MIN_AMOUNTS: [(&str, i64); 4] = [("eur", 50), ("usd", 50), ("gbp", 30), ("jpy", 50)];
/// The largest amount, in minor units: eight digits.
const MAX_AMOUNT: i64 = 99_999_999;

/// Reads `amount` and `currency`.
pub(super) fn parse(params: &Params) -> Result<(i64, String), ErrorResponse> {
    let currency = params.required("currency")?;
    let listed = currency.bytes().all(|byte| byte.is_ascii_lowercase()) && Currency::new(&currency).is_ok();
    if !listed {
        return Err(invalid_param("currency", &format!("Invalid currency: {currency}")));
    }
    let amount = params.number("amount")?.ok_or_else(|| invalid("parameter_missing", Some("amount"), "Missing required param: amount."))?;
    check_amount(amount, &currency)?;
    Ok((amount, currency))
}

/// Whether an amount can be charged.
fn check_amount(amount: i64, currency: &str) -> Result<(), ErrorResponse> {
    let smallest = MIN_AMOUNTS.iter().find(|(code, _)| *code == currency).map_or(1, |(_, amount)| *amount);
    let unit = match currency {
        code if ZERO_ONLY_DECIMALS.contains(&code) => 100,
        code if THREE_DECIMALS.contains(&code) => 10,
        _ => 1,
    };
    match amount {
        ..1 => Err(invalid(
            "parameter_invalid_integer",
            Some("amount"),
            "Invalid positive integer: this value must be greater than or equal to 1.",
        )),
        _ if amount < smallest => Err(invalid("amount_too_small", Some("amount"), "Amount must convert to at least 50 cents.")),
        _ if amount > MAX_AMOUNT => Err(invalid("amount_too_large", Some("amount"), "Amount must be no more than 999,999.99")),
        _ if amount.checked_rem(unit) != Some(0) => {
            Err(invalid_param("amount", &format!("Invalid amount: {currency} amounts must be divisible by {unit}.")))
        }
        _ => Ok(()),
    }
}

/// An amount of Stripe's as money.
pub(super) fn money(amount: i64, currency: &str) -> Money {
    let exponent = match currency {
        code if NO_DECIMALS.contains(&code) => 0,
        code if THREE_DECIMALS.contains(&code) => 3,
        _ => 2,
    };
    let currency = expect_fixture(Currency::new(currency).ok());
    expect_fixture(Money::from_exponent(amount, exponent, currency).ok())
}
