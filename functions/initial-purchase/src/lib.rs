//! `POST /connectors/{gateway}/initial-payment` and `.../finalize`, or `.../v1/redirect_path` and the ways back to it: a customer pays an order.
//!
//! Cleeng's checklist: read the order with the customer's token; ask the gateway for exactly the order's amount, or verify the card where
//! nothing is to be paid yet; maybe have the customer do something and finish it when he is back; tell Cleeng `captured` with the payment
//! details and the gateway's id, or `rejected` with the reason.

use async_trait::async_trait;
use connector::checkout::{order, redirect};
use connector::delivery::Delivery;
use connector::frontend_api::{CallKind, FrontendContext, FrontendFlow, FrontendRequest, Reply};
use connector::journal::record::AttemptKind;

/// What is asked for by reference must be of this kind.
const KIND: AttemptKind = AttemptKind::Purchase;

/// Pays an order.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitialPurchase;

#[async_trait]
impl FrontendFlow for InitialPurchase {
    fn route(&self) -> &'static str {
        "initial-payment"
    }

    fn redirect_path(&self) -> &'static str {
        order::REDIRECT_PATH
    }

    async fn handle(&self, context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply {
        match &request.kind {
            CallKind::Start | CallKind::RedirectStart => order::start(context, request, delivery).await,
            CallKind::Finalize => order::finalize(context, request, delivery).await,
            CallKind::BrowserReturn(reference) => redirect::handle_return(context, request, reference, KIND, delivery).await,
            CallKind::BrowserCancel(reference) => redirect::handle_cancel(context, request, reference, KIND, delivery).await,
        }
    }
}
