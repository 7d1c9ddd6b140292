//! The documents: what they name exists, and their prose fits a terminal.

use crate::committed;
use crate::support::files::{read, root};

/// The folders and files at the root that documents name by their path.
const TOP: [&str; 9] = ["shared/", "functions/", "sandbox/", "cli/", "fuzz/", "tools/", "docs/", "events/", ".ci/"];

/// The most characters of a line of prose.
const WIDTH: usize = 120;

/// The lines of a document that are no code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut code = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            lines.push((index + 1, line));
        }
    }
    lines
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for (file, text) in committed(&["*.md"]) {
        for (number, line) in prose(&text) {
            let named = line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|name| TOP.iter().any(|top| name.starts_with(top)) && !name.starts_with("fuzz/target"));
            for name in named.filter(|name| !name.contains([' ', '<']) && !name.chars().any(char::is_uppercase)) {
                let path = name.replace("*/", "reconciliation/").replace("/**", "").replace("/*", "");
                if !root().join(&path).exists() {
                    missing.push(format!("{file}:{number}: {name}"));
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_link_within_the_documents_leads_to_a_file() {
    let mut missing = Vec::new();
    for (file, text) in committed(&["*.md"]) {
        let folder = root().join(&file).parent().unwrap().to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") && !folder.join(link).exists() {
                missing.push(format!("{file}: {link}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_architecture_has_its_four_walks_with_their_files_in_order() {
    let text = read("docs/architecture.md");
    for walk in ["A billing webhook", "A first purchase", "A notification", "A reconciliation run"] {
        let section = text.split(&format!("## {walk}\n")).nth(1).unwrap_or_else(|| panic!("no walk of {walk}"));
        let steps: Vec<&str> = section.lines().take_while(|line| !line.starts_with("## ")).filter(|line| line.contains(". `")).collect();
        assert!(steps.len() >= 8, "{walk}: {} files", steps.len());
        for (index, step) in steps.iter().enumerate() {
            assert!(step.starts_with(&format!("{}. `", index + 1)), "{walk}: {step}");
        }
    }
}

/// Tables, code and links that cannot be broken may be longer.
#[test]
fn prose_is_wrapped() {
    let mut long = Vec::new();
    for (file, text) in committed(&["*.md"]) {
        for (number, line) in prose(&text) {
            let words = line.trim_start_matches([' ', '-', '*', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '.']);
            let is_table = line.trim_start().starts_with('|');
            if line.chars().count() > WIDTH && !is_table && words.contains(' ') {
                long.push(format!("{file}:{number}"));
            }
        }
    }
    assert_eq!(long, Vec::<String>::new());
}
