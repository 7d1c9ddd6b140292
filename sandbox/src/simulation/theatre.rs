//! The play itself: who is at work, who has the next turn, and how time passes.
//!
//! Workers are futures that nobody else polls: each turn of one of them leads to its next call of the outside or of the journal. The dice say whose
//! turn it is, so that every interleaving of calls comes up under some seed; a worker that dies is dropped where it stands.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connector::clock::Timestamp;
use connector::flow::{Tally, Verdict};
use connector::front::Reply;
use connector::gateway::GatewayName;

use super::agenda::{Agenda, Letter};
use super::audit::{Audit, UNDEAD};
use super::cast::{Member, Visitor};
use super::climate::Climate;
use super::dice::Dice;
use super::night::Night;
use super::sky::Sky;
use super::watch::Watch;
use super::weather::{WindyQueue, WindyTransport};
use super::{Counts, Tricks};
use crate::house::Posted as Notice;
use crate::notices::Door;
use crate::stage::{START, Stage};

/// Trouble ends when the last subscriber's period and his grace are over, whichever way he is billed; in some plays that of the next month.
const STORM: Duration = Duration::from_secs(11 * 86_400);
const LONG_STORM: Duration = Duration::from_secs(42 * 86_400);
/// So much later everything has come to its end: a bank's time, a day of asking about unknown outcomes, and what follows from them.
const CALM: Duration = Duration::from_secs(6 * 86_400);
/// More turns than any play needs.
const MOST_TURNS: u64 = 400_000;
/// Two rounds of reconciliation lie so far apart at least: its schedule.
const ROUND: Duration = Duration::from_secs(15 * 60);

/// What a worker came to.
pub(super) enum Came {
    /// A delivery of this message.
    Delivered(u64, Verdict),
    /// A notification at its door, kept for the case that it has to come again, and the door's answer.
    Noticed(GatewayName, Notice, u64),
    /// A forged notification at the door, and the door's answer.
    Forged(u64),
    /// A call of this visitor's page.
    Answered(usize, Reply),
    /// A round.
    Round(Tally),
}

/// What is to be done again if its worker dies.
pub(super) enum Errand {
    Letter(u64),
    Notice(GatewayName, Notice),
    Forgery,
    Page(usize),
    Round,
}

struct Worker {
    id: u64,
    errand: Errand,
    deadline: Timestamp,
    undead: bool,
    future: Pin<Box<dyn Future<Output = Came>>>,
}

/// One play.
pub(super) struct Theatre<'a> {
    pub(super) stage: Arc<Stage>,
    pub(super) tricks: &'a dyn Tricks,
    pub(super) sky: Sky,
    pub(super) dice: Dice,
    pub(super) watch: Watch,
    pub(super) transport: Arc<WindyTransport>,
    pub(super) door: Arc<Door>,
    pub(super) queue: Arc<WindyQueue>,
    pub(super) audit: Audit,
    pub(super) agenda: Agenda,
    pub(super) letters: BTreeMap<u64, Letter>,
    pub(super) members: Vec<Member>,
    pub(super) visitors: Vec<Visitor>,
    pub(super) counts: Counts,
    pub(super) serial: u64,
    workers: Vec<Worker>,
    calm: bool,
    last_round: Timestamp,
    sleep: Option<Dice>,
    pub(super) night: Option<Night>,
    slept: bool,
}

/// What a theatre is opened with.
pub(super) struct Opening<'a> {
    pub(super) stage: Arc<Stage>,
    pub(super) tricks: &'a dyn Tricks,
    pub(super) sky: Sky,
    pub(super) dice: Dice,
    pub(super) sleep: Option<Dice>,
    pub(super) watch: Watch,
    pub(super) transport: Arc<WindyTransport>,
    pub(super) door: Arc<Door>,
    pub(super) queue: Arc<WindyQueue>,
}

impl<'a> Theatre<'a> {
    pub(super) fn open(opening: Opening<'a>) -> Self {
        let Opening { stage, tricks, sky, dice, sleep, watch, transport, door, queue } = opening;
        let audit = Audit::of(&stage);
        Self {
            stage,
            tricks,
            sky,
            dice,
            watch,
            transport,
            door,
            queue,
            audit,
            agenda: Agenda::default(),
            letters: BTreeMap::new(),
            members: Vec::new(),
            visitors: Vec::new(),
            counts: Counts::default(),
            serial: 0,
            workers: Vec::new(),
            calm: false,
            last_round: START,
            sleep,
            night: None,
            slept: false,
        }
    }

    /// Plays until everything has come to its end, or something is found wrong.
    pub(super) fn play(&mut self, climate: &Climate) {
        let lasts = self.dice.pick(STORM, &[STORM, STORM, STORM, LONG_STORM]);
        let (storm, end) = (START.after(lasts), START.after(lasts).after(CALM));
        self.night = self.sleep.as_mut().and_then(|dice| Night::of(dice, START, lasts));
        self.audit.night = self.night.map_or(Duration::ZERO, |night| night.dawn.since(night.falls));
        self.prepare(climate, storm);
        loop {
            self.counts.turns = self.counts.turns.saturating_add(1);
            if self.counts.turns > MOST_TURNS {
                self.sky.find("the play never ends".to_owned());
            }
            if self.sky.has_found() {
                return;
            }
            if !self.calm && self.sky.now() >= storm {
                self.calm = true;
                self.sky.turn_of(0);
                self.sky.note(|| "nothing goes wrong from here on".to_owned());
                self.sky.become_climate(Climate::fair());
            }
            if !self.workers.is_empty() && self.dice.happens(850) {
                self.give_turn();
            } else if !self.go_on(end) {
                if self.workers.is_empty() {
                    break;
                }
                self.give_turn();
            }
        }
        self.sky.turn_of(0);
        let unfinished = self.letters.len();
        self.audit.at_the_end(&self.stage, &self.watch, &self.sky, unfinished);
    }

    /// A worker starts.
    pub(super) fn hire(&mut self, errand: Errand, time: Duration, future: Pin<Box<dyn Future<Output = Came>>>) {
        self.serial = self.serial.saturating_add(1);
        let (id, deadline) = (self.serial, self.sky.now().after(time));
        self.counts.deliveries = self.counts.deliveries.saturating_add(1);
        self.workers.push(Worker { id, errand, deadline, undead: false, future });
    }

    /// The number of the next worker.
    pub(super) const fn next_worker(&self) -> u64 {
        self.serial.saturating_add(1)
    }

    /// Lets the next thing happen, if there is one before the end: while workers are at it only what is near.
    fn go_on(&mut self, end: Timestamp) -> bool {
        let now = self.sky.now();
        self.night_falls(now);
        let round = self.watch.next_due().map(|due| due.max(self.last_round.after(ROUND)));
        let round = round.map(|at| self.night.filter(|night| night.is(at)).map_or(at, |night| night.dawn));
        let sent = self.stage.cleeng.next_due();
        let next = [round, sent, self.agenda.next_at()].into_iter().flatten().min();
        let Some(at) = next.filter(|at| *at <= end) else { return false };
        let near = now.after(self.dice.time(0, 20));
        let jumps = !self.workers.is_empty() && self.sky.happens(|climate| climate.jump);
        if !self.workers.is_empty() && at > near && !jumps {
            return false;
        }
        if jumps {
            let by = self.dice.time(30, 600);
            self.sky.turn_of(0);
            self.sky.note(|| format!("time jumps by {} s", by.as_secs()));
            self.sky.pass(by);
        }
        self.stage.clock.advance_to(at);
        self.sky.turn_of(0);
        if sent.is_some_and(|sent| sent <= at) {
            self.cleeng_sends();
        } else if round.is_some_and(|round| round <= at) {
            self.last_round = self.sky.now();
            self.start_round();
        } else if let Some(happening) = self.agenda.take() {
            self.happen(happening);
        }
        self.look();
        true
    }

    /// One of the workers has its turn.
    fn give_turn(&mut self) {
        let place = self.dice.index(self.workers.len());
        let now = self.sky.now();
        let Some(worker) = self.workers.get_mut(place) else { return };
        self.sky.turn_of(worker.id);
        if now > worker.deadline && !worker.undead {
            worker.undead = self.sky.happens(|climate| climate.undead);
            if !worker.undead {
                self.sky.note(|| "is stopped: its time is over".to_owned());
                self.bury(place);
                return;
            }
            self.sky.note(|| "outlives its time".to_owned());
            self.sky.alarm(UNDEAD);
        } else if self.sky.happens(|climate| climate.death) {
            self.sky.note(|| "dies".to_owned());
            self.bury(place);
            return;
        }
        let polled = worker.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.look();
        if let Poll::Ready(came) = polled {
            self.workers.remove(place);
            self.came(came);
            self.look();
        }
    }

    /// Whoever is at work behind a queue stops where he is.
    fn night_falls(&mut self, now: Timestamp) {
        if self.slept || !self.night.is_some_and(|night| night.is(now)) {
            return;
        }
        self.slept = true;
        self.sky.turn_of(0);
        self.sky.note(|| format!("a long night falls: {:?}", self.night));
        let behind_a_queue = |worker: &Worker| matches!(worker.errand, Errand::Letter(_) | Errand::Round);
        while let Some(place) = self.workers.iter().position(behind_a_queue) {
            self.bury(place);
        }
    }

    fn bury(&mut self, place: usize) {
        let worker = self.workers.remove(place);
        self.counts.deaths = self.counts.deaths.saturating_add(1);
        drop(worker.future);
        self.again(worker.errand);
    }

    /// Whatever was done is looked at, and what follows from it is put on the agenda.
    fn look(&mut self) {
        let reached = self.sky.take_reached();
        self.gateways_heard(&reached);
        self.calls_under_way();
        self.fetch_messages();
        if !reached.is_empty() || self.sky.take_written() {
            self.audit.after_a_step(&self.stage, &self.watch, &self.sky);
        }
    }
}
