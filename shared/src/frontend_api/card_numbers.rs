//! Detects card numbers, which must never reach the connector. Encrypted fields of a gateway's component are far longer than a card number,
//! or have letters in them; a number of 13 to 19 digits with a valid check digit is taken for a card number in any field.

use serde_json::Value;

/// The shortest and the longest card number, in digits (ISO/IEC 7812).
const LENGTHS: std::ops::RangeInclusive<usize> = 13..=19;
/// How the digits of a number are grouped on cards.
const GROUPINGS: [&[usize]; 3] = [&[4, 4, 4, 4], &[4, 6, 5], &[4, 4, 4, 4, 3]];

/// Whether a card number is anywhere in it, in a name, a text or a number.
#[must_use]
pub fn contains_card_number(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => text_contains_card_number(&number.to_string()),
        Value::String(text) => text_contains_card_number(text),
        Value::Array(items) => items.iter().any(contains_card_number),
        Value::Object(members) => members.iter().any(|(name, member)| text_contains_card_number(name) || contains_card_number(member)),
    }
}

/// Whether a run of digits, which may be parted by single spaces, dots or dashes, is a card number, or holds one as it is written on cards
/// beside other digits, such as an expiry date. What touches a letter or an underscore is a part of something else, such as an id or an
/// encrypted field.
#[must_use]
pub fn text_contains_card_number(text: &str) -> bool {
    let mut run = DigitRun::default();
    for c in text.chars() {
        if let Some(digit) = decimal_digit(c) {
            run.push_digit(digit);
        } else if is_separator(c) && !run.digits.is_empty() && !run.separated {
            run.separated = true;
        } else {
            if run.is_card_number_before(c) {
                return true;
            }
            run = DigitRun { touches_word: is_word_char(c), follows_format_code: matches!(c, 'B' | 'b'), ..DigitRun::default() };
        }
    }
    run.is_card_number_before(' ')
}

/// Where each set of ten decimal digits begins (Unicode 15.1, general category Nd), in order.
const DIGIT_SETS: [u32; 65] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20, 0x1040, 0x1090,
    0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0,
    0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950,
    0x11C50, 0x11D50, 0x11DA0, 0x11F50, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1FBF0,
];

/// The value of a digit of any script: a full-width number is a number.
fn decimal_digit(c: char) -> Option<u32> {
    let code = u32::from(c);
    let next = DIGIT_SETS.partition_point(|first| *first <= code);
    let first = DIGIT_SETS.get(next.checked_sub(1)?)?;
    code.checked_sub(*first).filter(|digit| *digit < 10)
}

/// What may part the groups of a number: any white space, full stops and dashes of any kind.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '.' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' | '\u{ff0e}')
}

/// A character that makes a neighbouring run of digits a part of a longer word.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '+' | '/' | '$')
}

#[derive(Default)]
struct DigitRun {
    digits: Vec<u32>,
    /// Where each group of them begins.
    groups: Vec<usize>,
    /// A separator came last.
    separated: bool,
    /// It began right behind a letter.
    touches_word: bool,
    /// That letter is the format code of a magnetic stripe's first track, where a caret follows the number (ISO/IEC 7813).
    follows_format_code: bool,
}

impl DigitRun {
    fn push_digit(&mut self, digit: u32) {
        if self.separated || self.digits.is_empty() {
            self.groups.push(self.digits.len());
        }
        self.separated = false;
        self.digits.push(digit);
    }

    fn is_card_number_before(&self, next: char) -> bool {
        let glued_to_next = !self.separated && is_word_char(next);
        let touches_word = self.touches_word && !(self.follows_format_code && next == '^');
        if !touches_word && !glued_to_next && is_card_number(&self.digits) {
            return true;
        }
        let ends = self.groups.iter().skip(1).copied().chain([self.digits.len()]);
        let groups: Vec<&[u32]> = self.groups.iter().zip(ends).filter_map(|(from, to)| self.digits.get(*from..to)).collect();
        let free = groups.get(usize::from(self.touches_word)..groups.len().saturating_sub(usize::from(glued_to_next)));
        free.is_some_and(groups_contain_card_number)
    }
}

/// Whether some of these groups are a number as cards have it.
fn groups_contain_card_number(groups: &[&[u32]]) -> bool {
    let as_on_a_card = |window: &[&[u32]], lengths: &[usize]| {
        window.iter().map(|group| group.len()).eq(lengths.iter().copied()) && is_card_number(&window.concat())
    };
    groups.iter().any(|group| is_card_number(group))
        || GROUPINGS.iter().any(|lengths| groups.windows(lengths.len()).any(|window| as_on_a_card(window, lengths)))
}

fn is_card_number(digits: &[u32]) -> bool {
    LENGTHS.contains(&digits.len()) && !is_timestamp(digits) && digits.iter().any(|digit| *digit != 0) && passes_luhn(digits)
}

/// Milliseconds since 1970 have 13 digits and begin with 1 until 2033; no card number of 13 digits does.
fn is_timestamp(digits: &[u32]) -> bool {
    digits.len() == 13 && digits.first() == Some(&1)
}

/// The check digit of ISO/IEC 7812.
fn passes_luhn(digits: &[u32]) -> bool {
    let weigh = |(place, digit): (usize, &u32)| {
        let doubled = if place % 2 == 1 { digit.saturating_mul(2) } else { *digit };
        if doubled > 9 { doubled.saturating_sub(9) } else { doubled }
    };
    digits.iter().rev().enumerate().map(weigh).fold(0_u32, u32::saturating_add) % 10 == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_card_number_is_found_at_any_depth_and_in_any_writing() {
        for body in [
            json!({ "card": "4111111111111111" }),
            json!({ "a": [{ "b": { "c": "4111 1111 1111 1111" } }] }),
            json!({ "note": "my card is 4111-1111-1111-1111, thanks" }),
            json!({ "number": 4_111_111_111_111_111_u64 }),
            json!({ "4111111111111111": true }),
            json!({ "amex": "3782 822463 10005" }),
            json!({ "dotted": "5555.4444.3333.1111" }),
            json!({ "nineteen": "6304000000000000000" }),
            json!({ "with its expiry": "4111 1111 1111 1111 12/30" }),
            json!({ "with its code": "3782 822463 10005 1234" }),
            json!({ "after a date": "21.11.2026 4111111111111111" }),
            json!({ "full-width": "\u{ff14}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}\u{ff11}" }),
            json!({ "Arabic": "\u{664}\u{661}\u{661}\u{661} \u{661}\u{661}\u{661}\u{661} \u{661}\u{661}\u{661}\u{661} \u{661}\u{661}\u{661}\u{661}" }),
            json!({ "tabs": "4111\t1111\t1111\t1111", "lines": "4111\n1111\n1111\n1111" }),
            json!({ "thin spaces": "4111\u{2009}1111\u{2009}1111\u{2009}1111", "em dashes": "4111\u{2014}1111\u{2014}1111\u{2014}1111" }),
            json!({ "first track": "%B4111111111111111^DOE/JOHN^30121010000000000000?" }),
            json!({ "second track": ";4111111111111111=30121010000000000?" }),
            json!({ "query": "number=4111111111111111" }),
        ] {
            assert!(contains_card_number(&body), "{body}");
        }
    }

    #[test]
    fn what_a_gateways_component_sends_is_none() {
        for body in [
            json!({ "encryptedCardNumber": "test_4111111111111111", "encryptedExpiryMonth": "test_03" }),
            json!({ "encryptedCardNumber": "eyJhbGciOiJSU0EtT0FFUCJ9.4111111111111111x.OKOawDo13gRp2ojaHV7LFpZcgV7T6" }),
            json!({ "orderId": 123_456_789, "browserInfo": { "screenWidth": 1920, "userAgent": "Mozilla/5.0 (X11; Linux x86_64)" } }),
            json!({ "id": "4111111111111112", "zeros": "0000000000000000", "long": "41111111111111111111111111" }),
            json!({ "uuid": "7d444840-9dc0-11d1-b245-5ffdce74fad2" }),
            json!({ "when": "2026-11-21 10.22.33 000000", "phone": "+49 30 1234 5678 90 12" }),
        ] {
            assert!(!contains_card_number(&body), "{body}");
        }
    }

    fn with_check_digit(mut digits: Vec<u32>) -> String {
        let last = (0..10).find(|last| {
            let mut all = digits.clone();
            all.push(*last);
            passes_luhn(&all)
        });
        digits.push(last.unwrap());
        digits.iter().map(u32::to_string).collect()
    }

    proptest! {
        #[test]
        fn every_number_with_a_right_check_digit_is_found(digits in proptest::collection::vec(1_u32..10, 12..=18), gap in 1_usize..6) {
            prop_assume!(digits.len() > 12 || digits.first() != Some(&1));
            let number = with_check_digit(digits);
            prop_assert!(text_contains_card_number(&number));
            let parted: Vec<String> = number.as_bytes().chunks(gap).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
            let text = format!("card: {}", parted.join(" "));
            prop_assert!(text_contains_card_number(&text));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text_contains_card_number(&text);
        }
    }
}
