//! Deterministic simulation by seed: the real functions, clients and adapters against the simulators, with faults injected at every call, and the
//! invariants that must hold all the same.
//!
//! A seed decides everything: the actors, their events, the order in which workers are polled, what is lost, duplicated, delayed or truncated, and
//! which worker crashes where. The same seed gives the same run, byte for byte: there is one thread, time is virtual, and nothing is drawn from the
//! system. (PayPal's adapter limits one operation to ten real seconds in all, which no run comes near.)
//!
//! | module | purpose |
//! |---|---|
//! | [`prng`] | pseudorandom numbers from the seed |
//! | [`fault_profile`] | which faults are injected, and how often |
//! | [`context`] | what all parts share: random numbers, fault profile, trace, violations |
//! | `faulty_io` | transport, journal and queue that inject faults |
//! | `actors`, `customer_events`, `checkout_pages`, `forgeries` | subscribers and shoppers, their events, forged messages |
//! | `event_queue`, `event_handlers` | scheduled events, and how they are handled |
//! | [`executor`] | workers as futures that nobody but the simulation polls |
//! | `outage` | hours or days in which no queue is consumed |
//! | `simulator` | the scheduler: which task is polled, and how time advances |
//! | [`journal_checker`] | checks every document that the journal commits |
//! | `invariants`, `leak_checker` | what must hold |
//! | [`exhaustive`], [`linearizability`] | every interleaving of a few workers, without a seed; a checker of a store's history |

mod actors;
mod checkout_pages;
pub mod context;
mod customer_events;
mod event_handlers;
mod event_queue;
pub mod executor;
pub mod exhaustive;
pub mod fault_profile;
mod faulty_io;
mod forgeries;
mod invariants;
pub mod journal_checker;
mod leak_checker;
pub mod linearizability;
mod outage;
pub mod prng;
mod simulator;

use std::sync::{Arc, Mutex, PoisonError};

use connector::flow::{Flow, PartialRefunds, SettleOn};
use connector::gateway::Gateway;
use connector::http::Transport;
use connector::journal::store::Store;
use connector::metrics::MetricSink;

use self::context::SimulationContext;
use self::executor::run_to_completion;
use self::fault_profile::FaultProfile;
use self::faulty_io::{FaultyQueue, FaultyStore, FaultyTransport};
use self::journal_checker::JournalChecker;
use self::leak_checker::{LeakDetectingMetrics, LeakDetectingSubscriber};
use self::prng::Prng;
use self::simulator::{Simulator, SimulatorParts};
use crate::expect::expect_fixture;
use crate::simulators::virtual_clock::VirtualClock;
use crate::testkit::fixtures::START;
use crate::testkit::harness::{Interceptors, TestEnvironment};

/// Mistakes that are made on purpose, to see that they are found: what stands between the functions and everything else makes them. By itself it
/// makes none.
pub trait Mutation: Sync {
    /// The way to the peers as the functions see it.
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        way
    }

    /// The journal as the functions see it.
    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        journal
    }

    /// A gateway's adapter as the functions see it.
    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        adapter
    }

    /// A play begins.
    fn reset(&self) {}

    /// Whether a door acknowledges a webhook that its queue does not take.
    fn acknowledges_before_enqueue(&self) -> bool {
        false
    }

    /// A function.
    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        flow
    }
}

/// No mistake is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMutation;

impl Mutation for NoMutation {}

/// How a seed is played.
#[derive(Clone, Copy)]
pub struct SimulationOptions<'a> {
    /// Whether the trace is kept.
    pub trace: bool,
    /// What goes wrong; nothing for what the seed says.
    pub fault_profile: Option<&'a FaultProfile>,
    /// Mistakes that are made on purpose.
    pub mutation: &'a dyn Mutation,
}

impl Default for SimulationOptions<'_> {
    fn default() -> Self {
        Self { trace: false, fault_profile: None, mutation: &NoMutation }
    }
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulationCounts {
    /// Deliveries to functions: of messages, notifications at the door, calls of pages, rounds.
    pub deliveries: u64,
    /// Turns.
    pub steps: u64,
    /// Workers that crashed or were stopped.
    pub crashes: u64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulationReport {
    /// The seed.
    pub seed: u64,
    /// What was found wrong. Empty is good.
    pub violations: Vec<String>,
    /// How much happened.
    pub counts: SimulationCounts,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
}

/// Runs the world of a seed.
///
/// # Panics
/// If the sandbox's own props are missing.
#[must_use]
pub fn run_seed(seed: u64, options: &SimulationOptions<'_>) -> SimulationReport {
    options.mutation.reset();
    let mut prng = Prng::from_seed(seed);
    let profile = FaultProfile::from_prng(&mut prng);
    let profile = options.fault_profile.cloned().unwrap_or(profile);
    let clock = VirtualClock::starting_at(START);
    let context = SimulationContext::new(clock.clone(), prng.fork(), options.trace);
    context.trace(|| format!("seed {seed}: {profile:?}"));
    let behind = SimulationInterceptors {
        context: context.clone(),
        checker: JournalChecker::default(),
        mutation: options.mutation,
        transport: Mutex::new(None),
    };
    let (partly, delete, receipt) = (prng.chance(700), prng.chance(500), prng.chance(200));
    let env = TestEnvironment::with_interceptors(&behind, clock, |rules| {
        rules.partial_refunds = if partly { PartialRefunds::Send } else { PartialRefunds::Park };
        rules.delete_deactivated_details = delete;
        rules.settle_on = if receipt { SettleOn::Receipt } else { SettleOn::Notification };
    });
    env.network.disable_recording();
    // That the sum of refunds is right must not be the gateway's merit.
    env.adyen.allow_over_refunds();
    // The time limits of the adapters are made of timers, which need somebody who would wake them; nobody ever does.
    let runtime = expect_fixture(tokio::runtime::Builder::new_current_thread().enable_time().build().ok());
    let _entered = runtime.enter();
    let _log = tracing::subscriber::set_default(LeakDetectingSubscriber::new(context.clone()));
    let queue = Arc::new(FaultyQueue::new(context.clone()));
    let endpoint = Arc::new(expect_fixture(run_to_completion(env.notification_endpoint(queue.clone()))));
    let transport = expect_fixture(behind.transport.lock().unwrap_or_else(PoisonError::into_inner).take());
    let checker = behind.checker.clone();
    // Of dice of its own: a run without a night is the same as if there were none.
    let outage_prng = options.fault_profile.is_none().then(|| Prng::from_seed(!seed));
    let parts = SimulatorParts {
        env: Arc::new(env),
        mutation: options.mutation,
        context: context.clone(),
        prng,
        outage_prng,
        checker,
        transport,
        endpoint,
        queue,
    };
    let mut simulator = Simulator::new(parts);
    simulator.run(&profile);
    let counts = simulator.counts;
    drop(simulator);
    let (found, trace) = context.finish();
    SimulationReport { seed, violations: found, counts, trace }
}

struct SimulationInterceptors<'a> {
    context: SimulationContext,
    checker: JournalChecker,
    mutation: &'a dyn Mutation,
    transport: Mutex<Option<Arc<FaultyTransport>>>,
}

impl Interceptors for SimulationInterceptors<'_> {
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        let windy = Arc::new(FaultyTransport { inner: way, context: self.context.clone() });
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&windy));
        self.mutation.transport(windy)
    }

    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        self.mutation.store(Arc::new(FaultyStore { inner: journal, context: self.context.clone(), checker: self.checker.clone() }))
    }

    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        self.mutation.gateway(adapter)
    }

    fn metrics(&self, sink: Arc<dyn MetricSink>) -> Arc<dyn MetricSink> {
        Arc::new(LeakDetectingMetrics { context: self.context.clone(), sink })
    }
}
