//! The environment of a command: settings, time, and access to AWS, which a test replaces. Settings come from the process's environment
//! and from files; a file wins, because it describes the deployment that is meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector::clock::{Clock, SystemClock};
use connector::journal::store::Store;
use connector::lambda::queue::Queue;
use connector::lambda::telemetry::Redactor;
use connector::secret::SecretString;
use serde_json::Value;

use crate::aws::SecretStore;
use crate::output::CommandError;
use crate::terminal::{ProcessTerminal, Terminal};

/// What a command finds around it.
pub struct CommandEnv {
    /// The settings by name.
    pub variables: BTreeMap<String, String>,
    /// What is on standard input, for the command that reads it.
    pub stdin: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// In place of the secret in AWS.
    pub secret: Option<SecretString>,
    /// In place of the secret in AWS, for the command that writes it.
    pub secret_store: Option<Arc<dyn SecretStore>>,
    /// In place of the journal's table.
    pub store: Option<Arc<dyn Store>>,
    /// In place of every queue.
    pub queue: Option<Arc<dyn Queue>>,
    /// Where values are typed that are in no file.
    pub terminal: Box<dyn Terminal>,
    /// Removes secrets from every output.
    pub redactor: Redactor,
    /// Receives the progress of slow steps, for standard error.
    pub progress: Box<dyn Fn(&str) + Send + Sync>,
}

impl CommandEnv {
    /// These settings, real time, real AWS.
    #[must_use]
    pub fn new(variables: BTreeMap<String, String>) -> Self {
        Self {
            variables,
            stdin: String::new(),
            clock: Arc::new(SystemClock),
            secret: None,
            secret_store: None,
            store: None,
            queue: None,
            terminal: Box::new(ProcessTerminal),
            redactor: Redactor::default(),
            progress: Box::new(|_| {}),
        }
    }

    /// A setting.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// The text of a file that a command was given; `-` is standard input.
    ///
    /// # Errors
    /// [`CommandError`] if it cannot be read as text.
    pub fn input(&self, path: &str) -> Result<String, CommandError> {
        if path == "-" {
            return Ok(self.stdin.clone());
        }
        std::fs::read_to_string(path).map_err(|_| {
            CommandError::new(format!("the file {path} cannot be read as text"), "check its path, its permissions and its encoding (UTF-8)")
        })
    }
}

/// Reads the text of a file with settings: lines of `KEY=VALUE` (with or without `export`, quotes and comments), or JSON: an object of
/// texts, which may be under `Environment` and `Variables`, as AWS reports a function's configuration.
///
/// # Errors
/// [`CommandError`], which names the line and never quotes it.
pub fn parse_settings(text: &str) -> Result<BTreeMap<String, String>, CommandError> {
    if text.trim_start().starts_with('{') { parse_json(text) } else { parse_lines(text) }
}

fn parse_json(text: &str) -> Result<BTreeMap<String, String>, CommandError> {
    let wrong = || {
        let fix = "use KEY=VALUE lines, or save `aws lambda get-function-configuration --function-name NAME`";
        CommandError::new("an --env-file is JSON, and has no object of texts under Environment.Variables", fix)
    };
    let whole: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let inner = whole.get("Configuration").unwrap_or(&whole);
    let inner = inner.get("Environment").unwrap_or(inner);
    let inner = inner.get("Variables").or_else(|| inner.get("Parameters")).unwrap_or(inner);
    let members = inner.as_object().ok_or_else(wrong)?;
    members.iter().map(|(name, value)| Ok((name.clone(), value.as_str().ok_or_else(wrong)?.to_owned()))).collect()
}

fn parse_lines(text: &str) -> Result<BTreeMap<String, String>, CommandError> {
    let mut settings = BTreeMap::new();
    for (line, number) in text.lines().zip(1_u32..) {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match entry {
            Some((name, value)) if plain(name) => settings.insert(name.to_owned(), unquoted(value).to_owned()),
            _ => return Err(CommandError::new(format!("line {number} of an --env-file is not KEY=VALUE"), "write one setting a line")),
        };
    }
    Ok(settings)
}

fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse_settings(text).unwrap().into_iter().collect()
    }

    #[test]
    fn lines_and_json_say_the_same() {
        let expected = [("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), "x y".to_owned())];
        assert_eq!(read("# comment\n\nexport A=1=2\n B = \"x y\" \n"), expected);
        assert_eq!(read("A='1=2'\nB=x y"), expected);
        assert_eq!(read(r#"{"FunctionName": "f", "Environment": {"Variables": {"A": "1=2", "B": "x y"}}}"#), expected);
        assert_eq!(read(r#"{"Parameters": {"A": "1=2", "B": "x y"}}"#), expected);
        assert_eq!(read(r#"{"A": "1=2", "B": "x y"}"#), expected);
    }

    #[test]
    fn a_line_that_is_no_setting_is_named_and_not_quoted() {
        let failure = parse_settings("A=1\nhush").unwrap_err();
        assert!(failure.problem.contains("line 2") && !failure.problem.contains("hush"), "{failure:?}");
        assert!(parse_settings("{\"A\": 1}").is_err());
        assert!(parse_settings("{broken").is_err());
    }
}
