//! Refunds, disputes, and what happens to payments by itself.

use connector::clock::Timestamp;

use super::cards::Card;
use super::form::Params;
use super::state::{Answer, Dispute, Refund, State, invalid, missing, missing_param, unfit};
use super::{intents, notifications, render};
use crate::peer::PeerAnswer;

/// POST `/v1/refunds`.
pub(super) fn create(state: &mut State, params: &Params, now: Timestamp) -> Answer {
    params.only(&["amount", "charge", "expand", "metadata", "payment_intent", "reason"])?;
    let (amount, metadata) = (params.number("amount")?, params.metadata()?);
    let reason = params.choice("reason", &["duplicate", "fraudulent", "requested_by_customer"])?;
    if amount.is_some_and(|amount| amount < 1) {
        return Err(invalid("parameter_invalid_integer", Some("amount"), "Invalid positive integer"));
    }
    let intent = params.required("payment_intent")?;
    let intent = state.intent(&intent).cloned().ok_or_else(|| missing_param("payment_intent", "payment_intent", &intent))?;
    let taken = state.latest_charge(&intent.id).filter(|_| intent.status == "succeeded").cloned();
    let Some(charge) = taken else {
        let message = format!("This PaymentIntent ({}) does not have a successful charge to refund.", intent.id);
        return Err(unfit(None, None, &message));
    };
    if charge.dispute.as_ref().is_some_and(|dispute| dispute.status != "won") {
        return Err(unfit(Some("charge_disputed"), None, "This charge has been charged back and cannot be refunded."));
    }
    let left = charge.captured.saturating_sub(charge.refunded);
    if left < 1 {
        let message = format!("Charge {} has already been refunded.", charge.id);
        return Err(unfit(Some("charge_already_refunded"), None, &message));
    }
    let amount = amount.unwrap_or(left);
    if amount > left {
        // Stripe has no code for it.
        return Err(unfit(None, Some("amount"), "Refund amount is greater than unrefunded amount on charge"));
    }
    let status = state.next_refund.take().unwrap_or("succeeded");
    let id = state.next_id("re");
    state.refunds.push(Refund {
        id: id.clone(),
        charge: charge.id.clone(),
        intent: intent.id,
        amount,
        currency: intent.currency,
        status,
        reason,
        metadata,
        told: false,
        created: now,
    });
    if status != "failed" {
        if let Some(charge) = state.charge_mut(&charge.id) {
            charge.refunded = charge.refunded.saturating_add(amount);
        }
        notifications::about_charge(state, "charge.refunded", &charge.id, now);
    }
    notifications::about_refund(state, "refund.created", &id, now);
    read(state, &id)
}

/// GET `/v1/refunds/{id}`.
pub(super) fn read(state: &State, id: &str) -> Answer {
    state.refund(id).map(|one| PeerAnswer::json(200, &render::refund(one))).ok_or_else(|| missing("refund", id))
}

/// Does what is pending, and tells the banks' references of refunds.
pub(super) fn process(state: &mut State, now: Timestamp) {
    let processing: Vec<_> = state.intents.iter().filter(|one| one.status == "processing").map(|one| one.id.clone()).collect();
    for id in processing {
        match state.intent_mut(&id).and_then(|one| one.verdict.take()) {
            Some(refusal) => drop(intents::refuse(state, &id, refusal, now)),
            None => intents::agree(state, &id, now),
        }
    }
    let waiting = |one: &&Refund| one.status == "pending" || (one.status == "succeeded" && !one.told);
    let waiting: Vec<_> = state.refunds.iter().filter(waiting).map(|one| (one.id.clone(), one.charge.clone())).collect();
    for (id, charge) in waiting {
        let method = state.charge(&charge).and_then(|charge| state.methods.get(&charge.payment_method));
        if method.is_some_and(|method| method.card == Card::FailsRefunds) {
            fail(state, &id, now);
            continue;
        }
        if let Some(refund) = state.refunds.iter_mut().find(|one| one.id == id) {
            (refund.status, refund.told) = ("succeeded", true);
        }
        for kind in ["refund.updated", "charge.refund.updated"] {
            notifications::about_refund(state, kind, &id, now);
        }
    }
}

/// A refund comes back: the money is the merchant's again. Does nothing for one that failed already.
pub(super) fn fail(state: &mut State, id: &str, now: Timestamp) {
    let Some(refund) = state.refunds.iter_mut().find(|one| one.id == id && matches!(one.status, "pending" | "succeeded")) else { return };
    refund.status = "failed";
    let (charge, amount) = (refund.charge.clone(), refund.amount);
    if let Some(charge) = state.charge_mut(&charge) {
        charge.refunded = charge.refunded.saturating_sub(amount);
    }
    for kind in ["refund.updated", "charge.refund.updated", "refund.failed"] {
        notifications::about_refund(state, kind, id, now);
    }
}

/// The customer's bank takes a payment back.
pub(super) fn dispute(state: &mut State, intent: &str, now: Timestamp) {
    let id = state.next_id("du");
    let Some(charge) = state.latest_charge_mut(intent).filter(|one| one.agreed() && one.captured > 0 && one.dispute.is_none()) else {
        return;
    };
    charge.dispute = Some(Dispute { id, status: "needs_response", created: now });
    let charge = charge.id.clone();
    for kind in ["charge.dispute.created", "charge.dispute.funds_withdrawn"] {
        notifications::about_dispute(state, kind, &charge, now);
    }
}

/// A dispute is over.
pub(super) fn close_dispute(state: &mut State, intent: &str, won: bool, now: Timestamp) {
    let Some(charge) = state.latest_charge_mut(intent) else { return };
    let id = charge.id.clone();
    let Some(dispute) = charge.dispute.as_mut().filter(|dispute| dispute.status == "needs_response") else { return };
    dispute.status = if won { "won" } else { "lost" };
    if won {
        notifications::about_dispute(state, "charge.dispute.funds_reinstated", &id, now);
    }
    notifications::about_dispute(state, "charge.dispute.closed", &id, now);
}

/// Ends what was held for too long.
pub(super) fn lapse(state: &mut State, now: Timestamp) {
    let over = |id: &str| state.latest_charge(id).and_then(|charge| charge.capture_before).is_some_and(|until| until <= now);
    let held = state.intents.iter().filter(|one| one.status == "requires_capture" && over(&one.id));
    let held: Vec<_> = held.map(|one| one.id.clone()).collect();
    for id in held {
        intents::end(state, &id, "automatic", now);
    }
}
