//! The main job: an order is paid.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::money::{Currency, Money};
use sandbox::adyen::PaymentState;
use sandbox::stage::{METHOD, OFFER, Stage, id};
use serde_json::json;

use crate::{
    GOOD, NATIVE, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, code, is_paid, next_step, redirect_result, statuses, writes,
};

fn dollars(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

#[tokio::test]
async fn an_order_is_paid_and_cleeng_has_the_details_for_renewals() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let reply = buyer.start(&stage, &card(GOOD, "J D", "1")).await;
    assert!(is_paid(&reply), "{}", reply.body);
    assert_paid_once(&stage, &buyer);
    let told = &reply.body["responseData"]["payment"];
    let payment = &stage.cleeng.payments()[0];
    assert_eq!(told["id"], payment.id.to_json_number());
    assert_eq!(told["totalAmount"].to_string(), "9.99");
    assert_eq!(told["externalPaymentId"], payment.external_payment_id.as_str());
    let details = stage.cleeng.details(payment.details.as_ref().unwrap()).unwrap();
    assert_eq!(details.shown, json!({ "variant": "visa", "lastCardFourDigits": "1111", "cardExpirationDate": "3/2030" }));
    // What renews must have been announced with the first payment.
    assert_eq!(stage.cleeng.subscriptions().len(), 1);
    assert_eq!(writes(&stage), (1, 1));
}

#[tokio::test]
async fn a_purchase_costs_three_journal_writes_and_three_outside_calls() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    assert_eq!(stage.store.writes(), 3);
    assert_eq!(stage.road.calls().len(), 3);
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_paid_when_the_customer_is_back() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let action = buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await;
    assert_eq!((action.status.as_u16(), writes(&stage)), (200, (1, 0)));
    let back = redirect_result(&action);
    // A reload before he goes is told the same.
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await, action);
    let paid = buyer.finalize(&stage, &back).await;
    assert!(is_paid(&paid), "{}", paid.body);
    assert_eq!(buyer.finalize(&stage, &back).await, paid);
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await, paid);
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "other")).await, paid);
    assert_eq!(writes(&stage), (2, 1));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn authentication_within_the_page_takes_as_many_rounds_as_it_takes() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let first = buyer.start(&stage, &card(NATIVE, "J D", "1")).await;
    assert_eq!(first.body["responseData"]["action"]["subtype"], "fingerprint");
    let fingerprint = json!({ "threeDSResult": first.body["responseData"]["action"]["token"] });
    let second = buyer.finalize(&stage, &fingerprint).await;
    assert_eq!(second.body["responseData"]["action"]["subtype"], "challenge");
    // The same click again is told the same, and a reload finds the customer where he stands.
    assert_eq!(buyer.finalize(&stage, &fingerprint).await, second);
    assert_eq!(buyer.start(&stage, &card(NATIVE, "J D", "1")).await, second);
    let challenge = json!({ "threeDSResult": second.body["responseData"]["action"]["token"] });
    assert!(is_paid(&buyer.finalize(&stage, &challenge).await));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn a_refusal_is_reported_once_and_tells_what_to_do_next() {
    for (holder, class, next) in [
        ("NOT_ENOUGH_BALANCE", "soft", "tryLaterOrOtherMethod"),
        ("AUTHENTICATION_REQUIRED", "needs_customer", "authenticate"),
        ("CARD_EXPIRED", "needs_new_details", "checkDetails"),
        ("RESTRICTED_CARD", "hard", "otherMethod"),
        ("FRAUD", "risk", "otherMethod"),
    ] {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let refused = buyer.start(&stage, &card(GOOD, holder, "1")).await;
        assert_eq!((code(&refused), next_step(&refused)), ((422, "ADYEN0002"), next), "{}", refused.body);
        assert_eq!(refused.body["responseData"]["declineClass"], class);
        for _ in 0..3 {
            assert_eq!(buyer.start(&stage, &card(GOOD, holder, "1")).await, refused);
        }
        assert_eq!((statuses(&stage), writes(&stage)), (vec![PaymentStatus::Rejected], (1, 1)));
        assert!(stage.cleeng.payments()[0].rejected_reason.as_ref().unwrap().starts_with(class));
        // Another card pays the same order.
        assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
        assert_paid_once(&stage, &buyer);
    }
}

#[tokio::test]
async fn a_refusal_after_authentication_is_told_by_finalize_and_by_start() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "NOT_3D_AUTHENTICATED", "1")).await);
    let refused = buyer.finalize(&stage, &back).await;
    assert_eq!(code(&refused), (422, "ADYEN0002"));
    assert_eq!(buyer.finalize(&stage, &back).await, refused);
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "NOT_3D_AUTHENTICATED", "1")).await, refused);
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected]);
    assert_eq!(writes(&stage), (2, 1));
}

#[tokio::test]
async fn the_same_data_pressed_again_later_is_a_new_attempt() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let declined = card(GOOD, "NOT_ENOUGH_BALANCE", "1");
    buyer.start(&stage, &declined).await;
    stage.clock.advance(Duration::from_secs(121));
    assert_eq!(code(&buyer.start(&stage, &declined).await), (422, "ADYEN0002"));
    assert_eq!((statuses(&stage).len(), writes(&stage)), (2, (2, 2)));
}

#[tokio::test]
async fn refusals_of_an_order_are_capped() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    for entry in 0..5 {
        assert_eq!(code(&buyer.start(&stage, &card(GOOD, "DECLINED", &entry.to_string())).await), (422, "ADYEN0002"));
    }
    let capped = buyer.start(&stage, &card(GOOD, "J D", "6")).await;
    assert_eq!((code(&capped), next_step(&capped)), ((429, "ORDER0005"), "newOrder"));
    assert_eq!((writes(&stage), stage.adyen.authorisations()), ((5, 5), 0));
    // So are attempts that never come to anything.
    let buyer = crate::buyer(&stage);
    for entry in 0..10 {
        assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", &entry.to_string())).await.status, 200);
    }
    assert_eq!(code(&buyer.start(&stage, &card(REDIRECTING, "J D", "11")).await), (429, "ORDER0005"));
    // The last one still can be finished.
    assert_eq!(buyer.start(&stage, &card(REDIRECTING, "J D", "9")).await.status, 200);
}

#[tokio::test]
async fn a_free_start_verifies_the_card_and_takes_nothing() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.cleeng.reprice(&buyer.order, dollars(0), true);
    let paid = buyer.start(&stage, &card(GOOD, "J D", "1")).await;
    assert!(is_paid(&paid), "{}", paid.body);
    assert_eq!(paid.body["responseData"]["payment"]["totalAmount"].to_string(), "0.00");
    let payment = &stage.cleeng.payments()[0];
    assert_eq!((payment.status.clone(), payment.total.minor), (PaymentStatus::Captured, 0));
    assert!(stage.cleeng.details(payment.details.as_ref().unwrap()).unwrap().active);
    assert_eq!((stage.adyen.payments()[0].amount, stage.adyen.total_captured("USD")), (0, 0));
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_order_that_needs_no_details_is_none_of_the_gateways_business() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.cleeng.reprice(&buyer.order, dollars(0), false);
    assert_eq!(code(&buyer.start(&stage, &card(GOOD, "J D", "1")).await), (422, "ORDER0006"));
    assert_eq!(writes(&stage), (0, 0));
}

#[tokio::test]
async fn an_expired_order_is_not_paid() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    stage.clock.advance(Duration::from_secs(24 * 3600));
    let token = stage.cleeng.customer_token(&buyer.customer);
    let buyer = crate::Buyer { token, ..buyer };
    for reply in [buyer.finalize(&stage, &back).await, buyer.start(&stage, &card(GOOD, "J D", "2")).await] {
        assert_eq!((code(&reply), next_step(&reply)), ((422, "ORDER0001"), "newOrder"));
    }
    assert_eq!((stage.adyen.authorisations(), statuses(&stage).len()), (0, 0));
}

#[tokio::test]
async fn the_amount_never_comes_from_the_request() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let mut body = buyer.start_body(&card(GOOD, "J D", "1"));
    for (name, value) in [
        ("amount", json!({ "value": 1, "currency": "USD" })),
        ("totalPrice", json!(0.01)),
        ("currency", json!("EUR")),
        ("customerId", json!(1)),
        ("shopperReference", json!("somebody")),
        ("merchantAccount", json!("Other")),
        ("reference", json!("mine")),
        ("captureDelayHours", json!(600)),
    ] {
        body[name] = value;
    }
    assert!(is_paid(&stage.call("initial-payment", &buyer.token, &body).await));
    let payment = &stage.adyen.payments()[0];
    assert_eq!((payment.amount, payment.currency.as_str(), payment.state), (999, "USD", PaymentState::Captured));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn an_order_that_became_dearer_while_the_customer_was_away_is_not_paid_with_the_old_amount() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    stage.cleeng.reprice(&buyer.order, dollars(1299), true);
    let changed = buyer.finalize(&stage, &back).await;
    assert_eq!((code(&changed), next_step(&changed)), ((409, "ORDER0004"), "startAgain"));
    assert_eq!(stage.adyen.authorisations(), 0);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
    assert_eq!(stage.adyen.total_captured("USD"), 1299);
    assert_balanced(&stage);
}

#[tokio::test]
async fn two_orders_of_one_customer_are_two_payments() {
    let stage = Stage::default();
    let first = buyer(&stage);
    let order = stage.cleeng.new_order(&first.customer, &id(OFFER), &id(METHOD)).unwrap();
    let second = crate::Buyer { order, ..first.clone() };
    let same = card(GOOD, "J D", "1");
    assert!(is_paid(&first.start(&stage, &same).await) && is_paid(&second.start(&stage, &same).await));
    assert_eq!((stage.adyen.total_captured("USD"), statuses(&stage).len()), (1998, 2));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_payment_that_the_gateway_only_took_is_pending_until_its_notification() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let pending = card(GOOD, "PENDING", "1");
    assert_eq!(buyer.start(&stage, &pending).await.status, 202);
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "2")).await.status, 202);
    assert_eq!(writes(&stage), (1, 0));
    stage.adyen.process();
    let payment = stage.adyen.payments().remove(0);
    let verdict = crate::absent::authorised(&stage, &payment, Some("8415718415718415")).await;
    assert_eq!(verdict, connector::flow::Verdict::Settled("captured"));
    assert!(is_paid(&buyer.start(&stage, &pending).await));
    assert_eq!((statuses(&stage), stage.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_balanced(&stage);
}
