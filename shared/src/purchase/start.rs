//! One start, of an order's payment or of a storing, in either style.

use super::facts::Snapshot;
use super::tell::{self, Turned};
use super::{details, order, redirect};
use crate::billing::case::Case;
use crate::flow::Delivery;
use crate::front::body::PaymentInput;
use crate::front::reply::Reply;
use crate::front::{Desk, GATEWAY_TIMEOUT};

/// Starts what is wanted, and answers in the page's style.
pub async fn start(desk: &Desk, wanted: &Snapshot, input: &PaymentInput, delivery: &Delivery) -> Reply {
    let told = tell::patiently(desk, || once(desk, wanted, input, delivery)).await;
    match input.back_to.onward() {
        None => told.reply(wanted.gateway),
        Some(onward) => redirect::started(told, wanted.gateway, onward),
    }
}

async fn once(desk: &Desk, wanted: &Snapshot, input: &PaymentInput, delivery: &Delivery) -> Turned {
    let (key, also) = match &wanted.order {
        Some(order) => (order::order_key(order), Vec::new()),
        None => (details::details_key(wanted), vec![details::head_key(&wanted.customer)]),
    };
    let mut case = match Case::open_alone(&desk.world, key, &also, delivery).await {
        Ok(case) => case,
        Err(verdict) => return tell::unopened(&verdict),
    };
    case.bound_calls(GATEWAY_TIMEOUT);
    let story = match wanted.order {
        Some(_) => order::pay(&mut case, wanted, input).await,
        None => details::store(&mut case, wanted, input).await,
    };
    let verdict = case.conclude(story).await;
    tell::tell(&case, &verdict)
}
