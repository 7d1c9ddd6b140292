//! A period that ends soon after another one that was just charged may be the same period with an expiry that moved: it is charged only
//! when half a cycle has passed (14 days of a month), or where both ends lie that far apart.

use std::time::Duration;

use connector::flow::Disposition;
use connector::reason::ParkReason;
use sandbox::testkit::gateway_fixtures::ADYEN_CAPTURE_ONLY_METHOD;
use sandbox::testkit::harness::TestEnvironment;

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
