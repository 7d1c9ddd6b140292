//! An amount that is read is written back as the same amount, whatever digits a gateway uses for the currency.
#![no_main]

use connector::money::{Currency, Money};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, u8, i64)| {
    let (text, exponent, minor) = input;
    for currency in Currency::all() {
        if let Ok(money) = Money::parse(text, currency) {
            assert_eq!(Money::parse(&money.to_decimal(), currency), Ok(money));
            if let Ok(there) = money.in_exponent(exponent) {
                assert_eq!(Money::from_exponent(there, exponent, currency), Ok(money));
            }
        }
        if let Ok(money) = Money::from_exponent(minor, exponent, currency) {
            assert_eq!(money.in_exponent(exponent), Ok(minor));
        }
    }
});
