//! Payments without the customer, and what is done to them later.

use std::time::Duration;

use connector::clock::Clock as _;
use connector::gateway::{CancelTarget, CaptureRequest, Decline, DeclineClass, Gateway, GatewayError, Reference, UnknownCause};
use connector::http::Method;
use sandbox::peer::Fault;

use super::requests::{authorise, cancel, capture, captured, declined, done, id, payment, received, refund, taken, unknown};
use super::world::{World, money};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn world() -> World {
    World::new(money(999, "EUR"))
}

#[tokio::test]
async fn an_order_that_is_completed_is_declined_where_the_payment_inside_is() {
    let world = world();
    world.simulator.decline_inside_next(&world.token);
    let refused = declined(world.adapter.charge(&payment(world.amount, &world.token, "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Soft, "CAPTURE_DECLINED"));
    assert_eq!(refused.payment.map(|id| id.as_str().to_owned()), Some(world.simulator.captured()[0].id.clone()));
    world.simulator.decline_inside_next(&world.token);
    let refused = declined(world.adapter.authorise(&payment(world.amount, &world.token, "2")).await);
    assert_eq!(refused.code, "AUTHORIZATION_DENIED");
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn an_order_that_is_completed_is_only_received_while_the_payment_inside_is_pending() {
    for charging in [false, true] {
        let world = world();
        world.simulator.pend_next(&world.token);
        let request = payment(world.amount, &world.token, "1");
        let first = if charging { world.adapter.charge(&request).await } else { world.adapter.authorise(&request).await };
        let first = received(first).external_payment_id;
        assert_eq!(taken(&world), 0);
        world.simulator.process();
        // A repetition tells the state of now.
        let again = if charging { world.adapter.charge(&request).await } else { world.adapter.authorise(&request).await };
        assert_eq!(done(again).external_payment_id, first);
        assert_eq!(taken(&world), if charging { 999 } else { 0 });
    }
}

#[tokio::test]
async fn an_order_that_is_left_open_is_paid_in_a_second_step_and_once() {
    let world = world();
    world.simulator.pay_in_two_steps(&world.token);
    let request = payment(world.amount, &world.token, "1");
    let first = done(world.adapter.charge(&request).await).external_payment_id;
    assert_eq!(world.road.reached("paypal", &Method::POST, "/capture"), 1);
    assert_eq!(done(world.adapter.charge(&request).await).external_payment_id, first);
    assert_eq!((taken(&world), world.simulator.orders()), (999, 1));
}

#[tokio::test]
async fn a_second_step_that_is_lost_is_unknown_and_found_under_the_same_key() {
    for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(500), Fault::StatusBefore(429), Fault::NotSent] {
        let world = world();
        world.simulator.pay_in_two_steps(&world.token);
        world.road.lay(fault, |_, request| request.path.ends_with("/capture"));
        let request = payment(world.amount, &world.token, "1");
        unknown(world.adapter.charge(&request).await);
        done(world.adapter.charge(&request).await);
        assert_eq!((taken(&world), world.simulator.captured().len()), (999, 1));
    }
}

#[tokio::test]
async fn a_payment_that_the_answer_leaves_out_is_read_and_never_guessed() {
    let world = world();
    world.simulator.be_silent_next(&world.token);
    let paid = done(world.adapter.charge(&payment(world.amount, &world.token, "1")).await);
    assert_eq!(paid.external_payment_id.unwrap().as_str(), world.simulator.captured()[0].id);
    for fault in [Fault::StatusBefore(404), Fault::StatusBefore(429), Fault::StatusBefore(401), Fault::TimeoutBefore, Fault::NotSent] {
        world.simulator.be_silent_next(&world.token);
        let attempt = format!("{:?}", std::mem::discriminant(&fault));
        let reads = |_: &str, request: &sandbox::peer::PeerRequest| request.method == Method::GET;
        world.road.lay(fault.clone(), reads);
        world.road.lay(fault, reads);
        // The money may be taken: a read that goes wrong is no reason to say otherwise.
        unknown(world.adapter.charge(&payment(world.amount, &world.token, &attempt)).await);
        world.road.clear();
    }
}

#[tokio::test]
async fn a_payer_who_would_have_to_act_declines_a_payment_without_him() {
    let world = world();
    world.simulator.want_payer_next(&world.token);
    let refused = declined(world.adapter.authorise(&payment(world.amount, &world.token, "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::NeedsCustomer, "PAYER_ACTION_REQUIRED"));
}

#[tokio::test]
async fn a_forgotten_request_id_never_pays_twice_where_the_account_blocks_duplicate_invoices() {
    let world = world();
    world.simulator.block_duplicate_invoices();
    let request = payment(world.amount, &world.token, "1");
    done(world.adapter.charge(&request).await);
    world.clock.advance(Duration::from_secs(6 * 3_600));
    assert_eq!(unknown(world.adapter.charge(&request).await), UnknownCause::Unreadable);
    assert_eq!(taken(&world), 999);
    let promised = world.adapter.capabilities().idempotency_memory;
    assert!(promised < Duration::from_secs(6 * 3_600), "PayPal keeps the request ids of orders for six hours");
}

#[tokio::test]
async fn a_capture_changes_the_payments_id_and_only_the_new_one_is_refunded() {
    let world = world();
    let authorisation = authorise(&world, "1").await;
    let operation = done(world.adapter.capture(&capture(world.amount, &authorisation, "1")).await);
    let taken_as = operation.external_payment_id.unwrap();
    assert_ne!(taken_as, authorisation);
    assert_eq!(taken_as.as_str(), world.simulator.captured()[0].id);
    let wrong = world.adapter.refund(&refund(world.amount, world.amount, &authorisation, "1")).await;
    assert_eq!(wrong.err(), Some(GatewayError::Malformed { code: "INVALID_RESOURCE_ID".to_owned() }));
    let back = done(world.adapter.refund(&refund(world.amount, world.amount, &taken_as, "2")).await);
    assert_eq!(back.external_payment_id, Some(taken_as));
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn a_capture_closes_the_authorisation() {
    let world = world();
    captured(&world, "1").await;
    assert_eq!(world.simulator.authorisations()[0].1, "CAPTURED");
    let sent = world.road.calls().into_iter().find(|call| call.path.ends_with("/capture")).unwrap().sent;
    assert_eq!(sent, serde_json::json!({ "amount": { "currency_code": "EUR", "value": "9.99" }, "final_capture": true }));
}

#[tokio::test]
async fn a_capture_that_was_made_under_another_key_is_found() {
    let world = world();
    let authorisation = authorise(&world, "1").await;
    let first = done(world.adapter.capture(&capture(world.amount, &authorisation, "1")).await);
    let other_key = CaptureRequest {
        key: super::requests::key(connector::gateway::OperationKind::Capture, "x"),
        ..capture(world.amount, &authorisation, "1")
    };
    let again = done(world.adapter.capture(&other_key).await);
    assert_eq!(again.external_payment_id, first.external_payment_id);
    assert_eq!(taken(&world), 999);
    // Its amount has to be the one that is asked for.
    let other_amount = CaptureRequest { amount: money(998, "EUR"), ..other_key };
    unknown(world.adapter.capture(&other_amount).await);
}

#[tokio::test]
async fn a_pending_capture_is_received_and_a_declined_one_declined() {
    let world = world();
    world.simulator.next_capture_is("PENDING");
    let authorisation = authorise(&world, "1").await;
    let request = capture(world.amount, &authorisation, "1");
    let waiting = received(world.adapter.capture(&request).await);
    assert_eq!(waiting.operation_ref.as_deref(), Some(world.simulator.captured()[0].id.as_str()));
    assert_eq!(taken(&world), 0);
    world.simulator.process();
    assert_eq!(done(world.adapter.capture(&request).await).external_payment_id, waiting.external_payment_id);
    for status in ["DECLINED", "FAILED"] {
        world.simulator.next_capture_is(status);
        let authorisation = authorise(&world, status).await;
        let refused = declined(world.adapter.capture(&capture(world.amount, &authorisation, status)).await);
        assert_eq!((refused.class, refused.code), (DeclineClass::Soft, format!("CAPTURE_{status}")));
    }
    assert_eq!(taken(&world), 999);
}

#[tokio::test]
async fn a_refused_capture_leaves_a_hold_unless_the_refusal_says_that_it_is_gone_or_the_order_was_taken_first() {
    let world = world();
    let refusal = |code: &str| Decline::new(DeclineClass::Soft, code);
    assert!(world.adapter.holds_after_refusal(&refusal("CAPTURE_DECLINED"), false));
    assert!(!world.adapter.holds_after_refusal(&refusal("CAPTURE_DECLINED"), true), "a final capture closed the authorisation");
    let authorisation = authorise(&world, "1").await;
    world.simulator.expire(authorisation.as_str());
    let gone = declined(world.adapter.capture(&capture(world.amount, &authorisation, "1")).await);
    assert!(!world.adapter.holds_after_refusal(&gone, false), "{}", gone.code);
}

/// Captures an authorisation of this age.
async fn capture_after(world: &World, age: Duration, attempt: &str) -> CaptureRequest {
    let authorised_at = Some(world.clock.now());
    let authorisation = authorise(world, attempt).await;
    world.clock.advance(age);
    CaptureRequest { authorised_at, ..capture(world.amount, &authorisation, attempt) }
}

#[tokio::test]
async fn an_authorisation_older_than_its_honour_period_is_renewed_and_the_new_one_captured() {
    let world = world();
    let request = capture_after(&world, 5 * DAY, "1").await;
    let first = done(world.adapter.capture(&request).await);
    let taken_of = world.simulator.captured()[0].authorisation.clone().unwrap();
    assert_ne!(taken_of, request.external_payment_id.as_str(), "the renewed authorisation is captured");
    let again = done(world.adapter.capture(&request).await);
    assert_eq!(first.external_payment_id, again.external_payment_id);
    assert_eq!((taken(&world), world.simulator.authorisations().len()), (999, 2));
}

#[tokio::test]
async fn a_young_authorisation_is_captured_as_it_is() {
    let world = world();
    let request = capture_after(&world, 3 * DAY, "1").await;
    done(world.adapter.capture(&request).await);
    assert_eq!(world.road.reached("paypal", &Method::POST, "/reauthorize"), 0);
    assert_eq!(world.simulator.captured()[0].authorisation.as_deref(), Some(request.external_payment_id.as_str()));
}

#[tokio::test]
async fn a_renewal_that_paypal_calls_unnecessary_is_left_out() {
    let world = world();
    // Older than the honour period, and PayPal renews from the fourth day on.
    let request = capture_after(&world, 3 * DAY + DAY / 2, "1").await;
    done(world.adapter.capture(&request).await);
    assert_eq!(world.road.reached("paypal", &Method::POST, "/reauthorize"), 1);
    assert_eq!(world.simulator.captured()[0].authorisation.as_deref(), Some(request.external_payment_id.as_str()));
}

#[tokio::test]
async fn whatever_is_lost_on_the_way_of_an_old_authorisation_the_money_is_taken_once() {
    for step in ["/reauthorize", "/capture"] {
        for fault in [Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusAfter(502)] {
            let world = world();
            let request = capture_after(&world, 5 * DAY, "1").await;
            world.road.lay(fault, move |_, request| request.path.ends_with(step));
            unknown(world.adapter.capture(&request).await);
            done(world.adapter.capture(&request).await);
            assert_eq!((taken(&world), world.simulator.captured().len()), (999, 1), "{step}");
        }
    }
}

#[tokio::test]
async fn an_authorisation_that_is_gone_is_declined_and_nothing_is_taken() {
    let world = world();
    let request = capture_after(&world, 30 * DAY, "1").await;
    assert_eq!(declined(world.adapter.capture(&request).await).code, "AUTHORIZATION_EXPIRED");
    let authorisation = authorise(&world, "2").await;
    done(world.adapter.cancel(&cancel("2", CancelTarget::Payment(authorisation.clone()))).await);
    assert_eq!(declined(world.adapter.capture(&capture(world.amount, &authorisation, "2")).await).code, "AUTHORIZATION_VOIDED");
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn what_is_released_or_lapsed_already_is_released_and_what_is_captured_is_not() {
    let world = world();
    for (attempt, lapse) in [("1", true), ("2", false)] {
        let authorisation = authorise(&world, attempt).await;
        if lapse {
            world.simulator.expire(authorisation.as_str());
        }
        for number in ["a", "b"] {
            let request = cancel(&format!("{attempt}{number}"), CancelTarget::Payment(authorisation.clone()));
            done(world.adapter.cancel(&request).await);
        }
    }
    let authorisation = authorise(&world, "3").await;
    let taken_as = done(world.adapter.capture(&capture(world.amount, &authorisation, "3")).await).external_payment_id.unwrap();
    for target in [authorisation, taken_as] {
        let refused = declined(world.adapter.cancel(&cancel("3", CancelTarget::Payment(target))).await);
        assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Hard, "PREVIOUSLY_CAPTURED"));
    }
    assert_eq!(taken(&world), 999);
}

#[tokio::test]
async fn what_has_no_id_cannot_be_cancelled_and_is_never_called_cancelled() {
    let world = world();
    let reference = Reference::from_key(&super::requests::key(connector::gateway::OperationKind::Authorise, "1"));
    let target = CancelTarget::Reference { reference, started: None };
    assert_eq!(world.adapter.cancel(&cancel("1", target)).await.err(), Some(GatewayError::Unsupported));
    for text in ["../../oauth2/token", "short", "no-such-id-at-all"] {
        let answered = world.adapter.cancel(&cancel("1", CancelTarget::Payment(id(text)))).await;
        assert!(matches!(answered, Err(GatewayError::Malformed { .. })), "{text}");
    }
    assert!(world.road.calls().is_empty());
}

#[tokio::test]
async fn refunds_carry_their_own_reference_and_pending_ones_are_received() {
    let world = world();
    let payment = captured(&world, "1").await;
    world.simulator.next_refund_is("PENDING");
    let request = refund(money(400, "EUR"), world.amount, &payment, "1");
    let waiting = received(world.adapter.refund(&request).await);
    let sent = world.road.calls().last().unwrap().sent.clone();
    let reference = request.reference.as_str();
    assert_eq!((sent["custom_id"].as_str(), sent["invoice_id"].as_str()), (Some(reference), Some(reference)));
    world.simulator.process();
    let settled = done(world.adapter.refund(&request).await);
    assert_eq!(settled.operation_ref, waiting.operation_ref);
    assert_eq!(taken(&world), 599);
    world.simulator.next_refund_is("FAILED");
    declined(world.adapter.refund(&refund(money(100, "EUR"), world.amount, &payment, "2")).await);
    assert_eq!(taken(&world), 599);
}

#[tokio::test]
async fn a_refund_that_was_made_before_is_found_and_another_ones_is_not_taken_for_it() {
    let world = world();
    let payment = captured(&world, "1").await;
    let request = refund(world.amount, world.amount, &payment, "1");
    let first = done(world.adapter.refund(&request).await).operation_ref;
    // The request id is forgotten, and all the money is back.
    world.clock.advance(46 * DAY);
    assert_eq!(done(world.adapter.refund(&request).await).operation_ref, first);
    let other = declined(world.adapter.refund(&refund(world.amount, world.amount, &payment, "2")).await);
    assert_eq!((other.class, other.code.as_str()), (DeclineClass::Hard, "CAPTURE_FULLY_REFUNDED"));
    assert_eq!(taken(&world), 0);
    let other = self::world();
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
    let world = world();
    world.simulator.payer_removes(&world.token);
    let refused = declined(world.adapter.authorise(&payment(world.amount, &world.token, "1")).await);
    assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::NeedsNewDetails, "TOKEN_ID_NOT_FOUND"));
}

#[tokio::test]
async fn amounts_are_written_by_paypals_rule_and_what_does_not_fit_is_never_sent() {
    for (amount, value) in [(money(500, "JPY"), "500"), (money(199_000, "HUF"), "1990"), (money(10_010, "USD"), "100.10")] {
        let world = World::new(amount);
        authorise(&world, "1").await;
        let sent = world.road.calls().into_iter().find(|call| call.path.ends_with("/orders")).unwrap().sent;
        assert_eq!(sent["purchase_units"][0]["amount"]["value"], value);
    }
    for amount in [money(199_050, "HUF"), money(30_001, "TWD"), money(1_000, "KWD"), money(0, "EUR")] {
        let world = World::new(amount);
        let answered = world.adapter.authorise(&payment(amount, &world.token, "1")).await;
        assert!(matches!(answered, Err(GatewayError::Amount(_) | GatewayError::Malformed { .. })), "{amount}");
        assert!(world.road.calls().is_empty());
    }
}
