//! `POST /connectors/{gateway}/payment-details` and `.../finalize`, or `.../v1/payment_details/tokens` and its return addresses: a customer
//! stores payment details.
//!
//! Cleeng's checklist: obtain a token from the gateway without a charge, if needed with an action of the customer; then report the new
//! details to Cleeng, active unless the page says otherwise. Active details replace all older ones.

use async_trait::async_trait;
use connector::checkout::{details, redirect};
use connector::delivery::Delivery;
use connector::frontend_api::reply::BAD_PATH;
use connector::frontend_api::{CallKind, FrontendContext, FrontendFlow, FrontendRequest, Reply};
use connector::journal::record::AttemptKind;

/// The kind of attempt that a return address of this function names.
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
        let reply = match &request.kind {
            CallKind::Start | CallKind::RedirectStart => details::start(context, request, delivery).await,
            CallKind::Finalize => details::finalize(context, request, delivery).await,
            // No route of this function leads here.
            CallKind::PageMethods | CallKind::Session => Err(BAD_PATH),
            CallKind::BrowserReturn(reference) | CallKind::BrowserCancel(reference) => {
                redirect::handle_browser_return(context, request, reference, KIND, delivery).await
            }
        };
        reply.unwrap_or_else(|error| error.reply(Some(request.gateway)))
    }
}
