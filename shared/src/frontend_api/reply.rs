//! Answers to the page: Cleeng's envelope `{responseData, errors, code}` (Cleeng, "Finalize initial payment"), with the page's next step
//! and a sentence for its developer beside it in every error. Must never quote the request.

use serde_json::{Value, json};
use strum::{IntoStaticStr, VariantArray};

use crate::gateway::{Decline, DeclineClass, GatewayName};
use crate::http::StatusCode;

/// When a page asks again, in seconds.
const RETRY_AFTER_SECONDS: u8 = 2;

/// An answer to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The envelope.
    pub body: Value,
    /// Seconds after which to ask again.
    pub retry_after: Option<u8>,
    /// Where the browser is redirected.
    pub location: Option<String>,
}

/// What the page can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "camelCase")]
pub enum NextStep {
    /// Correct the request: a mistake of the page.
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
    /// Have the customer check their input.
    CheckDetails,
    /// Have the customer authenticate again.
    Authenticate,
    /// Ask for another method.
    OtherMethod,
    /// Nothing more can be done from the page.
    ContactSupport,
}

impl NextStep {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The text of `nextStep`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A code: one of Cleeng's own connectors' (their gateway codes carry the gateway's name), or one of the connector's own if they have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// As it is.
    Plain(&'static str),
    /// The gateway's name in capitals before it.
    PerGateway(&'static str),
}

impl ErrorCode {
    /// The text, with the gateway's name if it carries one.
    #[must_use]
    pub fn text(self, gateway: Option<GatewayName>) -> String {
        match self {
            Self::Plain(code) => code.to_owned(),
            Self::PerGateway(number) => gateway_code(gateway, number),
        }
    }
}

/// The bank, the scheme or the gateway declined.
pub const DECLINED: ErrorCode = ErrorCode::PerGateway("0002");
/// The customer cancelled.
pub const CANCELLED: ErrorCode = ErrorCode::PerGateway("0003");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status.
    pub status: u16,
    /// The code.
    pub code: ErrorCode,
    /// A sentence for the customer: Cleeng's front ends show it as it is.
    pub sentence: &'static str,
    /// A sentence for the page's developer.
    pub detail: &'static str,
    /// The field of the body that it is about, where the detail does not name it.
    pub field: Option<&'static str>,
    /// What can be done.
    pub next: NextStep,
}

/// A sentence for customers where nothing that they do helps.
const NOT_POSSIBLE: &str = "This is not possible at the moment. Please contact support.";
/// The same where the page has to begin again.
const BEGIN_AGAIN: &str = "This was not completed. Please try again.";
/// The same for an order that is not paid any more.
const NEW_ORDER: &str = "This order can no longer be paid. Please start again.";
/// The same where they have to log in.
const LOG_IN: &str = "Please log in and try again.";
/// The same where another payment method may succeed.
const OTHER_METHOD: &str = "This payment method cannot be used here. Please try another one.";
/// The same while a part is not available.
const TRY_IN_A_MOMENT: &str = "This is not possible at the moment. Please try again in a moment.";
/// The same while the result is not known.
const PROCESSING: &str = "This is still being processed. Please wait a moment.";
/// The same while an operator decides.
const UNDER_MANUAL_REVIEW: &str = "Your payment is being checked. Please do not pay again, and contact support.";
/// What Cleeng's own connectors say ("Finalize payment with Adyen"), with the capital letter that the media store SDK looks for.
const PAYMENT_REFUSED: &str = "Payment Refused";
/// As [`PAYMENT_REFUSED`].
const PAYMENT_CANCELLED: &str = "Payment Cancelled";
/// As [`PAYMENT_REFUSED`].
const PAYMENT_ERROR: &str = "Payment Error";
/// As [`PAYMENT_REFUSED`].
const UNABLE_TO_PROCESS: &str = "Unable to process payment";

/// A body that is not what it should be.
#[must_use]
pub const fn bad_request(detail: &'static str) -> ApiError {
    let code = ErrorCode::Plain("REQ0001");
    ApiError { status: 400, code, sentence: NOT_POSSIBLE, detail, field: None, next: NextStep::CorrectRequest }
}

/// Makes a constant of each row, and the list of them all.
macro_rules! api_errors {
    ($($(#[$doc:meta])+ $name:ident = $status:literal, $code:ident($number:literal), $next:ident, $sentence:ident, $detail:literal;)+) => {
        $(
            $(#[$doc])+
            pub const $name: ApiError = ApiError {
                status: $status, code: ErrorCode::$code($number), sentence: $sentence, detail: $detail, field: None, next: NextStep::$next,
            };
        )+

        /// Every error but the gateway's decline, each with its own code or detail.
        pub const ALL: &[ApiError] = &[bad_request("the body is not what it should be"), $($name),+];
    };
}

api_errors! {
    /// A path that leads nowhere.
    BAD_PATH = 404, Plain("REQ0003"), CorrectRequest, NOT_POSSIBLE, "there is nothing at this address: check its path and the gateway's name";
    /// A gateway that lists no payment methods for pages.
    NO_PAGE_METHODS = 404, Plain("REQ0003"), CorrectRequest, NOT_POSSIBLE,
        "this gateway lists no payment methods for pages, or the setting with its client key is missing";
    /// A return address under which no attempt of this gateway is known.
    UNKNOWN_RETURN_ADDRESS = 404, Plain("REQ0003"), StartAgain, BEGIN_AGAIN,
        "no payment or storing of details has this return address: it was not given by this connector for this gateway, or is too old";
    /// A body with a card number.
    CARD_NUMBER = 400, Plain("REQ0004"), CorrectRequest, NOT_POSSIBLE,
        "the body holds a card number, which must never leave the gateway's own component; it was not processed and not stored";
    /// A body that is too large.
    TOO_LARGE = 413, Plain("REQ0005"), CorrectRequest, NOT_POSSIBLE, "the body is too large";
    /// Another method than POST.
    NOT_POST = 405, Plain("REQ0006"), CorrectRequest, NOT_POSSIBLE, "only POST is taken";
    /// Another method than GET at a return address.
    NOT_GET = 405, Plain("REQ0006"), CorrectRequest, NOT_POSSIBLE, "only GET is taken on the way back from a gateway";
    /// The parameters that a gateway added to the return address do not belong to the payment that the address names.
    BAD_QUERY = 400, Plain("REQ0002"), StartAgain, BEGIN_AGAIN, "the query does not belong to the payment that the address names";
    /// A page whose origin is not allowed.
    ORIGIN_NOT_ALLOWED = 403, Plain("REQ0007"), CorrectRequest, NOT_POSSIBLE, "the page's origin is not one of ALLOWED_ORIGINS";
    /// A return address whose origin is not allowed.
    ADDRESS_NOT_ALLOWED = 400, Plain("REQ0008"), CorrectRequest, NOT_POSSIBLE, "origin and every URL must be within ALLOWED_ORIGINS";
    /// A start that names stored details of the gateway.
    STORED_DETAILS = 400, Plain("REQ0001"), CorrectRequest, NOT_POSSIBLE, "paymentMethod must not name stored payment details, which may be another customer's";
    /// A start without payment data at a gateway that needs them.
    PAYMENT_METHOD_MISSING = 422, PerGateway("0004"), CorrectRequest, OTHER_METHOD,
        "this gateway needs paymentMethod, the object of its component: send it, or use the other calls with the component";
    /// The gateway's action is no redirect.
    REDIRECT_NOT_POSSIBLE = 422, PerGateway("0004"), OtherMethod, OTHER_METHOD,
        "the gateway wants more than a redirect: use the other calls with its component; nothing was charged";
    /// The connector's own address is not known.
    PUBLIC_URL_UNKNOWN = 500, Plain("S0002"), ContactSupport, NOT_POSSIBLE, "the connector does not know its own address: set CONNECTOR_PUBLIC_URL";
    /// No token.
    TOKEN_MISSING = 401, Plain("AUTH0001"), LogIn, LOG_IN, "the Authorization header with the customer's token is missing";
    /// No token of Cleeng's.
    TOKEN_INVALID = 401, Plain("AUTH0002"), LogIn, LOG_IN, "the customer's token is not taken";
    /// An expired token.
    TOKEN_EXPIRED = 401, Plain("AUTH0003"), LogIn, LOG_IN, "the customer's token has expired";
    /// A captcha that was not passed.
    CAPTCHA_FAILED = 422, Plain("CPT0002"), StartAgain, BEGIN_AGAIN, "the captcha was not passed";
    /// No such order, or not the customer's.
    ORDER_NOT_FOUND = 404, PerGateway("0001"), NewOrder, NEW_ORDER, "there is no such order of this customer";
    /// An expired order.
    ORDER_EXPIRED = 422, Plain("ORDER0001"), NewOrder, NEW_ORDER, "the order has expired: make a new one";
    /// An order of another customer.
    FOREIGN_ORDER = 403, Plain("ORDER0002"), NewOrder, NEW_ORDER, "the order belongs to another customer";
    /// An order with another payment method.
    FOREIGN_PAYMENT_METHOD = 422, Plain("ORDER0003"), CorrectRequest, OTHER_METHOD, "the payment method is not one of this connector's gateway";
    /// The order is not what it was when the payment was started.
    ORDER_CHANGED = 409, Plain("ORDER0004"), StartAgain, BEGIN_AGAIN, "the order was changed after the payment was started: start again";
    /// So many declines look like card testing.
    TOO_MANY_ATTEMPTS = 429, Plain("ORDER0005"), NewOrder, NEW_ORDER, "too many attempts";
    /// Nothing is to be paid and no details are to be stored.
    NOTHING_TO_PAY = 422, Plain("ORDER0006"), CorrectRequest, NOT_POSSIBLE, "the order needs no payment details: have Cleeng finish it";
    /// Nothing waits for the customer.
    NOTHING_PENDING = 409, Plain("ORDER0007"), StartAgain, BEGIN_AGAIN, "no payment waits to be finalized: start again";
    /// The returned data belongs to an attempt that another one replaced.
    EARLIER_ATTEMPT = 409, Plain("ORDER0008"), StartAgain, BEGIN_AGAIN,
        "this belongs to an earlier attempt that was replaced; if it was paid, it is reversed";
    /// Parked: an operator decides.
    UNDER_REVIEW = 409, Plain("ORDER0009"), ContactSupport, UNDER_MANUAL_REVIEW,
        "it cannot be found out whether this was paid; an operator is looking, do not pay again";
    /// Paid, and the gateway never stored the details: an operator decides.
    PAID_WITHOUT_DETAILS = 409, Plain("ORDER0009"), ContactSupport, UNDER_MANUAL_REVIEW,
        "the payment is taken, and the gateway did not store the payment details; an operator is looking, do not pay again";
    /// Cleeng takes no payment for the order.
    ORDER_REFUSED = 409, Plain("ORDER0010"), NewOrder, NEW_ORDER,
        "Cleeng takes no payment for this order, as for one that is paid already; what was charged for it is given back";
    /// The gateway refuses the request as malformed.
    GATEWAY_REFUSED_REQUEST = 422, PerGateway("0004"), StartAgain, PAYMENT_ERROR, "the gateway did not take the payment data; nothing was charged";
    /// The gateway could not be asked; nothing was charged.
    GATEWAY_UNAVAILABLE = 503, PerGateway("0005"), TryLaterOrOtherMethod, UNABLE_TO_PROCESS, "the gateway could not be asked; nothing was charged";
    /// The gateway can never do this; nothing was charged.
    GATEWAY_UNSUPPORTED = 500, PerGateway("0005"), OtherMethod, UNABLE_TO_PROCESS, "the gateway cannot process this payment; nothing was charged";
    /// The result is not known yet, for a page that does not say that it waits.
    PENDING = 409, Plain("WAIT0001"), Wait, PROCESSING, "the result is not known yet: repeat the same request after a moment, or send Prefer: respond-async to get 202";
    /// The same of an order that is paid, whose stored details are not there yet.
    AWAITING_DETAILS = 409, Plain("WAIT0002"), Wait, PROCESSING,
        "the payment is taken, and the gateway has not stored the payment details yet: repeat the same request after a moment";
    /// The gateway wants another action of the customer who returned, for a page that does not say that it handles one.
    ANOTHER_ACTION = 409, Plain("ACTION0001"), OtherMethod, OTHER_METHOD,
        "the gateway wants another action of the customer: send Prefer: respond-async to get it; nothing was charged";
    /// A part of the connector is not available.
    UNAVAILABLE = 503, Plain("S0001"), Wait, TRY_IN_A_MOMENT, "try again in a moment";
}

impl ApiError {
    /// The answer. Cleeng's front ends take anything without `errors` for a success, whatever its status, and read `responseData`
    /// unchecked, so that it is null: hints are beside it.
    #[must_use]
    pub fn reply(self, gateway: Option<GatewayName>) -> Reply {
        let detail = self.field.map_or_else(|| self.detail.to_owned(), |field| format!("{}: {field}", self.detail));
        let body = json!({
            "responseData": null, "errors": [self.sentence], "code": self.code.text(gateway), "nextStep": self.next.as_str(), "detail": detail,
        });
        let retry_after = (self.next == NextStep::Wait || self.status == 503).then_some(RETRY_AFTER_SECONDS);
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
        Self { status: StatusCode::ACCEPTED, body: envelope(data), retry_after: Some(RETRY_AFTER_SECONDS), location: None }
    }

    /// It is paid, and the gateway has not stored the details yet: asking again finds them.
    #[must_use]
    pub fn awaiting_details() -> Self {
        let data = json!({ "pending": true, "paid": true, "nextStep": NextStep::Wait.as_str() });
        Self { body: envelope(data), ..Self::pending() }
    }

    /// Sends the browser on. `code` says why, if it failed. 303, so that it asks there with GET (RFC 9110, 15.4.4).
    #[must_use]
    pub fn redirect(location: String, code: Option<&str>) -> Self {
        let body = json!({ "responseData": {}, "errors": [], "code": code });
        Self { status: StatusCode::SEE_OTHER, body, retry_after: None, location: Some(location) }
    }

    /// The bank, the scheme or the gateway declined.
    #[must_use]
    pub fn declined(gateway: GatewayName, decline: &Decline) -> Self {
        let (code, sentence, detail, next) = match decline.class {
            DeclineClass::Soft => {
                (DECLINED, PAYMENT_REFUSED, "the payment was refused; it may succeed later", NextStep::TryLaterOrOtherMethod)
            }
            DeclineClass::NeedsCustomer => (DECLINED, PAYMENT_REFUSED, "the customer has to authenticate", NextStep::Authenticate),
            DeclineClass::NeedsNewDetails => {
                (DECLINED, PAYMENT_REFUSED, "the payment details are wrong or have expired", NextStep::CheckDetails)
            }
            DeclineClass::Hard | DeclineClass::Risk => {
                (DECLINED, PAYMENT_REFUSED, "the payment was refused for good", NextStep::OtherMethod)
            }
            DeclineClass::Cancelled => (CANCELLED, PAYMENT_CANCELLED, "the customer cancelled the payment", NextStep::StartAgain),
        };
        let error = ApiError { status: 422, code, sentence, detail, field: None, next };
        let mut reply = error.reply(Some(gateway));
        if let Some(body) = reply.body.as_object_mut() {
            body.insert("declineClass".to_owned(), decline.class.as_str().into());
        }
        reply
    }
}

fn envelope(data: Value) -> Value {
    json!({ "responseData": data, "errors": [], "code": null })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unavailable_connector_asks_for_a_retry() {
        assert_eq!((UNAVAILABLE.status, UNAVAILABLE.reply(None).retry_after), (503, Some(2)));
        assert_eq!(bad_request("wrong").reply(None).retry_after, None);
    }
}
