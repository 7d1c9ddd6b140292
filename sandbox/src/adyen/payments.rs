//! `/payments` and `/payments/details`.

use connector::clock::Timestamp;
use serde_json::{Value, json};

use super::state::{Answer, Payment, PaymentState, Refused, Script, State, Waiting};
use super::{check_account, notifications, read_amount, refusal, refusals};
use crate::peer::PeerAnswer;

/// A card of Adyen's test list that always asks for authentication.
const REDIRECTING_CARD: &str = "test_4917610000000000";
/// A card of that list that is authenticated within the page: first a fingerprint of the device, then a challenge.
const NATIVE_CARD: &str = "test_5201281505129736";

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

const fn invalid(code: &'static str, message: &'static str) -> Refused {
    refusal(422, code, "validation", message)
}

/// POST `/payments`.
pub(super) fn pay(state: &mut State, body: &Value, now: Timestamp) -> Answer {
    check_account(state, body)?;
    let (currency, amount) = read_amount(body)?;
    let reference = text(body, "reference").filter(|reference| reference.len() <= 80).ok_or_else(|| invalid("130", "Reference Missing"))?;
    let way_back = text(body, "returnUrl").ok_or_else(|| invalid("14_030", "Return URL is missing."))?;
    let method = body.get("paymentMethod").filter(|method| method.is_object());
    let method = method.ok_or_else(|| invalid("14_002", "Field 'paymentMethod' is missing."))?;
    let stored = text(method, "storedPaymentMethodId").map(str::to_owned);
    let shopper = text(body, "shopperReference").filter(|shopper| (3..=256).contains(&shopper.len()));
    let mut script = refusals::requested(body);
    if let Some(id) = &stored {
        let shopper = shopper.ok_or_else(|| invalid("125", "Shopper reference is missing"))?;
        check_recurring(body)?;
        script = take_script(state, id, shopper)?.or(script);
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
    };
    let store = body.get("storePaymentMethod").and_then(Value::as_bool) == Some(true) && shopper.is_some();
    match text(method, "encryptedCardNumber") {
        Some(REDIRECTING_CARD) => return Ok(redirect(state, Waiting { payment, store, script, rounds: 0 }, way_back)),
        Some(NATIVE_CARD) => return Ok(authenticate(state, Waiting { payment, store, script, rounds: 1 })),
        _ => {}
    }
    Ok(decide(state, payment, script, store, now))
}

/// A payment with stored details has to say what it is.
fn check_recurring(body: &Value) -> Result<(), Refused> {
    let interaction = text(body, "shopperInteraction").unwrap_or("Ecommerce");
    if !matches!(interaction, "ContAuth" | "Ecommerce") {
        return Err(invalid("702", "Invalid shopperInteraction"));
    }
    match text(body, "recurringProcessingModel") {
        Some("Subscription" | "CardOnFile" | "UnscheduledCardOnFile") => Ok(()),
        _ => Err(invalid("107", "Recurring is not enabled")),
    }
}

fn take_script(state: &mut State, id: &str, shopper: &str) -> Result<Option<Script>, Refused> {
    let method = state.methods.get_mut(id).filter(|method| method.shopper_reference == shopper);
    let method = method.ok_or_else(|| invalid("803", "PaymentDetail not found"))?;
    Ok(method.next.pop_front().or_else(|| method.always.clone()))
}

/// A payment says itself when it is captured, or the account does.
fn captures_at_once(state: &State, body: &Value) -> bool {
    let manual = body.get("additionalData").and_then(|data| data.get("manualCapture")).and_then(Value::as_str);
    if body.get("captureDelayHours").and_then(Value::as_i64) == Some(0) {
        return manual != Some("true");
    }
    manual.map_or(!state.config.manual_capture, |manual| manual != "true")
}

fn redirect(state: &mut State, waiting: Waiting, way_back: &str) -> PeerAnswer {
    let result = state.next_id();
    state.ways_back.insert(result.clone(), way_back.to_owned());
    let url = format!("https://checkoutshopper-test.adyen.com/checkoutshopper/threeDS/redirect?result={result}");
    let action = json!({ "type": "redirect", "method": "GET", "paymentMethodType": "scheme", "url": url });
    let answer = json!({ "resultCode": "RedirectShopper", "action": action, "merchantReference": waiting.payment.reference });
    state.waiting.insert(result, waiting);
    PeerAnswer::json(200, &answer)
}

/// Authentication within the page: what the shopper's browser does is handed in as `threeDSResult`.
fn authenticate(state: &mut State, waiting: Waiting) -> PeerAnswer {
    let token = state.next_id();
    let (code, subtype) = if waiting.rounds > 0 { ("IdentifyShopper", "fingerprint") } else { ("ChallengeShopper", "challenge") };
    let action = json!({ "type": "threeDS2", "subtype": subtype, "token": token, "paymentMethodType": "scheme" });
    let answer = json!({ "resultCode": code, "action": action, "merchantReference": waiting.payment.reference });
    state.waiting.insert(token, waiting);
    PeerAnswer::json(200, &answer)
}

/// The shopper finishes at his bank and does not come back.
pub(super) fn finish_away(state: &mut State, result: &str, now: Timestamp) {
    if let Some(Waiting { payment, store, script, .. }) = state.waiting.remove(result) {
        let answer = decide(state, payment, script, store, now);
        state.finished.insert(result.to_owned(), answer);
    }
}

/// The shopper leaves his bank's page. `16` is Adyen's code for one who gave up.
pub(super) fn leave_away(state: &mut State, result: &str, agrees: bool, now: Timestamp) {
    if let Some(waiting) = state.waiting.get_mut(result).filter(|_| !agrees) {
        waiting.script = Some(Script::Refuse("16".to_owned()));
    }
    finish_away(state, result, now);
}

/// POST `/payments/details`: `redirectResult` is the text that the redirect's URL carries. It names no merchant account.
pub(super) fn details(state: &mut State, body: &Value, now: Timestamp) -> Answer {
    let details = body.get("details");
    let result = details.and_then(|details| details.get("redirectResult").or_else(|| details.get("threeDSResult"))).and_then(Value::as_str);
    if let Some(answer) = result.and_then(|result| state.finished.remove(result)) {
        return Ok(answer);
    }
    let waiting = result.and_then(|result| state.waiting.remove(result));
    let waiting = waiting.ok_or_else(|| invalid("101_4", "Invalid redirect result"))?;
    if waiting.rounds > 0 {
        let rounds = waiting.rounds.saturating_sub(1);
        return Ok(authenticate(state, Waiting { rounds, ..waiting }));
    }
    Ok(decide(state, waiting.payment, waiting.script, waiting.store, now))
}

/// The bank's word.
fn decide(state: &mut State, mut payment: Payment, script: Option<Script>, store: bool, now: Timestamp) -> PeerAnswer {
    let mut answer = json!({
        "pspReference": payment.psp_reference,
        "merchantReference": payment.reference,
        "amount": { "currency": payment.currency, "value": payment.amount },
        "paymentMethod": { "brand": "visa", "type": "scheme" },
        "additionalData": {},
    });
    let result = match script {
        Some(Script::Refuse(code)) => {
            put(&mut answer, "refusalReason", "simulated");
            put(&mut answer, "refusalReasonCode", &code);
            let news = notifications::authorisation(&state.config, &payment, false, "simulated", now);
            state.outbox.push(news);
            refusals::result_code(&code).to_owned()
        }
        Some(Script::Result(result)) => {
            stage(&mut payment, &result);
            result
        }
        None => {
            authorise(state, &mut payment, now);
            if store {
                add_token(state, &mut payment, &mut answer);
            }
            "Authorised".to_owned()
        }
    };
    put(&mut answer, "resultCode", &result);
    state.payments.push(payment);
    PeerAnswer::json(200, &answer)
}

/// What a staged result code does to the payment.
fn stage(payment: &mut Payment, result: &str) {
    match result {
        "Pending" | "Received" => payment.state = PaymentState::Pending,
        "PartiallyAuthorised" => {
            payment.authorised = payment.amount.checked_div(2).unwrap_or(0);
            payment.state = PaymentState::Authorised;
        }
        _ => {}
    }
}

/// The amount is held, and taken where nobody has to ask for it.
pub(super) fn authorise(state: &mut State, payment: &mut Payment, now: Timestamp) {
    payment.state = PaymentState::Authorised;
    payment.authorised = payment.amount;
    if payment.automatic_capture && payment.amount > 0 {
        payment.state = PaymentState::Captured;
        payment.captured = payment.amount;
    }
    let news = notifications::authorisation(&state.config, payment, true, "", now);
    state.outbox.push(news);
}

fn add_token(state: &mut State, payment: &mut Payment, answer: &mut Value) {
    let id = state.store_method(&payment.shopper_reference);
    state.created.push((id.clone(), payment.shopper_reference.clone()));
    let data = json!({
        "tokenization.storedPaymentMethodId": id,
        "tokenization.shopperReference": payment.shopper_reference,
        "tokenization.store.operationType": "created",
        "cardSummary": "1111",
        "expiryDate": "3/2030",
    });
    payment.stored_payment_method_id = Some(id);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("additionalData".to_owned(), data);
    }
}

fn put(answer: &mut Value, name: &str, value: &str) {
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(name.to_owned(), json!(value));
    }
}
