//! The scheduler: which worker is polled next, and how time advances.
//!
//! Workers are futures that nobody else polls: each poll leads to the next call of the outside or of the journal. The random numbers choose
//! the worker, so that every interleaving of calls comes up under some seed; a worker that crashes is dropped where it stands.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connector::clock::Timestamp;
use connector::flow::{PartialRefunds, SettleOn};

use super::actors::{Shopper, Subscriber};
use super::context::SimulationContext;
use super::due_calls::DueCalls;
use super::event_queue::{EventQueue, InFlightMessage};
use super::executor::{Task, TaskKind, TaskResult, run_to_completion};
use super::fault_injection::FaultInjection;
use super::fault_profile::FaultProfile;
use super::faulty_io::{FaultyQueue, FaultyTransport};
use super::invariants::{InvariantChecker, OVERRUN_ALARM};
use super::journal_checker::JournalChecker;
use super::operator::check_decisions;
use super::outage::Outage;
use super::prng::Prng;
use super::{SimulationCounts, SimulationOptions};
use crate::expect::expect_fixture;
use crate::testkit::fixtures::START;
use crate::testkit::harness::TestEnvironment;
use crate::testkit::interceptors::Interceptors;
use crate::testkit::notifications::NotificationEndpoint;

/// Faults end when the last subscriber's period and grace are over, in either billing mode; in some runs those of the next month.
const FAULT_PHASE: Duration = Duration::from_secs(11 * 86_400);
const LONG_FAULT_PHASE: Duration = Duration::from_secs(42 * 86_400);
/// So much later everything is settled: a bank's time, a day of asking about unknown outcomes, and what follows from them.
const QUIESCENT_PHASE: Duration = Duration::from_secs(6 * 86_400);
/// So much later banks have decided about what was undecided.
const LATEST_DECISION: Duration = Duration::from_secs(2 * 86_400);
/// More steps than any run needs.
const MAX_STEPS: u64 = 400_000;
/// The interval of the schedule of reconciliation.
const RECONCILIATION_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// One run.
pub(super) struct Simulator<'a> {
    pub(super) env: Arc<TestEnvironment>,
    pub(super) interceptors: &'a dyn Interceptors,
    pub(super) context: SimulationContext,
    pub(super) prng: Prng,
    pub(super) checker: JournalChecker,
    due_calls: DueCalls,
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
    /// When banks have decided about everything.
    pub(super) last_decision: Timestamp,
    last_reconciliation: Timestamp,
    outage_prng: Option<Prng>,
    pub(super) oddity_prng: Option<Prng>,
    pub(super) outage: Option<Outage>,
    outage_started: bool,
}

impl<'a> Simulator<'a> {
    /// The environment of a seed before the first event: the seed decides the billing policy too.
    pub(super) fn new(seed: u64, mut prng: Prng, context: &SimulationContext, options: &SimulationOptions<'a>) -> Self {
        // A generator of its own: without what is rare the run is the same as if there were none to draw.
        let mut oddity_prng = options.fault_profile.is_none().then(|| Prng::from_seed(!seed).fork());
        let manual_capture = oddity_prng.as_mut().is_some_and(|prng| prng.chance(90));
        let faults = FaultInjection {
            manual_capture,
            context: context.clone(),
            checker: JournalChecker::default(),
            due_calls: DueCalls::default(),
            outer: options.interceptors,
            transport: OnceLock::new(),
        };
        let (partial, delete, receipt) = (prng.chance(700), prng.chance(500), prng.chance(200));
        let env = TestEnvironment::with_interceptors(&faults, context.clock().clone(), |policy| {
            policy.partial_refunds = if partial { PartialRefunds::Send } else { PartialRefunds::Park };
            policy.delete_deactivated_details = delete;
            policy.settle_on = if receipt { SettleOn::Receipt } else { SettleOn::Notification };
        });
        env.network.disable_recording();
        faults.due_calls.attach(&env, manual_capture);
        if manual_capture {
            env.adyen.set_manual_capture();
        }
        // The connector must keep the sum of refunds right even where the gateway does not check it.
        env.adyen.allow_over_refunds();
        let queue = Arc::new(FaultyQueue::new(context.clone()));
        let endpoint = Arc::new(expect_fixture(run_to_completion(env.notification_endpoint(queue.clone()))));
        Self {
            invariants: InvariantChecker::for_environment(&env),
            env: Arc::new(env),
            interceptors: options.interceptors,
            context: context.clone(),
            prng,
            checker: faults.checker,
            due_calls: faults.due_calls,
            transport: expect_fixture(faults.transport.into_inner()),
            endpoint,
            queue,
            events: EventQueue::default(),
            messages: BTreeMap::new(),
            subscribers: Vec::new(),
            shoppers: Vec::new(),
            counts: SimulationCounts::default(),
            last_id: 0,
            tasks: Vec::new(),
            quiescent: false,
            last_decision: START,
            last_reconciliation: START,
            // A generator of its own: without an outage the run is the same as if there were none to draw.
            outage_prng: options.fault_profile.is_none().then(|| Prng::from_seed(!seed)),
            oddity_prng,
            outage: None,
            outage_started: false,
        }
    }

    /// Runs until everything is settled, or a violation is found.
    pub(super) fn run(&mut self, profile: &FaultProfile) {
        let lasts = self.prng.choose(FAULT_PHASE, &[FAULT_PHASE, FAULT_PHASE, FAULT_PHASE, LONG_FAULT_PHASE]);
        let (fault_phase_end, end) = (START.after(lasts), START.after(lasts).after(QUIESCENT_PHASE));
        self.last_decision = fault_phase_end.after(LATEST_DECISION);
        self.outage = self.outage_prng.as_mut().and_then(|prng| Outage::from_prng(prng, START, lasts));
        self.invariants.outage_duration = self.outage.map_or(Duration::ZERO, |outage| outage.end.since(outage.start));
        self.schedule_actors(profile, fault_phase_end);
        loop {
            self.counts.steps = self.counts.steps.saturating_add(1);
            if self.counts.steps > MAX_STEPS {
                self.context.report_violation("the simulation never ends".to_owned());
            }
            if self.context.has_violations() {
                return;
            }
            if !self.quiescent && self.context.now() >= fault_phase_end {
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
        check_decisions(&self.env, &self.checker, &self.context);
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

    /// Starts the next event, if there is one before the end; while workers run, only one that is near.
    fn start_next_event(&mut self, end: Timestamp) -> bool {
        let now = self.context.now();
        self.begin_outage(now);
        let due = self.checker.next_due().map(|due| due.max(self.last_reconciliation.after(RECONCILIATION_INTERVAL)));
        let reconciliation = due.map(|at| self.outage.filter(|outage| outage.contains(at)).map_or(at, |outage| outage.end));
        let sent = self.env.cleeng.next_webhook_due();
        let next = [reconciliation, sent, self.events.next_time()].into_iter().flatten().min();
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
        } else if reconciliation.is_some_and(|due| due <= at) {
            self.last_reconciliation = self.context.now();
            self.start_reconciliation();
        } else if let Some(event) = self.events.pop() {
            self.handle_event(event);
        }
        self.observe();
        true
    }

    /// Polls one of the workers.
    fn poll_one(&mut self) {
        let place = self.prng.index(self.tasks.len());
        let now = self.context.now();
        let Some(worker) = self.tasks.get_mut(place) else { return };
        let id = worker.id;
        self.context.set_current_worker(id);
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
            self.due_calls.record_finish(id);
            self.handle_result(result);
            self.observe();
        }
    }

    /// Workers behind a queue stop where they stand.
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

    /// Checks what was done, and schedules what follows from it.
    fn observe(&mut self) {
        let reached = self.context.take_reached_hosts();
        self.schedule_gateway_processing(&reached);
        self.schedule_late_requests();
        self.collect_messages();
        if !reached.is_empty() || self.context.take_journal_written() {
            self.invariants.check_step(&self.env, &self.context);
        }
    }
}
