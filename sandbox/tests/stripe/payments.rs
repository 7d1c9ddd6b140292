//! Payments with stored details, and what is done to payments that are there.

use std::time::Duration;

use connector::gateway::{
    CancelTarget, Decline, DeclineClass, DeleteDetailsRequest, Gateway, GatewayError, InquiryRequest, OperationKind, Outcome, UnknownCause,
};
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use sandbox::house::{House, Standing};
use sandbox::peer::Fault;

use super::requests::{
    authorise, cancel, capture, captured, customer, declined, done, id, key, payment, purchase, received, refund, taken, unknown,
};
use super::world::{World, form, money, token};

fn world() -> World {
    World::new(money(999, "EUR"))
}

fn question(world: &World, operation: OperationKind, attempt: &str, payment: Option<&ExternalPaymentId>) -> InquiryRequest {
    let kind = if operation == OperationKind::Refund { OperationKind::Refund } else { OperationKind::Authorise };
    let of = key(kind, attempt);
    InquiryRequest {
        operation,
        key: key(operation, attempt),
        reference: connector::gateway::Reference::from_key(&of),
        external_payment_id: payment.cloned(),
        amount: Some(world.amount),
    }
}

#[tokio::test]
async fn a_renewal_says_that_nobody_is_there_and_what_it_is_for() {
    let world = world();
    let request = payment(world.amount, &world.token, "1");
    let held = done(world.adapter.authorise(&request).await);
    let (method, owner) = world.token.split_once(':').unwrap();
    let sent = world.sent.lock().unwrap().last().unwrap().clone();
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
    assert_eq!(until.since(world.simulator.now()), Duration::from_secs((4 * 24 + 18) * 3_600), "Visa's time without the customer");
}

#[tokio::test]
async fn a_refused_payment_keeps_its_id_and_another_try_is_another_intent() {
    let world = world();
    for (code, class) in [("insufficient_funds", DeclineClass::Soft), ("revocation_of_authorization", DeclineClass::Hard)] {
        world.simulator.refuse_next(&world.token, code);
        let decline = declined(world.adapter.charge(&payment(world.amount, &world.token, code)).await);
        let (id, status) = world.simulator.intents().pop().unwrap();
        assert_eq!((decline.code.as_str(), decline.class, status), (code, class, "requires_payment_method"));
        assert_eq!(decline.payment.unwrap().as_str(), id);
    }
    done(world.adapter.charge(&payment(world.amount, &world.token, "again")).await);
    assert_eq!((world.simulator.intents().len(), taken(&world)), (3, 999));
    world.simulator.refuse_next_with_advice(&world.token, "generic_decline", "do_not_try_again");
    assert_eq!(declined(world.adapter.charge(&payment(world.amount, &world.token, "never")).await).class, DeclineClass::Hard);
}

#[tokio::test]
async fn what_is_processing_is_received_and_told_later() {
    let world = world();
    for code in [None, Some("insufficient_funds")] {
        world.simulator.process_next(&world.token, code);
    }
    let request = payment(world.amount, &world.token, "good");
    received(world.adapter.charge(&request).await);
    received(world.adapter.charge(&payment(world.amount, &world.token, "bad")).await);
    world.simulator.process();
    world.clock.advance(Duration::from_secs(61));
    let asked = world.adapter.inquire(&question(&world, OperationKind::Charge, "good", None)).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
    let asked = world.adapter.inquire(&question(&world, OperationKind::Charge, "bad", None)).await;
    assert!(matches!(asked, Ok(Some(Outcome::Declined(decline))) if decline.code == "insufficient_funds"));
}

#[tokio::test]
async fn a_server_error_that_is_repeated_for_a_day_is_settled_by_asking() {
    let world = world();
    let request = payment(world.amount, &world.token, "1");
    world.simulator.server_error_next(true);
    for _ in 0..2 {
        assert_eq!(unknown(world.adapter.charge(&request).await), UnknownCause::ServerError(500));
    }
    let asked = world.adapter.inquire(&question(&world, OperationKind::Charge, "1", None)).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
    assert_eq!(taken(&world), 999);
    world.simulator.in_progress_next();
    assert_eq!(unknown(world.adapter.charge(&payment(world.amount, &world.token, "2")).await), UnknownCause::InProgress);
}

#[tokio::test]
async fn a_payment_that_the_search_has_not_seen_yet_is_found_among_the_newest() {
    let world = world();
    let request = payment(world.amount, &world.token, "lost");
    world.road.lay(Fault::TimeoutAfter, |_, request| request.method == Method::POST);
    unknown(world.adapter.charge(&request).await);
    // More than one page of newer ones.
    for number in 0..110 {
        done(world.adapter.charge(&payment(world.amount, &world.token, &number.to_string())).await);
    }
    let asked = world.adapter.inquire(&question(&world, OperationKind::Charge, "lost", None)).await;
    let Ok(Some(Outcome::Done(found))) = asked else { panic!("it is not found") };
    assert_eq!(found.external_payment_id.unwrap().as_str(), world.simulator.intents()[0].0);
    assert!(world.adapter.inquire(&question(&world, OperationKind::Charge, "never made", None)).await.unwrap().is_none());
    // Its money is taken: a cancel by name says where it is, so that it can be given back.
    let target = CancelTarget::Reference { reference: request.reference.clone(), started: None };
    let refused = declined(world.adapter.cancel(&cancel("lost", target)).await);
    assert_eq!(refused.payment.unwrap().as_str(), world.simulator.intents()[0].0);
    assert_eq!(taken(&world), 111 * 999);
}

#[tokio::test]
async fn where_more_is_new_than_can_be_read_a_cancel_by_name_is_unknown_and_settled_by_the_search() {
    let world = world();
    let request = payment(world.amount, &world.token, "lost");
    world.road.lay(Fault::TimeoutAfter, |_, request| request.method == Method::POST);
    unknown(world.adapter.authorise(&request).await);
    for number in 0..501 {
        done(world.adapter.charge(&payment(world.amount, &world.token, &number.to_string())).await);
    }
    let target = CancelTarget::Reference { reference: request.reference.clone(), started: None };
    let order = cancel("lost", target);
    assert_eq!(unknown(world.adapter.cancel(&order).await), UnknownCause::Unreadable);
    world.clock.advance(Duration::from_secs(61));
    done(world.adapter.cancel(&order).await);
    assert_eq!(world.simulator.ledger()[0].standing, Standing::Cancelled);
}

#[tokio::test]
async fn a_hold_that_lapsed_is_never_taken_and_its_release_is_done() {
    let world = world();
    let held = authorise(&world, "1").await;
    world.clock.advance(Duration::from_secs(5 * 24 * 3_600));
    let refused = declined(world.adapter.capture(&capture(world.amount, &held, "1")).await);
    assert_eq!((refused.code.as_str(), refused.payment), ("payment_intent_canceled", Some(held.clone())));
    done(world.adapter.cancel(&cancel("1", CancelTarget::Payment(held))).await);
    assert_eq!((taken(&world), world.simulator.ledger()[0].standing), (0, Standing::Expired));
}

#[tokio::test]
async fn a_capture_that_comes_too_late_is_a_decline_after_which_nothing_is_held() {
    let world = world();
    for (attempt, code) in [("1", "charge_expired_for_capture"), ("2", "capture_charge_authorization_expired")] {
        let held = authorise(&world, attempt).await;
        world.simulator.refuse_next_capture(code);
        let refused = declined(world.adapter.capture(&capture(world.amount, &held, attempt)).await);
        assert_eq!((refused.class, refused.code.as_str()), (DeclineClass::Soft, code));
        assert!(!world.adapter.holds_after_refusal(&refused, false), "{code}");
    }
    let held = authorise(&world, "3").await;
    world.simulator.expire(held.as_str());
    let gone = declined(world.adapter.capture(&capture(world.amount, &held, "3")).await);
    assert!(!world.adapter.holds_after_refusal(&gone, false), "{}", gone.code);
    assert!(world.adapter.holds_after_refusal(&Decline::new(DeclineClass::Soft, "generic_decline"), false), "Stripe does not tell");
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn a_capture_under_a_forgotten_key_is_found_done() {
    let world = world();
    let held = authorise(&world, "1").await;
    done(world.adapter.capture(&capture(world.amount, &held, "1")).await);
    world.clock.advance(Duration::from_secs(25 * 3_600));
    let again = done(world.adapter.capture(&capture(world.amount, &held, "1")).await);
    assert_eq!((again.external_payment_id, taken(&world)), (Some(held.clone()), 999));
    let asked = world.adapter.inquire(&question(&world, OperationKind::Capture, "1", Some(&held))).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
}

#[tokio::test]
async fn a_refund_under_a_forgotten_key_is_found_and_not_made_twice() {
    let world = world();
    let paid = captured(&world, "1").await;
    let request = refund(world.amount, world.amount, &paid, "1");
    let first = done(world.adapter.refund(&request).await);
    world.clock.advance(Duration::from_secs(25 * 3_600));
    assert_eq!(done(world.adapter.refund(&request).await).operation_ref, first.operation_ref);
    assert_eq!((world.simulator.refunds().len(), taken(&world)), (1, 0));
    let asked = world.adapter.inquire(&question(&world, OperationKind::Refund, "1", Some(&paid))).await;
    assert!(matches!(asked, Ok(Some(Outcome::Done(_)))));
    assert!(world.adapter.inquire(&question(&world, OperationKind::Refund, "2", Some(&paid))).await.unwrap().is_none());
}

#[tokio::test]
async fn a_refund_that_is_pending_is_received_and_one_of_a_disputed_payment_is_refused() {
    let world = world();
    let paid = captured(&world, "1").await;
    world.simulator.next_refund_is("pending");
    received(world.adapter.refund(&refund(money(400, "EUR"), world.amount, &paid, "1")).await);
    let other = captured(&world, "2").await;
    world.simulator.charge_back(other.as_str());
    let refused = declined(world.adapter.refund(&refund(world.amount, world.amount, &other, "2")).await);
    assert_eq!((refused.code.as_str(), refused.class), ("charge_disputed", DeclineClass::Hard));
}

#[tokio::test]
async fn ids_of_other_gateways_never_get_into_a_path() {
    let world = world();
    for text in ["8815658961765250", "pi_", "pi_1/../x", "re_1"] {
        let other = id(text);
        for answered in [
            world.adapter.capture(&capture(world.amount, &other, "1")).await,
            world.adapter.cancel(&cancel("1", CancelTarget::Payment(other.clone()))).await,
            world.adapter.refund(&refund(world.amount, world.amount, &other, "1")).await,
        ] {
            assert!(matches!(answered, Err(GatewayError::Malformed { .. })), "{text}");
        }
    }
    assert!(world.road.calls().is_empty());
}

#[tokio::test]
async fn details_of_another_customer_and_details_that_are_gone_want_new_ones() {
    let world = world();
    let (method, _) = world.token.split_once(':').unwrap();
    let other = world.simulator.store_details("7");
    let (_, stranger) = other.split_once(':').unwrap();
    let mixed = declined(world.adapter.charge(&payment(world.amount, &format!("{method}:{stranger}"), "1")).await);
    assert_eq!(mixed.class, DeclineClass::NeedsNewDetails);
    let delete = DeleteDetailsRequest { key: key(OperationKind::Delete, "1"), token: token("pm_none:cus_none"), customer: customer() };
    done(world.adapter.delete_details(&delete).await);
    let never = declined(world.adapter.charge(&payment(world.amount, "pm_none:cus_none", "2")).await);
    assert_eq!(never.class, DeclineClass::NeedsNewDetails);
    assert_eq!(taken(&world), 0);
}

#[tokio::test]
async fn a_purchase_whose_answer_was_lost_and_that_is_replaced_at_once_is_found_and_can_be_given_back() {
    let world = world();
    let request = purchase(world.amount, &world.simulator.collect("pm_card_visa", 1), "lost");
    world.road.lay(Fault::TimeoutAfter, |_, request| request.path.ends_with("/payment_intents"));
    unknown(world.adapter.start_purchase(&request).await);
    let target = CancelTarget::Reference { reference: request.reference.clone(), started: None };
    let order = connector::gateway::CancelRequest { reference: request.reference.clone(), ..cancel("lost", target) };
    let paid = declined(world.adapter.cancel(&order).await).payment.unwrap();
    done(world.adapter.refund(&refund(world.amount, world.amount, &paid, "lost")).await);
    assert_eq!(taken(&world), 0);
}
