//! What reconciliation makes in place of an event that never came: it has what the real one has, and it answers the real one only if money
//! moved or was refused.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::manual_review::list_parked;
use connector::metrics::Metric;
use connector::reason::CompletionReason;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::simulated_gateway::EnteredDetails;
use sandbox::testkit::gateway_fixtures::payment_methods_of;
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{Buyer, approved_entries, assert_balanced, environment, is_paid, usd};
use crate::reconciliation::HOUR;
use crate::reconciliation::missed_events::{run_until, statuses};

const AUTHORISED: Disposition = Disposition::Completed(CompletionReason::Authorised);

async fn parked_reasons(env: &TestEnvironment) -> Vec<String> {
    list_parked(env.flow_context.store.as_ref(), 100).await.unwrap().into_iter().map(|parked| parked.reason).collect()
}

/// Until an hour after the first attempt of the period, whose events are late.
async fn events_an_hour_late(env: &TestEnvironment, attempt: connector::clock::Timestamp) -> Vec<SentWebhook> {
    env.run_reconciliation().await;
    env.clock.advance_to(attempt.before(HOUR));
    let mut late = Vec::new();
    run_until(env, attempt.after(HOUR), |webhook| {
        late.push(webhook.clone());
        true
    })
    .await;
    late
}

/// Case 17.
#[tokio::test]
async fn a_free_trial_bought_here_is_renewed_once_although_its_first_event_comes_an_hour_late() {
    for gateway in GatewayName::ALL {
        let env = environment();
        let buyer = Buyer::new(&env, *gateway);
        env.cleeng.change_order_price(&buyer.order, usd(0), true);
        assert!(is_paid(&buyer.pay_until_final(&env, EnteredDetails::Frictionless, 1).await), "{gateway}");
        env.run_until_idle().await;
        let subscription = env.cleeng.subscriptions().pop().unwrap();
        let late = events_an_hour_late(&env, subscription.date_to.before(72 * HOUR)).await;
        assert_eq!(statuses(&env), [PaymentStatus::Captured, PaymentStatus::Authorised], "{gateway}: recovered");
        assert_eq!(late.len(), 1, "{gateway}");
        for webhook in &late {
            assert_eq!(env.run_event(webhook).await, AUTHORISED, "{gateway}");
        }
        assert_eq!(approved_entries(&env, *gateway).len(), 1, "{gateway}");
        assert_eq!(parked_reasons(&env).await, Vec::<String>::new(), "{gateway}");
        assert_balanced(&env, gateway.as_str());
    }
}

/// Rule 8: what could not be recovered is listed where it rings, once, and the real event goes on.
#[tokio::test]
async fn a_recovery_that_cannot_begin_is_listed_and_does_not_answer_the_event_that_comes_late() {
    for gateway in GatewayName::ALL {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(payment_methods_of(*gateway).0);
        let late = events_an_hour_late(&env, subscriber.due.before(72 * HOUR)).await;
        assert_eq!(parked_reasons(&env).await, ["missed_event_of_unknown_details"], "{gateway}");
        assert_eq!(env.metrics.count(Metric::Parked, "missed_event_of_unknown_details"), 1, "{gateway}");
        for webhook in &late {
            assert_eq!(env.run_event(webhook).await, AUTHORISED, "{gateway}");
        }
        assert_eq!((statuses(&env), approved_entries(&env, *gateway).len()), (vec![PaymentStatus::Authorised], 1), "{gateway}");
        assert_eq!(parked_reasons(&env).await, Vec::<String>::new(), "{gateway}: it needs no decision any more");
        assert_balanced(&env, gateway.as_str());
    }
}
