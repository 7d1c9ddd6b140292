//! What each decision does to a record.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::gateway::IdempotencyKey;
use crate::journal::memory::MemoryStore;
use crate::journal::record::Lease;
use crate::journal::store::Put;
use crate::payments::subscription_state::LastCharge;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const PERIOD: &str = "period#332332332#2000000";

fn attempt(reason: &str, money_unknown: bool, steps: &[(&str, bool)]) -> Attempt {
    let mut attempt = Attempt {
        finish: Some(Finish::Parked { reason: reason.to_owned(), money_unknown, resolved: false }),
        waiting_event: Some("the event".to_owned()),
        ..Attempt::opened(AttemptKind::Authorise, Timestamp::from_secs(900_000), Timestamp::from_secs(900_001))
    };
    for (name, done) in steps {
        attempt.record_intent(name, serde_json::from_value::<IdempotencyKey>(json!("key")).ok(), NOW);
        if *done {
            attempt.record_result(name, json!("result"));
        }
    }
    attempt
}

struct ReviewHarness {
    memory: Arc<MemoryStore>,
    store: Arc<dyn Store>,
}

impl ReviewHarness {
    async fn with(key: &str, attempts: Vec<Attempt>, lease: Option<Lease>) -> Self {
        let memory = Arc::new(MemoryStore::new(Arc::new(FixedClock)));
        let bench = Self { store: memory.clone(), memory };
        let obligation = Obligation { attempts, lease, ..Obligation::new() };
        bench.put(key, &serde_json::to_string(&obligation).unwrap(), obligation.parked_since()).await;
        bench
    }

    async fn put(&self, key: &str, body: &str, parked_since: Option<Timestamp>) {
        let put =
            Put { key: Key::from_stored(key), expected_version: None, body: body.to_owned(), due_at: None, parked_since, expires_at: None };
        self.store.commit(&[put]).await.unwrap();
    }

    async fn prepare(&self, key: &str, decision: Decision, no_money_moved: bool) -> Result<PreparedDecision, DecisionError> {
        let order = DecisionRequest { decision, by: "operator".to_owned(), note: "seen at the gateway".to_owned(), no_money_moved };
        PreparedDecision::prepare(&self.store, &Key::from_stored(key), &order, NOW).await
    }

    /// Decides and writes; the event.
    async fn decide(&self, key: &str, decision: Decision, no_money_moved: bool) -> Result<Option<String>, DecisionError> {
        let mut plan = self.prepare(key, decision, no_money_moved).await?;
        plan.commit().await?;
        Ok(plan.event)
    }

    fn obligation(&self, key: &str) -> Obligation {
        serde_json::from_str(&self.memory.snapshot()[&Key::from_stored(key)].body).unwrap()
    }

    fn subscription_state(&self) -> SubscriptionState {
        serde_json::from_str(&self.memory.snapshot()[&Key::from_stored("subscription#332332332")].body).unwrap()
    }

    async fn parked_count(&self) -> usize {
        list_parked(self.store.as_ref(), 10).await.unwrap().len()
    }
}

#[tokio::test]
async fn done_ends_the_review_and_still_lets_no_other_attempt_open() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("outcome_unknown", true, &[("pay", false)])], None).await;
    assert_eq!(bench.parked_count().await, 1);
    assert_eq!(bench.decide(PERIOD, Decision::Done, false).await, Ok(None));
    let obligation = bench.obligation(PERIOD);
    assert!(obligation.is_blocked() && !obligation.is_parked());
    assert_eq!((bench.parked_count().await, obligation.attempts[0].waiting_event.as_ref()), (0, None));
    let ruling = &obligation.decisions[0];
    assert_eq!((ruling.by.as_str(), ruling.decision.as_str(), ruling.reason.as_str()), ("operator", "done", "outcome_unknown"));
    assert_eq!(bench.decide(PERIOD, Decision::Retry, false).await, Err(DecisionError::NotParked), "it was decided");
}

#[tokio::test]
async fn retry_resumes_where_the_attempt_stopped_and_is_due_at_once() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("outcome_unknown", true, &[("order", true), ("pay", false)])], None).await;
    bench.put("subscription#332332332", &serde_json::to_string(&SubscriptionState::default()).unwrap(), None).await;
    assert_eq!(bench.decide(PERIOD, Decision::Retry, false).await, Ok(Some("the event".to_owned())));
    let obligation = bench.obligation(PERIOD);
    let open = obligation.current_attempt().unwrap();
    assert_eq!((open.steps.len(), open.steps[1].state.clone()), (2, StepStatus::Started), "what is unknown stays unknown");
    assert_eq!(open.steps[1].key, attempt("", true, &[("order", true), ("pay", false)]).steps[1].key, "under its own key");
    assert_eq!(bench.subscription_state().in_flight.as_deref(), Some(PERIOD));
    assert_eq!(bench.store.due(NOW, 10).await.unwrap(), [Key::from_stored(PERIOD)]);
}

#[tokio::test]
async fn retry_of_an_attempt_that_began_nothing_removes_it_so_that_every_guard_decides_again() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("charged_recently", false, &[])], None).await;
    assert_eq!(bench.decide(PERIOD, Decision::Retry, false).await, Ok(Some("the event".to_owned())));
    let obligation = bench.obligation(PERIOD);
    assert!(obligation.attempts.is_empty());
    assert_eq!(obligation.decisions.len(), 1);
}

#[tokio::test]
async fn an_event_that_cannot_be_queued_is_parked_again() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("charged_recently", false, &[])], None).await;
    let mut plan = bench.prepare(PERIOD, Decision::Retry, false).await.unwrap();
    assert!(plan.event_needs_queue());
    plan.commit().await.unwrap();
    plan.revert().await.unwrap();
    let obligation = bench.obligation(PERIOD);
    assert!(obligation.is_parked() && obligation.attempts[0].waiting_event.is_some());
    assert_eq!((bench.parked_count().await, obligation.decisions.len()), (1, 1));
}

#[tokio::test]
async fn a_step_that_is_known_to_have_had_no_effect_gets_a_new_key_when_it_is_retried() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("gateway_bad_token", false, &[("order", true), ("pay", false)])], None).await;
    bench.decide(PERIOD, Decision::Retry, false).await.unwrap();
    let obligation = bench.obligation(PERIOD);
    let step = obligation.current_attempt().unwrap().step("pay").unwrap();
    assert_eq!((step.state.clone(), step.no_effect_count), (StepStatus::NoEffect, 1));
}

#[tokio::test]
async fn abandon_needs_the_operators_confirmation_where_money_may_have_moved_and_then_frees_the_period() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("outcome_unknown", true, &[("pay", false)])], None).await;
    let charge = |secs, certain| Some(LastCharge { at: NOW, expiration: Timestamp::from_secs(secs), certain });
    let head = SubscriptionState { last_charge: charge(2_000_000, false), ..SubscriptionState::default() };
    bench.put("subscription#332332332", &serde_json::to_string(&head).unwrap(), None).await;
    assert_eq!(bench.decide(PERIOD, Decision::Abandon, false).await, Err(DecisionError::MoneyUnknown));
    assert!(bench.obligation(PERIOD).is_parked(), "nothing was written");
    assert_eq!(bench.decide(PERIOD, Decision::Abandon, true).await, Ok(None));
    let obligation = bench.obligation(PERIOD);
    assert!(!obligation.is_blocked() && !obligation.is_parked());
    assert_eq!(bench.subscription_state().last_charge, None, "a charge that never was does not hold back the next one");
}

#[tokio::test]
async fn abandon_keeps_a_charge_that_is_certain_or_of_another_period() {
    for (secs, certain) in [(2_000_000, true), (1_900_000, false)] {
        let bench = ReviewHarness::with(PERIOD, vec![attempt("outcome_unknown", true, &[("pay", false)])], None).await;
        let last_charge = Some(LastCharge { at: NOW, expiration: Timestamp::from_secs(secs), certain });
        let head = SubscriptionState { last_charge: last_charge.clone(), ..SubscriptionState::default() };
        bench.put("subscription#332332332", &serde_json::to_string(&head).unwrap(), None).await;
        bench.decide(PERIOD, Decision::Abandon, true).await.unwrap();
        assert_eq!(bench.subscription_state().last_charge, last_charge);
    }
}

#[tokio::test]
async fn no_decision_is_taken_about_an_attempt_in_progress_or_one_that_does_not_exist() {
    let lease = Lease { owner: "worker".to_owned(), until: NOW.after(Duration::from_secs(1)) };
    let bench = ReviewHarness::with(PERIOD, vec![attempt("x", false, &[])], Some(lease)).await;
    assert_eq!(bench.decide(PERIOD, Decision::Done, false).await, Err(DecisionError::InProgress));
    assert_eq!(bench.decide("period#1#1", Decision::Done, false).await, Err(DecisionError::NotFound));
}

#[tokio::test]
async fn of_two_simultaneous_decisions_one_is_carried_out() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("outcome_unknown", true, &[("pay", false)])], None).await;
    let mut one = bench.prepare(PERIOD, Decision::Done, false).await.unwrap();
    let mut other = bench.prepare(PERIOD, Decision::Abandon, true).await.unwrap();
    assert_eq!(one.commit().await, Ok(()));
    assert_eq!(other.commit().await, Err(DecisionError::Journal(JournalError::Contended)));
    assert!(bench.obligation(PERIOD).is_blocked());
}

#[tokio::test]
async fn a_decision_without_author_or_reason_is_none() {
    let bench = ReviewHarness::with(PERIOD, vec![attempt("x", false, &[])], None).await;
    for (by, note) in [("", "why"), ("who", " "), ("who", &"x".repeat(501))] {
        let order = DecisionRequest { decision: Decision::Done, by: by.to_owned(), note: note.to_owned(), no_money_moved: false };
        assert_eq!(
            PreparedDecision::prepare(&bench.store, &Key::from_stored(PERIOD), &order, NOW).await.err(),
            Some(DecisionError::Unsigned)
        );
    }
}

#[tokio::test]
async fn what_cannot_be_resumed_is_not_retried() {
    let later = Attempt { finish: Some(Finish::Authorised), ..attempt("", false, &[]) };
    let no_event = Attempt { waiting_event: None, ..attempt("x", false, &[("pay", false)]) };
    let refund = Attempt { kind: AttemptKind::Refund, ..attempt("gateway_amount", false, &[("refund", false)]) };
    for (attempts, refusal) in [
        (vec![attempt("x", false, &[]), later], DecisionError::NotLast),
        (vec![no_event], DecisionError::NoEvent),
        (vec![refund], DecisionError::ReservationGone),
    ] {
        let bench = ReviewHarness::with(PERIOD, attempts, None).await;
        assert_eq!(bench.decide(PERIOD, Decision::Retry, false).await, Err(refusal));
    }
    let bench = ReviewHarness::with(PERIOD, vec![attempt("x", true, &[("pay", false)])], None).await;
    let head = SubscriptionState { in_flight: Some("period#332332332#3000000".to_owned()), ..SubscriptionState::default() };
    bench.put("subscription#332332332", &serde_json::to_string(&head).unwrap(), None).await;
    assert_eq!(bench.decide(PERIOD, Decision::Retry, false).await, Err(DecisionError::OtherInFlight));
}

#[tokio::test]
async fn an_order_is_resumed_without_its_event() {
    let parked = Attempt { kind: AttemptKind::Purchase, waiting_event: None, ..attempt("report_unknown", true, &[("report", false)]) };
    let bench = ReviewHarness::with("order#7", vec![parked], None).await;
    assert_eq!(bench.decide("order#7", Decision::Retry, false).await, Ok(None));
    assert_eq!(bench.store.due(NOW, 10).await.unwrap(), [Key::from_stored("order#7")]);
}

#[tokio::test]
async fn what_is_parked_beside_something_due_is_listed_too() {
    let open = Attempt { finish: None, ..attempt("", false, &[("pay", false)]) };
    let bench = ReviewHarness::with("period#9#9", vec![attempt("x", false, &[])], None).await;
    let obligation = Obligation { attempts: vec![attempt("y", false, &[]), open], ..Obligation::new() };
    let body = serde_json::to_string(&obligation).unwrap();
    let put = Put {
        key: Key::from_stored(PERIOD),
        expected_version: None,
        body,
        due_at: Some(NOW),
        parked_since: obligation.parked_since(),
        expires_at: None,
    };
    bench.store.commit(&[put]).await.unwrap();
    let reasons: Vec<String> = list_parked(bench.store.as_ref(), 10).await.unwrap().into_iter().map(|parked| parked.reason).collect();
    assert_eq!(reasons, ["y", "x"]);
}

#[tokio::test]
async fn an_abandoned_attempt_does_not_count_as_the_last_one() {
    let bench = ReviewHarness::with(
        "refund#7#1",
        vec![Attempt { kind: AttemptKind::Refund, ..attempt("gateway_amount", false, &[("refund", false)]) }],
        None,
    )
    .await;
    bench.decide("refund#7#1", Decision::Abandon, false).await.unwrap();
    let obligation = bench.obligation("refund#7#1");
    assert_eq!(obligation.attempts[0].finish, Some(Finish::Abandoned));
    assert_eq!(obligation.last_finished(AttemptKind::Refund), None);
    assert!(!obligation.was_parked());
}
