//! Rule 2: money counts where it is. A success that comes after its attempt was closed is reported as the period's payment if Cleeng says that it
//! is due and unpaid, else it is given back; until then no further attempt begins.

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::{BillingMode, Disposition};
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::{CompletionReason, ParkReason, RetryReason};
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::LedgerEntry;
use sandbox::testkit::queue_worker::time_to_come_back;

use super::{DAY, HOUR, Renewal};

/// Renewals whose payment was refused after it had been undecided, where the gateway can change its mind.
async fn refused_and_approved_later(then: impl AsyncFn(Renewal)) {
    let mut seen = 0;
    for renewal in Renewal::all() {
        let (simulator, until) = (renewal.env.gateway(renewal.gateway).simulator.clone(), renewal.env.clock.now().after(HOUR));
        assert!(simulator.leave_next_undecided(&renewal.subscriber.token, renewal.operation(), until, false), "{}", renewal.name());
        let pending = Disposition::Completed(CompletionReason::PaymentPending);
        assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, pending, "{}", renewal.name());
        assert_eq!(renewal.statuses(), [], "{}: nothing is told before it is decided", renewal.name());
        renewal.pass(2 * HOUR).await;
        assert_eq!(renewal.statuses(), [PaymentStatus::Rejected], "{}", renewal.name());
        if simulator.approve_after_refusal(&renewal.id_of_first()) {
            seen += 1;
            then(renewal).await;
        }
    }
    assert!(seen >= 2, "some gateway can do it, in both ways of billing");
}

#[tokio::test]
async fn rule_2_case_5_a_success_after_a_refusal_is_the_periods_payment() {
    refused_and_approved_later(async |renewal| {
        renewal.settle().await;
        assert_eq!(renewal.statuses(), [PaymentStatus::Rejected, renewal.success()], "{}", renewal.name());
        // The next day's event, and the capture.
        renewal.pass(DAY).await;
        renewal.env.run_event(&renewal.attempt_now()).await;
        assert_eq!((renewal.ledger().len(), renewal.kept()), (1, 1), "{}", renewal.name());
        if renewal.billing == BillingMode::AuthoriseThenCapture {
            renewal.env.clock.advance_to(renewal.subscriber.due);
            let captured = Disposition::Completed(CompletionReason::Captured);
            assert_eq!(renewal.env.run_event(&renewal.env.capture_event(&renewal.subscriber)).await, captured);
        }
        assert_eq!(renewal.statuses(), [PaymentStatus::Rejected, PaymentStatus::Captured], "{}", renewal.name());
        assert_eq!(renewal.ledger().iter().map(|entry| entry.captured.minor).sum::<i64>(), 999, "{}", renewal.name());
        renewal.assert_balanced();
    })
    .await;
}

#[tokio::test]
async fn rule_2_a_success_after_a_refusal_is_given_back_if_another_attempt_pays() {
    refused_and_approved_later(async |renewal| {
        // Its notification is on its way while the next attempt pays.
        let late = renewal.env.collect_notifications().await;
        renewal.env.clock.advance(DAY);
        assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion(), "{}", renewal.name());
        assert_eq!(renewal.kept(), 2, "{}", renewal.name());
        renewal.env.deliver_messages_until_settled(&late).await;
        renewal.settle().await;
        assert_eq!((renewal.kept(), renewal.statuses()), (1, vec![PaymentStatus::Rejected, renewal.success()]), "{}", renewal.name());
        renewal.assert_balanced();
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{}", renewal.name());
    })
    .await;
}

#[tokio::test]
async fn rule_2_a_success_after_the_subscription_ended_is_given_back() {
    refused_and_approved_later(async |renewal| {
        let late = renewal.env.collect_notifications().await;
        renewal.env.clock.advance_to(renewal.subscriber.due.after(2 * HOUR));
        renewal.env.run_event(&renewal.env.termination_event(&renewal.subscriber)).await;
        renewal.env.deliver_messages_until_settled(&late).await;
        renewal.settle().await;
        assert_eq!((renewal.kept(), renewal.statuses()), (0, vec![PaymentStatus::Rejected]), "{}", renewal.name());
        renewal.assert_balanced();
    })
    .await;
}

/// The next attempt meets this fault, and then the notification of the success comes.
async fn attempt_that_meets(renewal: &Renewal, fault: Fault) -> SentWebhook {
    let late = renewal.env.collect_notifications().await;
    renewal.break_next_payment(fault);
    let next = renewal.attempt_now();
    assert!(matches!(renewal.env.deliver(&next).await, Disposition::Retry { .. }), "{}", renewal.name());
    for message in &late {
        renewal.env.deliver_notification(message).await;
    }
    next
}

#[tokio::test]
async fn rule_2_a_late_success_goes_before_an_attempt_that_has_asked_for_nothing() {
    refused_and_approved_later(async |renewal| {
        let next = attempt_that_meets(&renewal, Fault::StatusBefore(429)).await;
        renewal.pass(HOUR).await;
        renewal.env.run_event(&next).await;
        assert_eq!(renewal.statuses(), [PaymentStatus::Rejected, renewal.success()], "{}", renewal.name());
        assert_eq!((renewal.ledger().len(), renewal.kept()), (1, 1), "{}", renewal.name());
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{}", renewal.name());
    })
    .await;
}

#[tokio::test]
async fn rule_2_an_attempt_that_has_asked_for_money_goes_before_a_late_success() {
    refused_and_approved_later(async |renewal| {
        let next = attempt_that_meets(&renewal, Fault::TimeoutAfter).await;
        renewal.env.clock.advance(HOUR);
        renewal.env.run_event(&next).await;
        renewal.pass(DAY).await;
        assert_eq!(renewal.statuses(), [PaymentStatus::Rejected, renewal.success()], "{}", renewal.name());
        assert_eq!((renewal.ledger().len(), renewal.kept()), (2, 1), "{}", renewal.name());
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{}", renewal.name());
    })
    .await;
}

#[tokio::test]
async fn rule_2_no_further_attempt_begins_until_the_success_is_settled() {
    refused_and_approved_later(async |renewal| {
        let late = renewal.env.collect_notifications().await;
        let asks = |server: &str, request: &sandbox::simulators::network::ServerRequest| {
            server == "cleeng" && request.method == Method::GET && request.path.contains("/subscriptions/")
        };
        renewal.env.network.inject(Fault::StatusBefore(503), asks);
        for message in &late {
            renewal.env.deliver_notification(message).await;
        }
        assert_eq!(renewal.statuses(), [PaymentStatus::Rejected], "{}: Cleeng could not be asked", renewal.name());
        let next = renewal.attempt_now();
        let waits = [RetryReason::LateSuccessUnsettled, RetryReason::AnotherAttemptInFlight];
        let disposition = renewal.env.deliver(&next).await;
        assert!(matches!(disposition, Disposition::Retry { reason, .. } if waits.contains(&reason)), "{}: {disposition:?}", renewal.name());
        renewal.pass(HOUR).await;
        renewal.env.run_event(&next).await;
        assert_eq!((renewal.kept(), renewal.statuses()), (1, vec![PaymentStatus::Rejected, renewal.success()]), "{}", renewal.name());
        renewal.assert_balanced();
    })
    .await;
}

#[tokio::test]
async fn rules_2_and_4_a_success_of_a_parked_attempt_is_reported_and_counts_as_what_it_was() {
    for renewal in Renewal::all() {
        let simulator = renewal.env.gateway(renewal.gateway).simulator.clone();
        for _ in 0..600 {
            let name = simulator.name();
            renewal.env.network.inject(Fault::TimeoutAfter, move |server, request| server == name && !request.path.contains("oauth2"));
        }
        let event = renewal.attempt_now();
        let mut last = renewal.env.deliver(&event).await;
        while time_to_come_back(&last).is_some() {
            renewal.env.clock.advance(HOUR);
            last = renewal.env.deliver(&event).await;
        }
        assert_eq!(last, Disposition::Parked(ParkReason::OutcomeUnknown), "{}", renewal.name());
        renewal.env.network.clear_faults();
        assert_eq!(renewal.kept(), 1, "{}", renewal.name());
        renewal.settle().await;
        assert_eq!(renewal.statuses(), [renewal.success()], "{}", renewal.name());
        let captured: i64 = renewal.ledger().iter().map(|entry| entry.captured.minor).sum();
        let record = renewal.env.payment_record(&renewal.ledger()[0].reference).await;
        assert_eq!(record["captured"]["minor"], captured, "{}: {record}", renewal.name());
        assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion(), "{}", renewal.name());
        assert_eq!(renewal.ledger().iter().filter(|entry| LedgerEntry::holds_money(entry)).count(), 1, "{}", renewal.name());
        renewal.assert_balanced();
    }
}
