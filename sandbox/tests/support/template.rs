//! A reader of `template.yaml`, as far as the tests need one: top-level sections, their entries, and the lines of an entry. It knows the
//! block style that the file is written in (two spaces a level, comments on their own lines), keeps CloudFormation's short tags as text and
//! expands its loops. Whether the file is valid at all is cfn-lint's business.

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
    let lines = lines.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).map(str::to_owned);
    let mut entries = BTreeMap::new();
    for (key, lines) in split(lines) {
        if key.starts_with("Fn::ForEach::") {
            entries.extend(expand(&lines));
        } else {
            entries.insert(key, Entry(lines));
        }
    }
    assert!(!entries.is_empty(), "template.yaml has no section {name}");
    entries
}

/// Lines of a section, by the key that they stand below.
fn split(lines: impl Iterator<Item = String>) -> Vec<(String, Vec<String>)> {
    let mut entries: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        if indent(&line) == 2 {
            let key = line.trim().strip_suffix(':').unwrap_or_else(|| panic!("an entry that the reader does not understand: {line}"));
            entries.push((key.to_owned(), Vec::new()));
        } else {
            entries.last_mut().unwrap().1.push(line);
        }
    }
    entries
}

/// The entries that a loop (`Fn::ForEach`) makes. Its lines are an identifier, the collection as a list of items, and the fragment that is
/// repeated for each item.
fn expand(lines: &[String]) -> Vec<(String, Entry)> {
    let identifier = lines[0].trim_start_matches(['-', ' ']);
    let placeholder = format!("${{{identifier}}}");
    let (items, fragment) = lines[1..].split_at(lines[1..].iter().position(|line| line.contains(&placeholder)).unwrap());
    let items = items.iter().flat_map(|line| line.trim_matches(['-', ' ', '[', ']']).split(", "));
    // The fragment stands four spaces deeper than an entry, its first line behind a dash.
    let line_of = |line: &String, item: &str| {
        plain_reference(line[4..].replacen("- ", "  ", usize::from(indent(line) == 4)).replace(&placeholder, item))
    };
    let entries = items.flat_map(|item| split(fragment.iter().map(|line| line_of(line, item))));
    entries.map(|(key, lines)| (key, Entry(lines))).collect()
}

/// The line with `[!Sub "QUEUE", Arn]`, which a loop writes, as `QUEUE.Arn`.
fn plain_reference(line: String) -> String {
    let parts = line.split_once("[!Sub \"").and_then(|(before, rest)| Some((before, rest.split_once("\", ")?)));
    let Some((before, (id, attribute))) = parts else { return line };
    format!("{before}{id}.{}", attribute.trim_end_matches(']'))
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
