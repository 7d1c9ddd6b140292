//! What the page is told: Cleeng's envelope `{responseData, errors, code}` (Cleeng, "Finalize initial payment"), and with every refusal what
//! can be done next. Must never quote what came in.

use serde_json::{Value, json};

use crate::gateway::{Decline, DeclineClass, GatewayName};
use crate::http::StatusCode;

/// An answer to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The envelope.
    pub body: Value,
    /// Seconds after which to ask again.
    pub retry_after: Option<u8>,
    /// Where the browser is sent on to.
    pub location: Option<String>,
}

/// What the page can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Mend the request: a mistake of the page.
    CorrectRequest,
    /// Have the customer log in.
    LogIn,
    /// Make a new order.
    NewOrder,
    /// Send the same again after a moment: it asks what became of it.
    Wait,
    /// Start again with the same or another method.
    StartAgain,
    /// Try later, or another method.
    TryLaterOrOtherMethod,
    /// Have the customer check what he entered.
    CheckDetails,
    /// Have the customer authenticate again.
    Authenticate,
    /// Ask for another method.
    OtherMethod,
    /// Nothing more to be done from here.
    ContactSupport,
}

impl NextStep {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::CorrectRequest,
        Self::LogIn,
        Self::NewOrder,
        Self::Wait,
        Self::StartAgain,
        Self::TryLaterOrOtherMethod,
        Self::CheckDetails,
        Self::Authenticate,
        Self::OtherMethod,
        Self::ContactSupport,
    ];

    /// The word in `responseData.nextStep`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CorrectRequest => "correctRequest",
            Self::LogIn => "logIn",
            Self::NewOrder => "newOrder",
            Self::Wait => "wait",
            Self::StartAgain => "startAgain",
            Self::TryLaterOrOtherMethod => "tryLaterOrOtherMethod",
            Self::CheckDetails => "checkDetails",
            Self::Authenticate => "authenticate",
            Self::OtherMethod => "otherMethod",
            Self::ContactSupport => "contactSupport",
        }
    }
}

/// A code: one of Cleeng's own connectors' (their gateway codes carry the gateway's name), or one of ours where they have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// As it is.
    Plain(&'static str),
    /// The gateway's name in capitals before it.
    PerGateway(&'static str),
}

impl ErrorCode {
    /// The text, with the gateway's name where it carries one.
    #[must_use]
    pub fn text(self, gateway: Option<GatewayName>) -> String {
        match self {
            Self::Plain(code) => code.to_owned(),
            Self::PerGateway(number) => gateway_code(gateway, number),
        }
    }
}

/// The bank, the scheme or the gateway said no.
pub const DECLINED: ErrorCode = ErrorCode::PerGateway("0002");
/// The customer gave up.
pub const CANCELLED: ErrorCode = ErrorCode::PerGateway("0003");

/// Why the page does not get what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status.
    pub status: u16,
    /// The code.
    pub code: ErrorCode,
    /// A sentence for the page's developer.
    pub message: &'static str,
    /// What can be done.
    pub next: NextStep,
}

const fn api_error(status: u16, code: ErrorCode, message: &'static str, next: NextStep) -> ApiError {
    ApiError { status, code, message, next }
}

/// A body that is not what it should be.
#[must_use]
pub const fn bad_request(message: &'static str) -> ApiError {
    api_error(400, ErrorCode::Plain("REQ0001"), message, NextStep::CorrectRequest)
}

/// A path that leads nowhere.
pub const BAD_PATH: ApiError = api_error(
    404,
    ErrorCode::Plain("REQ0003"),
    "there is nothing at this address: check its path and the gateway's name",
    NextStep::CorrectRequest,
);
/// A return address under which no attempt of this gateway is known.
pub const UNKNOWN_RETURN_ADDRESS: ApiError = api_error(
    404,
    ErrorCode::Plain("REQ0003"),
    "no payment or storing of details has this return address: it was not given by this connector for this gateway, or is too old",
    NextStep::StartAgain,
);
/// A body with a card number.
pub const CARD_NUMBER: ApiError = api_error(
    400,
    ErrorCode::Plain("REQ0004"),
    "the body holds a card number, which must never leave the gateway's own component; it was not processed and not stored",
    NextStep::CorrectRequest,
);
/// A body that is too large.
pub const TOO_LARGE: ApiError = api_error(413, ErrorCode::Plain("REQ0005"), "the body is too large", NextStep::CorrectRequest);
/// Another method than POST.
pub const NOT_POST: ApiError = api_error(405, ErrorCode::Plain("REQ0006"), "only POST is taken", NextStep::CorrectRequest);
/// Another method than GET on the way back from a gateway.
pub const NOT_GET: ApiError =
    api_error(405, ErrorCode::Plain("REQ0006"), "only GET is taken on the way back from a gateway", NextStep::CorrectRequest);
/// What a gateway added to the address on the way back does not belong to the payment that the address names.
pub const BAD_QUERY: ApiError =
    api_error(400, ErrorCode::Plain("REQ0002"), "the query does not belong to the payment that the address names", NextStep::StartAgain);
/// A page that is not ours.
pub const ORIGIN_NOT_ALLOWED: ApiError =
    api_error(403, ErrorCode::Plain("REQ0007"), "the page's origin is not one of ALLOWED_ORIGINS", NextStep::CorrectRequest);
/// An address to come back to that is not ours.
pub const ADDRESS_NOT_ALLOWED: ApiError =
    api_error(400, ErrorCode::Plain("REQ0008"), "origin and every URL must be within ALLOWED_ORIGINS", NextStep::CorrectRequest);
/// A start without payment data at a gateway that needs them.
pub const PAYMENT_METHOD_MISSING: ApiError = api_error(
    422,
    ErrorCode::PerGateway("0004"),
    "this gateway needs paymentMethod, the object of its component: send it, or use the other calls with the component",
    NextStep::CorrectRequest,
);
/// The gateway wants something of the customer that is no redirect.
pub const REDIRECT_NOT_POSSIBLE: ApiError = api_error(
    422,
    ErrorCode::PerGateway("0004"),
    "the gateway wants more than a redirect: use the other calls with its component; nothing was charged",
    NextStep::OtherMethod,
);
/// Nobody told where we are.
pub const PUBLIC_URL_UNKNOWN: ApiError = api_error(
    500,
    ErrorCode::Plain("S0002"),
    "the connector does not know its own address: set CONNECTOR_PUBLIC_URL",
    NextStep::ContactSupport,
);
/// No token.
pub const TOKEN_MISSING: ApiError =
    api_error(401, ErrorCode::Plain("AUTH0001"), "the Authorization header with the customer's token is missing", NextStep::LogIn);
/// No token of Cleeng's.
pub const TOKEN_INVALID: ApiError = api_error(401, ErrorCode::Plain("AUTH0002"), "the customer's token is not taken", NextStep::LogIn);
/// A token whose time is over.
pub const TOKEN_EXPIRED: ApiError = api_error(401, ErrorCode::Plain("AUTH0003"), "the customer's token has expired", NextStep::LogIn);
/// A captcha that was not passed.
pub const CAPTCHA_FAILED: ApiError = api_error(422, ErrorCode::Plain("CPT0002"), "the captcha was not passed", NextStep::StartAgain);
/// No such order, or not the customer's.
pub const ORDER_NOT_FOUND: ApiError =
    api_error(404, ErrorCode::PerGateway("0001"), "there is no such order of this customer", NextStep::NewOrder);
/// An order whose time is over.
pub const ORDER_EXPIRED: ApiError =
    api_error(422, ErrorCode::Plain("ORDER0001"), "the order has expired: make a new one", NextStep::NewOrder);
/// An order of somebody else.
pub const FOREIGN_ORDER: ApiError =
    api_error(403, ErrorCode::Plain("ORDER0002"), "the order belongs to another customer", NextStep::NewOrder);
/// An order with another payment method.
pub const FOREIGN_PAYMENT_METHOD: ApiError =
    api_error(422, ErrorCode::Plain("ORDER0003"), "the payment method is not one of this connector's gateway", NextStep::CorrectRequest);
/// The order is not what it was when the payment was started.
pub const ORDER_CHANGED: ApiError =
    api_error(409, ErrorCode::Plain("ORDER0004"), "the order was changed after the payment was started: start again", NextStep::StartAgain);
/// So many refusals look like card testing.
pub const TOO_MANY_ATTEMPTS: ApiError = api_error(429, ErrorCode::Plain("ORDER0005"), "too many attempts", NextStep::NewOrder);
/// Nothing is to be paid and nothing is to be kept.
pub const NOTHING_TO_PAY: ApiError =
    api_error(422, ErrorCode::Plain("ORDER0006"), "the order needs no payment details: have Cleeng finish it", NextStep::CorrectRequest);
/// There is nothing that waits for the customer.
pub const NOTHING_PENDING: ApiError =
    api_error(409, ErrorCode::Plain("ORDER0007"), "no payment waits to be finalized: start again", NextStep::StartAgain);
/// What came back belongs to an attempt that another one replaced.
pub const EARLIER_ATTEMPT: ApiError = api_error(
    409,
    ErrorCode::Plain("ORDER0008"),
    "this belongs to an earlier attempt that was replaced; if it was paid, it is given back",
    NextStep::StartAgain,
);
/// An operator has to look.
pub const UNDER_REVIEW: ApiError = api_error(
    409,
    ErrorCode::Plain("ORDER0009"),
    "it cannot be found out whether this was paid; an operator is looking, do not pay again",
    NextStep::ContactSupport,
);
/// The gateway calls the request wrong.
pub const GATEWAY_REFUSED_REQUEST: ApiError =
    api_error(422, ErrorCode::PerGateway("0004"), "the gateway did not take the payment data; nothing was charged", NextStep::StartAgain);
/// The gateway could not be asked; nothing was charged.
pub const GATEWAY_UNAVAILABLE: ApiError =
    api_error(503, ErrorCode::PerGateway("0005"), "the gateway could not be asked; nothing was charged", NextStep::TryLaterOrOtherMethod);
/// The gateway can never do this; nothing was charged.
pub const GATEWAY_UNSUPPORTED: ApiError =
    api_error(500, ErrorCode::PerGateway("0005"), "the gateway cannot process this payment; nothing was charged", NextStep::OtherMethod);
/// Something of ours is out of order.
pub const UNAVAILABLE: ApiError = api_error(503, ErrorCode::Plain("S0001"), "try again in a moment", NextStep::Wait);

/// Every refusal that does not quote the gateway's decline, each with its own code or message.
pub const ALL: [ApiError; 31] = [
    bad_request("the body is not what it should be"),
    BAD_PATH,
    UNKNOWN_RETURN_ADDRESS,
    CARD_NUMBER,
    TOO_LARGE,
    NOT_POST,
    NOT_GET,
    BAD_QUERY,
    ORIGIN_NOT_ALLOWED,
    ADDRESS_NOT_ALLOWED,
    PAYMENT_METHOD_MISSING,
    REDIRECT_NOT_POSSIBLE,
    PUBLIC_URL_UNKNOWN,
    TOKEN_MISSING,
    TOKEN_INVALID,
    TOKEN_EXPIRED,
    CAPTCHA_FAILED,
    ORDER_NOT_FOUND,
    ORDER_EXPIRED,
    FOREIGN_ORDER,
    FOREIGN_PAYMENT_METHOD,
    ORDER_CHANGED,
    TOO_MANY_ATTEMPTS,
    NOTHING_TO_PAY,
    NOTHING_PENDING,
    EARLIER_ATTEMPT,
    UNDER_REVIEW,
    GATEWAY_REFUSED_REQUEST,
    GATEWAY_UNAVAILABLE,
    GATEWAY_UNSUPPORTED,
    UNAVAILABLE,
];

impl ApiError {
    /// The answer.
    #[must_use]
    pub fn reply(self, gateway: Option<GatewayName>) -> Reply {
        let code = self.code.text(gateway);
        let body = json!({ "responseData": { "nextStep": self.next.as_str() }, "errors": [self.message], "code": code });
        let retry_after = (self.status == 503).then_some(2);
        Reply { status: StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body, retry_after, location: None }
    }

    /// A stable code for metrics: without the gateway's name.
    #[must_use]
    pub const fn metric_code(self) -> &'static str {
        match self.code {
            ErrorCode::Plain(code) | ErrorCode::PerGateway(code) => code,
        }
    }
}

fn gateway_code(gateway: Option<GatewayName>, number: &str) -> String {
    format!("{}{number}", gateway.map_or_else(|| "GATEWAY".to_owned(), |gateway| gateway.as_str().to_ascii_uppercase()))
}

impl Reply {
    /// A success with this response data.
    #[must_use]
    pub fn ok(data: Value) -> Self {
        Self { status: StatusCode::OK, body: envelope(data), retry_after: None, location: None }
    }

    /// The result is not known yet: asking again finds it out.
    #[must_use]
    pub fn pending() -> Self {
        let data = json!({ "pending": true, "nextStep": NextStep::Wait.as_str() });
        Self { status: StatusCode::ACCEPTED, body: envelope(data), retry_after: Some(2), location: None }
    }

    /// Sends the browser on. `code` says why, where it did not go well. 303, so that it asks there with GET (RFC 9110, 15.4.4).
    #[must_use]
    pub fn redirect(location: String, code: Option<&str>) -> Self {
        let body = json!({ "responseData": {}, "errors": [], "code": code });
        Self { status: StatusCode::SEE_OTHER, body, retry_after: None, location: Some(location) }
    }

    /// The bank, the scheme or the gateway said no.
    #[must_use]
    pub fn declined(gateway: GatewayName, decline: &Decline) -> Self {
        let (code, message, next) = match decline.class {
            DeclineClass::Soft => (DECLINED, "the payment was refused; it may succeed later", NextStep::TryLaterOrOtherMethod),
            DeclineClass::NeedsCustomer => (DECLINED, "the customer has to authenticate", NextStep::Authenticate),
            DeclineClass::NeedsNewDetails => (DECLINED, "the payment details are wrong or have expired", NextStep::CheckDetails),
            DeclineClass::Hard | DeclineClass::Risk => (DECLINED, "the payment was refused for good", NextStep::OtherMethod),
            DeclineClass::Cancelled => (CANCELLED, "the customer cancelled the payment", NextStep::StartAgain),
        };
        let data = json!({ "nextStep": next.as_str(), "declineClass": decline.class.as_str() });
        let body = json!({ "responseData": data, "errors": [message], "code": code.text(Some(gateway)) });
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body, retry_after: None, location: None }
    }
}

fn envelope(data: Value) -> Value {
    json!({ "responseData": data, "errors": [], "code": null })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_out_of_reach_now_is_to_be_asked_again() {
        assert_eq!((UNAVAILABLE.status, UNAVAILABLE.reply(None).retry_after), (503, Some(2)));
        assert_eq!(bad_request("wrong").reply(None).retry_after, None);
    }
}
