//! The layers of `docs/architecture.md`: in `shared/src`, a module uses modules of the layers below it and never one beside or above it.

use crate::committed;

/// From the top to the bottom; modules of one layer do not know each other.
const LAYERS: [&[&str]; 9] = [
    &["lambda"],
    &["checkout", "renewal", "manual_review"],
    &["payments", "frontend_api"],
    &["flow"],
    &["journal"],
    &["delivery", "cleeng", "gateway"],
    &["reference", "reason", "metrics"],
    &["http", "keyed_hash", "settings", "rate_limit"],
    &["money", "ids", "secret", "clock", "json"],
];

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| panic!("{module} is in no layer"))
}

/// The modules of the crate that a source text names, tests and comments apart.
fn used_modules(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let names = code.split("crate::").skip(1).filter_map(|rest| {
        let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let names_module = rest[name.len()..].starts_with("::");
        names_module.then_some(name)
    });
    names.collect()
}

#[test]
fn a_module_uses_only_the_layers_below_its_own() {
    let mut upwards = Vec::new();
    let mut seen = 0;
    for (file, text) in committed(&["shared/src/*.rs"]) {
        let path = file.trim_start_matches("shared/src/");
        let module = path.split('/').next().unwrap().trim_end_matches(".rs");
        let is_test = ["tests.rs", "testing.rs", "conformance.rs"].iter().any(|end| path.ends_with(end));
        if module == "lib" || is_test {
            continue;
        }
        for used in used_modules(&text).into_iter().filter(|used| used != module) {
            seen += 1;
            if layer(&used) <= layer(module) {
                upwards.push(format!("{file} uses {used}"));
            }
        }
    }
    assert!(seen > 200, "only {seen} uses were found");
    upwards.sort();
    upwards.dedup();
    assert_eq!(upwards, Vec::<String>::new());
}
