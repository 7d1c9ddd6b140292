//! Merchant-initiated payments and their modifications.

use std::time::Duration;

use connector::gateway::{
    CancelTarget, Decline, DeclineClass, DeleteDetailsRequest, Gateway, GatewayError, InquiryRequest, OperationKind, Outcome, UnknownCause,
};
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{LedgerStatus, SimulatedGateway};

use super::harness::{StripeHarness, form, money, token};
use super::requests::{
    authorise, cancel, capture, captured, customer, declined, done, id, key, payment, purchase, received, refund, taken, unknown,
};

fn harness() -> StripeHarness {
    StripeHarness::new(money(999, "EUR"))
}

fn inquiry(harness: &StripeHarness, operation: OperationKind, attempt: &str, payment: Option<&ExternalPaymentId>) -> InquiryRequest {
    let kind = if operation == OperationKind::Refund { OperationKind::Refund } else { OperationKind::Authorise };
    let of = key(kind, attempt);
    InquiryRequest {
        operation,
        key: key(operation, attempt),
        reference: connector::gateway::Reference::from_key(&of),
        external_payment_id: payment.cloned(),
        operation_ref: None,
        amount: Some(harness.amount),
    }
}

#[tokio::test]
async fn a_renewal_is_marked_off_session_with_its_purpose() {
    let harness = harness();
    let request = payment(harness.amount, &harness.token, "1");
    let held = done(harness.adapter.authorise(&request).await);
    let (method, owner) = harness.token.split_once(':').unwrap();
    let sent = harness.sent.lock().unwrap().last().unwrap().clone();
    let mut pairs = form(&sent);
    pairs.sort();
    let mut expected = [
        ("amount", "999"),
        ("capture_method", "manual"),
        ("confirm", "true"),
        ("currency", "eur"),
        ("customer", owner),
        ("expand[0]", "latest_charge"),
        ("metadata[cleengCustomerId]", "332332332"),
        ("metadata[reference]", request.reference.as_str()),
        ("off_session", "true"),
        ("payment_method", method),
        ("payment_method_types[0]", "card"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    expected.sort();
    assert_eq!(pairs, expected);
    assert_eq!((sent.header("idempotency-key"), sent.header("stripe-version")), (Some(request.key.as_str()), Some("2023-08-16")));
    let until = held.expires_at.unwrap();
    assert_eq!(until.since(harness.simulator.now()), Duration::from_secs((4 * 24 + 18) * 3_600), "Visa's time without the customer");
}

#[tokio::test]
async fn a_refused_payment_keeps_its_id_and_another_try_is_another_intent() {
    let harness = harness();
    for (code, class) in [("insufficient_funds", DeclineClass::Soft), ("revocation_of_authorization", DeclineClass::Hard)] {
        harness.simulator.decline_next_with(&harness.token, code);
        let decline = declined(harness.adapter.charge(&payment(harness.amount, &harness.token, code)).await);
        let (id, status) = harness.simulator.intents().pop().unwrap();
        assert_eq!((decline.code.as_str(), decline.class, status), (code, class, "requires_payment_method"));
        assert_eq!(decline.payment.unwrap().as_str(), id);
    }
    done(harness.adapter.charge(&payment(harness.amount, &harness.token, "again")).await);
    assert_eq!((harness.simulator.intents().len(), taken(&harness)), (3, 999));
    harness.simulator.decline_next_with_advice_code(&harness.token, "generic_decline", "do_not_try_again");
    assert_eq!(declined(harness.adapter.charge(&payment(harness.amount, &harness.token, "never")).await).class, DeclineClass::Hard);
}

#[tokio::test]
async fn a_processing_payment_is_acknowledged_and_notified_later() {
    let harness = harness();
    for code in [None, Some("insufficient_funds")] {
        harness.simulator.leave_next_processing(&harness.token, code);
    }
    let request = payment(harness.amount, &harness.token, "good");
    received(harness.adapter.charge(&request).await);
    received(harness.adapter.charge(&payment(harness.amount, &harness.token, "bad")).await);
    harness.simulator.process();
    harness.clock.advance(Duration::from_secs(61));
    let asked = harness.adapter.inquire(&inquiry(&harness, OperationKind::Charge, "good", None)).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
    let asked = harness.adapter.inquire(&inquiry(&harness, OperationKind::Charge, "bad", None)).await;
    assert!(matches!(asked, Ok(Some(Outcome::Declined(decline))) if decline.code == "insufficient_funds"));
}

#[tokio::test]
async fn a_server_error_that_is_replayed_for_a_day_is_settled_by_inquiry() {
    let harness = harness();
    let request = payment(harness.amount, &harness.token, "1");
    harness.simulator.server_error_next(true);
    for _ in 0..2 {
        assert_eq!(unknown(harness.adapter.charge(&request).await), UnknownCause::ServerError(500));
    }
    let asked = harness.adapter.inquire(&inquiry(&harness, OperationKind::Charge, "1", None)).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
    assert_eq!(taken(&harness), 999);
    harness.simulator.in_progress_next();
    assert_eq!(unknown(harness.adapter.charge(&payment(harness.amount, &harness.token, "2")).await), UnknownCause::InProgress);
}

#[tokio::test]
async fn a_payment_that_the_search_has_not_seen_yet_is_found_among_the_newest() {
    let harness = harness();
    let request = payment(harness.amount, &harness.token, "lost");
    harness.network.inject(Fault::TimeoutAfter, |_, request| request.method == Method::POST);
    unknown(harness.adapter.charge(&request).await);
    // More than one page of newer ones.
    for number in 0..110 {
        done(harness.adapter.charge(&payment(harness.amount, &harness.token, &number.to_string())).await);
    }
    let asked = harness.adapter.inquire(&inquiry(&harness, OperationKind::Charge, "lost", None)).await;
    let Ok(Some(Outcome::Done(found))) = asked else { panic!("it is not found") };
    assert_eq!(found.external_payment_id.unwrap().as_str(), harness.simulator.intents()[0].0);
    assert!(harness.adapter.inquire(&inquiry(&harness, OperationKind::Charge, "never made", None)).await.unwrap().is_none());
    // The payment is captured: a cancel by reference returns its id, so that it can be refunded.
    let target = CancelTarget::Reference { reference: request.reference.clone(), pending_id: None };
    let refused = declined(harness.adapter.cancel(&cancel("lost", target)).await);
    assert_eq!(refused.payment.unwrap().as_str(), harness.simulator.intents()[0].0);
    assert_eq!(taken(&harness), 111 * 999);
}

#[tokio::test]
async fn a_cancel_by_reference_behind_too_many_new_payments_is_unknown_and_settled_by_the_search() {
    let harness = harness();
    let request = payment(harness.amount, &harness.token, "lost");
    harness.network.inject(Fault::TimeoutAfter, |_, request| request.method == Method::POST);
    unknown(harness.adapter.authorise(&request).await);
    for number in 0..501 {
        done(harness.adapter.charge(&payment(harness.amount, &harness.token, &number.to_string())).await);
    }
    let target = CancelTarget::Reference { reference: request.reference.clone(), pending_id: None };
    let order = cancel("lost", target);
    assert_eq!(unknown(harness.adapter.cancel(&order).await), UnknownCause::Unreadable);
    harness.clock.advance(Duration::from_secs(61));
    done(harness.adapter.cancel(&order).await);
    assert_eq!(harness.simulator.ledger()[0].status, LedgerStatus::Cancelled);
}

#[tokio::test]
async fn a_lapsed_authorisation_is_never_captured_and_its_release_is_done() {
    let harness = harness();
    let held = authorise(&harness, "1").await;
    harness.clock.advance(Duration::from_secs(5 * 24 * 3_600));
    let refused = declined(harness.adapter.capture(&capture(harness.amount, &held, "1")).await);
    assert_eq!((refused.code.as_str(), refused.payment), ("payment_intent_canceled", Some(held.clone())));
    done(harness.adapter.cancel(&cancel("1", CancelTarget::Payment(held))).await);
    assert_eq!((taken(&harness), harness.simulator.ledger()[0].status), (0, LedgerStatus::Expired));
}

#[tokio::test]
async fn a_late_capture_is_a_decline_that_leaves_no_authorisation() {
    let harness = harness();
    for (attempt, code) in [("1", "charge_expired_for_capture"), ("2", "capture_charge_authorization_expired")] {
        let held = authorise(&harness, attempt).await;
        harness.simulator.decline_next_capture_with(code);
        let refused = declined(harness.adapter.capture(&capture(harness.amount, &held, attempt)).await);
        assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Soft, code));
        assert!(!harness.adapter.authorisation_may_remain(&refused, false), "{code}");
    }
    let held = authorise(&harness, "3").await;
    harness.simulator.expire(held.as_str());
    let gone = declined(harness.adapter.capture(&capture(harness.amount, &held, "3")).await);
    assert!(!harness.adapter.authorisation_may_remain(&gone, false), "{}", gone.code);
    assert!(harness.adapter.authorisation_may_remain(&Decline::new(DeclineClass::Soft, "generic_decline"), false), "Stripe does not tell");
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn a_capture_under_a_forgotten_key_is_found_done() {
    let harness = harness();
    let held = authorise(&harness, "1").await;
    done(harness.adapter.capture(&capture(harness.amount, &held, "1")).await);
    harness.clock.advance(Duration::from_secs(25 * 3_600));
    let again = done(harness.adapter.capture(&capture(harness.amount, &held, "1")).await);
    assert_eq!((again.external_payment_id, taken(&harness)), (Some(held.clone()), 999));
    let asked = harness.adapter.inquire(&inquiry(&harness, OperationKind::Capture, "1", Some(&held))).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
}

#[tokio::test]
async fn a_refund_under_a_forgotten_key_is_found_and_not_made_twice() {
    let harness = harness();
    let paid = captured(&harness, "1").await;
    let request = refund(harness.amount, harness.amount, &paid, "1");
    let first = done(harness.adapter.refund(&request).await);
    harness.clock.advance(Duration::from_secs(25 * 3_600));
    assert_eq!(done(harness.adapter.refund(&request).await).operation_ref, first.operation_ref);
    assert_eq!((harness.simulator.refunds().len(), taken(&harness)), (1, 0));
    let asked = harness.adapter.inquire(&inquiry(&harness, OperationKind::Refund, "1", Some(&paid))).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
    assert!(harness.adapter.inquire(&inquiry(&harness, OperationKind::Refund, "2", Some(&paid))).await.unwrap().is_none());
}

#[tokio::test]
async fn a_refund_that_is_pending_is_received_and_one_of_a_disputed_payment_is_refused() {
    let harness = harness();
    let paid = captured(&harness, "1").await;
    harness.simulator.set_next_refund_status("pending");
    received(harness.adapter.refund(&refund(money(400, "EUR"), harness.amount, &paid, "1")).await);
    let other = captured(&harness, "2").await;
    harness.simulator.charge_back(other.as_str());
    let refused = declined(harness.adapter.refund(&refund(harness.amount, harness.amount, &other, "2")).await);
    assert_eq!((refused.code.as_str(), refused.class), ("charge_disputed", DeclineClass::Hard));
}

#[tokio::test]
async fn ids_of_other_gateways_never_get_into_a_path() {
    let harness = harness();
    for text in ["8815658961765250", "pi_", "pi_1/../x", "re_1"] {
        let other = id(text);
        for answered in [
            harness.adapter.capture(&capture(harness.amount, &other, "1")).await,
            harness.adapter.cancel(&cancel("1", CancelTarget::Payment(other.clone()))).await,
            harness.adapter.refund(&refund(harness.amount, harness.amount, &other, "1")).await,
        ] {
            assert!(matches!(answered, Err(GatewayError::Malformed { .. })), "{text}");
        }
    }
    assert!(harness.network.calls().is_empty());
}

#[tokio::test]
async fn details_of_another_customer_and_missing_details_need_new_ones() {
    let harness = harness();
    let (method, _) = harness.token.split_once(':').unwrap();
    let other = harness.simulator.store_details("7");
    let (_, stranger) = other.split_once(':').unwrap();
    let mixed = declined(harness.adapter.charge(&payment(harness.amount, &format!("{method}:{stranger}"), "1")).await);
    assert_eq!(mixed.class, DeclineClass::NeedsNewDetails);
    let delete = DeleteDetailsRequest { key: key(OperationKind::Delete, "1"), token: token("pm_none:cus_none"), customer: customer() };
    done(harness.adapter.delete_details(&delete).await);
    let never = declined(harness.adapter.charge(&payment(harness.amount, "pm_none:cus_none", "2")).await);
    assert_eq!(never.class, DeclineClass::NeedsNewDetails);
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn a_purchase_with_a_lost_answer_that_was_replaced_is_found_and_can_be_reversed() {
    let harness = harness();
    let request = purchase(harness.amount, &harness.simulator.tokenize_card("pm_card_visa", 1), "lost");
    harness.network.inject(Fault::TimeoutAfter, |_, request| request.path.ends_with("/payment_intents"));
    unknown(harness.adapter.start_purchase(&request).await);
    let target = CancelTarget::Reference { reference: request.reference.clone(), pending_id: None };
    let order = connector::gateway::CancelRequest { reference: request.reference.clone(), ..cancel("lost", target) };
    let paid = declined(harness.adapter.cancel(&order).await).payment.unwrap();
    done(harness.adapter.refund(&refund(harness.amount, harness.amount, &paid, "lost")).await);
    assert_eq!(taken(&harness), 0);
}
