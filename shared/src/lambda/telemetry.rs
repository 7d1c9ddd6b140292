//! What a function reports: JSON log lines and metrics in CloudWatch's embedded metric format, both one line each on one output.
//!
//! The first line of defence is that no code logs a body, a token, an e-mail address or a foreign error. The second is here: every line is
//! searched for registered secrets and for e-mail addresses before it is written, also in lines of other crates.

mod emf;
mod logs;
mod redactor;

pub use emf::{EmfSink, NAMESPACE};
pub use logs::{LineWriter, Output, subscriber};
pub use redactor::{REDACTED, Redactor};

#[cfg(test)]
mod tests;
