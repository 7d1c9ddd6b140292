//! Parameters as Stripe takes them: `application/x-www-form-urlencoded` with brackets, in bodies and in queries
//! (docs.stripe.com/api: "Our API accepts form-encoded request bodies"; stripe/stripe-node `src/utils.ts`, `queryStringifyRequestData`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::simulators::stripe::error::{ErrorResponse, invalid, invalid_param};

/// The parameters of a request: a tree with texts as leaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Param {
    Text(String),
    /// `name[]` or `name[0]`; also a name that comes twice, which is refused where a text is wanted.
    List(Vec<Param>),
    Tree(BTreeMap<String, Param>),
}

/// What a request may say, and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Params(BTreeMap<String, Param>);

impl Params {
    /// Reads a form.
    pub(super) fn parse(form: &[u8]) -> Result<Self, ErrorResponse> {
        serde_qs::Config::new().use_form_encoding(true).deserialize_bytes(form).map_err(|_| invalid_param("body", "Invalid form"))
    }

    /// Refuses every parameter that is not among `known`.
    pub(super) fn allow_only(&self, known: &[&str]) -> Result<(), ErrorResponse> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(invalid("parameter_unknown", Some(name), &format!("Received unknown parameter: {name}"))),
            None => Ok(()),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text; one that is there and empty is refused.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ErrorResponse> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Param::Text(text)) if text.is_empty() => {
                let message =
                    format!("You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter.");
                Err(invalid("parameter_invalid_empty", Some(name), &message))
            }
            Some(Param::Text(text)) => Ok(Some(text.clone())),
            Some(Param::List(_) | Param::Tree(_)) => Err(invalid_param(name, "Invalid string")),
        }
    }

    /// A text that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<String, ErrorResponse> {
        self.text(name)?.ok_or_else(|| invalid("parameter_missing", Some(name), &format!("Missing required param: {name}.")))
    }

    /// `true` or `false`; false where it is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ErrorResponse> {
        match self.text(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(invalid_param(name, &format!("Invalid boolean: {other}"))),
        }
    }

    /// A whole number in plain digits.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, ErrorResponse> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let plain = text.strip_prefix('-').unwrap_or(&text).bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| plain);
        number.map(Some).ok_or_else(|| invalid("parameter_invalid_integer", Some(name), &format!("Invalid integer: {text}")))
    }

    /// One of these words.
    pub(super) fn choice(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, ErrorResponse> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let word = words.iter().copied().find(|word| *word == text);
        word.map(Some).ok_or_else(|| invalid_param(name, &format!("Invalid {name}: must be one of {}", words.join(", "))))
    }

    /// A list of texts, in the order of their numbers.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, ErrorResponse> {
        let refused = || invalid_param(name, "Invalid array");
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Param::List(items)) => items
                .iter()
                .map(|item| match item {
                    Param::Text(text) => Ok(text.clone()),
                    Param::List(_) | Param::Tree(_) => Err(refused()),
                })
                .collect(),
            Some(Param::Text(_) | Param::Tree(_)) => Err(refused()),
        }
    }

    /// Names and values of the merchant's own: at most 50, names of 40 and values of 500 characters (docs.stripe.com/api/metadata).
    pub(super) fn metadata(&self) -> Result<BTreeMap<String, String>, ErrorResponse> {
        let refused = |message: &str| invalid_param("metadata", message);
        let tree = match self.0.get("metadata") {
            None => return Ok(BTreeMap::new()),
            Some(Param::Text(_) | Param::List(_)) => return Err(refused("Invalid object")),
            Some(Param::Tree(tree)) => tree,
        };
        let mut metadata = BTreeMap::new();
        for (name, value) in tree {
            let Param::Text(value) = value else { return Err(refused("Metadata values can not be objects")) };
            if name.chars().count() > 40 || value.chars().count() > 500 {
                return Err(refused("Metadata can have names of 40 and values of 500 characters"));
            }
            metadata.insert(name.clone(), value.clone());
        }
        if metadata.len() > 50 {
            return Err(refused("You can only have up to 50 keys in metadata"));
        }
        Ok(metadata)
    }

    /// A text inside a node, such as `created[gte]`.
    pub(super) fn inner(&self, name: &str, inner: &str) -> Option<&str> {
        let Param::Tree(tree) = self.0.get(name)? else { return None };
        let Param::Text(text) = tree.get(inner)? else { return None };
        Some(text)
    }
}
