//! The context of one request: database, quirks and time, and the helpers that every endpoint needs.

use connector::cleeng::client::{AuthorisedSpelling, FreeStartOperation, RefundFields, RejectedDetails};
use connector::clock::Timestamp;
use connector::ids::Id;
use connector::money::Money;
use serde_json::{Map, Value, json};

use crate::simulators::cleeng::database::Database;
use crate::simulators::network::{ServerRequest, ServerResponse};

/// Where an answer holds its resource; Cleeng's documents and clients show all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapper {
    /// The bare resource.
    Bare,
    /// Under its own name, beside `success` and `message`.
    Named,
    /// Under `data`.
    Data,
    /// Under `responseData`.
    ResponseData,
    /// Under its own name under `responseData`.
    ResponseDataNamed,
}

impl Wrapper {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bare, Self::Named, Self::Data, Self::ResponseData, Self::ResponseDataNamed];

    fn wrap(self, name: &str, resource: Value) -> Value {
        match self {
            Self::Bare => resource,
            Self::Named => json!({ "success": true, "message": "", name: resource }),
            Self::Data => json!({ "success": true, "message": "", "data": resource }),
            Self::ResponseData => json!({ "responseData": resource, "errors": [] }),
            Self::ResponseDataNamed => json!({ "responseData": { "success": true, "message": "", name: resource }, "errors": [] }),
        }
    }
}

/// Where Cleeng's documents contradict one another or say nothing, this is how the simulator does it.
#[derive(Clone, Debug)]
pub struct Quirks {
    /// The status in place of `GET .../authorised_payments`; `None` if it works.
    pub list_by_get: Option<u16>,
    /// The status in place of `POST .../authorised_payments`; `None` if it works.
    pub list_by_post: Option<u16>,
    /// The status in place of `GET /payments/{id}`, for which Cleeng's reference has no page; `None` if it works.
    pub get_payment: Option<u16>,
    /// The status in place of `POST .../terminate`; `None` if it works.
    pub terminate: Option<u16>,
    /// The status in place of `PATCH` of a subscription's status; `None` if it works.
    pub patch_status: Option<u16>,
    /// The wrapper of orders.
    pub order: Wrapper,
    /// The wrapper of payments.
    pub payment: Wrapper,
    /// The wrapper of the authorised list.
    pub authorised_list: Wrapper,
    /// The name in that wrapper: `payments` or `payment`.
    pub list_name: &'static str,
    /// The largest page, even if a larger one is requested.
    pub max_page_size: usize,
    /// Whether a page skips what `offset` says.
    pub honours_offset: bool,
    /// Whether `X-Total-Count` comes.
    pub sends_total_count: bool,
    /// How `authorized` is spelt in requests and answers.
    pub spelling: AuthorisedSpelling,
    /// The operation of a first purchase of which nothing is charged.
    pub free_start: FreeStartOperation,
    /// What goes with a refused first purchase in place of details.
    pub rejected_details: RejectedDetails,
    /// The names of a refund's fields.
    pub refund_fields: RefundFields,
    /// The number that stands for the price in orders, in place of the right one: Cleeng computes with floats.
    pub order_total: Option<&'static str>,
    /// Whether a subscription names its payment details.
    pub shows_details: bool,
    /// Whether a subscription shows its next action, and when.
    pub shows_next_action: bool,
    /// Whether a capture is shown as next while a payment of any period of the subscription is authorised.
    pub counts_every_authorisation: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            order_total: None,
            shows_details: true,
            list_by_get: None,
            list_by_post: None,
            get_payment: Some(404),
            terminate: None,
            patch_status: None,
            order: Wrapper::Named,
            payment: Wrapper::Named,
            authorised_list: Wrapper::Data,
            list_name: "payments",
            max_page_size: 100,
            honours_offset: true,
            sends_total_count: true,
            spelling: AuthorisedSpelling::Authorized,
            free_start: FreeStartOperation::InitialPayment,
            rejected_details: RejectedDetails::None,
            refund_fields: RefundFields::default(),
            shows_next_action: true,
            counts_every_authorisation: false,
        }
    }
}

/// Why a request is rejected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rejection {
    /// A rule of the contract is broken: this status, and a line in the list of violations.
    ContractViolation(u16, &'static str),
    /// A status that is no violation.
    Status(u16),
}

pub(super) type HandlerResult = Result<ServerResponse, Rejection>;

/// A request is malformed.
pub(super) const fn malformed(rule: &'static str) -> Rejection {
    Rejection::ContractViolation(400, rule)
}

/// A request goes against a business rule.
pub(super) const fn unprocessable(rule: &'static str) -> Rejection {
    Rejection::ContractViolation(422, rule)
}

/// One request being served.
pub(super) struct RequestContext<'a> {
    pub(super) database: &'a mut Database,
    pub(super) quirks: &'a Quirks,
    pub(super) now: Timestamp,
    pub(super) request: &'a ServerRequest,
    /// Whether ids are written as numbers in this answer; it changes from one answer to the next.
    pub(super) ids_as_numbers: bool,
}

impl RequestContext<'_> {
    /// An id in the JSON type of this answer.
    pub(super) fn id<K>(&self, id: &Id<K>) -> Value {
        if self.ids_as_numbers { id.to_json_number() } else { Value::from(id.as_str()) }
    }

    pub(super) fn optional<T>(&self, id: Option<&Id<T>>) -> Value {
        id.map_or(Value::Null, |id| self.id(id))
    }

    /// The request's members; only these names are known.
    pub(super) fn known_members(&self, known: &[&str]) -> Result<Map<String, Value>, Rejection> {
        let Value::Object(members) = self.request.json() else { return Err(malformed("body_is_no_object")) };
        if members.keys().any(|name| !known.contains(&name.as_str())) {
            return Err(malformed("unknown_field"));
        }
        Ok(members)
    }

    pub(super) fn wrapped_response(wrapper: Wrapper, name: &str, resource: Value) -> ServerResponse {
        ServerResponse::json(200, &wrapper.wrap(name, resource))
    }

    /// One page of a list, with its total if the quirks have one.
    pub(super) fn page_response(&self, wrapper: Wrapper, name: &str, items: Vec<Value>) -> ServerResponse {
        let number = |key: &str| self.request.query(key).and_then(|text| text.parse::<usize>().ok());
        let offset = if self.quirks.honours_offset { number("offset").unwrap_or(0) } else { 0 };
        let limit = number("limit").unwrap_or(20).min(self.quirks.max_page_size);
        let total = items.len().to_string();
        let page: Vec<Value> = items.into_iter().skip(offset).take(limit).collect();
        let answer = Self::wrapped_response(wrapper, name, Value::Array(page));
        if self.quirks.sends_total_count { answer.with_header("x-total-count", &total) } else { answer }
    }
}

/// A member that must be a string that is not empty.
pub(super) fn text<'a>(body: &'a Map<String, Value>, name: &str, rule: &'static str) -> Result<&'a str, Rejection> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or(malformed(rule))
}

/// A member that must be an id, as string or number.
pub(super) fn id<K>(body: &Map<String, Value>, name: &str, rule: &'static str) -> Result<Id<K>, Rejection> {
    body.get(name).and_then(|value| Id::from_json(value).ok()).ok_or(malformed(rule))
}

/// A member that must be an id in this JSON type, because Cleeng's reference says so.
pub(super) fn typed_id<K>(body: &Map<String, Value>, name: &str, as_number: bool, rule: &'static str) -> Result<Id<K>, Rejection> {
    if body.get(name).is_some_and(|value| value.is_number() != as_number) {
        return Err(malformed(rule));
    }
    id(body, name, rule)
}

/// An amount as a JSON number with its own digits.
pub(super) fn amount(money: Money) -> Value {
    serde_json::from_str(&money.to_decimal()).unwrap_or(Value::Null)
}
