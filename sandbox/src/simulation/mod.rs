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
//! | `faulty_io`, `fault_injection` | transport, journal and queue that inject faults, and how they wrap the test environment |
//! | `actors`, `customer_events`, `checkout_pages`, `forgeries` | subscribers and shoppers, their events, forged messages |
//! | `event_queue`, `event_handlers` | scheduled events, and how they are handled |
//! | [`executor`] | workers as futures that nobody but the simulation polls |
//! | [`behaviour`], `oddities` | what gateways and people do that is rare, and how often it occurred |
//! | `operator` | decisions about what is parked, at the end |
//! | `outage` | hours or days in which no queue is consumed |
//! | `simulator` | the scheduler: which task is polled, and how time advances |
//! | [`journal_checker`] | checks every document that the journal commits |
//! | `ledger_audit`, `due_calls` | what must hold between the gateways' ledgers and Cleeng's, without the journal's opinion |
//! | `invariants`, `leak_checker` | what must hold besides |
//! | [`exhaustive`], [`linearizability`] | every interleaving of a few workers, without a seed; a checker of a store's history |

mod actors;
pub mod behaviour;
mod checkout_pages;
pub mod context;
mod customer_events;
mod due_calls;
mod event_handlers;
mod event_queue;
pub mod executor;
pub mod exhaustive;
mod fault_injection;
pub mod fault_profile;
mod faulty_io;
mod forgeries;
mod invariants;
pub mod journal_checker;
mod leak_checker;
mod ledger_audit;
pub mod linearizability;
mod oddities;
mod operator;
mod outage;
pub mod prng;
mod simulator;

use self::behaviour::BehaviourCounts;
use self::context::SimulationContext;
use self::fault_profile::FaultProfile;
use self::leak_checker::LeakDetectingSubscriber;
use self::prng::Prng;
use self::simulator::Simulator;
use crate::expect::expect_fixture;
use crate::simulators::virtual_clock::VirtualClock;
use crate::testkit::fixtures::START;
use crate::testkit::interceptors::{Interceptors, NoInterceptors};

/// How a seed is run.
#[derive(Clone, Copy)]
pub struct SimulationOptions<'a> {
    /// Whether the trace is kept.
    pub trace: bool,
    /// The faults that are injected; `None` for those of the seed.
    pub fault_profile: Option<&'a FaultProfile>,
    /// Wrappers around the functions and everything outside them, such as seeded defects.
    pub interceptors: &'a dyn Interceptors,
}

impl Default for SimulationOptions<'_> {
    fn default() -> Self {
        Self { trace: false, fault_profile: None, interceptors: &NoInterceptors }
    }
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulationCounts {
    /// Deliveries to functions: of messages, notifications, page calls, reconciliation runs.
    pub deliveries: u64,
    /// Steps of the scheduler.
    pub steps: u64,
    /// Workers that crashed or were stopped.
    pub crashes: u64,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulationReport {
    /// The seed.
    pub seed: u64,
    /// The violations. Empty is good.
    pub violations: Vec<String>,
    /// How much happened.
    pub counts: SimulationCounts,
    /// How often what is rare happened.
    pub behaviours: BehaviourCounts,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
}

/// Runs a seed.
///
/// # Panics
/// If the sandbox's own fixtures are missing.
#[must_use]
pub fn run_seed(seed: u64, options: &SimulationOptions<'_>) -> SimulationReport {
    options.interceptors.reset();
    let mut prng = Prng::from_seed(seed);
    let profile = FaultProfile::from_prng(&mut prng);
    let profile = options.fault_profile.cloned().unwrap_or(profile);
    let context = SimulationContext::new(VirtualClock::starting_at(START), prng.fork(), options.trace);
    context.trace(|| format!("seed {seed}: {profile:?}"));
    // The adapters' time limits are timers, which need a runtime to exist. None ever fires, because nothing drives the runtime.
    let runtime = expect_fixture(tokio::runtime::Builder::new_current_thread().enable_time().build().ok());
    let _entered = runtime.enter();
    let _log = tracing::subscriber::set_default(LeakDetectingSubscriber::new(context.clone()));
    let mut simulator = Simulator::new(seed, prng, &context, options);
    simulator.run(&profile);
    let counts = simulator.counts;
    drop(simulator);
    let behaviours = context.behaviours();
    let (violations, trace) = context.finish();
    SimulationReport { seed, violations, counts, behaviours, trace }
}
