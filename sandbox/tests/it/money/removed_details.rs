//! Customers remove payment details in Cleeng, and its front-end library does so by itself with those that are not active any more. Cleeng
//! then knows neither the details nor what is held with them. "Not found" is believed only while Cleeng finds others'.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::reason::RetryReason;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use sandbox::testkit::queue_worker::time_to_come_back;

use crate::money::fixtures::{assert_balanced, completed, parked, statuses};

const HOUR: Duration = Duration::from_secs(3_600);

fn with_deletion() -> TestEnvironment {
    TestEnvironment::new(|rules| rules.delete_deactivated_details = true)
}

/// A subscriber whose next period is held with details that were replaced and then removed in Cleeng; with the announcement about them.
struct Removed {
    subscriber: TestSubscriber,
    old_token: String,
    announced: SentWebhook,
}

async fn removed_details(env: &TestEnvironment, method: &str) -> Removed {
    let mut subscriber = env.subscriber(method);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    let (old, old_token) = (subscriber.ids.details.clone(), subscriber.token.clone());
    env.change_card(&mut subscriber, method);
    // The announcement of the deactivation is lost; that of the removal counts.
    drop(env.cleeng.due_webhooks());
    let announced = env.cleeng.remove_details(&old).unwrap();
    Removed { subscriber, old_token, announced }
}

fn held_count(env: &TestEnvironment, gateway: GatewayName) -> usize {
    env.gateway(gateway).simulator.ledger().iter().filter(|entry| entry.holds_money() && entry.captured.is_zero()).count()
}

fn has_token(env: &TestEnvironment, gateway: GatewayName, token: &str) -> bool {
    env.gateway(gateway).simulator.has_stored_details(token)
}

#[tokio::test]
async fn what_is_held_with_removed_details_is_released_when_the_next_authorisation_comes() {
    for gateway in GatewayName::ALL {
        let env = with_deletion();
        let Removed { subscriber, .. } = removed_details(&env, env.gateway(*gateway).method).await;
        env.clock.advance_to(subscriber.due.before(48 * HOUR));
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"), "{gateway}");
        env.deliver_notifications().await;
        assert_eq!(held_count(&env, *gateway), 1, "{gateway}: the new one");
        env.clock.advance_to(subscriber.due);
        assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, completed("captured"), "{gateway}");
        assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Captured]);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn removed_details_are_cleaned_up_whether_or_not_another_event_comes_first() {
    for gateway in GatewayName::ALL {
        for authorised_first in [false, true] {
            let env = with_deletion();
            let Removed { subscriber, old_token, announced } = removed_details(&env, env.gateway(*gateway).method).await;
            env.clock.advance_to(subscriber.due.before(48 * HOUR));
            if authorised_first {
                assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
            }
            assert_eq!(env.run_event(&announced).await, completed("deactivated"), "{gateway} {authorised_first}");
            assert_eq!(held_count(&env, *gateway), usize::from(authorised_first));
            assert!(!has_token(&env, *gateway, &old_token), "{gateway}: the gateway's token is gone");
            assert!(has_token(&env, *gateway, &subscriber.token));
            assert_balanced(&env);
        }
    }
}

#[tokio::test]
async fn a_termination_releases_what_is_held_with_removed_details() {
    for gateway in GatewayName::ALL {
        let env = with_deletion();
        let Removed { subscriber, .. } = removed_details(&env, env.gateway(*gateway).method).await;
        env.clock.advance_to(subscriber.due.after(3 * HOUR));
        assert_eq!(env.run_event(&env.termination_event(&subscriber)).await, completed("terminated"), "{gateway}");
        env.deliver_notifications().await;
        assert_eq!(held_count(&env, *gateway), 0, "{gateway}");
        assert_balanced(&env);
    }
}

/// A list that is not there says the same of everybody's details: what the journal knows is released, and nothing is deleted.
#[tokio::test]
async fn a_list_that_finds_nobodys_details_proves_nothing() {
    for gateway in GatewayName::ALL {
        let env = with_deletion();
        let Removed { old_token, announced, .. } = removed_details(&env, env.gateway(*gateway).method).await;
        env.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (Some(404), Some(404)));
        for _ in 0..5 {
            let waits = env.deliver(&announced).await;
            assert!(time_to_come_back(&waits).is_some(), "{waits:?}");
            env.deliver_notifications().await;
            env.clock.advance(HOUR);
        }
        assert_eq!(env.deliver(&announced).await, Disposition::Postponed(RetryReason::CleengNotFound));
        assert_eq!(held_count(&env, *gateway), 0, "{gateway}: released all the same");
        assert!(has_token(&env, *gateway, &old_token));
        env.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (None, None));
        assert_eq!(env.run_event(&announced).await, completed("deactivated"), "{gateway}");
        assert!(!has_token(&env, *gateway, &old_token));
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn details_that_nobody_can_confirm_as_gone_are_parked_after_a_day() {
    for (is_held, reason) in [(false, "details_not_found_in_cleeng"), (true, "authorisation_not_released")] {
        let env = with_deletion();
        let method = env.gateway(GatewayName::Adyen).method;
        let announced = if is_held {
            removed_details(&env, method).await.announced
        } else {
            let mut subscriber = env.subscriber(method);
            let old = subscriber.ids.details.clone();
            env.change_card(&mut subscriber, method);
            env.cleeng.remove_details(&old).unwrap()
        };
        env.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (Some(404), Some(404)));
        for _ in 0..3 {
            assert!(time_to_come_back(&env.deliver(&announced).await).is_some());
            env.deliver_notifications().await;
            env.clock.advance(9 * HOUR);
        }
        assert_eq!(env.deliver(&announced).await, parked(reason));
        assert_eq!(held_count(&env, GatewayName::Adyen), 0);
    }
}

/// The card is the same at the gateway: it knows it, and gives it the token that it had.
#[tokio::test]
async fn a_token_that_other_details_use_stays_when_details_are_removed() {
    let env = with_deletion();
    let mut subscriber = env.subscriber(env.gateway(GatewayName::Adyen).method);
    env.clock.advance_to(subscriber.due.before(72 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    let old = subscriber.ids.details.clone();
    let method = sandbox::testkit::fixtures::id(env.gateway(GatewayName::Adyen).method);
    subscriber.ids.details = env.cleeng.change_details(&subscriber.ids, &method, &subscriber.token).unwrap();
    drop(env.cleeng.due_webhooks());
    let announced = env.cleeng.remove_details(&old).unwrap();
    env.clock.advance_to(subscriber.due.before(48 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    assert_eq!(env.run_event(&announced).await, completed("deactivated"));
    assert!(has_token(&env, GatewayName::Adyen, &subscriber.token));
    assert_balanced(&env);
}
