//! A period that ends soon after another one that was just charged may be the same period with an expiry that moved: it is charged only
//! when half a cycle has passed (14 days of a month), or where both ends lie that far apart.

use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::reason::ParkReason;
use sandbox::simulators::cleeng::{Cycle, Unit};
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, payment_methods_of};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::every_gateway::scenarios::usd;
use crate::flows::{at_due_date_authorised, completed};

const HALF_A_CYCLE: Duration = Duration::from_secs(14 * 86_400);
const SECOND: Duration = Duration::from_secs(1);
const PARKED: Disposition = Disposition::Parked(ParkReason::ChargedRecently);

#[tokio::test]
async fn another_period_is_charged_when_half_a_cycle_has_passed_since_the_last_charge_and_not_before() {
    for (passed, disposition, taken) in [(HALF_A_CYCLE - SECOND, PARKED, 999), (HALF_A_CYCLE, completed("captured"), 2 * 999)] {
        let env = TestEnvironment::default();
        let mut subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
        env.clock.advance_to(subscriber.due);
        assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, completed("captured"));
        // The publisher moved the end of what was paid.
        subscriber.due = subscriber.due.after(passed);
        env.cleeng.extend_paid_period(&subscriber.ids.subscription, subscriber.due);
        env.clock.advance_to(subscriber.due);
        assert_eq!(env.deliver(&env.capture_event(&subscriber)).await, disposition, "{passed:?}");
        env.adyen.process();
        assert_eq!(env.adyen.total_captured("USD"), taken, "{passed:?}");
    }
}

#[tokio::test]
async fn soon_after_a_charge_money_is_held_only_for_a_period_that_ends_half_a_cycle_later() {
    for (apart, disposition, held) in
        [(Duration::from_secs(6 * 3600), PARKED, 1), (HALF_A_CYCLE - SECOND, PARKED, 1), (HALF_A_CYCLE, completed("authorised"), 2)]
    {
        let (env, mut subscriber) = at_due_date_authorised().await;
        assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
        subscriber.due = subscriber.due.after(apart);
        env.cleeng.extend_paid_period(&subscriber.ids.subscription, subscriber.due);
        let first_attempt = subscriber.due.before(Duration::from_secs(72 * 3600));
        env.clock.advance(first_attempt.since(connector::clock::Clock::now(&env.clock)));
        assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, disposition, "{apart:?}");
        assert_eq!(env.adyen.payments().len(), held, "{apart:?}");
        assert_eq!(env.adyen.total_captured("USD"), 999, "{apart:?}");
    }
}

/// Case 19: who paid late is not punished.
#[tokio::test]
async fn a_period_that_ends_a_cycle_later_is_paid_however_late_the_one_before_was_paid() {
    let day = Duration::from_secs(86_400);
    let week = Cycle { unit: Unit::Week, amount: 1 };
    for (cycle, late_by) in [(Cycle::MONTHLY, 20 * day), (week, 4 * day), (Cycle::DAILY, day / 24 * 13)] {
        for gateway in GatewayName::ALL {
            let (authorised_first, at_once) = payment_methods_of(*gateway);
            for method in [authorised_first, at_once] {
                let context = format!("{cycle:?}, {method}");
                let env = TestEnvironment::default();
                let offer = id("S777777777_US");
                env.cleeng.add_offer(offer.clone(), usd(999), cycle);
                let due = env.now().after(7 * day);
                let token = env.gateway(*gateway).simulator.add_stored_details("late-payer");
                let ids = env.cleeng.new_subscriber(&offer, &id(method), &token, due).unwrap();
                let mut subscriber = TestSubscriber { ids, stored_id: String::new(), token, due };
                env.clock.advance_to(due.after(late_by));
                for paid in 1..=3 {
                    if method == authorised_first {
                        let topic = Topic::SubscriptionReadyForPaymentAuthorisation;
                        let event = env.billing_event(topic, &subscriber, env.now(), subscriber.due);
                        assert_eq!(env.run_event(&event).await, completed("authorised"), "{context}, {paid}");
                    }
                    let topic = Topic::SubscriptionReadyForPaymentCapture;
                    let event = env.billing_event(topic, &subscriber, env.now(), subscriber.due);
                    assert_eq!(env.run_event(&event).await, completed("captured"), "{context}, {paid}");
                    assert_eq!(env.cleeng.transactions().len(), paid, "{context}");
                    subscriber.due = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().date_to;
                    env.clock.advance_to(subscriber.due);
                }
                assert_eq!(env.discrepancies(), Vec::<String>::new(), "{context}");
            }
        }
    }
}
