//! Customers who never return: the notification completes the purchase if the bank approved it; otherwise it is closed when the order
//! expires.

use std::time::Duration;

use connector::checkout::order::order_key;
use connector::checkout::{AuthorisationNotification, expire_purchase, settle_by_notification};
use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::{Decline, DeclineClass, Reference, StoredToken};
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::journal::record::Obligation;
use connector::journal::store::Store as _;
use connector::payments::reversal::reverse;
use connector::reason::{CompletionReason, RetryReason};
use connector::secret::SecretString;
use sandbox::simulators::adyen::{Payment, PaymentState};
use sandbox::simulators::network::Fault;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::json;

use crate::front::{GOOD, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, is_paid, redirect_result, statuses};

/// The news that this payment was authorised, with the stored details where the notification has them.
pub(crate) async fn notify_authorised(env: &TestEnvironment, payment: &Payment, stored: Option<&str>) -> Disposition {
    notify(env, payment, true, stored).await
}

async fn notify(env: &TestEnvironment, payment: &Payment, authorised: bool, stored: Option<&str>) -> Disposition {
    let reference = Reference::parse(&payment.reference).unwrap();
    let external = ExternalPaymentId::new(&payment.psp_reference).unwrap();
    let token = stored.map(|stored| StoredToken(SecretString::new(format!("{stored}:{}", payment.shopper_reference))));
    let declined = (!authorised).then(|| Decline::new(DeclineClass::Soft, "notified"));
    let notification = AuthorisationNotification { reference: &reference, declined, external: Some(&external), token };
    settle_by_notification(&env.flow_context, &notification, &env.delivery_received_now()).await
}

fn finish_at_gateway(env: &TestEnvironment, back: &serde_json::Value) -> Payment {
    env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
    env.adyen.payments().into_iter().next_back().unwrap()
}

#[tokio::test]
async fn a_purchase_without_a_return_is_finished_by_the_notification() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    let payment = finish_at_gateway(&env, &back);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(notify_authorised(&env, &payment, stored.as_deref()).await, Disposition::Completed(CompletionReason::Captured));
    for _ in 0..4 {
        assert_eq!(notify_authorised(&env, &payment, stored.as_deref()).await, Disposition::Completed(CompletionReason::AlreadyFinished));
    }
    assert_paid_once(&env, &buyer);
    // The customer returns after all.
    let paid = buyer.finalize(&env, &back).await;
    assert!(is_paid(&paid));
    assert_eq!(env.network.delivered_count("cleeng", &Method::POST, "/payments"), 1);
}

#[tokio::test]
async fn a_notification_that_overtakes_the_answer_finishes_the_purchase_and_the_answer_agrees() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.network.inject(Fault::TimeoutAfter, |peer, _| peer == "adyen");
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
    let payment = env.adyen.payments().remove(0);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(notify_authorised(&env, &payment, stored.as_deref()).await, Disposition::Completed(CompletionReason::Captured));
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn a_token_that_arrives_after_the_payment_is_waited_for() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    let payment = finish_at_gateway(&env, &back);
    assert!(matches!(notify_authorised(&env, &payment, None).await, Disposition::Retry { reason: RetryReason::TokenPending, .. }));
    assert_eq!(buyer.finalize(&env, &back).await.status, 202);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(notify_authorised(&env, &payment, stored.as_deref()).await, Disposition::Completed(CompletionReason::Captured));
    assert!(is_paid(&buyer.finalize(&env, &back).await));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn a_refusal_at_the_bank_frees_the_order_for_another_card() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "DECLINED", "1")).await);
    let payment = finish_at_gateway(&env, &back);
    assert_eq!(notify(&env, &payment, false, None).await, Disposition::Completed(CompletionReason::Declined));
    assert_eq!(notify(&env, &payment, false, None).await, Disposition::Completed(CompletionReason::Declined));
    assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn a_notification_before_our_own_record_is_deferred_and_one_of_another_payment_is_ignored() {
    let env = TestEnvironment::default();
    let unknown = Reference::parse("clg-123e4567-e89b-82d3-a456-426614174000").unwrap();
    let notification = AuthorisationNotification { reference: &unknown, declined: None, external: None, token: None };
    let disposition = settle_by_notification(&env.flow_context, &notification, &env.delivery_received_now()).await;
    assert!(matches!(disposition, Disposition::Retry { reason: RetryReason::PaymentNotKnownYet, .. }));
    let subscriber = env.subscriber(sandbox::testkit::gateway_fixtures::ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    let renewal = env.adyen.payments().remove(0);
    assert_eq!(notify_authorised(&env, &renewal, None).await, Disposition::NotOurs);
}

#[tokio::test]
async fn an_order_that_lapses_during_the_redirect_is_ended_and_cancelled() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    let key = order_key(&buyer.order);
    // It is looked at again and again, and left alone until its time is over.
    assert!(env.flow_context.store.due(env.flow_context.clock.now().after(Duration::from_secs(901)), 10).await.unwrap().contains(&key));
    assert!(matches!(
        expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await,
        Disposition::Retry { reason: RetryReason::WaitingForCustomer, .. }
    ));
    env.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(
        expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::OrderExpired)
    );
    assert_eq!(
        expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::NothingOpen)
    );
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/cancels"), 1);
    env.adyen.process();
    // The bank says yes all the same: nobody is charged.
    let payment = finish_at_gateway(&env, &back);
    assert_eq!(notify_authorised(&env, &payment, Some("X")).await, Disposition::Completed(CompletionReason::ReversalReceived));
    env.adyen.process();
    assert_eq!((env.adyen.total_captured("USD"), env.adyen.total_refunded("USD")), (999, 999));
    assert_eq!(statuses(&env), []);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_silent_gateway_is_pending_until_the_order_lapses_and_then_cancelled() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    for _ in 0..2000 {
        env.network.inject(Fault::TimeoutAfter, |peer, request| peer == "adyen" && request.path.ends_with("/payments"));
    }
    for _ in 0..20 {
        assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
        env.clock.advance(Duration::from_secs(600));
    }
    assert_eq!((env.adyen.payments().len(), statuses(&env).len()), (1, 0));
    env.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(
        expire_purchase(&env.flow_context, &order_key(&buyer.order), &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::OrderExpired)
    );
    env.adyen.process();
    // It was captured at once, so that cancelling came too late; the notification says so, and it is refunded.
    let payment = env.adyen.payments().remove(0);
    assert_eq!(payment.state, PaymentState::Captured);
    assert_eq!(notify_authorised(&env, &payment, None).await, Disposition::Completed(CompletionReason::ReversalReceived));
    env.adyen.process();
    assert_eq!(env.adyen.total_refunded("USD"), 999);
    assert_balanced(&env);
}

#[tokio::test]
async fn an_unreported_payment_is_reported_by_the_next_call_or_run() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.network.inject(Fault::NotSent, |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
    assert_eq!(
        expire_purchase(&env.flow_context, &order_key(&buyer.order), &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::Captured)
    );
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn adyens_notifications_finish_a_purchase_without_a_return() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
    let payment = finish_at_gateway(&env, &back);
    // The whole way: Adyen's notifications, signed, through the ingress and the queue of their function; the stored details
    // come after the payment, and all of it comes twice.
    let mut told = env.collect_notifications().await;
    assert!(!told.is_empty());
    let stored = payment.stored_payment_method_id.clone().unwrap();
    let (signature, body) = env.adyen.tokenization_webhook("recurring.token.created", &stored, &payment.shopper_reference);
    told.extend(env.post_accepted_notification(&json!({ "HmacSignature": signature }), body.as_bytes()).await);
    for _ in 0..2 {
        let dispositions = env.deliver_messages_until_settled(&told).await;
        assert!(
            dispositions.iter().all(|disposition| matches!(disposition, Disposition::Completed(_) | Disposition::NotOurs)),
            "{dispositions:?}"
        );
    }
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn the_gateways_answer_is_not_overridden_by_a_later_notification() {
    for (holder, told, disposition, status) in
        [("J D", false, "captured", PaymentStatus::Captured), ("DECLINED", true, "declined", PaymentStatus::Rejected)]
    {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        // The answer is in the journal, and Cleeng has not heard of it yet.
        env.network.inject(Fault::NotSent, |peer, request| peer == "cleeng" && request.path.ends_with("/payments"));
        assert_eq!(buyer.start(&env, &card(GOOD, holder, "1")).await.status, 202);
        let payment = env.adyen.payments().remove(0);
        assert_eq!(notify(&env, &payment, told, None).await, Disposition::Completed(disposition.parse().unwrap()));
        assert_eq!(statuses(&env), [status]);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn an_unknown_finalize_is_finished_without_the_customer_while_the_order_is_valid() {
    for (hours, disposition, taken) in [(1, "captured", 999), (24, "order_expired", 0)] {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
        env.network.inject(Fault::TimeoutBefore, |peer, request| peer == "adyen" && request.path.ends_with("/payments/details"));
        assert_eq!(buyer.finalize(&env, &back).await.status, 202);
        env.clock.advance(Duration::from_secs(hours * 3600));
        let key = order_key(&buyer.order);
        assert_eq!(
            expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await,
            Disposition::Completed(disposition.parse().unwrap())
        );
        assert_eq!(
            (env.adyen.total_captured("USD"), env.network.delivered_count("adyen", &Method::POST, "/cancels")),
            (taken, usize::from(taken == 0))
        );
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn an_attempt_that_never_reached_the_gateway_ends_with_its_order_without_a_cancel() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.network.inject(Fault::NotSent, |peer, _| peer == "adyen");
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 503);
    let key = order_key(&buyer.order);
    let before = expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await;
    assert!(matches!(before, Disposition::Retry { reason: RetryReason::WaitingForCustomer, .. }));
    env.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(
        expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::OrderExpired)
    );
    assert_eq!(
        expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::NothingOpen)
    );
    assert_eq!(env.network.calls().into_iter().filter(|call| call.server == "adyen" && call.reached_server).count(), 0);
}

#[tokio::test]
async fn a_cancelled_attempt_is_not_cancelled_again() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    buyer.start(&env, &card(REDIRECTING, "J D", "1")).await;
    env.clock.advance(Duration::from_secs(24 * 3600));
    let key = order_key(&buyer.order);
    assert_eq!(
        expire_purchase(&env.flow_context, &key, &env.delivery_received_now()).await,
        Disposition::Completed(CompletionReason::OrderExpired)
    );
    let stored = env.store.load(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap();
    let order: Obligation = serde_json::from_str(&stored.body).unwrap();
    let reference = order.attempts[0].reference.clone().unwrap();
    for _ in 0..2 {
        assert_eq!(
            reverse(&env.flow_context, &reference, None, &env.delivery_received_now()).await,
            Disposition::Completed(CompletionReason::Reversed)
        );
    }
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/cancels"), 1);
}
