//! Keys and certificates that were made for the simulator and are public: they protect nothing. They are valid from 2020 to 2049
//! where nothing else is said.

/// The test CA: the trust root of the adapter in tests.
pub const TEST_CA: &str = include_str!("test_keys/ca.pem");
/// The signer's certificate, by the test CA.
pub const TRUSTED: &str = include_str!("test_keys/trusted.pem");
/// The same, by the test CA, over since the end of 2025.
pub const EXPIRED: &str = include_str!("test_keys/expired.pem");
/// The same, by another CA.
pub const FOREIGN: &str = include_str!("test_keys/foreign.pem");
/// By the test CA, for the signer's key, to somebody else.
pub const MISNAMED: &str = include_str!("test_keys/misnamed.pem");
/// The signer's key.
pub(super) const SIGNER_KEY: &str = include_str!("test_keys/signer_key.pem");
