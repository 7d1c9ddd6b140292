//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run_frontend};
use initial_purchase::InitialPurchase;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run_frontend(InitialPurchase).await
}
