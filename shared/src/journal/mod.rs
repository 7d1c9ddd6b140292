//! x
#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
pub mod dynamodb;
pub mod memory;
pub mod store;
