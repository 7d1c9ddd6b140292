//! The notifications' own function, through its ingress and its queue: purchases whose customer never returned.

use connector::checkout::expire_purchase;
use connector::checkout::order::order_key;
use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::metrics::Metric;
use connector::reason::{CompletionReason, RetryReason};
use sandbox::testkit::fixtures::{OFFER, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use crate::front::{GOOD, NATIVE, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, is_paid, redirect_result, statuses};

/// What the gateway's words came to, those about stored details left out.
async fn deliver_notifications(env: &TestEnvironment) -> Vec<Disposition> {
    let dispositions = env.deliver_notifications().await;
    dispositions.into_iter().filter(|disposition| *disposition != Disposition::Completed(CompletionReason::TokenCreated)).collect()
}

/// Adyen's tokenization webhook about the last payment's details.
async fn deliver_token_created(env: &TestEnvironment) -> Vec<Disposition> {
    deliver_token_event(env, "recurring.token.created").await
}

async fn deliver_token_event(env: &TestEnvironment, event: &str) -> Vec<Disposition> {
    let payment = env.adyen.payments().into_iter().next_back().unwrap();
    let stored = payment.stored_payment_method_id.unwrap();
    let (signature, body) = env.adyen.tokenization_webhook(event, &stored, &payment.shopper_reference);
    let messages = env.post_accepted_notification(&json!({ "hmacsignature": signature }), body.as_bytes()).await;
    env.deliver_messages_until_settled(&messages).await
}

#[tokio::test]
async fn a_purchase_without_a_return_is_paid_in_either_order_of_notifications() {
    for token_first in [false, true] {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
        env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
        if token_first {
            deliver_token_created(&env).await;
            assert_eq!(deliver_notifications(&env).await, [Disposition::Completed(CompletionReason::Captured)]);
        } else {
            let messages = vec![env.collect_notifications().await.remove(0)];
            assert!(matches!(env.deliver_notification(&messages[0]).await, Disposition::Retry { reason: RetryReason::TokenPending, .. }));
            assert_eq!(buyer.finalize(&env, &back).await.status, 202);
            deliver_token_created(&env).await;
            assert_eq!(env.deliver_messages_until_settled(&messages).await, [Disposition::Completed(CompletionReason::Captured)]);
            assert_eq!(env.deliver_messages_until_settled(&messages).await, [Disposition::Completed(CompletionReason::AlreadyFinished)]);
        }
        assert!(is_paid(&buyer.finalize(&env, &back).await));
        assert_paid_once(&env, &buyer);
        assert_eq!(env.metrics.count(Metric::Parked, ""), 0);
    }
}

#[tokio::test]
async fn the_notifications_of_a_purchase_that_went_well_change_nothing() {
    for number in [GOOD, NATIVE] {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let mut told = buyer.start(&env, &card(number, "J D", "1")).await;
        while told.body["responseData"]["action"].is_object() {
            let result = json!({ "threeDSResult": told.body["responseData"]["action"]["token"] });
            told = buyer.finalize(&env, &result).await;
        }
        assert!(is_paid(&told));
        assert_eq!(deliver_notifications(&env).await, [Disposition::Completed(CompletionReason::AlreadyFinished)]);
        assert_eq!(buyer.start(&env, &card(number, "J D", "1")).await, told);
        assert_paid_once(&env, &buyer);
        assert_eq!(env.metrics.count(Metric::Parked, ""), 0);
    }
}

#[tokio::test]
async fn a_superseded_attempt_that_succeeds_is_reversed_and_its_refund_settles_in_the_record() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let first = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
    env.adyen.finish_without_returning(first["redirectResult"].as_str().unwrap());
    let dispositions = deliver_notifications(&env).await;
    assert!(dispositions.contains(&Disposition::Completed(CompletionReason::ReversalReceived)), "{dispositions:?}");
    env.adyen.process();
    assert_eq!(deliver_notifications(&env).await, [Disposition::Completed(CompletionReason::Refunded)]);
    let late = env.adyen.payments().into_iter().next_back().unwrap();
    let record = env.payment_record(&late.reference).await;
    assert_eq!((&record["state"], &record["cleeng_payment"]), (&json!("refunded"), &json!(null)));
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_paid_once(&env, &buyer);
    assert_eq!(env.metrics.count(Metric::Parked, ""), 0);
}

#[tokio::test]
async fn a_payment_approved_after_its_order_lapsed_is_reversed() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    env.clock.advance(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(
        expire_purchase(&env.flow_context, &order_key(&buyer.order), &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::OrderExpired)
    );
    env.adyen.process();
    // Nothing was there to cancel, and Adyen says so.
    env.deliver_notifications().await;
    env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
    let dispositions = deliver_notifications(&env).await;
    assert_eq!(dispositions, [Disposition::Completed(CompletionReason::ReversalReceived)]);
    env.adyen.process();
    assert_eq!(deliver_notifications(&env).await, [Disposition::Completed(CompletionReason::Refunded)]);
    assert_eq!((env.adyen.total_refunded("USD"), statuses(&env)), (999, vec![]));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_refusal_by_notification_alone_frees_the_order() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "DECLINED", "1")).await);
    env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
    assert_eq!(deliver_notifications(&env).await, [Disposition::Completed(CompletionReason::Declined)]);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn details_of_an_earlier_purchase_or_disabled_ones_are_not_used_for_this_one() {
    for disabled in [false, true] {
        let env = TestEnvironment::default();
        let first = buyer(&env);
        assert!(is_paid(&first.start(&env, &card(GOOD, "J D", "1")).await));
        assert_eq!(deliver_token_created(&env).await, [Disposition::Completed(CompletionReason::TokenCreated)]);
        deliver_notifications(&env).await;
        env.clock.advance(std::time::Duration::from_secs(600));
        let order = env.cleeng.new_order(&first.customer, &id(OFFER), &id(ADYEN_METHOD)).unwrap();
        let second = crate::front::Buyer { order, ..first };
        let back = redirect_result(&second.start(&env, &card(REDIRECTING, "J D", "2")).await);
        env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
        if disabled {
            deliver_token_created(&env).await;
            assert_eq!(
                deliver_token_event(&env, "recurring.token.disabled").await,
                [Disposition::Completed(CompletionReason::TokenDisabled)]
            );
        }
        let message = env.collect_notifications().await.remove(0);
        let disposition = env.deliver_notification(&message).await;
        assert!(matches!(disposition, Disposition::Retry { reason: RetryReason::TokenPending, .. }), "{disabled}: {disposition:?}");
        assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    }
}
