//! Values that the sandbox defines itself. Without them nothing of it can run, so a missing one is a defect of the sandbox.

/// Unwraps a value that the sandbox defines itself.
#[expect(clippy::expect_used, reason = "the sandbox's own fixtures: without them no test can run")]
pub(crate) fn expect_fixture<T>(fixture: Option<T>) -> T {
    fixture.expect("a fixture of the sandbox is missing")
}
