//! The secret as it is to be written: what is there, with new values put in. Pure, and without `Debug`: it holds every value. Must never
//! replace an idempotency salt, from which the keys of all payments derive.

use std::collections::BTreeSet;

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value};

use crate::output::CommandError;

/// The salt's path.
pub(super) const SALT: &str = "idempotency_salt";
/// The path keys' path.
pub(super) const PATH_KEYS: &str = "webhook_path_keys";

/// What happens to the values of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// They stay.
    Kept,
    /// There were none.
    Added,
    /// The current value is another one, and the one before it is kept as the previous value.
    Rotated,
    /// The values are others.
    Replaced,
}

impl Change {
    /// Its name in the output.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Added => "added",
            Self::Rotated => "rotated: new value first, previous one kept",
            Self::Replaced => "replaced",
        }
    }
}

/// The secret before and after.
pub(super) struct SecretDraft {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl SecretDraft {
    /// Begins with what is there; `None` for a secret without a value. An object for each of `groups` is there, so that the check names the
    /// values that it lacks.
    ///
    /// # Errors
    /// [`CommandError`] if the text is no JSON object.
    pub(super) fn new(present: Option<&str>, groups: &[&str]) -> Result<Self, CommandError> {
        let before = match present {
            None => Map::new(),
            Some(text) => object(text).ok_or_else(|| {
                CommandError::new(
                    "the secret holds a text that is no JSON object, and a salt in it could be lost",
                    "look at it in AWS Secrets Manager; if nothing of it is needed, put {} in its place",
                )
            })?,
        };
        let mut after = before.clone();
        for group in groups {
            after.entry(*group).or_insert_with(|| Value::Object(Map::new()));
        }
        Ok(Self { before, after })
    }

    /// The text to write.
    pub(super) fn text(&self) -> String {
        Value::Object(self.after.clone()).to_string()
    }

    /// Whether nothing is new.
    pub(super) fn is_unchanged(&self) -> bool {
        self.changes().iter().all(|(_, change)| *change == Change::Kept)
    }

    /// Whether there is a value at this path.
    pub(super) fn has(&self, path: &str) -> bool {
        !values(&self.after, path).is_empty()
    }

    /// Puts these values in the place of all that are there.
    ///
    /// # Errors
    /// [`CommandError`] if the path lies in something that is no object.
    pub(super) fn set(&mut self, path: &str, value: Value) -> Result<(), CommandError> {
        let mut parts = path.splitn(2, '.');
        let (group, member) = (parts.next().unwrap_or_default(), parts.next());
        let Some(member) = member else {
            self.after.insert(group.to_owned(), value);
            return Ok(());
        };
        let Some(Value::Object(members)) = self.after.get_mut(group) else {
            let problem = format!("{group} in the secret is no JSON object");
            return Err(CommandError::new(problem, "correct it in AWS Secrets Manager, or give the object with --from"));
        };
        members.insert(member.to_owned(), value);
        Ok(())
    }

    /// Puts a value in the place of the current one, and leaves a previous one where it is.
    ///
    /// # Errors
    /// As [`SecretDraft::set`].
    pub(super) fn set_current(&mut self, path: &str, value: &str) -> Result<(), CommandError> {
        let previous = values(&self.after, path).into_iter().skip(1);
        let list = std::iter::once(Value::from(value)).chain(previous).collect();
        self.set(path, Value::Array(list))
    }

    /// Puts a value before the current one, which becomes the previous one; an older one goes. The path is one that
    /// [`SecretDraft::check_rotatable`] accepts.
    ///
    /// # Errors
    /// [`CommandError`] for the value that is there already.
    pub(super) fn rotate(&mut self, path: &str, value: &str) -> Result<(), CommandError> {
        let current = values(&self.before, path).into_iter().next().unwrap_or_default();
        if current.as_str() == Some(value) {
            let problem = format!("the new value of {path} is the current one");
            return Err(CommandError::new(problem, "give the new one, or leave out --rotate"));
        }
        self.set(path, Value::Array(vec![Value::from(value), current]))
    }

    /// Whether a path can be rotated.
    ///
    /// # Errors
    /// [`CommandError`] for the salt, and for a path without a value.
    pub(super) fn check_rotatable(&self, path: &str) -> Result<(), CommandError> {
        if path == SALT {
            return Err(salt_is_kept());
        }
        if values(&self.before, path).is_empty() {
            let names: Vec<String> = paths(&self.before).into_iter().filter(|path| path != SALT).collect();
            let known = if names.is_empty() { "leave out --rotate".to_owned() } else { format!("use one of: {}", names.join(", ")) };
            return Err(CommandError::new(format!("--rotate {path}: the secret has no such value"), known));
        }
        Ok(())
    }

    /// Generates the salt and a path key where there is none.
    ///
    /// # Errors
    /// [`CommandError`] if the machine has no random numbers.
    pub(super) fn generate_missing(&mut self) -> Result<(), CommandError> {
        if !self.has(SALT) {
            self.set(SALT, Value::from(random_hex::<32>()?))?;
        }
        if !self.has(PATH_KEYS) {
            self.set_current(PATH_KEYS, &new_path_key()?)?;
        }
        Ok(())
    }

    /// Checks that a salt that was there is there still.
    ///
    /// # Errors
    /// [`CommandError`] if it would be another one.
    pub(super) fn check_salt_is_kept(&self) -> Result<(), CommandError> {
        let salt = values(&self.before, SALT);
        if salt.is_empty() || salt == values(&self.after, SALT) { Ok(()) } else { Err(salt_is_kept()) }
    }

    /// Every path of the secret that has values, and what happens to them.
    pub(super) fn changes(&self) -> Vec<(String, Change)> {
        let all: BTreeSet<String> = paths(&self.before).into_iter().chain(paths(&self.after)).collect();
        let change = |path: &str| {
            let (before, after) = (values(&self.before, path), values(&self.after, path));
            match (before.first(), after.get(1)) {
                _ if before == after => Change::Kept,
                (None, _) => Change::Added,
                (Some(current), Some(previous)) if current == previous => Change::Rotated,
                (Some(_), _) => Change::Replaced,
            }
        };
        all.into_iter().map(|path| (path.clone(), change(&path))).collect()
    }
}

fn salt_is_kept() -> CommandError {
    CommandError::new(
        "the idempotency salt of a secret is never replaced: with another one, payments that were made before could be made again",
        "leave idempotency_salt out",
    )
}

/// A JSON object.
pub(super) fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

/// The paths of a secret: its members, and those of its objects, that have a value.
pub(super) fn paths(root: &Map<String, Value>) -> Vec<String> {
    let of_member = |(name, value): (&String, &Value)| match value {
        Value::Object(members) => members.keys().map(|member| format!("{name}.{member}")).collect(),
        _ => vec![name.clone()],
    };
    root.iter().flat_map(of_member).filter(|path| !values(root, path).is_empty()).collect()
}

/// The values at a path, the current one first; a single value stands for a list of one.
pub(super) fn values(root: &Map<String, Value>, path: &str) -> Vec<Value> {
    let mut parts = path.splitn(2, '.');
    let found = root.get(parts.next().unwrap_or_default());
    let found = parts.next().map_or(found, |member| found.and_then(|group| group.get(member)));
    match found {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    }
}

/// A path key: 24 random bytes in hex.
///
/// # Errors
/// [`CommandError`] if the machine has no random numbers.
pub(super) fn new_path_key() -> Result<String, CommandError> {
    random_hex::<24>()
}

fn random_hex<const BYTES: usize>() -> Result<String, CommandError> {
    let mut bytes = [0; BYTES];
    let failed = |_| CommandError::new("the machine has no random numbers", "run the command on another machine");
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(hex::encode(bytes))
}
