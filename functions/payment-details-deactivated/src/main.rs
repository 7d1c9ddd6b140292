//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run};
use payment_details_deactivated::PaymentDetailsDeactivated;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(PaymentDetailsDeactivated).await
}
