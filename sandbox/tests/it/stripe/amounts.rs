//! Amounts that Stripe does not take: below its minimum they are told rejected; what it calls malformed is parked within hours. PayPal
//! documents no minimum, and a business rule of its own that is not known is a decline.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use connector::reason::{CompletionReason, ParkReason};
use sandbox::testkit::fixtures::{OFFER, id};

use crate::every_gateway::obstacles::{assert_can_be_terminated, attempts, parked_reasons};
use crate::every_gateway::scenarios::{HOUR, assert_balanced, statuses, usd};

/// Told rejected, with a warning; nothing is parked.
#[tokio::test]
async fn an_amount_below_the_minimum_of_a_gateway_is_told_rejected_and_locks_nothing() {
    for (env, subscriber, event, paid) in attempts(GatewayName::Stripe) {
        env.cleeng.set_price(&id(OFFER), usd(30));
        assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Declined), "{paid:?}");
        assert_eq!(statuses(&env), [PaymentStatus::Rejected], "{paid:?}");
        assert_eq!(env.metrics.count(Metric::Warning, "amount_below_minimum"), 1, "{paid:?}");
        assert_eq!(parked_reasons(&env).await, Vec::<String>::new(), "{paid:?}");
        assert_balanced(&env, "rejected");
        assert_can_be_terminated(&env, &subscriber, &format!("{paid:?}")).await;
    }
}

/// A request that the gateway calls malformed is parked within hours, by its own name, and freed by a retry.
#[tokio::test]
async fn a_request_that_the_gateway_calls_malformed_is_parked_within_hours() {
    for (env, subscriber, event, paid) in attempts(GatewayName::Stripe) {
        // Above the largest amount that Stripe takes.
        env.cleeng.set_price(&id(OFFER), usd(100_000_000));
        assert_eq!(env.deliver_until_settled(&event).await, Disposition::Parked(ParkReason::GatewayRefusedRequest), "{paid:?}");
        assert!(env.now().since(event.at) < 3 * HOUR, "{paid:?}");
        assert_eq!(parked_reasons(&env).await, ["gateway_refused_request"], "{paid:?}");
        assert_can_be_terminated(&env, &subscriber, &format!("{paid:?}")).await;
    }
}
