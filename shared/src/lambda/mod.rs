//! x
pub mod aws;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct StartError;
/// x
pub async fn run(_flow: impl crate::flow::Flow + 'static) -> Result<(), StartError> {
    Ok(())
}
