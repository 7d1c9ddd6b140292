//! Adyen's own exponents. Must never round: an amount that does not fit is refused.

use crate::gateway::common::amounts::MinorUnits;
use crate::money::{Currency, Money, MoneyError};

/// The currencies that Adyen counts otherwise than ISO 4217 does, with Adyen's digits after the point (docs.adyen.com, "Currency codes and
/// minor units", rows marked "differs from standard").
const MINOR_UNITS: MinorUnits = MinorUnits { tables: &[(2, "CLP ISK"), (0, "CVE IDR")], others: true };

/// Digits after the point in Adyen's minor units.
#[must_use]
pub fn exponent(currency: Currency) -> u8 {
    MINOR_UNITS.exponent(currency).unwrap_or_else(|| currency.exponent())
}

/// The amount in Adyen's minor units.
///
/// # Errors
/// [`MoneyError::TooPrecise`] if digits would be lost, [`MoneyError::TooLarge`] if it does not fit.
pub fn to_minor_units(money: Money) -> Result<i64, MoneyError> {
    MINOR_UNITS.encode(money)
}

/// An amount from Adyen's minor units.
///
/// # Errors
/// As [`to_minor_units`].
pub fn from_minor_units(value: i64, currency: Currency) -> Result<Money, MoneyError> {
    MINOR_UNITS.decode(value, currency)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::new(code).unwrap())
    }

    #[test]
    fn amounts_follow_adyens_table_where_it_differs_from_iso() {
        for (minor, code, value) in [
            (999, "EUR", 999),
            (500, "JPY", 500),
            (1_250, "KWD", 1_250),
            (4_990, "CLP", 499_000),
            (2_790, "ISK", 279_000),
            (1_500_000, "IDR", 15_000),
            (100_000, "CVE", 1_000),
            (10_000, "UGX", 10_000),
        ] {
            assert_eq!(to_minor_units(money(minor, code)), Ok(value), "{code}");
            assert_eq!(from_minor_units(value, Currency::new(code).unwrap()), Ok(money(minor, code)), "{code}");
        }
    }

    #[test]
    fn a_fraction_that_adyen_cannot_express_is_refused_not_rounded() {
        let idr = Currency::new("IDR").unwrap();
        assert_eq!(to_minor_units(money(1_500_050, "IDR")), Err(MoneyError::TooPrecise { currency: idr, allowed: 0 }));
        let isk = Currency::new("ISK").unwrap();
        assert_eq!(from_minor_units(279_050, isk), Err(MoneyError::TooPrecise { currency: isk, allowed: 0 }));
    }

    #[test]
    fn every_listed_difference_is_a_difference_to_a_known_currency() {
        for (exponent, codes) in MINOR_UNITS.tables {
            for code in codes.split_ascii_whitespace() {
                assert_ne!(Currency::new(code).unwrap().exponent(), *exponent, "{code}");
            }
        }
    }

    proptest! {
        #[test]
        fn whole_major_units_of_every_currency_go_there_and_back(major in 0_i64..1_000_000_000, currency in proptest::sample::select(Currency::all().collect::<Vec<_>>())) {
            let money = Money::parse(&major.to_string(), currency).unwrap();
            let value = to_minor_units(money).unwrap();
            prop_assert_eq!(from_minor_units(value, currency), Ok(money));
        }

        #[test]
        fn whatever_is_sent_reads_back_as_the_same_amount(minor in -1_000_000_000_000_i64..1_000_000_000_000, currency in proptest::sample::select(Currency::all().collect::<Vec<_>>())) {
            let money = Money::new(minor, currency);
            match to_minor_units(money) {
                Ok(value) => prop_assert_eq!(from_minor_units(value, currency), Ok(money)),
                Err(error) => prop_assert_eq!(error, MoneyError::TooPrecise { currency, allowed: exponent(currency) }),
            }
        }
    }
}
