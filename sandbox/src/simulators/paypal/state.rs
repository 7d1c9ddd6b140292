//! What the simulated PayPal remembers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use connector::clock::Timestamp;
use connector::money::Money;
use serde_json::{Value, json};

use crate::simulators::network::ServerResponse;
use crate::simulators::paypal::PayPalConfig;

/// An answer, or a refusal that leaves everything as it was.
pub(super) type HandlerResult = Result<ServerResponse, ErrorResponse>;

/// An error as PayPal writes it (the specifications' `error_4xx`).
#[derive(Clone, Debug)]
pub(super) struct ErrorResponse {
    pub(super) status: u16,
    pub(super) issue: String,
}

impl ErrorResponse {
    pub(super) fn response(self) -> ServerResponse {
        let (name, message) = match self.status {
            400 => ("INVALID_REQUEST", "Request is not well-formed, syntactically incorrect, or violates schema."),
            403 => ("NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
            404 => ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
            409 => ("RESOURCE_CONFLICT", "The server has detected a conflict while processing this request."),
            415 => ("UNSUPPORTED_MEDIA_TYPE", "The server does not support the request payload's media type."),
            500 => ("INTERNAL_SERVER_ERROR", "An internal server error occurred."),
            _ => (
                "UNPROCESSABLE_ENTITY",
                "The requested action could not be performed, semantically incorrect, or failed business validation.",
            ),
        };
        let details = json!([{ "issue": self.issue }]);
        ServerResponse::json(self.status, &json!({ "name": name, "message": message, "debug_id": "90957fca61718", "details": details }))
    }
}

pub(super) fn error_response(status: u16, issue: &str) -> ErrorResponse {
    ErrorResponse { status, issue: issue.to_owned() }
}

pub(super) fn not_found() -> ErrorResponse {
    error_response(404, "INVALID_RESOURCE_ID")
}

/// The scripted outcome of a payment.
#[derive(Clone, Debug)]
pub(super) enum ScriptedOutcome {
    /// 422 with this issue, and nothing is made.
    Decline(String),
    /// The order is completed, and its authorisation is DENIED or its capture DECLINED.
    DeclinedInsideOrder,
    /// The order is completed, and its authorisation or capture is PENDING until it is processed, at this time at the earliest; then it is
    /// decided so.
    Pending(Timestamp, bool),
    /// The create call leaves the order CREATED, and the second step pays.
    TwoSteps,
    /// The order is paid, and the create call's answer does not say so: only reading it does.
    PaymentOmitted,
    /// The payer has to act.
    PayerActionRequired,
}

/// An order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) intent: String,
    pub(super) status: &'static str,
    pub(super) reference: String,
    pub(super) invoice_id: Option<String>,
    pub(super) amount: Money,
    /// Cleeng's customer, as the merchant named them.
    pub(super) customer: Option<String>,
    /// The stored details that pay it, if the payer is not there.
    pub(super) vault_id: Option<String>,
    pub(super) store_in_vault: bool,
    pub(super) scripted_outcome: Option<ScriptedOutcome>,
    /// The vault id of what was stored with it, and whether the answer may name it already.
    pub(super) vaulted: Option<(String, bool)>,
    pub(super) created_at: Timestamp,
}

/// An authorisation.
#[derive(Clone, Debug)]
pub(super) struct Authorisation {
    pub(super) id: String,
    pub(super) order: String,
    pub(super) amount: Money,
    pub(super) status: &'static str,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// The authorisation that it renews.
    pub(super) renews: Option<String>,
    /// When PENDING is over, and how.
    pub(super) decided: (Timestamp, bool),
}

/// A capture.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) id: String,
    pub(super) order: String,
    pub(super) authorisation: Option<String>,
    pub(super) amount: Money,
    pub(super) refunded: i64,
    pub(super) status: &'static str,
    /// Whether it was ever COMPLETED.
    pub(super) was_completed: bool,
    /// Whether the payer's bank took it back.
    pub(super) reversed: bool,
    /// When PENDING is over, and how.
    pub(super) decided: (Timestamp, bool),
}

/// A refund.
#[derive(Clone, Debug)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) capture: String,
    pub(super) amount: Money,
    pub(super) status: &'static str,
    pub(super) custom_id: Option<String>,
    pub(super) invoice_id: Option<String>,
}

/// Stored details.
#[derive(Clone, Debug)]
pub(super) struct PaymentToken {
    /// The order that stored it, if one did.
    pub(super) order: Option<String>,
    /// PayPal's customer.
    pub(super) paypal_customer: String,
    /// The merchant's id of the customer.
    pub(super) customer: String,
    pub(super) next_outcomes: VecDeque<ScriptedOutcome>,
    pub(super) default_outcome: Option<ScriptedOutcome>,
}

/// Details that are about to be stored.
#[derive(Clone, Debug)]
pub(super) struct SetupToken {
    pub(super) customer: String,
    pub(super) approved: bool,
    /// The vault id that it became.
    pub(super) token: Option<String>,
}

/// What a request id made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CreatedResource {
    Order(String),
    Authorisation(String),
    Capture(String),
    Refund(String),
    SetupToken(String),
    PaymentToken(String),
}

impl CreatedResource {
    /// How long PayPal remembers the request id (the specifications' `PayPalSimulator-Request-Id`).
    pub(super) const fn request_id_lifetime(&self) -> Duration {
        match self {
            Self::Order(_) => Duration::from_secs(6 * 3_600),
            Self::Authorisation(_) | Self::Capture(_) | Self::Refund(_) => Duration::from_secs(45 * 24 * 3_600),
            Self::SetupToken(_) | Self::PaymentToken(_) => Duration::from_secs(3 * 3_600),
        }
    }
}

/// A notification that waits to be taken, not yet signed.
#[derive(Clone, Debug)]
pub(super) struct PendingNotification {
    pub(super) transmission_id: String,
    pub(super) at: Timestamp,
    pub(super) body: Value,
}

pub(super) struct State {
    pub(super) config: PayPalConfig,
    /// The client secrets that are taken.
    pub(super) secrets: Vec<String>,
    pub(super) access_tokens: BTreeMap<String, Timestamp>,
    /// Access tokens that are older than a permission of the account.
    pub(super) stale_access_tokens: BTreeSet<String>,
    /// How long an access token lives, in seconds.
    pub(super) access_token_seconds: u64,
    pub(super) orders: Vec<Order>,
    pub(super) authorisations: Vec<Authorisation>,
    pub(super) captures: Vec<Capture>,
    pub(super) refunds: Vec<Refund>,
    pub(super) payment_tokens: BTreeMap<String, PaymentToken>,
    /// The credentials belong to an account that has none of these.
    pub(super) payment_tokens_hidden: bool,
    pub(super) setup_tokens: BTreeMap<String, SetupToken>,
    /// Where the payer of an order or a setup token is sent back to: after approval, and after cancelling.
    pub(super) return_urls: BTreeMap<String, (String, String)>,
    pub(super) request_ids: BTreeMap<String, (CreatedResource, Timestamp)>,
    /// Payments with stored details that were refused: the request id gets the same refusal again.
    pub(super) declined_request_ids: BTreeMap<String, String>,
    pub(super) outbox: Vec<PendingNotification>,
    /// The next approved order is declined when it is captured.
    pub(super) decline_next_approved: bool,
    /// Details that are stored with a purchase come later than its answer.
    pub(super) delay_vaulting: bool,
    /// Details that are to be stored with a purchase never are.
    pub(super) never_vault: bool,
    pub(super) block_duplicate_invoices: bool,
    pub(super) next_capture_status: Option<&'static str>,
    /// When the next capture is decided that is PENDING, and how.
    pub(super) next_capture_decided: Option<(Timestamp, bool)>,
    pub(super) fail_next_refund: bool,
    pub(super) next_refund_status: Option<&'static str>,
    pub(super) throttle_next: Option<u64>,
    pub(super) in_progress_next: bool,
    pub(super) server_error_next: Option<bool>,
    /// The certificate at its URL; `None` for 404.
    pub(super) certificate: Option<&'static str>,
    pub(super) counter: u128,
}

impl State {
    pub(super) fn new(config: PayPalConfig, certificate: &'static str) -> Self {
        Self {
            secrets: vec![config.client_secret.clone()],
            config,
            access_tokens: BTreeMap::new(),
            stale_access_tokens: BTreeSet::new(),
            access_token_seconds: 32_400,
            orders: Vec::new(),
            authorisations: Vec::new(),
            captures: Vec::new(),
            refunds: Vec::new(),
            payment_tokens: BTreeMap::new(),
            payment_tokens_hidden: false,
            setup_tokens: BTreeMap::new(),
            return_urls: BTreeMap::new(),
            request_ids: BTreeMap::new(),
            declined_request_ids: BTreeMap::new(),
            outbox: Vec::new(),
            decline_next_approved: false,
            delay_vaulting: false,
            never_vault: false,
            block_duplicate_invoices: false,
            next_capture_status: None,
            next_capture_decided: None,
            fail_next_refund: false,
            next_refund_status: None,
            throttle_next: None,
            in_progress_next: false,
            server_error_next: None,
            certificate: Some(certificate),
            counter: 0,
        }
    }

    /// A new id of PayPal's form: 17 capital letters and digits. Each comes once, and always in the same order.
    pub(super) fn next_id(&mut self) -> String {
        const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
        self.counter = self.counter.wrapping_add(1);
        // Multiplied by an odd number modulo 2^85, which maps no two counters to one id.
        let mut rest = self.counter.wrapping_mul(0x1E_9E37_79B9_7F4A_7C15_F39D) & ((1 << 85) - 1);
        let mut id = String::with_capacity(17);
        for _ in 0..17 {
            let index = usize::try_from(rest & 31).unwrap_or(0);
            id.push(ALPHABET.get(index).copied().map_or('2', char::from));
            rest >>= 5;
        }
        id
    }

    /// Stores details for the merchant's customer, with this order if one did.
    pub(super) fn add_payment_token(&mut self, customer: &str, order: Option<&str>) -> String {
        let vault_id = self.next_id().to_ascii_lowercase();
        let owner = self.next_id().chars().take(10).collect();
        self.payment_tokens.insert(
            vault_id.clone(),
            PaymentToken {
                order: order.map(str::to_owned),
                paypal_customer: owner,
                customer: customer.to_owned(),
                next_outcomes: VecDeque::new(),
                default_outcome: None,
            },
        );
        vault_id
    }

    pub(super) fn order(&self, id: &str) -> Option<&Order> {
        self.orders.iter().find(|order| order.id == id)
    }

    pub(super) fn order_mut(&mut self, id: &str) -> Option<&mut Order> {
        self.orders.iter_mut().find(|order| order.id == id)
    }

    pub(super) fn authorisation(&self, id: &str) -> Option<&Authorisation> {
        self.authorisations.iter().find(|authorisation| authorisation.id == id)
    }

    pub(super) fn authorisation_mut(&mut self, id: &str) -> Option<&mut Authorisation> {
        self.authorisations.iter_mut().find(|authorisation| authorisation.id == id)
    }

    pub(super) fn capture(&self, id: &str) -> Option<&Capture> {
        self.captures.iter().find(|capture| capture.id == id)
    }

    pub(super) fn capture_mut(&mut self, id: &str) -> Option<&mut Capture> {
        self.captures.iter_mut().find(|capture| capture.id == id)
    }

    pub(super) fn refund(&self, id: &str) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.id == id)
    }
}
