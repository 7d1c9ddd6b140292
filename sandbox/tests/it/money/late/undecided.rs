//! Rule 4: a declared wait has a patience of its own and is told neither captured nor declined before it is decided.

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::clock::Clock as _;
use connector::flow::{BillingMode, Disposition};
use connector::gateway::{GatewayName, OperationKind};
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::CompletionReason;
use sandbox::simulators::cleeng::refusal;
use sandbox::simulators::network::{Fault, ServerRequest};

use super::{DAY, HOUR, Renewal};

#[tokio::test]
async fn rule_4_case_8_a_payment_that_stays_undecided_for_days_is_told_when_it_is_decided() {
    for approves in [true, false] {
        for renewal in Renewal::all() {
            let (simulator, until) = (renewal.env.gateway(renewal.gateway).simulator.clone(), renewal.env.clock.now().after(2 * DAY));
            assert!(simulator.leave_next_undecided(&renewal.subscriber.token, renewal.operation(), until, approves));
            renewal.env.run_event(&renewal.attempt_now()).await;
            renewal.pass(DAY + 20 * HOUR).await;
            assert_eq!(renewal.statuses(), [], "{}", renewal.name());
            assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{}: nobody is called", renewal.name());
            renewal.pass(DAY).await;
            let status = if approves { renewal.success() } else { PaymentStatus::Rejected };
            assert_eq!(renewal.statuses(), [status], "{} {approves}", renewal.name());
            assert_eq!(renewal.kept(), usize::from(approves), "{} {approves}", renewal.name());
            renewal.assert_balanced();
        }
    }
}

#[tokio::test]
async fn rule_4_an_undecided_payment_is_asked_about_where_no_notification_comes() {
    for renewal in Renewal::all() {
        let adapter = renewal.env.flow_context.gateways.get(renewal.gateway).unwrap();
        if adapter.capabilities().settles_by_notification {
            continue;
        }
        let (simulator, until) = (renewal.env.gateway(renewal.gateway).simulator.clone(), renewal.env.clock.now().after(DAY));
        assert!(simulator.leave_next_undecided(&renewal.subscriber.token, renewal.operation(), until, true));
        renewal.env.run_event(&renewal.attempt_now()).await;
        renewal.env.clock.advance(DAY);
        simulator.process();
        drop(simulator.take_notifications());
        renewal.pass(7 * HOUR).await;
        assert_eq!(renewal.statuses(), [renewal.success()], "{}", renewal.name());
        renewal.assert_balanced();
    }
}

#[tokio::test]
async fn rule_4_a_payment_that_is_undecided_beyond_all_patience_is_parked_and_its_success_reported_nevertheless() {
    // A hold would lapse meanwhile.
    for renewal in Renewal::all().filter(|renewal| renewal.billing == BillingMode::CaptureOnly) {
        let patience = renewal.env.flow_context.gateways.get(renewal.gateway).unwrap().capabilities().pending_patience;
        let (simulator, until) =
            (renewal.env.gateway(renewal.gateway).simulator.clone(), renewal.env.clock.now().after(patience).after(2 * DAY));
        assert!(simulator.leave_next_undecided(&renewal.subscriber.token, renewal.operation(), until, true));
        renewal.env.run_event(&renewal.attempt_now()).await;
        renewal.env.clock.advance(patience - HOUR);
        renewal.settle().await;
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{}", renewal.name());
        renewal.pass(DAY).await;
        assert_eq!(renewal.env.metrics.count(Metric::Parked, "payment_pending_too_long"), 1, "{}", renewal.name());
        assert_eq!(renewal.statuses(), [], "{}", renewal.name());
        renewal.pass(2 * DAY).await;
        // After the longest patience a month is over, and the next one is paid as well.
        let paid = if patience > 30 * DAY { 2 } else { 1 };
        assert_eq!((renewal.kept(), renewal.statuses()), (paid, vec![PaymentStatus::Captured; paid]), "{}", renewal.name());
        renewal.assert_balanced();
    }
}

#[tokio::test]
async fn rule_4_a_success_after_a_wait_in_which_the_subscription_ended_is_given_back() {
    for renewal in Renewal::all() {
        let (simulator, until) = (renewal.env.gateway(renewal.gateway).simulator.clone(), renewal.env.clock.now().after(2 * DAY));
        assert!(simulator.leave_next_undecided(&renewal.subscriber.token, renewal.operation(), until, true));
        renewal.env.run_event(&renewal.attempt_now()).await;
        renewal.env.clock.advance(DAY);
        renewal.env.cleeng.set_status(&renewal.subscriber.ids.subscription, SubscriptionStatus::Stopped);
        renewal.pass(2 * DAY).await;
        assert_eq!((renewal.kept(), renewal.statuses()), (0, vec![]), "{}", renewal.name());
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{}", renewal.name());
    }
}

/// An attempt whose answer was lost is resumed after everything has changed: its success is never reported to a subscription that is over, or
/// paid otherwise.
#[tokio::test]
async fn rule_2_a_resumed_success_is_reported_only_if_it_is_still_due() {
    for renewal in Renewal::all() {
        let name = renewal.env.gateway(renewal.gateway).simulator.name();
        let pays =
            move |peer: &str, request: &ServerRequest| peer == name && request.method == Method::POST && !request.path.contains("oauth2");
        renewal.env.network.inject(Fault::TimeoutAfter, pays);
        let event = renewal.attempt_now();
        assert!(matches!(renewal.env.deliver(&event).await, Disposition::Retry { .. }), "{}", renewal.name());
        renewal.env.cleeng.set_status(&renewal.subscriber.ids.subscription, SubscriptionStatus::Terminated);
        renewal.pass(DAY).await;
        renewal.env.run_event(&event).await;
        renewal.settle().await;
        assert_eq!((renewal.kept(), renewal.statuses()), (0, vec![]), "{}", renewal.name());
        assert_eq!((renewal.env.cleeng.violations().len(), renewal.env.metrics.count(Metric::Parked, "")), (0, 0), "{}", renewal.name());
    }
}

/// Cleeng refuses the report of money that was taken in good faith, because the subscription ended in between.
#[tokio::test]
async fn rule_2_case_29_a_renewal_that_cleeng_refuses_because_it_is_over_is_given_back() {
    for renewal in Renewal::all() {
        let (cleeng, subscription) = (renewal.env.cleeng.clone(), renewal.subscriber.ids.subscription.clone());
        renewal.env.network.inject(refusal(422), move |peer, request| {
            let reports = peer == "cleeng" && request.method == Method::POST && request.path.ends_with("/payments");
            if reports {
                cleeng.set_status(&subscription, SubscriptionStatus::Stopped);
            }
            reports
        });
        renewal.env.run_event(&renewal.attempt_now()).await;
        renewal.settle().await;
        assert_eq!((renewal.kept(), renewal.statuses()), (0, vec![]), "{}", renewal.name());
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{}", renewal.name());
    }
}

/// The customer removes the replaced details in Cleeng, which drops what is authorised with them, while the capture is undecided.
#[tokio::test]
async fn rule_2_a_capture_that_succeeds_after_cleeng_dropped_its_authorisation_is_given_back() {
    let mut seen = 0;
    for gateway in GatewayName::ALL {
        let Some(mut renewal) = capture_undecided(*gateway, true).await else { continue };
        seen += 1;
        let pending = Disposition::Completed(CompletionReason::CapturePending);
        assert_eq!(renewal.env.run_event(&renewal.env.capture_event(&renewal.subscriber)).await, pending, "{gateway}");
        let (old, method) = (renewal.subscriber.ids.details.clone(), renewal.env.gateway(*gateway).method);
        renewal.env.change_card(&mut renewal.subscriber, method);
        drop(renewal.env.cleeng.due_webhooks());
        renewal.env.cleeng.remove_details(&old).unwrap();
        renewal.pass(4 * DAY).await;
        assert_eq!((renewal.kept(), renewal.statuses()), (0, vec![PaymentStatus::Cancelled]), "{gateway}");
        assert_eq!((renewal.env.cleeng.violations(), renewal.env.metrics.count(Metric::Parked, "")), (vec![], 0), "{gateway}");
    }
    assert!(seen > 0, "some gateway decides captures later");
}

/// A renewal whose capture the gateway declares undecided for three days.
async fn capture_undecided(gateway: GatewayName, approves: bool) -> Option<Renewal> {
    let renewal = Renewal::new(gateway, BillingMode::AuthoriseThenCapture);
    assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion());
    renewal.env.clock.advance_to(renewal.subscriber.due);
    let (simulator, until) = (renewal.env.gateway(gateway).simulator.clone(), renewal.env.clock.now().after(3 * DAY));
    simulator.leave_next_undecided(&renewal.subscriber.token, OperationKind::Capture, until, approves).then_some(renewal)
}

#[tokio::test]
async fn rule_4_case_7_a_capture_that_stays_undecided_is_told_when_it_is_decided() {
    let mut seen = 0;
    for approves in [true, false] {
        for gateway in GatewayName::ALL {
            let Some(renewal) = capture_undecided(*gateway, approves).await else { continue };
            seen += 1;
            let pending = Disposition::Completed(CompletionReason::CapturePending);
            assert_eq!(renewal.env.run_event(&renewal.env.capture_event(&renewal.subscriber)).await, pending, "{gateway}");
            renewal.pass(3 * DAY - HOUR).await;
            assert_eq!(renewal.statuses(), [PaymentStatus::Authorised], "{gateway}: neither captured nor rejected");
            renewal.pass(8 * HOUR).await;
            let status = if approves { PaymentStatus::Captured } else { PaymentStatus::Rejected };
            assert_eq!(renewal.statuses(), [status], "{gateway} {approves}");
            renewal.assert_balanced();
        }
    }
    assert!(seen > 0);
}
