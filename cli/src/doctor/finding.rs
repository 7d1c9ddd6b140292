//! A finding, and how it is shown.

use std::fmt::Write as _;

use connector::settings::Problem;
use serde_json::{Value, json};

use crate::output::CommandOutput;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It was checked, and is right.
    Fine,
    /// It could not be checked, or is worth knowing.
    Note,
    /// It works, and will cause a problem some day; or it cannot be checked.
    Warning,
    /// A function does not start, money moves wrongly, or events get lost.
    Error,
}

impl Level {
    /// Its name in the output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The setting, the path in the secret, or the upstream.
    pub subject: String,
    /// What is the case. Never a value.
    pub problem: String,
    /// What to do; empty where nothing is to be done.
    pub fix: String,
}

impl Finding {
    /// Something that is right.
    #[must_use]
    pub fn fine(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { level: Level::Fine, subject: subject.into(), problem: what.into(), fix: String::new() }
    }

    /// Something worth knowing.
    #[must_use]
    pub fn note(subject: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Note, subject: subject.into(), problem: problem.into(), fix: fix.into() }
    }

    /// A warning.
    #[must_use]
    pub fn warning(subject: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, subject: subject.into(), problem: problem.into(), fix: fix.into() }
    }

    /// An error.
    #[must_use]
    pub fn error(subject: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Error, subject: subject.into(), problem: problem.into(), fix: fix.into() }
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        Self::error(problem.setting, problem.problem, problem.fix)
    }
}

/// The findings as an answer, the worst first. The code is 2 with errors, 1 with warnings where they count, else 0.
#[must_use]
pub fn to_output(mut findings: Vec<Finding>, strict: bool) -> CommandOutput {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0).min(44);
    let mut text = String::new();
    for Finding { level, subject, problem, fix } in &findings {
        let _ = writeln!(text, "{:<8} {subject:width$}  {problem}", level.as_str());
        if !fix.is_empty() {
            let _ = writeln!(text, "{:<8} {:width$}  -> {fix}", "", "");
        }
    }
    let _ = writeln!(text, "{errors} error(s), {warnings} warning(s)");
    let code = if errors > 0 { 2 } else { u8::from(strict && warnings > 0) };
    let rows: Vec<Value> = findings
        .iter()
        .map(|finding| json!({ "level": finding.level.as_str(), "subject": finding.subject, "problem": finding.problem, "fix": finding.fix }))
        .collect();
    CommandOutput { text, json: json!({ "errors": errors, "warnings": warnings, "findings": rows }), exit_code: code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_decides_the_code() {
        let warning = Finding::warning("B", "is odd", "fix it");
        assert_eq!(to_output(vec![Finding::fine("A", "is right")], true).exit_code, 0);
        assert_eq!(to_output(vec![warning.clone()], false).exit_code, 0);
        assert_eq!(to_output(vec![warning.clone()], true).exit_code, 1);
        let told = to_output(vec![Finding::fine("A", "is right"), warning, Finding::error("C", "is wrong", "fix it now")], false);
        assert_eq!(told.exit_code, 2);
        assert!(told.text.starts_with("error    C  is wrong\n"), "{}", told.text);
        assert_eq!(told.json["findings"][0]["subject"], "C");
    }
}
