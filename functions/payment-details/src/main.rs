//! Start-up of the function; its story is in the library beside this file.

use connector::lambda::{StartError, run_front_end};
use payment_details::PaymentDetails;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run_front_end(PaymentDetails).await
}
