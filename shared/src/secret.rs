//! Text that must never be seen: API keys, HMAC secrets, gateway tokens.
//!
//! There is no `Debug`, `Display` or `Serialize`, so that a secret cannot reach a log, an error or the journal by accident. Code that needs
//! the text calls [`SecretString::expose`], which is easy to search for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text that is wiped from memory when it is dropped.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that has to send or hash it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is evidently no secret: empty, one character repeated, a word or a bracket left over from an example. Never quotes the
    /// text.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        const WORDS: [&str; 6] = ["todo", "tbd", "secret", "password", "none", "null"];
        const MARKERS: [&str; 11] = [
            "changeme",
            "change-me",
            "change_me",
            "placeholder",
            "replaceme",
            "replace-",
            "replace_",
            "your_",
            "your-secret",
            "insert-",
            "insert_",
        ];
        let lower = self.0.to_ascii_lowercase();
        let bracketed = (lower.starts_with('<') && lower.ends_with('>')) || lower.starts_with("${") || lower.starts_with("{{");
        let monotonous = lower.chars().next().is_none_or(|first| lower.chars().all(|other| other == first));
        bracketed || monotonous || WORDS.contains(&lower.as_str()) || MARKERS.iter().any(|mark| lower.contains(mark))
    }

    /// Compares in constant time, so that the duration does not reveal where the texts differ.
    #[must_use]
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

/// Named secrets of one peer, each with its values, the current one first.
#[derive(Clone, Default)]
pub struct NamedSecrets(pub BTreeMap<String, Vec<SecretString>>);

impl NamedSecrets {
    /// The values of that name; none if it is not there.
    #[must_use]
    pub fn values(&self, name: &str) -> &[SecretString] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// An e-mail address. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Takes a text that can be an address.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        text.contains('@').then(|| Self(text.to_owned()))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::SecretString;

    #[test]
    fn a_placeholder_is_recognised() {
        for text in [
            "",
            "xxxxxxxxxxxxxxxxxxxx",
            "<publisher token>",
            "${TOKEN}",
            "ChangeMe-ChangeMe-1234",
            "your-secret-goes-here",
            "{{resolve}}",
            "todo",
        ] {
            assert!(SecretString::new(text).is_placeholder(), "{text}");
        }
        for text in ["0123456789abcdef0123456789abcdef", "kT9vQ2-mmZ81LwPq_00c"] {
            assert!(!SecretString::new(text).is_placeholder(), "{text}");
        }
    }

    #[test]
    fn a_secret_matches_only_its_own_text() {
        let secret = SecretString::new("correct horse");
        assert!(secret.matches("correct horse"));
        assert!(!secret.matches("correct hors"));
        assert!(!secret.matches(""));
    }
}
