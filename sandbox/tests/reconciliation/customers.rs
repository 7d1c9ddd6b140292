//! Customers who do not come back.

use connector::cleeng::PaymentStatus;
use connector::metrics::Metric;
use sandbox::crash::When;
use sandbox::house::{Entry, House as _};
use sandbox::stage::Stage;

use crate::{Buyer, HOUR};

/// Goes round every five minutes for so many hours, while everything else goes on.
async fn hours(stage: &Stage, hours: u32) {
    for _ in 0..hours * 12 {
        stage.go_round().await;
        stage.run_until_quiet().await;
        stage.clock.advance(HOUR / 12);
    }
}

fn assert_nothing_hangs(stage: &Stage) {
    assert_eq!(stage.disagreements(), Vec::<String>::new());
    assert!(stage.adyen.ledger().iter().all(|entry| !entry.holds_money()));
    assert!(stage.cleeng.payments().is_empty());
    assert_eq!((stage.metrics.count(Metric::Parked, ""), stage.metrics.count(Metric::Alarm, "")), (0, 0));
}

#[tokio::test]
async fn an_order_whose_customer_never_comes_back_is_called_off_after_its_time_and_left_alone_then() {
    let stage = Stage::default();
    Buyer::new(&stage).start(&stage, Entry::Asked, 1).await.unwrap();
    hours(&stage, 23).await;
    assert_eq!(stage.road.reached("adyen", &connector::http::Method::POST, "/cancels"), 0, "called off before its time");
    hours(&stage, 9).await;
    assert_eq!(stage.road.reached("adyen", &connector::http::Method::POST, "/cancels"), 1);
    assert_nothing_hangs(&stage);
    // Nobody looks at it any more.
    stage.clock.advance(48 * HOUR);
    assert_eq!(stage.go_round().await.due, 0);
}

#[tokio::test]
async fn whoever_finishes_at_his_bank_after_his_order_was_called_off_gets_his_money_back() {
    let stage = Stage::default();
    let action = Buyer::new(&stage).start(&stage, Entry::Asked, 1).await.unwrap();
    hours(&stage, 32).await;
    stage.adyen.agree(&action);
    hours(&stage, 1).await;
    let entry = stage.adyen.ledger().into_iter().next_back().unwrap();
    assert_eq!((entry.captured, entry.refunded), (entry.amount, entry.amount));
    assert_nothing_hangs(&stage);
}

#[tokio::test]
async fn a_page_that_was_replaced_by_another_tab_is_called_off_after_its_time() {
    let stage = Stage::default();
    let buyer = Buyer::new(&stage);
    buyer.start(&stage, Entry::Asked, 1).await.unwrap();
    assert!(buyer.start(&stage, Entry::Good, 2).await.is_none());
    hours(&stage, 32).await;
    assert_eq!(stage.road.reached("adyen", &connector::http::Method::POST, "/cancels"), 1);
    let statuses: Vec<_> = stage.cleeng.payments().into_iter().map(|payment| payment.status).collect();
    assert_eq!(statuses, [PaymentStatus::Captured]);
    assert_eq!(stage.disagreements(), Vec::<String>::new());
    stage.clock.advance(48 * HOUR);
    assert_eq!((stage.go_round().await.due, stage.metrics.count(Metric::Parked, "")), (0, 0));
}

#[tokio::test]
async fn a_round_that_dies_anywhere_is_finished_by_the_next_one() {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 0.. {
            let stage = Stage::default();
            Buyer::new(&stage).start(&stage, Entry::Asked, 1).await.unwrap();
            stage.clock.advance(25 * HOUR);
            stage.switch.arm(nth, when);
            let survived = stage.switch.run(stage.go_round()).await.is_some();
            stage.switch.disarm();
            stage.clock.advance(HOUR / 12);
            hours(&stage, 10).await;
            assert_eq!(stage.road.reached("adyen", &connector::http::Method::POST, "/cancels").min(1), 1, "death {when:?} call {nth}");
            assert_nothing_hangs(&stage);
            if survived {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths >= 2 * 5, "{deaths}");
}
