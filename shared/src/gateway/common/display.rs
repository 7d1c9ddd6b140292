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

impl DisplayedCard<'_> {
    /// The members in Cleeng's names; null if there is none.
    pub(crate) fn into_json(self) -> Value {
        let digits = |text: &&str| text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        let members = [
            ("variant", self.brand),
            ("lastCardFourDigits", self.last_digits.filter(digits)),
            ("cardExpirationDate", self.expires.as_deref()),
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
