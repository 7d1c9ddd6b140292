//! Subscriptions that the journal did not know, and what it and Cleeng say differently.

use std::time::Duration;

use connector::billing::head::Head;
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::journal::work::{Keep, Work};
use connector::metrics::Metric;
use sandbox::house::{Entry, House as _, Standing};
use sandbox::stage::{METHOD, Stage};

use crate::lost::{QUARTER, live_until, nothing, renewed, statuses};
use crate::{Buyer, HOUR};

/// Whether somebody looks after this many subscriptions.
async fn watched(stage: &Stage) -> usize {
    let mut count = 0;
    for subscription in stage.cleeng.subscriptions() {
        let stored = stage.world.store.load(&[Head::key(&subscription.id)]).await.unwrap().remove(0);
        let head = stored.map(|stored| serde_json::from_str::<Head>(&stored.body).unwrap());
        count += usize::from(head.is_some_and(|head| head.watch.is_some()));
    }
    count
}

#[tokio::test]
async fn the_first_renewal_of_what_was_bought_here_is_made_up_for_as_well() {
    let stage = Stage::default();
    let buyer = Buyer::new(&stage);
    assert!(buyer.start(&stage, Entry::Good, 1).await.is_none());
    stage.run_until_quiet().await;
    let due = stage.cleeng.subscriptions()[0].date_to;
    live_until(&stage, due.before(72 * HOUR).after(QUARTER), |_| true).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Authorised]);
    live_until(&stage, due.after(QUARTER), |_| true).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Captured]);
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}

#[tokio::test]
async fn a_subscription_from_before_this_connector_is_watched_and_its_events_do_as_ever() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    assert_eq!((stage.go_round().await.found, watched(&stage).await), (1, 1));
    // Nobody here knows its details, so that a lost event is an operator's.
    live_until(&stage, cast.due.before(71 * HOUR), |_| true).await;
    assert_eq!(statuses(&stage), []);
    assert!(stage.metrics.count(Metric::Parked, "lost_event_of_unknown_details") > 0);
    live_until(&stage, cast.due.after(HOUR), nothing).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
}

#[tokio::test]
async fn a_subscription_that_the_journal_knows_and_nobody_watches_is_watched_and_keeps_what_is_known_of_it() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(72 * HOUR));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, connector::flow::Verdict::Settled("authorised"));
    let key = Head::key(&cast.subscriber.subscription);
    let mut work = Work::new(stage.world.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let known: Head = work.read(&key).unwrap().unwrap();
    let unwatched = Head { watch: None, method: None, ..known.clone() };
    work.stage(&key, &unwatched, Keep::default()).unwrap();
    work.commit().await.unwrap();
    assert_eq!(stage.go_round().await.found, 1);
    work = Work::new(stage.world.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let found: Head = work.read(&key).unwrap().unwrap();
    assert!(found.watch.is_some() && found.live.is_some());
    assert_eq!((found.live, found.latest, found.method), (known.live, known.latest, known.method));
}

#[tokio::test]
async fn every_subscription_is_found_once_however_many_there_are_and_however_many_look() {
    let stage = Stage::default();
    for _ in 0..250 {
        let _ = stage.subscriber(METHOD);
    }
    let (one, other) = tokio::join!(stage.go_round(), stage.go_round());
    let mut found = one.found + other.found;
    // The next reading comes hours later and finds nothing new.
    for _ in 0..3 {
        stage.clock.advance(7 * HOUR);
        found += stage.go_round().await.found;
    }
    assert_eq!((found, watched(&stage).await), (250, 250));
}

#[tokio::test]
async fn a_cleeng_that_lists_nothing_is_asked_seldom_and_everything_else_goes_on() {
    let stage = Stage::default();
    let _ = stage.subscriber(METHOD);
    for _ in 0..5 {
        // One fault for each payment method; what is laid and not met stays.
        for _ in 0..stage.world.rules.methods.len() {
            stage.road.lay(sandbox::peer::Fault::StatusBefore(404), |_, request| request.path.ends_with("/subscriptions"));
        }
        stage.clock.advance(Duration::from_secs(300));
        assert_eq!(stage.go_round().await.found, 0);
    }
    let methods = stage.world.rules.methods.len();
    let asked = stage.road.calls().into_iter().filter(|call| call.path.ends_with("/subscriptions")).count();
    assert_eq!(asked, methods);
}

#[tokio::test]
async fn what_is_held_for_a_subscription_that_cleeng_ended_by_itself_goes_back() {
    let (stage, cast, due) = renewed(METHOD).await;
    live_until(&stage, due.before(70 * HOUR), nothing).await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured, PaymentStatus::Authorised]);
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Terminated);
    live_until(&stage, due.after(QUARTER), nothing).await;
    let held = stage.adyen.ledger().into_iter().filter(|entry| entry.standing == Standing::Authorised).count();
    assert_eq!((held, statuses(&stage)), (0, vec![PaymentStatus::Captured, PaymentStatus::Cancelled]));
    assert!(stage.metrics.count(Metric::Warning, "drift_hold_of_an_ended_subscription") > 0);
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}
