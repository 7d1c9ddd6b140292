//! Chargebacks and their reversals.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::peer::{Fault, PeerRequest};

use crate::{assert_balanced, captured, capturing, names, settled, state, statuses};

fn is_report(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.method == Method::PATCH
}

fn reports(stage: &sandbox::stage::Stage) -> usize {
    stage.road.reached("cleeng", &Method::PATCH, "/payments")
}

#[tokio::test]
async fn a_chargeback_is_told_to_cleeng_as_one_and_once_however_often_it_comes() {
    let (stage, _) = captured().await;
    let before = reports(&stage);
    stage.adyen.charge_back(&names(&stage).0);
    let messages = stage.take_notifications().await;
    for _ in 0..5 {
        assert!(matches!(stage.settle_all(&messages).await.as_slice(), [Verdict::Settled(_)]));
    }
    assert_eq!((statuses(&stage), state(&stage).await.as_str()), (vec![PaymentStatus::Refunded], "charged_back"));
    let refund = stage.cleeng.payments().remove(0).refund.unwrap();
    assert_eq!((refund.reason.as_str(), refund.kind.as_str()), ("chargeback", "chargeback"));
    assert_eq!((reports(&stage) - before, stage.metrics.count(Metric::Alarm, "chargeback")), (1, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_chargeback_that_is_won_is_alarmed_and_a_second_one_is_not_told_twice() {
    let (stage, _) = captured().await;
    let psp = names(&stage).0;
    stage.adyen.charge_back(&psp);
    stage.hear_gateways().await;
    stage.adyen.reverse_chargeback(&psp);
    assert_eq!(stage.hear_gateways().await, [settled("chargeback_reversed")]);
    assert_eq!((state(&stage).await.as_str(), stage.metrics.count(Metric::Alarm, "chargeback_reversed")), ("captured", 1));
    let before = reports(&stage);
    stage.adyen.charge_back(&psp);
    assert_eq!(stage.hear_gateways().await, [settled("charged_back")]);
    assert_eq!((state(&stage).await.as_str(), reports(&stage)), ("charged_back", before));
    assert_eq!(stage.metrics.count(Metric::Alarm, "chargeback"), 2);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_chargeback_waits_until_cleeng_knows_of_the_capture() {
    let (stage, _) = capturing().await;
    stage.adyen.process();
    stage.adyen.charge_back(&names(&stage).0);
    let messages = stage.take_notifications().await;
    let early = Verdict::Later { after: None, reason: "notification_early" };
    assert_eq!(stage.settle(&messages[2]).await, early, "nobody has told that it is captured");
    assert_eq!(stage.settle(&messages[1]).await, settled("captured"));
    assert_eq!(stage.settle(&messages[2]).await, early, "Cleeng does not know yet");
    assert_eq!(stage.deliver_requeued().await, [settled("captured")]);
    assert_eq!(stage.settle(&messages[2]).await, settled("charged_back"));
    assert_eq!(statuses(&stage), [PaymentStatus::Refunded]);
    assert_balanced(&stage);
}

#[tokio::test]
async fn whatever_happens_to_the_report_of_a_chargeback_it_is_never_made_twice_blindly() {
    for fault in [Fault::NotSent, Fault::StatusBefore(429), Fault::StatusBefore(401)] {
        let (stage, _) = captured().await;
        let before = reports(&stage);
        // The client tries the previous token where there is one; here is none.
        stage.road.lay(fault, is_report);
        stage.adyen.charge_back(&names(&stage).0);
        assert_eq!(stage.hear_gateways().await, [settled("charged_back")]);
        assert_eq!((statuses(&stage), reports(&stage) - before), (vec![PaymentStatus::Refunded], 1));
        assert_balanced(&stage);
    }
    for fault in [Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::StatusBefore(500), Fault::StatusAfter(500), Fault::StatusBefore(503)] {
        let (stage, _) = captured().await;
        let seen = stage.road.calls().len();
        stage.road.lay(fault, is_report);
        stage.adyen.charge_back(&names(&stage).0);
        let messages = stage.take_notifications().await;
        assert_eq!(stage.settle_all(&messages).await, [Verdict::Parked("loss_report_unknown")]);
        for _ in 0..5 {
            assert_eq!(stage.settle_all(&messages).await, [settled("parked")]);
        }
        assert_eq!(stage.road.calls().len() - seen, 1, "asked once, and then an operator");
        assert_eq!(stage.metrics.count(Metric::Parked, "loss_report_unknown"), 1);
        assert_eq!(state(&stage).await, "charged_back");
    }
}

#[tokio::test]
async fn a_loss_that_cleeng_refuses_to_hear_of_is_parked_with_the_money_where_it_is() {
    let (stage, _) = captured().await;
    stage.road.lay(Fault::StatusBefore(422), is_report);
    stage.adyen.charge_back(&names(&stage).0);
    assert_eq!(stage.hear_gateways().await, [Verdict::Parked("cleeng_refused_loss")]);
    assert_eq!((statuses(&stage), state(&stage).await.as_str()), (vec![PaymentStatus::Captured], "charged_back"));
}
