//! Rule 7: a termination that waited out its longest wait ends the subscription, and a payment that succeeds afterwards is given back.

use connector::cleeng::SubscriptionStatus;
use connector::clock::Clock as _;
use connector::flow::{BillingMode, Disposition};
use connector::gateway::OperationKind;
use connector::metrics::Metric;
use connector::reason::CompletionReason;

use super::{DAY, HOUR, Renewal};

/// The end of the subscription comes while its payment is undecided, and the payment succeeds days after the longest wait.
async fn terminated_before_the_success(renewal: &Renewal) {
    renewal.env.clock.advance_to(renewal.subscriber.due.after(50 * HOUR));
    let terminated = renewal.env.run_event(&renewal.env.termination_event(&renewal.subscriber)).await;
    assert_eq!(terminated, Disposition::Completed(CompletionReason::Terminated), "{}", renewal.name());
    let waited = renewal.env.clock.now().since(renewal.subscriber.due.after(50 * HOUR));
    let longest = renewal.env.flow_context.policy.termination_wait;
    assert!(waited >= longest && waited < longest + 2 * HOUR, "{}: {waited:?}", renewal.name());
    let subscription = renewal.env.cleeng.subscription(&renewal.subscriber.ids.subscription).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Terminated, "{}", renewal.name());
    renewal.pass(4 * DAY).await;
    assert_eq!(renewal.kept(), 0, "{}: {:?}", renewal.name(), renewal.ledger());
    assert_eq!((renewal.env.cleeng.violations(), renewal.env.metrics.count(Metric::Parked, "")), (vec![], 0), "{}", renewal.name());
    renewal.assert_balanced();
}

#[tokio::test]
async fn rule_7_a_payment_that_succeeds_after_the_termination_waited_it_out_is_given_back() {
    for renewal in Renewal::all() {
        let (simulator, until) = (renewal.env.gateway(renewal.gateway).simulator.clone(), renewal.subscriber.due.after(6 * DAY));
        assert!(simulator.leave_next_undecided(&renewal.subscriber.token, renewal.operation(), until, true));
        renewal.env.run_event(&renewal.attempt_now()).await;
        terminated_before_the_success(&renewal).await;
        assert_eq!(renewal.statuses(), [], "{}", renewal.name());
    }
}

/// The same with a capture, where a gateway decides captures later.
#[tokio::test]
async fn rule_7_a_capture_that_succeeds_after_the_termination_waited_it_out_is_given_back() {
    let mut seen = 0;
    for renewal in Renewal::all().filter(|renewal| renewal.billing == BillingMode::AuthoriseThenCapture) {
        assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion(), "{}", renewal.name());
        renewal.env.clock.advance_to(renewal.subscriber.due);
        let (simulator, until) = (renewal.env.gateway(renewal.gateway).simulator.clone(), renewal.subscriber.due.after(6 * DAY));
        if !simulator.leave_next_undecided(&renewal.subscriber.token, OperationKind::Capture, until, true) {
            continue;
        }
        seen += 1;
        renewal.env.run_event(&renewal.env.capture_event(&renewal.subscriber)).await;
        terminated_before_the_success(&renewal).await;
    }
    assert!(seen > 0, "some gateway decides captures later");
}
