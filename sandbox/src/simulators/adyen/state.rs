//! What the simulated Adyen remembers.

use std::collections::{BTreeMap, VecDeque};

use connector::clock::Timestamp;
use serde_json::Value;

use crate::simulators::adyen::AdyenConfig;
use crate::simulators::network::ServerResponse;

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// The bank has not decided.
    Pending,
    /// The amount is held.
    Authorised,
    /// The bank said no.
    Refused,
    /// The money is taken, in whole or in part; the rest was released.
    Captured,
    /// The hold was released.
    Cancelled,
    /// The hold lapsed.
    Expired,
    /// The scheme refused the capture afterwards.
    CaptureFailed,
    /// The shopper's bank took the money back.
    ChargedBack,
}

/// A payment in the ledger; amounts in Adyen's minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub psp_reference: String,
    /// The merchant's reference.
    pub reference: String,
    /// Its shopper.
    pub shopper_reference: String,
    /// The details it was made with.
    pub stored_payment_method_id: Option<String>,
    /// Its currency.
    pub currency: String,
    /// What was asked for.
    pub amount: i64,
    /// What the bank agreed to.
    pub authorised: i64,
    /// What was taken.
    pub captured: i64,
    /// What was released.
    pub cancelled: i64,
    /// What was refunded.
    pub refunded: i64,
    /// Where it stands.
    pub state: PaymentState,
    /// Whether it is captured as soon as it is authorised.
    pub automatic_capture: bool,
    /// When the bank decides, and how, if it was declared undecided.
    pub decided: Option<(Timestamp, bool)>,
}

/// Stored details.
#[derive(Clone)]
pub(super) struct StoredMethod {
    pub(super) shopper_reference: String,
    pub(super) next_outcomes: VecDeque<ScriptedOutcome>,
    pub(super) default_outcome: Option<ScriptedOutcome>,
}

/// The scripted outcome of a payment.
#[derive(Clone)]
pub(super) enum ScriptedOutcome {
    /// This refusal.
    Decline(String),
    /// This refusal, with this merchant advice code.
    DeclineWithAdvice(String, String),
    /// This error about the details (422), and no payment.
    Error(&'static str),
    /// This result code.
    ResultCode(String),
    /// `Received`, until this time; then the bank decides so.
    Received(Timestamp, bool),
}

/// A kind of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModificationKind {
    Capture,
    Cancel,
    TechnicalCancel,
    Refund,
    Reversal,
}

/// A modification that is received and not yet done.
#[derive(Clone)]
pub(super) struct Modification {
    pub(super) kind: ModificationKind,
    pub(super) psp_reference: String,
    /// The payment's `pspReference`, for a technical cancel its reference.
    pub(super) target: String,
    pub(super) reference: String,
    pub(super) amount: Option<(String, i64)>,
}

/// A purchase that waits for the shopper to come back.
#[derive(Clone)]
pub(super) struct PendingPurchase {
    pub(super) payment: Payment,
    pub(super) store: bool,
    /// What the bank will say.
    pub(super) scripted_outcome: Option<ScriptedOutcome>,
    /// How many more things the shopper has to do.
    pub(super) remaining_actions: u8,
}

/// Everything.
pub(super) struct State {
    pub(super) config: AdyenConfig,
    pub(super) api_keys: Vec<String>,
    pub(super) methods: BTreeMap<String, StoredMethod>,
    pub(super) payments: Vec<Payment>,
    pub(super) pending_modifications: Vec<Modification>,
    /// What was asked to be given back, by the payment's `pspReference` or its reference; `None` for all of it.
    pub(super) asked_back: Vec<(String, Option<i64>)>,
    pub(super) pending_purchases: BTreeMap<String, PendingPurchase>,
    /// Where the shopper of a redirect is sent back to.
    pub(super) return_urls: BTreeMap<String, String>,
    /// What the shopper finished at the bank before returning.
    pub(super) finished_redirects: BTreeMap<String, ServerResponse>,
    pub(super) outbox: Vec<Value>,
    /// What the tokenization webhook would say: its type, stored details and their shopper.
    pub(super) token_events: Vec<(&'static str, String, String)>,
    /// The key belongs to an account that has none of the stored details.
    pub(super) methods_hidden: bool,
    pub(super) idempotent_responses: BTreeMap<String, (ServerResponse, Timestamp)>,
    pub(super) process_immediately: bool,
    pub(super) allow_over_refunds: bool,
    pub(super) in_progress_next: bool,
    pub(super) server_error_next: Option<bool>,
    pub(super) throttle_next: Option<u64>,
    pub(super) fail_next_modification: Option<String>,
    pub(super) fail_next_refund: bool,
    counter: u128,
}

impl State {
    pub(super) fn new(config: AdyenConfig) -> Self {
        Self {
            api_keys: vec![config.api_key.clone()],
            config,
            methods: BTreeMap::new(),
            payments: Vec::new(),
            pending_modifications: Vec::new(),
            asked_back: Vec::new(),
            pending_purchases: BTreeMap::new(),
            return_urls: BTreeMap::new(),
            finished_redirects: BTreeMap::new(),
            outbox: Vec::new(),
            token_events: Vec::new(),
            methods_hidden: false,
            idempotent_responses: BTreeMap::new(),
            process_immediately: false,
            allow_over_refunds: false,
            in_progress_next: false,
            server_error_next: None,
            throttle_next: None,
            fail_next_modification: None,
            fail_next_refund: false,
            counter: 0,
        }
    }

    /// A new id of Adyen's form: 16 capital letters and digits. Each comes once, and always in the same order.
    pub(super) fn next_id(&mut self) -> String {
        const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
        self.counter = self.counter.wrapping_add(1);
        // Multiplied by an odd number modulo 2^80, which maps no two counters to one id.
        let mut rest = self.counter.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39D) & ((1 << 80) - 1);
        let mut id = String::with_capacity(16);
        for _ in 0..16 {
            let index = usize::try_from(rest & 31).unwrap_or(0);
            id.push(ALPHABET.get(index).copied().map_or('2', char::from));
            rest >>= 5;
        }
        id
    }

    pub(super) fn store_method(&mut self, shopper_reference: &str) -> String {
        let id = self.next_id();
        self.insert_method(&id, shopper_reference);
        id
    }

    pub(super) fn insert_method(&mut self, id: &str, shopper_reference: &str) {
        let method =
            StoredMethod { shopper_reference: shopper_reference.to_owned(), next_outcomes: VecDeque::new(), default_outcome: None };
        self.methods.insert(id.to_owned(), method);
    }

    /// How much of a payment was asked to be given back.
    pub(super) fn asked_back(&self, payment: &Payment) -> i64 {
        let of_it = self.asked_back.iter().filter(|(target, _)| *target == payment.psp_reference || *target == payment.reference);
        of_it.fold(0_i64, |sum, (_, amount)| sum.saturating_add(amount.unwrap_or(payment.amount))).min(payment.amount)
    }

    pub(super) fn payment_mut(&mut self, psp_reference: &str) -> Option<&mut Payment> {
        self.payments.iter_mut().find(|payment| payment.psp_reference == psp_reference)
    }
}
