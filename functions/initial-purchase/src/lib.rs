//! `POST /connectors/{gateway}/initial-payment` and `.../finalize`, or `.../v1/tokens` and the ways back to it: a customer pays an order.
//!
//! Cleeng's checklist: read the order with the customer's token; ask the gateway for exactly the order's amount, or verify the card where
//! nothing is to be paid yet; maybe have the customer do something and finish it when he is back; tell Cleeng `captured` with the payment
//! details and the gateway's id, or `rejected` with the reason.

use async_trait::async_trait;
use connector::flow::Delivery;
use connector::front::{Desk, FrontEnd, FrontRequest, Reply, Stage};
use connector::journal::record::AttemptKind;
use connector::purchase::{order, redirect};

/// What is asked for by reference must be of this kind.
const KIND: AttemptKind = AttemptKind::Purchase;

/// Pays an order.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitialPurchase;

#[async_trait]
impl FrontEnd for InitialPurchase {
    fn route(&self) -> &'static str {
        "initial-payment"
    }

    fn tokens(&self) -> &'static str {
        order::TOKENS
    }

    async fn answer(&self, desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
        match &request.stage {
            Stage::Start | Stage::Tokens => order::start(desk, request, delivery).await,
            Stage::Finalize => order::finalize(desk, request, delivery).await,
            Stage::Returned(reference) => redirect::came_back(desk, request, reference, KIND, delivery).await,
            Stage::GaveUp(reference) => redirect::gave_up(desk, request, reference, KIND, delivery).await,
        }
    }
}
