//! The play itself: who is at work, who has the next turn, and how time passes.
//!
//! Workers are futures that nobody else polls: each turn of one of them leads to its next call of the outside or of the journal. The dice say whose
//! turn it is, so that every interleaving of calls comes up under some seed; a worker that crashes is dropped where it stands.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connector::clock::Timestamp;

use super::actors::{Shopper, Subscriber};
use super::context::SimulationContext;
use super::event_queue::{EventQueue, InFlightMessage};
use super::executor::{Task, TaskKind, TaskResult};
use super::fault_profile::FaultProfile;
use super::faulty_io::{FaultyQueue, FaultyTransport};
use super::invariants::{InvariantChecker, OVERRUN_ALARM};
use super::journal_checker::JournalChecker;
use super::outage::Outage;
use super::prng::Prng;
use super::{Mutation, SimulationCounts};
use crate::testkit::fixtures::START;
use crate::testkit::harness::TestEnvironment;
use crate::testkit::notifications::NotificationEndpoint;

/// Trouble ends when the last subscriber's period and his grace are over, whichever way he is billed; in some runs that of the next month.
const FAULT_PHASE: Duration = Duration::from_secs(11 * 86_400);
const LONG_FAULT_PHASE: Duration = Duration::from_secs(42 * 86_400);
/// So much later everything has come to its end: a bank's time, a day of asking about unknown outcomes, and what follows from them.
const QUIESCENT_PHASE: Duration = Duration::from_secs(6 * 86_400);
/// More turns than any play needs.
const MAX_STEPS: u64 = 400_000;
/// Two rounds of reconciliation lie so far apart at least: its schedule.
const RECONCILIATION_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// One play.
pub(super) struct Simulator<'a> {
    pub(super) env: Arc<TestEnvironment>,
    pub(super) mutation: &'a dyn Mutation,
    pub(super) context: SimulationContext,
    pub(super) prng: Prng,
    pub(super) checker: JournalChecker,
    pub(super) transport: Arc<FaultyTransport>,
    pub(super) endpoint: Arc<NotificationEndpoint>,
    pub(super) queue: Arc<FaultyQueue>,
    pub(super) invariants: InvariantChecker,
    pub(super) events: EventQueue,
    pub(super) messages: BTreeMap<u64, InFlightMessage>,
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) shoppers: Vec<Shopper>,
    pub(super) counts: SimulationCounts,
    pub(super) last_id: u64,
    tasks: Vec<Task>,
    quiescent: bool,
    last_reconciliation: Timestamp,
    outage_prng: Option<Prng>,
    pub(super) outage: Option<Outage>,
    outage_started: bool,
}

/// What a theatre is opened with.
pub(super) struct SimulatorParts<'a> {
    pub(super) env: Arc<TestEnvironment>,
    pub(super) mutation: &'a dyn Mutation,
    pub(super) context: SimulationContext,
    pub(super) prng: Prng,
    pub(super) outage_prng: Option<Prng>,
    pub(super) checker: JournalChecker,
    pub(super) transport: Arc<FaultyTransport>,
    pub(super) endpoint: Arc<NotificationEndpoint>,
    pub(super) queue: Arc<FaultyQueue>,
}

impl<'a> Simulator<'a> {
    pub(super) fn new(parts: SimulatorParts<'a>) -> Self {
        let SimulatorParts { env, mutation, context, prng, outage_prng, checker, transport, endpoint, queue } = parts;
        let invariants = InvariantChecker::for_environment(&env);
        Self {
            env,
            mutation,
            context,
            prng,
            checker,
            transport,
            endpoint,
            queue,
            invariants,
            events: EventQueue::default(),
            messages: BTreeMap::new(),
            subscribers: Vec::new(),
            shoppers: Vec::new(),
            counts: SimulationCounts::default(),
            last_id: 0,
            tasks: Vec::new(),
            quiescent: false,
            last_reconciliation: START,
            outage_prng,
            outage: None,
            outage_started: false,
        }
    }

    /// Runs until everything has come to its end, or something is found wrong.
    pub(super) fn run(&mut self, profile: &FaultProfile) {
        let lasts = self.prng.choose(FAULT_PHASE, &[FAULT_PHASE, FAULT_PHASE, FAULT_PHASE, LONG_FAULT_PHASE]);
        let (storm, end) = (START.after(lasts), START.after(lasts).after(QUIESCENT_PHASE));
        self.outage = self.outage_prng.as_mut().and_then(|prng| Outage::from_prng(prng, START, lasts));
        self.invariants.outage_duration = self.outage.map_or(Duration::ZERO, |outage| outage.end.since(outage.start));
        self.schedule_actors(profile, storm);
        loop {
            self.counts.steps = self.counts.steps.saturating_add(1);
            if self.counts.steps > MAX_STEPS {
                self.context.report_violation("the simulation never ends".to_owned());
            }
            if self.context.has_violations() {
                return;
            }
            if !self.quiescent && self.context.now() >= storm {
                self.quiescent = true;
                self.context.set_current_worker(0);
                self.context.trace(|| "quiescent phase begins".to_owned());
                self.context.set_fault_profile(FaultProfile::no_faults());
            }
            if !self.tasks.is_empty() && self.prng.chance(850) {
                self.poll_one();
            } else if !self.start_next_event(end) {
                if self.tasks.is_empty() {
                    break;
                }
                self.poll_one();
            }
        }
        self.context.set_current_worker(0);
        let unfinished = self.messages.len();
        self.invariants.check_final_state(&self.env, &self.checker, &self.context, unfinished);
    }

    /// A worker starts.
    pub(super) fn spawn(&mut self, kind: TaskKind, time: Duration, future: Pin<Box<dyn Future<Output = TaskResult>>>) {
        self.last_id = self.last_id.saturating_add(1);
        let (id, deadline) = (self.last_id, self.context.now().after(time));
        self.counts.deliveries = self.counts.deliveries.saturating_add(1);
        self.tasks.push(Task { id, kind, deadline, overrun: false, future });
    }

    /// The number of the next worker.
    pub(super) const fn next_task_id(&self) -> u64 {
        self.last_id.saturating_add(1)
    }

    /// Lets the next thing happen, if there is one before the end: while workers are at it only what is near.
    fn start_next_event(&mut self, end: Timestamp) -> bool {
        let now = self.context.now();
        self.begin_outage(now);
        let round = self.checker.next_due().map(|due| due.max(self.last_reconciliation.after(RECONCILIATION_INTERVAL)));
        let round = round.map(|at| self.outage.filter(|outage| outage.contains(at)).map_or(at, |outage| outage.end));
        let sent = self.env.cleeng.next_webhook_due();
        let next = [round, sent, self.events.next_time()].into_iter().flatten().min();
        let Some(at) = next.filter(|at| *at <= end) else { return false };
        let near = now.after(self.prng.duration(0, 20));
        let jumps = !self.tasks.is_empty() && self.context.chance(|profile| profile.clock_jump);
        if !self.tasks.is_empty() && at > near && !jumps {
            return false;
        }
        if jumps {
            let by = self.prng.duration(30, 600);
            self.context.set_current_worker(0);
            self.context.trace(|| format!("time jumps by {} s", by.as_secs()));
            self.context.advance_clock(by);
        }
        self.env.clock.advance_to(at);
        self.context.set_current_worker(0);
        if sent.is_some_and(|sent| sent <= at) {
            self.send_cleeng_webhooks();
        } else if round.is_some_and(|round| round <= at) {
            self.last_reconciliation = self.context.now();
            self.start_reconciliation();
        } else if let Some(event) = self.events.pop() {
            self.handle_event(event);
        }
        self.observe();
        true
    }

    /// One of the workers has its turn.
    fn poll_one(&mut self) {
        let place = self.prng.index(self.tasks.len());
        let now = self.context.now();
        let Some(worker) = self.tasks.get_mut(place) else { return };
        self.context.set_current_worker(worker.id);
        if now > worker.deadline && !worker.overrun {
            worker.overrun = self.context.chance(|profile| profile.overrun);
            if !worker.overrun {
                self.context.trace(|| "is stopped at its deadline".to_owned());
                self.drop_task(place);
                return;
            }
            self.context.trace(|| "runs past its deadline".to_owned());
            self.context.record_alarm(OVERRUN_ALARM);
        } else if self.context.chance(|profile| profile.crash) {
            self.context.trace(|| "crashes".to_owned());
            self.drop_task(place);
            return;
        }
        let polled = worker.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.observe();
        if let Poll::Ready(result) = polled {
            self.tasks.remove(place);
            self.handle_result(result);
            self.observe();
        }
    }

    /// Whoever is at work behind a queue stops where he is.
    fn begin_outage(&mut self, now: Timestamp) {
        if self.outage_started || !self.outage.is_some_and(|outage| outage.contains(now)) {
            return;
        }
        self.outage_started = true;
        self.context.set_current_worker(0);
        self.context.trace(|| format!("an outage of the queues begins: {:?}", self.outage));
        let behind_a_queue = |worker: &Task| matches!(worker.kind, TaskKind::Message(_) | TaskKind::Reconciliation);
        while let Some(place) = self.tasks.iter().position(behind_a_queue) {
            self.drop_task(place);
        }
    }

    fn drop_task(&mut self, place: usize) {
        let worker = self.tasks.remove(place);
        self.counts.crashes = self.counts.crashes.saturating_add(1);
        drop(worker.future);
        self.reschedule(worker.kind);
    }

    /// Whatever was done is looked at, and what follows from it is put on the agenda.
    fn observe(&mut self) {
        let reached = self.context.take_reached_hosts();
        self.schedule_gateway_processing(&reached);
        self.schedule_late_requests();
        self.collect_messages();
        if !reached.is_empty() || self.context.take_journal_written() {
            self.invariants.check_step(&self.env, &self.checker, &self.context);
        }
    }
}
