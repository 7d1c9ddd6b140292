//! A reader of `template.yaml`, as far as the tests need one: top-level sections, their entries, and the lines of an entry. It knows the
//! block style that the file is written in (two spaces a level, comments on their own lines) and keeps CloudFormation's short tags as text.
//! Whether the file is valid at all is cfn-lint's business.

use std::collections::BTreeMap;

use super::files::read;

/// An entry of a section: its lines without comments.
pub(crate) struct Entry(pub(crate) Vec<String>);

impl Entry {
    /// The text behind the first `key:` at any depth.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let prefix = format!("{key}:");
        self.0.iter().find_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(prefix.as_str())).map(str::trim)
    }

    /// The lines below the first `key:`.
    pub(crate) fn below(&self, key: &str) -> Self {
        let wanted = format!("{key}:");
        let mut lines = self.0.iter().skip_while(|line| line.trim() != wanted);
        let depth = lines.next().map(|line| indent(line));
        Self(lines.take_while(|line| depth.is_some_and(|depth| indent(line) > depth)).cloned().collect())
    }

    /// The items of the list behind every `key:`, in the block style, in brackets, or a single value.
    pub(crate) fn items(&self, key: &str) -> Vec<String> {
        let prefix = format!("{key}:");
        let mut items = Vec::new();
        for (index, line) in self.0.iter().enumerate() {
            let Some(rest) = line.trim_start().trim_start_matches("- ").strip_prefix(prefix.as_str()) else { continue };
            let rest = rest.trim();
            if !rest.is_empty() {
                items.extend(rest.trim_matches(['[', ']']).split(',').map(|item| item.trim().to_owned()));
                continue;
            }
            let depth = indent(line);
            let list = self.0[index + 1..].iter().take_while(|line| indent(line) > depth);
            items.extend(list.filter_map(|line| line.trim_start().strip_prefix("- ")).map(str::to_owned));
        }
        items
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The entries of a top-level section by name.
pub(crate) fn section(name: &str) -> BTreeMap<String, Entry> {
    let text = read("template.yaml");
    let header = format!("{name}:");
    let lines = text.lines().skip_while(|line| *line != header).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut current = String::new();
    for line in lines.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        if indent(line) == 2 {
            current = line.trim().trim_end_matches(':').to_owned();
            assert!(line.ends_with(':'), "{name}: an entry that the reader does not understand: {line}");
            entries.insert(current.clone(), Entry(Vec::new()));
        } else {
            entries.get_mut(&current).unwrap().0.push(line.to_owned());
        }
    }
    assert!(!entries.is_empty(), "template.yaml has no section {name}");
    entries
}

/// The entries of `Resources` of this type.
pub(crate) fn resources(kind: &str) -> BTreeMap<String, Entry> {
    let all = section("Resources").into_iter();
    all.filter(|(_, entry)| entry.value("Type") == Some(kind)).collect()
}

/// Names and values of the environment variables that are set in these lines (`Environment`, `Variables`).
pub(crate) fn variables(entry: &Entry) -> BTreeMap<String, String> {
    let lines = entry.below("Environment").below("Variables").0;
    lines.iter().filter_map(|line| line.trim().split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}
