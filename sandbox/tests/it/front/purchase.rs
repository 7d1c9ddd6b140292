//! Payment of an order.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::money::{Currency, Money};
use connector::reason::CompletionReason;
use sandbox::simulators::adyen::PaymentState;
use sandbox::testkit::fixtures::{OFFER, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use crate::front::{
    GOOD, NATIVE, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, code, is_paid, next_step, redirect_result, statuses,
    write_counts,
};

fn dollars(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

#[tokio::test]
async fn an_order_is_paid_and_cleeng_has_the_details_for_renewals() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let reply = buyer.start(&env, &card(GOOD, "J D", "1")).await;
    assert!(is_paid(&reply), "{}", reply.body);
    assert_paid_once(&env, &buyer);
    let told = &reply.body["responseData"]["payment"];
    let payment = &env.cleeng.payments()[0];
    assert_eq!(told["id"], payment.id.to_json_number());
    assert_eq!(told["totalAmount"].to_string(), "9.99");
    assert_eq!(told["externalPaymentId"], payment.external_payment_id.as_str());
    let details = env.cleeng.details(payment.details.as_ref().unwrap()).unwrap();
    assert_eq!(details.display_params, json!({ "variant": "visa", "lastCardFourDigits": "1111", "cardExpirationDate": "03/2030" }));
    // What renews must have been announced with the first payment.
    assert_eq!(env.cleeng.subscriptions().len(), 1);
    assert_eq!(write_counts(&env), (1, 1));
}

#[tokio::test]
async fn a_purchase_costs_three_journal_writes_and_three_outside_calls() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    assert_eq!(env.store.writes(), 3);
    assert_eq!(env.network.calls().len(), 3);
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_paid_after_the_return() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let action = buyer.start(&env, &card(REDIRECTING, "J D", "1")).await;
    assert_eq!((action.status.as_u16(), write_counts(&env)), (200, (1, 0)));
    let back = redirect_result(&action);
    // A reload before the customer leaves gets the same response.
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", "1")).await, action);
    let paid = buyer.finalize(&env, &back).await;
    assert!(is_paid(&paid), "{}", paid.body);
    assert_eq!(buyer.finalize(&env, &back).await, paid);
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", "1")).await, paid);
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "other")).await, paid);
    assert_eq!(write_counts(&env), (2, 1));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn in_page_authentication_takes_any_number_of_steps() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let first = buyer.start(&env, &card(NATIVE, "J D", "1")).await;
    assert_eq!(first.body["responseData"]["action"]["subtype"], "fingerprint");
    let fingerprint = json!({ "threeDSResult": first.body["responseData"]["action"]["token"] });
    let second = buyer.finalize(&env, &fingerprint).await;
    assert_eq!(second.body["responseData"]["action"]["subtype"], "challenge");
    // The same click gets the same response, and a reload shows the current state.
    assert_eq!(buyer.finalize(&env, &fingerprint).await, second);
    assert_eq!(buyer.start(&env, &card(NATIVE, "J D", "1")).await, second);
    let challenge = json!({ "threeDSResult": second.body["responseData"]["action"]["token"] });
    assert!(is_paid(&buyer.finalize(&env, &challenge).await));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn a_refusal_is_reported_once_with_its_next_step() {
    for (holder, class, next) in [
        ("NOT_ENOUGH_BALANCE", "soft", "tryLaterOrOtherMethod"),
        ("AUTHENTICATION_REQUIRED", "needs_customer", "authenticate"),
        ("CARD_EXPIRED", "needs_new_details", "checkDetails"),
        ("RESTRICTED_CARD", "hard", "otherMethod"),
        ("FRAUD", "risk", "otherMethod"),
    ] {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let refused = buyer.start(&env, &card(GOOD, holder, "1")).await;
        assert_eq!((code(&refused), next_step(&refused)), ((422, "ADYEN0002"), next), "{}", refused.body);
        assert_eq!(refused.body["declineClass"], class);
        for _ in 0..3 {
            assert_eq!(buyer.start(&env, &card(GOOD, holder, "1")).await, refused);
        }
        assert_eq!((statuses(&env), write_counts(&env)), (vec![PaymentStatus::Rejected], (1, 1)));
        assert!(env.cleeng.payments()[0].rejected_reason.as_ref().unwrap().starts_with(class));
        // Another card pays the same order.
        assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
        assert_paid_once(&env, &buyer);
    }
}

#[tokio::test]
async fn a_refusal_after_authentication_is_answered_by_finalize_and_by_start() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "NOT_3D_AUTHENTICATED", "1")).await);
    let refused = buyer.finalize(&env, &back).await;
    assert_eq!(code(&refused), (422, "ADYEN0002"));
    assert_eq!(buyer.finalize(&env, &back).await, refused);
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "NOT_3D_AUTHENTICATED", "1")).await, refused);
    assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
    assert_eq!(write_counts(&env), (2, 1));
}

#[tokio::test]
async fn the_same_data_pressed_again_later_is_a_new_attempt() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let declined = card(GOOD, "NOT_ENOUGH_BALANCE", "1");
    buyer.start(&env, &declined).await;
    env.clock.advance(Duration::from_secs(121));
    assert_eq!(code(&buyer.start(&env, &declined).await), (422, "ADYEN0002"));
    assert_eq!((statuses(&env).len(), write_counts(&env)), (2, (2, 2)));
}

#[tokio::test]
async fn refusals_of_an_order_are_limited() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    for entry in 0..5 {
        assert_eq!(code(&buyer.start(&env, &card(GOOD, "DECLINED", &entry.to_string())).await), (422, "ADYEN0002"));
    }
    let capped = buyer.start(&env, &card(GOOD, "J D", "6")).await;
    assert_eq!((code(&capped), next_step(&capped)), ((429, "ORDER0005"), "newOrder"));
    assert_eq!((write_counts(&env), env.adyen.authorisations()), ((5, 5), 0));
    // So are attempts that never come to anything.
    let buyer = crate::front::buyer(&env);
    for entry in 0..10 {
        assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", &entry.to_string())).await.status, 200);
    }
    assert_eq!(code(&buyer.start(&env, &card(REDIRECTING, "J D", "11")).await), (429, "ORDER0005"));
    // The last one still can be finished.
    assert_eq!(buyer.start(&env, &card(REDIRECTING, "J D", "9")).await.status, 200);
}

#[tokio::test]
async fn a_zero_amount_start_verifies_the_card_and_charges_nothing() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.cleeng.change_order_price(&buyer.order, dollars(0), true);
    let paid = buyer.start(&env, &card(GOOD, "J D", "1")).await;
    assert!(is_paid(&paid), "{}", paid.body);
    assert_eq!(paid.body["responseData"]["payment"]["totalAmount"].to_string(), "0.00");
    let payment = &env.cleeng.payments()[0];
    assert_eq!((payment.status.clone(), payment.total.minor), (PaymentStatus::Captured, 0));
    assert!(env.cleeng.details(payment.details.as_ref().unwrap()).unwrap().active);
    assert_eq!((env.adyen.payments()[0].amount, env.adyen.total_captured("USD")), (0, 0));
    assert_balanced(&env);
}

#[tokio::test]
async fn an_order_that_needs_no_details_never_reaches_the_gateway() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.cleeng.change_order_price(&buyer.order, dollars(0), false);
    assert_eq!(code(&buyer.start(&env, &card(GOOD, "J D", "1")).await), (422, "ORDER0006"));
    assert_eq!(write_counts(&env), (0, 0));
}

#[tokio::test]
async fn an_expired_order_is_not_paid() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    env.clock.advance(Duration::from_secs(24 * 3600));
    let token = env.cleeng.customer_token(&buyer.customer);
    let buyer = crate::front::Buyer { token, ..buyer };
    for reply in [buyer.finalize(&env, &back).await, buyer.start(&env, &card(GOOD, "J D", "2")).await] {
        assert_eq!((code(&reply), next_step(&reply)), ((422, "ORDER0001"), "newOrder"));
    }
    assert_eq!((env.adyen.authorisations(), statuses(&env).len()), (0, 0));
}

#[tokio::test]
async fn the_amount_never_comes_from_the_request() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
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
    assert!(is_paid(&env.call("initial-payment", &buyer.token, &body).await));
    let payment = &env.adyen.payments()[0];
    assert_eq!((payment.amount, payment.currency.as_str(), payment.state), (999, "USD", PaymentState::Captured));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn an_order_whose_price_rose_during_the_redirect_is_not_paid_with_the_previous_amount() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    env.cleeng.change_order_price(&buyer.order, dollars(1299), true);
    let changed = buyer.finalize(&env, &back).await;
    assert_eq!((code(&changed), next_step(&changed)), ((409, "ORDER0004"), "startAgain"));
    assert_eq!(env.adyen.authorisations(), 0);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
    assert_eq!(env.adyen.total_captured("USD"), 1299);
    assert_balanced(&env);
}

#[tokio::test]
async fn two_orders_of_one_customer_are_two_payments() {
    let env = TestEnvironment::default();
    let first = buyer(&env);
    let order = env.cleeng.new_order(&first.customer, &id(OFFER), &id(ADYEN_METHOD)).unwrap();
    let second = crate::front::Buyer { order, ..first.clone() };
    let same = card(GOOD, "J D", "1");
    assert!(is_paid(&first.start(&env, &same).await) && is_paid(&second.start(&env, &same).await));
    assert_eq!((env.adyen.total_captured("USD"), statuses(&env).len()), (1998, 2));
    assert_balanced(&env);
}

#[tokio::test]
async fn an_acknowledged_payment_is_pending_until_its_notification() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let pending = card(GOOD, "PENDING", "1");
    assert_eq!(buyer.start(&env, &pending).await.status, 202);
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "2")).await.status, 202);
    assert_eq!(write_counts(&env), (1, 0));
    env.adyen.process();
    let payment = env.adyen.payments().remove(0);
    let disposition = crate::front::without_customer::notify_authorised(&env, &payment, Some("8415718415718415")).await;
    assert_eq!(disposition, connector::flow::Disposition::Completed(CompletionReason::Captured));
    assert!(is_paid(&buyer.start(&env, &pending).await));
    assert_eq!((statuses(&env), env.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_balanced(&env);
}
