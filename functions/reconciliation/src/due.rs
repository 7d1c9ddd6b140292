//! Whatever is due, one after the other, the longest due first.
//!
//! Before anything is done about a document its time to look again is moved on, under the condition that nobody wrote it meanwhile: so two rounds
//! at once never do the same, a round that dies does not begin with the same document for ever, and one that cannot be helped does not keep the
//! others from being looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use connector::clock::Timestamp;
use connector::flow::{Delivery, Tally, Verdict, World};
use connector::gateway::Reference;
use connector::journal::QUEUE_PATIENCE;
use connector::journal::record::Obligation;
use connector::journal::run::look_again_after;
use connector::journal::store::{CommitError, Key, Put, Stored};
use connector::metrics::Metric;
use connector::purchase::expire_purchase;
use connector::purchase::give_back::give_back;

use crate::holds;
use crate::watch::{self, Watched};

/// So many documents are asked for at a time.
const PAGE: usize = 25;
/// A document is not begun unless so much time is left: the longest call to a gateway and back, twice.
const TIME_FOR_ONE: Duration = Duration::from_secs(45);

/// The index of what is due lags behind the writes by this much at the most (usually by less than a second).
const INDEX_LAG: Duration = Duration::from_secs(60);

/// One round. Ends when nothing more is due, or when the time is used up; the rest is still due then.
pub(crate) async fn go_round(world: &World, delivery: &Delivery) -> Tally {
    let mut tally = Tally::default();
    let mut seen = BTreeSet::new();
    let mut slow_down = false;
    loop {
        let now = world.clock.now();
        let found = match world.store.due(now, PAGE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "what is due cannot be asked");
                tally.failed = tally.failed.saturating_add(1);
                return tally;
            }
        };
        // The index may lag behind the writes and show again what was done.
        let fresh: Vec<Key> = found.into_iter().filter(|key| seen.insert(key.clone())).collect();
        if fresh.is_empty() {
            return tally;
        }
        for key in fresh {
            if world.clock.now().after(TIME_FOR_ONE) > delivery.deadline {
                tracing::info!("the round's time is used up; the next one goes on");
                return tally;
            }
            if key.as_str().starts_with("head#") {
                watch_over(world, &key, delivery, &mut tally, &mut slow_down).await;
                continue;
            }
            tally.due = tally.due.saturating_add(1);
            let one = match take(world, &key).await {
                Taken::Yes(obligation) => look_at(world, &key, &obligation, delivery).await,
                Taken::NotNow => Looked::PutOff,
                Taken::Gone => continue,
                Taken::Failed => Looked::Failed,
            };
            count(&mut tally, &key, one);
        }
    }
}

/// Looks whether the next event of a subscription came, unless Cleeng asked to slow down before.
async fn watch_over(world: &World, key: &Key, delivery: &Delivery, tally: &mut Tally, slow_down: &mut bool) {
    if *slow_down {
        return;
    }
    tally.watched = tally.watched.saturating_add(1);
    let counter = match watch::look(world, key, &own(delivery, key)).await {
        Watched::Fine => return,
        Watched::Released => &mut tally.released,
        Watched::MadeUp => &mut tally.made_up,
        Watched::PutOff => &mut tally.put_off,
        Watched::Throttled => {
            tracing::warn!("Cleeng asks to slow down; subscriptions are looked at in the next round");
            *slow_down = true;
            &mut tally.put_off
        }
        Watched::Failed => &mut tally.failed,
    };
    *counter = counter.saturating_add(1);
}

enum Taken {
    /// It is ours until it is due again.
    Yes(Box<Obligation>),
    /// Somebody is at it, or was in the meantime.
    NotNow,
    /// It is settled, or not there any more.
    Gone,
    /// The journal cannot be read or written.
    Failed,
}

/// One document as it is; nothing where there is none. `Err` where the journal cannot be read.
pub(crate) async fn load(world: &World, key: &Key) -> Result<Option<Stored>, ()> {
    world.store.load(std::slice::from_ref(key)).await.map(|mut found| found.pop().flatten()).map_err(|_| ())
}

/// Moves the document's time on.
async fn take(world: &World, key: &Key) -> Taken {
    let stored = match load(world, key).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return Taken::Gone,
        Err(()) => return Taken::Failed,
    };
    let Ok(mut obligation) = serde_json::from_str::<Obligation>(&stored.body) else {
        tracing::error!(obligation = %key, "a due document cannot be read");
        world.metrics.count(Metric::Parked, &[("reason", "due_document_unreadable")]);
        return Taken::NotNow;
    };
    let now = world.clock.now();
    if is_in_hand(&obligation, now) {
        return Taken::NotNow;
    }
    if is_settled(&obligation) {
        return Taken::Gone;
    }
    note_age(world, &obligation, now);
    obligation.looked_at = Some(now);
    let Ok(body) = serde_json::to_string(&obligation) else { return Taken::Failed };
    let due_at = Some(now.after(look_again_after(&obligation, now)));
    let put = Put { key: key.clone(), expected: Some(stored.version), body, due_at, parked_since: None, expires_at: None };
    match world.store.commit(&[put]).await {
        Ok(()) => Taken::Yes(Box::new(obligation)),
        Err(CommitError::Conflict) => Taken::NotNow,
        Err(CommitError::NotWritten(_) | CommitError::Unknown) => Taken::Failed,
    }
}

/// Whether a function is at it, or another round was a moment ago, behind which the index may lag.
pub(crate) fn is_in_hand(obligation: &Obligation, now: Timestamp) -> bool {
    let looked_at = obligation.looked_at.is_some_and(|at| now.since(at) < INDEX_LAG);
    looked_at || is_leased(obligation, now)
}

fn is_leased(obligation: &Obligation, now: Timestamp) -> bool {
    obligation.lease.as_ref().is_some_and(|lease| lease.until > now)
}

/// Whether nothing is left to be done.
pub(crate) fn is_settled(obligation: &Obligation) -> bool {
    obligation.open().is_none() && !obligation.left_over
}

fn note_age(world: &World, obligation: &Obligation, now: Timestamp) {
    let opened = obligation.open().map(|attempt| attempt.opened_at);
    if let Some(opened) = opened {
        world.metrics.duration(Metric::DueAge, now.since(opened), &[]);
    }
}

/// What a document is about, and the rest of its key.
pub(crate) fn kind_of(key: &Key) -> (&str, &str) {
    key.as_str().split_once('#').unwrap_or((key.as_str(), ""))
}

enum Looked {
    BroughtBack,
    Ended,
    Released,
    PutOff,
    Failed,
}

async fn look_at(world: &World, key: &Key, obligation: &Obligation, delivery: &Delivery) -> Looked {
    let (kind, rest) = kind_of(key);
    let own = own(delivery, key);
    match kind {
        "order" | "details" => after(expire_purchase(world, key, &own).await),
        "give-back" => match Reference::parse(rest) {
            Some(reference) => after(give_back(world, &reference, None, &own).await),
            None => Looked::PutOff,
        },
        holds::KEY => match Reference::parse(rest) {
            Some(reference) => after_release(holds::go_on(world, &reference, &own).await),
            None => Looked::PutOff,
        },
        _ => bring_back(world, key, obligation).await,
    }
}

/// What is done about a document has leases of its own.
fn own(delivery: &Delivery, key: &Key) -> Delivery {
    Delivery { id: format!("{}/{key}", delivery.id), ..delivery.clone() }
}

fn after_release(verdict: Verdict) -> Looked {
    if verdict == Verdict::Settled("released") { Looked::Released } else { after(verdict) }
}

fn after(verdict: Verdict) -> Looked {
    match verdict {
        Verdict::Settled(_) | Verdict::Parked(_) | Verdict::NotOurs => Looked::Ended,
        Verdict::Later { .. } => Looked::PutOff,
    }
}

/// The event that waits goes back to its queue, unless it is there. A copy too many is harmless, but each stays until the wait is over.
async fn bring_back(world: &World, key: &Key, obligation: &Obligation) -> Looked {
    let attempt = obligation.open().filter(|attempt| !attempt.is_queued(world.clock.now()));
    let Some(event) = attempt.and_then(|attempt| attempt.waiting_event.as_deref()) else { return Looked::PutOff };
    match world.requeue.requeue(event).await {
        Ok(()) => {
            note_copy(world, key).await;
            Looked::BroughtBack
        }
        Err(error) => {
            tracing::error!(obligation = %key, %error, "a waiting event could not be brought back");
            Looked::Failed
        }
    }
}

/// Remembers that there is a copy again, for as long as its queue delivers it. Whatever keeps this from being written, a function that is at it
/// first of all, one copy more is harmless.
async fn note_copy(world: &World, key: &Key) {
    let Ok(Some(stored)) = load(world, key).await else { return };
    let Ok(mut obligation) = serde_json::from_str::<Obligation>(&stored.body) else { return };
    let now = world.clock.now();
    if is_leased(&obligation, now) {
        return;
    }
    let Some(attempt) = obligation.open_mut() else { return };
    attempt.queued_until = Some(now.after(QUEUE_PATIENCE));
    let Ok(body) = serde_json::to_string(&obligation) else { return };
    let due_at = Some(now.after(look_again_after(&obligation, now)));
    let put = Put { key: key.clone(), expected: Some(stored.version), body, due_at, parked_since: None, expires_at: None };
    let _written_or_one_copy_more = world.store.commit(&[put]).await;
}

fn count(tally: &mut Tally, key: &Key, looked: Looked) {
    let (counter, word) = match looked {
        Looked::BroughtBack => (&mut tally.brought_back, "brought_back"),
        Looked::Ended => (&mut tally.ended, "ended"),
        Looked::Released => (&mut tally.released, "released"),
        Looked::PutOff => (&mut tally.put_off, "put_off"),
        Looked::Failed => (&mut tally.failed, "failed"),
    };
    *counter = counter.saturating_add(1);
    tracing::info!(obligation = %key, outcome = word, "looked at what was due");
}
