//! Amounts of money: whole minor units and a currency, nothing else. No floats, no rounding: an amount that does not fit is refused.
//!
//! Inside the connector the exponent is that of ISO 4217. Gateways differ in a dozen currencies, so an adapter converts at its edge with
//! its own table and [`Money::to_exponent`].

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

/// Why an amount was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MoneyError {
    /// The code is not an active ISO 4217 currency.
    #[error("currency is not an ISO 4217 code of three letters")]
    UnknownCurrency,
    /// The text is no plain decimal number.
    #[error("amount is not a plain decimal number such as 9.99")]
    NotADecimal,
    /// The amount has more digits after the point than the currency.
    #[error("amount has more digits after the point than {currency} allows ({allowed})")]
    TooPrecise {
        /// The currency.
        currency: Currency,
        /// Digits after the point that fit.
        allowed: u8,
    },
    /// The amount does not fit into 64 bits of minor units.
    #[error("amount is too large")]
    TooLarge,
    /// Two amounts of different currencies met.
    #[error("amounts are of different currencies, {left} and {right}")]
    CurrencyMismatch {
        /// The first.
        left: Currency,
        /// The second.
        right: Currency,
    },
}

/// Active currencies of ISO 4217 (list one, six-iso.org) with two digits after the point.
const TWO_DIGITS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP \
CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK \
LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB \
SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG";
/// Those without minor units.
const NO_DIGITS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Those with three digits.
const THREE_DIGITS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// An active currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: [u8; 3],
    exponent: u8,
}

impl Currency {
    /// Reads a three-letter code in either case (Stripe writes lower case, the others upper).
    ///
    /// # Errors
    /// [`MoneyError::UnknownCurrency`] for a code that ISO 4217 does not list: guessing two digits would be off by a hundred for some.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        let upper = code.to_ascii_uppercase();
        let bytes: [u8; 3] = upper.as_bytes().try_into().map_err(|_| MoneyError::UnknownCurrency)?;
        let listed = |table: &str| table.split_ascii_whitespace().any(|known| known == upper);
        let exponent = if listed(TWO_DIGITS) {
            2
        } else if listed(NO_DIGITS) {
            0
        } else if listed(THREE_DIGITS) {
            3
        } else {
            return Err(MoneyError::UnknownCurrency);
        };
        Ok(Self { code: bytes, exponent })
    }

    /// The upper-case code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.code).unwrap_or("???")
    }

    /// Digits after the point by ISO 4217.
    #[must_use]
    pub const fn exponent(&self) -> u8 {
        self.exponent
    }

    /// Every currency that the connector knows.
    pub fn all() -> impl Iterator<Item = Self> {
        [TWO_DIGITS, NO_DIGITS, THREE_DIGITS].into_iter().flat_map(str::split_ascii_whitespace).filter_map(|code| Self::new(code).ok())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::new(&code).map_err(D::Error::custom)
    }
}

/// A decimal number exactly as a peer wrote it, as JSON number or string (Cleeng sends `9.99` and `"8.1300"`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Decimal(String);

impl Decimal {
    /// The digits as they came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde_json keeps a number's own digits here (feature arbitrary_precision): it is never converted to a float.
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(Self(number.to_string())),
            Value::String(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("expected a decimal as number or string")),
        }
    }
}

/// An amount: minor units of a currency by ISO 4217. Can be zero or negative; a charge checks the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units (cents for USD, yen for JPY).
    pub minor: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// An amount of minor units.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Reads a plain decimal in major units: digits, at most one point, an optional sign. Zeros after the last fitting digit are dropped
    /// (`8.1300`), anything else there is an error.
    ///
    /// # Errors
    /// See [`MoneyError`]; exponents (`1e2`), spaces and thousands separators are [`MoneyError::NotADecimal`].
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) || digits.ends_with('.') {
            return Err(MoneyError::NotADecimal);
        }
        let allowed = usize::from(currency.exponent());
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > allowed {
            return Err(MoneyError::TooPrecise { currency, allowed: currency.exponent() });
        }
        // Counted downwards: the least amount has no counterpart above zero.
        let mut minor: i64 = 0;
        for digit in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', allowed.saturating_sub(fraction.len()))) {
            let digit = i64::from(digit.saturating_sub(b'0'));
            minor = minor.checked_mul(10).and_then(|m| m.checked_sub(digit)).ok_or(MoneyError::TooLarge)?;
        }
        let minor = if negative { minor } else { minor.checked_neg().ok_or(MoneyError::TooLarge)? };
        Ok(Self { minor, currency })
    }

    /// Reads a [`Decimal`] in major units.
    ///
    /// # Errors
    /// As [`Money::parse`].
    pub fn from_decimal(decimal: &Decimal, currency: Currency) -> Result<Self, MoneyError> {
        Self::parse(decimal.as_str(), currency)
    }

    /// The amount as decimal text in major units, with exactly the currency's digits: `9.99`, `500` (JPY), `1.250` (KWD).
    #[must_use]
    pub fn to_decimal(self) -> String {
        let exponent = usize::from(self.currency.exponent());
        let digits = format!("{:0>width$}", self.minor.unsigned_abs(), width = exponent.saturating_add(1));
        let sign = if self.minor < 0 { "-" } else { "" };
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(exponent));
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    /// The amount in minor units of another exponent, for gateways whose table differs from ISO 4217.
    ///
    /// # Errors
    /// [`MoneyError::TooPrecise`] if digits would be lost, [`MoneyError::TooLarge`] if it does not fit.
    pub fn to_exponent(self, exponent: u8) -> Result<i64, MoneyError> {
        let own = self.currency.exponent();
        if exponent >= own {
            let factor = 10_i64.checked_pow(u32::from(exponent.saturating_sub(own))).ok_or(MoneyError::TooLarge)?;
            return self.minor.checked_mul(factor).ok_or(MoneyError::TooLarge);
        }
        let divisor = 10_i64.checked_pow(u32::from(own.saturating_sub(exponent))).ok_or(MoneyError::TooLarge)?;
        match (self.minor.checked_rem(divisor), self.minor.checked_div(divisor)) {
            (Some(0), Some(quotient)) => Ok(quotient),
            _ => Err(MoneyError::TooPrecise { currency: self.currency, allowed: exponent }),
        }
    }

    /// The reverse conversion: minor units of a gateway's exponent back into an amount.
    ///
    /// # Errors
    /// As [`Money::to_exponent`].
    pub fn from_exponent(minor: i64, exponent: u8, currency: Currency) -> Result<Self, MoneyError> {
        let own = currency.exponent();
        if own >= exponent {
            let factor = 10_i64.checked_pow(u32::from(own.saturating_sub(exponent))).ok_or(MoneyError::TooLarge)?;
            return Ok(Self { minor: minor.checked_mul(factor).ok_or(MoneyError::TooLarge)?, currency });
        }
        let divisor = 10_i64.checked_pow(u32::from(exponent.saturating_sub(own))).ok_or(MoneyError::TooLarge)?;
        match (minor.checked_rem(divisor), minor.checked_div(divisor)) {
            (Some(0), Some(quotient)) => Ok(Self { minor: quotient, currency }),
            _ => Err(MoneyError::TooPrecise { currency, allowed: own }),
        }
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] or [`MoneyError::TooLarge`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    /// The difference; can be negative.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] or [`MoneyError::TooLarge`].
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    /// Whether nothing is to be paid.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            return Ok(());
        }
        Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_decimal(), self.currency)
    }
}

#[cfg(test)]
mod tests;
