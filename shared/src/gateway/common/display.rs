//! What "my account" may show of stored details: only what is evidently harmless is taken over.

use serde_json::{Map, Value};

/// The longest text that is shown, in characters.
const LONGEST: usize = 64;

/// What a gateway says of a card.
#[derive(Default)]
pub(crate) struct DisplayedCard<'a> {
    pub(crate) brand: Option<&'a str>,
    pub(crate) last_digits: Option<&'a str>,
    pub(crate) expires: Option<String>,
    pub(crate) holder: Option<&'a str>,
}

/// `MM/YYYY`, as Cleeng's front end writes it, from that or from `M/YYYY`, `MM/YY` or `YYYY-MM`; nothing from anything else.
fn month_and_year(text: &str) -> Option<String> {
    let (one, other) = text.trim().split_once(['/', '-'])?;
    let (month, year) = if one.len() == 4 { (other, one) } else { (one, other) };
    let month: u8 = month.parse().ok().filter(|month| (1..=12).contains(month))?;
    match (year.len(), year.parse::<u16>()) {
        (4, Ok(year)) => Some(format!("{month:02}/{year}")),
        (2, Ok(year)) => Some(format!("{month:02}/20{year:02}")),
        _ => None,
    }
}

impl DisplayedCard<'_> {
    /// The members in Cleeng's names; null if there is none.
    pub(crate) fn into_json(self) -> Value {
        let digits = |text: &&str| text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        let expires = self.expires.as_deref().and_then(month_and_year);
        let members = [
            ("variant", self.brand),
            ("lastCardFourDigits", self.last_digits.filter(digits)),
            ("cardExpirationDate", expires.as_deref()),
            ("holderName", self.holder),
        ];
        let shown = members.into_iter().filter_map(|(name, text)| {
            let text = text.map(str::trim).filter(|text| (1..=LONGEST).contains(&text.chars().count()))?;
            Some((name.to_owned(), Value::from(text)))
        });
        let shown: Map<String, Value> = shown.collect();
        if shown.is_empty() { Value::Null } else { Value::Object(shown) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_date_is_month_and_year_in_full() {
        for (text, shown) in [("03/2030", "03/2030"), ("3/2030", "03/2030"), ("03/30", "03/2030"), ("2030-03", "03/2030")] {
            assert_eq!(month_and_year(text).as_deref(), Some(shown), "{text}");
        }
        for text in ["", "2030", "13/2030", "0/2030", "03/2030/1", "March 2030", "03/203"] {
            assert_eq!(month_and_year(text), None, "{text}");
        }
    }
}
