//! Tells a real secret from one that somebody forgot to replace. Must never quote what it judges.

const TELLTALES: [&str; 8] = ["changeme", "change-me", "change_me", "placeholder", "replace-", "replace_", "your-secret", "insert-"];

/// Whether a secret is evidently none: one character repeated, a `<...>` or `${...}` left from a template, or a word such as `changeme`.
pub(super) fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let bracketed = (lower.starts_with('<') && lower.ends_with('>')) || lower.starts_with("${") || lower.starts_with("{{");
    let monotonous = lower.bytes().next().is_none_or(|first| lower.bytes().all(|byte| byte == first));
    bracketed || monotonous || TELLTALES.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_placeholder;

    #[test]
    fn what_stands_for_a_secret_is_none() {
        for text in
            ["", "xxxxxxxxxxxxxxxxxxxx", "<publisher token>", "${TOKEN}", "ChangeMe-ChangeMe-1234", "your-secret-goes-here", "{{resolve}}"]
        {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["0123456789abcdef0123456789abcdef", "kT9vQ2-mmZ81LwPq_00c"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
