//! Merchant-initiated payments and their modifications.

use std::time::Duration;

use connector::clock::Clock as _;
use connector::gateway::{CancelTarget, CaptureRequest, Decline, DeclineClass, Gateway, GatewayError, Reference, UnknownCause};
use connector::http::Method;
use sandbox::simulators::network::Fault;

use super::harness::{PayPalHarness, money};
use super::requests::{authorise, cancel, capture, captured, declined, done, id, payment, received, refund, taken, unknown};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn harness() -> PayPalHarness {
    PayPalHarness::new(money(999, "EUR"))
}

#[tokio::test]
async fn an_order_that_is_completed_is_declined_where_the_payment_inside_is() {
    let harness = harness();
    harness.simulator.decline_inside_next_order(&harness.token);
    let refused = declined(harness.adapter.charge(&payment(harness.amount, &harness.token, "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Soft, "CAPTURE_DECLINED"));
    assert_eq!(refused.payment.map(|id| id.as_str().to_owned()), Some(harness.simulator.captures()[0].id.clone()));
    harness.simulator.decline_inside_next_order(&harness.token);
    let refused = declined(harness.adapter.authorise(&payment(harness.amount, &harness.token, "2")).await);
    assert_eq!(refused.code, "AUTHORIZATION_DENIED");
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn an_order_that_is_completed_is_only_received_while_the_payment_inside_is_pending() {
    for charging in [false, true] {
        let harness = harness();
        harness.simulator.leave_next_pending(&harness.token);
        let request = payment(harness.amount, &harness.token, "1");
        let first = if charging { harness.adapter.charge(&request).await } else { harness.adapter.authorise(&request).await };
        let first = received(first).external_payment_id;
        assert_eq!(taken(&harness), 0);
        harness.simulator.process();
        // A repetition has the present state.
        let again = if charging { harness.adapter.charge(&request).await } else { harness.adapter.authorise(&request).await };
        assert_eq!(done(again).external_payment_id, first);
        assert_eq!(taken(&harness), if charging { 999 } else { 0 });
    }
}

#[tokio::test]
async fn an_order_that_is_left_open_is_paid_in_a_second_step_and_once() {
    let harness = harness();
    harness.simulator.pay_in_two_steps(&harness.token);
    let request = payment(harness.amount, &harness.token, "1");
    let first = done(harness.adapter.charge(&request).await).external_payment_id;
    assert_eq!(harness.network.delivered_count("paypal", &Method::POST, "/capture"), 1);
    assert_eq!(done(harness.adapter.charge(&request).await).external_payment_id, first);
    assert_eq!((taken(&harness), harness.simulator.orders()), (999, 1));
}

#[tokio::test]
async fn a_second_step_that_is_lost_is_unknown_and_found_under_the_same_key() {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500), Fault::StatusBefore(429), Fault::NotSent] {
        let harness = harness();
        harness.simulator.pay_in_two_steps(&harness.token);
        harness.network.inject(fault, |_, request| request.path.ends_with("/capture"));
        let request = payment(harness.amount, &harness.token, "1");
        unknown(harness.adapter.charge(&request).await);
        done(harness.adapter.charge(&request).await);
        assert_eq!((taken(&harness), harness.simulator.captures().len()), (999, 1));
    }
}

#[tokio::test]
async fn a_payment_that_the_answer_leaves_out_is_read_and_never_guessed() {
    let harness = harness();
    harness.simulator.omit_payment_from_next_answer(&harness.token);
    let paid = done(harness.adapter.charge(&payment(harness.amount, &harness.token, "1")).await);
    assert_eq!(paid.external_payment_id.unwrap().as_str(), harness.simulator.captures()[0].id);
    for fault in [Fault::StatusBefore(404), Fault::StatusBefore(429), Fault::StatusBefore(401), Fault::TimeoutBefore, Fault::NotSent] {
        harness.simulator.omit_payment_from_next_answer(&harness.token);
        let attempt = format!("{:?}", std::mem::discriminant(&fault));
        let reads = |_: &str, request: &sandbox::simulators::network::ServerRequest| request.method == Method::GET;
        harness.network.inject(fault.clone(), reads);
        harness.network.inject(fault, reads);
        // The money may be taken: a read that goes wrong is no reason to say otherwise.
        unknown(harness.adapter.charge(&payment(harness.amount, &harness.token, &attempt)).await);
        harness.network.clear_faults();
    }
}

#[tokio::test]
async fn a_payment_without_the_payer_is_declined_if_the_payer_would_have_to_act() {
    let harness = harness();
    harness.simulator.require_payer_action_next(&harness.token);
    let refused = declined(harness.adapter.authorise(&payment(harness.amount, &harness.token, "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::NeedsCustomer, "PAYER_ACTION_REQUIRED"));
}

#[tokio::test]
async fn a_forgotten_request_id_never_pays_twice_where_the_account_blocks_duplicate_invoices() {
    let harness = harness();
    harness.simulator.block_duplicate_invoices();
    let request = payment(harness.amount, &harness.token, "1");
    done(harness.adapter.charge(&request).await);
    harness.clock.advance(Duration::from_secs(6 * 3_600));
    assert_eq!(unknown(harness.adapter.charge(&request).await), UnknownCause::Unreadable);
    assert_eq!(taken(&harness), 999);
    let promised = harness.adapter.capabilities().idempotency_window;
    assert!(promised < Duration::from_secs(6 * 3_600), "PayPal keeps the request ids of orders for six hours");
}

#[tokio::test]
async fn a_capture_changes_the_payments_id_and_only_the_new_one_is_refunded() {
    let harness = harness();
    let authorisation = authorise(&harness, "1").await;
    let operation = done(harness.adapter.capture(&capture(harness.amount, &authorisation, "1")).await);
    let taken_as = operation.external_payment_id.unwrap();
    assert_ne!(taken_as, authorisation);
    assert_eq!(taken_as.as_str(), harness.simulator.captures()[0].id);
    let wrong = harness.adapter.refund(&refund(harness.amount, harness.amount, &authorisation, "1")).await;
    assert_eq!(wrong.err(), Some(GatewayError::Malformed { code: "INVALID_RESOURCE_ID".to_owned() }));
    let back = done(harness.adapter.refund(&refund(harness.amount, harness.amount, &taken_as, "2")).await);
    assert_eq!(back.external_payment_id, Some(taken_as));
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn a_capture_closes_the_authorisation() {
    let harness = harness();
    captured(&harness, "1").await;
    assert_eq!(harness.simulator.authorisations()[0].1, "CAPTURED");
    let sent = harness.network.calls().into_iter().find(|call| call.path.ends_with("/capture")).unwrap().request_body;
    assert_eq!(sent, serde_json::json!({ "amount": { "currency_code": "EUR", "value": "9.99" }, "final_capture": true }));
}

#[tokio::test]
async fn a_capture_that_was_made_under_another_key_is_found() {
    let harness = harness();
    let authorisation = authorise(&harness, "1").await;
    let first = done(harness.adapter.capture(&capture(harness.amount, &authorisation, "1")).await);
    let other_key = CaptureRequest {
        key: super::requests::key(connector::gateway::OperationKind::Capture, "x"),
        ..capture(harness.amount, &authorisation, "1")
    };
    let again = done(harness.adapter.capture(&other_key).await);
    assert_eq!(again.external_payment_id, first.external_payment_id);
    assert_eq!(taken(&harness), 999);
    // Its amount has to be the one that is asked for.
    let other_amount = CaptureRequest { amount: money(998, "EUR"), ..other_key };
    unknown(harness.adapter.capture(&other_amount).await);
}

#[tokio::test]
async fn a_pending_capture_is_received_and_a_declined_one_declined() {
    let harness = harness();
    harness.simulator.set_next_capture_status("PENDING");
    let authorisation = authorise(&harness, "1").await;
    let request = capture(harness.amount, &authorisation, "1");
    let waiting = received(harness.adapter.capture(&request).await);
    assert_eq!(waiting.operation_ref.as_deref(), Some(harness.simulator.captures()[0].id.as_str()));
    assert_eq!(taken(&harness), 0);
    harness.simulator.process();
    assert_eq!(done(harness.adapter.capture(&request).await).external_payment_id, waiting.external_payment_id);
    for status in ["DECLINED", "FAILED"] {
        harness.simulator.set_next_capture_status(status);
        let authorisation = authorise(&harness, status).await;
        let refused = declined(harness.adapter.capture(&capture(harness.amount, &authorisation, status)).await);
        assert_eq!((refused.class, refused.code), (DeclineClass::Soft, format!("CAPTURE_{status}")));
    }
    assert_eq!(taken(&harness), 999);
}

#[tokio::test]
async fn a_refused_capture_leaves_an_authorisation_unless_it_is_gone_or_the_capture_was_acknowledged() {
    let harness = harness();
    let refusal = |code: &str| Decline::new(DeclineClass::Soft, code);
    assert!(harness.adapter.authorisation_may_remain(&refusal("CAPTURE_DECLINED"), false));
    assert!(!harness.adapter.authorisation_may_remain(&refusal("CAPTURE_DECLINED"), true), "a final capture closed the authorisation");
    let authorisation = authorise(&harness, "1").await;
    harness.simulator.expire(authorisation.as_str());
    let gone = declined(harness.adapter.capture(&capture(harness.amount, &authorisation, "1")).await);
    assert!(!harness.adapter.authorisation_may_remain(&gone, false), "{}", gone.code);
}

/// Captures an authorisation of this age.
async fn capture_after(harness: &PayPalHarness, age: Duration, attempt: &str) -> CaptureRequest {
    let authorised_at = Some(harness.clock.now());
    let authorisation = authorise(harness, attempt).await;
    harness.clock.advance(age);
    CaptureRequest { authorised_at, ..capture(harness.amount, &authorisation, attempt) }
}

#[tokio::test]
async fn an_authorisation_older_than_its_honour_period_is_renewed_and_the_new_one_captured() {
    let harness = harness();
    let request = capture_after(&harness, 5 * DAY, "1").await;
    let first = done(harness.adapter.capture(&request).await);
    let taken_of = harness.simulator.captures()[0].authorisation.clone().unwrap();
    assert_ne!(taken_of, request.external_payment_id.as_str(), "the renewed authorisation is captured");
    let again = done(harness.adapter.capture(&request).await);
    assert_eq!(first.external_payment_id, again.external_payment_id);
    assert_eq!((taken(&harness), harness.simulator.authorisations().len()), (999, 2));
}

#[tokio::test]
async fn a_young_authorisation_is_captured_as_it_is() {
    let harness = harness();
    let request = capture_after(&harness, 3 * DAY, "1").await;
    done(harness.adapter.capture(&request).await);
    assert_eq!(harness.network.delivered_count("paypal", &Method::POST, "/reauthorize"), 0);
    assert_eq!(harness.simulator.captures()[0].authorisation.as_deref(), Some(request.external_payment_id.as_str()));
}

#[tokio::test]
async fn a_renewal_that_paypal_calls_unnecessary_is_left_out() {
    let harness = harness();
    // Older than the honour period, and PayPal renews from the fourth day on.
    let request = capture_after(&harness, 3 * DAY + DAY / 2, "1").await;
    done(harness.adapter.capture(&request).await);
    assert_eq!(harness.network.delivered_count("paypal", &Method::POST, "/reauthorize"), 1);
    assert_eq!(harness.simulator.captures()[0].authorisation.as_deref(), Some(request.external_payment_id.as_str()));
}

#[tokio::test]
async fn a_lost_call_in_the_capture_of_an_old_authorisation_captures_once() {
    for step in ["/reauthorize", "/capture"] {
        for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(502)] {
            let harness = harness();
            let request = capture_after(&harness, 5 * DAY, "1").await;
            harness.network.inject(fault, move |_, request| request.path.ends_with(step));
            unknown(harness.adapter.capture(&request).await);
            done(harness.adapter.capture(&request).await);
            assert_eq!((taken(&harness), harness.simulator.captures().len()), (999, 1), "{step}");
        }
    }
}

#[tokio::test]
async fn a_missing_authorisation_is_declined_and_nothing_is_captured() {
    let harness = harness();
    let request = capture_after(&harness, 30 * DAY, "1").await;
    assert_eq!(declined(harness.adapter.capture(&request).await).code, "AUTHORIZATION_EXPIRED");
    let authorisation = authorise(&harness, "2").await;
    done(harness.adapter.cancel(&cancel("2", CancelTarget::Payment(authorisation.clone()))).await);
    assert_eq!(declined(harness.adapter.capture(&capture(harness.amount, &authorisation, "2")).await).code, "AUTHORIZATION_VOIDED");
    assert_eq!(taken(&harness), 0);
}

#[tokio::test]
async fn a_released_or_lapsed_authorisation_counts_as_released_and_a_captured_one_does_not() {
    let harness = harness();
    for (attempt, lapse) in [("1", true), ("2", false)] {
        let authorisation = authorise(&harness, attempt).await;
        if lapse {
            harness.simulator.expire(authorisation.as_str());
        }
        for number in ["a", "b"] {
            let request = cancel(&format!("{attempt}{number}"), CancelTarget::Payment(authorisation.clone()));
            done(harness.adapter.cancel(&request).await);
        }
    }
    let authorisation = authorise(&harness, "3").await;
    let taken_as = done(harness.adapter.capture(&capture(harness.amount, &authorisation, "3")).await).external_payment_id.unwrap();
    for target in [authorisation, taken_as] {
        let refused = declined(harness.adapter.cancel(&cancel("3", CancelTarget::Payment(target))).await);
        assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Hard, "PREVIOUSLY_CAPTURED"));
    }
    assert_eq!(taken(&harness), 999);
}

#[tokio::test]
async fn a_payment_without_an_id_cannot_be_cancelled_and_never_counts_as_cancelled() {
    let harness = harness();
    let reference = Reference::from_key(&super::requests::key(connector::gateway::OperationKind::Authorise, "1"));
    let target = CancelTarget::Reference { reference, pending_id: None };
    assert_eq!(harness.adapter.cancel(&cancel("1", target)).await.err(), Some(GatewayError::Unsupported));
    for text in ["../../oauth2/token", "short", "no-such-id-at-all"] {
        let answered = harness.adapter.cancel(&cancel("1", CancelTarget::Payment(id(text)))).await;
        assert!(matches!(answered, Err(GatewayError::Malformed { .. })), "{text}");
    }
    assert!(harness.network.calls().is_empty());
}

#[tokio::test]
async fn refunds_carry_their_own_reference_and_pending_ones_are_received() {
    let harness = harness();
    let payment = captured(&harness, "1").await;
    harness.simulator.set_next_refund_status("PENDING");
    let request = refund(money(400, "EUR"), harness.amount, &payment, "1");
    let waiting = received(harness.adapter.refund(&request).await);
    let sent = harness.network.calls().last().unwrap().request_body.clone();
    let reference = request.reference.as_str();
    assert_eq!((sent["custom_id"].as_str(), sent["invoice_id"].as_str()), (Some(reference), Some(reference)));
    harness.simulator.process();
    let settled = done(harness.adapter.refund(&request).await);
    assert_eq!(settled.operation_ref, waiting.operation_ref);
    assert_eq!(taken(&harness), 599);
    harness.simulator.set_next_refund_status("FAILED");
    declined(harness.adapter.refund(&refund(money(100, "EUR"), harness.amount, &payment, "2")).await);
    assert_eq!(taken(&harness), 599);
}

#[tokio::test]
async fn an_earlier_refund_is_found_and_another_refund_is_not_mistaken_for_it() {
    let harness = harness();
    let payment = captured(&harness, "1").await;
    let request = refund(harness.amount, harness.amount, &payment, "1");
    let first = done(harness.adapter.refund(&request).await).operation_ref;
    // The request id is forgotten, and all the money is back.
    harness.clock.advance(46 * DAY);
    assert_eq!(done(harness.adapter.refund(&request).await).operation_ref, first);
    let other = declined(harness.adapter.refund(&refund(harness.amount, harness.amount, &payment, "2")).await);
    assert_eq!((other.class, other.code.as_str()), (DeclineClass::Hard, "CAPTURE_FULLY_REFUNDED"));
    assert_eq!(taken(&harness), 0);
    let other = self::harness();
    other.simulator.block_duplicate_invoices();
    let payment = captured(&other, "1").await;
    let part = refund(money(100, "EUR"), other.amount, &payment, "1");
    let first = done(other.adapter.refund(&part).await).operation_ref;
    other.clock.advance(46 * DAY);
    assert_eq!(done(other.adapter.refund(&part).await).operation_ref, first);
    assert_eq!(taken(&other), 899);
}

#[tokio::test]
async fn details_that_the_payer_removed_at_paypal_need_new_ones() {
    let harness = harness();
    harness.simulator.remove_by_payer(&harness.token);
    let refused = declined(harness.adapter.authorise(&payment(harness.amount, &harness.token, "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::NeedsNewDetails, "TOKEN_ID_NOT_FOUND"));
}

#[tokio::test]
async fn amounts_are_formatted_by_paypals_rule_and_amounts_that_do_not_fit_are_never_sent() {
    for (amount, value) in [(money(500, "JPY"), "500"), (money(199_000, "HUF"), "1990"), (money(10_010, "USD"), "100.10")] {
        let harness = PayPalHarness::new(amount);
        authorise(&harness, "1").await;
        let sent = harness.network.calls().into_iter().find(|call| call.path.ends_with("/orders")).unwrap().request_body;
        assert_eq!(sent["purchase_units"][0]["amount"]["value"], value);
    }
    for amount in [money(199_050, "HUF"), money(30_001, "TWD"), money(1_000, "KWD"), money(0, "EUR")] {
        let harness = PayPalHarness::new(amount);
        let answered = harness.adapter.authorise(&payment(amount, &harness.token, "1")).await;
        assert!(matches!(answered, Err(GatewayError::Amount(_) | GatewayError::Malformed { .. })), "{amount}");
        assert!(harness.network.calls().is_empty());
    }
}
