//! Not there yet.

use crate::answer::{Answer, Failure};
use crate::arguments::Parked;
use crate::surroundings::Surroundings;

/// x
///
/// # Errors
/// x
#[expect(clippy::unused_async)]
pub async fn run(_command: &Parked, _surroundings: &Surroundings) -> Result<Answer, Failure> {
    Err(Failure::new("not there yet", "wait"))
}
