//! SetupIntents: details stored without a charge.

use connector::clock::Timestamp;

use super::cards::{self, Occasion, Refusal, Word};
use super::form::Params;
use super::render::{self, Expand};
use super::state::{Answer, Asking, Refused, Setup, State, declined, missing, unfit, wrong};
use super::{details, notifications};
use crate::peer::PeerAnswer;

const CREATE: [&str; 13] = [
    "automatic_payment_methods",
    "confirm",
    "customer",
    "description",
    "expand",
    "mandate_data",
    "metadata",
    "payment_method",
    "payment_method_options",
    "payment_method_types",
    "return_url",
    "usage",
    "use_stripe_sdk",
];

pub(super) fn expand(params: &Params) -> Result<Expand, Refused> {
    Expand::read(params.list("expand")?, &["payment_method"], false)
}

/// A SetupIntent as an answer.
pub(super) fn answer(state: &State, id: &str, expand: &Expand) -> Answer {
    let setup = state.setup(id).ok_or_else(|| missing("setupintent", id))?;
    Ok(PeerAnswer::json(200, &render::setup(state, setup, expand)))
}

/// POST `/v1/setup_intents`.
pub(super) fn create(state: &mut State, params: &Params, now: Timestamp) -> Answer {
    params.only(&CREATE)?;
    let (confirm, return_url, metadata, expand) =
        (params.flag("confirm")?, params.text("return_url")?, params.metadata()?, expand(params)?);
    let usage = params.choice("usage", &["on_session", "off_session"])?.unwrap_or("off_session");
    if params.list("payment_method_types")?.iter().any(|kind| kind != "card") {
        return Err(wrong("payment_method_types", "The payment method type provided is invalid."));
    }
    if return_url.is_some() && !confirm {
        return Err(wrong("return_url", "You must set `confirm=true` in order to use `return_url`."));
    }
    if confirm && params.text("payment_method")?.is_none() {
        return Err(unfit(Some("setup_intent_unexpected_state"), None, "This SetupIntent is missing a payment method."));
    }
    let customer = details::customer_of(state, params)?;
    let payment_method = details::method_of(state, params, now)?;
    if let Some(method) = payment_method.as_ref().and_then(|id| state.methods.get(id)) {
        details::check(method, customer.as_deref(), false)?;
    }
    let id = state.next_id("seti");
    let status = if payment_method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
    state.setups.push(Setup {
        id: id.clone(),
        customer,
        payment_method,
        status,
        usage,
        metadata,
        return_url: return_url.filter(|_| !params.flag("use_stripe_sdk").unwrap_or_default()),
        asking: None,
        last_error: None,
        canceled: None,
        created: now,
    });
    notifications::about_setup(state, "setup_intent.created", &id, now);
    if confirm {
        run(state, &id, false, now)?;
    }
    answer(state, &id, &expand)
}

/// POST `/v1/setup_intents/{id}/confirm`.
pub(super) fn confirm(state: &mut State, id: &str, params: &Params, now: Timestamp) -> Answer {
    params.only(&["expand", "mandate_data", "payment_method", "payment_method_options", "return_url", "use_stripe_sdk"])?;
    let (return_url, expand) = (params.text("return_url")?, expand(params)?);
    let setup = state.setup(id).cloned().ok_or_else(|| missing("setupintent", id))?;
    let method = details::method_of(state, params, now)?.or(setup.payment_method.clone());
    let Some(method) = method.filter(|_| matches!(setup.status, "requires_payment_method" | "requires_confirmation" | "requires_action"))
    else {
        return Err(unexpected(&setup, "confirm", state));
    };
    if let Some(method) = state.methods.get(&method) {
        details::check(method, setup.customer.as_deref(), false)?;
    }
    if let Some(one) = state.setup_mut(id) {
        (one.payment_method, one.return_url) = (Some(method), return_url.or(setup.return_url));
    }
    run(state, id, false, now)?;
    answer(state, id, &expand)
}

/// The call does not fit the intent's state.
fn unexpected(setup: &Setup, what: &str, state: &State) -> Refused {
    let message = format!("You cannot {what} this SetupIntent because it has a status of {}.", setup.status);
    let refused = unfit(Some("setup_intent_unexpected_state"), None, &message);
    refused.with("setup_intent", render::setup(state, setup, &Expand::default()))
}

/// The bank is asked.
pub(super) fn run(state: &mut State, id: &str, authenticated: bool, now: Timestamp) -> Result<(), Refused> {
    let Some(setup) = state.setup(id).cloned() else { return Ok(()) };
    let Some(method) = setup.payment_method.as_ref().and_then(|method| state.methods.get(method)).cloned() else { return Ok(()) };
    let script = if authenticated { None } else { state.take_script(&method.id) };
    let occasion = Occasion { off_session: false, charges: false, set_up: method.set_up, authenticated };
    match cards::word(method.card, script, occasion) {
        Word::Ask(asking) => {
            let page = state.ask_in_page || setup.return_url.is_none();
            let asking = asking.unwrap_or(if page { Asking::InPage } else { Asking::Away });
            if let Some(one) = state.setup_mut(id) {
                (one.status, one.asking) = ("requires_action", Some(asking));
            }
            notifications::about_setup(state, "setup_intent.requires_action", id, now);
        }
        // Cards are stored at once or not at all.
        Word::Yes | Word::Later(_) => {
            if let Some(one) = state.setup_mut(id) {
                (one.status, one.asking, one.last_error) = ("succeeded", None, None);
            }
            details::keep(state, &method.id, setup.customer.as_deref(), Some(setup.usage), now);
            notifications::about_setup(state, "setup_intent.succeeded", id, now);
        }
        Word::No(refusal) => return Err(refuse(state, id, refusal, now)),
    }
    Ok(())
}

/// The bank refuses: the SetupIntent stays, and waits for other details.
pub(super) fn refuse(state: &mut State, id: &str, refusal: Refusal, now: Timestamp) -> Refused {
    let mut refused = declined(&refusal);
    if let Some(one) = state.setup_mut(id) {
        (one.status, one.asking, one.payment_method, one.last_error) = ("requires_payment_method", None, None, Some(refusal));
    }
    notifications::about_setup(state, "setup_intent.setup_failed", id, now);
    if let Some(setup) = state.setup(id) {
        refused = refused.with("setup_intent", render::setup(state, setup, &Expand::default()));
    }
    refused
}

/// POST `/v1/setup_intents/{id}/cancel`.
pub(super) fn cancel(state: &mut State, id: &str, params: &Params, now: Timestamp) -> Answer {
    params.only(&["cancellation_reason", "expand"])?;
    let (reason, expand) = (params.choice("cancellation_reason", &["abandoned", "requested_by_customer", "duplicate"])?, expand(params)?);
    let setup = state.setup(id).cloned().ok_or_else(|| missing("setupintent", id))?;
    if !matches!(setup.status, "requires_payment_method" | "requires_confirmation" | "requires_action") {
        return Err(unexpected(&setup, "cancel", state));
    }
    if let Some(one) = state.setup_mut(id) {
        (one.status, one.asking, one.canceled) = ("canceled", None, Some(reason.unwrap_or_default()));
    }
    notifications::about_setup(state, "setup_intent.canceled", id, now);
    answer(state, id, &expand)
}
