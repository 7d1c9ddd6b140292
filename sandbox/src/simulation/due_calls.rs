//! Whether Cleeng was asked, by the worker that began a call that holds or takes money, and its ledger said at that time that the money is due
//! with these details: judged by what passes between the connector and the outside, and by Cleeng's ledger.
//!
//! A call is begun when its idempotency key is first written to the journal or first sent. A repetition under a known key asks nothing: the call
//! may have had its effect. If every answer so far says that it had none, and the worker lived to write that down, it is begun again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector::clock::Timestamp;
use connector::gateway::GatewayName;
use connector::http::{Method, Request, Response, TransportError};
use connector::ids::{OrderId, SubscriptionId};
use connector::journal::store::Put;
use serde_json::Value;

use super::behaviour::Behaviour;
use super::context::SimulationContext;
use super::faulty_io::CLEENG_HOST;
use super::ledger_audit::{Purpose, order_to_pay, period_to_pay};
use crate::simulators::cleeng::{CleengSimulator, DueRenewal};
use crate::simulators::simulated_gateway::{MoneyCall, SimulatedGateway};
use crate::testkit::gateway_fixtures::{GatewayFixture, base_urls_of};
use crate::testkit::harness::TestEnvironment;

/// How the names of headers end that carry idempotency keys.
const KEY_HEADERS: [&str; 2] = ["idempotency-key", "request-id"];

/// What workers were told, and the keys of the calls that were begun. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct DueCalls(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    outside: Option<Outside>,
    /// By worker: what Cleeng's ledger said when it was asked.
    subscriptions: BTreeMap<u64, Vec<(SubscriptionId, DueRenewal)>>,
    /// By worker: the orders that it asked about, and whether they were to be paid.
    orders: BTreeMap<u64, BTreeMap<OrderId, bool>>,
    begun: BTreeMap<String, BegunCall>,
    /// What the network or the bank forbids to try again with the same details.
    forbidden: BTreeSet<(Purpose, String)>,
    /// Workers that came to their end, and whose journal did what it was told.
    finished: BTreeSet<u64>,
    disturbed: BTreeSet<u64>,
}

struct Outside {
    cleeng: CleengSimulator,
    gateways: Vec<Arc<dyn SimulatedGateway>>,
    manual_capture: bool,
}

/// A call under one key.
struct BegunCall {
    by: u64,
    /// Who was answered last that it had no effect.
    without_effect: Option<u64>,
    /// What it pays without the customer, and with which details.
    renewal: Option<(Purpose, String)>,
    /// Whether it may have had its effect, because of an answer that was not understood, or a worker that crashed before or after it.
    is_unknown: bool,
}

impl BegunCall {
    const fn new(by: u64) -> Self {
        Self { by, without_effect: None, renewal: None, is_unknown: false }
    }
}

/// What a call pays, and with which details.
struct Payment {
    purpose: Option<Purpose>,
    stored_details: Option<String>,
    /// Whether it takes what is held already.
    is_capture: bool,
}

impl DueCalls {
    /// The environment is built.
    pub(super) fn attach(&self, env: &TestEnvironment, manual_capture: bool) {
        let gateways = env.gateways.iter().map(|fixture: &GatewayFixture| Arc::clone(&fixture.simulator)).collect();
        self.lock().outside = Some(Outside { cleeng: env.cleeng.clone(), gateways, manual_capture });
    }

    /// A worker came to its end by itself.
    pub(super) fn record_finish(&self, worker: u64) {
        let mut state = self.lock();
        if !state.disturbed.contains(&worker) {
            state.finished.insert(worker);
        }
    }

    /// The journal did not do what a worker told it, or it is not known whether it did.
    pub(super) fn record_disturbance(&self, worker: u64) {
        self.lock().disturbed.insert(worker);
    }

    /// A worker wrote these documents: keys that are new in them are those of calls that it begins.
    pub(super) fn record_intents(&self, puts: &[Put], worker: u64) {
        let mut state = self.lock();
        for put in puts {
            for key in put.body.split("\"key\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                if !state.begun.contains_key(key) {
                    state.begun.insert(key.to_owned(), BegunCall::new(worker));
                }
            }
        }
    }

    /// A worker is about to send this.
    pub(super) fn check_request(&self, request: &Request, context: &SimulationContext) {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(outside) = &state.outside else { return };
        let Some(payment) = outside.payment_of(request) else { return };
        let worker = context.current_worker();
        if worker == 0 {
            // What was there before the run began.
            return;
        }
        let Some(key) = idempotency_key(request) else { return };
        let call = state.begun.entry(key).or_insert(BegunCall::new(worker));
        let renewal = payment.purpose.clone().zip(payment.stored_details.clone()).filter(|_| !payment.is_capture);
        if call.renewal.is_none() && renewal.as_ref().is_some_and(|renewal| state.forbidden.contains(renewal)) {
            context.report_violation("details that must never be tried again are tried again".to_owned());
        }
        call.renewal = renewal.or_else(|| call.renewal.take());
        match call.without_effect.take() {
            Some(before) if before != worker && !call.is_unknown && state.finished.contains(&before) => call.by = worker,
            Some(before) => call.is_unknown |= before != worker,
            None => call.is_unknown |= call.by != worker,
        }
        let by = call.by;
        if matches!(payment.purpose, Some(Purpose::Order(_))) && outside.is_manual(request) {
            context.count(Behaviour::ManualCapture);
        }
        let is_due = match &payment.purpose {
            Some(Purpose::Order(order)) => {
                state.orders.get(&by).and_then(|asked| asked.get(order)).is_some_and(|is_due| *is_due || payment.is_capture)
            }
            Some(Purpose::Period(subscription, from)) => {
                let asked = state.subscriptions.get(&by).into_iter().flatten().filter(|(id, _)| id == subscription);
                asked.into_iter().any(|(_, renewal)| payment.is_due(renewal, *from))
            }
            None => false,
        };
        if !is_due {
            let what = payment.purpose.map_or_else(|| "something unknown".to_owned(), |purpose| purpose.to_string());
            context.report_violation(format!("money is asked for {what}, and Cleeng did not say just now that it is due"));
        }
    }

    /// A worker was answered.
    pub(super) fn record_answer(
        &self,
        (method, url, key): (&Method, &str, Option<String>),
        answer: &Result<Response, TransportError>,
        context: &SimulationContext,
    ) {
        let (mut state, worker) = (self.lock(), context.current_worker());
        let state = &mut *state;
        let refused = match answer {
            Ok(answer) => matches!(answer.status.as_u16(), 401 | 429),
            Err(error) => matches!(error, TransportError::NotSent(_)),
        };
        if let Some(call) = key.and_then(|key| state.begun.get_mut(&key)) {
            call.without_effect = refused.then_some(worker);
            call.is_unknown |= !refused;
            state.forbidden.extend(call.renewal.clone().filter(|_| answer.as_ref().is_ok_and(says_never_again)));
        }
        let Some(outside) = state.outside.as_ref().filter(|_| *method == Method::GET) else { return };
        if !answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
            return;
        }
        let asked = |collection: &str| url.split_once(collection).and_then(|(_, rest)| rest.split(['/', '?']).next());
        if let Some(id) = asked("/3.1/subscriptions/").and_then(|id| SubscriptionId::new(id).ok())
            && let Some(renewal) = outside.cleeng.renewal(&id)
        {
            state.subscriptions.entry(worker).or_default().push((id, renewal));
        } else if url.contains(CLEENG_HOST)
            && let Some(id) = asked("/orders/").and_then(|id| OrderId::new(id).ok())
        {
            let is_due = outside.cleeng.is_order_due(&id);
            state.orders.entry(worker).or_default().insert(id, is_due);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payment {
    /// Whether a renewal that stood like this was to be paid with these details, where Cleeng has any; of a capture, whether it was the one that
    /// is held for. What became of it since the question cannot be known.
    fn is_due(&self, renewal: &DueRenewal, from: Timestamp) -> bool {
        let same_details = renewal.stored_details.is_none() || renewal.stored_details == self.stored_details;
        renewal.is_due && same_details && (!self.is_capture || renewal.paid_until == from)
    }
}

impl Outside {
    /// Whether a request goes to an account of Adyen's that captures by request alone.
    fn is_manual(&self, request: &Request) -> bool {
        self.manual_capture && base_urls_of(GatewayName::Adyen).iter().any(|address| request.url.starts_with(address))
    }

    /// What a request would pay. `None` if it neither holds nor takes money.
    fn payment_of(&self, request: &Request) -> Option<Payment> {
        let is_for = |gateway: GatewayName| base_urls_of(gateway).iter().any(|address| request.url.starts_with(address));
        let simulator = self.gateways.iter().find(|simulator| is_for(simulator.gateway_name()))?;
        let rest = request.url.split_once("://").map_or(request.url.as_str(), |(_, rest)| rest);
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default().split('?').next().unwrap_or_default();
        match simulator.money_call(&request.method, path, &request.body)? {
            MoneyCall::Renewal(stored) => {
                let owner = self.cleeng.owner_of_details(simulator.gateway_name(), &stored);
                let purpose = owner.and_then(|owner| period_to_pay(&self.cleeng, &owner));
                Some(Payment { purpose, stored_details: Some(stored), is_capture: false })
            }
            MoneyCall::Purchase(customer) => {
                let purpose = order_to_pay(&self.cleeng, &customer).map(Purpose::Order);
                Some(Payment { purpose, stored_details: None, is_capture: false })
            }
            MoneyCall::Capture(reference) => self.held_payment(simulator.as_ref(), &reference),
        }
    }

    /// What the capture of a hold pays: the order of Cleeng's payment, or its period; else the period that its details have to pay.
    fn held_payment(&self, simulator: &dyn SimulatedGateway, reference: &str) -> Option<Payment> {
        let entry = simulator.ledger().into_iter().rev().find(|entry| entry.reference == reference)?;
        let known = self.cleeng.payments().into_iter().rev().find(|payment| {
            payment.external_payment_id == entry.external_payment_id || payment.external_payment_id == entry.authorisation_id
        });
        let purpose = match known {
            Some(payment) => match (payment.subscription, payment.period) {
                (Some(subscription), Some(period)) => Some(Purpose::Period(subscription, period)),
                _ => Some(Purpose::Order(payment.order)),
            },
            None => {
                let owner = entry.stored_details.as_ref().and_then(|stored| self.cleeng.owner_of_details(simulator.gateway_name(), stored));
                owner.and_then(|owner| period_to_pay(&self.cleeng, &owner))
            }
        };
        Some(Payment { purpose, stored_details: entry.stored_details, is_capture: true })
    }
}

/// Whether a refusal says that nobody may try the same details again: Mastercard's advice code 03, or a gateway's word for it.
fn says_never_again(answer: &Response) -> bool {
    let Some(body) = answer.json() else { return false };
    let advice = ["/additionalData/merchantAdviceCode", "/error/network_advice_code", "/error/advice_code"];
    let advice = advice.iter().filter_map(|pointer| body.pointer(pointer).and_then(Value::as_str));
    advice.into_iter().any(|advice| matches!(advice, "03" | "do_not_try_again"))
}

/// The key that a request is sent under.
pub(super) fn idempotency_key(request: &Request) -> Option<String> {
    let is_key = |name: &str| KEY_HEADERS.iter().any(|end| name.ends_with(end));
    let (_, value) = request.headers.iter().find(|(name, _)| is_key(name.as_str()))?;
    value.to_str().ok().map(str::to_owned)
}
