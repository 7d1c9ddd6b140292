//! PayPal's decimals. Must never round: an amount that does not fit is refused.

use serde_json::Value;

use crate::gateway::GatewayError;
use crate::gateway::common::amounts::{MinorUnits, ensure_positive};
use crate::money::{Currency, Money, MoneyError};

/// The currencies that PayPal takes, with its digits after the point (developer.paypal.com, "Currency codes": those with footnote 1 do
/// "not support decimals. If you pass a decimal amount, an error occurs").
const MINOR_UNITS: MinorUnits = MinorUnits {
    tables: &[(2, "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN RUB SEK SGD THB USD"), (0, "HUF JPY TWD")],
    others: false,
};

/// Digits after the point at PayPal; `None` for a currency that it does not take.
#[must_use]
pub fn exponent(currency: Currency) -> Option<u8> {
    MINOR_UNITS.exponent(currency)
}

/// The amount as PayPal writes it: `9.99`, `500` (JPY), `1990` (HUF).
///
/// # Errors
/// [`MoneyError::UnknownCurrency`] for a currency that PayPal does not take, [`MoneyError::TooPrecise`] if digits would be lost.
pub fn to_decimal(money: Money) -> Result<String, MoneyError> {
    match exponent(money.currency).ok_or(MoneyError::UnknownCurrency)? {
        0 => Ok(money.to_exponent(0)?.to_string()),
        exponent if exponent == money.currency.exponent() => Ok(money.to_decimal()),
        exponent => Err(MoneyError::TooPrecise { currency: money.currency, allowed: exponent }),
    }
}

/// `{"currency_code", "value"}`.
///
/// # Errors
/// [`GatewayError::Amount`] if it does not fit, [`GatewayError::Malformed`] unless it is above zero: PayPal takes no other.
pub(super) fn amount(money: Money) -> Result<Value, GatewayError> {
    ensure_positive(money)?;
    Ok(serde_json::json!({ "currency_code": money.currency.as_str(), "value": to_decimal(money)? }))
}

/// Reads an amount; `None` if it is not an amount. A number instead of a text is not one: PayPal writes texts.
pub(super) fn read_amount(value: &Value) -> Option<Money> {
    let currency = Currency::new(value.get("currency_code")?.as_str()?).ok()?;
    Money::parse(value.get("value")?.as_str()?, currency).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A second copy of PayPal's page, so that the table above is checked against another source.
    const WITH_DECIMALS: &str = "AUD BRL CAD CNY CZK DKK EUR HKD ILS MYR MXN NZD NOK PHP PLN GBP RUB SGD SEK CHF THB USD";
    const WITHOUT_DECIMALS: &str = "HUF JPY TWD";

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::new(code).unwrap())
    }

    #[test]
    fn three_currencies_have_no_decimals_at_paypal_whatever_iso_says() {
        for (minor, code, text) in [
            (999, "EUR", "9.99"),
            (5, "USD", "0.05"),
            (10_000, "USD", "100.00"),
            (500, "JPY", "500"),
            (199_000, "HUF", "1990"),
            (30_000, "TWD", "300"),
        ] {
            assert_eq!(to_decimal(money(minor, code)).as_deref(), Ok(text), "{code}");
            assert_eq!(read_amount(&json!({ "currency_code": code, "value": text })), Some(money(minor, code)), "{code}");
        }
    }

    #[test]
    fn what_paypal_cannot_express_is_refused_not_rounded() {
        for code in ["HUF", "TWD"] {
            let currency = Currency::new(code).unwrap();
            assert_eq!(to_decimal(money(199_050, code)), Err(MoneyError::TooPrecise { currency, allowed: 0 }));
        }
        assert_eq!(to_decimal(money(1_250, "KWD")), Err(MoneyError::UnknownCurrency));
        assert_eq!(amount(money(0, "EUR")).err(), Some(GatewayError::Malformed { code: "amount_not_positive".to_owned() }));
        assert_eq!(amount(money(-1, "EUR")).err(), Some(GatewayError::Malformed { code: "amount_not_positive".to_owned() }));
    }

    #[test]
    fn an_amount_of_another_form_is_none() {
        for value in [
            json!({ "currency_code": "EUR", "value": 9.99 }),
            json!({ "currency_code": "EUR", "value": "9,99" }),
            json!({ "currency_code": "EUR", "value": "9.999" }),
            json!({ "currency_code": "XXX", "value": "9.99" }),
            json!({ "currency": "EUR", "value": "9.99" }),
            json!("9.99"),
        ] {
            assert_eq!(read_amount(&value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_is_written_by_paypals_rule_or_refused(minor in 1_i64..1_000_000_000_000, currency in proptest::sample::select(Currency::all().collect::<Vec<_>>())) {
            let listed = |table: &str| table.split(' ').any(|code| code == currency.as_str());
            let money = Money::new(minor, currency);
            let written = to_decimal(money);
            if listed(WITH_DECIMALS) {
                let expected = format!("{}.{:02}", minor.div_euclid(100), minor.rem_euclid(100));
                prop_assert_eq!(written, Ok(expected));
            } else if listed(WITHOUT_DECIMALS) {
                let unit = if currency.as_str() == "JPY" { 1 } else { 100 };
                if minor.rem_euclid(unit) == 0 {
                    prop_assert_eq!(written, Ok(minor.div_euclid(unit).to_string()));
                } else {
                    prop_assert_eq!(written, Err(MoneyError::TooPrecise { currency, allowed: 0 }));
                }
            } else {
                prop_assert_eq!(written, Err(MoneyError::UnknownCurrency));
            }
        }

        #[test]
        fn whatever_is_sent_reads_back_as_the_same_amount(minor in 1_i64..1_000_000_000_000, currency in proptest::sample::select(Currency::all().collect::<Vec<_>>())) {
            let money = Money::new(minor, currency);
            if let Ok(sent) = amount(money) {
                prop_assert_eq!(read_amount(&sent), Some(money));
            }
        }
    }
}
