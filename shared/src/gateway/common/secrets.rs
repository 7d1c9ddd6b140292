//! The gateway's part of the deployment's secret: API keys that are rotated, and secrets that sign notifications. Must never repeat a
//! secret.

use crate::secret::{NamedSecrets, SecretString};
use crate::settings::{Problem, Problems};

/// The key that is used, and the one before the last rotation, which is tried once if the first is refused.
pub(crate) fn current_and_previous(texts: &NamedSecrets, name: &str) -> (SecretString, Option<SecretString>) {
    let mut keys = texts.values(name).iter().cloned();
    (keys.next().unwrap_or_else(|| SecretString::new("")), keys.next())
}

/// Collects what is wrong with the secrets of one gateway, by path.
pub(crate) struct SecretsCheck {
    gateway: &'static str,
    problems: Vec<Problem>,
}

impl SecretsCheck {
    /// Nothing is wrong yet.
    pub(crate) const fn of(gateway: &'static str) -> Self {
        Self { gateway, problems: Vec::new() }
    }

    /// Notes a mistake.
    pub(crate) fn problem(&mut self, name: &str, problem: &str, fix: &str) {
        let setting = format!("{}.{name}", self.gateway);
        self.problems.push(Problem { setting, problem: problem.to_owned(), fix: fix.to_owned() });
    }

    /// There has to be one value at least, and `wrong` says what is wrong with each.
    pub(crate) fn list(&mut self, name: &str, values: &[SecretString], fix: &str, wrong: impl Fn(&SecretString) -> Option<&'static str>) {
        if values.is_empty() {
            self.problem(name, "is missing or empty", fix);
        }
        for (index, problem) in values.iter().enumerate().filter_map(|(index, value)| Some((index, wrong(value)?))) {
            self.problem(&format!("{name}[{index}]"), problem, fix);
        }
    }

    /// What was found.
    ///
    /// # Errors
    /// Every mistake.
    pub(crate) fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }
}

/// Whether a text can be part of a secret: long enough, printable, and no word that people type as a placeholder.
pub(crate) fn is_secret_text(text: &str, shortest: usize) -> bool {
    text.len() >= shortest && text.bytes().all(|b| b.is_ascii_graphic()) && !SecretString::new(text).is_placeholder()
}
