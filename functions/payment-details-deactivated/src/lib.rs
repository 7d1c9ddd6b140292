//! `paymentDetailsDeactivated`: the customer changed the card, and what is held with the old one has to go back.
//!
//! Cleeng's checklist: fetch the authorised payments of the details, cancel each at the gateway and then in Cleeng; after that, if it is
//! wanted, delete the stored details at the gateway and in Cleeng. In that order, because an authorisation outlives its token and nobody
//! would release it; a cancel that the gateway only took is waited for. A payment that is being captured or is captured is left alone: a cancel never gives captured money back.

mod delete;
mod on_its_way;
mod release;

use async_trait::async_trait;
use connector::billing::case::{Case, StepTurn};
use connector::billing::deleted::deactivation_key;
use connector::billing::{Story, later, read_failed, rules, tokens};
use connector::cleeng::webhook::{DeactivationEvent, Topic, Verified, Webhook};
use connector::cleeng::{CleengError, Payment};
use connector::clock::Timestamp;
use connector::flow::{Delivery, Flow, Method, Verdict, World};
use connector::gateway::Reference;
use connector::ids::PaymentDetailsId;
use connector::journal::payment::PaymentState;
use connector::journal::record::{AttemptKind, Finish};
use connector::journal::store::Key;
use connector::lambda::queue::Envelope;
use connector::metrics::Metric;

use crate::on_its_way::OnItsWay;
use crate::release::{Held, Left};

const KIND: AttemptKind = AttemptKind::Deactivate;
/// The step that holds which payments are to be released. It is no call: it is done as soon as it is begun.
const RELEASED: &str = "released";

/// Cleans up after payment details.
#[derive(Clone, Copy, Debug, Default)]
pub struct DetailsDeactivated;

impl Gone {
    /// Where the journal keeps who uses the token; nothing where the event does not tell it.
    fn token_key(&self, world: &World) -> Option<Key> {
        let (token, method) = self.event.token.as_ref().zip(self.method)?;
        Some(tokens::key(&world.rules.salt, method.gateway, token))
    }
}

/// The event and whose it is.
struct Gone {
    event: DeactivationEvent,
    /// Nothing where the event does not tell.
    method: Option<Method>,
    received_at: Timestamp,
}

#[async_trait]
impl Flow for DetailsDeactivated {
    fn topic(&self) -> Topic {
        Topic::PaymentDetailsDeactivated
    }

    async fn settle(&self, world: &World, event: &Verified<Webhook>, delivery: &Delivery) -> Verdict {
        story(world, event, delivery).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn story(world: &World, webhook: &Verified<Webhook>, delivery: &Delivery) -> Story<Verdict> {
    let event = DeactivationEvent::read(webhook.get())?;
    let method = event.method.as_ref().map(|method| rules::our_method(world, method)).transpose()?;
    let gone = Gone { event, method, received_at: delivery.received_at };
    let key = deactivation_key(&gone.event.details);
    let mut case = Case::open_without_head(world, key, &[], delivery).await?;
    case.event = Some(Envelope::reseal(webhook, delivery.received_at).to_text());
    let verdict = clean_up(&mut case, &gone, delivery).await;
    Ok(case.conclude(verdict).await)
}

async fn clean_up(case: &mut Case<'_>, gone: &Gone, delivery: &Delivery) -> Story<Verdict> {
    let held = authorised(case.world, &gone.event.details).await?;
    // Cleeng does not list what it was not told of yet.
    let unlisted = on_its_way::holds(case.world, gone).await?;
    if case.attempt().is_none()
        && let Some(last) = case.run.obligation.last_finished(KIND)
        && ((held.is_empty() && unlisted.is_empty()) || case.run.obligation.was_parked())
    {
        // Details can be made active again and be deactivated once more; what counts is whether something is held.
        let outcome = last.finish.as_ref().map_or("finished", Finish::as_str);
        return Ok(rules::duplicate(case.world, outcome));
    }
    if case.attempt().is_none() {
        case.open_attempt(KIND, gone.received_at, Some(gone.event.details.clone()))?;
    }
    let left = release_all(case, gone, &held, unlisted, delivery).await?;
    note_token(case, gone).await?;
    if left.contains(&Left::Parked) {
        return case.park("authorisation_not_released", false).await;
    }
    let deletes = case.world.rules.delete_deactivated_details;
    if deletes {
        // Written before it is looked: whoever began to pay with them before is seen, and whoever begins later takes them for inactive, says
        // so, and keeps the deletion from beginning.
        case.pause().await?;
    }
    match on_its_way::look(case.world, gone, &noted(case)?).await? {
        OnItsWay::Hold => return Err(later("authorisation_in_flight")),
        // Cleeng is asked about these details until the capture is reported.
        OnItsWay::Payment if deletes => return Err(later("capture_in_flight")),
        // He may have to report it to Cleeng, which takes nothing that was made with details that are gone.
        OnItsWay::WithAnOperator if deletes => return case.park("details_of_a_parked_payment", false).await,
        OnItsWay::Nothing | OnItsWay::Payment | OnItsWay::WithAnOperator => {}
    }
    if deletes {
        if left.contains(&Left::BeingCaptured) {
            return Err(later("capture_in_flight"));
        }
        all_final(case).await?;
        delete::details(case, gone).await?;
    }
    case.finish(Finish::Deactivated).await
}

/// What Cleeng has as authorised with these details; nothing where the details are deleted.
async fn authorised(world: &World, details: &PaymentDetailsId) -> Story<Vec<Payment>> {
    match world.cleeng.authorised_payments(details).await {
        Ok(payments) => Ok(payments),
        Err(CleengError::NotFound) => Ok(Vec::new()),
        Err(error) => Err(read_failed(&error)),
    }
}

/// Releases every payment, each under an obligation of its own. One that has to wait does not hold back the others. Which ones they are is
/// written first: Cleeng lists a payment no more as soon as it has taken its cancel, and whoever dies then, or gets no answer, is not done.
async fn release_all(case: &mut Case<'_>, gone: &Gone, held: &[Payment], unlisted: Vec<Held>, delivery: &Delivery) -> Story<Vec<Left>> {
    let (world, earlier) = (case.world, noted(case)?);
    let mut listed = Vec::new();
    for payment in held {
        listed.push(release::look_up(world, gone, payment).await?);
    }
    for hold in unlisted {
        if listed.iter().all(|other: &Held| other.reference() != hold.reference()) {
            listed.push(hold);
        }
    }
    let mut all: Vec<Reference> = listed.iter().filter_map(Held::reference).cloned().collect();
    let no_more_listed: Vec<Reference> = earlier.iter().filter(|reference| !all.contains(reference)).cloned().collect();
    all.extend(no_more_listed.iter().cloned());
    all.sort_unstable();
    if all != earlier {
        case.note(RELEASED, &all);
        case.pause().await?;
    }
    let (mut left, mut waits) = (Vec::new(), None);
    let mut sort = |became: Story<Option<Left>>| {
        match became {
            Ok(became) => left.extend(became),
            Err(Verdict::Parked(_)) => left.push(Left::Parked),
            Err(verdict @ Verdict::Later { .. }) => waits = Some(verdict),
            Err(verdict) => return Err(verdict),
        }
        Ok(())
    };
    for reference in &no_more_listed {
        sort(release::go_on(world, gone, reference, delivery).await)?;
    }
    for payment in listed {
        sort(release::one(world, gone, payment, delivery).await.map(Some))?;
    }
    for (became, reason) in [(Left::BeingCaptured, "capture_in_progress"), (Left::Captured, "already_captured")] {
        for _ in left.iter().filter(|left| **left == became) {
            world.metrics.count(Metric::Warning, &[("reason", reason)]);
            tracing::warn!(details = %gone.event.details, reason, "a payment of deactivated details is left alone");
        }
    }
    waits.map_or(Ok(left), Err)
}

/// The payments that an earlier delivery began to release, as the journal has them.
fn noted(case: &Case<'_>) -> Story<Vec<Reference>> {
    Ok(match case.turn(RELEASED)? {
        StepTurn::Done(known) => known,
        StepTurn::Fresh | StepTurn::Unknown(_) => Vec::new(),
    })
}

/// Nothing is deleted before the gateway has said that every hold is gone: a cancel that it only took can still fail, and a hold outlives its
/// token.
async fn all_final(case: &mut Case<'_>) -> Story<()> {
    let all = noted(case)?;
    let mut states = Vec::new();
    for reference in &all {
        case.load_payment(reference).await?;
        states.extend(case.payment(reference).map(|payment| payment.state));
    }
    if states.contains(&PaymentState::Authorised) {
        return Err(case.park("authorisation_not_released", false).await?);
    }
    if !states.contains(&PaymentState::Cancelling) {
        return Ok(());
    }
    let opened = case.attempt().map_or(case.now(), |attempt| attempt.opened_at);
    if case.now().since(opened) > case.world.rules.unknown_deadline {
        return Err(case.park("cancel_not_final", false).await?);
    }
    case.keep_queued_event(None);
    Err(case.put_back(None, "cancel_not_final").await)
}

/// The journal learns that the details do not use their token any more; needed later by other details that share it.
async fn note_token(case: &mut Case<'_>, gone: &Gone) -> Story<()> {
    let Some(key) = gone.token_key(case.world) else { return Ok(()) };
    let now = case.now();
    tokens::deactivated(&mut case.run.work, &key, &gone.event.details, gone.received_at, now).await?;
    Ok(())
}
