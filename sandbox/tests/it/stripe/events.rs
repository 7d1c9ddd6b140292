//! The simulator's events, as the adapter reads them.

use std::time::Duration;

use connector::gateway::{CancelTarget, Gateway, GatewayNotification, NotificationError, NotificationKind as Kind, Reference};
use sandbox::simulators::simulated_gateway::SimulatedGateway;

use super::harness::{OTHER_WEBHOOK_SECRET, StripeHarness, money};
use super::requests::{action, authorise, cancel, capture, captured, done, key, payment, purchase, refund};

fn harness() -> StripeHarness {
    StripeHarness::new(money(999, "EUR"))
}

/// Everything that is notified and not ignored.
async fn read_notifications(harness: &StripeHarness) -> Vec<GatewayNotification> {
    let mut all = Vec::new();
    for posted in harness.simulator.take_notifications() {
        let read = harness.adapter.read_notification(&posted.headers, &posted.body).await.unwrap();
        all.extend(read.into_iter().map(Result::unwrap).filter(|one| one.kind != Kind::Ignored));
    }
    all
}

fn kinds(news: &[GatewayNotification]) -> Vec<Kind> {
    news.iter().map(|one| one.kind).collect()
}

#[tokio::test]
async fn each_operation_is_notified_once_with_payment_reference_and_amount() {
    let harness = harness();
    let held = authorise(&harness, "1").await;
    let told = read_notifications(&harness).await;
    assert_eq!(kinds(&told), [Kind::Authorised]);
    let reference = Reference::from_key(&key(connector::gateway::OperationKind::Authorise, "1"));
    assert_eq!((&told[0].external_payment_id, &told[0].reference), (&Some(held.clone()), &Some(reference.clone())));
    assert_eq!(told[0].amount, Some(harness.amount));
    done(harness.adapter.capture(&capture(harness.amount, &held, "1")).await);
    let told = read_notifications(&harness).await;
    assert_eq!((kinds(&told), told[0].amount), (vec![Kind::Captured], Some(harness.amount)));
    let request = refund(money(400, "EUR"), harness.amount, &held, "1");
    let made = done(harness.adapter.refund(&request).await);
    harness.simulator.process();
    let told = read_notifications(&harness).await;
    // The refund is notified three times, with one dedupe key.
    assert_eq!(kinds(&told), [Kind::Refunded; 3]);
    assert!(told.iter().all(|one| one.dedupe_key == told[0].dedupe_key && one.operation_ref == made.operation_ref));
    assert_eq!((&told[0].reference, told[0].amount), (&Some(request.reference), Some(money(400, "EUR"))));
    harness.simulator.fail_refund_later(&made.operation_ref.unwrap());
    let told = read_notifications(&harness).await;
    assert_eq!(kinds(&told), [Kind::RefundFailed; 3]);
    assert!(told.iter().all(|one| one.dedupe_key == told[0].dedupe_key));
}

#[tokio::test]
async fn a_released_or_lapsed_authorisation_is_never_notified_as_a_refund() {
    let harness = harness();
    let released = authorise(&harness, "1").await;
    authorise(&harness, "2").await;
    read_notifications(&harness).await;
    done(harness.adapter.cancel(&cancel("1", CancelTarget::Payment(released))).await);
    assert_eq!(kinds(&read_notifications(&harness).await), [Kind::Cancelled]);
    harness.clock.advance(Duration::from_secs(5 * 24 * 3_600));
    assert_eq!(kinds(&read_notifications(&harness).await), [Kind::Expired]);
}

#[tokio::test]
async fn a_purchase_is_notified_with_the_details_that_it_stored() {
    let harness = harness();
    let request = purchase(harness.amount, &harness.simulator.tokenize_card("pm_card_threeDSecure2Required", 1), "1");
    let (payload, _) = action(harness.adapter.start_purchase(&request).await);
    assert_eq!(kinds(&read_notifications(&harness).await), []);
    harness.simulator.complete_action(&payload);
    let told = read_notifications(&harness).await;
    assert_eq!((kinds(&told), &told[0].reference), (vec![Kind::Authorised], &Some(request.reference)));
    let token = told[0].token.clone().unwrap().token;
    assert!(harness.simulator.has_stored_details(&token));
    harness.simulator.detach_in_dashboard(&token);
    let told = read_notifications(&harness).await;
    assert_eq!((kinds(&told), &told[0].token.as_ref().unwrap().token), (vec![Kind::TokenDisabled], &token));
}

#[tokio::test]
async fn a_decline_and_a_failed_authentication_are_notified() {
    let harness = harness();
    harness.simulator.decline_next_with(&harness.token, "insufficient_funds");
    assert!(harness.adapter.charge(&payment(harness.amount, &harness.token, "1")).await.is_ok());
    let told = read_notifications(&harness).await;
    assert_eq!((kinds(&told), told[0].reason.as_deref()), (vec![Kind::AuthorisationDeclined], Some("insufficient_funds")));
    let request = purchase(money(0, "EUR"), &harness.simulator.tokenize_card("pm_card_authenticationRequired", 1), "2");
    let (_, operation) = action(harness.adapter.start_purchase(&request).await);
    harness.simulator.fail_authentication(&operation.pending_id.unwrap());
    assert_eq!(kinds(&read_notifications(&harness).await), [Kind::AuthorisationDeclined]);
}

#[tokio::test]
async fn a_dispute_is_one_chargeback_and_a_won_one_reverses_it() {
    let harness = harness();
    for won in [true, false] {
        let paid = captured(&harness, &won.to_string()).await;
        read_notifications(&harness).await;
        harness.simulator.charge_back(paid.as_str());
        let told = read_notifications(&harness).await;
        assert_eq!((kinds(&told), &told[0].external_payment_id), (vec![Kind::ChargedBack], &Some(paid.clone())));
        harness.simulator.close_dispute(paid.as_str(), won);
        let expected = if won { vec![Kind::ChargebackReversed] } else { Vec::new() };
        assert_eq!(kinds(&read_notifications(&harness).await), expected);
    }
}

#[tokio::test]
async fn any_of_the_secrets_may_have_signed_and_only_for_five_minutes() {
    let harness = harness();
    authorise(&harness, "1").await;
    harness.simulator.sign_with(&["whsec_SomebodyElses0123456789abcdef", OTHER_WEBHOOK_SECRET]);
    let posted = harness.simulator.take_notifications().pop().unwrap();
    assert!(harness.adapter.read_notification(&posted.headers, &posted.body).await.is_ok());
    harness.clock.advance(Duration::from_secs(301));
    let late = harness.adapter.read_notification(&posted.headers, &posted.body).await;
    assert_eq!(late, Err(NotificationError::BadSignature));
    harness.simulator.sign_with(&["whsec_SomebodyElses0123456789abcdef"]);
    authorise(&harness, "2").await;
    let posted = harness.simulator.take_notifications().pop().unwrap();
    assert_eq!(harness.adapter.read_notification(&posted.headers, &posted.body).await, Err(NotificationError::BadSignature));
}
