//! Deletion of deactivated details: only if enabled, only without an open authorisation, and never a token that others use.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Disposition;
use connector::http::Method;
use connector::ids::PaymentDetailsId;
use connector::metrics::Metric;
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::ServerRequest;
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::money::fixtures::{assert_balanced, completed, crash_at_every_call, parked, seed_foreign_purchase, statuses};
use crate::support::faults::FAULTS;

fn with_deletion_enabled() -> TestEnvironment {
    TestEnvironment::new(|rules| rules.delete_deactivated_details = true)
}

struct ReplacedDetails {
    details: PaymentDetailsId,
    stored: String,
    event: SentWebhook,
}

/// A subscriber who was authorised with one card and then took another; `same_token` is the same card entered again.
async fn replace_details(env: &TestEnvironment, same_token: bool) -> (TestSubscriber, ReplacedDetails) {
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    let (details, stored) = (subscriber.ids.details.clone(), subscriber.stored_id.clone());
    if same_token {
        let token = env.cleeng.details(&details).unwrap().token;
        subscriber.ids.details = env.cleeng.change_details(&subscriber.ids, &id(ADYEN_METHOD), &token).unwrap();
    } else {
        env.change_card(&mut subscriber, ADYEN_METHOD);
    }
    let due = env.cleeng.due_webhooks();
    let event = due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap();
    (subscriber, ReplacedDetails { details, stored, event })
}

fn assert_deleted(env: &TestEnvironment, old: &ReplacedDetails) {
    env.adyen.process();
    assert!(!env.adyen.has_method(&old.stored));
    assert!(env.cleeng.details(&old.details).is_none());
    assert_eq!(statuses(env), [PaymentStatus::Cancelled]);
    assert_balanced(env);
}

fn deletion_counts(env: &TestEnvironment) -> (usize, usize) {
    (env.network.delivered_count("adyen", &Method::DELETE, ""), env.network.delivered_count("cleeng", &Method::DELETE, ""))
}

#[tokio::test]
async fn nothing_is_deleted_unless_deletion_is_enabled() {
    let env = TestEnvironment::default();
    let (_, old) = replace_details(&env, false).await;
    assert_eq!(env.deliver(&old.event).await, completed("deactivated"));
    assert_eq!(deletion_counts(&env), (0, 0));
    assert!(env.adyen.has_method(&old.stored) && env.cleeng.details(&old.details).is_some());
}

#[tokio::test]
async fn token_and_details_are_deleted_after_everything_is_released() {
    let env = with_deletion_enabled();
    let (subscriber, old) = replace_details(&env, false).await;
    let before = env.network.calls().len();
    // The gateway has taken the cancel and not said yet what became of it.
    assert_eq!(env.deliver(&old.event).await, Disposition::Retry { after: None, reason: RetryReason::CancelNotFinal });
    assert_eq!(deletion_counts(&env), (0, 0));
    for _ in 0..3 {
        assert_eq!(env.run_event(&old.event).await, completed("deactivated"));
    }
    assert_deleted(&env, &old);
    assert_eq!(deletion_counts(&env), (1, 1));
    let calls: Vec<_> = env
        .network
        .calls()
        .into_iter()
        .skip(before)
        .filter(|call| call.method != Method::GET && !call.path.ends_with("/authorised_payments"))
        .take(4)
        .collect();
    let order: Vec<_> = calls.iter().map(|call| (call.server, call.method.as_str())).collect();
    assert_eq!(order, [("adyen", "POST"), ("cleeng", "PATCH"), ("adyen", "DELETE"), ("cleeng", "DELETE")]);
    assert!(env.adyen.has_method(&subscriber.stored_id), "the new card stays");
}

#[tokio::test]
async fn a_token_that_other_active_details_use_stays_at_the_gateway() {
    let env = with_deletion_enabled();
    let (subscriber, old) = replace_details(&env, true).await;
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(48 * 3600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    assert_eq!(env.deliver(&old.event).await, completed("deactivated"));
    assert_eq!(env.metrics.count(Metric::Warning, "token_still_used"), 1);
    assert_eq!(deletion_counts(&env), (0, 1));
    assert!(env.adyen.has_method(&old.stored) && env.cleeng.details(&old.details).is_none());
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_token_that_the_journal_has_never_seen_is_not_deleted() {
    let env = with_deletion_enabled();
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    let (details, stored) = (subscriber.ids.details.clone(), subscriber.stored_id.clone());
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let event = env.cleeng.due_webhooks().remove(0);
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_eq!(env.metrics.count(Metric::Warning, "token_use_unknown"), 1);
    assert_eq!(deletion_counts(&env), (0, 0));
    assert!(env.adyen.has_method(&stored) && env.cleeng.details(&details).is_some());
}

#[tokio::test]
async fn details_that_are_used_again_after_the_announcement_are_not_deleted() {
    let env = with_deletion_enabled();
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    let announced = env.cleeng.deactivation_event(&subscriber.ids.details).unwrap();
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    // It was received days ago: the journal keeps it.
    assert_eq!(env.deliver(&announced).await, Disposition::Postponed(RetryReason::CancelNotFinal));
    env.deliver_notifications().await;
    assert_eq!(env.deliver(&announced).await, completed("deactivated"));
    assert_eq!(env.metrics.count(Metric::Warning, "details_active_again"), 1);
    assert_eq!(deletion_counts(&env), (0, 0));
    subscriber.stored_id.clear();
}

#[tokio::test]
async fn a_crash_anywhere_in_a_deletion_leaves_nothing_behind() {
    let scene = async || {
        let env = with_deletion_enabled();
        let (_, old) = replace_details(&env, false).await;
        (env, old)
    };
    let act = async |env: &TestEnvironment, old: &ReplacedDetails| {
        env.run_event(&old.event).await;
    };
    let afterwards = async |env: &TestEnvironment, old: &ReplacedDetails, context: &str| {
        assert_eq!(env.run_event(&old.event).await, completed("deactivated"), "{context}");
        assert_deleted(env, old);
    };
    let crashes = crash_at_every_call(scene, act, afterwards).await;
    assert!(crashes >= 2 * 11, "{crashes}: the list, four outside writes and the journal's, each before and after");
}

#[tokio::test]
async fn a_fault_in_a_deletion_is_overcome_eventually() {
    let calls: [fn(&str, &ServerRequest) -> bool; 2] = [
        |peer, request| peer == "adyen" && request.method == Method::DELETE,
        |peer, request| peer == "cleeng" && request.method == Method::DELETE,
    ];
    for call in calls {
        for fault in FAULTS {
            let env = with_deletion_enabled();
            let (_, old) = replace_details(&env, false).await;
            env.network.inject(fault, call);
            assert_eq!(env.run_event(&old.event).await, completed("deactivated"));
            assert!(!env.network.has_faults());
            assert_deleted(&env, &old);
        }
    }
}

#[tokio::test]
async fn nothing_is_deleted_if_the_release_is_refused_or_stays_unknown() {
    for refuses in [true, false] {
        let env = with_deletion_enabled();
        let (_, old) = replace_details(&env, false).await;
        if refuses {
            env.adyen.fail_next_modification("Refused");
            assert_eq!(env.run_event(&old.event).await, parked("authorisation_not_released"));
        } else {
            let mut disposition = env.deliver(&old.event).await;
            for _ in 0..200 {
                let (Disposition::Retry { .. } | Disposition::Postponed(_)) = disposition else { break };
                env.clock.advance(Duration::from_secs(900));
                disposition = env.deliver(&old.event).await;
            }
            assert_eq!(disposition, parked("cancel_not_final"));
        }
        assert_eq!(deletion_counts(&env), (0, 0));
        assert!(env.adyen.has_method(&old.stored) && env.cleeng.details(&old.details).is_some());
    }
}

#[tokio::test]
async fn nothing_is_deleted_while_a_capture_is_in_flight() {
    let env = with_deletion_enabled();
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    env.clock.advance_to(subscriber.due);
    let (capture, details) = (env.capture_event(&subscriber), subscriber.ids.details.clone());
    assert!(matches!(env.deliver(&capture).await, Disposition::Retry { .. }));
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let gone = env.cleeng.deactivation_event(&details).unwrap();
    assert_eq!(env.deliver(&gone).await, Disposition::Retry { after: None, reason: RetryReason::CaptureInFlight });
    assert_eq!(deletion_counts(&env), (0, 0));
    assert_eq!(env.deliver_until_settled(&capture).await, completed("captured"));
    assert_eq!(env.deliver(&gone).await, completed("deactivated"));
    assert_eq!(deletion_counts(&env), (1, 1));
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
}

#[tokio::test]
async fn nothing_is_deleted_while_an_authorisation_could_not_be_released() {
    let env = with_deletion_enabled();
    let (subscriber, old) = replace_details(&env, false).await;
    let old_cast = TestSubscriber {
        ids: sandbox::simulators::cleeng::SubscriberIds { details: old.details.clone(), ..subscriber.ids.clone() },
        ..subscriber
    };
    seed_foreign_purchase(&env, &old_cast, PaymentStatus::Authorised, 0).await;
    let nameless = |body: &mut serde_json::Value| {
        body["data"][1].as_object_mut().unwrap().remove("externalPaymentId");
    };
    env.network.inject(sandbox::simulators::network::Fault::Mutate(std::sync::Arc::new(nameless)), |peer, request| {
        peer == "cleeng" && request.path.ends_with("/authorised_payments")
    });
    assert_eq!(env.deliver(&old.event).await, Disposition::Parked(ParkReason::AuthorisationNotReleased));
    assert_eq!(deletion_counts(&env), (0, 0));
}
