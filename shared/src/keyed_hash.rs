//! The keyed hash of the project: the same parts have the same hash, and only a holder of the salt can compute it. Must never change: the
//! keys of calls and of journal documents are derived from it.

use ring::hmac;

use crate::secret::SecretString;

/// The first `N` bytes, at most 32, of the HMAC-SHA256 of the parts under the salt.
#[must_use]
pub fn keyed_hash<const N: usize>(salt: &SecretString, parts: &[&str]) -> [u8; N] {
    const { assert!(N <= 32, "HMAC-SHA256 has 32 bytes") };
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, salt.expose().as_bytes()));
    for part in parts {
        // Lengths keep ("ab", "c") apart from ("a", "bc").
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut hash = [0; N];
    hash.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes_from_one_release_to_the_next() {
        let hash: [u8; 32] = keyed_hash(&SecretString::new("salt"), &["details-token", "stripe", "pm_1:cus_1"]);
        assert_eq!(hex::encode(hash), "01dfa001af3b9a5db3039e56ea39e5245ba9802f2705ca6832ae9f07a95c8811");
    }

    #[test]
    fn parts_are_kept_apart() {
        let salt = SecretString::new("salt");
        let hash = |parts: &[&str]| keyed_hash::<16>(&salt, parts);
        assert_eq!(hex::encode(hash(&["ab", "c"])), "8a798ad550c704a5fb51ef7da53cda8b");
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["abc"]), hash(&["abc", ""]));
    }
}
