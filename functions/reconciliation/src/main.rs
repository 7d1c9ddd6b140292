//! Start-up of the function; its story is in the library beside this file.

use connector::lambda::{StartError, run_rounds};
use reconciliation::Reconciliation;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run_rounds(Reconciliation).await
}
