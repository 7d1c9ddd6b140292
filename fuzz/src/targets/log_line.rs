//! A registered secret never survives in a line, plain or as JSON writes it, between any characters. The first line is the secret.

use connector::lambda::telemetry::Redactor;
use connector::secret::SecretString;

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (secret, line) = text.split_once('\n').unwrap_or((&text, ""));
    // Brackets and the word itself stand for what was taken out; no secret that is accepted looks like that.
    if secret.len() < 6 || secret.contains(['[', ']', '"']) || "redacted".contains(secret) || SecretString::new(secret).is_placeholder() {
        return;
    }
    let redactor = Redactor::default();
    redactor.register(&[SecretString::new(secret)]);
    let quoted = serde_json::Value::from(secret).to_string();
    let middle = (0..=line.len() / 2).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    let (before, after) = line.split_at(middle);
    for form in [secret, quoted.trim_matches('"')] {
        for written in
            [format!("{before}{form}{after}"), format!("{form}{line}{form}"), serde_json::json!({ "line": line, "x": secret }).to_string()]
        {
            let clean = redactor.redact(&written);
            assert!(!clean.contains(form), "a secret survives: {clean}");
        }
    }
    assert!(
        !redactor.redact(&format!("{before} viewer.one@example.com {after}")).contains("viewer.one@example.com"),
        "an address survives"
    );
}
