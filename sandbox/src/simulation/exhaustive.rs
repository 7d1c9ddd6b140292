//! Every order in which a few workers can have their turns, one after the other: no seed, no chance, nothing left out.
//!
//! A run is a list of choices. Each run repeats the choices of the one before it up to the last that can be made otherwise, as odometers count; when
//! none is left, every order has been seen. Between their turns time can jump, so that leases run out, and a worker can crash where it stands.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Somebody at work.
pub type WorkerFuture = Pin<Box<dyn Future<Output = ()>>>;

/// One run: who is at work, and what is true in its end.
pub trait Scenario {
    /// The workers, at their beginning.
    fn workers(&mut self) -> Vec<WorkerFuture>;

    /// So much time passes that every lease has run out.
    fn expire_leases(&mut self);

    /// After every turn, every jump and every crash: what must be true at any time.
    fn check(&mut self);

    /// Every worker has finished or crashed.
    fn check_final_state(&mut self);
}

/// What may happen beside turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExplorationLimits {
    /// So often leases can run out in one run.
    pub clock_jumps: usize,
    /// So many workers can crash in one run.
    pub crashes: usize,
}

/// The choices of a run, each with how many there were.
#[derive(Default)]
struct ChoicePath {
    made: Vec<(usize, usize)>,
    next: usize,
}

impl ChoicePath {
    /// As in the run before, or the first way where this run goes its own.
    fn choose(&mut self, ways: usize) -> usize {
        let chosen = self.made.get(self.next).map_or(0, |(chosen, _)| *chosen);
        if self.next >= self.made.len() {
            self.made.push((0, ways));
        }
        self.next = self.next.saturating_add(1);
        chosen
    }

    /// Goes on to the next run; false if there is none.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((chosen, ways)) = self.made.pop() {
            let other = chosen.saturating_add(1);
            if other < ways {
                self.made.push((other, ways));
                return true;
            }
        }
        false
    }
}

/// Executes every interleaving; returns how many there were.
pub fn explore_all<S: Scenario>(bounds: ExplorationLimits, scene: impl Fn() -> S) -> u64 {
    let (mut choices, mut runs) = (ChoicePath::default(), 0_u64);
    loop {
        run_once(&mut scene(), bounds, &mut choices);
        runs = runs.saturating_add(1);
        if !choices.advance() {
            return runs;
        }
    }
}

fn run_once(scene: &mut impl Scenario, bounds: ExplorationLimits, choices: &mut ChoicePath) {
    let mut workers = scene.workers();
    let ExplorationLimits { clock_jumps: mut jumps, mut crashes } = bounds;
    let mut context = Context::from_waker(Waker::noop());
    while !workers.is_empty() {
        let turns = workers.len();
        let ways = turns.saturating_add(usize::from(jumps > 0)).saturating_add(if crashes > 0 { turns } else { 0 });
        let way = choices.choose(ways);
        if let Some(worker) = workers.get_mut(way) {
            if let Poll::Ready(()) = worker.as_mut().poll(&mut context) {
                drop(workers.remove(way));
            }
        } else if jumps > 0 && way == turns {
            jumps = jumps.saturating_sub(1);
            scene.expire_leases();
        } else {
            let crashed = way.saturating_sub(turns).saturating_sub(usize::from(jumps > 0));
            crashes = crashes.saturating_sub(1);
            drop(workers.remove(crashed));
        }
        scene.check();
    }
    scene.check_final_state();
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::simulation::executor::yield_now;

    struct LetterScenario(Arc<Mutex<String>>, Arc<Mutex<Vec<String>>>);

    impl Scenario for LetterScenario {
        fn workers(&mut self) -> Vec<WorkerFuture> {
            let worker = |message: char| -> WorkerFuture {
                let seen = Arc::clone(&self.0);
                Box::pin(async move {
                    seen.lock().unwrap().push(message);
                    yield_now().await;
                    seen.lock().unwrap().push(message);
                })
            };
            vec![worker('a'), worker('b')]
        }

        fn expire_leases(&mut self) {
            self.0.lock().unwrap().push('!');
        }

        fn check(&mut self) {}

        fn check_final_state(&mut self) {
            self.1.lock().unwrap().push(self.0.lock().unwrap().clone());
        }
    }

    fn explored_orders(bounds: ExplorationLimits) -> Vec<String> {
        let all = Arc::new(Mutex::new(Vec::new()));
        let runs = explore_all(bounds, || LetterScenario(Arc::default(), Arc::clone(&all)));
        let mut all = all.lock().unwrap().clone();
        assert_eq!(u64::try_from(all.len()).unwrap(), runs);
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert!(bounds.crashes > 0 || all.len() == count, "a run came twice");
        all
    }

    #[test]
    fn every_order_is_explored_once() {
        assert_eq!(explored_orders(ExplorationLimits::default()), ["aabb", "abab", "abba", "baab", "baba", "bbaa"]);
    }

    #[test]
    fn clock_jumps_and_crashes_are_explored_at_every_step() {
        let jumped = explored_orders(ExplorationLimits { clock_jumps: 1, crashes: 0 });
        assert!(["!aabb", "a!abb", "aabb", "aab!b"].iter().all(|run| jumped.contains(&(*run).to_owned())), "{jumped:?}");
        let crashed = explored_orders(ExplorationLimits { clock_jumps: 0, crashes: 1 });
        assert!(["aa", "bb", "aab", "abb", "abab"].iter().all(|run| crashed.contains(&(*run).to_owned())), "{crashed:?}");
    }
}
