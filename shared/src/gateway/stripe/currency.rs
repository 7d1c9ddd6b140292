//! Stripe's own minor units. Must never round: an amount that does not fit is refused.

use serde_json::Value;

use crate::gateway::GatewayError;
use crate::gateway::common::amounts::{MinorUnits, ensure_positive};
use crate::money::{Currency, Money, MoneyError};

/// Presentment currencies with two digits after the point at Stripe (docs.stripe.com/currencies, "Supported presentment currencies", as far
/// as ISO 4217 still lists them). ISK and UGX have none of their own and yet "must be represented as two-decimal" values ("Special cases").
const TWO_DIGITS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK DKK \
DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL \
MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS \
SRD SZL THB TJS TOP TRY TTD TWD TZS UAH UGX USD UYU UZS WST XCD YER ZAR ZMW";
/// "Zero-decimal currencies" of the same page.
const NO_DIGITS: &str = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF";
/// "Three-decimal currencies" of the same page: the last digit of what is asked for has to be 0.
const THREE_DIGITS: &str = "BHD JOD KWD OMR TND";

const MINOR_UNITS: MinorUnits = MinorUnits { tables: &[(2, TWO_DIGITS), (0, NO_DIGITS), (3, THREE_DIGITS)], others: false };

/// Digits after the point at Stripe; `None` for a currency that it does not take.
#[must_use]
pub fn exponent(currency: Currency) -> Option<u8> {
    MINOR_UNITS.exponent(currency)
}

/// The amount in Stripe's minor units.
///
/// # Errors
/// [`MoneyError::UnknownCurrency`] for a currency that Stripe does not take, [`MoneyError::TooPrecise`] if digits would be lost.
pub fn to_minor_units(money: Money) -> Result<i64, MoneyError> {
    let value = MINOR_UNITS.encode(money)?;
    if exponent(money.currency) == Some(3) && value.checked_rem(10) != Some(0) {
        return Err(MoneyError::TooPrecise { currency: money.currency, allowed: 2 });
    }
    Ok(value)
}

/// An amount from Stripe's minor units.
///
/// # Errors
/// [`MoneyError::UnknownCurrency`] and [`MoneyError::TooPrecise`], as [`to_minor_units`].
pub fn from_minor_units(value: i64, currency: Currency) -> Result<Money, MoneyError> {
    MINOR_UNITS.decode(value, currency)
}

/// What is asked for: Stripe takes nothing but amounts above zero.
///
/// # Errors
/// [`GatewayError::Amount`] if it does not fit, [`GatewayError::Malformed`] unless it is above zero.
pub(super) fn amount(money: Money) -> Result<String, GatewayError> {
    ensure_positive(money)?;
    Ok(to_minor_units(money)?.to_string())
}

/// The currency as Stripe writes it.
pub(super) fn code(money: Money) -> String {
    money.currency.as_str().to_ascii_lowercase()
}

/// Reads the amount of this name in the object's `currency`; `None` if it is not an amount.
pub(super) fn read_amount(object: &Value, name: &str) -> Option<Money> {
    let currency = Currency::new(object.get("currency")?.as_str()?).ok()?;
    from_minor_units(object.get(name)?.as_i64()?, currency).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A second copy of Stripe's page, in the order of its groups, so that the tables above are checked against another source.
    const ZERO_DECIMAL_PAGE: [&str; 15] =
        ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
    const THREE_DECIMAL_PAGE: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

    fn documented_exponent(currency: Currency) -> u8 {
        if ZERO_DECIMAL_PAGE.contains(&currency.as_str()) {
            0
        } else if THREE_DECIMAL_PAGE.contains(&currency.as_str()) {
            3
        } else {
            2
        }
    }

    fn accepted_currencies() -> Vec<Currency> {
        Currency::all().filter(|currency| exponent(*currency).is_some()).collect()
    }

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::new(code).unwrap())
    }

    #[test]
    fn amounts_follow_stripes_page_where_it_differs_from_iso() {
        for (minor, code, value) in [
            (999, "EUR", 999),
            (500, "JPY", 500),
            (500, "ISK", 50_000),
            (10_000, "UGX", 1_000_000),
            (200_000, "MGA", 2_000),
            (199_000, "HUF", 199_000),
            (80_045, "TWD", 80_045),
            (4_990, "CLP", 4_990),
            (5_120, "KWD", 5_120),
        ] {
            assert_eq!(to_minor_units(money(minor, code)), Ok(value), "{code}");
            assert_eq!(from_minor_units(value, Currency::new(code).unwrap()), Ok(money(minor, code)), "{code}");
        }
    }

    #[test]
    fn what_stripe_cannot_express_is_refused_not_rounded() {
        let kwd = Currency::new("KWD").unwrap();
        assert_eq!(to_minor_units(money(5_124, "KWD")), Err(MoneyError::TooPrecise { currency: kwd, allowed: 2 }));
        let mga = Currency::new("MGA").unwrap();
        assert_eq!(to_minor_units(money(150, "MGA")), Err(MoneyError::TooPrecise { currency: mga, allowed: 0 }));
        let isk = Currency::new("ISK").unwrap();
        assert_eq!(from_minor_units(501, isk), Err(MoneyError::TooPrecise { currency: isk, allowed: 0 }));
    }

    #[test]
    fn a_currency_that_stripe_does_not_take_and_an_amount_of_nothing_are_refused() {
        assert_eq!(to_minor_units(money(100, "KPW")), Err(MoneyError::UnknownCurrency));
        assert!(matches!(amount(money(0, "EUR")), Err(GatewayError::Malformed { .. })));
        assert!(matches!(amount(money(-1, "EUR")), Err(GatewayError::Malformed { .. })));
    }

    #[test]
    fn every_listed_currency_is_known_once() {
        let listed: Vec<&str> = [TWO_DIGITS, NO_DIGITS, THREE_DIGITS].iter().flat_map(|table| table.split_ascii_whitespace()).collect();
        assert!(listed.iter().all(|code| Currency::new(code).is_ok()), "{listed:?}");
        assert_eq!(listed.len(), accepted_currencies().len());
    }

    #[test]
    fn an_amount_of_another_form_is_none() {
        assert_eq!(read_amount(&json!({ "amount": 999, "currency": "eur" }), "amount"), Some(money(999, "EUR")));
        for object in [
            json!({}),
            json!({ "amount": 999 }),
            json!({ "amount": "999", "currency": "eur" }),
            json!({ "amount": 9.5, "currency": "eur" }),
        ] {
            assert_eq!(read_amount(&object, "amount"), None, "{object}");
        }
    }

    proptest! {
        #[test]
        fn amounts_of_every_currency_are_those_of_the_page(minor in 1_i64..1_000_000_000_000, currency in proptest::sample::select(accepted_currencies())) {
            let money = Money::new(minor, currency);
            match to_minor_units(money) {
                Ok(value) => {
                    // In major units it is the same number on both sides.
                    let (ours, theirs) = (u32::from(currency.exponent()), u32::from(documented_exponent(currency)));
                    prop_assert_eq!(i128::from(minor).saturating_mul(10_i128.pow(theirs)), i128::from(value).saturating_mul(10_i128.pow(ours)));
                    prop_assert_eq!(from_minor_units(value, currency), Ok(money));
                    prop_assert!(documented_exponent(currency) != 3 || value % 10 == 0);
                }
                Err(MoneyError::TooPrecise { .. }) => prop_assert!(documented_exponent(currency) == 3 || documented_exponent(currency) < currency.exponent()),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
