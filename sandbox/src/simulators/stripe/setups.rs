//! SetupIntents: details stored without a charge.

use connector::clock::Timestamp;

use crate::simulators::network::ServerResponse;
use crate::simulators::stripe::cards::AuthenticationFlow;
use crate::simulators::stripe::cards::{self, CardRequest, Decline, IssuerDecision};
use crate::simulators::stripe::error::{ErrorResponse, HandlerResult, decline_error, failed_precondition, invalid_param, not_found};
use crate::simulators::stripe::form::Params;
use crate::simulators::stripe::render::{self, Expand};
use crate::simulators::stripe::state::{SetupIntent, State};
use crate::simulators::stripe::{details, notifications};

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

pub(super) fn expand(params: &Params) -> Result<Expand, ErrorResponse> {
    Expand::parse(params.list("expand")?, &["payment_method"], false)
}

/// A SetupIntent as an answer.
pub(super) fn setup_response(state: &State, id: &str, expand: &Expand) -> HandlerResult {
    let setup = state.setup(id).ok_or_else(|| not_found("setupintent", id))?;
    Ok(ServerResponse::json(200, &render::setup(state, setup, expand)))
}

/// POST `/v1/setup_intents`.
pub(super) fn create(state: &mut State, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&CREATE)?;
    let (confirm, return_url, metadata, expand) =
        (params.flag("confirm")?, params.text("return_url")?, params.metadata()?, expand(params)?);
    let usage = params.choice("usage", &["on_session", "off_session"])?.unwrap_or("off_session");
    if params.list("payment_method_types")?.iter().any(|kind| kind != "card") {
        return Err(invalid_param("payment_method_types", "The payment method type provided is invalid."));
    }
    if return_url.is_some() && !confirm {
        return Err(invalid_param("return_url", "You must set `confirm=true` in order to use `return_url`."));
    }
    if confirm && params.text("payment_method")?.is_none() {
        return Err(failed_precondition(Some("setup_intent_unexpected_state"), None, "This SetupIntent is missing a payment method."));
    }
    let customer = details::customer_param(state, params)?;
    let payment_method = details::payment_method_param(state, params, now)?;
    if let Some(method) = payment_method.as_ref().and_then(|id| state.methods.get(id)) {
        details::check_usable(method, customer.as_deref(), false)?;
    }
    let id = state.next_id("seti");
    let status = if payment_method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
    state.setups.push(SetupIntent {
        id: id.clone(),
        customer,
        payment_method,
        status,
        usage,
        metadata,
        return_url: return_url.filter(|_| !params.flag("use_stripe_sdk").unwrap_or_default()),
        authentication: None,
        last_error: None,
        canceled: None,
        created: now,
    });
    notifications::enqueue_for_setup(state, "setup_intent.created", &id, now);
    if confirm {
        request_setup(state, &id, false, now)?;
    }
    setup_response(state, &id, &expand)
}

/// POST `/v1/setup_intents/{id}/confirm`.
pub(super) fn confirm(state: &mut State, id: &str, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["expand", "mandate_data", "payment_method", "payment_method_options", "return_url", "use_stripe_sdk"])?;
    let (return_url, expand) = (params.text("return_url")?, expand(params)?);
    let setup = state.setup(id).cloned().ok_or_else(|| not_found("setupintent", id))?;
    let method = details::payment_method_param(state, params, now)?.or(setup.payment_method.clone());
    let Some(method) = method.filter(|_| matches!(setup.status, "requires_payment_method" | "requires_confirmation" | "requires_action"))
    else {
        return Err(unexpected_state(&setup, "confirm", state));
    };
    if let Some(method) = state.methods.get(&method) {
        details::check_usable(method, setup.customer.as_deref(), false)?;
    }
    if let Some(one) = state.setup_mut(id) {
        (one.payment_method, one.return_url) = (Some(method), return_url.or(setup.return_url));
    }
    request_setup(state, id, false, now)?;
    setup_response(state, id, &expand)
}

/// The call does not fit the intent's state.
fn unexpected_state(setup: &SetupIntent, what: &str, state: &State) -> ErrorResponse {
    let message = format!("You cannot {what} this SetupIntent because it has a status of {}.", setup.status);
    let refused = failed_precondition(Some("setup_intent_unexpected_state"), None, &message);
    refused.with("setup_intent", render::setup(state, setup, &Expand::default()))
}

/// The bank is asked.
pub(super) fn request_setup(state: &mut State, id: &str, authenticated: bool, now: Timestamp) -> Result<(), ErrorResponse> {
    let Some(setup) = state.setup(id).cloned() else { return Ok(()) };
    let Some(method) = setup.payment_method.as_ref().and_then(|method| state.methods.get(method)).cloned() else { return Ok(()) };
    let outcome = if authenticated { None } else { state.take_scripted_outcome(&method.id) };
    let card_request = CardRequest { off_session: false, has_amount: false, set_up_off_session: method.set_up_off_session, authenticated };
    match cards::issuer_decision(method.card, outcome, card_request) {
        IssuerDecision::RequireAuthentication(flow) => {
            let page = state.authenticate_in_page || setup.return_url.is_none();
            let flow = flow.unwrap_or(if page { AuthenticationFlow::InPage } else { AuthenticationFlow::Redirect });
            if let Some(one) = state.setup_mut(id) {
                (one.status, one.authentication) = ("requires_action", Some(flow));
            }
            notifications::enqueue_for_setup(state, "setup_intent.requires_action", id, now);
        }
        // Cards are stored at once or not at all.
        IssuerDecision::Approve | IssuerDecision::Process(..) => {
            if let Some(one) = state.setup_mut(id) {
                (one.status, one.authentication, one.last_error) = ("succeeded", None, None);
            }
            details::attach_or_use_up(state, &method.id, setup.customer.as_deref(), Some(setup.usage), now);
            notifications::enqueue_for_setup(state, "setup_intent.succeeded", id, now);
        }
        IssuerDecision::Decline(decline) => return Err(record_decline(state, id, decline, now)),
    }
    Ok(())
}

/// The bank refuses: the SetupIntent stays, and waits for other details.
pub(super) fn record_decline(state: &mut State, id: &str, decline: Decline, now: Timestamp) -> ErrorResponse {
    let mut refused = decline_error(&decline);
    if let Some(one) = state.setup_mut(id) {
        (one.status, one.authentication, one.payment_method, one.last_error) = ("requires_payment_method", None, None, Some(decline));
    }
    notifications::enqueue_for_setup(state, "setup_intent.setup_failed", id, now);
    if let Some(setup) = state.setup(id) {
        refused = refused.with("setup_intent", render::setup(state, setup, &Expand::default()));
    }
    refused
}

/// POST `/v1/setup_intents/{id}/cancel`.
pub(super) fn cancel(state: &mut State, id: &str, params: &Params, now: Timestamp) -> HandlerResult {
    params.allow_only(&["cancellation_reason", "expand"])?;
    let (reason, expand) = (params.choice("cancellation_reason", &["abandoned", "requested_by_customer", "duplicate"])?, expand(params)?);
    let setup = state.setup(id).cloned().ok_or_else(|| not_found("setupintent", id))?;
    if !matches!(setup.status, "requires_payment_method" | "requires_confirmation" | "requires_action") {
        return Err(unexpected_state(&setup, "cancel", state));
    }
    if let Some(one) = state.setup_mut(id) {
        (one.status, one.authentication, one.canceled) = ("canceled", None, Some(reason.unwrap_or_default()));
    }
    notifications::enqueue_for_setup(state, "setup_intent.canceled", id, now);
    setup_response(state, id, &expand)
}
