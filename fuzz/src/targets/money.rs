//! An amount that is read is written back as the same amount, digit by digit, for every number of digits that a gateway uses for the
//! currency: no minor unit is lost or added. Lines of numbers and decimals.

use connector::gateway::{adyen, paypal, stripe};
use connector::money::{Currency, Decimal, Money};

use crate::tools::hash;

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for line in text.lines().take(4) {
        let minor = line.parse::<i64>().ok();
        for currency in sample_currencies(line) {
            assert_eq!(Currency::new(currency.as_str()), Ok(currency));
            if let Ok(money) = Money::parse(line, currency) {
                assert_eq!(significant_digits(&money.to_decimal()), significant_digits(line), "{line} {currency}");
                assert_round_trips(money);
                for written in [line.to_owned(), serde_json::Value::from(line).to_string()] {
                    if let Ok(decimal) = serde_json::from_str::<Decimal>(&written) {
                        let read = Money::from_decimal(&decimal, currency);
                        assert!(read.is_err() || read == Ok(money), "{written} is read as another amount");
                    }
                }
            }
            let Some(minor) = minor else { continue };
            assert_round_trips(Money::new(minor, currency));
            for exponent in 0..=4 {
                if let Ok(money) = Money::from_exponent(minor, exponent, currency) {
                    assert_eq!(money.to_exponent(exponent), Ok(minor));
                }
            }
            for read in [adyen::currency::from_minor_units(minor, currency), stripe::currency::from_minor_units(minor, currency)] {
                read.into_iter().for_each(assert_round_trips);
            }
        }
        let code = Currency::new(line);
        assert!(code.is_err() || code.is_ok_and(|currency| currency.as_str().eq_ignore_ascii_case(line)), "{line} is another currency");
    }
}

/// One currency of each number of digits, and some of the others, which the text picks.
fn sample_currencies(text: &str) -> impl Iterator<Item = Currency> {
    let pick = hash(text.as_bytes()) % 24;
    let each = ["USD", "JPY", "KWD", "CLF", "ISK"].map(Currency::new).into_iter().flatten();
    each.chain(Currency::all().skip(pick).step_by(24))
}

/// The digits that count, with the sign: `-8.1300` and `-08.13` are one number.
fn significant_digits(text: &str) -> (bool, String, String) {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, fraction) = (whole.trim_start_matches('0').to_owned(), fraction.trim_end_matches('0').to_owned());
    (negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction)
}

fn assert_round_trips(money: Money) {
    let currency = money.currency;
    assert_eq!(Money::parse(&money.to_decimal(), currency), Ok(money), "{money} is not read back");
    let kept = serde_json::to_string(&money).expect("writable");
    assert_eq!(serde_json::from_str::<Money>(&kept).ok(), Some(money), "{kept}");
    for exponent in 0..=4 {
        if let Ok(there) = money.to_exponent(exponent) {
            assert_eq!(Money::from_exponent(there, exponent, currency), Ok(money));
        }
    }
    if let Ok(there) = adyen::currency::to_minor_units(money) {
        assert_eq!(adyen::currency::from_minor_units(there, currency), Ok(money), "Adyen");
    }
    if let Ok(there) = stripe::currency::to_minor_units(money) {
        assert_eq!(stripe::currency::from_minor_units(there, currency), Ok(money), "Stripe");
    }
    if let Ok(there) = paypal::currency::to_decimal(money) {
        assert_eq!(Money::parse(&there, currency), Ok(money), "PayPal");
    }
}
