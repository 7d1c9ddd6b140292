//! `POST /connectors/{gateway}/payment-details` and `.../finalize`, or `.../v1/payment_details/redirect_path` and the ways back to it: a customer stores
//! payment details.
//!
//! Cleeng's checklist: a token at the gateway, without a charge, maybe with something that the customer has to do; then tell Cleeng the new
//! details, active unless the page says otherwise. Active ones take the place of all older ones.

use async_trait::async_trait;
use connector::checkout::{details, redirect};
use connector::delivery::Delivery;
use connector::frontend_api::{CallKind, FrontendContext, FrontendFlow, FrontendRequest, Reply};
use connector::journal::record::AttemptKind;

/// What is asked for by reference must be of this kind.
const KIND: AttemptKind = AttemptKind::StoreDetails;

/// Stores payment details.
#[derive(Clone, Copy, Debug, Default)]
pub struct PaymentDetails;

#[async_trait]
impl FrontendFlow for PaymentDetails {
    fn route(&self) -> &'static str {
        "payment-details"
    }

    fn redirect_path(&self) -> &'static str {
        details::REDIRECT_PATH
    }

    async fn handle(&self, context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply {
        match &request.kind {
            CallKind::Start | CallKind::RedirectStart => details::start(context, request, delivery).await,
            CallKind::Finalize => details::finalize(context, request, delivery).await,
            CallKind::BrowserReturn(reference) => redirect::handle_return(context, request, reference, KIND, delivery).await,
            CallKind::BrowserCancel(reference) => redirect::handle_cancel(context, request, reference, KIND, delivery).await,
        }
    }
}
