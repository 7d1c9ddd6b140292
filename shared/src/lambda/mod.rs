//! x
pub mod aws;
