//! Names of settings: what is misspelt is never read, and its default holds in silence.

use connector::gateway::GatewayName;
use connector::lambda::operator::known_setting_names;

use super::Finding;
use crate::command_env::CommandEnv;

/// Looks for names that are nearly those of settings, for values in quotes, and for secrets among the plain settings.
pub(super) fn examine(env: &CommandEnv) -> Vec<Finding> {
    let known = known_setting_names();
    let mut findings = Vec::new();
    for (name, value) in &env.variables {
        if known.contains(name) {
            findings.extend(value_of(name, value));
            continue;
        }
        let nearest = known.iter().map(|other| (distance(name, other), other)).min();
        if let Some((0..=2, other)) = nearest.filter(|_| name.len() >= 8) {
            let fix = format!("rename it to {other}, or remove it");
            findings.push(Finding::error(name, "is not a setting; its value is never read", fix));
        } else if is_ours(name) {
            let fix = "remove it; docs/settings.md lists all settings";
            findings.push(Finding::warning(name, "is not a setting of this release; its value is never read", fix));
        }
    }
    findings
}

/// Whether the name begins as only our settings do.
fn is_ours(name: &str) -> bool {
    let of_gateway = GatewayName::ALL.iter().any(|gateway| {
        let prefix = gateway.as_str().to_ascii_uppercase();
        name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('_'))
    });
    of_gateway || name.starts_with("CLEENG_") || (name.starts_with("CONNECTOR_") && !name.starts_with("CONNECTOR_TEST_"))
}

fn value_of(name: &str, value: &str) -> Option<Finding> {
    let quoted = |quote: char| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    if quoted('"') || quoted('\'') {
        return Some(Finding::error(name, "has quotes around its value, which become part of it", "remove the quotes"));
    }
    let evidently_secret = value.trim_start().starts_with('{') || value.contains("PRIVATE KEY");
    if evidently_secret && name != "CONNECTOR_SECRETS" {
        let fix = "remove it from there, rotate what it held, and store the secret in AWS Secrets Manager";
        return Some(Finding::error(name, "looks like a secret itself, readable to anyone who may see the function's settings", fix));
    }
    None
}

/// How many letters have to be changed, added or taken away.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut next = vec![above.saturating_add(1)];
        for ((other, pair), left_cell) in right.iter().zip(row.windows(2)).zip(0_usize..) {
            let [diagonal, up] = pair else { continue };
            let beside = next.get(left_cell).copied().unwrap_or(usize::MAX);
            let changed = diagonal.saturating_add(usize::from(*other != letter));
            next.push(changed.min(up.saturating_add(1)).min(beside.saturating_add(1)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (left, right, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "ab", 1), ("ab", "abc", 1), ("ba", "ab", 2)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
