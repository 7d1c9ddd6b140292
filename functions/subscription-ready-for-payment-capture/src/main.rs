//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run};
use subscription_ready_for_payment_capture::Capture;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(Capture).await
}
