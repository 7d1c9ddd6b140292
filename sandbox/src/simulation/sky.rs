//! What everybody in a play shares: the dice, the climate, the trace and what was found wrong.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use connector::clock::{Clock as _, Timestamp};
use connector::http::Request;

use super::climate::Climate;
use super::dice::Dice;
use crate::clock::VirtualClock;
use crate::stage::START;

/// Shared by everybody in one play. Clones are the same one.
#[derive(Clone)]
pub struct Sky {
    clock: VirtualClock,
    state: Arc<Mutex<State>>,
}

struct State {
    dice: Dice,
    climate: Climate,
    /// Who has the turn.
    worker: u64,
    lines: Option<Vec<String>>,
    found: Vec<String>,
    late: Vec<Request>,
    /// Which peers were reached since the last time.
    reached: Vec<String>,
    /// Whether the journal was written since the last time.
    written: bool,
    /// What operators were called for.
    alarms: BTreeSet<String>,
}

impl Sky {
    /// Over a play, fair for now. A trace is kept only where it is wanted.
    #[must_use]
    pub fn new(clock: VirtualClock, dice: Dice, trace: bool) -> Self {
        let state = State {
            dice,
            climate: Climate::fair(),
            worker: 0,
            lines: trace.then(Vec::new),
            found: Vec::new(),
            late: Vec::new(),
            reached: Vec::new(),
            written: false,
            alarms: BTreeSet::new(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// The clock of the play.
    #[must_use]
    pub const fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Draws from the dice.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Dice) -> T) -> T {
        draw(&mut self.lock().dice)
    }

    /// Whether something happens now that happens so often in this climate.
    #[must_use]
    pub fn happens(&self, often: impl FnOnce(&Climate) -> u16) -> bool {
        let mut state = self.lock();
        let per_mille = often(&state.climate);
        state.dice.happens(per_mille)
    }

    /// From now on it is like this.
    pub fn become_climate(&self, climate: Climate) {
        self.lock().climate = climate;
    }

    /// Whether nothing goes wrong any more.
    #[must_use]
    pub fn is_fair(&self) -> bool {
        self.lock().climate == Climate::fair()
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Gives the turn to this worker; 0 is nobody's.
    pub fn turn_of(&self, worker: u64) {
        self.lock().worker = worker;
    }

    /// Whether a trace is kept.
    #[must_use]
    pub fn traces(&self) -> bool {
        self.lock().lines.is_some()
    }

    /// A line of the trace, made only where one is kept.
    pub fn note(&self, line: impl FnOnce() -> String) {
        let now = self.now();
        let mut state = self.lock();
        let worker = state.worker;
        if let Some(lines) = &mut state.lines {
            let passed = now.millis().saturating_sub(START.millis());
            let (days, rest) = (passed.div_euclid(86_400_000), passed.rem_euclid(86_400_000));
            let (hours, minutes) = (rest.div_euclid(3_600_000), rest.rem_euclid(3_600_000).div_euclid(60_000));
            let (seconds, millis) = (rest.rem_euclid(60_000).div_euclid(1_000), rest.rem_euclid(1_000));
            let who = if worker == 0 { String::from("-") } else { format!("w{worker}") };
            lines.push(format!("day {days} {hours:02}:{minutes:02}:{seconds:02}.{millis:03} {who:>5} {}", line()));
        }
    }

    /// An operator is called.
    pub(super) fn alarm(&self, reason: &str) {
        self.lock().alarms.insert(reason.to_owned());
    }

    /// Whether an operator was called for this reason.
    #[must_use]
    pub fn was_alarmed(&self, reason: &str) -> bool {
        self.lock().alarms.contains(reason)
    }

    /// Something is wrong that must never be.
    pub fn find(&self, what: String) {
        self.note(|| format!("FOUND: {what}"));
        let mut state = self.lock();
        if !state.found.contains(&what) {
            state.found.push(what);
        }
    }

    /// Whether something was found wrong.
    #[must_use]
    pub fn has_found(&self) -> bool {
        !self.lock().found.is_empty()
    }

    /// What was found wrong, and the trace.
    #[must_use]
    pub fn end(&self) -> (Vec<String>, Vec<String>) {
        let mut state = self.lock();
        (std::mem::take(&mut state.found), state.lines.take().unwrap_or_default())
    }

    /// A call that its caller has given up is still under way.
    pub(super) fn keep_late(&self, request: Request) {
        self.lock().late.push(request);
    }

    /// The calls that are still under way since the last time.
    pub(super) fn take_late(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().late)
    }

    /// A peer did something.
    pub(super) fn reached(&self, peer: &str) {
        let mut state = self.lock();
        if !state.reached.iter().any(|other| other == peer) {
            state.reached.push(peer.to_owned());
        }
    }

    /// The peers that did something since the last time.
    pub(super) fn take_reached(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().reached)
    }

    /// The journal was written.
    pub(super) fn written(&self) {
        self.lock().written = true;
    }

    /// Whether the journal was written since the last time.
    pub(super) fn take_written(&self) -> bool {
        std::mem::take(&mut self.lock().written)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives all others their turn: the place where a worker is interrupted, and where it can die.
#[must_use]
pub const fn turn() -> Turn {
    Turn(false)
}

/// See [`turn`].
#[derive(Debug)]
pub struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        // Nobody has to be woken: whoever runs the play comes round to everybody.
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
