//! Start-up of the function; its story is in the library beside this file.

use connector::lambda::{StartError, run};
use payment_details_deactivated::DetailsDeactivated;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(DetailsDeactivated).await
}
