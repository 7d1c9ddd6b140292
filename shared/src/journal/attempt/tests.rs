use serde_json::json;

use super::*;

fn attempt(due: i64) -> Attempt {
    Attempt::opened(AttemptKind::Authorise, Timestamp::from_secs(due), Timestamp::from_secs(due))
}

#[test]
fn a_finished_step_returns_its_recorded_result() {
    let mut attempt = attempt(1);
    assert_eq!(attempt.step_state("pay"), StepState::NotStarted);
    attempt.record_intent("pay", None, Timestamp::from_secs(2));
    attempt.record_result("pay", json!({"id": 7}));
    assert_eq!(attempt.step_state("pay"), StepState::Done(json!({"id": 7})));
}

#[test]
fn a_step_with_an_intent_and_no_result_is_an_unknown_outcome() {
    let mut attempt = attempt(1);
    attempt.record_intent("pay", None, Timestamp::from_secs(2));
    assert!(matches!(attempt.step_state("pay"), StepState::Unknown(step) if step.started_at == Timestamp::from_secs(2)));
}

#[test]
fn the_key_stored_in_the_intent_wins_over_a_later_one() {
    let key = |text: &str| serde_json::from_value::<IdempotencyKey>(json!(text)).unwrap();
    let mut attempt = attempt(1);
    attempt.record_intent("pay", Some(key("first")), Timestamp::from_secs(2));
    attempt.record_intent("pay", Some(key("second")), Timestamp::from_secs(9));
    let StepState::Unknown(step) = attempt.step_state("pay") else { panic!("begun") };
    assert_eq!(step.key, Some(key("first")));
    assert_eq!((step.repeats, step.started_at), (1, Timestamp::from_secs(2)));
}

#[test]
fn a_call_without_effect_may_be_made_again_under_a_new_key() {
    let key = |text: &str| serde_json::from_value::<IdempotencyKey>(json!(text)).unwrap();
    let mut attempt = attempt(1);
    attempt.record_intent("pay", Some(key("first")), Timestamp::from_secs(2));
    attempt.record_no_effect("pay");
    assert_eq!((attempt.step_state("pay"), attempt.no_effect_count("pay")), (StepState::NotStarted, 1));
    attempt.record_intent("pay", Some(key("second")), Timestamp::from_secs(9));
    let StepState::Unknown(step) = attempt.step_state("pay") else { panic!("begun") };
    assert_eq!(step.key, Some(key("second")));
}

#[test]
fn a_kind_is_stored_under_its_own_code_so_that_keys_of_two_kinds_differ() {
    use AttemptKind as K;
    let renewal = [K::Authorise, K::Capture, K::Charge, K::Terminate, K::Notification];
    for kind in renewal.into_iter().chain([K::Purchase, K::StoreDetails, K::Reversal, K::Refund, K::Release, K::Deactivate]) {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}

#[test]
fn each_call_without_effect_counts_for_the_next_key() {
    let mut attempt = attempt(1);
    assert_eq!(attempt.no_effect_count("pay"), 0);
    for count in 1..=3 {
        attempt.record_intent("pay", None, Timestamp::from_secs(2));
        attempt.record_no_effect("pay");
        assert_eq!((attempt.no_effect_count("pay"), attempt.no_effect_count("report")), (count, 0));
    }
}
