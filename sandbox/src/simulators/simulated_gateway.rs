//! The interface of every simulated gateway. What only one gateway has stays with its own simulator.

use bytes::Bytes;
use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName, OperationKind, RetryAdvice};
use connector::http::{HeaderMap, Method};
use connector::ids::ExternalPaymentId;
use connector::money::Money;
use serde_json::Value;

use crate::simulators::network::SimulatedServer;

/// The status of a payment at its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerStatus {
    /// The customer has to do something, or the bank has not decided.
    Pending,
    /// The amount is held.
    Authorised,
    /// The bank declined, or the customer cancelled.
    Declined,
    /// The hold was released.
    Cancelled,
    /// The hold lapsed.
    Expired,
    /// The money is captured; what of it was refunded is in the entry.
    Captured,
    /// The capture was refused, at once or afterwards.
    CaptureFailed,
    /// The customer's bank charged the payment back.
    ChargedBack,
}

/// What the simulator's ledger says of one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The id by which Cleeng has to know the payment now.
    pub external_payment_id: ExternalPaymentId,
    /// The id of its authorisation, by which Cleeng may know a payment that it has as cancelled or rejected.
    pub authorisation_id: ExternalPaymentId,
    /// The reference that it was made under.
    pub reference: String,
    /// What was asked for; zero for a verification.
    pub amount: Money,
    /// Where it stands.
    pub status: LedgerStatus,
    /// Whether the bank ever agreed.
    pub authorised: bool,
    /// The total captured.
    pub captured: Money,
    /// The total refunded.
    pub refunded: Money,
    /// What was asked to be given back so far, whether or not it was done: the whole amount by a cancel, a part or the whole by a refund.
    pub asked_back: Money,
    /// The gateway's id of the stored details that it was made with, or that were stored with it.
    pub stored_details: Option<String>,
    /// Its customer as the connector named them: Cleeng's, where the customer was present.
    pub customer: String,
}

/// A call that holds or takes money, or begins to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoneyCall {
    /// A payment with these stored details, without the customer.
    Renewal(String),
    /// A payment of this customer, who is present.
    Purchase(String),
    /// The capture of what is held under this reference. That a hold is renewed for it is a part of the capture.
    Capture(String),
}

impl LedgerEntry {
    /// Whether the hold was released without taking the money.
    #[must_use]
    pub fn is_released(&self) -> bool {
        matches!(self.status, LedgerStatus::Cancelled | LedgerStatus::Expired)
    }

    /// Whether all of the money was taken and refunded.
    #[must_use]
    pub fn is_given_back(&self) -> bool {
        self.captured.minor > 0 && self.refunded == self.captured
    }

    /// How much is held, or taken and kept, but for what was asked to be given back.
    #[must_use]
    pub fn kept(&self) -> i64 {
        let back = match self.status {
            LedgerStatus::Authorised => self.asked_back.minor,
            _ => self.asked_back.minor.max(self.refunded.minor),
        };
        let whole = if self.status == LedgerStatus::Captured { self.captured.minor } else { self.amount.minor };
        if self.holds_money() { whole.saturating_sub(back).max(0) } else { 0 }
    }

    /// Whether money of the customer is held, or taken and kept.
    #[must_use]
    pub fn holds_money(&self) -> bool {
        match self.status {
            // A verification holds nothing.
            LedgerStatus::Authorised => self.amount.minor > 0,
            LedgerStatus::Captured => self.captured.minor > self.refunded.minor,
            _ => false,
        }
    }
}

/// A notification as the gateway posts it.
#[derive(Clone, Debug)]
pub struct NotificationRequest {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An address with these members in its query, none of which needs escaping.
#[must_use]
pub fn with_query(address: &str, parameters: &Value) -> String {
    let pairs = parameters.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
    let joint = if address.contains('?') { '&' } else { '?' };
    format!("{address}{joint}{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Mastercard's merchant advice code that says this.
#[must_use]
pub const fn mastercard_advice_code(advice: RetryAdvice) -> &'static str {
    match advice {
        RetryAdvice::Never => "03",
        RetryAdvice::AfterHours(0 | 1) => "24",
        RetryAdvice::AfterHours(2..=24) => "25",
        RetryAdvice::AfterHours(25..=48) => "26",
        RetryAdvice::AfterHours(49..=96) => "27",
        RetryAdvice::AfterHours(97..=144) => "28",
        RetryAdvice::AfterHours(145..=192) => "29",
        RetryAdvice::AfterHours(193..) => "30",
    }
}

/// The test details that a customer enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnteredDetails {
    /// Details that need no customer action, where the gateway has such; else as [`EnteredDetails::ActionRequired`].
    Frictionless,
    /// Details that need customer action first: 3-D Secure, an approval.
    ActionRequired,
    /// Details that the bank declines.
    Declined,
}

/// Where the keys of notifications are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeysIn {
    /// In the gateway's part of the deployment's secret, under this name.
    Secret(&'static str),
    /// In this setting, separated by commas.
    Setting(&'static str),
}

/// The sandbox's account at a gateway: what a deployment would have in Cleeng, its settings and its secret.
pub struct SandboxAccount {
    /// The payment method in Cleeng that is authorised first. No two gateways have the same.
    pub method: &'static str,
    /// The payment method in Cleeng that is charged at once.
    pub capture_only_method: &'static str,
    /// Where the gateway is without sockets: every address that its adapter calls.
    pub base_urls: &'static [&'static str],
    /// The settings, as the template would give them; an address replaces the base URL, if there are sockets.
    pub settings: fn(Option<&str>) -> Vec<(&'static str, String)>,
    /// The gateway's part of the deployment's secret.
    pub secrets: fn() -> Value,
    /// Where the keys of notifications are kept.
    pub signing_keys_in: SigningKeysIn,
    /// The key that notifications are signed with at first, the next one, and one that the deployment never has; of a gateway that signs with
    /// a certificate, the ids of webhooks.
    pub signing_keys: [&'static str; 3],
    /// An id of a payment as this gateway writes them.
    pub example_payment_id: &'static str,
}

/// A simulated gateway.
pub trait SimulatedGateway: SimulatedServer {
    /// Its name in settings and routes.
    fn gateway_name(&self) -> GatewayName;

    /// Details of a customer are stored, as after a first purchase. The token as the adapter writes it. `customer` is the name that the token
    /// carries; it need not be the customer of a later request.
    fn add_stored_details(&self, customer: &str) -> String;

    /// Whether it still has these details.
    fn has_stored_details(&self, token: &str) -> bool;

    /// The next payment with these stored details is refused in this class. False if the gateway has no such refusal.
    fn decline_next(&self, token: &str, class: DeclineClass) -> bool;

    /// The next payment with these stored details is refused, and the refusal says this about trying again. False if the gateway passes on no
    /// such word.
    fn decline_next_with_advice(&self, token: &str, advice: RetryAdvice) -> bool;

    /// The credentials are those of another account from now on, which has none of the stored details; or of the right one again.
    fn use_another_account(&self, another: bool);

    /// The gateway or the network replaced the card behind these details: a notification says so. False if it reports no such thing.
    fn update_details(&self, token: &str) -> bool;

    /// What its front-end component adds to the body of a start. `number` tells two entries of the same details apart.
    fn payment_data(&self, entry: EnteredDetails, number: u32) -> Value;

    /// The customer completes the connector's `action` and approves. Returns the `details` that the page sends to finalize; the caller decides
    /// whether the customer returns to the page.
    fn complete_action(&self, action: &Value) -> Value;

    /// Where the gateway's page at this address redirects the browser after the customer approved or cancelled: the return URL of the
    /// connector, with the parameters that the gateway adds. `None` for a page without a redirect.
    fn complete_redirect(&self, _page: &str, _agrees: bool) -> Option<String> {
        None
    }

    /// Processes what it has received.
    fn process(&self);

    /// Takes the notifications since the last time.
    fn take_notifications(&self) -> Vec<NotificationRequest>;

    /// Every payment, oldest first. Refused ones may be left out.
    fn ledger(&self) -> Vec<LedgerEntry>;

    /// The next payment with these stored details, or where a gateway decides captures late, the next capture, is declared undecided until
    /// this time; then it is decided so. False if the gateway declares no such thing about this operation.
    fn leave_next_undecided(&self, token: &str, operation: OperationKind, until: Timestamp, approves: bool) -> bool;

    /// A payment that it refused succeeds after all, under the same id. False if that does not happen there.
    fn approve_after_refusal(&self, payment: &ExternalPaymentId) -> bool;

    /// The next refund is acknowledged, and fails when it is processed. False if the gateway has no such refunds.
    fn fail_next_refund(&self) -> bool;

    /// The customer's bank charges a captured payment back.
    fn charge_back(&self, payment: &ExternalPaymentId);

    /// The merchant wins what was charged back: the money is there again. A further [`SimulatedGateway::charge_back`] is a case of its own.
    fn return_charge_back(&self, payment: &ExternalPaymentId);

    /// The hold of an authorised payment lapses.
    fn expire(&self, payment: &ExternalPaymentId);

    /// Notifications are signed with this one of the keys of its [`SandboxAccount`] from now on.
    fn sign_notifications_with(&self, key: &str);

    /// A notification as it is redelivered now: if the signature covers the time, each delivery is signed again.
    fn sign_for_redelivery(&self, notification: &NotificationRequest) -> NotificationRequest {
        notification.clone()
    }

    /// A notification of a kind that nobody knows, about this payment. `None` if there is nothing that it could be about.
    fn unknown_notification(&self, entry: &LedgerEntry) -> Option<NotificationRequest>;

    /// A notification with so many bytes more in it, signed again where the signature covers them.
    fn enlarged(&self, notification: &NotificationRequest, filler: usize) -> Option<NotificationRequest>;

    /// Access that was granted so far is older than a permission from now on. Does nothing where access is not granted for a time.
    fn make_access_stale(&self) {}

    /// Details that are stored with a purchase come later than its answer from now on. Does nothing where that does not happen.
    fn delay_details(&self) {}

    /// Whether they do.
    fn details_are_delayed(&self) -> bool {
        false
    }

    /// Whether another authorisation took the place of this one.
    fn was_renewed(&self, _authorisation: &str) -> bool {
        false
    }

    /// Whether a call to it holds or takes money, and whose. Calls about a payment that it does not know are none.
    fn money_call(&self, method: &Method, path: &str, body: &[u8]) -> Option<MoneyCall>;

    /// Whether a call to it asks to release an authorisation, or to give up what waits for the customer. Suites count these, and the contract
    /// proves that they are counted.
    fn is_release(&self, method: &Method, path: &str) -> bool;

    /// The next operation that it acknowledges fails later. False if it acknowledges nothing before it is done.
    fn fail_next_operation(&self) -> bool;

    /// The next capture is declined, at once or when it is processed, and the authorisation stays. False if a decline leaves none.
    fn decline_next_capture(&self) -> bool;
}
