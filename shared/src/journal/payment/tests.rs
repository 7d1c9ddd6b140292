use super::*;
use crate::gateway::{GatewayText, IdempotencyKey, OperationKind};
use crate::money::Currency;
use crate::secret::SecretString;

fn record() -> PaymentRecord {
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), OperationKind::Authorise, "period#1#2", "1");
    PaymentRecord::starting(
        Reference::from_key(&key),
        GatewayName::Adyen,
        &Key::new("period", &["1", "2"]),
        CustomerId::new("7").unwrap(),
        Money::new(999, Currency::new("USD").unwrap()),
        Timestamp::from_secs(1),
    )
}

#[test]
fn a_payment_moves_only_along_listed_transitions() {
    let now = Timestamp::from_secs(2);
    for from in PaymentState::ALL {
        for to in PaymentState::ALL {
            let mut payment = record();
            payment.state = from;
            let moved = payment.become_state(to, now);
            assert_eq!(moved.is_ok(), from == to || from.may_become(to), "{from:?} to {to:?}");
            assert_eq!(payment.state, if moved.is_ok() { to } else { from });
        }
    }
}

#[test]
fn what_is_declined_cancelled_or_expired_never_comes_back() {
    for dead in [PaymentState::Declined, PaymentState::Cancelled, PaymentState::Expired] {
        assert!(PaymentState::ALL.into_iter().all(|to| !dead.may_become(to)), "{dead:?}");
    }
}

#[test]
fn history_is_capped() {
    let mut payment = record();
    payment.state = PaymentState::Captured;
    for second in 0..200 {
        let to = if payment.state == PaymentState::Captured { PaymentState::CaptureFailed } else { PaymentState::Captured };
        payment.become_state(to, Timestamp::from_secs(second)).unwrap();
    }
    assert_eq!(payment.history.len(), MAX_HISTORY);
}

#[test]
fn an_authorisation_is_live_until_it_lapses() {
    let mut payment = record();
    payment.become_state(PaymentState::Authorised, Timestamp::from_secs(2)).unwrap();
    assert!(payment.is_live(Timestamp::from_secs(1_000_000)));
    payment.expires_at = Some(Timestamp::from_secs(50));
    assert!(payment.is_live(Timestamp::from_secs(49)));
    assert!(!payment.is_live(Timestamp::from_secs(50)));
}

#[test]
fn no_two_states_have_the_same_word_and_a_journal_that_holds_it_is_read_back() {
    let words: std::collections::BTreeSet<_> = PaymentState::ALL.into_iter().map(PaymentState::as_str).collect();
    assert_eq!(words.len(), PaymentState::ALL.len());
    for state in PaymentState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str(), "what is logged is what is kept");
    }
    let mut payment = record();
    let refused = payment.become_state(PaymentState::Refunded, Timestamp::from_secs(2)).unwrap_err();
    assert_eq!(refused.to_string(), "illegal transition of a payment: starting to refunded");
}

/// A record in this state, of a purchase or a renewal, with or without the gateway's id.
fn standing(obligation: &str, state: PaymentState, known: bool) -> PaymentRecord {
    let external_payment_id = known.then(|| ExternalPaymentId::new("AUTH1").unwrap());
    PaymentRecord { obligation: obligation.to_owned(), state, external_payment_id, ..record() }
}

#[test]
fn a_payment_whose_money_is_or_may_be_held_is_kept_whatever_its_age() {
    use PaymentState as S;
    for state in PaymentState::ALL {
        let open = matches!(state, S::Starting | S::Authorised | S::Capturing | S::Cancelling);
        for (obligation, known) in [("period#1#2", true), ("period#1#2", false), ("order#1", true), ("details#1", true)] {
            assert_eq!(standing(obligation, state, known).is_unsettled(), open, "{obligation} {state:?} {known}");
        }
        // Nobody learnt an id of what was called off: there may never have been anything to call off.
        for purchase in ["order#1", "details#1"] {
            let called_off = standing(purchase, state, false);
            assert_eq!(called_off.is_called_off(), state == S::Cancelling, "{purchase} {state:?}");
            assert_eq!(called_off.is_unsettled(), open && state != S::Cancelling, "{purchase} {state:?}");
        }
    }
}

#[test]
fn a_payment_with_a_refund_whose_end_is_not_known_is_kept_whatever_its_age() {
    let mut payment = standing("period#1#2", PaymentState::Captured, true);
    payment.captured = payment.amount;
    assert!(!payment.is_unsettled());
    let refund = Key::new("refund", &["1"]);
    payment.reserve_refund(&refund, payment.reference.clone(), payment.amount).unwrap();
    assert!(payment.is_unsettled());
    payment.refund_received(&refund, None);
    assert!(payment.is_unsettled());
    payment.end_refund(0, true, Timestamp::from_secs(3)).unwrap();
    assert!(!payment.is_unsettled());
}

/// What moved from one look of a record to the next, as words and minor units.
fn moved(before: &PaymentRecord, change: impl FnOnce(&mut PaymentRecord)) -> Vec<(&'static str, i64)> {
    let mut now = before.clone();
    change(&mut now);
    now.movements_since(before).into_iter().map(|(word, amount)| (word, amount.minor)).collect()
}

#[test]
fn each_movement_of_money_is_told_once_and_with_its_amount() {
    let usd = |minor: i64| Money::new(minor, Currency::new("USD").unwrap());
    let starting = record();
    assert_eq!(moved(&starting, |_| {}), []);
    assert_eq!(moved(&starting, |payment| payment.state = PaymentState::Authorised), [("authorised", 999)]);
    assert_eq!(moved(&starting, |payment| payment.state = PaymentState::Declined), []);
    let held = standing("period#1#2", PaymentState::Authorised, true);
    assert_eq!(moved(&held, |payment| payment.state = PaymentState::Capturing), []);
    assert_eq!(moved(&held, |payment| payment.state = PaymentState::Cancelled), [("released", 999)]);
    assert_eq!(moved(&held, |payment| payment.state = PaymentState::Expired), [("released", 999)]);
    let capturing = standing("period#1#2", PaymentState::Capturing, true);
    let back = |payment: &mut PaymentRecord| payment.state = PaymentState::Authorised;
    assert_eq!(moved(&capturing, back), [], "it was authorised before");
    let captured = |payment: &mut PaymentRecord| (payment.state, payment.captured) = (PaymentState::Captured, usd(500));
    assert_eq!(moved(&capturing, captured), [("captured", 500)]);
    let mut taken = capturing.clone();
    captured(&mut taken);
    assert_eq!(moved(&taken, |payment| payment.refunded = usd(200)), [("refunded", 200)]);
    assert_eq!(moved(&taken, |payment| payment.state = PaymentState::ChargedBack), [("charged_back", 999)]);
    taken.refunded = usd(200);
    assert_eq!(moved(&taken, |payment| payment.refunded = usd(0)), [], "a refund that failed later moves nothing by itself");
}

#[test]
fn a_free_order_moves_no_money() {
    let mut free = record();
    free.amount = Money::new(0, free.amount.currency);
    assert_eq!(moved(&free, |payment| payment.state = PaymentState::Authorised), []);
}

#[test]
fn a_state_was_reached_when_it_was_reached_first() {
    let mut payment = record();
    for (to, second) in [(PaymentState::Authorised, 5), (PaymentState::Capturing, 6), (PaymentState::Authorised, 7)] {
        payment.become_state(to, Timestamp::from_secs(second)).unwrap();
    }
    assert_eq!(payment.reached_at(PaymentState::Starting), Some(Timestamp::from_secs(1)));
    assert_eq!(payment.reached_at(PaymentState::Authorised), Some(Timestamp::from_secs(5)));
    assert_eq!(payment.reached_at(PaymentState::Captured), None);
}
