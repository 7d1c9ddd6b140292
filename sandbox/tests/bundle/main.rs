//! What is built, what is deployed, what is documented and what the code reads agree: folders, `template.yaml`, `events/`, the README and the
//! other documents are compared with each other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod cases;
mod documents;
mod functions;
mod glossary;
mod layers;
mod repository;
mod samples;
mod settings;
mod template;

#[path = "../support"]
mod support {
    pub(crate) mod files;
    pub(crate) mod template;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::files::{read, root};
use support::template::{Entry, resources};

pub(crate) const FUNCTION: &str = "AWS::Serverless::Function";

pub(crate) fn folders(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let folders = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The functions by folder name, as the template has them.
pub(crate) fn functions() -> BTreeMap<String, (String, Entry)> {
    let functions = resources(FUNCTION).into_iter();
    let by_name = |(id, entry): (String, Entry)| {
        let name = entry.value("CodeUri").unwrap().strip_prefix("functions/").unwrap().to_owned();
        (name, (id, entry))
    };
    functions.map(by_name).collect()
}

pub(crate) fn names() -> BTreeSet<String> {
    functions().into_keys().collect()
}

/// The function that gateways call.
pub(crate) const NOTIFICATION: &str = "gateway-notification";

/// The functions that take a topic of Cleeng, which names them.
pub(crate) fn webhooks() -> BTreeSet<String> {
    webhook_functions().into_keys().filter(|name| name != NOTIFICATION).collect()
}

pub(crate) fn route(name: &str) -> String {
    if name == NOTIFICATION { "/gateways/{gateway}/notifications".to_owned() } else { format!("/webhooks/{{key}}/{name}") }
}

/// Functions that pages call: they have no queue.
pub(crate) fn is_front_end(entry: &Entry) -> bool {
    entry.items("Path").iter().any(|path| path.starts_with("/connectors/"))
}

/// The function that a schedule starts: it has no route and no queue.
pub(crate) const RECONCILIATION: &str = "reconciliation";

/// The functions that have a queue.
pub(crate) fn webhook_functions() -> BTreeMap<String, (String, Entry)> {
    functions().into_iter().filter(|(name, (_, entry))| !is_front_end(entry) && name != RECONCILIATION).collect()
}

/// The names of the functions that pages call.
pub(crate) fn front_ends() -> BTreeSet<String> {
    functions().into_iter().filter(|(_, (_, entry))| is_front_end(entry)).map(|(name, _)| name).collect()
}

/// The sample events of a function.
/// Of a function that pages call: in the order of its routes in the template.
pub(crate) fn samples(name: &str) -> &'static [&'static str] {
    match name {
        RECONCILIATION => &["schedule.json"],
        "initial-purchase" => {
            &["http.json", "finalize.json", "tokens.json", "return.json", "cancel.json", "payment-methods.json", "sessions.json"]
        }
        _ if front_ends().contains(name) => &["http.json", "finalize.json", "tokens.json", "return.json", "cancel.json"],
        _ => &["http.json", "queue.json"],
    }
}

/// The rows of a document's table whose first header is `header`: cells without backticks.
pub(crate) fn table(document: &str, header: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {header} |"))).skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "{document} has no table that begins with {header}");
    rows
}

pub(crate) fn visit_sources(folder: &Path, visit: &mut dyn FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !tests {
            visit_sources(&path, visit);
        } else if !tests && path.extension().is_some_and(|extension| extension == "rs") {
            visit(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The committed files of these patterns: path and text.
pub(crate) fn committed(patterns: &[&str]) -> Vec<(String, String)> {
    let files = Command::new("git").args(["ls-files", "-z", "--"]).args(patterns).current_dir(root()).output().unwrap();
    let files = String::from_utf8(files.stdout).unwrap();
    let files: Vec<&str> = files.split('\0').filter(|file| !file.is_empty()).collect();
    assert!(!files.is_empty(), "git names no file of {patterns:?}");
    let read = |file: &str| Some((file.to_owned(), fs::read_to_string(root().join(file)).ok()?));
    files.into_iter().filter_map(read).collect()
}

pub(crate) fn event(function: &str, file: &str) -> Value {
    serde_json::from_str(&read(&format!("events/{function}/{file}"))).unwrap()
}
