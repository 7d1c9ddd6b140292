//! Every order in which a few workers can have their turns, one after the other: no seed, no chance, nothing left out.
//!
//! A run is a list of choices. Each run repeats the choices of the one before it up to the last that can be made otherwise, as odometers count; when
//! none is left, every order has been seen. Between their turns time can jump, so that leases run out, and a worker can die where it stands.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Somebody at work.
pub type Worker = Pin<Box<dyn Future<Output = ()>>>;

/// One run: who is at work, and what is true in its end.
pub trait Scene {
    /// The workers, at their beginning.
    fn workers(&mut self) -> Vec<Worker>;

    /// So much time passes that every lease has run out.
    fn leases_run_out(&mut self);

    /// After every turn, every jump and every death: what must be true at any time.
    fn check(&mut self);

    /// Everybody has come to his end, or is dead.
    fn end(&mut self);
}

/// What may happen beside turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// So often leases can run out in one run.
    pub jumps: usize,
    /// So many workers can die in one run.
    pub deaths: usize,
}

/// The choices of a run, each with how many there were.
#[derive(Default)]
struct Choices {
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
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

/// Plays every run; tells how many there were.
pub fn every_interleaving<S: Scene>(bounds: Bounds, scene: impl Fn() -> S) -> u64 {
    let (mut choices, mut runs) = (Choices::default(), 0_u64);
    loop {
        run(&mut scene(), bounds, &mut choices);
        runs = runs.saturating_add(1);
        if !choices.advance() {
            return runs;
        }
    }
}

fn run(scene: &mut impl Scene, bounds: Bounds, choices: &mut Choices) {
    let mut workers = scene.workers();
    let Bounds { mut jumps, mut deaths } = bounds;
    let mut context = Context::from_waker(Waker::noop());
    while !workers.is_empty() {
        let turns = workers.len();
        let ways = turns.saturating_add(usize::from(jumps > 0)).saturating_add(if deaths > 0 { turns } else { 0 });
        let way = choices.choose(ways);
        if let Some(worker) = workers.get_mut(way) {
            if let Poll::Ready(()) = worker.as_mut().poll(&mut context) {
                drop(workers.remove(way));
            }
        } else if jumps > 0 && way == turns {
            jumps = jumps.saturating_sub(1);
            scene.leases_run_out();
        } else {
            let dies = way.saturating_sub(turns).saturating_sub(usize::from(jumps > 0));
            deaths = deaths.saturating_sub(1);
            drop(workers.remove(dies));
        }
        scene.check();
    }
    scene.end();
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::simulation::sky::turn;

    struct Letters(Arc<Mutex<String>>, Arc<Mutex<Vec<String>>>);

    impl Scene for Letters {
        fn workers(&mut self) -> Vec<Worker> {
            let worker = |letter: char| -> Worker {
                let seen = Arc::clone(&self.0);
                Box::pin(async move {
                    seen.lock().unwrap().push(letter);
                    turn().await;
                    seen.lock().unwrap().push(letter);
                })
            };
            vec![worker('a'), worker('b')]
        }

        fn leases_run_out(&mut self) {
            self.0.lock().unwrap().push('!');
        }

        fn check(&mut self) {}

        fn end(&mut self) {
            self.1.lock().unwrap().push(self.0.lock().unwrap().clone());
        }
    }

    fn seen(bounds: Bounds) -> Vec<String> {
        let all = Arc::new(Mutex::new(Vec::new()));
        let runs = every_interleaving(bounds, || Letters(Arc::default(), Arc::clone(&all)));
        let mut all = all.lock().unwrap().clone();
        assert_eq!(u64::try_from(all.len()).unwrap(), runs);
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert!(bounds.deaths > 0 || all.len() == count, "a run came twice");
        all
    }

    #[test]
    fn every_order_comes_once() {
        assert_eq!(seen(Bounds::default()), ["aabb", "abab", "abba", "baab", "baba", "bbaa"]);
    }

    #[test]
    fn jumps_and_deaths_come_at_every_place() {
        let jumped = seen(Bounds { jumps: 1, deaths: 0 });
        assert!(["!aabb", "a!abb", "aabb", "aab!b"].iter().all(|run| jumped.contains(&(*run).to_owned())), "{jumped:?}");
        let died = seen(Bounds { jumps: 0, deaths: 1 });
        assert!(["aa", "bb", "aab", "abb", "abab"].iter().all(|run| died.contains(&(*run).to_owned())), "{died:?}");
    }
}
