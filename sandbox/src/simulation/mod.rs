//! Whole worlds played by seed: the real functions, clients and adapters against the simulated peers, with everything going wrong that can, and what
//! must be true all the same.
//!
//! A seed decides everything: who plays, what happens in their lives, in which order the workers have their turns, what gets lost, comes twice,
//! late or broken, and who dies where. The same seed plays the same world, byte for byte: there is one thread, time is virtual, and nothing is drawn
//! from the system. (The adapter of PayPal gives one operation ten real seconds in all, which no play comes near.)
//!
//! | room | duty |
//! |---|---|
//! | [`dice`] | numbers that follow from the seed |
//! | [`climate`] | what goes wrong, and how often |
//! | [`sky`] | what everybody shares: dice, climate, trace, what was found |
//! | `weather` | calls that get lost, answers that come broken, a journal that fails |
//! | `cast`, `lives`, `pages`, `crimes` | who plays, and what happens to them; what nobody signed |
//! | `agenda`, `acts` | what is still to come, and what follows from it |
//! | `night` | days on which nobody works behind the queues |
//! | `theatre` | whose turn it is, and how time passes |
//! | [`watch`] | reads every document that the journal takes |
//! | `audit`, `secrets` | what must be true |
//! | [`interleave`], [`history`] | every order of a few workers, without any seed; what a store can have looked like |

mod acts;
mod agenda;
mod audit;
mod cast;
pub mod climate;
mod crimes;
pub mod dice;
pub mod history;
pub mod interleave;
mod lives;
mod night;
mod pages;
mod secrets;
pub mod sky;
mod theatre;
pub mod watch;
mod weather;

use std::sync::{Arc, Mutex, PoisonError};

use connector::flow::{Flow, PartialRefunds, SettleOn};
use connector::gateway::Gateway;
use connector::http::Transport;
use connector::journal::store::Store;
use connector::metrics::MetricSink;

use self::acts::at_once;
use self::climate::Climate;
use self::dice::Dice;
use self::secrets::{Censor, CensoredMetrics};
use self::sky::Sky;
use self::theatre::{Opening, Theatre};
use self::watch::Watch;
use self::weather::{WindyQueue, WindyStore, WindyTransport};
use crate::clock::VirtualClock;
use crate::stage::{Backstage, START, Stage, known};

/// Mistakes that are made on purpose, to see that they are found: what stands between the functions and everything else makes them. By itself it
/// makes none.
pub trait Tricks: Sync {
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
    fn begins(&self) {}

    /// Whether a door acknowledges a webhook that its queue does not take.
    fn answers_too_early(&self) -> bool {
        false
    }

    /// A function.
    fn flow(&self, flow: Box<dyn Flow>) -> Box<dyn Flow> {
        flow
    }
}

/// No mistake is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Tricks for Honest {}

/// How a seed is played.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Whether the trace is kept.
    pub trace: bool,
    /// What goes wrong; nothing for what the seed says.
    pub climate: Option<&'a Climate>,
    /// Mistakes that are made on purpose.
    pub tricks: &'a dyn Tricks,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { trace: false, climate: None, tricks: &Honest }
    }
}

/// How much happened in a play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries to functions: of messages, notifications at the door, calls of pages, rounds.
    pub deliveries: u64,
    /// Turns.
    pub turns: u64,
    /// Workers that died or were stopped.
    pub deaths: u64,
}

/// What a play came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// The seed.
    pub seed: u64,
    /// What was found wrong. Empty is good.
    pub found: Vec<String>,
    /// How much happened.
    pub counts: Counts,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
}

/// Plays the world of a seed.
///
/// # Panics
/// If the sandbox's own props are missing.
#[must_use]
pub fn play(seed: u64, plan: &Plan<'_>) -> Played {
    plan.tricks.begins();
    let mut dice = Dice::of(seed);
    let climate = Climate::of(&mut dice);
    let climate = plan.climate.cloned().unwrap_or(climate);
    let clock = VirtualClock::starting_at(START);
    let sky = Sky::new(clock.clone(), dice.fork(), plan.trace);
    sky.note(|| format!("seed {seed}: {climate:?}"));
    let behind = Behind { sky: sky.clone(), watch: Watch::default(), tricks: plan.tricks, transport: Mutex::new(None) };
    let (partly, delete, receipt) = (dice.happens(700), dice.happens(500), dice.happens(200));
    let stage = Stage::behind(&behind, clock, |rules| {
        rules.partial_refunds = if partly { PartialRefunds::Send } else { PartialRefunds::Park };
        rules.delete_deactivated_details = delete;
        rules.settle_on = if receipt { SettleOn::Receipt } else { SettleOn::Notification };
    });
    stage.road.forget_calls();
    // That the sum of refunds is right must not be the gateway's merit.
    stage.adyen.allow_over_refunds();
    // The time limits of the adapters are made of timers, which need somebody who would wake them; nobody ever does.
    let runtime = known(tokio::runtime::Builder::new_current_thread().enable_time().build().ok());
    let _entered = runtime.enter();
    let _log = tracing::subscriber::set_default(Censor::new(sky.clone()));
    let queue = Arc::new(WindyQueue::new(sky.clone()));
    let door = Arc::new(known(at_once(stage.notification_door(queue.clone()))));
    let transport = known(behind.transport.lock().unwrap_or_else(PoisonError::into_inner).take());
    let watch = behind.watch.clone();
    // Of dice of its own: a play without a night is the same as if there were none.
    let sleep = plan.climate.is_none().then(|| Dice::of(!seed));
    let opening = Opening { stage: Arc::new(stage), tricks: plan.tricks, sky: sky.clone(), dice, sleep, watch, transport, door, queue };
    let mut theatre = Theatre::open(opening);
    theatre.play(&climate);
    let counts = theatre.counts;
    drop(theatre);
    let (found, trace) = sky.end();
    Played { seed, found, counts, trace }
}

struct Behind<'a> {
    sky: Sky,
    watch: Watch,
    tricks: &'a dyn Tricks,
    transport: Mutex<Option<Arc<WindyTransport>>>,
}

impl Backstage for Behind<'_> {
    fn transport(&self, way: Arc<dyn Transport>) -> Arc<dyn Transport> {
        let windy = Arc::new(WindyTransport { inner: way, sky: self.sky.clone() });
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&windy));
        self.tricks.transport(windy)
    }

    fn store(&self, journal: Arc<dyn Store>) -> Arc<dyn Store> {
        self.tricks.store(Arc::new(WindyStore { inner: journal, sky: self.sky.clone(), watch: self.watch.clone() }))
    }

    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        self.tricks.gateway(adapter)
    }

    fn metrics(&self, sink: Arc<dyn MetricSink>) -> Arc<dyn MetricSink> {
        Arc::new(CensoredMetrics { sky: self.sky.clone(), sink })
    }
}
