//! ExampleGateway's own minor units. Must never round: an amount that does not fit is refused.

use crate::gateway::GatewayError;
use crate::gateway::common::amounts::{MinorUnits, ensure_positive};
use crate::money::{Currency, Money, MoneyError};

/// TODO: the currencies that the gateway takes, by their digits after the point there, from its documentation, which is named here.
const TWO_DIGITS: &str = "EUR USD";

const MINOR_UNITS: MinorUnits = MinorUnits { tables: &[(2, TWO_DIGITS)], others: false };

/// What is asked for, in the gateway's minor units.
pub(super) fn amount(money: Money) -> Result<i64, GatewayError> {
    ensure_positive(money)?;
    Ok(MINOR_UNITS.encode(money)?)
}

/// An amount from the gateway's minor units.
pub(super) fn money(value: i64, currency: Currency) -> Result<Money, MoneyError> {
    MINOR_UNITS.decode(value, currency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn euros(minor: i64) -> Money {
        Money::new(minor, Currency::new("EUR").unwrap())
    }

    #[test]
    fn an_amount_goes_there_and_back() {
        assert_eq!(amount(euros(999)), Ok(999));
        assert_eq!(money(999, euros(0).currency), Ok(euros(999)));
    }

    #[test]
    fn nothing_and_other_currencies_are_refused() {
        assert!(amount(euros(0)).is_err());
        assert!(amount(Money::new(999, Currency::new("ISK").unwrap())).is_err());
    }
}
