//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run_frontend};
use payment_details::PaymentDetails;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run_frontend(PaymentDetails).await
}
