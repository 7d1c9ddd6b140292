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
pub enum Next {
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

impl Next {
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
pub enum Code {
    /// As it is.
    Plain(&'static str),
    /// The gateway's name in capitals before it.
    OfGateway(&'static str),
}

impl Code {
    /// The text, with the gateway's name where it carries one.
    #[must_use]
    pub fn text(self, gateway: Option<GatewayName>) -> String {
        match self {
            Self::Plain(code) => code.to_owned(),
            Self::OfGateway(number) => gateway_code(gateway, number),
        }
    }
}

/// The bank, the scheme or the gateway said no.
pub const DECLINED: Code = Code::OfGateway("0002");
/// The customer gave up.
pub const CANCELLED: Code = Code::OfGateway("0003");

/// Why the page does not get what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The code.
    pub code: Code,
    /// A sentence for the page's developer.
    pub message: &'static str,
    /// What can be done.
    pub next: Next,
}

const fn refusal(status: u16, code: Code, message: &'static str, next: Next) -> Refusal {
    Refusal { status, code, message, next }
}

/// A body that is not what it should be.
#[must_use]
pub const fn bad_request(message: &'static str) -> Refusal {
    refusal(400, Code::Plain("REQ0001"), message, Next::CorrectRequest)
}

/// A path that leads nowhere.
pub const BAD_PATH: Refusal =
    refusal(404, Code::Plain("REQ0003"), "there is nothing at this address: check its path and the gateway's name", Next::CorrectRequest);
/// A return address under which no attempt of this gateway is known.
pub const NO_WAY_BACK: Refusal = refusal(
    404,
    Code::Plain("REQ0003"),
    "no payment or storing of details has this return address: it was not given by this connector for this gateway, or is too old",
    Next::StartAgain,
);
/// A body with a card number.
pub const CARD_NUMBER: Refusal = refusal(
    400,
    Code::Plain("REQ0004"),
    "the body holds a card number, which must never leave the gateway's own component; it was not processed and not stored",
    Next::CorrectRequest,
);
/// A body that is too large.
pub const TOO_LARGE: Refusal = refusal(413, Code::Plain("REQ0005"), "the body is too large", Next::CorrectRequest);
/// Another method than POST.
pub const NOT_POST: Refusal = refusal(405, Code::Plain("REQ0006"), "only POST is taken", Next::CorrectRequest);
/// Another method than GET on the way back from a gateway.
pub const NOT_GET: Refusal = refusal(405, Code::Plain("REQ0006"), "only GET is taken on the way back from a gateway", Next::CorrectRequest);
/// What a gateway added to the address on the way back does not belong to the payment that the address names.
pub const BAD_QUERY: Refusal =
    refusal(400, Code::Plain("REQ0002"), "the query does not belong to the payment that the address names", Next::StartAgain);
/// A page that is not ours.
pub const BAD_ORIGIN: Refusal =
    refusal(403, Code::Plain("REQ0007"), "the page's origin is not one of ALLOWED_ORIGINS", Next::CorrectRequest);
/// An address to come back to that is not ours.
pub const BAD_RETURN: Refusal =
    refusal(400, Code::Plain("REQ0008"), "origin and every URL must be within ALLOWED_ORIGINS", Next::CorrectRequest);
/// A start without payment data at a gateway that needs them.
pub const NEEDS_METHOD: Refusal = refusal(
    422,
    Code::OfGateway("0004"),
    "this gateway needs paymentMethod, the object of its component: send it, or use the other calls with the component",
    Next::CorrectRequest,
);
/// The gateway wants something of the customer that is no redirect.
pub const NO_REDIRECT: Refusal = refusal(
    422,
    Code::OfGateway("0004"),
    "the gateway wants more than a redirect: use the other calls with its component; nothing was charged",
    Next::OtherMethod,
);
/// Nobody told where we are.
pub const NO_ADDRESS: Refusal =
    refusal(500, Code::Plain("S0002"), "the connector does not know its own address: set CONNECTOR_PUBLIC_URL", Next::ContactSupport);
/// No token.
pub const TOKEN_MISSING: Refusal =
    refusal(401, Code::Plain("AUTH0001"), "the Authorization header with the customer's token is missing", Next::LogIn);
/// No token of Cleeng's.
pub const TOKEN_INVALID: Refusal = refusal(401, Code::Plain("AUTH0002"), "the customer's token is not taken", Next::LogIn);
/// A token whose time is over.
pub const TOKEN_EXPIRED: Refusal = refusal(401, Code::Plain("AUTH0003"), "the customer's token has expired", Next::LogIn);
/// A captcha that was not passed.
pub const CAPTCHA_FAILED: Refusal = refusal(422, Code::Plain("CPT0002"), "the captcha was not passed", Next::StartAgain);
/// No such order, or not the customer's.
pub const ORDER_NOT_FOUND: Refusal = refusal(404, Code::OfGateway("0001"), "there is no such order of this customer", Next::NewOrder);
/// An order whose time is over.
pub const ORDER_EXPIRED: Refusal = refusal(422, Code::Plain("ORDER0001"), "the order has expired: make a new one", Next::NewOrder);
/// An order of somebody else.
pub const FOREIGN_ORDER: Refusal = refusal(403, Code::Plain("ORDER0002"), "the order belongs to another customer", Next::NewOrder);
/// An order with another payment method.
pub const OTHER_METHOD: Refusal =
    refusal(422, Code::Plain("ORDER0003"), "the payment method is not one of this connector's gateway", Next::CorrectRequest);
/// The order is not what it was when the payment was started.
pub const ORDER_CHANGED: Refusal =
    refusal(409, Code::Plain("ORDER0004"), "the order was changed after the payment was started: start again", Next::StartAgain);
/// So many refusals look like card testing.
pub const TOO_MANY_ATTEMPTS: Refusal = refusal(429, Code::Plain("ORDER0005"), "too many attempts", Next::NewOrder);
/// Nothing is to be paid and nothing is to be kept.
pub const NOTHING_TO_PAY: Refusal =
    refusal(422, Code::Plain("ORDER0006"), "the order needs no payment details: have Cleeng finish it", Next::CorrectRequest);
/// There is nothing that waits for the customer.
pub const NOTHING_WAITS: Refusal =
    refusal(409, Code::Plain("ORDER0007"), "no payment waits to be finalized: start again", Next::StartAgain);
/// What came back belongs to an attempt that another one replaced.
pub const EARLIER_ATTEMPT: Refusal = refusal(
    409,
    Code::Plain("ORDER0008"),
    "this belongs to an earlier attempt that was replaced; if it was paid, it is given back",
    Next::StartAgain,
);
/// An operator has to look.
pub const NEEDS_OPERATOR: Refusal = refusal(
    409,
    Code::Plain("ORDER0009"),
    "it cannot be found out whether this was paid; an operator is looking, do not pay again",
    Next::ContactSupport,
);
/// The gateway calls the request wrong.
pub const GATEWAY_REFUSED_REQUEST: Refusal =
    refusal(422, Code::OfGateway("0004"), "the gateway did not take the payment data; nothing was charged", Next::StartAgain);
/// The gateway could not be asked; nothing was charged.
pub const GATEWAY_UNAVAILABLE: Refusal =
    refusal(503, Code::OfGateway("0005"), "the gateway could not be asked; nothing was charged", Next::TryLaterOrOtherMethod);
/// The gateway can never do this; nothing was charged.
pub const GATEWAY_CANNOT: Refusal =
    refusal(500, Code::OfGateway("0005"), "the gateway cannot process this payment; nothing was charged", Next::OtherMethod);
/// Something of ours is out of order.
pub const UNAVAILABLE: Refusal = refusal(503, Code::Plain("S0001"), "try again in a moment", Next::Wait);

/// Every refusal that does not quote the gateway's decline, each with its own code or message.
pub const ALL: [Refusal; 31] = [
    bad_request("the body is not what it should be"),
    BAD_PATH,
    NO_WAY_BACK,
    CARD_NUMBER,
    TOO_LARGE,
    NOT_POST,
    NOT_GET,
    BAD_QUERY,
    BAD_ORIGIN,
    BAD_RETURN,
    NEEDS_METHOD,
    NO_REDIRECT,
    NO_ADDRESS,
    TOKEN_MISSING,
    TOKEN_INVALID,
    TOKEN_EXPIRED,
    CAPTCHA_FAILED,
    ORDER_NOT_FOUND,
    ORDER_EXPIRED,
    FOREIGN_ORDER,
    OTHER_METHOD,
    ORDER_CHANGED,
    TOO_MANY_ATTEMPTS,
    NOTHING_TO_PAY,
    NOTHING_WAITS,
    EARLIER_ATTEMPT,
    NEEDS_OPERATOR,
    GATEWAY_REFUSED_REQUEST,
    GATEWAY_UNAVAILABLE,
    GATEWAY_CANNOT,
    UNAVAILABLE,
];

impl Refusal {
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
    pub const fn word(self) -> &'static str {
        match self.code {
            Code::Plain(code) | Code::OfGateway(code) => code,
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
        let data = json!({ "pending": true, "nextStep": Next::Wait.as_str() });
        Self { status: StatusCode::ACCEPTED, body: envelope(data), retry_after: Some(2), location: None }
    }

    /// Sends the browser on. `code` says why, where it did not go well. 303, so that it asks there with GET (RFC 9110, 15.4.4).
    #[must_use]
    pub fn sent_on(location: String, code: Option<&str>) -> Self {
        let body = json!({ "responseData": {}, "errors": [], "code": code });
        Self { status: StatusCode::SEE_OTHER, body, retry_after: None, location: Some(location) }
    }

    /// The bank, the scheme or the gateway said no.
    #[must_use]
    pub fn declined(gateway: GatewayName, decline: &Decline) -> Self {
        let (code, message, next) = match decline.class {
            DeclineClass::Soft => (DECLINED, "the payment was refused; it may succeed later", Next::TryLaterOrOtherMethod),
            DeclineClass::NeedsCustomer => (DECLINED, "the customer has to authenticate", Next::Authenticate),
            DeclineClass::NeedsNewDetails => (DECLINED, "the payment details are wrong or have expired", Next::CheckDetails),
            DeclineClass::Hard | DeclineClass::Risk => (DECLINED, "the payment was refused for good", Next::OtherMethod),
            DeclineClass::Cancelled => (CANCELLED, "the customer cancelled the payment", Next::StartAgain),
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
