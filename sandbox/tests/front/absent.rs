//! Customers who never come back: finished by the notification if the bank said yes, ended after the order's expiry if not.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::gateway::{Reference, StoredToken};
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::journal::record::Obligation;
use connector::journal::store::Store as _;
use connector::metrics::Metric;
use connector::purchase::give_back::give_back;
use connector::purchase::order::order_key;
use connector::purchase::{expire_purchase, settle_by_notification};
use connector::secret::SecretString;
use sandbox::adyen::{Payment, PaymentState};
use sandbox::peer::Fault;
use sandbox::stage::Stage;
use serde_json::json;

use crate::{GOOD, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, code, is_paid, redirect_result, statuses};

/// The news that this payment was authorised, with the stored details where the notification has them.
pub(crate) async fn authorised(stage: &Stage, payment: &Payment, stored: Option<&str>) -> Verdict {
    notified(stage, payment, true, stored).await
}

async fn notified(stage: &Stage, payment: &Payment, authorised: bool, stored: Option<&str>) -> Verdict {
    let reference = Reference::parse(&payment.reference).unwrap();
    let external = ExternalPaymentId::new(&payment.psp_reference).unwrap();
    let token = stored.map(|stored| StoredToken(SecretString::new(format!("{stored}:{}", payment.shopper_reference))));
    settle_by_notification(&stage.world, &reference, authorised, Some(&external), token, &stage.delivery()).await
}

fn away(stage: &Stage, back: &serde_json::Value) -> Payment {
    stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
    stage.adyen.payments().into_iter().next_back().unwrap()
}

#[tokio::test]
async fn a_customer_who_never_comes_back_is_finished_by_the_notification() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    let payment = away(&stage, &back);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(authorised(&stage, &payment, stored.as_deref()).await, Verdict::Settled("captured"));
    for _ in 0..4 {
        assert_eq!(authorised(&stage, &payment, stored.as_deref()).await, Verdict::Settled("known"));
    }
    assert_paid_once(&stage, &buyer);
    // He comes back after all.
    let paid = buyer.finalize(&stage, &back).await;
    assert!(is_paid(&paid));
    assert_eq!(stage.road.reached("cleeng", &Method::POST, "/payments"), 1);
}

#[tokio::test]
async fn a_notification_that_overtakes_the_answer_finishes_the_purchase_and_the_answer_agrees() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.road.lay(Fault::TimeoutAfter, |peer, _| peer == "adyen");
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
    let payment = stage.adyen.payments().remove(0);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(authorised(&stage, &payment, stored.as_deref()).await, Verdict::Settled("captured"));
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn a_token_that_comes_later_than_the_payment_is_waited_for() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    let payment = away(&stage, &back);
    assert!(matches!(authorised(&stage, &payment, None).await, Verdict::Later { reason: "token_pending", .. }));
    assert_eq!(buyer.finalize(&stage, &back).await.status, 202);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(authorised(&stage, &payment, stored.as_deref()).await, Verdict::Settled("captured"));
    assert!(is_paid(&buyer.finalize(&stage, &back).await));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn a_refusal_at_the_bank_frees_the_order_for_another_card() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "DECLINED", "1")).await);
    let payment = away(&stage, &back);
    assert_eq!(notified(&stage, &payment, false, None).await, Verdict::Settled("declined"));
    assert_eq!(notified(&stage, &payment, false, None).await, Verdict::Settled("declined"));
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected]);
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn a_notification_before_our_own_record_is_put_off_and_one_of_another_payment_is_not_ours() {
    let stage = Stage::default();
    let unknown = Reference::parse("clg-123e4567-e89b-82d3-a456-426614174000").unwrap();
    let verdict = settle_by_notification(&stage.world, &unknown, true, None, None, &stage.delivery()).await;
    assert!(matches!(verdict, Verdict::Later { reason: "payment_not_known_yet", .. }));
    let cast = stage.subscriber(sandbox::stage::METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    let renewal = stage.adyen.payments().remove(0);
    assert_eq!(authorised(&stage, &renewal, None).await, Verdict::NotOurs);
}

#[tokio::test]
async fn an_order_that_lapses_while_the_customer_is_away_is_ended_and_cancelled() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    let key = order_key(&buyer.order);
    // It is looked at again and again, and left alone until its time is over.
    assert!(stage.world.store.due(stage.world.clock.now().after(Duration::from_secs(901)), 10).await.unwrap().contains(&key));
    assert!(matches!(
        expire_purchase(&stage.world, &key, &stage.delivery()).await,
        Verdict::Later { reason: "waits_for_the_customer", .. }
    ));
    stage.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(expire_purchase(&stage.world, &key, &stage.delivery()).await, Verdict::Settled("order_expired"));
    assert_eq!(expire_purchase(&stage.world, &key, &stage.delivery()).await, Verdict::Settled("nothing_open"));
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/cancels"), 1);
    stage.adyen.process();
    // The bank says yes all the same: nobody is charged.
    let payment = away(&stage, &back);
    assert_eq!(authorised(&stage, &payment, Some("X")).await, Verdict::Settled("given_back"));
    stage.adyen.process();
    assert_eq!((stage.adyen.total_captured("USD"), stage.adyen.total_refunded("USD")), (999, 999));
    assert_eq!(statuses(&stage), []);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_silent_gateway_is_pending_until_the_order_lapses_and_then_cancelled() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    for _ in 0..2000 {
        stage.road.lay(Fault::TimeoutAfter, |peer, request| peer == "adyen" && request.path.ends_with("/payments"));
    }
    for _ in 0..20 {
        assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
        stage.clock.advance(Duration::from_secs(600));
    }
    assert_eq!((stage.adyen.payments().len(), statuses(&stage).len()), (1, 0));
    stage.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(expire_purchase(&stage.world, &order_key(&buyer.order), &stage.delivery()).await, Verdict::Settled("order_expired"));
    stage.adyen.process();
    // It was captured at once, so that cancelling came too late; the notification says so, and it is refunded.
    let payment = stage.adyen.payments().remove(0);
    assert_eq!(payment.state, PaymentState::Captured);
    assert_eq!(authorised(&stage, &payment, None).await, Verdict::Settled("given_back"));
    stage.adyen.process();
    assert_eq!(stage.adyen.total_refunded("USD"), 999);
    assert_balanced(&stage);
}

#[tokio::test]
async fn what_is_paid_and_not_reported_is_reported_by_whoever_looks_next() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.road.lay(Fault::NotSent, |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
    assert_eq!(expire_purchase(&stage.world, &order_key(&buyer.order), &stage.delivery()).await, Verdict::Settled("captured"));
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn a_refused_attempt_that_turns_out_to_be_paid_is_for_an_operator() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    assert_eq!(code(&buyer.start(&stage, &card(GOOD, "DECLINED", "1")).await), (422, "ADYEN0002"));
    let payment = stage.adyen.payments().remove(0);
    assert_eq!(authorised(&stage, &payment, None).await, Verdict::Parked("closed_payment_succeeded"));
    assert_eq!(stage.metrics.count(Metric::Parked, "closed_payment_succeeded"), 1);
}

#[tokio::test]
async fn what_adyen_tells_by_itself_finishes_the_purchase_of_a_customer_who_never_comes_back() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
    let payment = away(&stage, &back);
    // The whole way: Adyen's notifications, signed, through the door and the queue of the function that takes them; the stored details
    // come after the payment, and all of it comes twice.
    let mut told = stage.take_notifications().await;
    assert!(!told.is_empty());
    let stored = payment.stored_payment_method_id.clone().unwrap();
    let (signature, body) = stage.adyen.tokenization("recurring.token.created", &stored, &payment.shopper_reference);
    told.extend(stage.accepted(&json!({ "HmacSignature": signature }), body.as_bytes()).await);
    for _ in 0..2 {
        let verdicts = stage.settle_all(&told).await;
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Settled(_) | Verdict::NotOurs)), "{verdicts:?}");
    }
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn what_the_gateway_answered_stands_whatever_a_notification_says_later() {
    for (holder, told, verdict, status) in
        [("J D", false, "captured", PaymentStatus::Captured), ("DECLINED", true, "declined", PaymentStatus::Rejected)]
    {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        // The answer is in the journal, and Cleeng has not heard of it yet.
        stage.road.lay(Fault::NotSent, |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
        assert_eq!(buyer.start(&stage, &card(GOOD, holder, "1")).await.status, 202);
        let payment = stage.adyen.payments().remove(0);
        assert_eq!(notified(&stage, &payment, told, None).await, Verdict::Settled(verdict));
        assert_eq!(statuses(&stage), [status]);
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn what_the_customer_brought_back_and_nobody_knows_the_outcome_of_is_finished_without_him_while_the_order_lasts() {
    for (hours, verdict, taken) in [(1, "captured", 999), (24, "order_expired", 0)] {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
        stage.road.lay(Fault::TimeoutBefore, |peer, request| peer == "adyen" && request.path.ends_with("/payments/details"));
        assert_eq!(buyer.finalize(&stage, &back).await.status, 202);
        stage.clock.advance(Duration::from_secs(hours * 3600));
        let key = order_key(&buyer.order);
        assert_eq!(expire_purchase(&stage.world, &key, &stage.delivery()).await, Verdict::Settled(verdict));
        assert_eq!(
            (stage.adyen.total_captured("USD"), stage.road.reached("adyen", &Method::POST, "/cancels")),
            (taken, usize::from(taken == 0))
        );
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn what_never_reached_the_gateway_ends_with_its_order_and_nothing_is_cancelled() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.road.lay(Fault::NotSent, |peer, _| peer == "adyen");
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 503);
    let key = order_key(&buyer.order);
    let before = expire_purchase(&stage.world, &key, &stage.delivery()).await;
    assert!(matches!(before, Verdict::Later { reason: "waits_for_the_customer", .. }));
    stage.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(expire_purchase(&stage.world, &key, &stage.delivery()).await, Verdict::Settled("order_expired"));
    assert_eq!(expire_purchase(&stage.world, &key, &stage.delivery()).await, Verdict::Settled("nothing_open"));
    assert_eq!(stage.road.calls().into_iter().filter(|call| call.peer == "adyen" && call.reached).count(), 0);
}

#[tokio::test]
async fn what_was_called_off_is_not_called_off_again() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await;
    stage.clock.advance(Duration::from_secs(24 * 3600));
    let key = order_key(&buyer.order);
    assert_eq!(expire_purchase(&stage.world, &key, &stage.delivery()).await, Verdict::Settled("order_expired"));
    let stored = stage.store.load(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap();
    let order: Obligation = serde_json::from_str(&stored.body).unwrap();
    let reference = order.attempts[0].reference.clone().unwrap();
    for _ in 0..2 {
        assert_eq!(give_back(&stage.world, &reference, None, &stage.delivery()).await, Verdict::Settled("given_back"));
    }
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/cancels"), 1);
}
