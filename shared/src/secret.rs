//! Text that must never be seen: API keys, HMAC secrets, gateway tokens.
//!
//! There is no `Debug`, `Display` or `Serialize`, so that a secret cannot reach a log, an error or the journal by accident. Whoever
//! needs the text calls [`SecretString::expose`], which is easy to search for.

use std::collections::BTreeMap;

use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text that is wiped from memory when it is dropped.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes a text into custody.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that has to send or hash it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its duration where the texts differ.
    #[must_use]
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

/// Named secrets of one peer, each with its values, the current one first.
#[derive(Clone, Default)]
pub struct SecretTexts(pub BTreeMap<String, Vec<SecretString>>);

impl SecretTexts {
    /// The values of that name; none if it is not there.
    #[must_use]
    pub fn values(&self, name: &str) -> &[SecretString] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::SecretString;

    #[test]
    fn a_secret_matches_only_its_own_text() {
        let secret = SecretString::new("correct horse");
        assert!(secret.matches("correct horse"));
        assert!(!secret.matches("correct hors"));
        assert!(!secret.matches(""));
    }
}
