//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run_scheduled};
use reconciliation::Reconciliation;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run_scheduled(Reconciliation).await
}
