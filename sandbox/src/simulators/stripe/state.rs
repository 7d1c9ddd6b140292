//! What the simulated Stripe remembers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use connector::clock::Timestamp;
use serde_json::Value;

use crate::simulators::network::ServerResponse;
use crate::simulators::stripe::StripeConfig;
use crate::simulators::stripe::cards::{AuthenticationFlow, Card, Decline, Scheme, ScriptedOutcome};

/// A PaymentIntent.
#[derive(Clone, Debug)]
pub(super) struct PaymentIntent {
    pub(super) id: String,
    /// In Stripe's minor units.
    pub(super) amount: i64,
    /// In lower case.
    pub(super) currency: String,
    pub(super) customer: Option<String>,
    pub(super) payment_method: Option<String>,
    pub(super) status: &'static str,
    pub(super) manual: bool,
    pub(super) off_session: bool,
    /// `setup_future_usage`.
    pub(super) setup_future_usage: Option<&'static str>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) return_url: Option<String>,
    pub(super) authentication: Option<AuthenticationFlow>,
    /// The decline after processing, if there is one.
    pub(super) final_decline: Option<Decline>,
    /// Until when it is `processing` at least.
    pub(super) processing_until: Timestamp,
    pub(super) last_error: Option<Decline>,
    pub(super) received: i64,
    pub(super) canceled: Option<(Timestamp, &'static str)>,
    pub(super) created: Timestamp,
    /// How it looked after each change, for the search.
    pub(super) history: Vec<(Timestamp, Value)>,
}

/// A Charge.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub(super) id: String,
    pub(super) intent: String,
    pub(super) amount: i64,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    /// Why the bank refused it.
    pub(super) decline: Option<Decline>,
    pub(super) pending: bool,
    pub(super) dispute: Option<Dispute>,
    pub(super) payment_method: String,
    /// Until when what it holds can be taken.
    pub(super) capture_before: Option<Timestamp>,
    pub(super) created: Timestamp,
}

impl Charge {
    pub(super) fn is_approved(&self) -> bool {
        self.decline.is_none() && !self.pending
    }
}

/// A Dispute.
#[derive(Clone, Debug)]
pub(super) struct Dispute {
    pub(super) id: String,
    pub(super) status: &'static str,
    pub(super) created: Timestamp,
    /// Its balance transactions: what it took and gave back.
    pub(super) movements: Vec<String>,
}

/// A Refund.
#[derive(Clone, Debug)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) charge: String,
    pub(super) intent: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) status: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether the bank's reference of it was reported already.
    pub(super) reference_reported: bool,
    pub(super) created: Timestamp,
}

/// A SetupIntent.
#[derive(Clone, Debug)]
pub(super) struct SetupIntent {
    pub(super) id: String,
    pub(super) customer: Option<String>,
    pub(super) payment_method: Option<String>,
    pub(super) status: &'static str,
    pub(super) usage: &'static str,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) return_url: Option<String>,
    pub(super) authentication: Option<AuthenticationFlow>,
    pub(super) last_error: Option<Decline>,
    pub(super) canceled: Option<&'static str>,
    pub(super) created: Timestamp,
}

/// A Customer.
#[derive(Clone, Debug)]
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) created: Timestamp,
}

/// A PaymentMethod.
#[derive(Clone, Debug)]
pub(super) struct PaymentMethod {
    pub(super) id: String,
    pub(super) card: Card,
    pub(super) scheme: Scheme,
    pub(super) customer: Option<String>,
    /// Whether it was set up for payments without the customer.
    pub(super) set_up_off_session: bool,
    /// Whether it was used without a customer, or detached: then it never pays again.
    pub(super) unusable: bool,
    pub(super) next_outcomes: VecDeque<ScriptedOutcome>,
    pub(super) default_outcome: Option<ScriptedOutcome>,
    pub(super) created: Timestamp,
}

/// The first answer, which is repeated under its idempotency key.
#[derive(Clone, Debug)]
pub(super) struct IdempotentResponse {
    pub(super) path: String,
    pub(super) params: crate::simulators::stripe::form::Params,
    pub(super) answer: ServerResponse,
    pub(super) at: Timestamp,
}

pub(super) struct State {
    pub(super) config: StripeConfig,
    pub(super) intents: Vec<PaymentIntent>,
    pub(super) charges: Vec<Charge>,
    pub(super) refunds: Vec<Refund>,
    pub(super) setups: Vec<SetupIntent>,
    pub(super) customers: Vec<Customer>,
    pub(super) methods: BTreeMap<String, PaymentMethod>,
    /// Payment methods that Stripe.js made, by what was entered and how often.
    pub(super) tokenized_cards: BTreeMap<(String, u32), String>,
    pub(super) idempotent_responses: BTreeMap<String, IdempotentResponse>,
    /// Events that wait to be taken.
    pub(super) outbox: Vec<Value>,
    /// The request that is being answered, for its events: id and idempotency key.
    pub(super) request: (Option<String>, Option<String>),
    pub(super) search_delay: Duration,
    pub(super) authenticate_in_page: bool,
    /// The key belongs to an account that has none of the customers and payment methods.
    pub(super) details_hidden: bool,
    pub(super) next_refund_status: Option<&'static str>,
    pub(super) fail_next_refund: bool,
    pub(super) next_capture_error: Option<String>,
    pub(super) throttle_next: Option<u64>,
    pub(super) in_progress_next: bool,
    pub(super) server_error_next: Option<bool>,
    pub(super) should_retry_next: Option<bool>,
    counter: u128,
}

impl State {
    pub(super) fn new(config: StripeConfig) -> Self {
        Self {
            config,
            intents: Vec::new(),
            charges: Vec::new(),
            refunds: Vec::new(),
            setups: Vec::new(),
            customers: Vec::new(),
            methods: BTreeMap::new(),
            tokenized_cards: BTreeMap::new(),
            idempotent_responses: BTreeMap::new(),
            outbox: Vec::new(),
            request: (None, None),
            search_delay: Duration::from_secs(60),
            authenticate_in_page: false,
            details_hidden: false,
            next_refund_status: None,
            fail_next_refund: false,
            next_capture_error: None,
            throttle_next: None,
            in_progress_next: false,
            server_error_next: None,
            should_retry_next: None,
            counter: 0,
        }
    }

    /// A new id of Stripe's form: the prefix, and 24 letters and digits. Each comes once, and always in the same order.
    pub(super) fn next_id(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.counter = self.counter.wrapping_add(1);
        // Multiplied by an odd number modulo 2^128, which maps no two counters to one id.
        let mut rest = self.counter.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let mut id = format!("{prefix}_1S");
        for _ in 0..22 {
            let index = usize::try_from(rest % 62).unwrap_or(0);
            id.push(ALPHABET.get(index).copied().map_or('0', char::from));
            rest /= 62;
        }
        id
    }

    /// A new payment method with this card.
    pub(super) fn new_method(&mut self, card: Card, scheme: Scheme, now: Timestamp) -> String {
        let id = self.next_id("pm");
        let (next, always) = (VecDeque::new(), None);
        let method = PaymentMethod {
            id: id.clone(),
            card,
            scheme,
            customer: None,
            set_up_off_session: false,
            unusable: false,
            next_outcomes: next,
            default_outcome: always,
            created: now,
        };
        self.methods.insert(id.clone(), method);
        id
    }

    /// A new customer of this name at Cleeng.
    pub(super) fn new_customer(&mut self, metadata: BTreeMap<String, String>, now: Timestamp) -> String {
        let id = self.next_id("cus");
        self.customers.push(Customer { id: id.clone(), metadata, created: now });
        id
    }

    pub(super) fn intent(&self, id: &str) -> Option<&PaymentIntent> {
        self.intents.iter().find(|one| one.id == id)
    }

    pub(super) fn intent_mut(&mut self, id: &str) -> Option<&mut PaymentIntent> {
        self.intents.iter_mut().find(|one| one.id == id)
    }

    pub(super) fn setup(&self, id: &str) -> Option<&SetupIntent> {
        self.setups.iter().find(|one| one.id == id)
    }

    pub(super) fn setup_mut(&mut self, id: &str) -> Option<&mut SetupIntent> {
        self.setups.iter_mut().find(|one| one.id == id)
    }

    pub(super) fn refund(&self, id: &str) -> Option<&Refund> {
        self.refunds.iter().find(|one| one.id == id)
    }

    pub(super) fn customer(&self, id: &str) -> Option<&Customer> {
        self.customers.iter().find(|one| one.id == id)
    }

    pub(super) fn charge(&self, id: &str) -> Option<&Charge> {
        self.charges.iter().find(|one| one.id == id)
    }

    pub(super) fn charge_mut(&mut self, id: &str) -> Option<&mut Charge> {
        self.charges.iter_mut().find(|one| one.id == id)
    }

    /// The last try of an intent.
    pub(super) fn latest_charge(&self, intent: &str) -> Option<&Charge> {
        self.charges.iter().rev().find(|one| one.intent == intent)
    }

    /// The last try of an intent.
    pub(super) fn latest_charge_mut(&mut self, intent: &str) -> Option<&mut Charge> {
        self.charges.iter_mut().rev().find(|one| one.intent == intent)
    }

    /// The script of the next payment with these details.
    pub(super) fn take_scripted_outcome(&mut self, method: &str) -> Option<ScriptedOutcome> {
        let method = self.methods.get_mut(method)?;
        method.next_outcomes.pop_front().or_else(|| method.default_outcome.clone())
    }
}
