//! Lists and the search.

use connector::clock::Timestamp;
use serde_json::{Value, json};

use crate::simulators::network::ServerResponse;
use crate::simulators::stripe::error::{ErrorResponse, HandlerResult, invalid_param, param_not_found};
use crate::simulators::stripe::form::Params;
use crate::simulators::stripe::render::{self, Expand};
use crate::simulators::stripe::state::State;
use crate::simulators::stripe::{details, intents};

/// How many a list has where nothing is said.
const DEFAULT_LIMIT: usize = 10;

/// A page of a list, newest first.
struct Page {
    limit: usize,
    after: Option<String>,
    since: Option<i64>,
}

impl Page {
    fn parse(params: &Params) -> Result<Self, ErrorResponse> {
        let limit = match params.number("limit")? {
            None => DEFAULT_LIMIT,
            Some(limit @ 1..=100) => usize::try_from(limit).unwrap_or(DEFAULT_LIMIT),
            Some(_) => return Err(invalid_param("limit", "This value must be between 1 and 100.")),
        };
        let since = params
            .inner("created", "gte")
            .map(|text| text.parse().map_err(|_| invalid_param("created[gte]", "Invalid integer")))
            .transpose()?;
        Ok(Self { limit, after: params.text("starting_after")?, since })
    }

    /// Cuts the page out of everything, which comes oldest first.
    fn response_from(&self, url: &str, all: impl DoubleEndedIterator<Item = (String, Timestamp, Value)>) -> HandlerResult {
        let fresh = |at: &Timestamp| self.since.is_none_or(|since| at.secs() >= since);
        let newest: Vec<(String, Value)> = all.rev().filter(|(_, at, _)| fresh(at)).map(|(id, _, body)| (id, body)).collect();
        let start = match &self.after {
            None => 0,
            Some(after) => match newest.iter().position(|(id, _)| id == after) {
                Some(position) => position.saturating_add(1),
                None => return Err(param_not_found("object", "starting_after", after)),
            },
        };
        let has_more = newest.len() > start.saturating_add(self.limit);
        let data = newest.into_iter().skip(start).take(self.limit).map(|(_, body)| body).collect();
        Ok(ServerResponse::json(200, &render::list(url, data, has_more)))
    }
}

/// GET `/v1/payment_intents`.
pub(super) fn intents(state: &State, params: &Params) -> HandlerResult {
    params.allow_only(&["customer", "created", "ending_before", "expand", "limit", "starting_after"])?;
    let expand = Expand::parse(params.list("expand")?, &intents::EXPANDABLE, true)?;
    let customer = details::customer_param(state, params)?;
    let fits = state.intents.iter().filter(|one| customer.is_none() || one.customer == customer);
    Page::parse(params)?
        .response_from("/v1/payment_intents", fits.map(|one| (one.id.clone(), one.created, render::intent(state, one, &expand))))
}

/// GET `/v1/setup_intents`.
pub(super) fn setups(state: &State, params: &Params) -> HandlerResult {
    params.allow_only(&[
        "attach_to_self",
        "customer",
        "created",
        "ending_before",
        "expand",
        "limit",
        "payment_method",
        "starting_after",
    ])?;
    let expand = Expand::parse(params.list("expand")?, &["payment_method"], true)?;
    let customer = details::customer_param(state, params)?;
    let fits = state.setups.iter().filter(|one| customer.is_none() || one.customer == customer);
    Page::parse(params)?
        .response_from("/v1/setup_intents", fits.map(|one| (one.id.clone(), one.created, render::setup(state, one, &expand))))
}

/// GET `/v1/refunds`.
pub(super) fn refunds(state: &State, params: &Params) -> HandlerResult {
    params.allow_only(&["charge", "created", "ending_before", "expand", "limit", "payment_intent", "starting_after"])?;
    let (intent, charge) = (params.text("payment_intent")?, params.text("charge")?);
    if let Some(id) = intent.as_ref().filter(|id| state.intent(id).is_none()) {
        return Err(param_not_found("payment_intent", "payment_intent", id));
    }
    let fits = state.refunds.iter().filter(|one| intent.as_ref().is_none_or(|id| one.intent == *id));
    let fits = fits.filter(|one| charge.as_ref().is_none_or(|id| one.charge == *id));
    Page::parse(params)?.response_from("/v1/refunds", fits.map(|one| (one.id.clone(), one.created, render::refund(one))))
}

/// GET `/v1/payment_intents/search`: everything as it was a while ago ("data is searchable in less than a minute"; docs.stripe.com/search).
/// Only what is alike in one field of the metadata can be asked for.
pub(super) fn search(state: &State, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["expand", "limit", "page", "query"])?;
    Expand::parse(params.list("expand")?, &intents::EXPANDABLE, true)?;
    let query = params.required("query")?;
    let (name, value) = parse_search_query(&query).ok_or_else(|| invalid_param("query", "We were unable to parse your search query."))?;
    let known = state.intents.iter().rev().filter(|one| one.metadata.get(name).is_some_and(|given| given == value));
    let seen = known.filter_map(|one| one.history.iter().rev().find(|(at, _)| at.after(state.search_delay) <= now));
    let limit = Page::parse(params)?.limit;
    let data: Vec<&Value> = seen.map(|(_, body)| body).take(limit).collect();
    let body =
        json!({ "object": "search_result", "url": "/v1/payment_intents/search", "has_more": false, "next_page": null, "data": data });
    Ok(ServerResponse::json(200, &body))
}

/// GET `/v1/customers/search`, as far behind as every search.
pub(super) fn customers(state: &State, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["expand", "limit", "page", "query"])?;
    let query = params.required("query")?;
    let (name, value) = parse_search_query(&query).ok_or_else(|| invalid_param("query", "We were unable to parse your search query."))?;
    let known = state.customers.iter().rev().filter(|one| one.metadata.get(name).is_some_and(|given| given == value));
    let seen = known.filter(|one| one.created.after(state.search_delay) <= now);
    let data: Vec<Value> = seen.map(render::customer).take(Page::parse(params)?.limit).collect();
    let body = json!({ "object": "search_result", "url": "/v1/customers/search", "has_more": false, "next_page": null, "data": data });
    Ok(ServerResponse::json(200, &body))
}

/// `metadata['name']:'value'`, with quotes of either kind.
fn parse_search_query(query: &str) -> Option<(&str, &str)> {
    let quoted = |text: &'static str, rest| -> Option<(&str, &str)> { str::strip_prefix(rest, text)?.split_once(text) };
    let either = |rest| quoted("'", rest).or_else(|| quoted("\"", rest));
    let (name, rest) = either(query.strip_prefix("metadata[")?)?;
    let (value, rest) = either(rest.strip_prefix("]:")?)?;
    rest.is_empty().then_some((name, value))
}
