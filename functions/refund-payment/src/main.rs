//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run};
use refund_payment::RefundPayment;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(RefundPayment).await
}
