//! What the simulator tells, as the adapter reads it.

use std::time::Duration;

use connector::gateway::{CancelTarget, Gateway, GatewayNotification, NotificationError, NotificationKind as Kind, Reference};
use sandbox::house::House;

use super::requests::{action, authorise, cancel, capture, captured, done, key, payment, purchase, refund};
use super::world::{OTHER_WEBHOOK_SECRET, World, money};

fn world() -> World {
    World::new(money(999, "EUR"))
}

/// Everything that is told and not ignored.
async fn news(world: &World) -> Vec<GatewayNotification> {
    let mut all = Vec::new();
    for posted in world.simulator.take_notifications() {
        let read = world.adapter.read_notification(&posted.headers, &posted.body).await.unwrap();
        all.extend(read.into_iter().map(Result::unwrap).filter(|one| one.kind != Kind::Ignored));
    }
    all
}

fn kinds(news: &[GatewayNotification]) -> Vec<Kind> {
    news.iter().map(|one| one.kind).collect()
}

#[tokio::test]
async fn each_operation_is_told_once_with_the_payment_our_name_of_it_and_the_amount() {
    let world = world();
    let held = authorise(&world, "1").await;
    let told = news(&world).await;
    assert_eq!(kinds(&told), [Kind::Authorised]);
    let reference = Reference::from_key(&key(connector::gateway::OperationKind::Authorise, "1"));
    assert_eq!((&told[0].external_payment_id, &told[0].reference), (&Some(held.clone()), &Some(reference.clone())));
    assert_eq!(told[0].amount, Some(world.amount));
    done(world.adapter.capture(&capture(world.amount, &held, "1")).await);
    let told = news(&world).await;
    assert_eq!((kinds(&told), told[0].amount), (vec![Kind::Captured], Some(world.amount)));
    let request = refund(money(400, "EUR"), world.amount, &held, "1");
    let made = done(world.adapter.refund(&request).await);
    world.simulator.process();
    let told = news(&world).await;
    // The refund is told three times, and it is the same news.
    assert_eq!(kinds(&told), [Kind::Refunded; 3]);
    assert!(told.iter().all(|one| one.dedupe_key == told[0].dedupe_key && one.operation_ref == made.operation_ref));
    assert_eq!((&told[0].reference, told[0].amount), (&Some(request.reference), Some(money(400, "EUR"))));
    world.simulator.refund_fails_later(&made.operation_ref.unwrap());
    let told = news(&world).await;
    assert_eq!(kinds(&told), [Kind::RefundFailed; 3]);
    assert!(told.iter().all(|one| one.dedupe_key == told[0].dedupe_key));
}

#[tokio::test]
async fn a_hold_that_is_released_or_lapses_is_never_told_as_money_given_back() {
    let world = world();
    let released = authorise(&world, "1").await;
    authorise(&world, "2").await;
    news(&world).await;
    done(world.adapter.cancel(&cancel("1", CancelTarget::Payment(released))).await);
    assert_eq!(kinds(&news(&world).await), [Kind::Cancelled]);
    world.clock.advance(Duration::from_secs(5 * 24 * 3_600));
    assert_eq!(kinds(&news(&world).await), [Kind::Expired]);
}

#[tokio::test]
async fn a_purchase_is_told_with_the_details_that_it_stored() {
    let world = world();
    let request = purchase(world.amount, &world.simulator.collect("pm_card_threeDSecure2Required", 1), "1");
    let (payload, _) = action(world.adapter.start_purchase(&request).await);
    assert_eq!(kinds(&news(&world).await), []);
    world.simulator.agree(&payload);
    let told = news(&world).await;
    assert_eq!((kinds(&told), &told[0].reference), (vec![Kind::Authorised], &Some(request.reference)));
    let token = told[0].token.clone().unwrap().token;
    assert!(world.simulator.is_stored(&token));
    world.simulator.detach_in_dashboard(&token);
    let told = news(&world).await;
    assert_eq!((kinds(&told), &told[0].token.as_ref().unwrap().token), (vec![Kind::TokenDisabled], &token));
}

#[tokio::test]
async fn a_decline_and_a_failure_to_authenticate_are_told() {
    let world = world();
    world.simulator.refuse_next(&world.token, "insufficient_funds");
    assert!(world.adapter.charge(&payment(world.amount, &world.token, "1")).await.is_ok());
    let told = news(&world).await;
    assert_eq!((kinds(&told), told[0].reason.as_deref()), (vec![Kind::AuthorisationDeclined], Some("insufficient_funds")));
    let request = purchase(money(0, "EUR"), &world.simulator.collect("pm_card_authenticationRequired", 1), "2");
    let (_, operation) = action(world.adapter.start_purchase(&request).await);
    world.simulator.fail_authentication(&operation.started.unwrap());
    assert_eq!(kinds(&news(&world).await), [Kind::AuthorisationDeclined]);
}

#[tokio::test]
async fn a_dispute_is_one_chargeback_and_one_that_is_won_gives_it_back() {
    let world = world();
    for won in [true, false] {
        let paid = captured(&world, &won.to_string()).await;
        news(&world).await;
        world.simulator.charge_back(paid.as_str());
        let told = news(&world).await;
        assert_eq!((kinds(&told), &told[0].external_payment_id), (vec![Kind::ChargedBack], &Some(paid.clone())));
        world.simulator.close_dispute(paid.as_str(), won);
        let expected = if won { vec![Kind::ChargebackReversed] } else { Vec::new() };
        assert_eq!(kinds(&news(&world).await), expected);
    }
}

#[tokio::test]
async fn any_of_the_secrets_may_have_signed_and_only_for_five_minutes() {
    let world = world();
    authorise(&world, "1").await;
    world.simulator.sign_with(&["whsec_SomebodyElses0123456789abcdef", OTHER_WEBHOOK_SECRET]);
    let posted = world.simulator.take_notifications().pop().unwrap();
    assert!(world.adapter.read_notification(&posted.headers, &posted.body).await.is_ok());
    world.clock.advance(Duration::from_secs(301));
    let late = world.adapter.read_notification(&posted.headers, &posted.body).await;
    assert_eq!(late, Err(NotificationError::BadSignature));
    world.simulator.sign_with(&["whsec_SomebodyElses0123456789abcdef"]);
    authorise(&world, "2").await;
    let posted = world.simulator.take_notifications().pop().unwrap();
    assert_eq!(world.adapter.read_notification(&posted.headers, &posted.body).await, Err(NotificationError::BadSignature));
}
