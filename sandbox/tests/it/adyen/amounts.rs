//! Amounts that Adyen does not take, as it does not below the least of a payment method or a currency: it refuses them like a bank, or calls
//! them invalid at once. Either way they are told rejected.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use connector::reason::CompletionReason;

use crate::every_gateway::obstacles::{assert_can_be_terminated, attempts, parked_reasons};
use crate::every_gateway::scenarios::{assert_balanced, statuses};

#[tokio::test]
async fn an_amount_that_adyen_does_not_take_is_told_rejected_and_locks_nothing() {
    for is_error in [true, false] {
        for (env, subscriber, event, paid) in attempts(GatewayName::Adyen) {
            let context = format!("{paid:?} {is_error}");
            if is_error {
                env.adyen.refuse_next_with_error(&subscriber.stored_id, "137");
            } else {
                env.adyen.decline_next_with(&subscriber.stored_id, "7");
            }
            assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Declined), "{context}");
            assert_eq!(statuses(&env), [PaymentStatus::Rejected], "{context}");
            assert_eq!(env.metrics.count(Metric::Warning, "amount_below_minimum"), 1, "{context}");
            assert_eq!(parked_reasons(&env).await, Vec::<String>::new(), "{context}");
            assert_balanced(&env, &context);
            assert_can_be_terminated(&env, &subscriber, &context).await;
        }
    }
}
