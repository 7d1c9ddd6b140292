//! Start and finalize of storing payment details.
//!
//! Obligation = customer + payment data, so that the same data is stored once. A head per customer knows which storings wait for him and
//! how many were refused today.

use serde_json::Value;

use super::attempts::{DOUBLE_CLICK_WINDOW, is_page_stale, last_step_at, matches_last_returned_data, was_just_declined};
use super::finalize::submit_returned_data;
use super::order::{MAX_ATTEMPTS, mediastore_error};
use super::outcome::{apply_result, close_attempt};
use super::pending_setups::PendingSetups;
use super::progress::{Progress, erase_sensitive_data, read_progress, read_snapshot};
use super::response::{self, PageOutcome};
use super::snapshot::{REPORT, Snapshot, canonical_json, fingerprint};
use super::{entry, gateway_calls, report};
use crate::cleeng::{NewPaymentDetails, PaymentSource};
use crate::delivery::Delivery;
use crate::flow::Disposition;
use crate::frontend_api::body::{self, PaymentInput};
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{FrontendContext, FrontendRequest, GATEWAY_TIMEOUT};
use crate::ids::PaymentMethodId;
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::Key;
use crate::metrics::Metric;
use crate::money::Money;
use crate::payments::cleeng_step;
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::{FlowResult, retry};
use crate::reason::{CompletionReason, ParkReason, RetryReason};

/// The path of the redirect style, behind the gateway's name (Cleeng's media store SDK).
pub const REDIRECT_PATH: &str = "v1/payment_details/tokens";

/// More refusals of one customer on one day look like card testing.
pub const MAX_DECLINES_PER_DAY: u32 = 10;
/// A storing is given up after this long.
const SETUP_LIFETIME: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// `POST /connectors/{gateway}/payment-details`, or `.../v1/payment_details/tokens`.
pub async fn start(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply {
    match try_start(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn try_start(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(desk, request).await?;
    let token = request.token(desk)?;
    let method = connector_payment_method(desk, request)?;
    let active = match request.body.get("active") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(active)) => *active,
        Some(_) => return Err(reply::bad_request("active must be true or false")),
    };
    let input = PaymentInput::read(desk, request, REDIRECT_PATH)?;
    let customer = read_customer(desk, &token).await?;
    let print = fingerprint(&desk.flow_context.policy.salt, &["store", &canonical_json(&input.attempt_identity()), method.as_str()]);
    let wanted = Snapshot {
        order: None,
        offer: None,
        customer: customer.id,
        method,
        gateway: request.gateway,
        amount: Money::new(0, customer.currency),
        expires_at: desk.flow_context.clock.now().after(SETUP_LIFETIME),
        fingerprint: print,
        active,
        returned_data: Vec::new(),
        redirect_urls: input.return_target.redirect_urls().cloned(),
        cancelled_at_gateway: false,
    };
    Ok(entry::start(desk, &wanted, &input, delivery).await)
}

fn connector_payment_method(desk: &FrontendContext, request: &FrontendRequest) -> Result<PaymentMethodId, ApiError> {
    let method: PaymentMethodId = body::read_id(request, "paymentMethodId", "paymentMethodId is missing or no id")?;
    let ours = desk.flow_context.policy.methods.get(&method).is_some_and(|settings| settings.gateway == request.gateway);
    if ours { Ok(method) } else { Err(reply::FOREIGN_PAYMENT_METHOD) }
}

/// Reads the customer with his own token: that is how he is known.
async fn read_customer(
    desk: &FrontendContext,
    token: &crate::cleeng::mediastore::CustomerToken,
) -> Result<crate::cleeng::mediastore::Customer, ApiError> {
    if *token.publisher() != desk.flow_context.policy.publisher {
        return Err(reply::TOKEN_INVALID);
    }
    let customer = desk.mediastore.customer(token).await.map_err(|error| match mediastore_error(desk, error) {
        reply::ORDER_NOT_FOUND => reply::TOKEN_INVALID,
        other => other,
    })?;
    if customer.id == *token.customer() { Ok(customer) } else { Err(reply::TOKEN_INVALID) }
}

/// The obligation of a storing.
#[must_use]
pub fn details_key(wanted: &Snapshot) -> Key {
    Key::new("details", &[wanted.customer.as_str(), &wanted.fingerprint])
}

/// The story of a start.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn run_start(case: &mut ObligationContext<'_>, wanted: &Snapshot, input: &PaymentInput) -> FlowResult<Disposition> {
    if let Some(disposition) = final_disposition(case)
        && !is_repeat_request(case, input)
    {
        return Ok(disposition);
    }
    if case.current_attempt().is_some() {
        let kept = read_snapshot(case)?;
        let answered = match read_progress(case)? {
            Progress::AwaitingCustomer { .. } if is_page_stale(case, &kept, input) => None,
            Progress::AwaitingCustomer { .. } => return Ok(Disposition::Completed(CompletionReason::ActionRequired)),
            Progress::Pending => return Err(retry(RetryReason::PaymentPending)),
            Progress::NotStarted | Progress::StartUnknown => Some(gateway_calls::start(case, &kept, input).await?),
            Progress::FinalizeUnknown(round) => Some(gateway_calls::finalize(case, &kept, round).await?),
            Progress::Decided(answered) => Some(answered),
        };
        let Some(answered) = answered else { return start_new_attempt(case, wanted, input).await };
        return apply_result(case, &kept, answered).await;
    }
    if was_just_declined(case, wanted) {
        return Ok(Disposition::Completed(CompletionReason::Declined));
    }
    start_new_attempt(case, wanted, input).await
}

/// Opens an attempt, in place of one whose page is over.
async fn start_new_attempt(case: &mut ObligationContext<'_>, wanted: &Snapshot, input: &PaymentInput) -> FlowResult<Disposition> {
    let mut head = PendingSetups::read(case, &wanted.customer).await?;
    if head.declines >= MAX_DECLINES_PER_DAY || attempts_within_lifetime(case) >= MAX_ATTEMPTS {
        return Ok(Disposition::Completed(CompletionReason::TooManyAttempts));
    }
    if case.current_attempt().is_some() {
        close_attempt(case, Finish::Superseded)?;
    }
    head.add(case.session.key());
    head.stage(case, &wanted.customer)?;
    gateway_calls::open_attempt(case, AttemptKind::StoreDetails, wanted)?;
    let answered = gateway_calls::start(case, wanted, input).await?;
    apply_result(case, wanted, answered).await
}

/// How many attempts at this storing began within its life.
fn attempts_within_lifetime(case: &ObligationContext<'_>) -> usize {
    let attempts = case.session.obligation.attempts.iter();
    attempts.filter(|attempt| case.now().since(attempt.opened_at) < SETUP_LIFETIME).count()
}

/// Whether details are to be stored anew though the same data was stored before. Where the customer enters nothing here, the same data says
/// nothing: he may have removed the details since, or choose another account at the gateway.
fn is_repeat_request(case: &ObligationContext<'_>, input: &PaymentInput) -> bool {
    let stored = case.session.obligation.attempts.last().filter(|last| last.finish == Some(Finish::Stored));
    input.has_no_payment_data() && stored.is_some_and(|last| case.now().since(last_step_at(last)) >= DOUBLE_CLICK_WINDOW)
}

fn final_disposition(case: &ObligationContext<'_>) -> Option<Disposition> {
    let obligation = &case.session.obligation;
    // An attempt after one that stored is a new wish.
    if obligation.attempts.last().is_some_and(|last| last.finish == Some(Finish::Stored)) {
        return Some(Disposition::Completed(CompletionReason::Stored));
    }
    obligation.is_blocked().then_some(Disposition::Completed(CompletionReason::Parked))
}

/// Tells Cleeng: `POST /payment_details`. It moves no money, so that a report whose answer was lost may be made once more.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn report_stored_details(
    case: &mut ObligationContext<'_>,
    snapshot: &Snapshot,
    source: PaymentSource,
) -> FlowResult<Disposition> {
    match case.step_state::<Value>(REPORT)? {
        TypedStepState::Done(_) => {}
        TypedStepState::Unknown(step) if step.repeats > 0 => return case.park(ParkReason::DetailsReportUnknown, false).await,
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => create_details(case, snapshot, source).await?,
    }
    erase_sensitive_data(case)?;
    case.finish(Finish::Stored).await
}

async fn create_details(case: &mut ObligationContext<'_>, snapshot: &Snapshot, source: PaymentSource) -> FlowResult<()> {
    let claimed = report::claim_token(case, snapshot, &source).await?;
    let known = report::known_details(snapshot, &source);
    let PaymentSource::New { token, display_params: shown } = source else { return Err(retry(RetryReason::TokenPending)) };
    let details = NewPaymentDetails {
        customer: snapshot.customer.clone(),
        token,
        payment_method: snapshot.method.clone(),
        display_params: shown,
        active: snapshot.active,
    };
    let call = case.flow_context.cleeng.create_payment_details(&details);
    match cleeng_step::run(case, report::REPORT_STEP, call).await? {
        Ok(created) => {
            report::record_token_details(case, claimed.as_ref(), Some(&created.id)).await?;
            report::record_known_details(case, known, Some(&created.id)).await?;
            case.record_result(REPORT, &created.public_json);
            Ok(())
        }
        Err(error) => {
            tracing::error!(obligation = %case.session.key(), error = %error, "Cleeng refused payment details");
            case.flow_context.metrics.count(Metric::Warning, &[("reason", "details_refused")]);
            Err(case.park(ParkReason::CleengRefusedDetails, false).await?)
        }
    }
}

/// `POST /connectors/{gateway}/payment-details/finalize`.
pub async fn finalize(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Reply {
    match try_finalize(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn try_finalize(desk: &FrontendContext, request: &FrontendRequest, delivery: &Delivery) -> Result<Reply, ApiError> {
    body::validate(desk, request).await?;
    let token = request.token(desk)?;
    let method = connector_payment_method(desk, request)?;
    let back = body::returned_data(request)?;
    let customer = read_customer(desk, &token).await?;
    let pending = PendingSetups::obligations(&desk.flow_context, &customer.id).await.map_err(|_| reply::UNAVAILABLE)?;
    let mut last = PageOutcome::Refused(reply::NOTHING_PENDING);
    // The request does not say which storing it belongs to. The latest comes first; the gateway's answer tells.
    for key in pending.into_iter().rev() {
        let (told, again) = finalize_one(desk, &key, &method, &back, delivery).await;
        last = told;
        if !again {
            break;
        }
    }
    Ok(last.reply(request.gateway))
}

/// Hands it in for one storing. Tells also whether another one should be tried.
async fn finalize_one(
    desk: &FrontendContext,
    key: &Key,
    method: &PaymentMethodId,
    back: &Value,
    delivery: &Delivery,
) -> (PageOutcome, bool) {
    let try_next = std::sync::atomic::AtomicBool::new(false);
    let once = || async {
        let mut case = match ObligationContext::open_with_attempt_payments(&desk.flow_context, key.clone(), &[], delivery).await {
            Ok(case) => case,
            Err(disposition) => return response::outcome_without_obligation(&disposition),
        };
        case.limit_call_time(GATEWAY_TIMEOUT);
        let story = run_finalize(&mut case, method, back).await;
        let disposition = case.conclude(story).await;
        let other = matches!(
            disposition,
            Disposition::Retry { reason: RetryReason::AnotherPayment, .. } | Disposition::Completed(CompletionReason::NothingPending)
        );
        try_next.store(other, std::sync::atomic::Ordering::SeqCst);
        response::page_outcome(&case, &disposition)
    };
    let told = response::retry_while_busy(desk, once).await;
    (told, try_next.load(std::sync::atomic::Ordering::SeqCst))
}

/// The story of a finalize.
async fn run_finalize(case: &mut ObligationContext<'_>, method: &PaymentMethodId, back: &Value) -> FlowResult<Disposition> {
    let print = gateway_calls::returned_data_fingerprint(case, back);
    let brought =
        |case: &ObligationContext<'_>| case.session.obligation.attempts.last().is_some_and(|last| matches_last_returned_data(last, &print));
    if case.current_attempt().is_none() {
        // The same click again is told what the first one came to; anything else may belong to another storing.
        return Ok(match final_disposition(case) {
            Some(disposition) if brought(case) => disposition,
            None if brought(case) => Disposition::Completed(CompletionReason::Declined),
            _ => Disposition::Completed(CompletionReason::NothingPending),
        });
    }
    let kept = read_snapshot(case)?;
    if kept.method != *method {
        return Ok(Disposition::Completed(CompletionReason::NothingPending));
    }
    submit_returned_data(case, back, |_, _| None).await
}
