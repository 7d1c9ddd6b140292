//! The stored token of ExampleGateway's details. TODO: everything that a later payment needs, as one reversible text. Must never end up in a
//! log.

use crate::gateway::{GatewayError, StoredToken};
use crate::secret::SecretString;

/// The id of the stored details in a token. TODO: the form of the gateway's ids.
pub(super) fn read(token: &StoredToken) -> Result<SecretString, GatewayError> {
    let id = token.0.expose();
    if is_id(id) { Ok(SecretString::new(id)) } else { Err(GatewayError::BadToken) }
}

/// The token of stored details; `None` for an id that [`read`] would refuse.
pub(super) fn write(id: &str) -> Option<StoredToken> {
    is_id(id).then(|| StoredToken(SecretString::new(id)))
}

fn is_id(text: &str) -> bool {
    let plain = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 255 && text.strip_prefix("src_").is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let written = write("src_0000000000000001").unwrap();
        assert_eq!(read(&written).map(|id| id.expose().to_owned()), Ok("src_0000000000000001".to_owned()));
    }

    #[test]
    fn garbage_is_neither_read_nor_written() {
        for text in ["", "src_", "src_1/../x", "src_1 ", "tok_1"] {
            assert_eq!(read(&StoredToken(SecretString::new(text))).map(drop), Err(GatewayError::BadToken), "{text}");
            assert!(write(text).is_none(), "{text}");
        }
    }
}
