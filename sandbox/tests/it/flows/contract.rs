//! What Cleeng does that its documents say only in passing: a capture event after nothing but declines, a switch at a renewal, and refusals of
//! reports about declines.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::gateway::{DeclineClass, GatewayName};
use connector::metrics::Metric;
use connector::money::{Currency, Money};
use connector::reason::ParkReason;
use sandbox::simulators::cleeng::{Cycle, refusal};
use sandbox::simulators::network::Fault;
use sandbox::testkit::fixtures::id;
use sandbox::testkit::harness::TestEnvironment;

use crate::flows::{assert_balanced, completed, statuses};

const HOUR: Duration = Duration::from_secs(3600);
const OTHER_OFFER: &str = "S619117190_US";

#[tokio::test]
async fn a_capture_event_after_only_declines_settles_and_a_later_authorisation_is_captured_by_it() {
    for gateway in GatewayName::ALL {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(env.gateway(*gateway).method);
        env.clock.advance_to(subscriber.due.before(24 * HOUR));
        env.gateway(*gateway).simulator.decline_next(&subscriber.token, DeclineClass::Soft);
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 24)).await, completed("declined"), "{gateway}");
        env.clock.advance_to(subscriber.due);
        let capture = env.capture_event(&subscriber);
        assert_eq!(env.deliver_until_settled(&capture).await, completed("declined"), "{gateway}");
        assert_eq!((statuses(&env), env.metrics.count(Metric::Parked, "")), (vec![PaymentStatus::Rejected], 0));
        // The last attempt of dunning came late.
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 0)).await, completed("authorised"), "{gateway}");
        assert_eq!(env.run_event(&capture).await, completed("captured"), "{gateway}");
        assert_balanced(&env);
    }
}

fn with_other_offer() -> TestEnvironment {
    let env = TestEnvironment::default();
    let price = Money::new(1499, Currency::new("USD").unwrap());
    env.cleeng.add_offer(id(OTHER_OFFER), price, Cycle::MONTHLY);
    env
}

#[tokio::test]
async fn a_renewal_that_switches_to_another_offer_is_charged_what_its_order_says() {
    for gateway in GatewayName::ALL {
        for capture_only in [false, true] {
            let env = with_other_offer();
            let fixture = env.gateway(*gateway);
            let subscriber = env.subscriber(if capture_only { fixture.capture_only_method } else { fixture.method });
            env.cleeng.schedule_switch(&subscriber.ids.subscription, &id(OTHER_OFFER));
            if !capture_only {
                env.clock.advance_to(subscriber.due.before(72 * HOUR));
                assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"), "{gateway}");
            }
            env.clock.advance_to(subscriber.due);
            assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, completed("captured"), "{gateway}");
            let renewed = env.cleeng.subscription(&subscriber.ids.subscription).unwrap();
            assert_eq!((renewed.offer, env.cleeng.payments()[0].total.minor), (id(OTHER_OFFER), 1499));
            assert_balanced(&env);
        }
    }
}

#[tokio::test]
async fn an_order_of_another_offer_that_the_subscription_does_not_say_is_parked() {
    let env = with_other_offer();
    let subscriber = env.subscriber(env.gateway(GatewayName::Adyen).capture_only_method);
    env.clock.advance_to(subscriber.due);
    let other = |body: &mut serde_json::Value| body["order"]["offerId"] = serde_json::json!(OTHER_OFFER);
    env.network.inject(Fault::Mutate(std::sync::Arc::new(other)), |_, request| request.path == "/3.1/orders");
    let last = env.run_event(&env.capture_event(&subscriber)).await;
    assert_eq!(last, connector::flow::Disposition::Parked(ParkReason::OrderMismatch));
    assert!(env.gateway(GatewayName::Adyen).simulator.ledger().is_empty());
}

#[tokio::test]
async fn a_refused_report_of_a_decline_alarms_and_does_not_keep_the_next_attempt_from_opening() {
    for gateway in GatewayName::ALL {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(env.gateway(*gateway).method);
        env.clock.advance_to(subscriber.due.before(72 * HOUR));
        env.gateway(*gateway).simulator.decline_next(&subscriber.token, DeclineClass::Soft);
        env.network.inject(refusal(422), |_, request| request.path == "/3.1/payments");
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, completed("declined"), "{gateway}");
        assert_eq!(env.metrics.count(Metric::Alarm, "rejected_report_refused"), 1);
        env.clock.advance_to(subscriber.due.before(48 * HOUR));
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"), "{gateway}");
    }
}
