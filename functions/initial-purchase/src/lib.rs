//! `POST /connectors/{gateway}/initial-payment` and `.../finalize`: a customer pays an order.
//!
//! Cleeng's checklist: read the order with the customer's token; ask the gateway for exactly the order's amount, or verify the card where
//! nothing is to be paid yet; maybe have the customer do something and finish it when he is back; tell Cleeng `captured` with the payment
//! details and the gateway's id, or `rejected` with the reason.

use async_trait::async_trait;
use connector::flow::Delivery;
use connector::front::{Desk, FrontEnd, FrontRequest, Reply, Stage};
use connector::purchase::order;

/// Pays an order.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitialPurchase;

#[async_trait]
impl FrontEnd for InitialPurchase {
    fn route(&self) -> &'static str {
        "initial-payment"
    }

    async fn answer(&self, desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
        match request.stage {
            Stage::Start => order::start(desk, request, delivery).await,
            Stage::Finalize => order::finalize(desk, request, delivery).await,
        }
    }
}
