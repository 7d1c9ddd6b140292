//! What is held with payment details goes back when they are deactivated.

use std::time::Duration;

use connector::billing::head::Head;
use connector::cleeng::webhook::{Topic, Webhook};
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::Verdict;
use connector::gateway::{Decline, DeclineClass, Outcome};
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::adyen::PaymentState;
use sandbox::cleeng::{DunningSettings, SentWebhook};
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::{Cast, METHOD, Stage, id};
use serde_json::Value;

use crate::faults::FAULTS;
use crate::hooked::answering;
use crate::world::{assert_balanced, at_once, die_everywhere, parked, purchase_of_others, read, settled, statuses};

/// A subscriber whose next period is authorised, who then changed the card; with the announcement about the old one.
pub(crate) async fn changed_card(stage: &Stage, new_method: &str) -> (Cast, SentWebhook) {
    let mut cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    stage.change_card(&mut cast, new_method);
    let due = stage.cleeng.due_webhooks();
    let event = due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap();
    (cast, event)
}

fn cancels(stage: &Stage) -> (usize, usize) {
    (stage.road.reached("adyen", &Method::POST, "/cancels"), stage.road.reached("cleeng", &Method::PATCH, "/cancel"))
}

fn assert_released(stage: &Stage) {
    stage.adyen.process();
    assert_eq!(statuses(stage), [PaymentStatus::Cancelled]);
    assert!(stage.adyen.payments().iter().all(|payment| payment.state == PaymentState::Cancelled));
    assert_balanced(stage);
}

#[tokio::test]
async fn what_is_held_with_the_old_card_is_released_and_the_new_one_is_authorised() {
    let stage = Stage::default();
    let (cast, event) = changed_card(&stage, METHOD).await;
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_eq!(cancels(&stage), (1, 1));
    assert_released(&stage);
    let head: Head = read(&stage, &Head::key(&cast.subscriber.subscription)).await.unwrap();
    assert_eq!((head.live, head.in_flight), (None, None));
    stage.clock.advance_to(cast.due.before(Duration::from_secs(48 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!((cancels(&stage), stage.adyen.total_captured("USD")), ((1, 1), 999));
    assert_balanced(&stage);
}

#[tokio::test]
async fn details_with_which_nothing_is_held_need_nothing() {
    let stage = Stage::default();
    let mut cast = stage.subscriber(METHOD);
    stage.change_card(&mut cast, METHOD);
    let event = stage.cleeng.due_webhooks().remove(0);
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_eq!((cancels(&stage), stage.metrics.count(Metric::Duplicate, "deactivated")), ((0, 0), 1));
}

#[tokio::test]
async fn the_topic_is_known_in_any_case() {
    let stage = Stage::default();
    let (_, event) = changed_card(&stage, METHOD).await;
    let body = String::from_utf8(event.body).unwrap().replace("paymentDetailsDeactivated", "PaymentDetailsDeactivated").into_bytes();
    let signature = sandbox::cleeng::sign(sandbox::stage::WEBHOOK_SECRET, &body);
    assert_eq!(stage.deliver(&SentWebhook { body, signature, ..event }).await, settled("deactivated"));
    assert_released(&stage);
}

#[tokio::test]
async fn the_same_deactivation_delivered_five_times_releases_once() {
    let stage = Stage::default();
    let (_, event) = changed_card(&stage, METHOD).await;
    for _ in 0..5 {
        assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    }
    assert_eq!(cancels(&stage), (1, 1));
    assert_released(&stage);
}

#[tokio::test]
async fn two_deliveries_at_once_release_once_wherever_they_meet() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let (_, event) = changed_card(&stage, METHOD).await;
        let _ = at_once(&stage, &event, &event, head_start).await;
        stage.clock.advance(Duration::from_secs(100));
        assert_eq!(stage.deliver_until_settled(&event).await, settled("deactivated"), "{head_start}");
        assert_eq!(cancels(&stage).1, 1, "{head_start}");
        assert_released(&stage);
    }
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_clean_up_leaves_nothing_held() {
    let scene = async || {
        let stage = Stage::default();
        let (_, event) = changed_card(&stage, METHOD).await;
        (stage, event)
    };
    let act = async |stage: &Stage, event: &_| {
        stage.deliver_until_settled(event).await;
    };
    let afterwards = async |stage: &Stage, event: &_, context: &str| {
        assert_eq!(stage.deliver_until_settled(event).await, settled("deactivated"), "{context}");
        assert_released(stage);
    };
    let deaths = die_everywhere(scene, act, afterwards).await;
    assert_eq!(deaths, 2 * 8, "the list, two outside writes, five journal writes, each before and after");
}

#[tokio::test]
async fn whatever_happens_to_any_one_call_of_a_clean_up_nothing_stays_held() {
    let calls: [fn(&str, &PeerRequest) -> bool; 3] = [
        |peer, request| peer == "cleeng" && request.path.ends_with("/authorised_payments"),
        |peer, request| peer == "adyen" && request.path.ends_with("/cancels"),
        |peer, request| peer == "cleeng" && request.path.ends_with("/cancel"),
    ];
    for call in calls {
        for fault in FAULTS {
            for times in 1..=2 {
                let stage = Stage::default();
                let (_, event) = changed_card(&stage, METHOD).await;
                for _ in 0..times {
                    stage.road.lay(fault.clone(), call);
                }
                assert_eq!(stage.deliver_until_settled(&event).await, settled("deactivated"));
                assert_released(&stage);
            }
        }
    }
}

#[tokio::test]
async fn the_old_cards_gateway_need_not_be_the_new_ones() {
    let stage = Stage::default();
    stage.cleeng.add_method(id("777777777"), "another", DunningSettings::default());
    let (cast, event) = changed_card(&stage, "777777777").await;
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_released(&stage);
    // And the other way round: details of another connector are not ours.
    let foreign = stage.cleeng.deactivation_event(&cast.subscriber.details).unwrap();
    let writes = stage.store.writes();
    assert_eq!(stage.deliver(&foreign).await, Verdict::NotOurs);
    assert_eq!(stage.store.writes(), writes);
}

#[tokio::test]
async fn payments_of_every_page_are_released_even_if_the_journal_does_not_know_them() {
    let stage = Stage::default();
    stage.cleeng.quirks(|quirks| quirks.page = 10);
    let cast = stage.subscriber(METHOD);
    for number in 0..25 {
        purchase_of_others(&stage, &cast, PaymentStatus::Authorised, number).await;
    }
    let event = stage.cleeng.deactivation_event(&cast.subscriber.details).unwrap();
    assert_eq!(stage.deliver_until_settled(&event).await, settled("deactivated"));
    stage.adyen.process();
    assert_eq!(cancels(&stage), (25, 25));
    assert!(statuses(&stage).iter().all(|status| *status == PaymentStatus::Cancelled));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_payment_that_cannot_be_told_is_for_an_operator_and_holds_back_no_other() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    for number in 0..3 {
        purchase_of_others(&stage, &cast, PaymentStatus::Authorised, number).await;
    }
    let nameless = |body: &mut Value| {
        body["data"][1].as_object_mut().unwrap().remove("externalPaymentId");
    };
    stage.road.lay(Fault::Mutate(std::sync::Arc::new(nameless)), |peer, request| {
        peer == "cleeng" && request.path.ends_with("/authorised_payments")
    });
    let event = stage.cleeng.deactivation_event(&cast.subscriber.details).unwrap();
    assert_eq!(stage.deliver_until_settled(&event).await, parked("authorisation_not_released"));
    assert_eq!(stage.metrics.count(Metric::Parked, "authorised_payment_cannot_be_told"), 1);
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Authorised, PaymentStatus::Cancelled]);
    assert_eq!(stage.deliver(&event).await, settled("parked"));
}

fn without(stage: &Stage, event: &SentWebhook, fields: &[&str]) -> SentWebhook {
    let mut data = Webhook::parse(&event.body).unwrap().data;
    for field in fields {
        data.as_object_mut().unwrap().remove(*field);
    }
    stage.cleeng.event(Topic::PaymentDetailsDeactivated, &data)
}

#[tokio::test]
async fn whose_details_they_are_is_told_by_journal_or_order_where_the_event_does_not() {
    let stage = Stage::default();
    let (_, event) = changed_card(&stage, METHOD).await;
    let bare = without(&stage, &event, &["paymentMethodId", "customerId", "token"]);
    assert_eq!(stage.deliver(&bare).await, settled("deactivated"));
    assert_released(&stage);
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    purchase_of_others(&stage, &cast, PaymentStatus::Authorised, 0).await;
    let event = stage.cleeng.deactivation_event(&cast.subscriber.details).unwrap();
    let bare = without(&stage, &event, &["paymentMethodId", "customerId", "token"]);
    assert_eq!(stage.deliver(&bare).await, settled("deactivated"));
    assert_released(&stage);
    // The same gateway, another connector's method: the order tells.
    let stage = Stage::new(|rules| {
        rules.methods.remove(&id(METHOD));
    });
    let cast = stage.subscriber(METHOD);
    purchase_of_others(&stage, &cast, PaymentStatus::Authorised, 0).await;
    let event = stage.cleeng.deactivation_event(&cast.subscriber.details).unwrap();
    assert_eq!(stage.deliver(&without(&stage, &event, &["paymentMethodId"])).await, Verdict::NotOurs);
    assert_eq!((cancels(&stage), statuses(&stage)), ((0, 0), vec![PaymentStatus::Authorised]));
}

#[tokio::test]
async fn details_that_are_deactivated_a_second_time_are_cleaned_up_a_second_time() {
    let stage = Stage::default();
    let cast = stage.subscriber(METHOD);
    let event = stage.cleeng.deactivation_event(&cast.subscriber.details).unwrap();
    for number in 0..2 {
        purchase_of_others(&stage, &cast, PaymentStatus::Authorised, number).await;
        assert_eq!(stage.deliver(&event).await, settled("deactivated"));
        stage.adyen.process();
        assert_eq!(cancels(&stage), (number + 1, number + 1));
    }
    assert_balanced(&stage);
}

#[tokio::test]
async fn what_the_gateway_calls_captured_is_left_alone_and_reported() {
    let stage = Stage::default();
    let (cast, event) = changed_card(&stage, METHOD).await;
    let captured = Outcome::Declined(Decline::new(DeclineClass::Hard, "already_captured"));
    let (stage, _) = answering(stage, Some(Ok(captured)), None);
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_eq!(stage.metrics.count(Metric::Warning, "already_captured"), 1);
    // Cleeng is told nothing: the money is taken, whoever took it.
    assert_eq!((cancels(&stage), statuses(&stage)), ((0, 0), vec![PaymentStatus::Authorised]));
    let head: Head = read(&stage, &Head::key(&cast.subscriber.subscription)).await.unwrap();
    assert_eq!((head.live, head.in_flight), (None, None));
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
}

#[tokio::test]
async fn a_subscription_that_ended_meanwhile_does_not_keep_its_authorisation() {
    let stage = Stage::default();
    let (cast, event) = changed_card(&stage, METHOD).await;
    stage.cleeng.set_status(&cast.subscriber.subscription, SubscriptionStatus::Terminated);
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_released(&stage);
}
