//! `POST /connectors/{gateway}/payment-details` and `.../finalize`, or `.../v1/payment_details/tokens` and the ways back to it: a customer stores
//! payment details.
//!
//! Cleeng's checklist: a token at the gateway, without a charge, maybe with something that the customer has to do; then tell Cleeng the new
//! details, active unless the page says otherwise. Active ones take the place of all older ones.

use async_trait::async_trait;
use connector::flow::Delivery;
use connector::front::{Desk, FrontEnd, FrontRequest, Reply, Stage};
use connector::journal::record::AttemptKind;
use connector::purchase::{details, redirect};

/// What is asked for by reference must be of this kind.
const KIND: AttemptKind = AttemptKind::StoreDetails;

/// Stores payment details.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentDetails;

#[async_trait]
impl FrontEnd for PaymentDetails {
    fn route(&self) -> &'static str {
        "payment-details"
    }

    fn tokens(&self) -> &'static str {
        details::TOKENS
    }

    async fn answer(&self, desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
        match &request.stage {
            Stage::Start | Stage::Tokens => details::start(desk, request, delivery).await,
            Stage::Finalize => details::finalize(desk, request, delivery).await,
            Stage::Returned(reference) => redirect::came_back(desk, request, reference, KIND, delivery).await,
            Stage::GaveUp(reference) => redirect::gave_up(desk, request, reference, KIND, delivery).await,
        }
    }
}
