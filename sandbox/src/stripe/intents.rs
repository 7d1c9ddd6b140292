//! PaymentIntents: made, confirmed, captured, canceled, read.

use std::time::Duration;

use connector::clock::Timestamp;

use super::cards::{self, Occasion, Refusal, Word};
use super::form::Params;
use super::render::{self, Expand};
use super::state::{Answer, Asking, Charge, Intent, Refused, State, declined, invalid, missing, unfit, wrong};
use super::{details, money, notifications};
use crate::peer::PeerAnswer;

/// What can be written whole.
pub(super) const EXPANDABLE: [&str; 2] = ["latest_charge", "payment_method"];
/// How long a Visa authorisation holds that was made without the customer (docs.stripe.com/payments/place-a-hold-on-a-payment-method).
const VISA_WITHOUT_CUSTOMER: Duration = Duration::from_secs((4 * 24 + 18) * 3_600);
/// How long every other holds.
const HELD: Duration = Duration::from_secs(7 * 24 * 3_600);
/// What a capture, a cancel and a confirmation are refused with in a state that does not fit.
const UNEXPECTED: &str = "payment_intent_unexpected_state";

const CREATE: [&str; 20] = [
    "amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "confirmation_method",
    "currency",
    "customer",
    "description",
    "error_on_requires_action",
    "expand",
    "metadata",
    "off_session",
    "payment_method",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "statement_descriptor_suffix",
    "use_stripe_sdk",
];
const CONFIRM: [&str; 7] =
    ["capture_method", "expand", "off_session", "payment_method", "return_url", "setup_future_usage", "use_stripe_sdk"];

pub(super) fn expand(params: &Params) -> Result<Expand, Refused> {
    Expand::read(params.list("expand")?, &EXPANDABLE, false)
}

/// An intent as an answer.
pub(super) fn answer(state: &State, id: &str, expand: &Expand) -> Answer {
    let intent = state.intent(id).ok_or_else(|| missing("payment_intent", id))?;
    Ok(PeerAnswer::json(200, &render::intent(state, intent, expand)))
}

fn card_only(params: &Params) -> Result<(), Refused> {
    match params.list("payment_method_types")?.iter().find(|kind| *kind != "card") {
        Some(kind) => Err(wrong("payment_method_types", &format!("The payment method type provided: {kind} is invalid."))),
        None => Ok(()),
    }
}

/// POST `/v1/payment_intents`.
pub(super) fn create(state: &mut State, params: &Params, now: Timestamp) -> Answer {
    params.only(&CREATE)?;
    let (amount, currency) = money::read(params)?;
    card_only(params)?;
    let (confirm, off_session) = (params.flag("confirm")?, params.flag("off_session")?);
    let return_url = params.text("return_url")?;
    let setup = params.choice("setup_future_usage", &["on_session", "off_session"])?;
    let manual = params.choice("capture_method", &["automatic", "manual"])? == Some("manual");
    let (metadata, expand) = (params.metadata()?, expand(params)?);
    for (name, given) in [("off_session", params.has("off_session")), ("return_url", return_url.is_some())] {
        if given && !confirm {
            return Err(wrong(name, &format!("You must set `confirm=true` in order to use `{name}`.")));
        }
    }
    if off_session && setup.is_some() {
        // Nobody is there who could agree to later payments.
        return Err(invalid(
            "parameters_exclusive",
            Some("setup_future_usage"),
            "You cannot set both `off_session` and `setup_future_usage`.",
        ));
    }
    if confirm && params.text("payment_method")?.is_none() {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
        return Err(unfit(Some(UNEXPECTED), None, message));
    }
    let customer = details::customer_of(state, params)?;
    let payment_method = details::method_of(state, params, now)?;
    if let Some(method) = payment_method.as_ref().and_then(|id| state.methods.get(id)) {
        details::check(method, customer.as_deref(), off_session)?;
    }
    let id = state.next_id("pi");
    let status = if payment_method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
    state.intents.push(Intent {
        id: id.clone(),
        amount,
        currency,
        customer,
        payment_method,
        status,
        manual,
        off_session,
        setup,
        metadata,
        return_url: return_url.filter(|_| !params.flag("use_stripe_sdk").unwrap_or_default()),
        asking: None,
        verdict: None,
        last_error: None,
        received: 0,
        canceled: None,
        created: now,
        history: Vec::new(),
    });
    notifications::about_intent(state, "payment_intent.created", &id, now);
    if confirm {
        run(state, &id, false, now)?;
    }
    answer(state, &id, &expand)
}

/// POST `/v1/payment_intents/{id}/confirm`.
pub(super) fn confirm(state: &mut State, id: &str, params: &Params, now: Timestamp) -> Answer {
    params.only(&CONFIRM)?;
    let expand = expand(params)?;
    let intent = state.intent(id).cloned().ok_or_else(|| missing("payment_intent", id))?;
    let (return_url, setup) = (params.text("return_url")?, params.choice("setup_future_usage", &["on_session", "off_session"])?);
    let off_session = params.flag("off_session")?;
    if !matches!(intent.status, "requires_payment_method" | "requires_confirmation" | "requires_action") {
        return Err(unexpected(state, &intent, "confirm"));
    }
    let Some(method) = details::method_of(state, params, now)?.or(intent.payment_method.clone()) else {
        return Err(unexpected(state, &intent, "confirm"));
    };
    if let Some(method) = state.methods.get(&method) {
        details::check(method, intent.customer.as_deref(), off_session)?;
    }
    if let Some(one) = state.intent_mut(id) {
        one.payment_method = Some(method);
        one.off_session = off_session;
        one.return_url = return_url.or(intent.return_url);
        one.setup = setup.or(intent.setup);
    }
    run(state, id, false, now)?;
    answer(state, id, &expand)
}

/// The call does not fit the intent's state.
fn unexpected(state: &State, intent: &Intent, what: &str) -> Refused {
    let message = format!("You cannot {what} this PaymentIntent because it has a status of {}.", intent.status);
    unfit(Some(UNEXPECTED), None, &message).with("payment_intent", render::intent(state, intent, &Expand::default()))
}

/// The bank is asked.
pub(super) fn run(state: &mut State, id: &str, authenticated: bool, now: Timestamp) -> Result<(), Refused> {
    let Some(intent) = state.intent(id).cloned() else { return Ok(()) };
    let Some(method) = intent.payment_method.as_ref().and_then(|method| state.methods.get(method)).cloned() else { return Ok(()) };
    let script = if authenticated { None } else { state.take_script(&method.id) };
    let occasion = Occasion { off_session: intent.off_session, charges: true, set_up: method.set_up, authenticated };
    let word = cards::word(method.card, script, occasion);
    if let Some(one) = state.intent_mut(id) {
        (one.asking, one.last_error) = (None, None);
    }
    match word {
        Word::Ask(asking) => {
            let page = state.ask_in_page || intent.return_url.is_none();
            let asking = asking.unwrap_or(if page { Asking::InPage } else { Asking::Away });
            if let Some(one) = state.intent_mut(id) {
                (one.status, one.asking) = ("requires_action", Some(asking));
            }
            notifications::about_intent(state, "payment_intent.requires_action", id, now);
        }
        Word::Yes => {
            push_charge(state, &intent, &method.id, now);
            agree(state, id, now);
        }
        Word::Later(verdict) => {
            let charge = push_charge(state, &intent, &method.id, now);
            if let Some(charge) = state.charge_mut(&charge) {
                charge.pending = true;
            }
            if let Some(one) = state.intent_mut(id) {
                (one.status, one.verdict) = ("processing", verdict);
            }
            notifications::about_intent(state, "payment_intent.processing", id, now);
        }
        Word::No(refusal) => {
            push_charge(state, &intent, &method.id, now);
            return Err(refuse(state, id, refusal, now));
        }
    }
    Ok(())
}

fn push_charge(state: &mut State, intent: &Intent, method: &str, now: Timestamp) -> String {
    let id = state.next_id("ch");
    state.charges.push(Charge {
        id: id.clone(),
        intent: intent.id.clone(),
        amount: intent.amount,
        captured: 0,
        refunded: 0,
        refusal: None,
        pending: false,
        dispute: None,
        payment_method: method.to_owned(),
        capture_before: None,
        created: now,
    });
    id
}

/// The bank agrees to the latest try.
pub(super) fn agree(state: &mut State, id: &str, now: Timestamp) {
    let Some(intent) = state.intent(id).cloned() else { return };
    let method = intent.payment_method.clone().unwrap_or_default();
    let visa = state.methods.get(&method).is_some_and(|method| method.scheme == cards::Scheme::Visa);
    let held = if visa && intent.off_session { VISA_WITHOUT_CUSTOMER } else { HELD };
    let Some(charge) = state.latest_charge_mut(id) else { return };
    charge.pending = false;
    charge.capture_before = intent.manual.then(|| now.after(held));
    charge.captured = if intent.manual { 0 } else { intent.amount };
    let charge = charge.id.clone();
    if let Some(one) = state.intent_mut(id) {
        one.status = if one.manual { "requires_capture" } else { "succeeded" };
        one.received = if one.manual { 0 } else { one.amount };
    }
    details::keep(state, &method, intent.customer.as_deref(), intent.setup, now);
    notifications::about_charge(state, "charge.succeeded", &charge, now);
    let kind = if intent.manual { "payment_intent.amount_capturable_updated" } else { "payment_intent.succeeded" };
    notifications::about_intent(state, kind, id, now);
}

/// The bank refuses the latest try: the intent stays, and waits for other details.
pub(super) fn refuse(state: &mut State, id: &str, refusal: Refusal, now: Timestamp) -> Refused {
    let mut refused = declined(&refusal);
    let Some(charge) = state.latest_charge_mut(id) else { return refused };
    charge.refusal = Some(refusal.clone());
    charge.pending = false;
    let (charge, method) = (charge.id.clone(), charge.payment_method.clone());
    if let Some(one) = state.intent_mut(id) {
        (one.status, one.payment_method, one.last_error) = ("requires_payment_method", None, Some(refusal));
    }
    notifications::about_charge(state, "charge.failed", &charge, now);
    notifications::about_intent(state, "payment_intent.payment_failed", id, now);
    if let Some(method) = state.methods.get(&method) {
        refused = refused.with("payment_method", render::method(method));
    }
    if let Some(intent) = state.intent(id) {
        refused = refused.with("payment_intent", render::intent(state, intent, &Expand::default()));
    }
    refused.with("charge", serde_json::json!(charge))
}

/// POST `/v1/payment_intents/{id}/capture`.
pub(super) fn capture(state: &mut State, id: &str, params: &Params, now: Timestamp) -> Answer {
    params.only(&["amount_to_capture", "expand", "final_capture", "metadata", "statement_descriptor", "statement_descriptor_suffix"])?;
    let (amount, expand) = (params.number("amount_to_capture")?, expand(params)?);
    let intent = state.intent(id).cloned().ok_or_else(|| missing("payment_intent", id))?;
    if intent.status != "requires_capture" {
        return Err(unexpected(state, &intent, "capture"));
    }
    let amount = amount.unwrap_or(intent.amount);
    if amount < 1 || amount > intent.amount {
        let message = "The provided amount is greater than the amount that can be captured.";
        return Err(unfit(Some("amount_too_large"), Some("amount_to_capture"), message));
    }
    if let Some(code) = state.next_capture.take() {
        return Err(unfit(Some(&code), None, "The charge cannot be captured."));
    }
    let Some(charge) = state.latest_charge_mut(id) else { return Err(missing("charge", id)) };
    charge.captured = amount;
    let charge = charge.id.clone();
    if let Some(one) = state.intent_mut(id) {
        (one.status, one.received) = ("succeeded", amount);
    }
    notifications::about_charge(state, "charge.captured", &charge, now);
    notifications::about_intent(state, "payment_intent.succeeded", id, now);
    answer(state, id, &expand)
}

/// POST `/v1/payment_intents/{id}/cancel`.
pub(super) fn cancel(state: &mut State, id: &str, params: &Params, now: Timestamp) -> Answer {
    params.only(&["cancellation_reason", "expand"])?;
    let reasons = ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
    let (reason, expand) = (params.choice("cancellation_reason", &reasons)?, expand(params)?);
    let intent = state.intent(id).cloned().ok_or_else(|| missing("payment_intent", id))?;
    match intent.status {
        "requires_payment_method" | "requires_confirmation" | "requires_action" | "requires_capture" => {}
        _ => return Err(unexpected(state, &intent, "cancel")),
    }
    end(state, id, reason.unwrap_or_default(), now);
    answer(state, id, &expand)
}

/// An intent is over without its money being taken. What it held is written as refunded although nothing was ever taken.
pub(super) fn end(state: &mut State, id: &str, reason: &'static str, now: Timestamp) {
    let held = state.intent(id).is_some_and(|intent| intent.status == "requires_capture");
    let charge = state.latest_charge_mut(id).filter(|_| held).map(|charge| {
        charge.refunded = charge.amount;
        charge.id.clone()
    });
    if let Some(one) = state.intent_mut(id) {
        (one.status, one.asking, one.canceled) = ("canceled", None, Some((now, reason)));
    }
    if let Some(charge) = charge {
        let kind = if reason == "automatic" { "charge.expired" } else { "charge.refunded" };
        notifications::about_charge(state, kind, &charge, now);
    }
    notifications::about_intent(state, "payment_intent.canceled", id, now);
}
