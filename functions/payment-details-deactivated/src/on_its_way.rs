//! What is on its way with the details and not on Cleeng's list of authorised payments: an attempt that was not reported yet, or one that an operator has.
//! Found by the subscriptions that were paid with the details, which are noted with their token, and their heads.

use std::sync::Arc;

use connector::billing::Story;
use connector::billing::head::Head;
use connector::billing::{rules, tokens};
use connector::flow::World;
use connector::gateway::Reference;
use connector::ids::SubscriptionId;
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation};
use connector::journal::store::{Key, MAX_BATCH};
use connector::journal::work::Work;

use crate::Gone;
use crate::release::Held;

/// What is on its way, what counts most last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OnItsWay {
    /// Nothing that the journal knows of.
    Nothing,
    /// A payment of the latest period that an operator has, because it is unknown what became of the money.
    WithAnOperator,
    /// Money that is being taken, or a hold that is being released.
    Payment,
    /// Money that is being held, or is held and nobody is at it.
    Hold,
}

/// Holds that the journal knows of, of subscriptions for which nobody is at work. What an operator has is left to him.
pub(crate) async fn holds(world: &World, gone: &Gone) -> Story<Vec<Held>> {
    let mut found = Vec::new();
    for of in subscriptions(world, gone).await? {
        if of.held && of.standing(gone) == OnItsWay::Nothing {
            found.extend(of.head.live.map(|live| Held::Journaled(live.reference, Some(of.subscription))));
        }
    }
    Ok(found)
}

/// Looks what is on its way, apart from the holds that were dealt with.
pub(crate) async fn look(world: &World, gone: &Gone, dealt_with: &[Reference]) -> Story<OnItsWay> {
    let mut found = OnItsWay::Nothing;
    for of in subscriptions(world, gone).await? {
        match of.standing(gone) {
            OnItsWay::Nothing if of.held && !of.head.live.as_ref().is_some_and(|live| dealt_with.contains(&live.reference)) => {
                return Ok(OnItsWay::Hold);
            }
            standing => found = found.max(standing),
        }
    }
    Ok(found)
}

/// A subscription that was paid with the details.
struct Paid {
    subscription: SubscriptionId,
    head: Head,
    /// Whether its live authorisation was made with the details.
    held: bool,
    /// The obligation in flight, that of its latest period and that of what is held, where there are any.
    obligations: Vec<Obligation>,
}

impl Paid {
    fn standing(&self, gone: &Gone) -> OnItsWay {
        let with_these = |attempt: &Attempt| attempt.details.as_ref() == Some(&gone.event.details);
        let attempts = || self.obligations.iter().flat_map(|obligation| &obligation.attempts).filter(|attempt| with_these(attempt));
        let open = attempts().find(|attempt| attempt.finish.is_none()).map(|attempt| attempt.kind);
        match open.filter(|_| self.head.in_flight.is_some()) {
            Some(AttemptKind::Authorise) => return OnItsWay::Hold,
            Some(_) => return OnItsWay::Payment,
            None if self.held && self.head.in_flight.is_some() => return OnItsWay::Payment,
            None => {}
        }
        let parked = |attempt: &Attempt| matches!(attempt.finish, Some(Finish::Parked { money_unknown: true, resolved: false, .. }));
        if attempts().any(parked) { OnItsWay::WithAnOperator } else { OnItsWay::Nothing }
    }
}

/// Reads anew, whatever the case in work has read before.
async fn subscriptions(world: &World, gone: &Gone) -> Story<Vec<Paid>> {
    let Some(token) = gone.token_key(world) else { return Ok(Vec::new()) };
    let mut work = Work::new(Arc::clone(&world.store));
    let subscriptions: Vec<SubscriptionId> = tokens::paid_with(&mut work, &token, &gone.event.details).await?.into_iter().collect();
    let mut found = Vec::new();
    load(&mut work, subscriptions.iter().map(Head::key).collect()).await?;
    for subscription in subscriptions {
        let Some(head) = work.read::<Head>(&Head::key(&subscription))? else { continue };
        let held = head.live.as_ref().is_some_and(|live| live.details == gone.event.details);
        let periods = head.live.iter().map(|live| live.expiration).chain(head.latest);
        let mut keys: Vec<Key> = periods.map(|expiration| rules::period_key(&subscription, expiration)).collect();
        keys.extend(head.in_flight.as_ref().map(Key::from_stored));
        load(&mut work, keys.clone()).await?;
        let mut obligations = Vec::new();
        for key in &keys {
            obligations.extend(work.read::<Obligation>(key)?);
        }
        found.push(Paid { subscription, head, held, obligations });
    }
    Ok(found)
}

async fn load(work: &mut Work, mut keys: Vec<Key>) -> Story<()> {
    keys.sort_unstable();
    keys.dedup();
    for some in keys.chunks(MAX_BATCH) {
        work.load(some).await?;
    }
    Ok(())
}
