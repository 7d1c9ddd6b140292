//! PaymentIntents: made, confirmed, captured, canceled, read.

use std::time::Duration;

use connector::clock::Timestamp;

use crate::simulators::network::ServerResponse;
use crate::simulators::stripe::cards::AuthenticationFlow;
use crate::simulators::stripe::cards::{self, CardRequest, Decline, IssuerDecision};
use crate::simulators::stripe::error::{
    ErrorResponse, HandlerResult, decline_error, failed_precondition, invalid, invalid_param, not_found,
};
use crate::simulators::stripe::form::Params;
use crate::simulators::stripe::render::{self, Expand};
use crate::simulators::stripe::state::{Charge, PaymentIntent, State};
use crate::simulators::stripe::{details, money, notifications};

/// What can be written whole.
pub(super) const EXPANDABLE: [&str; 2] = ["latest_charge", "payment_method"];
/// How long a Visa authorisation holds that was made without the customer (docs.stripe.com/payments/place-a-hold-on-a-payment-method).
const VISA_OFF_SESSION_VALIDITY: Duration = Duration::from_secs((4 * 24 + 18) * 3_600);
/// How long every other holds.
const AUTHORISATION_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3_600);
/// What a capture, a cancel and a confirmation are refused with in a state that does not fit.
const UNEXPECTED_STATE: &str = "payment_intent_unexpected_state";

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

pub(super) fn expand(params: &Params) -> Result<Expand, ErrorResponse> {
    Expand::parse(params.list("expand")?, &EXPANDABLE, false)
}

/// An intent as an answer.
pub(super) fn intent_response(state: &State, id: &str, expand: &Expand) -> HandlerResult {
    let intent = state.intent(id).ok_or_else(|| not_found("payment_intent", id))?;
    Ok(ServerResponse::json(200, &render::intent(state, intent, expand)))
}

fn require_card(params: &Params) -> Result<(), ErrorResponse> {
    match params.list("payment_method_types")?.iter().find(|kind| *kind != "card") {
        Some(kind) => Err(invalid_param("payment_method_types", &format!("The payment method type provided: {kind} is invalid."))),
        None => Ok(()),
    }
}

/// POST `/v1/payment_intents`.
pub(super) fn create(state: &mut State, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&CREATE)?;
    let (amount, currency) = money::parse(params)?;
    require_card(params)?;
    let (confirm, off_session) = (params.flag("confirm")?, params.flag("off_session")?);
    let return_url = params.text("return_url")?;
    let setup = params.choice("setup_future_usage", &["on_session", "off_session"])?;
    let manual = params.choice("capture_method", &["automatic", "manual"])? == Some("manual");
    let (metadata, expand) = (params.metadata()?, expand(params)?);
    for (name, given) in [("off_session", params.has("off_session")), ("return_url", return_url.is_some())] {
        if given && !confirm {
            return Err(invalid_param(name, &format!("You must set `confirm=true` in order to use `{name}`.")));
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
        return Err(failed_precondition(Some(UNEXPECTED_STATE), None, message));
    }
    let customer = details::customer_param(state, params)?;
    let payment_method = details::payment_method_param(state, params, now)?;
    if let Some(method) = payment_method.as_ref().and_then(|id| state.methods.get(id)) {
        details::check_usable(method, customer.as_deref(), off_session)?;
    }
    let id = state.next_id("pi");
    let status = if payment_method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
    state.intents.push(PaymentIntent {
        id: id.clone(),
        amount,
        currency,
        customer,
        payment_method,
        status,
        manual,
        off_session,
        setup_future_usage: setup,
        metadata,
        return_url: return_url.filter(|_| !params.flag("use_stripe_sdk").unwrap_or_default()),
        authentication: None,
        final_decline: None,
        processing_until: now,
        last_error: None,
        received: 0,
        canceled: None,
        created: now,
        history: Vec::new(),
    });
    notifications::enqueue_for_intent(state, "payment_intent.created", &id, now);
    if confirm {
        request_authorisation(state, &id, false, now)?;
    }
    intent_response(state, &id, &expand)
}

/// POST `/v1/payment_intents/{id}/confirm`.
pub(super) fn confirm(state: &mut State, id: &str, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&CONFIRM)?;
    let expand = expand(params)?;
    let intent = state.intent(id).cloned().ok_or_else(|| not_found("payment_intent", id))?;
    let (return_url, setup) = (params.text("return_url")?, params.choice("setup_future_usage", &["on_session", "off_session"])?);
    let off_session = params.flag("off_session")?;
    if !matches!(intent.status, "requires_payment_method" | "requires_confirmation" | "requires_action") {
        return Err(unexpected_state(state, &intent, "confirm"));
    }
    let Some(method) = details::payment_method_param(state, params, now)?.or(intent.payment_method.clone()) else {
        return Err(unexpected_state(state, &intent, "confirm"));
    };
    if let Some(method) = state.methods.get(&method) {
        details::check_usable(method, intent.customer.as_deref(), off_session)?;
    }
    if let Some(one) = state.intent_mut(id) {
        one.payment_method = Some(method);
        one.off_session = off_session;
        one.return_url = return_url.or(intent.return_url);
        one.setup_future_usage = setup.or(intent.setup_future_usage);
    }
    request_authorisation(state, id, false, now)?;
    intent_response(state, id, &expand)
}

/// The call does not fit the intent's state.
fn unexpected_state(state: &State, intent: &PaymentIntent, what: &str) -> ErrorResponse {
    let message = format!("You cannot {what} this PaymentIntent because it has a status of {}.", intent.status);
    failed_precondition(Some(UNEXPECTED_STATE), None, &message).with("payment_intent", render::intent(state, intent, &Expand::default()))
}

/// The bank is asked.
pub(super) fn request_authorisation(state: &mut State, id: &str, authenticated: bool, now: Timestamp) -> Result<(), ErrorResponse> {
    let Some(intent) = state.intent(id).cloned() else { return Ok(()) };
    let Some(method) = intent.payment_method.as_ref().and_then(|method| state.methods.get(method)).cloned() else { return Ok(()) };
    let outcome = if authenticated { None } else { state.take_scripted_outcome(&method.id) };
    let card_request =
        CardRequest { off_session: intent.off_session, has_amount: true, set_up_off_session: method.set_up_off_session, authenticated };
    let decision = cards::issuer_decision(method.card, outcome, card_request);
    if let Some(one) = state.intent_mut(id) {
        (one.authentication, one.last_error) = (None, None);
    }
    match decision {
        IssuerDecision::RequireAuthentication(flow) => {
            let page = state.authenticate_in_page || intent.return_url.is_none();
            let flow = flow.unwrap_or(if page { AuthenticationFlow::InPage } else { AuthenticationFlow::Redirect });
            if let Some(one) = state.intent_mut(id) {
                (one.status, one.authentication) = ("requires_action", Some(flow));
            }
            notifications::enqueue_for_intent(state, "payment_intent.requires_action", id, now);
        }
        IssuerDecision::Approve => {
            push_charge(state, &intent, &method.id, now);
            approve(state, id, now);
        }
        IssuerDecision::Process(until, disposition) => {
            let charge = push_charge(state, &intent, &method.id, now);
            if let Some(charge) = state.charge_mut(&charge) {
                charge.pending = true;
            }
            if let Some(one) = state.intent_mut(id) {
                (one.status, one.final_decline, one.processing_until) = ("processing", disposition, until);
            }
            notifications::enqueue_for_intent(state, "payment_intent.processing", id, now);
        }
        IssuerDecision::Decline(decline) => {
            push_charge(state, &intent, &method.id, now);
            return Err(record_decline(state, id, decline, now));
        }
    }
    Ok(())
}

fn push_charge(state: &mut State, intent: &PaymentIntent, method: &str, now: Timestamp) -> String {
    let id = state.next_id("ch");
    state.charges.push(Charge {
        id: id.clone(),
        intent: intent.id.clone(),
        amount: intent.amount,
        captured: 0,
        refunded: 0,
        decline: None,
        pending: false,
        dispute: None,
        payment_method: method.to_owned(),
        capture_before: None,
        created: now,
    });
    id
}

/// The bank agrees to the latest try.
pub(super) fn approve(state: &mut State, id: &str, now: Timestamp) {
    let Some(intent) = state.intent(id).cloned() else { return };
    let method = intent.payment_method.clone().unwrap_or_default();
    let visa = state.methods.get(&method).is_some_and(|method| method.scheme == cards::Scheme::Visa);
    let held = if visa && intent.off_session { VISA_OFF_SESSION_VALIDITY } else { AUTHORISATION_VALIDITY };
    let Some(charge) = state.latest_charge_mut(id) else { return };
    charge.pending = false;
    charge.capture_before = intent.manual.then(|| now.after(held));
    charge.captured = if intent.manual { 0 } else { intent.amount };
    let charge = charge.id.clone();
    if let Some(one) = state.intent_mut(id) {
        one.status = if one.manual { "requires_capture" } else { "succeeded" };
        one.received = if one.manual { 0 } else { one.amount };
    }
    details::attach_or_use_up(state, &method, intent.customer.as_deref(), intent.setup_future_usage, now);
    notifications::enqueue_for_charge(state, "charge.succeeded", &charge, now);
    let kind = if intent.manual { "payment_intent.amount_capturable_updated" } else { "payment_intent.succeeded" };
    notifications::enqueue_for_intent(state, kind, id, now);
}

/// The bank refuses the latest try: the intent stays, and waits for other details.
pub(super) fn record_decline(state: &mut State, id: &str, decline: Decline, now: Timestamp) -> ErrorResponse {
    let mut refused = decline_error(&decline);
    let Some(charge) = state.latest_charge_mut(id) else { return refused };
    charge.decline = Some(decline.clone());
    charge.pending = false;
    let (charge, method) = (charge.id.clone(), charge.payment_method.clone());
    if let Some(one) = state.intent_mut(id) {
        (one.status, one.payment_method, one.last_error) = ("requires_payment_method", None, Some(decline));
    }
    notifications::enqueue_for_charge(state, "charge.failed", &charge, now);
    notifications::enqueue_for_intent(state, "payment_intent.payment_failed", id, now);
    if let Some(method) = state.methods.get(&method) {
        refused = refused.with("payment_method", render::method(method));
    }
    if let Some(intent) = state.intent(id) {
        refused = refused.with("payment_intent", render::intent(state, intent, &Expand::default()));
    }
    refused.with("charge", serde_json::json!(charge))
}

/// POST `/v1/payment_intents/{id}/capture`.
pub(super) fn capture(state: &mut State, id: &str, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&[
        "amount_to_capture",
        "expand",
        "final_capture",
        "metadata",
        "statement_descriptor",
        "statement_descriptor_suffix",
    ])?;
    let (amount, expand) = (params.number("amount_to_capture")?, expand(params)?);
    let intent = state.intent(id).cloned().ok_or_else(|| not_found("payment_intent", id))?;
    if intent.status != "requires_capture" {
        return Err(unexpected_state(state, &intent, "capture"));
    }
    let amount = amount.unwrap_or(intent.amount);
    if amount < 1 || amount > intent.amount {
        let message = "The provided amount is greater than the amount that can be captured.";
        return Err(failed_precondition(Some("amount_too_large"), Some("amount_to_capture"), message));
    }
    if let Some(code) = state.next_capture_error.take() {
        return Err(failed_precondition(Some(&code), None, "The charge cannot be captured."));
    }
    let Some(charge) = state.latest_charge_mut(id) else { return Err(not_found("charge", id)) };
    charge.captured = amount;
    let charge = charge.id.clone();
    if let Some(one) = state.intent_mut(id) {
        (one.status, one.received) = ("succeeded", amount);
    }
    notifications::enqueue_for_charge(state, "charge.captured", &charge, now);
    notifications::enqueue_for_intent(state, "payment_intent.succeeded", id, now);
    intent_response(state, id, &expand)
}

/// POST `/v1/payment_intents/{id}/cancel`.
pub(super) fn cancel(state: &mut State, id: &str, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["cancellation_reason", "expand"])?;
    let reasons = ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
    let (reason, expand) = (params.choice("cancellation_reason", &reasons)?, expand(params)?);
    let intent = state.intent(id).cloned().ok_or_else(|| not_found("payment_intent", id))?;
    match intent.status {
        "requires_payment_method" | "requires_confirmation" | "requires_action" | "requires_capture" => {}
        _ => return Err(unexpected_state(state, &intent, "cancel")),
    }
    cancel_with_reason(state, id, reason.unwrap_or_default(), now);
    intent_response(state, id, &expand)
}

/// An intent is over without its money being taken. What it held is written as refunded although nothing was ever taken.
pub(super) fn cancel_with_reason(state: &mut State, id: &str, reason: &'static str, now: Timestamp) {
    let held = state.intent(id).is_some_and(|intent| intent.status == "requires_capture");
    let charge = state.latest_charge_mut(id).filter(|_| held).map(|charge| {
        charge.refunded = charge.amount;
        charge.id.clone()
    });
    if let Some(one) = state.intent_mut(id) {
        (one.status, one.authentication, one.canceled) = ("canceled", None, Some((now, reason)));
    }
    if let Some(charge) = charge {
        let kind = if reason == "automatic" { "charge.expired" } else { "charge.refunded" };
        notifications::enqueue_for_charge(state, kind, &charge, now);
    }
    notifications::enqueue_for_intent(state, "payment_intent.canceled", id, now);
}
