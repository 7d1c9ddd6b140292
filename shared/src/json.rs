//! The door of foreign JSON: everything that comes from outside is parsed here, and nowhere else.
//!
//! What is let in can be stored and read again. It is nested at most [`MAX_DEPTH`] deep: `serde_json` writes any depth and reads 127, so that
//! a deeper text inside a document could be written and never be read again. It has none of the names by which `serde_json` passes its own
//! `Number` and `RawValue` on: an object of such a name is parsed once more as what it holds, without any limit of depth.

use serde_json::Value;
use thiserror::Error;

/// How deep arrays and objects may be nested. The deepest that Cleeng or a gateway is known to send is ten.
pub const MAX_DEPTH: usize = 32;
/// The names that `serde_json` keeps for itself begin with this (`serde_json` 1.0, features `arbitrary_precision` and `raw_value`).
const PRIVATE_NAME: &str = "$serde_json::private::";

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// It is no JSON in UTF-8.
    #[error("no JSON in UTF-8")]
    Syntax,
    /// It is nested too deep.
    #[error("nested too deep")]
    TooDeep,
    /// It has a name or a text that `serde_json` keeps for itself.
    #[error("a reserved name")]
    ReservedName,
}

/// Parses a text from outside. A byte order mark in front of it is skipped (RFC 8259, section 8.1).
///
/// # Errors
/// [`JsonError`].
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    check(text, MAX_DEPTH)?;
    serde_json::from_slice(text).map_err(|_| JsonError::Syntax)
}

/// Checks a text before it is parsed or stored, without parsing it.
///
/// # Errors
/// [`JsonError::TooDeep`], [`JsonError::ReservedName`].
pub fn check(text: &[u8], max_depth: usize) -> Result<(), JsonError> {
    // Most texts have too few brackets for any such depth, and neither an escape nor a dollar: they are done after a fast look.
    let openings = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if openings <= max_depth && !text.iter().any(|byte| matches!(byte, b'\\' | b'$')) {
        return Ok(());
    }
    let (mut depth, mut rest) = (0_usize, text);
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = check_string(rest)?,
            _ => {}
        }
        if depth > max_depth {
            return Err(JsonError::TooDeep);
        }
    }
    Ok(())
}

/// Checks the string that begins here, behind its quote, and returns what follows it.
fn check_string(text: &[u8]) -> Result<&[u8], JsonError> {
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    // Without an end it is no JSON, which its parser finds.
    let (string, rest) = text.split_at(end.unwrap_or(text.len()));
    if matches!(string.first(), Some(b'$' | b'\\')) && is_reserved(string) {
        return Err(JsonError::ReservedName);
    }
    Ok(rest.split_first().map_or(rest, |(_quote, behind)| behind))
}

/// Any character of the name may be escaped.
fn is_reserved(string: &[u8]) -> bool {
    let quoted = [b"\"", string, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).is_ok_and(|text| text.starts_with(PRIVATE_NAME))
}

/// A foreign value inside a document of ours is kept as one text, so that it adds nothing to the document's depth: for `#[serde(with)]`.
pub mod as_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use serde_json::Value;

    /// Writes the value as a text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads the text as a value.
    ///
    /// # Errors
    /// Those of the deserializer, and a text that [`parse`](super::parse) does not take.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn a_text_may_be_nested_32_deep_and_no_deeper() {
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        for text in [nested(MAX_DEPTH + 1), nested(100_000), "{\"a\":".repeat(33), format!("[\"\\\"\",{}]", nested(MAX_DEPTH))] {
            assert_eq!(parse(text.as_bytes()).err(), Some(JsonError::TooDeep));
        }
        let beside = format!("[{}]", vec!["{\"a\":[]}"; 100].join(","));
        assert!(parse(beside.as_bytes()).is_ok(), "many are not deep");
        assert!(parse(format!("[\"{}\"]", "[".repeat(100)).as_bytes()).is_ok(), "brackets in a text are no depth");
    }

    #[test]
    fn what_serde_json_keeps_for_itself_is_refused_in_any_writing() {
        for name in ["RawValue", "Number"] {
            for dollar in ["$", "\\u0024"] {
                for letter in ["s", "\\u0073"] {
                    let text = format!("{{\"{dollar}{letter}erde_json::private::{name}\":\"[1]\"}}");
                    assert_eq!(parse(text.as_bytes()).err(), Some(JsonError::ReservedName), "{text}");
                }
            }
        }
        let mut text = "1".to_owned();
        for _ in 0..200 {
            text = json!({ "x": text }).to_string().replace("\"x\"", "\"$serde_json::private::RawValue\"");
            if text.len() > 11_000 {
                break;
            }
        }
        assert_eq!(parse(text.as_bytes()).err(), Some(JsonError::ReservedName));
        for text in [r#"{"$":"\\$serde"}"#, r#"{"$ref":"a\"b"}"#, r#"["\u0024serde_json"]"#] {
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(parse(b"\xef\xbb\xbf{\"a\":1}").ok(), Some(json!({ "a": 1 })));
        assert_eq!(parse(b"\xff{}").err(), Some(JsonError::Syntax));
    }

    #[derive(Serialize, Deserialize)]
    struct Document {
        #[serde(with = "as_text")]
        foreign: Value,
    }

    proptest! {
        #[test]
        fn a_foreign_value_comes_out_of_a_document_as_it_went_in(text in ".*", number in "-?[1-9][0-9]{0,40}(\\.[0-9]{1,9})?") {
            let foreign = parse(format!("{{\"a\":[{number},null],\"b\":{}}}", json!(text)).as_bytes());
            // Proptest knows the reserved names as little as anybody.
            let foreign = foreign.unwrap();
            let document = serde_json::to_string(&Document { foreign: foreign.clone() }).unwrap();
            prop_assert_eq!(serde_json::from_str::<Document>(&document).unwrap().foreign, foreign);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
