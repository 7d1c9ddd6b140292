//! One start, of an order's payment or of a storing, in either style.

use super::pending_setups::PendingSetups;
use super::response::{self, TryOutcome};
use super::snapshot::Snapshot;
use super::{details, order, redirect};
use crate::delivery::Delivery;
use crate::frontend_api::body::PaymentInput;
use crate::frontend_api::reply::Reply;
use crate::frontend_api::{FrontendContext, GATEWAY_TIMEOUT};
use crate::payments::obligation_context::ObligationContext;

/// Starts what is wanted, and answers in the page's style.
pub async fn start(desk: &FrontendContext, wanted: &Snapshot, input: &PaymentInput, delivery: &Delivery) -> Reply {
    let told = response::retry_while_busy(desk, || start_once(desk, wanted, input, delivery)).await;
    match input.return_target.redirect_urls() {
        None => told.reply(wanted.gateway),
        Some(onward) => redirect::start_reply(told, wanted.gateway, onward),
    }
}

async fn start_once(desk: &FrontendContext, wanted: &Snapshot, input: &PaymentInput, delivery: &Delivery) -> TryOutcome {
    let (key, also) = match &wanted.order {
        Some(order) => (order::order_key(order), Vec::new()),
        None => (details::details_key(wanted), vec![PendingSetups::key(&wanted.customer)]),
    };
    let mut case = match ObligationContext::open_with_attempt_payments(&desk.flow_context, key, &also, delivery).await {
        Ok(case) => case,
        Err(disposition) => return response::outcome_without_obligation(&disposition),
    };
    case.limit_call_time(GATEWAY_TIMEOUT);
    let story = match wanted.order {
        Some(_) => order::run_start(&mut case, wanted, input).await,
        None => details::run_start(&mut case, wanted, input).await,
    };
    let disposition = case.conclude(story).await;
    response::page_outcome(&case, &disposition)
}
