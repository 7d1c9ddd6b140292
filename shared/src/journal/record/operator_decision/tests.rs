use super::*;

fn attempt(kind: AttemptKind, due: i64, finish: Option<Finish>) -> Attempt {
    let due = Timestamp::from_secs(due);
    Attempt { finish, ..Attempt::opened(kind, due, due) }
}

fn decision_record(decision: &str, kind: AttemptKind, due: i64) -> OperatorDecision {
    OperatorDecision {
        at: Timestamp::from_secs(9),
        by: "an operator".to_owned(),
        decision: decision.to_owned(),
        note: String::new(),
        reason: "gateway_is_silent".to_owned(),
        kind,
        due: Timestamp::from_secs(due),
    }
}

fn parked(resolved: bool) -> Option<Finish> {
    Some(Finish::Parked { reason: "gateway_is_silent".to_owned(), money_unknown: true, resolved })
}

#[test]
fn an_attempt_goes_on_after_a_retry_of_that_very_attempt_and_no_other_decision() {
    let with = |finish: Option<Finish>, rulings: Vec<OperatorDecision>| Obligation {
        attempts: vec![attempt(AttemptKind::Capture, 5, finish)],
        decisions: rulings,
        ..Obligation::new()
    };
    assert!(with(None, vec![decision_record(RETRY, AttemptKind::Capture, 5)]).is_retried());
    assert!(
        with(None, vec![decision_record("done", AttemptKind::Capture, 5), decision_record(RETRY, AttemptKind::Capture, 5)]).is_retried()
    );
    assert!(!with(None, vec![]).is_retried());
    for other in [
        decision_record("done", AttemptKind::Capture, 5),
        decision_record(RETRY, AttemptKind::Charge, 5),
        decision_record(RETRY, AttemptKind::Capture, 6),
    ] {
        assert!(!with(None, vec![other.clone()]).is_retried(), "{other:?}");
    }
    assert!(!with(parked(false), vec![decision_record(RETRY, AttemptKind::Capture, 5)]).is_retried(), "it is not open");
}

#[test]
fn an_attempt_is_parked_until_an_operator_has_brought_both_sides_into_line() {
    let of = |finish: Option<Finish>| Obligation {
        attempts: vec![attempt(AttemptKind::Capture, 5, Some(Finish::Captured)), attempt(AttemptKind::Capture, 7, finish)],
        ..Obligation::new()
    };
    for (finish, is, was) in
        [(parked(false), true, true), (parked(true), false, true), (Some(Finish::Abandoned), false, false), (None, false, false)]
    {
        let obligation = of(finish.clone());
        assert_eq!((obligation.is_parked(), obligation.was_parked()), (is, was), "{finish:?}");
        assert_eq!(obligation.parked_since(), is.then_some(Timestamp::from_secs(7)), "{finish:?}");
    }
}

#[test]
fn the_oldest_decisions_are_dropped_when_there_are_too_many() {
    let mut obligation = Obligation::new();
    for due in 0..=i64::try_from(MAX_KEPT_ATTEMPTS).unwrap() {
        obligation.record_decision(decision_record("done", AttemptKind::Capture, due));
    }
    let kept: Vec<i64> = obligation.decisions.iter().map(|ruling| ruling.due.secs()).collect();
    assert_eq!((kept.len(), kept.first(), kept.last().copied()), (MAX_KEPT_ATTEMPTS, Some(&1), i64::try_from(MAX_KEPT_ATTEMPTS).ok()));
}
