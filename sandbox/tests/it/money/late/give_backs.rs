//! Rule 5: giving back is done when the gateway says so, and chosen by what the gateway knows.

use connector::checkout::expire_purchase;
use connector::checkout::order::order_key;
use connector::cleeng::PaymentStatus;
use connector::flow::{BillingMode, Disposition};
use connector::gateway::{GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference, RefundRequest};
use connector::http::Method;
use connector::journal::store::Key;
use connector::manual_review::{Decision, DecisionRequest, PreparedDecision, list_parked};
use connector::metrics::Metric;
use connector::payments::reversal::reverse;
use connector::reason::{CompletionReason, ParkReason};
use connector::secret::SecretString;
use sandbox::simulators::simulated_gateway::EnteredDetails;
use sandbox::testkit::harness::TestEnvironment;
use sandbox::testkit::purchases::SeededPurchase;

use super::{DAY, HOUR, Renewal};
use crate::every_gateway::scenarios::{Buyer, approved_entries, assert_paid_once, is_paid, refund, statuses, usd};
use crate::money::fixtures::update_payment_record;

fn kept(env: &TestEnvironment, gateway: GatewayName) -> i64 {
    approved_entries(env, gateway).iter().map(|entry| entry.captured.minor - entry.refunded.minor).sum()
}

#[tokio::test]
async fn rule_5_case_10_a_give_back_that_fails_later_is_parked_and_can_be_asked_for_again() {
    let mut seen = 0;
    for gateway in GatewayName::ALL.iter().copied() {
        let env = TestEnvironment::default();
        let buyer = Buyer::new(&env, gateway);
        let first = buyer.start(&env, EnteredDetails::ActionRequired, 1).await;
        assert!(is_paid(&buyer.pay_until_final(&env, EnteredDetails::Frictionless, 2).await), "{gateway}");
        env.gateway(gateway).simulator.fail_next_refund();
        buyer.complete_action(&env, &first).unwrap();
        env.run_until_idle().await;
        if kept(&env, gateway) == 999 {
            // What was replaced is never finished there, and takes nothing.
            continue;
        }
        seen += 1;
        assert_eq!((kept(&env, gateway), env.metrics.count(Metric::Parked, "reversal_refused")), (2 * 999, 1), "{gateway}");
        for _ in 0..3 {
            env.clock.advance(HOUR);
            env.run_reconciliation().await;
            env.run_until_idle().await;
        }
        assert_eq!(env.metrics.count(Metric::Parked, "reversal_refused"), 1, "{gateway}: it is for an operator now");
        let parked = list_parked(env.flow_context.store.as_ref(), 10).await.unwrap();
        assert_eq!(parked.len(), 1, "{gateway}: {parked:?}");
        let retry = DecisionRequest { decision: Decision::Retry, by: "ops".to_owned(), note: "tried".to_owned(), no_money_moved: false };
        PreparedDecision::prepare(&env.flow_context.store, &parked[0].key, &retry, env.now()).await.unwrap().commit().await.unwrap();
        env.run_reconciliation().await;
        env.run_until_idle().await;
        assert_eq!(kept(&env, gateway), 999, "{gateway}");
        assert_paid_once(&env, &buyer, "given back");
    }
    assert!(seen >= 2, "{seen}");
}

#[tokio::test]
async fn rule_5_case_11_an_undecided_purchase_whose_order_lapses_is_cancelled_and_its_success_given_back() {
    for decided_before_the_cancel in [true, false] {
        let env = TestEnvironment::default();
        let buyer = crate::front::buyer(&env);
        assert_eq!(buyer.start(&env, &crate::front::card(crate::front::GOOD, "PENDING", "1")).await.status, 202);
        env.clock.advance(25 * HOUR);
        let expire = async || expire_purchase(&env.flow_context, &order_key(&buyer.order), &env.delivery_received_now()).await;
        assert_eq!(expire().await, Disposition::Completed(CompletionReason::OrderExpired));
        assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/refunds"), 0, "nothing is taken that could be refunded");
        assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/cancels"), 1);
        if decided_before_the_cancel {
            env.adyen.process();
        } else {
            env.adyen.process_modifications();
            env.run_until_idle().await;
            assert_eq!(env.adyen.total_captured("USD"), 999, "the bank decided after the cancel had failed");
        }
        env.run_until_idle().await;
        assert_eq!(env.adyen.total_captured("USD"), env.adyen.total_refunded("USD"));
        assert_eq!((statuses(&env), env.metrics.count(Metric::Parked, "")), (vec![], 0));
        assert_eq!(env.discrepancies(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn rule_2_a_purchase_that_succeeds_after_its_refusal_pays_the_order_if_it_is_still_unpaid() {
    for paid_otherwise in [false, true] {
        let env = TestEnvironment::default();
        let buyer = Buyer::new(&env, GatewayName::Adyen);
        buyer.pay_until_final(&env, EnteredDetails::Declined, 1).await;
        env.run_until_idle().await;
        if paid_otherwise {
            assert!(is_paid(&buyer.pay_until_final(&env, EnteredDetails::Frictionless, 2).await));
        }
        let refused = env.adyen.payments()[0].psp_reference.clone();
        assert!(env.adyen.approve_after_refusal(&refused));
        env.run_until_idle().await;
        assert_eq!(kept(&env, GatewayName::Adyen), 999, "{paid_otherwise}");
        assert_eq!(statuses(&env), [PaymentStatus::Rejected, PaymentStatus::Captured], "{paid_otherwise}");
        assert_eq!(env.discrepancies(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn rule_5_case_18_a_refund_that_failed_may_be_asked_for_again() {
    for gateway in GatewayName::ALL {
        for later in [2 * HOUR, 30 * HOUR] {
            let renewal = Renewal::new(*gateway, BillingMode::CaptureOnly);
            assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion());
            let payment = renewal.env.cleeng.payments()[0].id.clone();
            assert!(renewal.env.gateway(*gateway).simulator.fail_next_refund());
            let asked = refund(&renewal.env, &payment, None, 1);
            renewal.env.enqueue(&asked);
            let dispositions = renewal.env.run_until_idle().await;
            assert!(dispositions.contains(&Disposition::Parked(ParkReason::RefundFailed)), "{gateway}: {dispositions:?}");
            assert_eq!(renewal.env.metrics.count(Metric::Parked, "refund_failed"), 1, "{gateway}");
            let parked = list_parked(renewal.env.flow_context.store.as_ref(), 10).await.unwrap();
            assert_eq!(parked.len(), 1, "{gateway}: what rings is in the list");
            // The same message again is no new request.
            assert_eq!(renewal.env.run_event(&asked).await, Disposition::Completed(CompletionReason::Parked), "{gateway}");
            renewal.env.clock.advance(later);
            let repeated = refund(&renewal.env, &payment, None, 1);
            assert_eq!(renewal.env.run_event(&repeated).await, Disposition::Completed(CompletionReason::Refunded), "{gateway}");
            assert_eq!((renewal.statuses(), renewal.kept()), (vec![PaymentStatus::Refunded], 0), "{gateway}");
            let parked = list_parked(renewal.env.flow_context.store.as_ref(), 10).await.unwrap();
            assert_eq!(parked.len(), 0, "{gateway}");
            renewal.assert_balanced();
        }
    }
}

#[tokio::test]
async fn rule_5_a_refund_without_a_word_for_days_is_parked() {
    let renewal = Renewal::new(GatewayName::Adyen, BillingMode::CaptureOnly);
    assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion());
    let payment = renewal.env.cleeng.payments()[0].id.clone();
    let received = Disposition::Completed(CompletionReason::RefundReceived);
    assert_eq!(renewal.env.deliver(&refund(&renewal.env, &payment, None, 1)).await, received);
    renewal.env.adyen.drop_modifications();
    renewal.pass(13 * DAY).await;
    assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0);
    renewal.pass(2 * DAY).await;
    assert_eq!(renewal.env.metrics.count(Metric::Parked, "refund_unanswered"), 1);
}

/// A captured single purchase that Cleeng does not have, of which somebody had this much refunded: done, or still on its way.
async fn refunded_in_part(gateway: GatewayName, minor: i64, is_done: bool) -> (TestEnvironment, SeededPurchase) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(env.gateway(gateway).method);
    let bought = env.seed_purchase(&subscriber, PaymentStatus::Captured, "1").await;
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText(gateway.as_str()), OperationKind::Refund, "part", "1");
    let (reference, obligation) = (Reference::from_key(&key), Key::new("refund", &["1", "part"]));
    let part = RefundRequest {
        key,
        reference: reference.clone(),
        external_payment_id: bought.external_payment_id.clone(),
        amount: usd(minor),
        captured: usd(999),
    };
    env.flow_context.gateways.get(gateway).unwrap().refund(&part).await.unwrap();
    env.process_gateways();
    drop(env.collect_notifications().await);
    let now = env.now();
    update_payment_record(&env, &bought, |record| {
        record.cleeng_payment = None;
        record.reserve_refund(&obligation, reference, usd(minor)).unwrap();
        if is_done {
            record.complete_refund(0, true, now).unwrap();
        }
    })
    .await;
    (env, bought)
}

#[tokio::test]
async fn rule_5_of_a_payment_that_was_refunded_in_part_the_rest_is_given_back() {
    for gateway in GatewayName::ALL {
        for is_done in [true, false] {
            let (env, bought) = refunded_in_part(*gateway, 400, is_done).await;
            let reversed = reverse(&env.flow_context, &bought.reference, None, &env.delivery_received_now()).await;
            assert!(matches!(reversed, Disposition::Completed(_)), "{gateway}: {reversed:?}");
            env.run_until_idle().await;
            assert_eq!((kept(&env, *gateway), env.metrics.count(Metric::Parked, "")), (0, 0), "{gateway} {is_done}");
        }
    }
}

#[tokio::test]
async fn rule_5_a_give_back_waits_for_a_refund_of_all_that_is_left() {
    for gateway in GatewayName::ALL {
        let (env, bought) = refunded_in_part(*gateway, 999, false).await;
        let reverses = async || reverse(&env.flow_context, &bought.reference, None, &env.delivery_received_now()).await;
        assert_eq!(reverses().await, Disposition::Completed(CompletionReason::ReversalReceived), "{gateway}");
        let now = env.now();
        update_payment_record(&env, &bought, |record| assert!(record.complete_refund(0, true, now).unwrap())).await;
        assert_eq!(reverses().await, Disposition::Completed(CompletionReason::Reversed), "{gateway}");
        assert_eq!((kept(&env, *gateway), env.metrics.count(Metric::Parked, "")), (0, 0), "{gateway}");
    }
}
