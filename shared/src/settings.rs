//! Settings from environment variables, validated at start. Every mistake is collected and named with its fix, so that one start shows
//! them all.

use std::fmt;
use std::str::FromStr;

/// One mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The environment variable, or the path in the secret.
    pub setting: String,
    /// What is wrong. Never the value: it could be a secret in the wrong place.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.setting, self.problem, self.fix)
    }
}

/// All mistakes of one start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wrong setting(s)", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

/// Reads settings and collects what is wrong with them. An empty value counts as absent, because a template parameter without a value
/// arrives as an empty variable.
pub struct SettingsReader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
}

impl<'a> SettingsReader<'a> {
    /// Reads from a function from names to values, such as the environment.
    #[must_use]
    pub fn new(get: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { get, problems: Vec::new() }
    }

    /// Records a mistake.
    pub fn problem(&mut self, setting: &str, problem: impl Into<String>, fix: impl Into<String>) {
        self.problems.push(Problem { setting: setting.to_owned(), problem: problem.into(), fix: fix.into() });
    }

    /// An optional text, trimmed.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A required text; its absence is a problem with this fix.
    pub fn required(&mut self, name: &str, fix: &str) -> Option<String> {
        let value = self.text(name);
        if value.is_none() {
            self.problem(name, "is missing", fix);
        }
        value
    }

    /// An optional value read by `parse`; a value that it does not take is a problem, and the default is used so that reading continues.
    pub fn parsed<T>(&mut self, name: &str, default: T, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> T {
        let Some(text) = self.text(name) else { return default };
        parse(&text).unwrap_or_else(|| {
            self.problem(name, "is not understood", format!("set it to {expected}"));
            default
        })
    }

    /// An optional whole number within bounds.
    pub fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(&mut self, name: &str, default: T, min: T, max: T) -> T {
        self.parsed(name, default, &format!("a whole number from {min} to {max}"), |text| {
            text.parse().ok().filter(|value| (min..=max).contains(value))
        })
    }

    /// An optional base URL without a slash at its end; `https`, or `http` if `plain_http` allows it (tests, sandbox).
    pub fn base_url(&mut self, name: &str, default: &str, plain_http: bool) -> String {
        let expected = if plain_http { "an http or https URL" } else { "an https URL" };
        self.parsed(name, default.to_owned(), expected, |text| read_base_url(text, plain_http))
    }

    /// As [`SettingsReader::base_url`] where real money moves: `https`, at a host under one of these domains. A changed setting
    /// could otherwise have credentials and payments sent anywhere.
    pub fn vendor_url(&mut self, name: &str, default: &str, domains: &[&str]) -> String {
        let expected = format!("an https URL under {}", domains.join(" or "));
        self.parsed(name, default.to_owned(), &expected, |text| {
            let host = text.strip_prefix("https://")?.split('/').next()?.to_ascii_lowercase();
            let is_plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
            let is_under = |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.ends_with('.'));
            read_base_url(text, false).filter(|_| is_plain && domains.iter().any(is_under))
        })
    }

    /// The value, as far as it could be read, and every problem: for code that looks for more mistakes. Nothing may be started with it.
    #[must_use]
    pub fn into_parts<T>(self, value: Option<T>) -> (Option<T>, Vec<Problem>) {
        (value, self.problems)
    }

    /// The value, if nothing was wrong.
    ///
    /// # Errors
    /// Every [`Problem`] that was noted.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Problems(self.problems)),
        }
    }
}

/// A base URL without a slash at its end.
fn read_base_url(text: &str, plain_http: bool) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://").filter(|_| plain_http))?;
    let host_ok = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()) && !rest.contains(['@', '?', '#']);
    host_ok.then(|| text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_real_money_moves_only_the_vendors_hosts_are_taken() {
        let read = |url: &str| {
            let get = |_: &str| Some(url.to_owned());
            let mut reader = SettingsReader::new(&get);
            let read = reader.vendor_url("URL", "https://api.cleeng.com", &["cleeng.com", "example.org"]);
            reader.finish(Some(read)).ok()
        };
        for url in ["https://api.cleeng.com/3.1", "https://API.cleeng.com", "https://a.b.example.org/x"] {
            assert_eq!(read(url).as_deref(), Some(url));
        }
        for url in [
            "http://api.cleeng.com",
            "https://evil.test",
            "https://cleeng.com.evil.test",
            "https://evilcleeng.com",
            "https://evil.test/.cleeng.com",
            "https://evil.test\\.cleeng.com",
            "https://evil.test%2f.cleeng.com",
            "https://me@api.cleeng.com",
            "https://api.cleeng.com:8443",
            "https://127.0.0.1",
        ] {
            assert_eq!(read(url), None, "{url}");
        }
    }
}
