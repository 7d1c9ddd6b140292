//! Removes registered secrets and e-mail addresses from text.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use crate::secret::SecretString;

/// What stands in the place of what must not be seen.
pub const REDACTED: &str = "[redacted]";
/// Shorter texts are not searched for: they would tear ordinary lines apart. No secret that is accepted at start is that short.
const SHORTEST: usize = 6;

/// Knows what must not be seen.
#[derive(Default)]
pub struct Redactor(RwLock<Vec<SecretString>>);

impl Redactor {
    /// Adds secrets, in their own form and as they look inside a JSON string.
    pub fn register(&self, secrets: &[SecretString]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets.iter().filter(|secret| secret.expose().len() >= SHORTEST) {
            let quoted = serde_json::Value::from(secret.expose()).to_string();
            let escaped = quoted.trim_matches('"');
            for form in [secret.expose(), escaped] {
                if !known.iter().any(|other| other.expose() == form) {
                    known.push(SecretString::new(form));
                }
            }
        }
        // A secret that holds another one is taken out first, or its rest would stay.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// The text without what must not be seen.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if clean.contains(secret.expose()) {
                clean = Cow::Owned(clean.replace(secret.expose(), REDACTED));
            }
        }
        match without_addresses(&clean) {
            Some(without) => Cow::Owned(without),
            None => clean,
        }
    }
}

/// The text without e-mail addresses; `None` if it has none. An address is what stands around an `@` (or `%40`), in any
/// grammar.
fn without_addresses(text: &str) -> Option<String> {
    let mut rest = text;
    let mut clean: Option<String> = None;
    while let Some((at, mark)) = next_mark(rest) {
        let (before, from_mark) = rest.split_at_checked(at)?;
        let after = from_mark.strip_prefix(mark)?;
        let local = before.chars().rev().take_while(|c| is_local(*c)).map(char::len_utf8).fold(0_usize, usize::saturating_add);
        let domain = after.chars().take_while(|c| is_domain(*c)).map(char::len_utf8).fold(0_usize, usize::saturating_add);
        let out = clean.get_or_insert_default();
        let (kept, local_part) = before.split_at_checked(before.len().saturating_sub(local))?;
        let (domain_part, remaining) = after.split_at_checked(domain)?;
        out.push_str(kept);
        if local_part.is_empty() || domain_part.is_empty() {
            out.extend([local_part, mark, domain_part]);
        } else {
            out.push_str(REDACTED);
        }
        rest = remaining;
    }
    clean.map(|mut clean| {
        clean.push_str(rest);
        clean
    })
}

fn next_mark(text: &str) -> Option<(usize, &'static str)> {
    let marks = [text.find('@').map(|at| (at, "@")), text.find("%40").map(|at| (at, "%40"))];
    marks.into_iter().flatten().min()
}

fn is_local(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-' | '\'' | '!' | '#' | '$' | '&' | '*' | '/' | '=' | '?' | '^' | '~')
}

fn is_domain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_go_and_their_surroundings_stay() {
        let redactor = Redactor::default();
        for (text, clean) in [
            ("to ann.b+c@example.com, and more", "to [redacted], and more"),
            ("{\"email\":\"a@b.co\"}", "{\"email\":\"[redacted]\"}"),
            ("mail=ann%40example.com&x=1", "[redacted]&x=1"),
            ("zażółć@example.com ż", "[redacted] ż"),
            ("a@b.co b@c.de", "[redacted] [redacted]"),
            ("no address @ here", "no address @ here"),
            ("", ""),
        ] {
            assert_eq!(redactor.redact(text), clean);
        }
    }

    #[test]
    fn registered_secrets_go_in_every_form() {
        let redactor = Redactor::default();
        redactor.register(&[
            SecretString::new("top\"secret\\one"),
            SecretString::new("top\"secret\\one-longer"),
            SecretString::new("tiny"),
        ]);
        assert_eq!(redactor.redact("x top\"secret\\one y"), "x [redacted] y");
        assert_eq!(redactor.redact("{\"k\":\"top\\\"secret\\\\one-longer\"}"), "{\"k\":\"[redacted]\"}");
        assert_eq!(redactor.redact("tiny steps"), "tiny steps");
    }

    proptest! {
        #[test]
        fn a_secret_never_survives_and_nothing_panics(before in ".*", after in ".*") {
            let redactor = Redactor::default();
            redactor.register(&[SecretString::new("s3cr3t-v4lue")]);
            let clean = redactor.redact(&format!("{before}s3cr3t-v4lue{after}")).into_owned();
            prop_assert!(!clean.contains("s3cr3t-v4lue"));
        }
    }
}
