//! Refunds, disputes, and changes of payments that no request asks for.

use connector::clock::Timestamp;

use crate::simulators::network::ServerResponse;
use crate::simulators::stripe::cards::Card;
use crate::simulators::stripe::error::{HandlerResult, failed_precondition, invalid, not_found, param_not_found};
use crate::simulators::stripe::form::Params;
use crate::simulators::stripe::state::{Dispute, PaymentIntent, Refund, State};
use crate::simulators::stripe::{intents, notifications, render};

/// POST `/v1/refunds`.
pub(super) fn create(state: &mut State, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["amount", "charge", "expand", "metadata", "payment_intent", "reason"])?;
    let (amount, metadata) = (params.number("amount")?, params.metadata()?);
    let reason = params.choice("reason", &["duplicate", "fraudulent", "requested_by_customer"])?;
    if amount.is_some_and(|amount| amount < 1) {
        return Err(invalid("parameter_invalid_integer", Some("amount"), "Invalid positive integer"));
    }
    let intent = params.required("payment_intent")?;
    let intent = state.intent(&intent).cloned().ok_or_else(|| param_not_found("payment_intent", "payment_intent", &intent))?;
    let taken = state.latest_charge(&intent.id).filter(|_| intent.status == "succeeded").cloned();
    let Some(charge) = taken else {
        let message = format!("This PaymentIntent ({}) does not have a successful charge to refund.", intent.id);
        return Err(failed_precondition(None, None, &message));
    };
    if charge.dispute.as_ref().is_some_and(|dispute| dispute.status != "won") {
        return Err(failed_precondition(Some("charge_disputed"), None, "This charge has been charged back and cannot be refunded."));
    }
    let left = charge.captured.saturating_sub(charge.refunded);
    if left < 1 {
        let message = format!("Charge {} has already been refunded.", charge.id);
        return Err(failed_precondition(Some("charge_already_refunded"), None, &message));
    }
    let amount = amount.unwrap_or(left);
    if amount > left {
        // Stripe has no code for it.
        return Err(failed_precondition(None, Some("amount"), "Refund amount is greater than unrefunded amount on charge"));
    }
    let status = if state.fail_next_refund { "pending" } else { state.next_refund_status.take().unwrap_or("succeeded") };
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
        reference_reported: false,
        created: now,
    });
    if status != "failed" {
        if let Some(charge) = state.charge_mut(&charge.id) {
            charge.refunded = charge.refunded.saturating_add(amount);
        }
        notifications::enqueue_for_charge(state, "charge.refunded", &charge.id, now);
    }
    notifications::enqueue_for_refund(state, "refund.created", &id, now);
    read(state, &id)
}

/// GET `/v1/refunds/{id}`.
pub(super) fn read(state: &State, id: &str) -> HandlerResult {
    state.refund(id).map(|one| ServerResponse::json(200, &render::refund(one))).ok_or_else(|| not_found("refund", id))
}

/// Does what is pending, and notifies the banks' references of refunds.
pub(super) fn process(state: &mut State, now: Timestamp) {
    let is_due = |one: &&PaymentIntent| one.status == "processing" && one.processing_until <= now;
    let processing: Vec<_> = state.intents.iter().filter(is_due).map(|one| one.id.clone()).collect();
    for id in processing {
        match state.intent_mut(&id).and_then(|one| one.final_decline.take()) {
            Some(decline) => drop(intents::record_decline(state, &id, decline, now)),
            None => intents::approve(state, &id, now),
        }
    }
    let waiting = |one: &&Refund| one.status == "pending" || (one.status == "succeeded" && !one.reference_reported);
    let waiting: Vec<_> = state.refunds.iter().filter(waiting).map(|one| (one.id.clone(), one.charge.clone())).collect();
    for (id, charge) in waiting {
        let method = state.charge(&charge).and_then(|charge| state.methods.get(&charge.payment_method));
        if method.is_some_and(|method| method.card == Card::FailsRefunds) || std::mem::take(&mut state.fail_next_refund) {
            fail(state, &id, now);
            continue;
        }
        if let Some(refund) = state.refunds.iter_mut().find(|one| one.id == id) {
            (refund.status, refund.reference_reported) = ("succeeded", true);
        }
        for kind in ["refund.updated", "charge.refund.updated"] {
            notifications::enqueue_for_refund(state, kind, &id, now);
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
        notifications::enqueue_for_refund(state, kind, id, now);
    }
}

/// The customer's bank takes a payment back.
pub(super) fn dispute(state: &mut State, intent: &str, now: Timestamp) {
    let id = state.next_id("du");
    let Some(charge) = state
        .latest_charge_mut(intent)
        .filter(|one| one.is_approved() && one.captured > 0 && one.dispute.as_ref().is_none_or(|dispute| dispute.status == "won"))
    else {
        return;
    };
    charge.dispute = Some(Dispute { movements: vec![format!("txn_{id}")], id, status: "needs_response", created: now });
    let charge = charge.id.clone();
    for kind in ["charge.dispute.created", "charge.dispute.funds_withdrawn"] {
        notifications::enqueue_for_dispute(state, kind, &charge, now);
    }
}

/// A dispute is over.
pub(super) fn close_dispute(state: &mut State, intent: &str, won: bool, now: Timestamp) {
    let Some(charge) = state.latest_charge_mut(intent) else { return };
    let id = charge.id.clone();
    let Some(dispute) = charge.dispute.as_mut().filter(|dispute| dispute.status == "needs_response") else { return };
    dispute.status = if won { "won" } else { "lost" };
    if won {
        dispute.movements.push(format!("txn_{}_back", dispute.id));
    }
    if won {
        notifications::enqueue_for_dispute(state, "charge.dispute.funds_reinstated", &id, now);
    }
    notifications::enqueue_for_dispute(state, "charge.dispute.closed", &id, now);
}

/// Ends what was held for too long.
pub(super) fn expire_authorisations(state: &mut State, now: Timestamp) {
    let over = |id: &str| state.latest_charge(id).and_then(|charge| charge.capture_before).is_some_and(|until| until <= now);
    let held = state.intents.iter().filter(|one| one.status == "requires_capture" && over(&one.id));
    let held: Vec<_> = held.map(|one| one.id.clone()).collect();
    for id in held {
        intents::cancel_with_reason(state, &id, "automatic", now);
    }
}
