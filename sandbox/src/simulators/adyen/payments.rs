//! `/payments` and `/payments/submit_details`.

use connector::clock::Timestamp;
use serde_json::{Value, json};

use crate::simulators::adyen::state::{Payment, PaymentState, PendingPurchase, ScriptedOutcome, State};
use crate::simulators::adyen::validation::{ErrorResponse, HandlerResult, check_account, error_response, read_amount};
use crate::simulators::adyen::{notifications, refusals};
use crate::simulators::network::ServerResponse;

/// A card of Adyen's test list that always asks for authentication.
const REDIRECTING_CARD: &str = "test_4917610000000000";
/// A card of that list that is authenticated within the page: first a fingerprint of the device, then a challenge.
const NATIVE_CARD: &str = "test_5201281505129736";

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

const fn unprocessable(code: &'static str, message: &'static str) -> ErrorResponse {
    error_response(422, code, "validation", message)
}

/// POST `/payments`.
pub(super) fn create_payment(state: &mut State, body: &Value, now: Timestamp) -> HandlerResult {
    check_account(state, body)?;
    let (currency, amount) = read_amount(body)?;
    let reference =
        text(body, "reference").filter(|reference| reference.len() <= 80).ok_or_else(|| unprocessable("130", "Reference Missing"))?;
    let return_url = text(body, "returnUrl").ok_or_else(|| unprocessable("14_030", "Return URL is missing."))?;
    check_browser(body)?;
    let method = body.get("paymentMethod").filter(|method| method.is_object());
    let method = method.ok_or_else(|| unprocessable("14_002", "Field 'paymentMethod' is missing."))?;
    let stored = text(method, "storedPaymentMethodId").map(str::to_owned);
    let shopper = text(body, "shopperReference").filter(|shopper| (3..=256).contains(&shopper.len()));
    let mut outcome = refusals::requested_outcome(body);
    if let Some(id) = &stored {
        let shopper = shopper.ok_or_else(|| unprocessable("125", "Shopper reference is missing"))?;
        check_recurring(body)?;
        outcome = take_scripted_outcome(state, id, shopper)?.or(outcome);
    }
    let payment = Payment {
        psp_reference: state.next_id(),
        reference: reference.to_owned(),
        shopper_reference: shopper.unwrap_or_default().to_owned(),
        stored_payment_method_id: stored,
        currency,
        amount,
        authorised: 0,
        captured: 0,
        cancelled: 0,
        refunded: 0,
        state: PaymentState::Refused,
        automatic_capture: captures_at_once(state, body),
        decided: None,
    };
    let store = body.get("storePaymentMethod").and_then(Value::as_bool) == Some(true) && shopper.is_some();
    match text(method, "encryptedCardNumber") {
        Some(REDIRECTING_CARD) => {
            return Ok(redirect(state, PendingPurchase { payment, store, scripted_outcome: outcome, remaining_actions: 0 }, return_url));
        }
        Some(NATIVE_CARD) => {
            return Ok(request_authentication(state, PendingPurchase { payment, store, scripted_outcome: outcome, remaining_actions: 1 }));
        }
        _ => {}
    }
    Ok(authorise_or_decline(state, payment, outcome, store, now))
}

/// What a page sends is whole, or not there (CheckoutService v71, `BrowserInfo`, `BillingAddress` and `PaymentRequest`).
fn check_browser(body: &Value) -> Result<(), ErrorResponse> {
    const REQUIRED: [(&str, &[&str]); 2] = [
        (
            "browserInfo",
            &["acceptHeader", "colorDepth", "javaEnabled", "language", "screenHeight", "screenWidth", "timeZoneOffset", "userAgent"],
        ),
        ("billingAddress", &["city", "country", "houseNumberOrName", "postalCode", "street"]),
    ];
    for (name, members) in REQUIRED {
        let object = body.get(name);
        if object.is_some_and(|object| members.iter().any(|member| object.get(member).is_none_or(Value::is_null))) {
            return Err(unprocessable("702", "Required object is incomplete"));
        }
    }
    let too_long = |name: &str, longest: usize| text(body, name).is_some_and(|text| text.chars().count() > longest);
    if too_long("returnUrl", 1_024) || too_long("shopperEmail", 256) {
        return Err(unprocessable("702", "A text is too long"));
    }
    Ok(())
}

/// A payment with stored details has to say what it is.
fn check_recurring(body: &Value) -> Result<(), ErrorResponse> {
    let interaction = text(body, "shopperInteraction").unwrap_or("Ecommerce");
    if !matches!(interaction, "ContAuth" | "Ecommerce") {
        return Err(unprocessable("702", "Invalid shopperInteraction"));
    }
    match text(body, "recurringProcessingModel") {
        Some("Subscription" | "CardOnFile" | "UnscheduledCardOnFile") => Ok(()),
        _ => Err(unprocessable("107", "Recurring is not enabled")),
    }
}

fn take_scripted_outcome(state: &mut State, id: &str, shopper: &str) -> Result<Option<ScriptedOutcome>, ErrorResponse> {
    let hidden = state.methods_hidden;
    let method = state.methods.get_mut(id).filter(|method| method.shopper_reference == shopper && !hidden);
    let method = method.ok_or_else(|| unprocessable("803", "PaymentDetail not found"))?;
    match method.next_outcomes.pop_front().or_else(|| method.default_outcome.clone()) {
        Some(ScriptedOutcome::Error(code)) => Err(unprocessable(code, "simulated")),
        outcome => Ok(outcome),
    }
}

/// The payment says when it is captured, else the account does.
fn captures_at_once(state: &State, body: &Value) -> bool {
    let manual = body.get("additionalData").and_then(|data| data.get("manualCapture")).and_then(Value::as_str);
    if body.get("captureDelayHours").and_then(Value::as_i64) == Some(0) {
        return manual != Some("true");
    }
    manual.map_or(!state.config.manual_capture, |manual| manual != "true")
}

fn redirect(state: &mut State, pending: PendingPurchase, return_url: &str) -> ServerResponse {
    let result = state.next_id();
    state.return_urls.insert(result.clone(), return_url.to_owned());
    let url = format!("https://checkoutshopper-test.adyen.com/checkoutshopper/threeDS/redirect?result={result}");
    let action = json!({ "type": "redirect", "method": "GET", "paymentMethodType": "scheme", "url": url });
    let answer = json!({ "resultCode": "RedirectShopper", "action": action, "merchantReference": pending.payment.reference });
    state.pending_purchases.insert(result, pending);
    ServerResponse::json(200, &answer)
}

/// Authentication within the page: what the shopper's browser does is handed in as `threeDSResult`.
fn request_authentication(state: &mut State, pending: PendingPurchase) -> ServerResponse {
    let token = state.next_id();
    let (code, subtype) =
        if pending.remaining_actions > 0 { ("IdentifyShopper", "fingerprint") } else { ("ChallengeShopper", "challenge") };
    let action = json!({ "type": "threeDS2", "subtype": subtype, "token": token, "paymentMethodType": "scheme" });
    let answer = json!({ "resultCode": code, "action": action, "merchantReference": pending.payment.reference });
    state.pending_purchases.insert(token, pending);
    ServerResponse::json(200, &answer)
}

/// The shopper finishes at the bank and does not return.
pub(super) fn finish_without_returning(state: &mut State, result: &str, now: Timestamp) {
    if let Some(PendingPurchase { payment, store, scripted_outcome: outcome, .. }) = state.pending_purchases.remove(result) {
        let answer = authorise_or_decline(state, payment, outcome, store, now);
        state.finished_redirects.insert(result.to_owned(), answer);
    }
}

/// The shopper leaves the bank's page. `16` is Adyen's code for a shopper who cancelled.
pub(super) fn leave_bank_page(state: &mut State, result: &str, agrees: bool, now: Timestamp) {
    if let Some(pending) = state.pending_purchases.get_mut(result).filter(|_| !agrees) {
        pending.scripted_outcome = Some(ScriptedOutcome::Decline("16".to_owned()));
    }
    finish_without_returning(state, result, now);
}

/// POST `/payments/submit_details`: `redirectResult` is the text that the redirect's URL carries. It names no merchant account.
pub(super) fn submit_details(state: &mut State, body: &Value, now: Timestamp) -> HandlerResult {
    let details = body.get("details");
    let result = details.and_then(|details| details.get("redirectResult").or_else(|| details.get("threeDSResult"))).and_then(Value::as_str);
    if let Some(answer) = result.and_then(|result| state.finished_redirects.remove(result)) {
        return Ok(answer);
    }
    let pending = result.and_then(|result| state.pending_purchases.remove(result));
    let pending = pending.ok_or_else(|| unprocessable("101_4", "Invalid redirect result"))?;
    if pending.remaining_actions > 0 {
        let rounds = pending.remaining_actions.saturating_sub(1);
        return Ok(request_authentication(state, PendingPurchase { remaining_actions: rounds, ..pending }));
    }
    Ok(authorise_or_decline(state, pending.payment, pending.scripted_outcome, pending.store, now))
}

/// The bank's decision.
fn authorise_or_decline(
    state: &mut State,
    mut payment: Payment,
    outcome: Option<ScriptedOutcome>,
    store: bool,
    now: Timestamp,
) -> ServerResponse {
    let mut answer = json!({
        "pspReference": payment.psp_reference,
        "merchantReference": payment.reference,
        "amount": { "currency": payment.currency, "value": payment.amount },
        "paymentMethod": { "brand": "visa", "type": "scheme" },
        "additionalData": {},
    });
    let result = match outcome {
        Some(ScriptedOutcome::Decline(code)) => decline(state, &payment, &mut answer, &code, None, now),
        Some(ScriptedOutcome::DeclineWithAdvice(code, advice)) => decline(state, &payment, &mut answer, &code, Some(&advice), now),
        Some(ScriptedOutcome::Received(until, approves)) => {
            (payment.state, payment.decided) = (PaymentState::Pending, Some((until, approves)));
            "Received".to_owned()
        }
        Some(ScriptedOutcome::ResultCode(result)) => {
            apply_result_code(&mut payment, &result);
            result
        }
        Some(ScriptedOutcome::Error(_)) | None => {
            authorise(state, &mut payment, now);
            if store {
                let id = store_details(state, &mut payment);
                set_stored_details(&mut answer, &id, &payment.shopper_reference);
            }
            "Authorised".to_owned()
        }
    };
    set_text(&mut answer, "resultCode", &result);
    state.payments.push(payment);
    ServerResponse::json(200, &answer)
}

/// Declines a payment. Returns the result code.
fn decline(state: &mut State, payment: &Payment, answer: &mut Value, code: &str, advice: Option<&str>, now: Timestamp) -> String {
    set_text(answer, "refusalReason", "simulated");
    set_text(answer, "refusalReasonCode", code);
    if let (Some(advice), Some(data)) = (advice, answer.get_mut("additionalData")) {
        set_text(data, "merchantAdviceCode", advice);
    }
    state.outbox.push(notifications::authorisation_item(&state.config, payment, false, "simulated", now));
    refusals::result_code(code).to_owned()
}

/// Applies a scripted result code to the payment.
fn apply_result_code(payment: &mut Payment, result: &str) {
    match result {
        "Pending" | "Received" => payment.state = PaymentState::Pending,
        "PartiallyAuthorised" => {
            payment.authorised = payment.amount.checked_div(2).unwrap_or(0);
            payment.state = PaymentState::Authorised;
        }
        _ => {}
    }
}

/// Authorises the amount, and captures it if capture is automatic.
pub(super) fn authorise(state: &mut State, payment: &mut Payment, now: Timestamp) {
    payment.state = PaymentState::Authorised;
    payment.authorised = payment.amount;
    if payment.automatic_capture && payment.amount > 0 {
        payment.state = PaymentState::Captured;
        payment.captured = payment.amount;
    }
    let item = notifications::authorisation_item(&state.config, payment, true, "", now);
    state.outbox.push(item);
}

/// The bank refuses a payment that was undecided.
pub(super) fn refuse(state: &mut State, payment: &mut Payment, now: Timestamp) {
    payment.state = PaymentState::Refused;
    let item = notifications::authorisation_item(&state.config, payment, false, "simulated", now);
    state.outbox.push(item);
}

/// Stores the details of a payment; the tokenization webhook says so.
pub(super) fn store_details(state: &mut State, payment: &mut Payment) -> String {
    let id = state.store_method(&payment.shopper_reference);
    state.token_events.push(("recurring.token.created", id.clone(), payment.shopper_reference.clone()));
    payment.stored_payment_method_id = Some(id.clone());
    id
}

fn set_stored_details(answer: &mut Value, id: &str, shopper: &str) {
    let data = json!({
        "tokenization.storedPaymentMethodId": id,
        "tokenization.shopperReference": shopper,
        "tokenization.store.operationType": "created",
        "cardSummary": "1111",
        "expiryDate": "3/2030",
    });
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("additionalData".to_owned(), data);
    }
}

fn set_text(answer: &mut Value, name: &str, value: &str) {
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(name.to_owned(), json!(value));
    }
}
