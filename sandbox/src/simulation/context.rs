//! What all parts of a run share: random numbers, fault profile, trace and violations.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector::clock::{Clock as _, Timestamp};
use connector::http::Request;

use super::behaviour::{Behaviour, BehaviourCounts};
use super::fault_profile::FaultProfile;
use super::prng::Prng;
use crate::simulators::virtual_clock::VirtualClock;
use crate::testkit::fixtures::START;

/// Shared by all parts of one run. Clones are the same one.
#[derive(Clone)]
pub struct SimulationContext {
    clock: VirtualClock,
    state: Arc<Mutex<State>>,
}

struct State {
    prng: Prng,
    fault_profile: FaultProfile,
    /// The worker that is polled.
    current_worker: u64,
    trace_lines: Option<Vec<String>>,
    violations: Vec<String>,
    late_requests: Vec<Request>,
    /// The hosts that were reached since the last time.
    reached_hosts: Vec<String>,
    /// Whether the journal was written since the last time.
    journal_written: bool,
    /// The alarms that were raised.
    alarms: BTreeSet<String>,
    behaviours: BehaviourCounts,
}

impl SimulationContext {
    /// Without faults at first. A trace is kept only if it is wanted.
    #[must_use]
    pub fn new(clock: VirtualClock, prng: Prng, trace: bool) -> Self {
        let state = State {
            prng,
            fault_profile: FaultProfile::no_faults(),
            current_worker: 0,
            trace_lines: trace.then(Vec::new),
            violations: Vec::new(),
            late_requests: Vec::new(),
            reached_hosts: Vec::new(),
            journal_written: false,
            alarms: BTreeSet::new(),
            behaviours: BehaviourCounts::new(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// The clock of the run.
    #[must_use]
    pub const fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Draws from the random numbers.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Prng) -> T) -> T {
        draw(&mut self.lock().prng)
    }

    /// Whether something happens now that the fault profile makes happen so often.
    #[must_use]
    pub fn chance(&self, often: impl FnOnce(&FaultProfile) -> u16) -> bool {
        let mut state = self.lock();
        let per_mille = often(&state.fault_profile);
        state.prng.chance(per_mille)
    }

    /// From now on it is like this.
    pub fn set_fault_profile(&self, profile: FaultProfile) {
        self.lock().fault_profile = profile;
    }

    /// Whether nothing goes wrong any more.
    #[must_use]
    pub fn has_no_faults(&self) -> bool {
        self.lock().fault_profile == FaultProfile::no_faults()
    }

    /// Time passes.
    pub fn advance_clock(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Gives the turn to this worker; 0 is nobody's.
    pub fn set_current_worker(&self, worker: u64) {
        self.lock().current_worker = worker;
    }

    /// The worker whose turn it is.
    pub(super) fn current_worker(&self) -> u64 {
        self.lock().current_worker
    }

    /// Whether a trace is kept.
    #[must_use]
    pub fn is_tracing(&self) -> bool {
        self.lock().trace_lines.is_some()
    }

    /// A line of the trace, made only where one is kept.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        let now = self.now();
        let mut state = self.lock();
        let worker = state.current_worker;
        if let Some(lines) = &mut state.trace_lines {
            let passed = now.millis().saturating_sub(START.millis());
            let (days, rest) = (passed.div_euclid(86_400_000), passed.rem_euclid(86_400_000));
            let (hours, minutes) = (rest.div_euclid(3_600_000), rest.rem_euclid(3_600_000).div_euclid(60_000));
            let (seconds, millis) = (rest.rem_euclid(60_000).div_euclid(1_000), rest.rem_euclid(1_000));
            let who = if worker == 0 { String::from("-") } else { format!("w{worker}") };
            lines.push(format!("day {days} {hours:02}:{minutes:02}:{seconds:02}.{millis:03} {who:>5} {}", line()));
        }
    }

    /// An operator is called.
    pub(super) fn record_alarm(&self, reason: &str) {
        self.lock().alarms.insert(reason.to_owned());
    }

    /// Whether an operator was called for this reason.
    #[must_use]
    pub fn has_alarm(&self, reason: &str) -> bool {
        self.lock().alarms.contains(reason)
    }

    /// Something rare happens.
    pub(super) fn count(&self, behaviour: Behaviour) {
        let mut state = self.lock();
        let count = state.behaviours.entry(behaviour).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether an attempt may have been overtaken: somebody else paid, paused or removed something between two calls, or a bank decided late.
    #[must_use]
    pub(super) fn was_overtaken(&self) -> bool {
        let causes = [
            Behaviour::PaidElsewhere,
            Behaviour::OrderPaidElsewhere,
            Behaviour::Pause,
            Behaviour::DetailsRemoved,
            Behaviour::UndecidedApproved,
            Behaviour::UndecidedRefused,
        ];
        causes.iter().any(|cause| self.occurred(*cause))
    }

    /// Whether something rare happened in this run.
    pub(super) fn occurred(&self, behaviour: Behaviour) -> bool {
        self.lock().behaviours.contains_key(&behaviour)
    }

    /// How often what is rare happened.
    pub(super) fn behaviours(&self) -> BehaviourCounts {
        self.lock().behaviours.clone()
    }

    /// Something is wrong that must never be.
    pub fn report_violation(&self, what: String) {
        self.trace(|| format!("VIOLATION: {what}"));
        let mut state = self.lock();
        if !state.violations.contains(&what) {
            state.violations.push(what);
        }
    }

    /// Whether something was found wrong.
    #[must_use]
    pub fn has_violations(&self) -> bool {
        !self.lock().violations.is_empty()
    }

    /// What was found wrong, and the trace.
    #[must_use]
    pub fn finish(&self) -> (Vec<String>, Vec<String>) {
        let mut state = self.lock();
        (std::mem::take(&mut state.violations), state.trace_lines.take().unwrap_or_default())
    }

    /// A call that its caller has given up is still under way.
    pub(super) fn keep_late_request(&self, request: Request) {
        self.lock().late_requests.push(request);
    }

    /// The calls that are still under way since the last time.
    pub(super) fn take_late_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().late_requests)
    }

    /// A host received a request that may have an effect.
    pub(super) fn mark_reached(&self, host: &str) {
        let mut state = self.lock();
        if !state.reached_hosts.iter().any(|other| other == host) {
            state.reached_hosts.push(host.to_owned());
        }
    }

    /// The hosts that received such requests since the last time.
    pub(super) fn take_reached_hosts(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().reached_hosts)
    }

    /// The journal was written.
    pub(super) fn mark_journal_written(&self) {
        self.lock().journal_written = true;
    }

    /// Whether the journal was written since the last time.
    pub(super) fn take_journal_written(&self) -> bool {
        std::mem::take(&mut self.lock().journal_written)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
