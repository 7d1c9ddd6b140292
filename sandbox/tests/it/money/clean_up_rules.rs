//! What a clean-up concludes from the state of each payment and of the token.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::{DeactivationEvent, Topic};
use connector::flow::Disposition;
use connector::gateway::{Decline, DeclineClass, Operation, Outcome, Reference};
use connector::http::Method;
use connector::journal::payment::PaymentState;
use connector::journal::store::Key;
use connector::manual_review::{Decision, DecisionRequest, PreparedDecision};
use connector::metrics::Metric;
use connector::payments::deleted_details::deactivation_key;
use connector::payments::subscription_state::SubscriptionState;
use connector::reason::RetryReason;
use sandbox::simulators::cleeng::{SentWebhook, refusal};
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::money::deactivation::authorised_then_changed_card;
use crate::money::fixtures::{completed, parked, read_document, read_payment_record, statuses, usd};
use crate::money::scripted_gateway::with_scripted_gateway;

fn with_deletion_enabled() -> TestEnvironment {
    TestEnvironment::new(|rules| rules.delete_deactivated_details = true)
}

async fn live_authorisation(env: &TestEnvironment, subscriber: &TestSubscriber) -> Reference {
    let head: SubscriptionState = read_document(env, &SubscriptionState::key(&subscriber.ids.subscription)).await.unwrap();
    head.live_authorisation.unwrap().reference
}

#[tokio::test]
async fn a_capture_found_at_the_gateway_is_written_to_the_journal_and_reported_at_every_check() {
    let env = TestEnvironment::default();
    let (subscriber, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    let reference = live_authorisation(&env, &subscriber).await;
    let captured = Outcome::Declined(Decline::new(DeclineClass::Hard, "already_captured"));
    let (env, _) = with_scripted_gateway(env, Some(Ok(captured)), None);
    for looks in 1..=2 {
        assert_eq!(env.deliver(&event).await, completed("deactivated"));
        assert_eq!(env.metrics.count(Metric::Warning, "already_captured"), looks, "Cleeng still lists it");
    }
    let record = read_payment_record(&env, &reference).await;
    assert_eq!((record.state, record.captured), (PaymentState::Captured, usd(999)), "so that it can be refunded");
}

#[tokio::test]
async fn an_immediate_release_is_final_and_does_not_block_deletion() {
    let (subscriber, event, env) = {
        let env = with_deletion_enabled();
        let (subscriber, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
        (subscriber, event, env)
    };
    let reference = live_authorisation(&env, &subscriber).await;
    let (env, _) = with_scripted_gateway(env, Some(Ok(Outcome::Done(Operation::default()))), None);
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_eq!(read_payment_record(&env, &reference).await.state, PaymentState::Cancelled);
    assert_eq!(env.network.delivered_count("cleeng", &Method::DELETE, ""), 1);
}

async fn record_decision(env: &TestEnvironment, key: &Key, decision: Decision) {
    let order = DecisionRequest { decision, by: "N. N.".to_owned(), note: "looked at both sides".to_owned(), no_money_moved: false };
    PreparedDecision::prepare(&env.flow_context.store, key, &order, env.now()).await.unwrap().commit().await.unwrap();
}

fn deactivation_key_of(env: &TestEnvironment, event: &SentWebhook) -> Key {
    deactivation_key(&DeactivationEvent::read(env.verify(event).get()).unwrap().details)
}

#[tokio::test]
async fn a_parked_release_keeps_the_clean_up_parked_until_it_is_resolved() {
    let env = TestEnvironment::default();
    let (subscriber, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
    let reference = live_authorisation(&env, &subscriber).await;
    env.network.inject(refusal(422), |peer, request| peer == "cleeng" && request.path.ends_with("/cancel"));
    assert_eq!(env.deliver(&event).await, parked("authorisation_not_released"));
    record_decision(&env, &deactivation_key_of(&env, &event), Decision::Retry).await;
    assert_eq!(env.deliver(&event).await, parked("authorisation_not_released"), "nobody has looked at the payment");
    record_decision(&env, &Key::new("release", &[reference.as_str()]), Decision::Done).await;
    record_decision(&env, &deactivation_key_of(&env, &event), Decision::Retry).await;
    assert_eq!(env.deliver(&event).await, completed("deactivated"));
    assert_eq!(env.network.delivered_count("adyen", &Method::POST, "/cancels"), 1);
}

fn is_deletion(peer: &str, request: &ServerRequest) -> bool {
    peer == "adyen" && request.method == Method::DELETE
}

#[tokio::test]
async fn a_token_whose_deletion_is_unknown_for_a_day_is_parked_and_its_details_stay() {
    for (late, disposition, deleted) in [(0, completed("deactivated"), 1), (1, parked("token_deletion_unknown"), 0)] {
        let env = with_deletion_enabled();
        let (_, event) = authorised_then_changed_card(&env, ADYEN_METHOD).await;
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { reason: RetryReason::CancelNotFinal, .. }));
        env.network.inject(Fault::TimeoutBefore, is_deletion);
        env.deliver_notifications().await;
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { reason: RetryReason::GatewayUnknown, .. }));
        env.clock.advance(env.flow_context.policy.unknown_deadline + Duration::from_secs(late));
        assert_eq!(env.deliver(&event).await, disposition, "{late}");
        assert_eq!(env.network.delivered_count("cleeng", &Method::DELETE, ""), deleted, "{late}");
    }
}

/// The announcement of details that were replaced just now.
fn deactivation_event(env: &TestEnvironment) -> SentWebhook {
    let due = env.cleeng.due_webhooks();
    due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap()
}

#[tokio::test]
async fn details_that_were_cleaned_up_without_being_deleted_do_not_use_their_token_any_more() {
    let env = TestEnvironment::default();
    let mut subscriber = env.subscriber(ADYEN_METHOD);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3_600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
    // The same card entered again: other details with the same token.
    let (stored, token) = (subscriber.stored_id.clone(), env.cleeng.details(&subscriber.ids.details).unwrap().token);
    subscriber.ids.details = env.cleeng.change_details(&subscriber.ids, &id(ADYEN_METHOD), &token).unwrap();
    assert_eq!(env.run_event(&deactivation_event(&env)).await, completed("deactivated"));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
    assert!(env.adyen.has_method(&stored));
    // From now on details are deleted.
    let mut flow_context = env.flow_context.clone();
    let mut rules = (*flow_context.policy).clone();
    rules.delete_deactivated_details = true;
    flow_context.policy = std::sync::Arc::new(rules);
    let env = TestEnvironment { flow_context, ..env };
    env.change_card(&mut subscriber, ADYEN_METHOD);
    assert_eq!(env.run_event(&deactivation_event(&env)).await, completed("deactivated"));
    assert!(!env.adyen.has_method(&stored), "the first ones do not count");
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Cancelled]);
}
