//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run};
use subscription_ready_for_termination::Termination;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(Termination).await
}
