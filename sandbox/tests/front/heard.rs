//! The notifications' own function, through its door and its queue: what a customer who never came back left behind.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::metrics::Metric;
use connector::purchase::expire_purchase;
use connector::purchase::order::order_key;
use sandbox::stage::{METHOD, OFFER, Stage, id};
use serde_json::json;

use crate::{GOOD, NATIVE, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, is_paid, redirect_result, statuses};

/// What the gateway's words came to, those about stored details left out.
async fn heard(stage: &Stage) -> Vec<Verdict> {
    let verdicts = stage.hear_gateways().await;
    verdicts.into_iter().filter(|verdict| *verdict != Verdict::Settled("token_created")).collect()
}

/// Adyen's tokenization webhook about the last payment's details.
async fn token_created(stage: &Stage) -> Vec<Verdict> {
    token_told(stage, "recurring.token.created").await
}

async fn token_told(stage: &Stage, event: &str) -> Vec<Verdict> {
    let payment = stage.adyen.payments().into_iter().next_back().unwrap();
    let stored = payment.stored_payment_method_id.unwrap();
    let (signature, body) = stage.adyen.tokenization(event, &stored, &payment.shopper_reference);
    let messages = stage.accepted(&json!({ "hmacsignature": signature }), body.as_bytes()).await;
    stage.settle_all(&messages).await
}

#[tokio::test]
async fn a_customer_who_never_comes_back_has_his_order_whichever_word_comes_first() {
    for token_first in [false, true] {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
        stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
        if token_first {
            token_created(&stage).await;
            assert_eq!(heard(&stage).await, [Verdict::Settled("captured")]);
        } else {
            let messages = vec![stage.take_notifications().await.remove(0)];
            assert!(matches!(stage.settle(&messages[0]).await, Verdict::Later { reason: "token_pending", .. }));
            assert_eq!(buyer.finalize(&stage, &back).await.status, 202);
            token_created(&stage).await;
            assert_eq!(stage.settle_all(&messages).await, [Verdict::Settled("captured")]);
            assert_eq!(stage.settle_all(&messages).await, [Verdict::Settled("known")]);
        }
        assert!(is_paid(&buyer.finalize(&stage, &back).await));
        assert_paid_once(&stage, &buyer);
        assert_eq!(stage.metrics.count(Metric::Parked, ""), 0);
    }
}

#[tokio::test]
async fn the_notifications_of_a_purchase_that_went_well_change_nothing() {
    for number in [GOOD, NATIVE] {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let mut told = buyer.start(&stage, &card(number, "J D", "1")).await;
        while told.body["responseData"]["action"].is_object() {
            let result = json!({ "threeDSResult": told.body["responseData"]["action"]["token"] });
            told = buyer.finalize(&stage, &result).await;
        }
        assert!(is_paid(&told));
        assert_eq!(heard(&stage).await, [Verdict::Settled("known")]);
        assert_eq!(buyer.start(&stage, &card(number, "J D", "1")).await, told);
        assert_paid_once(&stage, &buyer);
        assert_eq!(stage.metrics.count(Metric::Parked, ""), 0);
    }
}

#[tokio::test]
async fn a_superseded_attempt_that_succeeds_is_given_back_and_its_refund_settles_in_the_record() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let first = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
    stage.adyen.finish_away(first["redirectResult"].as_str().unwrap());
    let verdicts = heard(&stage).await;
    assert!(verdicts.contains(&Verdict::Settled("given_back")), "{verdicts:?}");
    stage.adyen.process();
    assert_eq!(heard(&stage).await, [Verdict::Settled("refunded")]);
    let late = stage.adyen.payments().into_iter().next_back().unwrap();
    let record = stage.record_of(&late.reference).await;
    assert_eq!((&record["state"], &record["cleeng_payment"]), (&json!("refunded"), &json!(null)));
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_paid_once(&stage, &buyer);
    assert_eq!(stage.metrics.count(Metric::Parked, ""), 0);
}

#[tokio::test]
async fn a_lapsed_order_whose_bank_says_yes_later_is_given_back() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    stage.clock.advance(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(expire_purchase(&stage.world, &order_key(&buyer.order), &stage.delivery()).await, Verdict::Settled("order_expired"));
    stage.adyen.process();
    // Nothing was there to cancel, and Adyen says so.
    stage.hear_gateways().await;
    stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
    let verdicts = heard(&stage).await;
    assert_eq!(verdicts, [Verdict::Settled("given_back")]);
    stage.adyen.process();
    assert_eq!(heard(&stage).await, [Verdict::Settled("refunded")]);
    assert_eq!((stage.adyen.total_refunded("USD"), statuses(&stage)), (999, vec![]));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_refusal_told_by_notification_alone_frees_the_order() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "DECLINED", "1")).await);
    stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
    assert_eq!(heard(&stage).await, [Verdict::Settled("declined")]);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn details_of_an_earlier_purchase_or_disabled_ones_are_not_taken_for_those_of_this_one() {
    for disabled in [false, true] {
        let stage = Stage::default();
        let first = buyer(&stage);
        assert!(is_paid(&first.start(&stage, &card(GOOD, "J D", "1")).await));
        assert_eq!(token_created(&stage).await, [Verdict::Settled("token_created")]);
        heard(&stage).await;
        stage.clock.advance(std::time::Duration::from_secs(600));
        let order = stage.cleeng.new_order(&first.customer, &id(OFFER), &id(METHOD)).unwrap();
        let second = crate::Buyer { order, ..first };
        let back = redirect_result(&second.start(&stage, &card(REDIRECTING, "J D", "2")).await);
        stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
        if disabled {
            token_created(&stage).await;
            assert_eq!(token_told(&stage, "recurring.token.disabled").await, [Verdict::Settled("token_disabled")]);
        }
        let message = stage.take_notifications().await.remove(0);
        let verdict = stage.settle(&message).await;
        assert!(matches!(verdict, Verdict::Later { reason: "token_pending", .. }), "{disabled}: {verdict:?}");
        assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    }
}
