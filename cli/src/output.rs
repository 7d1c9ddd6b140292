//! What a command says. Must never hold a secret when it leaves: [`CommandOutput::redacted`] is the last thing that happens to it.

use std::fmt::Write as _;

use connector::lambda::telemetry::Redactor;
use connector::settings::Problems;
use serde_json::{Value, json};

/// What a command says, in two forms, and its exit code.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    /// For people.
    pub text: String,
    /// For scripts: the same facts.
    pub json: Value,
    /// 0: fine; 1: warnings with `--strict`, or nothing was done; 2: an error.
    pub exit_code: u8,
}

impl CommandOutput {
    /// Without anything that must not be seen.
    #[must_use]
    pub fn redacted(self, redactor: &Redactor) -> Self {
        let json = self.json.to_string();
        // Cleaning takes texts out of strings and never a quote or brace, so that it stays JSON; what does not is not shown at all.
        let json = serde_json::from_str(&redactor.redact(&json)).unwrap_or_else(|_| json!({ "error": "the answer cannot be shown" }));
        Self { text: redactor.redact(&self.text).into_owned(), json, exit_code: self.exit_code }
    }
}

/// Why a command could not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// What is the case.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl CommandError {
    /// A failure.
    #[must_use]
    pub fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }

    /// Settings or secrets are wrong.
    #[must_use]
    pub fn settings(problems: &Problems) -> Self {
        Self::new(
            problems.to_string(),
            "correct them; --stack NAME or --env-file FILE gives the settings of a deployment, and connectorctl doctor checks them all",
        )
    }

    /// As an answer, with exit code 2.
    #[must_use]
    pub fn into_output(self) -> CommandOutput {
        let text = format!("error: {}\nfix:   {}\n", self.problem, self.fix);
        CommandOutput { text, json: json!({ "error": self.problem, "fix": self.fix }), exit_code: 2 }
    }
}

/// Columns, each as wide as its widest cell, two spaces apart. The last one is as long as it is.
#[must_use]
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headers.get(column).map(|header| header.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&mut headers.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use connector::secret::SecretString;

    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let rows = [vec!["a".to_owned(), "long cell".to_owned(), "x".to_owned()], vec!["bbb".to_owned(), String::new(), String::new()]];
        assert_eq!(table(&["K", "VALUE", "N"], &rows), "K    VALUE      N\na    long cell  x\nbbb\n");
    }

    #[test]
    fn a_secret_is_taken_out_of_both_forms() {
        let redactor = Redactor::default();
        redactor.register(&[SecretString::new("quo\"ted-secret")]);
        let answer = CommandOutput { text: "quo\"ted-secret!".to_owned(), json: json!({ "x": "a quo\"ted-secret" }), exit_code: 0 }
            .redacted(&redactor);
        assert_eq!((answer.text.as_str(), answer.json["x"].as_str()), ("[redacted]!", Some("a [redacted]")));
    }
}
