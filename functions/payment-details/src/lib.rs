//! `POST /connectors/{gateway}/payment-details` and `.../finalize`: a customer stores payment details.
//!
//! Cleeng's checklist: a token at the gateway, without a charge, maybe with something that the customer has to do; then tell Cleeng the new
//! details, active unless the page says otherwise. Active ones take the place of all older ones.

use async_trait::async_trait;
use connector::flow::Delivery;
use connector::front::{Desk, FrontEnd, FrontRequest, Reply, Stage};
use connector::purchase::details;

/// Stores payment details.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentDetails;

#[async_trait]
impl FrontEnd for PaymentDetails {
    fn route(&self) -> &'static str {
        "payment-details"
    }

    async fn answer(&self, desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
        match request.stage {
            Stage::Start => details::start(desk, request, delivery).await,
            Stage::Finalize => details::finalize(desk, request, delivery).await,
        }
    }
}
