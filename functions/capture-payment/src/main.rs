//! Start-up of the function; its flow is in the library beside this file.

use capture_payment::CapturePayment;
use connector::lambda::{StartError, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(CapturePayment).await
}
