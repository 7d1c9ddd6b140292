//! A simulated gateway as the stage, the books and the shared tests know every one of them. What only one gateway has stays with its own simulator.

use bytes::Bytes;
use connector::gateway::{DeclineClass, GatewayName};
use connector::http::HeaderMap;
use connector::ids::ExternalPaymentId;
use connector::money::Money;
use serde_json::Value;

use crate::peer::Peer;

/// Where a payment stands at its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The customer has to do something, or the bank has not decided.
    Open,
    /// The amount is held.
    Authorised,
    /// The bank said no, or the customer gave up.
    Refused,
    /// The hold was released.
    Cancelled,
    /// The hold lapsed.
    Expired,
    /// The money is taken; what of it was given back is in the entry.
    Captured,
    /// The capture was refused, at once or afterwards.
    CaptureFailed,
    /// The customer's bank took the money back.
    ChargedBack,
}

/// What the simulator's ledger says of one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The id by which Cleeng has to know the payment now.
    pub external_payment_id: ExternalPaymentId,
    /// The reference that it was made under.
    pub reference: String,
    /// What was asked for; zero for a verification.
    pub amount: Money,
    /// Where it stands.
    pub standing: Standing,
    /// Whether the bank ever agreed.
    pub authorised: bool,
    /// What was taken in all.
    pub captured: Money,
    /// What was given back in all.
    pub refunded: Money,
}

impl LedgerEntry {
    /// Whether the hold was released without taking the money.
    #[must_use]
    pub fn released(&self) -> bool {
        matches!(self.standing, Standing::Cancelled | Standing::Expired)
    }

    /// Whether money of the customer is held, or taken and kept.
    #[must_use]
    pub fn holds_money(&self) -> bool {
        match self.standing {
            // A verification holds nothing.
            Standing::Authorised => self.amount.minor > 0,
            Standing::Captured => self.captured.minor > self.refunded.minor,
            _ => false,
        }
    }
}

/// A notification as the gateway posts it.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An address with these members in its query, none of which needs escaping.
#[must_use]
pub fn with_query(address: &str, told: &Value) -> String {
    let pairs = told.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
    let joint = if address.contains('?') { '&' } else { '?' };
    format!("{address}{joint}{}", pairs.collect::<Vec<_>>().join("&"))
}

/// What a customer at a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Details that pay without a question, where the gateway has such; else as [`Entry::Asked`].
    Good,
    /// Details whose owner has to do something first: 3-D Secure, an approval.
    Asked,
    /// Details that the bank refuses.
    Refused,
}

/// A simulated gateway.
pub trait House: Peer {
    /// Its name in settings and routes.
    fn gateway(&self) -> GatewayName;

    /// Details of this customer of Cleeng are stored, as after a first purchase. The token as the adapter writes it.
    fn store(&self, customer: &str) -> String;

    /// Whether it still has these details.
    fn is_stored(&self, token: &str) -> bool;

    /// The next payment with these stored details is refused in this class. False where the gateway has no such refusal.
    fn refuse_next(&self, token: &str, class: DeclineClass) -> bool;

    /// What its front-end component adds to the body of a start. `number` tells two entries of the same details apart.
    fn entered(&self, entry: Entry, number: u32) -> Value;

    /// The customer does what the connector's `action` asks of him and agrees. What his page hands to finalize as `details`; whether he ever
    /// comes back there is the caller's business.
    fn agree(&self, action: &Value) -> Value;

    /// Where the gateway's page at this address sends the customer's browser after he agreed or gave up there: the way back that the connector
    /// gave it, with what it adds. Whether he gets there is the caller's business. Nothing for a page that sends nobody anywhere.
    fn leave(&self, _page: &str, _agrees: bool) -> Option<String> {
        None
    }

    /// Lets it do what it has received.
    fn process(&self);

    /// Takes the notifications since the last time.
    fn take_notifications(&self) -> Vec<Posted>;

    /// Every payment, oldest first. Refused ones may be left out.
    fn ledger(&self) -> Vec<LedgerEntry>;

    /// The customer's bank takes a captured payment back.
    fn charge_back(&self, payment: &ExternalPaymentId);

    /// The hold of an authorised payment lapses.
    fn expire(&self, payment: &ExternalPaymentId);

    /// A notification as it is posted now: where the time is signed as well, each try has a signature of its own.
    fn posted_now(&self, told: &Posted) -> Posted {
        told.clone()
    }

    /// What it takes next it will not be able to do. False where nothing is taken before it is done.
    fn fail_next(&self) -> bool {
        false
    }

    /// The next capture of a hold is refused, at once or when it is done, and the hold stays. False where a refused capture leaves no hold.
    fn refuse_next_capture(&self) -> bool {
        false
    }
}
