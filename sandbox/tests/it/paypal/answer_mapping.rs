//! The outcome of responses that the simulator never gives, written by hand.

use connector::clock::Timestamp;
use connector::gateway::{CancelTarget, DeclineClass, Gateway, GatewayError, Outcome, UnknownCause};
use connector::ids::ExternalPaymentId;
use serde_json::{Value, json};

use super::adapter::{AUTHORISATION, CAPTURE, ORDER, ScriptedAdapter, authorised, error, euros, order, reference};
use super::harness::money;
use super::requests::{cancel, capture, declined, done, finalize, id, payment, purchase, received, refund, unknown};

const VAULTED: &str = "vault1:customer1";

fn malformed(code: &str) -> Option<GatewayError> {
    Some(GatewayError::Malformed { code: code.to_owned() })
}

/// Authorises with these answers; what came of it, and how many calls it took.
async fn authorise(answers: &[(u16, Value)]) -> (Result<Outcome, GatewayError>, usize) {
    let scripted = ScriptedAdapter::answering(answers);
    let answered = scripted.adapter.authorise(&payment(money(999, "EUR"), VAULTED, "1")).await;
    (answered, scripted.sent().len())
}

async fn release(answers: &[(u16, Value)]) -> Result<Outcome, GatewayError> {
    ScriptedAdapter::answering(answers).adapter.cancel(&cancel("1", CancelTarget::Payment(id(AUTHORISATION)))).await
}

#[tokio::test]
async fn an_authorised_or_pending_payment_has_the_requested_amount() {
    assert_eq!(done(authorise(&[(201, authorised("CREATED"))]).await.0).amount, Some(money(999, "EUR")));
    assert_eq!(received(authorise(&[(201, authorised("PENDING"))]).await.0).amount, Some(money(999, "EUR")));
    let request = refund(money(400, "EUR"), money(999, "EUR"), &id(CAPTURE), "1");
    let back =
        json!({ "id": "1JU08902781691411", "status": "COMPLETED", "amount": euros("4.00"), "invoice_id": request.reference.as_str() });
    let told = done(ScriptedAdapter::answering(&[(201, back)]).adapter.refund(&request).await);
    assert_eq!((told.amount, told.operation_ref.as_deref()), (Some(money(400, "EUR")), Some("1JU08902781691411")));
}

#[tokio::test]
async fn an_answer_that_leaves_the_order_out_is_followed_by_its_second_step() {
    let bare = |intent: &str| json!({ "id": ORDER, "intent": intent, "status": "CREATED" });
    let (answered, calls) = authorise(&[(201, bare("AUTHORIZE")), (201, authorised("CREATED"))]).await;
    assert_eq!((done(answered).external_payment_id, calls), (Some(id(AUTHORISATION)), 2));
    // One that would take what is only to be held is another order.
    let (answered, calls) = authorise(&[(201, bare("CAPTURE")), (201, authorised("CREATED"))]).await;
    assert_eq!((unknown(answered), calls), (UnknownCause::Unreadable, 1));
}

#[tokio::test]
async fn a_second_step_that_wants_the_payer_declines_without_another_look() {
    let (open, wants) = (order("CREATED", Value::Null), order("PAYER_ACTION_REQUIRED", Value::Null));
    let (answered, calls) = authorise(&[(201, open), (201, wants)]).await;
    let refused = declined(answered);
    assert_eq!((refused.class, refused.code.as_str(), calls), (DeclineClass::NeedsCustomer, "PAYER_ACTION_REQUIRED", 2));
}

#[tokio::test]
async fn only_what_is_not_found_means_that_the_details_are_gone() {
    assert_eq!(declined(authorise(&[(404, error("INVALID_RESOURCE_ID"))]).await.0).class, DeclineClass::NeedsNewDetails);
    assert_eq!(authorise(&[(404, error("BRAND_NEW_ISSUE"))]).await.0.err(), malformed("BRAND_NEW_ISSUE"));
}

#[tokio::test]
async fn an_empty_answer_is_one_without_a_body() {
    assert_eq!(done(release(&[(204, Value::Null)]).await).external_payment_id, Some(id(AUTHORISATION)));
    assert_eq!(unknown(release(&[(204, json!({ "id": AUTHORISATION, "status": "CREATED" }))]).await), UnknownCause::Unreadable);
}

#[tokio::test]
async fn a_release_is_done_if_the_answer_names_this_authorisation() {
    let held = |id: &str, status: &str| (200, json!({ "id": id, "status": status }));
    assert_eq!(done(release(&[held(AUTHORISATION, "VOIDED")]).await).external_payment_id, Some(id(AUTHORISATION)));
    for answer in [held(AUTHORISATION, "CREATED"), held("1OTHER1234567890A", "VOIDED")] {
        assert_eq!(unknown(release(&[answer]).await), UnknownCause::Unreadable);
    }
    for issue in ["AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED", "PREVIOUSLY_VOIDED"] {
        done(release(&[(422, error(issue))]).await);
    }
}

#[tokio::test]
async fn a_release_of_a_captured_payment_is_refused_permanently_and_refunds_nothing() {
    let taken = declined(release(&[(422, error("AUTHORIZATION_ALREADY_CAPTURED"))]).await);
    assert_eq!((taken.class, taken.payment), (DeclineClass::Hard, Some(id(AUTHORISATION))));
    let gone = || (404, error("INVALID_RESOURCE_ID"));
    let capture = |id: &str| (200, json!({ "id": id, "status": "COMPLETED" }));
    let taken = declined(release(&[gone(), capture(AUTHORISATION)]).await);
    assert_eq!((taken.class, taken.payment), (DeclineClass::Hard, Some(id(AUTHORISATION))));
    assert_eq!(unknown(release(&[gone(), capture("1OTHER1234567890A")]).await), UnknownCause::Unreadable);
    assert_eq!(release(&[gone(), gone()]).await.err(), malformed("INVALID_RESOURCE_ID"));
    // Another 404 says nothing about the id.
    assert_eq!(release(&[(404, error("BRAND_NEW_ISSUE")), capture(AUTHORISATION)]).await.err(), malformed("BRAND_NEW_ISSUE"));
}

#[tokio::test]
async fn an_authorisation_whose_renewal_is_refused_is_not_captured() {
    let old = |attempt: &str| {
        let mut request = capture(money(999, "EUR"), &id(AUTHORISATION), attempt);
        request.authorised_at = Some(Timestamp::from_secs(0));
        request
    };
    let taken = (201, json!({ "id": CAPTURE, "status": "COMPLETED", "amount": euros("9.99") }));
    for (issue, calls) in [("REAUTHORIZATION_TOO_SOON", 2), ("AUTHORIZATION_ALREADY_CAPTURED", 2), ("INSTRUMENT_DECLINED", 1)] {
        let scripted = ScriptedAdapter::answering(&[(422, error(issue)), taken.clone()]);
        let answered = scripted.adapter.capture(&old("1")).await;
        assert_eq!((answered.unwrap().as_str(), scripted.sent().len()), (if calls == 1 { "declined" } else { "done" }, calls), "{issue}");
    }
}

/// Gives an order up with this answer.
async fn cancel_order(status: &str, captures: Value) -> Result<Outcome, GatewayError> {
    let target = CancelTarget::Reference { reference: reference(), pending_id: Some(ORDER.to_owned()) };
    ScriptedAdapter::answering(&[(200, order(status, json!({ "captures": captures })))]).adapter.cancel(&cancel("1", target)).await
}

#[tokio::test]
async fn an_order_is_cancelled_if_every_capture_was_refused_and_never_if_none_is_listed() {
    let one = |status: &str| json!({ "id": CAPTURE, "status": status });
    for captures in [json!([one("DECLINED")]), json!([one("FAILED"), one("DECLINED")])] {
        done(cancel_order("COMPLETED", captures).await);
    }
    for captures in [json!([one("COMPLETED")]), json!([one("DECLINED"), one("PENDING")])] {
        assert_eq!(declined(cancel_order("COMPLETED", captures).await).payment, Some(id(CAPTURE)));
    }
    for captures in [json!([]), Value::Null, json!("none")] {
        assert_eq!(unknown(cancel_order("COMPLETED", captures).await), UnknownCause::Unreadable);
    }
}

#[tokio::test]
async fn only_an_order_that_is_gone_has_lapsed() {
    let request = purchase(money(999, "EUR"), "1");
    let finish = |status: u16, issue: &'static str| {
        let finish = finalize(&request, Some(ORDER), Value::Null);
        async move { ScriptedAdapter::answering(&[(status, error(issue))]).adapter.finalize(&finish).await }
    };
    assert_eq!(declined(finish(404, "INVALID_RESOURCE_ID").await).class, DeclineClass::NeedsCustomer);
    assert_eq!(finish(400, "INVALID_PARAMETER_VALUE").await.err(), malformed("INVALID_PARAMETER_VALUE"));
}

#[tokio::test]
async fn stored_details_are_shown_by_the_name_on_the_account() {
    let stored = json!({
        "id": "3nqvjt3n", "customer": { "id": "208743798", "merchant_customer_id": "332332332" },
        "payment_source": { "paypal": { "name": { "given_name": "Jane", "surname": "Doe" }, "email_address": "payer@example.com" } },
    });
    let request = purchase(money(0, "EUR"), "1");
    let scripted = ScriptedAdapter::answering(&[(201, stored)]);
    let operation = done(scripted.adapter.finalize(&finalize(&request, Some("5C991763VB2781612"), Value::Null)).await);
    assert_eq!(operation.external_payment_id, ExternalPaymentId::new("5C991763VB2781612").ok());
    assert_eq!(operation.display_params, json!({ "variant": "paypal", "holderName": "Jane Doe" }));
}
