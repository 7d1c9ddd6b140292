//! HMAC-SHA256 signatures of notifications. Must never compare a signature in another way than in constant time.

use ring::hmac;

/// The keys of which each may sign, since a key is replaced while notifications are on their way.
pub(crate) struct HmacKeys(Vec<hmac::Key>);

impl HmacKeys {
    /// Takes the bytes of each key.
    pub(crate) fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(keys.into_iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())).collect())
    }

    /// Whether one of the keys made this signature. Each comparison takes constant time; which key fits is no secret.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.iter().any(|key| hmac::verify(key, message, signature).is_ok())
    }
}

/// 32 bytes in hex, in either case; `None` for anything else.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}
