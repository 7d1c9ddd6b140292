//! Answers that never come, and errors: unknown is never declined and never done, and a technical refusal is no decline.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::metrics::Metric;
use connector::money::{Currency, Money};
use sandbox::cleeng::{Cycle, SentWebhook};
use sandbox::crash::When;
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::{CAPTURE_ONLY_METHOD, METHOD, OFFER, Stage, id};

use crate::changes::CHANGES;
use crate::faults::FAULTS;
use crate::{SETTLED, assert_balanced, at_due_date_authorised, at_first_attempt, calls, settled, statuses};

fn is_authorise(peer: &str, request: &PeerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/payments")
}

fn is_capture(peer: &str, request: &PeerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/captures")
}

fn is_report(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.path.contains("/payments") && request.method != connector::http::Method::GET
}

#[tokio::test]
async fn whatever_happens_to_any_one_call_of_a_renewal_it_is_settled_and_never_doubled() {
    // Every outside write of the renewal, each with every fault, and twice in a row.
    let writes: [fn(&str, &PeerRequest) -> bool; 4] =
        [|peer, request| peer == "cleeng" && request.path.ends_with("/orders"), is_authorise, is_capture, is_report];
    for write in writes {
        for fault in FAULTS {
            for times in 1..=2 {
                let (stage, cast) = at_first_attempt();
                for _ in 0..times {
                    stage.road.lay(fault.clone(), write);
                }
                assert_eq!(stage.deliver_until_settled(&stage.authorisation(&cast, 72)).await, settled("authorised"));
                stage.clock.advance_to(cast.due);
                assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
                assert!(!stage.road.has_faults());
                assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
                assert_eq!((stage.adyen.authorisations(), stage.adyen.total_captured("USD")), (1, 999));
                assert_balanced(&stage);
            }
        }
    }
}

#[tokio::test]
async fn a_gateway_that_is_silent_for_good_is_asked_for_a_day_and_then_parked() {
    let (stage, cast) = at_first_attempt();
    for _ in 0..400 {
        stage.road.lay(Fault::TimeoutAfter, is_authorise);
    }
    let event = stage.authorisation(&cast, 72);
    let started = connector::clock::Clock::now(&stage.clock);
    let mut verdict = stage.deliver(&event).await;
    while let Verdict::Later { .. } = verdict {
        stage.clock.advance(Duration::from_secs(900));
        verdict = stage.deliver(&event).await;
    }
    assert_eq!(verdict, Verdict::Parked("outcome_unknown"));
    assert_eq!(
        connector::clock::Clock::now(&stage.clock).since(started),
        Duration::from_secs(24 * 3600 + 900),
        "the first look after a whole day"
    );
    assert_eq!(stage.metrics.count(Metric::Parked, "outcome_unknown"), 1);
    // Neither a rejected payment in Cleeng, nor a second authorisation, nor a new attempt while the money is in an unknown state.
    assert_eq!(stage.adyen.authorisations(), 1);
    stage.road.clear();
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 24)).await, settled("parked"));
    assert_eq!((statuses(&stage), stage.adyen.authorisations()), (vec![], 1));
}

#[tokio::test]
async fn a_call_is_repeated_for_a_day_and_not_a_second_longer_because_the_gateway_may_forget_its_key() {
    for (late, verdict, held) in [(0, settled("authorised"), 1), (1, Verdict::Parked("outcome_unknown"), 0)] {
        let (stage, cast) = at_first_attempt();
        let event = stage.authorisation(&cast, 72);
        stage.road.lay(Fault::TimeoutBefore, is_authorise);
        assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
        stage.clock.advance(stage.world.rules.unknown_deadline + Duration::from_secs(late));
        assert_eq!(stage.deliver(&event).await, verdict, "{late}");
        assert_eq!((calls(&stage).0, stage.adyen.authorisations()), (held, held), "{late}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_asked_about_by_its_own_event_alone() {
    let (stage, mut cast) = at_first_attempt();
    let event = stage.authorisation(&cast, 72);
    stage.road.lay(Fault::TimeoutAfter, is_authorise);
    assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
    let capture = stage.capture(&cast);
    stage.change_card(&mut cast, METHOD);
    let with_another_card = stage.authorisation(&cast, 48);
    stage.clock.advance(Duration::from_secs(600));
    for other in [capture, with_another_card] {
        let verdict = stage.deliver(&other).await;
        assert_eq!(verdict, Verdict::Later { after: None, reason: "another_attempt_in_flight" });
        assert_eq!((calls(&stage), statuses(&stage)), ((1, 0, 0), vec![]));
    }
    assert_eq!(stage.deliver_until_settled(&event).await, settled("authorised"));
    assert_eq!((stage.adyen.authorisations(), statuses(&stage)), (1, vec![PaymentStatus::Authorised]));
}

#[tokio::test]
async fn credentials_that_are_refused_are_no_decline() {
    let (stage, cast) = at_first_attempt();
    stage.adyen.accept_api_keys(&["another-key"]);
    let event = stage.authorisation(&cast, 72);
    for _ in 0..3 {
        assert_eq!(stage.deliver(&event).await, Verdict::Later { after: None, reason: "gateway_credentials" });
        stage.clock.advance(Duration::from_secs(100));
    }
    assert_eq!(statuses(&stage), []);
    stage.adyen.accept_api_keys(&[sandbox::stage::ADYEN_API_KEY]);
    assert_eq!(stage.deliver(&event).await, settled("authorised"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_wait_that_a_peer_asks_for_is_kept() {
    let (stage, cast) = at_first_attempt();
    stage.adyen.throttle_next(17);
    let verdict = stage.deliver(&stage.authorisation(&cast, 72)).await;
    assert_eq!(verdict, Verdict::Later { after: Some(Duration::from_secs(17)), reason: "gateway_throttled" });
}

#[tokio::test]
async fn a_lost_report_of_a_charge_is_found_out_from_the_subscription() {
    for fault in [Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::TimeoutBefore, Fault::StatusBefore(500)] {
        let stage = Stage::default();
        let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
        stage.clock.advance_to(cast.due);
        stage.road.lay(fault, is_report);
        assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
        stage.adyen.process();
        assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn a_lost_report_of_a_decline_is_repeated_once_and_does_not_keep_the_next_attempt_from_opening() {
    let (stage, cast) = at_first_attempt();
    stage.adyen.refuse_next(&cast.stored, "12");
    stage.road.lay(Fault::TimeoutAfter, is_report);
    stage.road.lay(Fault::TimeoutAfter, is_report);
    assert_eq!(stage.deliver_until_settled(&stage.authorisation(&cast, 72)).await, settled("declined"));
    assert_eq!(calls(&stage).2, 2);
    assert_eq!(stage.metrics.count(Metric::Warning, "rejected_report_unknown"), 1);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(48 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
}

#[tokio::test]
async fn a_report_that_cleeng_refuses_for_good_is_parked_with_the_money_where_it_is() {
    let (stage, cast) = at_due_date_authorised().await;
    let capture = stage.capture(&cast);
    assert!(!SETTLED(&stage.deliver(&capture).await));
    stage.adyen.process();
    stage.clock.advance(Duration::from_secs(45 * 60));
    stage.road.lay(Fault::StatusBefore(422), is_report);
    assert_eq!(stage.deliver(&capture).await, Verdict::Parked("cleeng_refused_report"));
    assert_eq!(stage.deliver(&capture).await, settled("parked"));
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    assert_eq!(calls(&stage), (1, 1, 1));
}

#[tokio::test]
async fn no_mutated_answer_of_either_side_leads_to_a_wrong_money_decision() {
    for peer in ["cleeng", "adyen"] {
        for nth in 0..6 {
            for change in CHANGES {
                let (stage, cast) = at_first_attempt();
                let seen = std::sync::atomic::AtomicUsize::new(0);
                stage.road.lay(Fault::Mutate(std::sync::Arc::new(change)), move |name, _| {
                    name == peer && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth
                });
                let first = stage.deliver_until_settled(&stage.authorisation(&cast, 72)).await;
                stage.clock.advance_to(cast.due);
                let second = stage.deliver_until_settled(&stage.capture(&cast)).await;
                stage.adyen.process();
                let context = format!("{peer} call {nth}: {first:?}, {second:?}");
                assert!(stage.adyen.authorisations() <= 1, "{context}");
                assert!(stage.adyen.total_captured("USD") <= 999, "{context}");
                let rejected = statuses(&stage).contains(&PaymentStatus::Rejected);
                assert!(!rejected, "nobody declined: {context}");
                let captured_in_cleeng = statuses(&stage).contains(&PaymentStatus::Captured);
                assert!(!captured_in_cleeng || stage.adyen.total_captured("USD") == 999, "{context}");
            }
        }
    }
}

/// Cleeng cannot be reached for a day: the order lapses ("Create an order": 24 hours) before anybody could say what was held or taken for it.
async fn unreachable_for_a_day(stage: &Stage, event: &SentWebhook) {
    let until = stage.now().after(Duration::from_secs(23 * 3600));
    while stage.now() < until {
        stage.road.lay(Fault::NotSent, is_report);
        let verdict = stage.deliver(event).await;
        assert!(matches!(verdict, Verdict::Later { .. }), "{verdict:?}");
        stage.clock.advance(Duration::from_secs(900));
    }
    stage.clock.advance(Duration::from_secs(2 * 3600));
}

/// Seed 2133.
#[tokio::test]
async fn what_is_held_or_taken_for_an_order_that_lapsed_is_reported_for_another_one() {
    let (stage, cast) = at_first_attempt();
    let authorisation = stage.authorisation(&cast, 72);
    unreachable_for_a_day(&stage, &authorisation).await;
    assert_eq!(stage.deliver_until_settled(&authorisation).await, settled("authorised"));
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!((statuses(&stage), stage.cleeng.orders().len()), (vec![PaymentStatus::Captured], 2));
    assert_eq!((stage.adyen.authorisations(), stage.adyen.total_captured("USD")), (1, 999));
    assert_balanced(&stage);

    let stage = Stage::default();
    let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    let capture = stage.capture(&cast);
    unreachable_for_a_day(&stage, &capture).await;
    assert_eq!(stage.deliver_until_settled(&capture).await, settled("captured"));
    assert_eq!((statuses(&stage), stage.adyen.total_captured("USD")), (vec![PaymentStatus::Captured], 999));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_worker_that_dies_while_it_orders_again_neither_pays_nor_reports_twice() {
    for when in [When::Before, When::After] {
        for nth in 0.. {
            let (stage, cast) = at_first_attempt();
            let authorisation = stage.authorisation(&cast, 72);
            unreachable_for_a_day(&stage, &authorisation).await;
            stage.switch.arm(nth, when);
            let survived = stage.switch.run(stage.deliver(&authorisation)).await.is_some();
            stage.switch.disarm();
            stage.clock.advance(Duration::from_secs(100));
            assert_eq!(stage.deliver_until_settled(&authorisation).await, settled("authorised"), "death {when:?} call {nth}");
            assert_eq!((statuses(&stage), stage.adyen.authorisations()), (vec![PaymentStatus::Authorised], 1), "death {when:?} call {nth}");
            assert_balanced(&stage);
            if survived {
                assert!(nth >= 6, "{nth}: the question, the order, the report, and what is written before and after");
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_order_for_another_amount_is_none_for_what_was_held() {
    let (stage, cast) = at_first_attempt();
    let authorisation = stage.authorisation(&cast, 72);
    unreachable_for_a_day(&stage, &authorisation).await;
    stage.cleeng.add_offer(id(OFFER), Money::new(1_099, Currency::new("USD").unwrap()), Cycle::MONTHLY);
    assert_eq!(stage.deliver_until_settled(&authorisation).await, Verdict::Parked("cleeng_refused_report"));
    assert_eq!(statuses(&stage), []);
}
