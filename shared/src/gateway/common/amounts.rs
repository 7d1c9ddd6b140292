//! Amounts: what is checked before any call, and the minor units that are a gateway's own. Must never round.

use crate::gateway::{GatewayError, RefundRequest, StoreDetailsRequest};
use crate::money::{Currency, Money, MoneyError};

/// A gateway's digits after the point.
pub(crate) struct MinorUnits {
    /// The digits, and the currencies that have so many.
    pub(crate) tables: &'static [(u8, &'static str)],
    /// Whether the gateway takes other currencies too, with the digits of ISO 4217.
    pub(crate) others: bool,
}

impl MinorUnits {
    /// Digits after the point; `None` for a currency that the gateway does not take.
    pub(crate) fn exponent(&self, currency: Currency) -> Option<u8> {
        let listed = |table: &str| table.split_ascii_whitespace().any(|code| code == currency.as_str());
        let own = self.tables.iter().find(|(_, table)| listed(table)).map(|(exponent, _)| *exponent);
        own.or_else(|| self.others.then(|| currency.exponent()))
    }

    /// The amount in the gateway's minor units.
    ///
    /// # Errors
    /// [`MoneyError::UnknownCurrency`] for a currency that the gateway does not take, [`MoneyError::TooPrecise`] if digits would be lost.
    pub(crate) fn encode(&self, money: Money) -> Result<i64, MoneyError> {
        money.to_exponent(self.exponent(money.currency).ok_or(MoneyError::UnknownCurrency)?)
    }

    /// An amount from the gateway's minor units.
    ///
    /// # Errors
    /// As [`MinorUnits::encode`].
    pub(crate) fn decode(&self, value: i64, currency: Currency) -> Result<Money, MoneyError> {
        Money::from_exponent(value, self.exponent(currency).ok_or(MoneyError::UnknownCurrency)?, currency)
    }
}

fn ensure(good: bool, code: &str) -> Result<(), GatewayError> {
    if good { Ok(()) } else { Err(GatewayError::Malformed { code: code.to_owned() }) }
}

/// Only amounts above zero.
pub(crate) fn ensure_positive(amount: Money) -> Result<(), GatewayError> {
    ensure(amount.minor > 0, "amount_not_positive")
}

/// Only what was captured can be refunded.
pub(crate) fn ensure_refundable(request: &RefundRequest) -> Result<(), GatewayError> {
    ensure_positive(request.amount)?;
    ensure(request.captured.checked_sub(request.amount)?.minor >= 0, "refund_above_capture")
}

/// Storing details takes no money.
pub(crate) fn ensure_free(request: &StoreDetailsRequest) -> Result<(), GatewayError> {
    ensure(request.purchase.amount.is_zero(), "amount_not_zero")
}
