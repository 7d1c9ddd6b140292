//! What each event of the simulator means to the connector.

use connector::gateway::{CancelTarget, Gateway, GatewayNotification, NotificationKind as Kind, Reference};
use sandbox::house::House;
use serde_json::{Value, json};

use super::requests::{action, authorise, cancel, capture, captured, done, finalize, id, payment, purchase, received, refund};
use super::world::{CUSTOMER, OURS, World, money};

fn world() -> World {
    World::new(money(999, "EUR"))
}

async fn news(world: &World) -> Vec<GatewayNotification> {
    let mut all = Vec::new();
    for posted in world.simulator.take_notifications() {
        let read = world.adapter.read_notification(&posted.headers, &posted.body).await.unwrap();
        all.extend(read.into_iter().map(Result::unwrap));
    }
    all
}

/// The only piece of news that means something.
async fn only(world: &World, kind: Kind) -> GatewayNotification {
    let mut news: Vec<_> = news(world).await.into_iter().filter(|one| one.kind != Kind::Ignored).collect();
    assert_eq!(news.iter().map(|one| one.kind).collect::<Vec<_>>(), [kind]);
    news.pop().unwrap()
}

fn reference(attempt: &str) -> Reference {
    payment(money(1, "EUR"), "x", attempt).reference
}

#[tokio::test]
async fn an_authorisation_its_capture_and_its_refund_are_told_by_our_references() {
    let world = world();
    let authorisation = authorise(&world, "1").await;
    let told = only(&world, Kind::Authorised).await;
    assert_eq!((told.external_payment_id, told.reference), (Some(authorisation.clone()), Some(reference("1"))));
    assert_eq!(told.amount, Some(world.amount));
    let taken = done(world.adapter.capture(&capture(world.amount, &authorisation, "1")).await);
    let told = only(&world, Kind::Captured).await;
    // The authorisation may have been renewed, so its id says nothing: our reference does.
    assert_eq!((told.external_payment_id, told.reference), (None, Some(reference("1"))));
    assert_eq!((told.operation_ref, told.amount), (taken.operation_ref, Some(world.amount)));
    let request = refund(money(400, "EUR"), world.amount, &taken.external_payment_id.clone().unwrap(), "1");
    let back = done(world.adapter.refund(&request).await);
    let told = only(&world, Kind::Refunded).await;
    assert_eq!((told.external_payment_id, told.reference), (taken.external_payment_id, Some(request.reference)));
    assert_eq!((told.operation_ref, told.amount), (back.operation_ref, Some(money(400, "EUR"))));
}

#[tokio::test]
async fn a_payment_that_was_taken_at_once_is_told_as_authorised_by_its_capture() {
    let world = world();
    let charged = done(world.adapter.charge(&payment(world.amount, &world.token, "1")).await);
    let told = only(&world, Kind::Authorised).await;
    assert_eq!((told.external_payment_id, told.reference), (charged.external_payment_id, Some(reference("1"))));
}

#[tokio::test]
async fn a_release_and_a_lapse_are_told_apart_by_the_authorisations_own_dates() {
    let world = world();
    for (attempt, lapses, kind) in [("1", false, Kind::Cancelled), ("2", true, Kind::Expired)] {
        let authorisation = authorise(&world, attempt).await;
        news(&world).await;
        if lapses {
            world.simulator.expire(authorisation.as_str());
        } else {
            done(world.adapter.cancel(&cancel(attempt, CancelTarget::Payment(authorisation.clone()))).await);
        }
        assert_eq!(only(&world, kind).await.external_payment_id, Some(authorisation));
    }
}

#[tokio::test]
async fn what_was_pending_is_told_when_it_is_decided() {
    let world = world();
    world.simulator.pend_next(&world.token);
    let waiting = received(world.adapter.charge(&payment(world.amount, &world.token, "1")).await).external_payment_id;
    assert!(news(&world).await.iter().all(|one| one.kind == Kind::Ignored), "pending is no news");
    world.simulator.capture_is_denied_later(waiting.clone().unwrap().as_str());
    assert_eq!(only(&world, Kind::AuthorisationDeclined).await.external_payment_id, waiting);
    world.simulator.next_capture_is("PENDING");
    let authorisation = authorise(&world, "2").await;
    let waiting = received(world.adapter.capture(&capture(world.amount, &authorisation, "2")).await);
    news(&world).await;
    world.simulator.capture_is_denied_later(waiting.external_payment_id.unwrap().as_str());
    let told = only(&world, Kind::CaptureFailed).await;
    assert_eq!((told.reference, told.operation_ref), (Some(reference("2")), waiting.operation_ref));
}

#[tokio::test]
async fn a_refund_that_fails_later_is_told() {
    let world = world();
    let taken = captured(&world, "1").await;
    world.simulator.next_refund_is("PENDING");
    let request = refund(world.amount, world.amount, &taken, "1");
    let waiting = received(world.adapter.refund(&request).await);
    news(&world).await;
    world.simulator.refund_fails_later(waiting.operation_ref.as_deref().unwrap());
    let told = only(&world, Kind::RefundFailed).await;
    assert_eq!((told.reference, told.operation_ref), (Some(request.reference), waiting.operation_ref));
}

#[tokio::test]
async fn a_customer_who_agreed_is_told_with_his_order_and_our_reference() {
    let world = world();
    let request = purchase(world.amount, "1");
    let (payload, operation) = action(world.adapter.start_purchase(&request).await);
    world.simulator.agree(&payload);
    let told = only(&world, Kind::CustomerApproved).await;
    assert_eq!((told.reference, told.operation_ref), (Some(request.reference.clone()), operation.started.clone()));
    assert_eq!((told.external_payment_id, told.amount), (None, Some(world.amount)));
    let paid = done(world.adapter.finalize(&finalize(&request, operation.started.as_deref(), Value::Null)).await);
    let told = news(&world).await;
    let authorised = told.iter().find(|one| one.kind == Kind::Authorised).unwrap();
    assert_eq!((&authorised.external_payment_id, &authorised.reference), (&paid.external_payment_id, &Some(request.reference)));
}

#[tokio::test]
async fn stored_details_are_told_with_cleengs_customer_in_the_adapters_own_form() {
    let world = world();
    world.simulator.vault_later();
    let request = purchase(world.amount, "1");
    let (payload, operation) = action(world.adapter.start_purchase(&request).await);
    world.simulator.agree(&payload);
    let finish = finalize(&request, operation.started.as_deref(), Value::Null);
    done(world.adapter.finalize(&finish).await);
    news(&world).await;
    world.simulator.process();
    let told = only(&world, Kind::TokenCreated).await.token.unwrap();
    let token = done(world.adapter.finalize(&finish).await).token.unwrap();
    assert_eq!((told.shopper.as_str(), told.token.as_str()), (CUSTOMER, token.0.expose()));
    world.simulator.payer_removes(token.0.expose());
    assert_eq!(only(&world, Kind::TokenDisabled).await.token, Some(told));
}

/// A dispute about this capture.
fn dispute(capture: &str, outcome: &str, reference: &Reference, credited: bool) -> Value {
    json!({
        "dispute_id": "PP-D-27803", "status": "RESOLVED", "dispute_amount": { "currency_code": "EUR", "value": "9.99" },
        "disputed_transactions": [{ "seller_transaction_id": capture, "custom": reference.as_str() }],
        "dispute_outcome": { "outcome_code": outcome },
        "money_movements": if credited { json!([{ "affected_party": "SELLER", "type": "CREDIT" }]) } else { json!([]) },
    })
}

async fn tell(world: &World, event_type: &str, resource: Value) -> GatewayNotification {
    let posted = world.simulator.notification(event_type, "dispute", resource);
    world.adapter.read_notification(&posted.headers, &posted.body).await.unwrap().remove(0).unwrap()
}

#[tokio::test]
async fn money_that_is_taken_back_is_one_chargeback_however_often_it_is_told() {
    let world = world();
    let taken = captured(&world, "1").await;
    news(&world).await;
    world.simulator.charge_back(taken.as_str());
    let reversed = only(&world, Kind::ChargedBack).await;
    assert_eq!((&reversed.external_payment_id, &reversed.reference), (&Some(taken.clone()), &Some(reference("1"))));
    let lost = tell(&world, "CUSTOMER.DISPUTE.RESOLVED", dispute(taken.as_str(), "RESOLVED_BUYER_FAVOUR", &reference("1"), false)).await;
    assert_eq!((lost.kind, &lost.external_payment_id, &lost.dedupe_key), (Kind::ChargedBack, &Some(taken.clone()), &reversed.dedupe_key));
    let won = tell(&world, "CUSTOMER.DISPUTE.RESOLVED", dispute(taken.as_str(), "RESOLVED_SELLER_FAVOUR", &reference("1"), true)).await;
    assert_eq!((won.kind, won.external_payment_id), (Kind::ChargebackReversed, Some(taken)));
    assert_ne!(won.dedupe_key, lost.dedupe_key);
}

#[tokio::test]
async fn a_dispute_that_is_open_or_took_nothing_is_no_chargeback() {
    let world = world();
    let of = |outcome| dispute("2GG279541U471931P", outcome, &Reference::parse(OURS).unwrap(), false);
    for event in ["CUSTOMER.DISPUTE.CREATED", "CUSTOMER.DISPUTE.UPDATED", "RISK.DISPUTE.CREATED"] {
        assert_eq!(tell(&world, event, of("RESOLVED_BUYER_FAVOUR")).await.kind, Kind::Ignored, "{event}");
    }
    for outcome in ["RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "CANCELED_BY_BUYER", "SOMETHING_NEW"] {
        assert_eq!(tell(&world, "CUSTOMER.DISPUTE.RESOLVED", of(outcome)).await.kind, Kind::Ignored, "{outcome}");
    }
}

#[tokio::test]
async fn a_refund_that_was_made_by_hand_is_found_by_its_capture() {
    let world = world();
    let links = json!([{ "rel": "up", "href": "https://api.sandbox.paypal.com/v2/payments/captures/2GG279541U471931P" }]);
    let refund =
        json!({ "id": "1JU08902781691411", "status": "COMPLETED", "amount": { "currency_code": "EUR", "value": "9.99" }, "links": links });
    let told = tell(&world, "PAYMENT.CAPTURE.REFUNDED", refund.clone()).await;
    assert_eq!((told.kind, told.external_payment_id, told.reference), (Kind::Refunded, Some(id("2GG279541U471931P")), None));
    let mut others = refund;
    others["custom_id"] = json!("order-17");
    assert_eq!(tell(&world, "PAYMENT.CAPTURE.REFUNDED", others).await.kind, Kind::Ignored);
}
