//! The meaning of each event of the simulator.

use connector::gateway::{CancelTarget, Gateway, GatewayNotification, NotificationKind as Kind, Reference};
use sandbox::simulators::simulated_gateway::SimulatedGateway;
use serde_json::{Value, json};

use super::harness::{OURS, PayPalHarness, money};
use super::requests::{action, authorise, cancel, capture, captured, done, finalize, id, payment, purchase, received, refund};

fn harness() -> PayPalHarness {
    PayPalHarness::new(money(999, "EUR"))
}

async fn read_notifications(harness: &PayPalHarness) -> Vec<GatewayNotification> {
    let mut all = Vec::new();
    for posted in harness.simulator.take_notifications() {
        let read = harness.adapter.read_notification(&posted.headers, &posted.body).await.unwrap();
        all.extend(read.into_iter().map(Result::unwrap));
    }
    all
}

/// The only piece of news that means something.
async fn only_notification(harness: &PayPalHarness, kind: Kind) -> GatewayNotification {
    let mut news: Vec<_> = read_notifications(harness).await.into_iter().filter(|one| one.kind != Kind::Ignored).collect();
    assert_eq!(news.iter().map(|one| one.kind).collect::<Vec<_>>(), [kind]);
    news.pop().unwrap()
}

fn reference(attempt: &str) -> Reference {
    payment(money(1, "EUR"), "x", attempt).reference
}

#[tokio::test]
async fn authorisation_capture_and_refund_are_notified_with_our_references() {
    let harness = harness();
    let authorisation = authorise(&harness, "1").await;
    let told = only_notification(&harness, Kind::Authorised).await;
    assert_eq!((told.external_payment_id, told.reference), (Some(authorisation.clone()), Some(reference("1"))));
    assert_eq!(told.amount, Some(harness.amount));
    let taken = done(harness.adapter.capture(&capture(harness.amount, &authorisation, "1")).await);
    let told = only_notification(&harness, Kind::Captured).await;
    // The authorisation may have been renewed, so its id says nothing: our reference does.
    assert_eq!((told.external_payment_id, told.reference), (None, Some(reference("1"))));
    assert_eq!((told.operation_ref, told.amount), (taken.operation_ref, Some(harness.amount)));
    let request = refund(money(400, "EUR"), harness.amount, &taken.external_payment_id.clone().unwrap(), "1");
    let back = done(harness.adapter.refund(&request).await);
    let told = only_notification(&harness, Kind::Refunded).await;
    assert_eq!((told.external_payment_id, told.reference), (taken.external_payment_id, Some(request.reference)));
    assert_eq!((told.operation_ref, told.amount), (back.operation_ref, Some(money(400, "EUR"))));
}

#[tokio::test]
async fn an_immediate_payment_is_notified_as_authorised_by_its_capture() {
    let harness = harness();
    let charged = done(harness.adapter.charge(&payment(harness.amount, &harness.token, "1")).await);
    let told = only_notification(&harness, Kind::Authorised).await;
    assert_eq!((told.external_payment_id, told.reference), (charged.external_payment_id, Some(reference("1"))));
}

#[tokio::test]
async fn a_release_and_a_lapse_are_distinguished_by_the_authorisations_dates() {
    let harness = harness();
    for (attempt, lapses, kind) in [("1", false, Kind::Cancelled), ("2", true, Kind::Expired)] {
        let authorisation = authorise(&harness, attempt).await;
        read_notifications(&harness).await;
        if lapses {
            harness.simulator.expire(authorisation.as_str());
        } else {
            done(harness.adapter.cancel(&cancel(attempt, CancelTarget::Payment(authorisation.clone()))).await);
        }
        assert_eq!(only_notification(&harness, kind).await.external_payment_id, Some(authorisation));
    }
}

#[tokio::test]
async fn a_pending_payment_is_notified_when_it_is_decided() {
    let harness = harness();
    harness.simulator.leave_next_pending(&harness.token);
    let waiting = received(harness.adapter.charge(&payment(harness.amount, &harness.token, "1")).await).external_payment_id;
    assert!(read_notifications(&harness).await.iter().all(|one| one.kind == Kind::Ignored), "pending is no news");
    harness.simulator.deny_capture_later(waiting.clone().unwrap().as_str());
    assert_eq!(only_notification(&harness, Kind::AuthorisationDeclined).await.external_payment_id, waiting);
    harness.simulator.set_next_capture_status("PENDING");
    let authorisation = authorise(&harness, "2").await;
    let waiting = received(harness.adapter.capture(&capture(harness.amount, &authorisation, "2")).await);
    read_notifications(&harness).await;
    harness.simulator.deny_capture_later(waiting.external_payment_id.unwrap().as_str());
    let told = only_notification(&harness, Kind::CaptureFailed).await;
    assert_eq!((told.reference, told.operation_ref), (Some(reference("2")), waiting.operation_ref));
}

#[tokio::test]
async fn a_refund_that_fails_later_is_notified() {
    let harness = harness();
    let taken = captured(&harness, "1").await;
    harness.simulator.set_next_refund_status("PENDING");
    let request = refund(harness.amount, harness.amount, &taken, "1");
    let waiting = received(harness.adapter.refund(&request).await);
    read_notifications(&harness).await;
    harness.simulator.fail_refund_later(waiting.operation_ref.as_deref().unwrap());
    let told = only_notification(&harness, Kind::RefundFailed).await;
    assert_eq!((told.reference, told.operation_ref), (Some(request.reference), waiting.operation_ref));
}

#[tokio::test]
async fn an_approval_is_notified_with_its_order_and_our_reference() {
    let harness = harness();
    let request = purchase(harness.amount, "1");
    let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
    harness.simulator.complete_action(&payload);
    let told = only_notification(&harness, Kind::CustomerApproved).await;
    assert_eq!((told.reference, told.operation_ref), (Some(request.reference.clone()), operation.pending_id.clone()));
    assert_eq!((told.external_payment_id, told.amount), (None, Some(harness.amount)));
    let paid = done(harness.adapter.finalize(&finalize(&request, operation.pending_id.as_deref(), Value::Null)).await);
    let told = read_notifications(&harness).await;
    let authorised = told.iter().find(|one| one.kind == Kind::Authorised).unwrap();
    assert_eq!((&authorised.external_payment_id, &authorised.reference), (&paid.external_payment_id, &Some(request.reference)));
}

#[tokio::test]
async fn stored_details_are_notified_with_paypals_customer_in_the_adapters_token_format() {
    let harness = harness();
    harness.simulator.delay_vaulting();
    let request = purchase(harness.amount, "1");
    let (payload, operation) = action(harness.adapter.start_purchase(&request).await);
    harness.simulator.complete_action(&payload);
    let finish = finalize(&request, operation.pending_id.as_deref(), Value::Null);
    done(harness.adapter.finalize(&finish).await);
    read_notifications(&harness).await;
    harness.simulator.process();
    let told = only_notification(&harness, Kind::TokenCreated).await;
    assert_eq!(told.operation_ref, operation.pending_id, "the order");
    let told = told.token.unwrap();
    let token = done(harness.adapter.finalize(&finish).await).token.unwrap();
    assert_eq!((token.0.expose().split_once(':').unwrap().1, told.token.as_str()), (told.shopper.as_str(), token.0.expose()));
    harness.simulator.remove_by_payer(token.0.expose());
    assert_eq!(only_notification(&harness, Kind::TokenDisabled).await.token, Some(told));
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

async fn notify(harness: &PayPalHarness, event_type: &str, resource: Value) -> GatewayNotification {
    let posted = harness.simulator.notification(event_type, "dispute", resource);
    harness.adapter.read_notification(&posted.headers, &posted.body).await.unwrap().remove(0).unwrap()
}

#[tokio::test]
async fn rule_9_a_reversal_and_a_dispute_are_told_apart_by_their_ids() {
    let harness = harness();
    let taken = captured(&harness, "1").await;
    read_notifications(&harness).await;
    harness.simulator.charge_back(taken.as_str());
    let reversed = only_notification(&harness, Kind::FundsWithdrawn).await;
    assert_eq!((&reversed.external_payment_id, &reversed.reference), (&Some(taken.clone()), &Some(reference("1"))));
    let lost =
        notify(&harness, "CUSTOMER.DISPUTE.RESOLVED", dispute(taken.as_str(), "RESOLVED_BUYER_FAVOUR", &reference("1"), false)).await;
    assert_eq!((lost.kind, &lost.external_payment_id), (Kind::ChargedBack, &Some(taken.clone())));
    assert_ne!(lost.dedupe_key, reversed.dedupe_key);
    let won = notify(&harness, "CUSTOMER.DISPUTE.RESOLVED", dispute(taken.as_str(), "RESOLVED_SELLER_FAVOUR", &reference("1"), true)).await;
    assert_eq!((won.kind, won.external_payment_id), (Kind::ChargebackReversed, Some(taken)));
    assert_ne!(won.dedupe_key, lost.dedupe_key);
}

#[tokio::test]
async fn a_dispute_that_is_open_or_took_nothing_is_no_chargeback() {
    let harness = harness();
    let of = |outcome| dispute("2GG279541U471931P", outcome, &Reference::parse(OURS).unwrap(), false);
    for event in ["CUSTOMER.DISPUTE.CREATED", "CUSTOMER.DISPUTE.UPDATED", "RISK.DISPUTE.CREATED"] {
        assert_eq!(notify(&harness, event, of("RESOLVED_BUYER_FAVOUR")).await.kind, Kind::Ignored, "{event}");
    }
    for outcome in ["RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "CANCELED_BY_BUYER"] {
        assert_eq!(notify(&harness, "CUSTOMER.DISPUTE.RESOLVED", of(outcome)).await.kind, Kind::Ignored, "{outcome}");
    }
    assert_eq!(notify(&harness, "CUSTOMER.DISPUTE.RESOLVED", of("SOMETHING_NEW")).await.kind, Kind::NotUnderstood);
}

#[tokio::test]
async fn a_refund_that_was_made_by_hand_is_found_by_its_capture() {
    let harness = harness();
    let links = json!([{ "rel": "up", "href": "https://api.sandbox.paypal.com/v2/payments/captures/2GG279541U471931P" }]);
    let refund =
        json!({ "id": "1JU08902781691411", "status": "COMPLETED", "amount": { "currency_code": "EUR", "value": "9.99" }, "links": links });
    let told = notify(&harness, "PAYMENT.CAPTURE.REFUNDED", refund.clone()).await;
    assert_eq!((told.kind, told.external_payment_id, told.reference), (Kind::Refunded, Some(id("2GG279541U471931P")), None));
    let mut others = refund;
    others["custom_id"] = json!("order-17");
    assert_eq!(notify(&harness, "PAYMENT.CAPTURE.REFUNDED", others).await.kind, Kind::Ignored);
}
