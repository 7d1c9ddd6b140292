//! Chargebacks and their reversals.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::cleeng::refusal;
use sandbox::simulators::network::{Fault, ServerRequest};

use crate::notifications::{assert_balanced, captured, capturing, completed, only_payment_ids, payment_state, statuses};

fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.method == Method::PATCH
}

fn report_count(env: &sandbox::testkit::harness::TestEnvironment) -> usize {
    env.network.delivered_count("cleeng", &Method::PATCH, "/payments")
}

#[tokio::test]
async fn a_chargeback_is_reported_to_cleeng_once_for_repeated_notifications() {
    let (env, _) = captured().await;
    let before = report_count(&env);
    env.adyen.charge_back(&only_payment_ids(&env).0);
    let messages = env.collect_notifications().await;
    for _ in 0..5 {
        assert!(matches!(env.deliver_messages_until_settled(&messages).await.as_slice(), [Disposition::Completed(_)]));
    }
    assert_eq!((statuses(&env), payment_state(&env).await.as_str()), (vec![PaymentStatus::Refunded], "charged_back"));
    let refund = env.cleeng.payments().remove(0).refund.unwrap();
    assert_eq!((refund.reason.as_str(), refund.kind.as_str()), ("chargeback", "chargeback"));
    assert_eq!((report_count(&env) - before, env.metrics.count(Metric::Alarm, "chargeback")), (1, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_won_chargeback_raises_an_alarm_and_a_second_one_is_not_reported_twice() {
    let (env, _) = captured().await;
    let psp = only_payment_ids(&env).0;
    env.adyen.charge_back(&psp);
    env.deliver_notifications().await;
    env.adyen.reverse_chargeback(&psp);
    assert_eq!(env.deliver_notifications().await, [completed("chargeback_reversed")]);
    assert_eq!((payment_state(&env).await.as_str(), env.metrics.count(Metric::Alarm, "chargeback_reversed")), ("captured", 1));
    let before = report_count(&env);
    env.adyen.charge_back(&psp);
    assert_eq!(env.deliver_notifications().await, [completed("charged_back")]);
    assert_eq!((payment_state(&env).await.as_str(), report_count(&env)), ("charged_back", before));
    assert_eq!(env.metrics.count(Metric::Alarm, "chargeback"), 2);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_chargeback_waits_for_the_report_of_the_capture() {
    let (env, _) = capturing().await;
    env.adyen.process();
    env.adyen.charge_back(&only_payment_ids(&env).0);
    let messages = env.collect_notifications().await;
    let early = Disposition::Retry { after: None, reason: RetryReason::NotificationEarly };
    assert_eq!(env.deliver_notification(&messages[2]).await, early, "nobody has told that it is captured");
    assert_eq!(env.deliver_notification(&messages[1]).await, completed("captured"));
    assert_eq!(env.deliver_notification(&messages[2]).await, early, "Cleeng does not know yet");
    assert_eq!(env.deliver_requeued().await, [completed("captured")]);
    assert_eq!(env.deliver_notification(&messages[2]).await, completed("charged_back"));
    assert_eq!(statuses(&env), [PaymentStatus::Refunded]);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_fault_at_the_report_of_a_chargeback_never_repeats_it_blindly() {
    for fault in [Fault::NotSent, Fault::StatusBefore(429), Fault::StatusBefore(401)] {
        let (env, _) = captured().await;
        let before = report_count(&env);
        // The client tries the previous token where there is one; here is none.
        env.network.inject(fault, is_report);
        env.adyen.charge_back(&only_payment_ids(&env).0);
        assert_eq!(env.deliver_notifications().await, [completed("charged_back")]);
        assert_eq!((statuses(&env), report_count(&env) - before), (vec![PaymentStatus::Refunded], 1));
        assert_balanced(&env);
    }
    for fault in [Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::StatusBefore(500), Fault::StatusAfter(500), Fault::StatusBefore(503)] {
        let (env, _) = captured().await;
        let seen = env.network.calls().len();
        env.network.inject(fault, is_report);
        env.adyen.charge_back(&only_payment_ids(&env).0);
        let messages = env.collect_notifications().await;
        assert_eq!(env.deliver_messages_until_settled(&messages).await, [Disposition::Parked(ParkReason::LossReportUnknown)]);
        for _ in 0..5 {
            assert_eq!(env.deliver_messages_until_settled(&messages).await, [completed("parked")]);
        }
        assert_eq!(env.network.calls().len() - seen, 2, "reported once, asked about, and then an operator");
        assert_eq!(env.metrics.count(Metric::Parked, "loss_report_unknown"), 1);
        assert_eq!(payment_state(&env).await, "charged_back");
    }
}

#[tokio::test]
async fn a_loss_whose_report_cleeng_refuses_is_parked_and_moves_no_money() {
    let (env, _) = captured().await;
    env.network.inject(refusal(422), is_report);
    env.adyen.charge_back(&only_payment_ids(&env).0);
    assert_eq!(env.deliver_notifications().await, [Disposition::Parked(ParkReason::CleengRefusedLoss)]);
    assert_eq!((statuses(&env), payment_state(&env).await.as_str()), (vec![PaymentStatus::Captured], "charged_back"));
}
