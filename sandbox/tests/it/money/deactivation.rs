//! Open authorisations are released when their payment details are deactivated.

use std::time::Duration;

use connector::cleeng::webhook::{Topic, Webhook};
use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::Disposition;
use connector::gateway::{Decline, DeclineClass, Outcome};
use connector::http::Method;
use connector::metrics::Metric;
use connector::payments::subscription_state::SubscriptionState;
use sandbox::simulators::adyen::PaymentState;
use sandbox::simulators::cleeng::{DunningSettings, SentWebhook};
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use serde_json::Value;

use crate::money::fixtures::{
    assert_balanced, completed, crash_at_every_call, deliver_concurrently, parked, read_document, seed_foreign_purchase, statuses,
};
use crate::money::scripted_gateway::with_scripted_gateway;
use crate::support::faults::FAULTS;

/// A subscriber whose next period is authorised, who then changed the card; with the announcement about the old one.
pub(crate) async fn authorised_then_changed_card(env: &TestEnvironment, new_method: &str) -> (TestSubscriber, SentWebhook) {
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    env.change_card(&mut subscriber, new_method);
    let due = env.cleeng.due_webhooks();
    let event = due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap();
    (subscriber, event)
}

fn cancel_counts(env: &TestEnvironment) -> (usize, usize) {
    (env.network.delivered_count("adyen", &Method::POST, "/cancels"), env.network.delivered_count("cleeng", &Method::PATCH, "/cancel"))
}

fn assert_released(env: &TestEnvironment) {
    env.adyen.process();
    assert_eq!(statuses(env), [PaymentStatus::Cancelled]);
    assert!(env.adyen.payments().iter().all(|payment| payment.state == PaymentState::Cancelled));
    assert_balanced(env);
}

#[tokio::test]
async fn an_authorisation_with_the_replaced_card_is_released_and_the_new_card_authorised() {
    let env = TestEnvironment::default();
    let (subscriber, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_eq!(cancel_counts(&env), (1, 1));
    assert_released(&env);
    let head: SubscriptionState = read_document(&env, &SubscriptionState::key(&subscriber.ids.subscription)).await.unwrap();
    assert_eq!((head.live_authorisation, head.in_flight), (None, None));
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(48 * 3600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!((cancel_counts(&env), env.adyen.total_captured("USD")), ((1, 1), 999));
    assert_balanced(&env);
}

#[tokio::test]
async fn details_without_an_authorisation_need_no_clean_up() {
    let env = TestEnvironment::default();
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let event = env.cleeng.due_webhooks().remove(0);
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_eq!((cancel_counts(&env), env.metrics.count(Metric::Duplicate, "deactivated")), ((0, 0), 1));
}

#[tokio::test]
async fn the_topic_is_read_in_any_letter_case() {
    let env = TestEnvironment::default();
    let (_, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    let body = String::from_utf8(event.body).unwrap().replace("paymentDetailsDeactivated", "PaymentDetailsDeactivated").into_bytes();
    let signature = sandbox::simulators::cleeng::sign(sandbox::testkit::fixtures::WEBHOOK_SECRET, &body);
    assert_eq!(env.deliver(&SentWebhook { body, signature, ..event }).await, completed("deactivated"));
    assert_released(&env);
}

#[tokio::test]
async fn the_same_deactivation_delivered_five_times_releases_once() {
    let env = TestEnvironment::default();
    let (_, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    for _ in 0..5 {
        assert_eq!(env.deliver(&event).await, completed("deactivated"));
    }
    assert_eq!(cancel_counts(&env), (1, 1));
    assert_released(&env);
}

#[tokio::test]
async fn two_concurrent_deliveries_release_once_at_every_interleaving() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let (_, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
        let _ = deliver_concurrently(&env, &event, &event, head_start).await;
        env.clock.advance(Duration::from_secs(100));
        assert_eq!(env.deliver_until_settled(&event).await, completed("deactivated"), "{head_start}");
        assert_eq!(cancel_counts(&env).1, 1, "{head_start}");
        assert_released(&env);
    }
}

#[tokio::test]
async fn a_crash_anywhere_in_a_clean_up_leaves_nothing_held() {
    let scene = async || {
        let env = TestEnvironment::default();
        let (_, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
        (env, event)
    };
    let act = async |env: &TestEnvironment, event: &_| {
        env.deliver_until_settled(event).await;
    };
    let afterwards = async |env: &TestEnvironment, event: &_, context: &str| {
        assert_eq!(env.deliver_until_settled(event).await, completed("deactivated"), "{context}");
        assert_released(env);
    };
    let crashes = crash_at_every_call(scene, act, afterwards).await;
    assert_eq!(crashes, 2 * 8, "the list, two outside writes, five journal writes, each before and after");
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_clean_up_leaves_nothing_held() {
    let calls: [fn(&str, &ServerRequest) -> bool; 3] = [
        |peer, request| peer == "cleeng" && request.path.ends_with("/authorised_payments"),
        |peer, request| peer == "adyen" && request.path.ends_with("/cancels"),
        |peer, request| peer == "cleeng" && request.path.ends_with("/cancel"),
    ];
    for call in calls {
        for fault in FAULTS {
            for times in 1..=2 {
                let env = TestEnvironment::default();
                let (_, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
                for _ in 0..times {
                    env.network.inject(fault.clone(), call);
                }
                assert_eq!(env.deliver_until_settled(&event).await, completed("deactivated"));
                assert_released(&env);
            }
        }
    }
}

#[tokio::test]
async fn the_replaced_cards_gateway_may_differ_from_the_new_cards() {
    let env = TestEnvironment::default();
    env.cleeng.add_method(id("777777777"), "another", DunningSettings::default());
    let (subscriber, event) = authorised_then_changed_card(&env, "777777777").await;
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_released(&env);
    // And the other way round: details of another connector are not ours.
    let foreign = env.cleeng.deactivation_event(&subscriber.ids.details).unwrap();
    let writes = env.store.writes();
    assert_eq!(env.deliver(&foreign).await, Disposition::NotOurs);
    assert_eq!(env.store.writes(), writes);
}

#[tokio::test]
async fn payments_of_every_page_are_released_even_if_the_journal_does_not_know_them() {
    let env = TestEnvironment::default();
    env.cleeng.change_quirks(|quirks| quirks.max_page_size = 10);
    let subscriber = env.subscriber(ADYEN_METHOD);
    for number in 0..25 {
        seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, number).await;
    }
    let event = env.cleeng.deactivation_event(&subscriber.ids.details).unwrap();
    assert_eq!(env.deliver_until_settled(&event).await, completed("deactivated"));
    env.adyen.process();
    assert_eq!(cancel_counts(&env), (25, 25));
    assert!(statuses(&env).iter().all(|status| *status == PaymentStatus::Cancelled));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_payment_that_cannot_be_identified_is_parked_and_blocks_no_other() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    for number in 0..3 {
        seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, number).await;
    }
    let nameless = |body: &mut Value| {
        body["data"][1].as_object_mut().unwrap().remove("externalPaymentId");
    };
    env.network.inject(Fault::Mutate(std::sync::Arc::new(nameless)), |peer, request| {
        peer == "cleeng" && request.path.ends_with("/authorised_payments")
    });
    let event = env.cleeng.deactivation_event(&subscriber.ids.details).unwrap();
    assert_eq!(env.deliver_until_settled(&event).await, parked("authorisation_not_released"));
    assert_eq!(env.metrics.count(Metric::Parked, "authorised_payment_unidentified"), 1);
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Authorised, PaymentStatus::Cancelled]);
    assert_eq!(env.deliver(&event).await, completed("parked"));
}

fn event_without(env: &TestEnvironment, event: &SentWebhook, fields: &[&str]) -> SentWebhook {
    let mut data = Webhook::parse(&event.body).unwrap().data;
    for field in fields {
        data.as_object_mut().unwrap().remove(*field);
    }
    env.cleeng.event(Topic::PaymentDetailsDeactivated, &data)
}

#[tokio::test]
async fn the_owner_of_details_is_resolved_by_journal_or_order_if_the_event_names_none() {
    let env = TestEnvironment::default();
    let (_, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    let bare = event_without(&env, &event, &["paymentMethodId", "customerId", "token"]);
    assert_eq!(env.deliver(&bare).await, completed("deactivated"));
    assert_released(&env);
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, 0).await;
    let event = env.cleeng.deactivation_event(&subscriber.ids.details).unwrap();
    let bare = event_without(&env, &event, &["paymentMethodId", "customerId", "token"]);
    assert_eq!(env.deliver(&bare).await, completed("deactivated"));
    assert_released(&env);
    // The same gateway, another connector's method: the order tells.
    let env = TestEnvironment::new(|rules| {
        rules.methods.remove(&id(ADYEN_METHOD));
    });
    let subscriber = env.subscriber(ADYEN_METHOD);
    seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, 0).await;
    let event = env.cleeng.deactivation_event(&subscriber.ids.details).unwrap();
    assert_eq!(env.deliver(&event_without(&env, &event, &["paymentMethodId"])).await, Disposition::NotOurs);
    assert_eq!((cancel_counts(&env), statuses(&env)), ((0, 0), vec![PaymentStatus::Authorised]));
}

#[tokio::test]
async fn details_that_are_deactivated_a_second_time_are_cleaned_up_a_second_time() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_METHOD);
    let event = env.cleeng.deactivation_event(&subscriber.ids.details).unwrap();
    for number in 0..2 {
        seed_foreign_purchase(&env, &subscriber, PaymentStatus::Authorised, number).await;
        assert_eq!(env.deliver(&event).await, completed("deactivated"));
        env.adyen.process();
        assert_eq!(cancel_counts(&env), (number + 1, number + 1));
    }
    assert_balanced(&env);
}

#[tokio::test]
async fn a_payment_captured_at_the_gateway_is_not_released_and_is_reported() {
    let env = TestEnvironment::default();
    let (subscriber, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    let captured = Outcome::Declined(Decline::new(DeclineClass::Hard, "already_captured"));
    let (env, _) = with_scripted_gateway(env, Some(Ok(captured)), None);
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_eq!(env.metrics.count(Metric::Warning, "already_captured"), 1);
    // Nothing is reported to Cleeng: the payment is captured, by us or by another system.
    assert_eq!((cancel_counts(&env), statuses(&env)), ((0, 0), vec![PaymentStatus::Authorised]));
    let head: SubscriptionState = read_document(&env, &SubscriptionState::key(&subscriber.ids.subscription)).await.unwrap();
    assert_eq!((head.live_authorisation, head.in_flight), (None, None));
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
}

#[tokio::test]
async fn a_subscription_that_ended_meanwhile_does_not_keep_its_authorisation() {
    let env = TestEnvironment::default();
    let (subscriber, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    env.cleeng.set_status(&subscriber.ids.subscription, SubscriptionStatus::Terminated);
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_released(&env);
}
