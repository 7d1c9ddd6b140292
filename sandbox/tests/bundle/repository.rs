//! The repository as a whole: gateways, dependencies, reasons for manual review, words that do not belong here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use connector::gateway::GatewayName;

use crate::support::files::{read, root};
use crate::{committed, names};
use connector::reason::{AlarmReason, ParkReason};

/// What of a gateway stands in other files besides those of the guide, and why.
const EXCEPTIONS: &[(GatewayName, &str)] = &[
    // The example in a text about settings.
    (GatewayName::Adyen, "shared/src/lambda/settings.rs"),
    // The example of a deployment.
    (GatewayName::Adyen, "samconfig.toml"),
    // Notifications and simulations of one gateway.
    (GatewayName::Adyen, "sandbox/src/testkit/notifications.rs"),
    (GatewayName::Adyen, "sandbox/src/simulation/"),
    (GatewayName::Adyen, "fuzz/src/targets/"),
    // What `cargo run` shows.
    (GatewayName::Adyen, "sandbox/src/local/"),
    (GatewayName::PayPal, "sandbox/src/local/"),
    // Certificates and access tokens, which no other gateway has.
    (GatewayName::PayPal, "sandbox/src/simulation/leak_checker.rs"),
    (GatewayName::PayPal, "fuzz/src/targets/paypal_certificate.rs"),
    (GatewayName::PayPal, "fuzz/src/tools/"),
];

/// The gateways that tests about something else use as their example.
const EXAMPLES_OF_TESTS: [GatewayName; 2] = [GatewayName::Adyen, GatewayName::PayPal];

fn visit_files(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() { visit_files(&path, visit) } else { visit(&path) }
    }
}

/// The code of a source file: neither comments nor unit tests.
fn code_of(path: &str, text: &str) -> String {
    let is_test = path.ends_with("tests.rs") || path.ends_with("testing.rs");
    let product = if is_test { "" } else { text.split("#[cfg(test)]").next().unwrap_or_default() };
    product.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<String>().to_lowercase()
}

/// The paths in the first cells of the guide's tables.
fn listed_in_the_guide(gateway: GatewayName) -> BTreeSet<String> {
    let guide = read("docs/adding-a-gateway.md");
    let cells = guide.lines().filter(|line| line.starts_with("| `")).flat_map(|line| line.split('|').nth(1).unwrap().split(','));
    cells.map(|path| path.trim().trim_matches('`').replace("NAME", gateway.as_str())).collect()
}

#[test]
fn every_gateway_touches_only_the_files_that_the_guide_lists() {
    for gateway in GatewayName::ALL {
        let mut listed = listed_in_the_guide(*gateway);
        listed.extend(EXCEPTIONS.iter().filter(|(of, _)| of == gateway).map(|(_, path)| (*path).to_owned()));
        let mut folders =
            vec!["shared/src", "functions", "cli/src", "sandbox/src/simulators", "sandbox/src/testkit", "sandbox/src/simulation"];
        folders.extend(["sandbox/src/local", "fuzz/src"]);
        if !EXAMPLES_OF_TESTS.contains(gateway) {
            folders.push("sandbox/tests");
        }
        let mut missing = Vec::new();
        let mut visit = |path: &Path| {
            let Ok(text) = fs::read_to_string(path) else { return };
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let is_listed = listed.iter().any(|entry| path == *entry || entry.ends_with('/') && path.starts_with(entry.as_str()));
            if !is_listed && code_of(&path, &text).contains(gateway.as_str()) {
                missing.push(path);
            }
        };
        folders.iter().for_each(|folder| visit_files(&root().join(folder), &mut visit));
        for file in ["template.yaml", "samconfig.toml", "README.md", "CHANGELOG.md", "docs/openapi.json"] {
            visit(&root().join(file));
        }
        assert_eq!(missing, Vec::<String>::new(), "{gateway}");
    }
}

#[test]
fn every_gateway_has_what_the_guide_lists() {
    for gateway in GatewayName::ALL {
        let listed = listed_in_the_guide(*gateway);
        let missing: Vec<_> = listed.iter().filter(|path| !root().join(path).exists()).collect();
        assert_eq!(missing, Vec::<&String>::new(), "{gateway}");
    }
}

/// Names in a manifest's dependency sections, without the workspace's own packages.
fn dependencies(manifest: &str, own: &BTreeSet<String>) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once(['.', ' ', '=']).filter(|_| inside && !line.starts_with('#')) {
            names.insert(name.to_owned());
        }
    }
    names.difference(own).filter(|name| !name.is_empty()).cloned().collect()
}

#[test]
fn every_dependency_has_its_reason_and_every_reason_its_dependency() {
    let mut own: BTreeSet<String> = names();
    own.extend(["connector", "sandbox"].map(str::to_owned));
    let others = ["shared", "sandbox", "cli", "tools"].map(str::to_owned);
    let members = names().into_iter().map(|name| format!("functions/{name}")).chain(others);
    let used: BTreeSet<String> = members.flat_map(|member| dependencies(&read(&format!("{member}/Cargo.toml")), &own)).collect();
    let text = read("docs/decisions/0002-dependencies.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let rows = rows.filter(|cell| *cell != "crate" && !cell.starts_with("**")).flat_map(|cell| cell.split(", "));
    let explained: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(used, explained, "left: used by a member; right: explained in docs/decisions/0002-dependencies.md");
    let offered = dependencies(&read("Cargo.toml"), &own);
    assert_eq!(offered, used, "left: in the workspace's Cargo.toml; right: used by a member");
}

#[test]
fn only_the_lambda_folder_the_dynamodb_store_and_one_file_of_the_tool_name_aws() {
    let is_aws =
        |name: &str| ["aws_config", "aws_lambda_events"].contains(&name) || name.starts_with("aws_sdk_") || name.starts_with("aws_smithy_");
    for (file, text) in committed(&["shared/src/*.rs", "functions/*.rs", "cli/src/*.rs"]) {
        let in_lambda = file.starts_with("shared/src/lambda/");
        let knows_aws = in_lambda || file.starts_with("shared/src/journal/dynamodb") || file == "cli/src/aws.rs";
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for name in code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')) {
            assert!(knows_aws || !is_aws(name), "{file} names {name}");
            assert!(in_lambda || !["lambda_runtime", "lambda_http"].contains(&name), "{file} names {name}");
        }
    }
}

#[test]
fn no_committed_file_names_a_machine_or_a_registry() {
    // Put together here, so that this file does not name them either.
    let unwanted: Vec<String> =
        [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/tm", "p/"], ["index-", "url"], ["local", "stack.cloud"]]
            .map(|parts| parts.concat())
            .into();
    for (file, text) in committed(&["."]).into_iter().filter(|(file, _)| file != "Cargo.lock" && file != "LICENSE") {
        for word in &unwanted {
            assert!(!text.contains(word.as_str()), "{file} contains {word}");
        }
    }
}

#[test]
fn every_reason_for_calling_an_operator_is_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    let reasons = ParkReason::ALL.iter().map(|reason| reason.as_str()).chain(AlarmReason::ALL.iter().map(|reason| reason.as_str()));
    let unexplained: Vec<&str> = reasons.filter(|reason| !runbook.contains(&format!("`{reason}`"))).collect();
    assert_eq!(unexplained, Vec::<&str>::new());
}
