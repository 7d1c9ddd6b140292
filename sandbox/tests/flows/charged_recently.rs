//! A period that ends soon after another one that was just charged may be the same period with an expiry that moved: it is charged only
//! when half a cycle has passed (14 days of a month), or where both ends lie that far apart.

use std::time::Duration;

use connector::flow::Verdict;
use sandbox::stage::{CAPTURE_ONLY_METHOD, Stage};

use crate::{at_due_date_authorised, settled};

const HALF_A_CYCLE: Duration = Duration::from_secs(14 * 86_400);
const SECOND: Duration = Duration::from_secs(1);
const PARKED: Verdict = Verdict::Parked("charged_recently");

#[tokio::test]
async fn another_period_is_charged_when_half_a_cycle_has_passed_since_the_last_charge_and_not_before() {
    for (passed, verdict, taken) in [(HALF_A_CYCLE - SECOND, PARKED, 999), (HALF_A_CYCLE, settled("captured"), 2 * 999)] {
        let stage = Stage::default();
        let mut cast = stage.subscriber(CAPTURE_ONLY_METHOD);
        stage.clock.advance_to(cast.due);
        assert_eq!(stage.deliver(&stage.capture(&cast)).await, settled("captured"));
        // The publisher moved the end of what was paid.
        cast.due = cast.due.after(passed);
        stage.cleeng.prolong(&cast.subscriber.subscription, cast.due);
        stage.clock.advance_to(cast.due);
        assert_eq!(stage.deliver(&stage.capture(&cast)).await, verdict, "{passed:?}");
        stage.adyen.process();
        assert_eq!(stage.adyen.total_captured("USD"), taken, "{passed:?}");
    }
}

#[tokio::test]
async fn soon_after_a_charge_money_is_held_only_for_a_period_that_ends_half_a_cycle_later() {
    for (apart, verdict, held) in
        [(Duration::from_secs(6 * 3600), PARKED, 1), (HALF_A_CYCLE - SECOND, PARKED, 1), (HALF_A_CYCLE, settled("authorised"), 2)]
    {
        let (stage, mut cast) = at_due_date_authorised().await;
        assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
        cast.due = cast.due.after(apart);
        stage.cleeng.prolong(&cast.subscriber.subscription, cast.due);
        let first_attempt = cast.due.before(Duration::from_secs(72 * 3600));
        stage.clock.advance(first_attempt.since(connector::clock::Clock::now(&stage.clock)));
        assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, verdict, "{apart:?}");
        assert_eq!(stage.adyen.payments().len(), held, "{apart:?}");
        assert_eq!(stage.adyen.total_captured("USD"), 999, "{apart:?}");
    }
}
