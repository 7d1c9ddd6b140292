//! Rule 3: news about a superseded object decides nothing about its successor; with a capture's id in hand the gateway is asked.

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::{BillingMode, Disposition};
use connector::gateway::{GatewayName, OperationKind};
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::CompletionReason;
use sandbox::simulators::network::Fault;

use super::{DAY, HOUR, Renewal};

/// A hold that is five days old when it is captured, which PayPal has to renew.
async fn old_hold() -> Renewal {
    let renewal = Renewal::new(GatewayName::PayPal, BillingMode::AuthoriseThenCapture);
    assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion());
    renewal.env.clock.advance_to(renewal.subscriber.due.after(2 * DAY));
    renewal
}

#[tokio::test]
async fn rule_3_case_6_news_about_the_authorisation_that_was_renewed_decides_nothing_about_its_capture() {
    for approves in [true, false] {
        let renewal = old_hold().await;
        let until = renewal.env.clock.now().after(2 * DAY);
        let simulator = renewal.env.gateway(renewal.gateway).simulator.clone();
        assert!(simulator.leave_next_undecided(&renewal.subscriber.token, OperationKind::Capture, until, approves));
        let pending = Disposition::Completed(CompletionReason::CapturePending);
        assert_eq!(renewal.env.run_event(&renewal.env.capture_event(&renewal.subscriber)).await, pending);
        assert_eq!(renewal.env.paypal.authorisations().len(), 2, "the hold was renewed, and the first one voided");
        renewal.pass(DAY).await;
        assert_eq!(renewal.statuses(), [PaymentStatus::Authorised], "the void of the first hold says nothing");
        renewal.pass(DAY + HOUR).await;
        let expected = if approves { PaymentStatus::Captured } else { PaymentStatus::Rejected };
        assert_eq!((renewal.statuses(), renewal.kept()), (vec![expected], usize::from(approves)));
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0);
        renewal.assert_balanced();
    }
}

#[tokio::test]
async fn rule_3_every_try_of_a_capture_finds_the_renewed_authorisation() {
    for fault in [Fault::StatusBefore(429), Fault::StatusBefore(500), Fault::TimeoutAfter, Fault::TimeoutBefore, Fault::StatusBefore(401)] {
        let renewal = old_hold().await;
        renewal.env.network.inject(fault.clone(), |server, request| {
            server == "paypal" && request.method == Method::POST && request.path.ends_with("/capture")
        });
        let captured = Disposition::Completed(CompletionReason::Captured);
        assert_eq!(renewal.env.run_event(&renewal.env.capture_event(&renewal.subscriber)).await, captured);
        assert_eq!((renewal.statuses(), renewal.kept()), (vec![PaymentStatus::Captured], 1));
        assert_eq!((renewal.env.paypal.authorisations().len(), renewal.env.paypal.captures().len()), (2, 1));
        renewal.assert_balanced();
    }
}
