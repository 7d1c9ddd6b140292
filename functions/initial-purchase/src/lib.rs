//! `POST /connectors/{gateway}/initial-payment` and `.../finalize`, or `.../v1/tokens` and its return addresses: a customer pays an order.
//!
//! `POST /connectors/{gateway}/payment-methods` and `.../sessions`: what a gateway's component needs before, for details too.
//!
//! Cleeng's checklist: read the order with the customer's token; charge exactly the order's amount, or verify the card if nothing is to be
//! paid yet; if the gateway demands an action of the customer, finish the payment when they return; report `captured` with the payment
//! details and the gateway's id, or `rejected` with the reason.

use async_trait::async_trait;
use connector::checkout::{order, page_methods, redirect};
use connector::delivery::Delivery;
use connector::frontend_api::{CallKind, FrontendContext, FrontendFlow, FrontendRequest, Reply};
use connector::journal::record::AttemptKind;

/// The kind of attempt that a return address of this function names.
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

    fn other_route(&self, path: &str) -> Option<CallKind> {
        match path {
            page_methods::METHODS_PATH => Some(CallKind::PageMethods),
            page_methods::SESSIONS_PATH => Some(CallKind::Session),
            _ => None,
        }
    }

    async fn handle(&self, context: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply {
        let reply = match &request.kind {
            CallKind::Start | CallKind::RedirectStart => order::start(context, request, delivery).await,
            CallKind::Finalize => order::finalize(context, request, delivery).await,
            CallKind::PageMethods | CallKind::Session => page_methods::answer(context, request).await,
            CallKind::BrowserReturn(reference) | CallKind::BrowserCancel(reference) => {
                redirect::handle_browser_return(context, request, reference, KIND, delivery).await
            }
        };
        reply.unwrap_or_else(|error| error.reply(Some(request.gateway)))
    }
}
