//! The history in plain words. Steps are shown by name and progress, never by what they returned: a result may hold details of a customer.

use std::fmt::Write as _;

use connector::clock::Timestamp;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{Attempt, AttemptKind, Finish, Obligation, StepStatus};

use super::related_documents::RelatedDocuments;

/// What happened when, in order of time.
pub(super) fn timeline(found: &RelatedDocuments) -> Vec<(Timestamp, String)> {
    let mut events = Vec::new();
    for (key, obligation) in &found.obligations {
        for attempt in &obligation.attempts {
            events.push((attempt.opened_at, format!("{key}: began to {}", describe_purpose(attempt.kind))));
            for step in &attempt.steps {
                let end = match step.state {
                    StepStatus::Started => "no result is recorded: its outcome is UNKNOWN",
                    StepStatus::NoEffect => "refused without effect",
                    StepStatus::Done(_) => "done",
                };
                let repeats =
                    if step.repeats > 0 { format!(", repeated {} time(s) under the same key", step.repeats) } else { String::new() };
                let refusals =
                    if step.no_effect_count > 0 { format!(", refused {} time(s) before", step.no_effect_count) } else { String::new() };
                events.push((step.started_at, format!("{key}: step {}: {end}{repeats}{refusals}", step.name)));
            }
        }
        for ruling in &obligation.decisions {
            let text = format!("{key}: {} decided \"{}\" about {}: {}", ruling.by, ruling.decision, ruling.reason, ruling.note);
            events.push((ruling.at, text));
        }
    }
    for payment in found.payments.values() {
        for (at, state) in &payment.history {
            events.push((*at, format!("payment {}: {}", payment.reference.as_str(), describe_state(*state))));
        }
    }
    // What happened in the same millisecond stays in the order of the documents.
    events.sort_by_key(|(at, _)| *at);
    events
}

/// How things stand.
pub(super) fn current_state(found: &RelatedDocuments, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, obligation) in &found.obligations {
        lines.push(describe_obligation(key.as_str(), obligation, now));
    }
    lines.extend(found.payments.values().map(describe_payment));
    for (subscription, head) in &found.subscription_states {
        let mut line = format!("subscription {subscription}:");
        match &head.in_flight {
            Some(obligation) => drop(write!(line, " {obligation} is in flight;")),
            None => line.push_str(" no obligation is in flight;"),
        }
        if let Some(live) = &head.live_authorisation {
            let _ = write!(line, " money is held by {} for the period until {};", live.reference.as_str(), live.expiration);
        }
        if let Some(charge) = &head.last_charge {
            let how = if charge.certain { "charged" } else { "charged with an UNKNOWN outcome" };
            let _ = write!(line, " last {how} at {} for the period until {};", charge.at, charge.expiration);
        }
        if let Some(expected) = head.last_billing_event.as_ref().and_then(|watch| watch.expected_event.as_ref()) {
            let what = format!("{:?}", expected.action).to_lowercase();
            let _ = write!(line, " Cleeng is expected to ask to {what} at {} for the period until {};", expected.at, expected.expiration);
        }
        lines.push(line.trim_end_matches(';').to_owned());
    }
    lines.extend(found.unreadable.iter().map(|key| format!("{key}: cannot be read by this release")));
    lines
}

fn describe_obligation(key: &str, obligation: &Obligation, now: Timestamp) -> String {
    let mut line = format!("{key}:");
    if obligation.dropped_attempts > 0 {
        let _ = write!(line, " {} older attempt(s) are not kept in detail;", obligation.dropped_attempts);
    }
    if obligation.lease.as_ref().is_some_and(|lease| lease.until > now) {
        line.push_str(" a function is processing it now;");
    }
    for attempt in &obligation.attempts {
        let _ = write!(line, " to {} (due {}): {};", describe_purpose(attempt.kind), attempt.due, describe_finish(attempt));
    }
    if obligation.needs_cleanup {
        line.push_str(" an operation at the gateway still has to be cancelled;");
    }
    line.trim_end_matches(';').to_owned()
}

fn describe_payment(payment: &PaymentRecord) -> String {
    let mut line = format!("payment {} at {}: {}", payment.reference.as_str(), payment.gateway, describe_state(payment.state));
    let _ = write!(line, "; requested {}, captured {}, refunded {}", payment.amount, payment.captured, payment.refunded);
    if let Some(external) = &payment.external_payment_id {
        let _ = write!(line, "; its id at the gateway is {external}");
    }
    match &payment.cleeng_payment {
        Some(id) => drop(write!(line, "; its id in Cleeng is {id}")),
        None => line.push_str("; its id in Cleeng is not known"),
    }
    if let Some(order) = &payment.order {
        let _ = write!(line, " (order {order})");
    }
    for part in payment.refunds.iter().filter(|part| part.state.is_in_flight()) {
        let _ = write!(line, "; a refund of {} is in flight ({})", part.amount, part.obligation);
    }
    if payment.loss_reported {
        line.push_str("; the loss was reported to Cleeng");
    }
    line
}

fn describe_finish(attempt: &Attempt) -> String {
    match &attempt.finish {
        None if attempt.waiting_event.is_some() => "open; its event waits for the gateway's notification".to_owned(),
        None => "open".to_owned(),
        Some(Finish::Declined { class, code }) => format!("declined ({}, code {code})", class.as_str()),
        Some(Finish::Stale { reason }) => format!("nothing was to be done ({reason})"),
        Some(Finish::Parked { reason, resolved: true, .. }) => format!("was parked ({reason}) and settled by hand"),
        Some(Finish::Parked { reason, money_unknown, .. }) => {
            let money = if *money_unknown { "; its outcome is UNKNOWN: the customer's money may have moved" } else { "" };
            format!("PARKED ({reason}){money}; see the runbook, then connectorctl parked resolve")
        }
        Some(Finish::Abandoned) => "abandoned by an operator; no money moved".to_owned(),
        Some(Finish::LossReported) => "the loss was reported to Cleeng".to_owned(),
        Some(Finish::Superseded) => "replaced by another attempt".to_owned(),
        Some(other) => format!("{}, and reported to Cleeng", other.as_str().replace('_', " ")),
    }
}

const fn describe_purpose(kind: AttemptKind) -> &'static str {
    match kind {
        AttemptKind::Authorise => "authorise the renewal",
        AttemptKind::Capture => "capture the renewal",
        AttemptKind::Charge => "charge the renewal",
        AttemptKind::Terminate => "terminate the subscription",
        AttemptKind::Notification => "report to Cleeng what the gateway notified",
        AttemptKind::Purchase => "pay the order with the customer present",
        AttemptKind::StoreDetails => "store payment details with the customer present",
        AttemptKind::Reversal => "reverse a payment that must not be charged",
        AttemptKind::Refund => "refund",
        AttemptKind::LateSuccess => "report or give back a payment that succeeded late",
        AttemptKind::Release => "release an authorisation whose payment details were deactivated",
        AttemptKind::Deactivate => "clean up after deactivated payment details",
    }
}

const fn describe_state(state: PaymentState) -> &'static str {
    match state {
        PaymentState::Starting => "requested at the gateway",
        PaymentState::Authorised => "the money is held",
        PaymentState::Declined => "declined, no money moved",
        PaymentState::Capturing => "the capture is requested at the gateway",
        PaymentState::Captured => "the money was captured",
        PaymentState::CaptureFailed => "the capture failed",
        PaymentState::Cancelling => "the release of the authorisation is requested at the gateway",
        PaymentState::Cancelled => "the authorisation is released",
        PaymentState::Expired => "the authorisation expired",
        PaymentState::Refunded => "all of the money was refunded",
        PaymentState::ChargedBack => "charged back: the bank took the money back",
    }
}
