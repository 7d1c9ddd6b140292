//! Settings: those that the code reads, those that are deployed, and those that `docs/settings.md` lists.

use std::collections::{BTreeMap, BTreeSet};

use connector::gateway::GatewayName;

use crate::support::files::root;
use crate::support::template::{section, variables};
use crate::{functions, table, visit_sources};

/// Names of settings in a source text: what is handed to the reader of settings or looked up in the environment, and every text that
/// begins like a setting of ours.
fn settings_read(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
    let calls = [".text(", ".required(", ".parsed(", ".number(", ".base_url(", "env::var(", "env::var_os(", "get)(", "get("];
    let gateways = GatewayName::ALL.iter().map(|gateway| gateway.as_str().to_uppercase());
    let families: Vec<String> =
        ["CONNECTOR", "CLEENG"].map(str::to_owned).into_iter().chain(gateways).map(|name| format!("{name}_")).collect();
    let mut names = BTreeSet::new();
    let pieces: Vec<&str> = code.split('"').collect();
    for pair in pieces.windows(2) {
        let (before, text) = (pair[0], pair[1]);
        let named = text.contains('_') && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if named && (calls.iter().any(|call| before.ends_with(call)) || families.iter().any(|family| text.starts_with(family.as_str()))) {
            names.insert(text.to_owned());
        }
    }
    names
}

fn deployed_settings() -> BTreeMap<String, String> {
    let mut settings = variables(&section("Globals")["Function"]);
    for (_, (_, entry)) in functions() {
        settings.extend(variables(&entry));
    }
    settings
}

#[test]
fn every_setting_that_the_code_reads_is_deployed_and_every_deployed_one_is_read() {
    let (mut read_names, mut all_code) = (BTreeSet::new(), String::new());
    let mut visit = |source: &str| {
        read_names.extend(settings_read(source));
        all_code.push_str(source);
    };
    visit_sources(&root().join("shared/src"), &mut visit);
    visit_sources(&root().join("functions"), &mut visit);
    let deployed = deployed_settings();
    // Lambda and the AWS clients set and read their own.
    let undeclared: Vec<_> = read_names.iter().filter(|name| !name.starts_with("AWS_") && !deployed.contains_key(*name)).collect();
    assert!(undeclared.is_empty(), "read by the code and not set in template.yaml: {undeclared:?}");
    // Read by the TLS library.
    let unread = |name: &&String| *name != "SSL_CERT_FILE" && !all_code.contains(&format!("\"{name}\""));
    let unread: Vec<_> = deployed.keys().filter(unread).collect();
    assert!(unread.is_empty(), "set in template.yaml and not read by the code: {unread:?}");
}

#[test]
fn the_documents_list_every_setting_with_its_parameter_and_default() {
    let deployed = deployed_settings();
    let parameters = section("Parameters");
    let rows = table("docs/settings.md", "variable");
    let listed: BTreeSet<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed, deployed.keys().map(String::as_str).collect());
    assert_eq!(listed.len(), rows.len(), "a setting stands twice in docs/settings.md");
    for row in &rows {
        let (value, parameter) = (&deployed[&row[0]], &row[1]);
        if parameter.is_empty() {
            continue;
        }
        let referred = value == &format!("!Ref {parameter}") || value.ends_with(&format!("!Ref {parameter}]"));
        assert!(referred, "{} is set from {value}, not from {parameter}", row[0]);
        let default = parameters[parameter].value("Default").map(|default| default.trim_matches('"'));
        assert_eq!(row[2], default.unwrap_or("required"), "{}: the default in docs/settings.md", row[0]);
    }
}

#[test]
fn every_parameter_is_described_and_text_is_checked() {
    for (name, parameter) in section("Parameters") {
        assert!(parameter.value("Description").is_some(), "{name} has no description");
        let bounded = ["AllowedPattern", "AllowedValues", "MinValue"].iter().any(|rule| parameter.value(rule).is_some());
        assert!(bounded || name == "EmbeddedSecrets", "{name} takes anything");
    }
    let capture = section("Parameters")["AdyenCapture"].value("Default").map(|default| default.trim_matches('"').to_owned());
    assert_eq!(capture.as_deref(), Some(""), "a wrong default would move money twice or never");
}
