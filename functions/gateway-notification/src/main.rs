//! Start-up of the function; its flow is in the library beside this file.

use connector::lambda::{StartError, run_notifications};
use gateway_notification::GatewayNotifications;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run_notifications(GatewayNotifications).await
}
