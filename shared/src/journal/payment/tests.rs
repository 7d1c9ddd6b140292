use super::*;
use crate::money::Currency;
use crate::reference::{GatewayText, IdempotencyKey, OperationKind};
use crate::secret::SecretString;

fn record() -> PaymentRecord {
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), OperationKind::Authorise, "period#1#2", "1");
    let new = NewPayment {
        reference: Reference::from_key(&key),
        gateway: GatewayName::Adyen,
        subscription: None,
        customer: CustomerId::new("7").unwrap(),
        details: None,
        order: None,
        amount: Money::new(999, Currency::new("USD").unwrap()),
        zero_amount: false,
        taken_at_once: false,
    };
    PaymentRecord::new(new, &Key::new("period", &["1", "2"]), Timestamp::from_secs(1))
}

#[test]
fn a_payment_moves_only_along_listed_transitions() {
    let now = Timestamp::from_secs(2);
    for from in PaymentState::ALL {
        for to in PaymentState::ALL {
            let mut payment = record();
            payment.state = from;
            let moved = payment.transition_to(to, now);
            assert_eq!(moved.is_ok(), from == to || from.can_transition_to(to), "{from:?} to {to:?}");
            assert_eq!(payment.state, if moved.is_ok() { to } else { from });
        }
    }
}

#[test]
fn what_is_declined_cancelled_or_expired_changes_only_by_a_success_that_comes_after_all() {
    for terminal in [PaymentState::Declined, PaymentState::Cancelled, PaymentState::Expired] {
        for to in PaymentState::ALL {
            let is_success = matches!(to, PaymentState::Authorised | PaymentState::Captured);
            assert_eq!(terminal.can_transition_to(to), is_success, "{terminal:?} {to:?}");
        }
    }
}

#[test]
fn a_success_is_news_once_and_counts_as_what_was_asked_for() {
    use PaymentState as S;
    let external = ExternalPaymentId::new("AUTH1").unwrap();
    for (taken_at_once, state) in [(true, S::Captured), (false, S::Authorised)] {
        for from in [S::Starting, S::Declined, S::Cancelling, S::Cancelled, S::Expired] {
            let mut payment = PaymentRecord { taken_at_once, ..record_in_state("period#1#2", from, false) };
            assert_eq!(payment.record_success(&external, Timestamp::from_secs(9)), Ok(true));
            assert_eq!((payment.state, payment.captured.minor), (state, if taken_at_once { 999 } else { 0 }), "{from:?}");
            assert_eq!(payment.record_success(&external, Timestamp::from_secs(9)), Ok(false));
            assert!(payment.was_successful() && payment.authorisation.as_ref() == Some(&external));
        }
    }
}

#[test]
fn history_is_capped() {
    let mut payment = record();
    payment.state = PaymentState::Captured;
    for second in 0..200 {
        let to = if payment.state == PaymentState::Captured { PaymentState::CaptureFailed } else { PaymentState::Captured };
        payment.transition_to(to, Timestamp::from_secs(second)).unwrap();
    }
    assert_eq!(payment.history.len(), MAX_HISTORY);
}

#[test]
fn an_authorisation_is_live_until_it_lapses() {
    let mut payment = record();
    payment.transition_to(PaymentState::Authorised, Timestamp::from_secs(2)).unwrap();
    assert!(payment.is_live(Timestamp::from_secs(1_000_000)));
    payment.expires_at = Some(Timestamp::from_secs(50));
    assert!(payment.is_live(Timestamp::from_secs(49)));
    assert!(!payment.is_live(Timestamp::from_secs(50)));
}

#[test]
fn no_two_states_have_the_same_code_and_a_stored_code_is_read_back() {
    let words: std::collections::BTreeSet<_> = PaymentState::ALL.into_iter().map(PaymentState::as_str).collect();
    assert_eq!(words.len(), PaymentState::ALL.len());
    for state in PaymentState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str(), "what is logged is what is kept");
    }
    let mut payment = record();
    let refused = payment.transition_to(PaymentState::Refunded, Timestamp::from_secs(2)).unwrap_err();
    assert_eq!(refused.to_string(), "illegal transition of a payment: starting to refunded");
}

/// A record in this state, of a purchase or a renewal, with or without the gateway's id.
fn record_in_state(obligation: &str, state: PaymentState, known: bool) -> PaymentRecord {
    let external_payment_id = known.then(|| ExternalPaymentId::new("AUTH1").unwrap());
    PaymentRecord { obligation: obligation.to_owned(), state, external_payment_id, ..record() }
}

#[test]
fn a_payment_whose_money_is_or_may_be_held_is_kept_whatever_its_age() {
    use PaymentState as S;
    for state in PaymentState::ALL {
        let open = matches!(state, S::Starting | S::Authorised | S::Capturing | S::Cancelling);
        for (obligation, known) in [("period#1#2", true), ("period#1#2", false), ("order#1", true), ("details#1", true)] {
            assert_eq!(record_in_state(obligation, state, known).is_unsettled(), open, "{obligation} {state:?} {known}");
        }
        // The id of what was cancelled was never known: there may never have been anything to cancel.
        for purchase in ["order#1", "details#1"] {
            let cancelled = record_in_state(purchase, state, false);
            assert_eq!(cancelled.is_unsettled(), open && state != S::Cancelling, "{purchase} {state:?}");
        }
    }
}

#[test]
fn a_payment_with_a_refund_whose_end_is_not_known_is_kept_whatever_its_age() {
    let mut payment = record_in_state("period#1#2", PaymentState::Captured, true);
    payment.captured = payment.amount;
    assert!(!payment.is_unsettled());
    let refund = Key::new("refund", &["1"]);
    payment.reserve_refund(&refund, payment.reference.clone(), payment.amount).unwrap();
    assert!(payment.is_unsettled());
    payment.record_refund_received(&refund, None);
    assert!(payment.is_unsettled());
    payment.complete_refund(0, true, Timestamp::from_secs(3)).unwrap();
    assert!(!payment.is_unsettled());
}

/// What moved from one version of a record to the next, as words and minor units.
fn movements(before: &PaymentRecord, change: impl FnOnce(&mut PaymentRecord)) -> Vec<(&'static str, i64)> {
    let mut now = before.clone();
    change(&mut now);
    now.movements_since(before).into_iter().map(|(word, amount)| (word, amount.minor)).collect()
}

#[test]
fn each_movement_of_money_is_counted_once_and_with_its_amount() {
    let usd = |minor: i64| Money::new(minor, Currency::new("USD").unwrap());
    let starting = record();
    assert_eq!(movements(&starting, |_| {}), []);
    assert_eq!(movements(&starting, |payment| payment.state = PaymentState::Authorised), [("authorised", 999)]);
    assert_eq!(movements(&starting, |payment| payment.state = PaymentState::Declined), []);
    let held = record_in_state("period#1#2", PaymentState::Authorised, true);
    assert_eq!(movements(&held, |payment| payment.state = PaymentState::Capturing), []);
    assert_eq!(movements(&held, |payment| payment.state = PaymentState::Cancelled), [("released", 999)]);
    assert_eq!(movements(&held, |payment| payment.state = PaymentState::Expired), [("released", 999)]);
    let capturing = record_in_state("period#1#2", PaymentState::Capturing, true);
    let back = |payment: &mut PaymentRecord| payment.state = PaymentState::Authorised;
    assert_eq!(movements(&capturing, back), [], "it was authorised before");
    let captured = |payment: &mut PaymentRecord| (payment.state, payment.captured) = (PaymentState::Captured, usd(500));
    assert_eq!(movements(&capturing, captured), [("captured", 500)]);
    let mut taken = capturing.clone();
    captured(&mut taken);
    assert_eq!(movements(&taken, |payment| payment.refunded = usd(200)), [("refunded", 200)]);
    assert_eq!(movements(&taken, |payment| payment.state = PaymentState::ChargedBack), [("charged_back", 999)]);
    taken.refunded = usd(200);
    assert_eq!(movements(&taken, |payment| payment.refunded = usd(0)), [], "a refund that failed later moves nothing by itself");
}

#[test]
fn a_free_order_moves_no_money() {
    let mut free = record();
    free.amount = Money::new(0, free.amount.currency);
    assert_eq!(movements(&free, |payment| payment.state = PaymentState::Authorised), []);
}

#[test]
fn a_state_was_reached_when_it_was_reached_first() {
    let mut payment = record();
    for (to, second) in [(PaymentState::Authorised, 5), (PaymentState::Capturing, 6), (PaymentState::Authorised, 7)] {
        payment.transition_to(to, Timestamp::from_secs(second)).unwrap();
    }
    assert_eq!(payment.reached_at(PaymentState::Starting), Some(Timestamp::from_secs(1)));
    assert_eq!(payment.reached_at(PaymentState::Authorised), Some(Timestamp::from_secs(5)));
    assert_eq!(payment.reached_at(PaymentState::Captured), None);
}
