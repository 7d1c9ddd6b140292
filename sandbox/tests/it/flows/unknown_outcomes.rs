//! Answers that never come, and errors: unknown is never declined and never done, and a technical refusal is no decline.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::metrics::Metric;
use connector::money::{Currency, Money};
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::cleeng::{Cycle, SentWebhook, refusal};
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::fixtures::{OFFER, id};
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::TestEnvironment;

use crate::flows::{IS_COMPLETED, assert_balanced, at_due_date_authorised, at_first_attempt, call_counts, completed, statuses};
use crate::support::changes::CHANGES;
use crate::support::faults::FAULTS;

fn is_authorise(peer: &str, request: &ServerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/payments")
}

fn is_capture(peer: &str, request: &ServerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/captures")
}

fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.path.contains("/payments") && request.method != connector::http::Method::GET
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_renewal_settles_and_never_doubles_it() {
    // Every outside write of the renewal, each with every fault, and twice in a row.
    let writes: [fn(&str, &ServerRequest) -> bool; 4] =
        [|peer, request| peer == "cleeng" && request.path.ends_with("/orders"), is_authorise, is_capture, is_report];
    for write in writes {
        for fault in FAULTS {
            for times in 1..=2 {
                let (env, subscriber) = at_first_attempt();
                for _ in 0..times {
                    env.network.inject(fault.clone(), write);
                }
                assert_eq!(env.deliver_until_settled(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
                env.clock.advance_to(subscriber.due);
                assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
                assert!(!env.network.has_faults());
                assert_eq!(statuses(&env), [PaymentStatus::Captured]);
                assert_eq!((env.adyen.authorisations(), env.adyen.total_captured("USD")), (1, 999));
                assert_balanced(&env);
            }
        }
    }
}

#[tokio::test]
async fn a_gateway_that_never_answers_is_queried_for_a_day_and_then_parked() {
    let (env, subscriber) = at_first_attempt();
    for _ in 0..400 {
        env.network.inject(Fault::TimeoutAfter, is_authorise);
    }
    let event = env.authorisation_event(&subscriber, 72);
    let started = connector::clock::Clock::now(&env.clock);
    let mut disposition = env.deliver(&event).await;
    while let Disposition::Retry { .. } | Disposition::Postponed(_) = disposition {
        env.clock.advance(Duration::from_secs(900));
        disposition = env.deliver(&event).await;
    }
    assert_eq!(disposition, Disposition::Parked(ParkReason::OutcomeUnknown));
    assert_eq!(
        connector::clock::Clock::now(&env.clock).since(started),
        Duration::from_secs(24 * 3600 + 900),
        "the first look after a whole day"
    );
    assert_eq!(env.metrics.count(Metric::Parked, "outcome_unknown"), 1);
    // Neither a rejected payment in Cleeng, nor a second authorisation, nor a new attempt while the money is in an unknown state.
    assert_eq!(env.adyen.authorisations(), 1);
    env.network.clear_faults();
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 24)).await, completed("parked"));
    assert_eq!((statuses(&env), env.adyen.authorisations()), (vec![], 1));
}

#[tokio::test]
async fn a_call_is_repeated_for_a_day_and_not_a_second_longer_because_the_gateway_may_forget_its_key() {
    for (late, disposition, held) in [(0, completed("authorised"), 1), (1, Disposition::Parked(ParkReason::OutcomeUnknown), 0)] {
        let (env, subscriber) = at_first_attempt();
        let event = env.authorisation_event(&subscriber, 72);
        env.network.inject(Fault::TimeoutBefore, is_authorise);
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { .. }));
        env.clock.advance(env.flow_context.policy.unknown_deadline + Duration::from_secs(late));
        assert_eq!(env.deliver(&event).await, disposition, "{late}");
        assert_eq!((call_counts(&env).0, env.adyen.authorisations()), (held, held), "{late}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_queried_by_its_own_event_alone() {
    let (env, mut subscriber) = at_first_attempt();
    let event = env.authorisation_event(&subscriber, 72);
    env.network.inject(Fault::TimeoutAfter, is_authorise);
    assert!(matches!(env.deliver(&event).await, Disposition::Retry { .. }));
    let capture = env.capture_event(&subscriber);
    env.change_card(&mut subscriber, ADYEN_METHOD);
    let with_another_card = env.authorisation_event(&subscriber, 48);
    env.clock.advance(Duration::from_secs(600));
    for other in [capture, with_another_card] {
        let disposition = env.deliver(&other).await;
        assert_eq!(disposition, Disposition::Retry { after: None, reason: RetryReason::AnotherAttemptInFlight });
        assert_eq!((call_counts(&env), statuses(&env)), ((1, 0, 0), vec![]));
    }
    assert_eq!(env.deliver_until_settled(&event).await, completed("authorised"));
    assert_eq!((env.adyen.authorisations(), statuses(&env)), (1, vec![PaymentStatus::Authorised]));
}

#[tokio::test]
async fn credentials_that_are_refused_are_no_decline() {
    let (env, subscriber) = at_first_attempt();
    env.adyen.accept_api_keys(&["another-key"]);
    let event = env.authorisation_event(&subscriber, 72);
    for _ in 0..3 {
        assert_eq!(env.deliver(&event).await, Disposition::Retry { after: None, reason: RetryReason::GatewayCredentials });
        env.clock.advance(Duration::from_secs(100));
    }
    assert_eq!(statuses(&env), []);
    env.adyen.accept_api_keys(&[sandbox::testkit::gateway_fixtures::ADYEN_API_KEY]);
    assert_eq!(env.deliver(&event).await, completed("authorised"));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_requested_wait_is_kept() {
    let (env, subscriber) = at_first_attempt();
    env.adyen.throttle_next(17);
    let disposition = env.deliver(&env.authorisation_event(&subscriber, 72)).await;
    assert_eq!(disposition, Disposition::Retry { after: Some(Duration::from_secs(17)), reason: RetryReason::GatewayThrottled });
}

#[tokio::test]
async fn a_lost_report_of_a_charge_is_resolved_from_the_subscription() {
    for fault in [Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::TimeoutBefore, Fault::StatusBefore(500)] {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
        env.clock.advance_to(subscriber.due);
        env.network.inject(fault, is_report);
        assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
        env.adyen.process();
        assert_eq!(statuses(&env), [PaymentStatus::Captured]);
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn a_lost_report_of_a_decline_is_repeated_once_and_does_not_keep_the_next_attempt_from_opening() {
    let (env, subscriber) = at_first_attempt();
    env.adyen.decline_next_with(&subscriber.stored_id, "12");
    env.network.inject(Fault::TimeoutAfter, is_report);
    env.network.inject(Fault::TimeoutAfter, is_report);
    assert_eq!(env.deliver_until_settled(&env.authorisation_event(&subscriber, 72)).await, completed("declined"));
    assert_eq!(call_counts(&env).2, 2);
    assert_eq!(env.metrics.count(Metric::Warning, "rejected_report_unknown"), 1);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(48 * 3600)));
    assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 48)).await, completed("authorised"));
}

#[tokio::test]
async fn a_report_that_cleeng_refuses_permanently_is_parked_and_moves_no_money() {
    let (env, subscriber) = at_due_date_authorised().await;
    let capture = env.capture_event(&subscriber);
    assert!(!IS_COMPLETED(&env.deliver(&capture).await));
    env.adyen.process();
    env.clock.advance(Duration::from_secs(45 * 60));
    env.network.inject(refusal(422), is_report);
    assert_eq!(env.deliver(&capture).await, Disposition::Parked(ParkReason::CleengRefusedReport));
    assert_eq!(env.deliver(&capture).await, completed("parked"));
    assert_eq!(env.adyen.total_captured("USD"), 999);
    assert_eq!(call_counts(&env), (1, 1, 1));
}

#[tokio::test]
async fn no_mutated_answer_of_either_side_leads_to_a_wrong_money_decision() {
    for peer in ["cleeng", "adyen"] {
        for nth in 0..6 {
            for change in CHANGES {
                let (env, subscriber) = at_first_attempt();
                let seen = std::sync::atomic::AtomicUsize::new(0);
                env.network.inject(Fault::Mutate(std::sync::Arc::new(change)), move |name, _| {
                    name == peer && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth
                });
                let first = env.deliver_until_settled(&env.authorisation_event(&subscriber, 72)).await;
                env.clock.advance_to(subscriber.due);
                let second = env.deliver_until_settled(&env.capture_event(&subscriber)).await;
                env.adyen.process();
                let context = format!("{peer} call {nth}: {first:?}, {second:?}");
                assert!(env.adyen.authorisations() <= 1, "{context}");
                assert!(env.adyen.total_captured("USD") <= 999, "{context}");
                let rejected = statuses(&env).contains(&PaymentStatus::Rejected);
                assert!(!rejected, "nobody declined: {context}");
                let captured_in_cleeng = statuses(&env).contains(&PaymentStatus::Captured);
                assert!(!captured_in_cleeng || env.adyen.total_captured("USD") == 999, "{context}");
            }
        }
    }
}

/// Cleeng cannot be reached for a day: the order lapses ("Create an order": 24 hours) before anybody could say what was held or taken for it.
async fn unreachable_for_a_day(env: &TestEnvironment, event: &SentWebhook) {
    let until = env.now().after(Duration::from_secs(23 * 3600));
    while env.now() < until {
        env.network.inject(Fault::NotSent, is_report);
        let disposition = env.deliver(event).await;
        assert!(matches!(disposition, Disposition::Retry { .. } | Disposition::Postponed(_)), "{disposition:?}");
        env.clock.advance(Duration::from_secs(900));
    }
    env.clock.advance(Duration::from_secs(2 * 3600));
}

/// Seed 2133.
#[tokio::test]
async fn a_payment_for_a_lapsed_order_is_reported_with_a_replacement_order() {
    let (env, subscriber) = at_first_attempt();
    let authorisation = env.authorisation_event(&subscriber, 72);
    unreachable_for_a_day(&env, &authorisation).await;
    assert_eq!(env.deliver_until_settled(&authorisation).await, completed("authorised"));
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
    assert_eq!((statuses(&env), env.cleeng.orders().len()), (vec![PaymentStatus::Captured], 2));
    assert_eq!((env.adyen.authorisations(), env.adyen.total_captured("USD")), (1, 999));
    assert_balanced(&env);

    let env = TestEnvironment::default();
    let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    let capture = env.capture_event(&subscriber);
    unreachable_for_a_day(&env, &capture).await;
    assert_eq!(env.deliver_until_settled(&capture).await, completed("captured"));
    assert_eq!((statuses(&env), env.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_crash_while_creating_the_replacement_order_neither_pays_nor_reports_twice() {
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            let (env, subscriber) = at_first_attempt();
            let authorisation = env.authorisation_event(&subscriber, 72);
            unreachable_for_a_day(&env, &authorisation).await;
            env.crash_point.arm(nth, when);
            let survived = env.crash_point.run(env.deliver(&authorisation)).await.is_some();
            env.crash_point.disarm();
            env.clock.advance(Duration::from_secs(100));
            assert_eq!(env.deliver_until_settled(&authorisation).await, completed("authorised"), "crash {when:?} call {nth}");
            assert_eq!((statuses(&env), env.adyen.authorisations()), (vec![PaymentStatus::Authorised], 1), "crash {when:?} call {nth}");
            assert_balanced(&env);
            if survived {
                assert!(nth >= 6, "{nth}: the question, the order, the report, and what is written before and after");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_replacement_order_with_another_amount_is_not_used() {
    let (env, subscriber) = at_first_attempt();
    let authorisation = env.authorisation_event(&subscriber, 72);
    unreachable_for_a_day(&env, &authorisation).await;
    env.cleeng.add_offer(id(OFFER), Money::new(1_099, Currency::new("USD").unwrap()), Cycle::MONTHLY);
    assert_eq!(env.deliver_until_settled(&authorisation).await, Disposition::Parked(ParkReason::CleengRefusedReport));
    assert_eq!(statuses(&env), []);
}
