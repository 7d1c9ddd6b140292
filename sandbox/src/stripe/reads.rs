//! Lists and the search.

use connector::clock::Timestamp;
use serde_json::{Value, json};

use super::form::Params;
use super::render::{self, Expand};
use super::state::{Answer, Refused, State, missing_param, wrong};
use super::{details, intents};
use crate::peer::PeerAnswer;

/// How many a list has where nothing is said.
const USUAL: usize = 10;

/// A page of a list, newest first.
struct Page {
    limit: usize,
    after: Option<String>,
    since: Option<i64>,
}

impl Page {
    fn read(params: &Params) -> Result<Self, Refused> {
        let limit = match params.number("limit")? {
            None => USUAL,
            Some(limit @ 1..=100) => usize::try_from(limit).unwrap_or(USUAL),
            Some(_) => return Err(wrong("limit", "This value must be between 1 and 100.")),
        };
        let since =
            params.inner("created", "gte").map(|text| text.parse().map_err(|_| wrong("created[gte]", "Invalid integer"))).transpose()?;
        Ok(Self { limit, after: params.text("starting_after")?, since })
    }

    /// Cuts the page out of everything, which comes oldest first.
    fn of(&self, url: &str, all: impl DoubleEndedIterator<Item = (String, Timestamp, Value)>) -> Answer {
        let fresh = |at: &Timestamp| self.since.is_none_or(|since| at.secs() >= since);
        let newest: Vec<(String, Value)> = all.rev().filter(|(_, at, _)| fresh(at)).map(|(id, _, body)| (id, body)).collect();
        let start = match &self.after {
            None => 0,
            Some(after) => match newest.iter().position(|(id, _)| id == after) {
                Some(position) => position.saturating_add(1),
                None => return Err(missing_param("object", "starting_after", after)),
            },
        };
        let has_more = newest.len() > start.saturating_add(self.limit);
        let data = newest.into_iter().skip(start).take(self.limit).map(|(_, body)| body).collect();
        Ok(PeerAnswer::json(200, &render::list(url, data, has_more)))
    }
}

/// GET `/v1/payment_intents`.
pub(super) fn intents(state: &State, params: &Params) -> Answer {
    params.only(&["customer", "created", "ending_before", "expand", "limit", "starting_after"])?;
    let expand = Expand::read(params.list("expand")?, &intents::EXPANDABLE, true)?;
    let customer = details::customer_of(state, params)?;
    let fits = state.intents.iter().filter(|one| customer.is_none() || one.customer == customer);
    Page::read(params)?.of("/v1/payment_intents", fits.map(|one| (one.id.clone(), one.created, render::intent(state, one, &expand))))
}

/// GET `/v1/setup_intents`.
pub(super) fn setups(state: &State, params: &Params) -> Answer {
    params.only(&["attach_to_self", "customer", "created", "ending_before", "expand", "limit", "payment_method", "starting_after"])?;
    let expand = Expand::read(params.list("expand")?, &["payment_method"], true)?;
    let customer = details::customer_of(state, params)?;
    let fits = state.setups.iter().filter(|one| customer.is_none() || one.customer == customer);
    Page::read(params)?.of("/v1/setup_intents", fits.map(|one| (one.id.clone(), one.created, render::setup(state, one, &expand))))
}

/// GET `/v1/refunds`.
pub(super) fn refunds(state: &State, params: &Params) -> Answer {
    params.only(&["charge", "created", "ending_before", "expand", "limit", "payment_intent", "starting_after"])?;
    let (intent, charge) = (params.text("payment_intent")?, params.text("charge")?);
    if let Some(id) = intent.as_ref().filter(|id| state.intent(id).is_none()) {
        return Err(missing_param("payment_intent", "payment_intent", id));
    }
    let fits = state.refunds.iter().filter(|one| intent.as_ref().is_none_or(|id| one.intent == *id));
    let fits = fits.filter(|one| charge.as_ref().is_none_or(|id| one.charge == *id));
    Page::read(params)?.of("/v1/refunds", fits.map(|one| (one.id.clone(), one.created, render::refund(one))))
}

/// GET `/v1/payment_intents/search`: everything as it was a while ago ("data is searchable in less than a minute"; docs.stripe.com/search).
/// Only what is alike in one field of the metadata can be asked for.
pub(super) fn search(state: &State, params: &Params, now: Timestamp) -> Answer {
    params.only(&["expand", "limit", "page", "query"])?;
    Expand::read(params.list("expand")?, &intents::EXPANDABLE, true)?;
    let query = params.required("query")?;
    let (name, value) = asked(&query).ok_or_else(|| wrong("query", "We were unable to parse your search query."))?;
    let known = state.intents.iter().rev().filter(|one| one.metadata.get(name).is_some_and(|given| given == value));
    let seen = known.filter_map(|one| one.history.iter().rev().find(|(at, _)| at.after(state.search_delay) <= now));
    let limit = Page::read(params)?.limit;
    let data: Vec<&Value> = seen.map(|(_, body)| body).take(limit).collect();
    let body =
        json!({ "object": "search_result", "url": "/v1/payment_intents/search", "has_more": false, "next_page": null, "data": data });
    Ok(PeerAnswer::json(200, &body))
}

/// GET `/v1/customers/search`, as far behind as every search.
pub(super) fn customers(state: &State, params: &Params, now: Timestamp) -> Answer {
    params.only(&["expand", "limit", "page", "query"])?;
    let query = params.required("query")?;
    let (name, value) = asked(&query).ok_or_else(|| wrong("query", "We were unable to parse your search query."))?;
    let known = state.customers.iter().rev().filter(|one| one.metadata.get(name).is_some_and(|given| given == value));
    let seen = known.filter(|one| one.created.after(state.search_delay) <= now);
    let data: Vec<Value> = seen.map(render::customer).take(Page::read(params)?.limit).collect();
    let body = json!({ "object": "search_result", "url": "/v1/customers/search", "has_more": false, "next_page": null, "data": data });
    Ok(PeerAnswer::json(200, &body))
}

/// `metadata['name']:'value'`, with quotes of either kind.
fn asked(query: &str) -> Option<(&str, &str)> {
    let quoted = |text: &'static str, rest| -> Option<(&str, &str)> { str::strip_prefix(rest, text)?.split_once(text) };
    let either = |rest| quoted("'", rest).or_else(|| quoted("\"", rest));
    let (name, rest) = either(query.strip_prefix("metadata[")?)?;
    let (value, rest) = either(rest.strip_prefix("]:")?)?;
    rest.is_empty().then_some((name, value))
}
