//! Reports that captured money went back and whose answer is lost: the payment is read in Cleeng, where it lets it be read, and the report is
//! made again only if it is not booked. Else an operator compares.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::{Disposition, PartialRefunds};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::ids::PaymentId;
use connector::metrics::Metric;
use connector::reason::CompletionReason;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{HOUR, assert_balanced, only_external_id, refund, statuses};

/// How the money of a charge goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Refund,
    PartialRefund,
    Chargeback,
}

impl Way {
    const fn reason(self) -> &'static str {
        match self {
            Self::Refund | Self::PartialRefund => "refund_report_unknown",
            Self::Chargeback => "loss_report_unknown",
        }
    }

    fn send_back(self, env: &TestEnvironment, gateway: GatewayName, payment: &PaymentId) {
        match self {
            Self::Refund => env.enqueue(&refund(env, payment, None, 1)),
            Self::PartialRefund => env.enqueue(&refund(env, payment, Some(600), 1)),
            Self::Chargeback => env.gateway(gateway).simulator.charge_back(&only_external_id(env, gateway)),
        }
    }
}

fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.method == Method::PATCH && request.path.contains("/payments/")
}

/// A renewal that was charged at once, where an unknown outcome is asked about for three hours.
async fn charged(gateway: GatewayName) -> (TestEnvironment, PaymentId) {
    let env = TestEnvironment::new(|policy| {
        policy.partial_refunds = PartialRefunds::Send;
        policy.unknown_deadline = 3 * HOUR;
    });
    let subscriber = env.subscriber(env.gateway(gateway).capture_only_method);
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    let payment = env.cleeng.payments()[0].id.clone();
    (env, payment)
}

/// Every charge whose money goes back in one of these ways, with a Cleeng that lets a payment be read, or not.
async fn going_back(ways: &[Way], readable: bool, act: impl AsyncFn(&TestEnvironment, Way, &str)) {
    for gateway in GatewayName::ALL {
        for way in ways {
            let (env, payment) = charged(*gateway).await;
            env.cleeng.change_quirks(|quirks| quirks.get_payment = if readable { None } else { Some(404) });
            way.send_back(&env, *gateway, &payment);
            act(&env, *way, &format!("{gateway} {way:?}")).await;
        }
    }
}

/// For so long every report meets this fault; then none does.
async fn without_answers(env: &TestEnvironment, fault: &Fault, last: Duration) {
    let until = env.now().after(last);
    for _ in 0..400 {
        let clock = env.clock.clone();
        env.network.inject(fault.clone(), move |peer, request| is_report(peer, request) && clock.now() < until);
    }
    env.run_until_idle().await;
}

#[tokio::test]
async fn a_report_whose_answer_is_lost_is_made_again_only_if_cleeng_does_not_have_it() {
    let faults = [Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::StatusBefore(503), Fault::StatusAfter(500), Fault::StatusAfter(404)];
    for (number, fault) in faults.into_iter().enumerate() {
        going_back(&[Way::Refund, Way::Chargeback], true, async |env, _, context| {
            env.network.inject(fault.clone(), is_report);
            env.run_until_idle().await;
            assert_eq!(statuses(env), [PaymentStatus::Refunded], "{context} fault {number}");
            assert_eq!(env.metrics.count(Metric::Parked, ""), 0, "{context} fault {number}");
            assert_balanced(env, context);
        })
        .await;
    }
}

#[tokio::test]
async fn a_report_is_made_after_hours_without_an_answer() {
    for (number, fault) in [Fault::StatusBefore(503), Fault::TimeoutBefore].into_iter().enumerate() {
        going_back(&[Way::Refund, Way::Chargeback], true, async |env, _, context| {
            without_answers(env, &fault, 2 * HOUR).await;
            assert_eq!(statuses(env), [PaymentStatus::Refunded], "{context} fault {number}");
            assert_eq!(env.metrics.count(Metric::Parked, ""), 0, "{context} fault {number}");
            assert_balanced(env, context);
        })
        .await;
    }
}

#[tokio::test]
async fn a_report_without_an_answer_for_longer_than_an_outcome_is_asked_about_is_parked_once() {
    going_back(&[Way::Refund, Way::Chargeback], true, async |env, way, context| {
        without_answers(env, &Fault::StatusBefore(503), 4 * HOUR).await;
        assert_eq!(statuses(env), [PaymentStatus::Captured], "{context}");
        assert_eq!(env.metrics.count(Metric::Parked, way.reason()), 1, "{context}");
    })
    .await;
}

#[tokio::test]
async fn a_lost_report_is_parked_where_cleeng_cannot_show_whether_it_came() {
    let ways = [(Way::Refund, false), (Way::Chargeback, false), (Way::PartialRefund, false), (Way::PartialRefund, true)];
    for (way, readable) in ways {
        for (number, fault) in [Fault::StatusBefore(503), Fault::TimeoutAfter].into_iter().enumerate() {
            going_back(&[way], readable, async |env, way, context| {
                env.network.inject(fault.clone(), is_report);
                env.run_until_idle().await;
                assert_eq!(env.metrics.count(Metric::Parked, way.reason()), 1, "{context} fault {number}");
                assert!(env.network.delivered_count("cleeng", &Method::PATCH, "/payments/") <= 1, "{context}: never twice");
                assert_eq!(env.cleeng.violations(), [], "{context}");
            })
            .await;
        }
    }
}

/// What a lost report left unknown is asked about again when an operator says so.
#[tokio::test]
async fn a_parked_report_can_be_tried_again() {
    use connector::manual_review::{Decision, DecisionRequest, PreparedDecision, list_parked};
    going_back(&[Way::Refund], true, async |env, _, context| {
        without_answers(env, &Fault::StatusBefore(503), 4 * HOUR).await;
        let parked = list_parked(env.flow_context.store.as_ref(), 10).await.unwrap();
        assert_eq!(parked.len(), 1, "{context}: {parked:?}");
        let retry = DecisionRequest { decision: Decision::Retry, by: "ops".to_owned(), note: "back".to_owned(), no_money_moved: false };
        PreparedDecision::prepare(&env.flow_context.store, &parked[0].key, &retry, env.now()).await.unwrap().commit().await.unwrap();
        env.run_reconciliation().await;
        let dispositions = env.run_until_idle().await;
        assert_eq!(statuses(env), [PaymentStatus::Refunded], "{context}: {dispositions:?}");
        assert!(!dispositions.iter().any(|last| matches!(last, Disposition::Parked(_))), "{context}");
        assert_balanced(env, context);
    })
    .await;
}
