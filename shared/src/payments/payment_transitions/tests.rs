use proptest::prelude::*;

use super::*;
use crate::gateway::{GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference};
use crate::ids::{CustomerId, ExternalPaymentId};
use crate::journal::payment::NewPayment;
use crate::journal::store::Key;
use crate::money::{Currency, Money};
use crate::reason::{AlarmReason, ParkReason};
use crate::secret::SecretString;

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
const KINDS: [Kind; 16] = [
    Kind::Authorised,
    Kind::AuthorisationDeclined,
    Kind::Captured,
    Kind::CaptureFailed,
    Kind::Cancelled,
    Kind::CancelFailed,
    Kind::Expired,
    Kind::Refunded,
    Kind::RefundFailed,
    Kind::ChargedBack,
    Kind::FundsWithdrawn,
    Kind::ChargebackReversed,
    Kind::CustomerApproved,
    Kind::TokenCreated,
    Kind::TokenDisabled,
    Kind::Ignored,
];

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

fn payment(state: S) -> PaymentRecord {
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), OperationKind::Authorise, "period", "1");
    let new = NewPayment {
        reference: Reference::from_key(&key),
        gateway: GatewayName::Adyen,
        subscription: None,
        customer: CustomerId::new("7").unwrap(),
        details: None,
        order: None,
        amount: usd(999),
        zero_amount: false,
        taken_at_once: false,
    };
    let mut payment = PaymentRecord::new(new, &Key::new("period", &["1", "2"]), NOW);
    payment.state = state;
    if state != S::Starting {
        payment.authorisation = ExternalPaymentId::new("AUTH").ok();
        payment.external_payment_id = ExternalPaymentId::new("AUTH").ok();
    }
    if matches!(state, S::Captured | S::ChargedBack) {
        payment.captured = usd(999);
    }
    payment
}

fn item(kind: Kind, number: usize) -> GatewayNotification {
    GatewayNotification {
        kind,
        external_payment_id: ExternalPaymentId::new("AUTH").ok(),
        reference: None,
        operation_ref: Some(number.to_string()),
        amount: Some(usd(999)),
        at: None,
        dedupe_key: format!("{}:{number}", kind.as_str()),
        reason: None,
        decline: None,
        token: None,
    }
}

#[test]
fn every_notification_in_every_state_makes_a_legal_transition_or_none() {
    for from in S::ALL {
        for kind in KINDS {
            for (in_flight, reporting) in [(false, false), (true, false), (true, true)] {
                let before = payment(from);
                let mut after = before.clone();
                let effect = apply_notification(&mut after, &item(kind, 1), OwnerState { in_flight, reporting }, NOW).unwrap();
                assert!(after.state == from || from.can_transition_to(after.state), "{kind:?}: {from:?} to {:?}", after.state);
                let alarmed = |effect: &TransitionEffect| {
                    matches!(
                        effect,
                        TransitionEffect::ChangedUnexpectedly(_) | TransitionEffect::FundsLost(_) | TransitionEffect::LateSuccess(_)
                    )
                };
                let changed = effect == TransitionEffect::Changed || alarmed(&effect);
                assert_eq!(after != before, changed, "{kind:?} in {from:?}: {effect:?}");
                let again = apply_notification(&mut after.clone(), &item(kind, 1), OwnerState { in_flight, reporting }, NOW).unwrap();
                assert!(!changed || !alarmed(&again), "{kind:?} in {from:?} said twice: {again:?}");
            }
        }
    }
}

/// The effect of a notification on a payment without a running flow, by kind; it leaves every state that a row does not name unchanged.
const EFFECTS: [(Kind, &[S], TransitionEffect, Option<S>); 30] = [
    (
        Kind::Authorised,
        &[S::Starting, S::Declined, S::Cancelling, S::Cancelled, S::Expired],
        TransitionEffect::LateSuccess(AlarmReason::AuthorisedWithoutOpenAttempt),
        Some(S::Authorised),
    ),
    (Kind::AuthorisationDeclined, &[S::Starting], TransitionEffect::Changed, Some(S::Declined)),
    (Kind::Captured, &[S::Starting], TransitionEffect::OutOfOrder, None),
    (Kind::Captured, &[S::Authorised], TransitionEffect::LateSuccess(AlarmReason::CapturedWithoutOurRequest), Some(S::Captured)),
    (Kind::Captured, &[S::Capturing], TransitionEffect::LateSuccess(AlarmReason::CapturedWithoutOpenAttempt), Some(S::Captured)),
    (Kind::Captured, &[S::Captured, S::Refunded, S::ChargedBack], TransitionEffect::Changed, None),
    (Kind::Captured, &[S::CaptureFailed], TransitionEffect::LateSuccess(AlarmReason::CapturedAfterAFailedCapture), Some(S::Captured)),
    (
        Kind::Captured,
        &[S::Cancelling, S::Cancelled, S::Expired, S::Declined],
        TransitionEffect::LateSuccess(AlarmReason::CapturedWhileBeingCancelled),
        Some(S::Captured),
    ),
    (Kind::CaptureFailed, &[S::Starting], TransitionEffect::OutOfOrder, None),
    (Kind::CaptureFailed, &[S::Capturing], TransitionEffect::Changed, Some(S::CaptureFailed)),
    (Kind::CaptureFailed, &[S::Captured], TransitionEffect::FundsLost(AlarmReason::CaptureFailed), Some(S::CaptureFailed)),
    (Kind::CaptureFailed, &[S::CaptureFailed], TransitionEffect::Changed, None),
    (
        Kind::CaptureFailed,
        &[S::Refunded, S::ChargedBack],
        TransitionEffect::Unexpected(ParkReason::CaptureFailedAfterTheMoneyWentBack),
        None,
    ),
    (Kind::Cancelled, &[S::Starting], TransitionEffect::OutOfOrder, None),
    (Kind::Cancelled, &[S::Authorised, S::Cancelling], TransitionEffect::Changed, Some(S::Cancelled)),
    (Kind::Cancelled, &[S::Capturing], TransitionEffect::Changed, None),
    (Kind::Cancelled, &[S::Captured], TransitionEffect::FundsLost(AlarmReason::CapturedAuthorisationEnded), Some(S::CaptureFailed)),
    (Kind::Expired, &[S::Captured], TransitionEffect::FundsLost(AlarmReason::CapturedAuthorisationEnded), Some(S::CaptureFailed)),
    (Kind::Expired, &[S::Starting], TransitionEffect::OutOfOrder, None),
    (Kind::Expired, &[S::Authorised, S::Cancelling], TransitionEffect::Changed, Some(S::Expired)),
    (Kind::Expired, &[S::Capturing], TransitionEffect::Changed, None),
    (Kind::CancelFailed, &[S::Starting], TransitionEffect::OutOfOrder, None),
    (Kind::CancelFailed, &[S::Cancelling], TransitionEffect::Changed, None),
    (Kind::CancelFailed, &[S::CaptureFailed], TransitionEffect::ChangedUnexpectedly(AlarmReason::CancelFailed), None),
    (Kind::ChargedBack, &[S::Captured, S::Refunded], TransitionEffect::FundsLost(AlarmReason::Chargeback), Some(S::ChargedBack)),
    (Kind::ChargedBack, &[S::ChargedBack], TransitionEffect::Changed, None),
    (Kind::FundsWithdrawn, &[S::Captured, S::Refunded], TransitionEffect::FundsLost(AlarmReason::Chargeback), Some(S::ChargedBack)),
    (Kind::FundsWithdrawn, &[S::ChargedBack], TransitionEffect::Changed, None),
    (
        Kind::ChargebackReversed,
        &[S::ChargedBack],
        TransitionEffect::ChangedUnexpectedly(AlarmReason::ChargebackReversed),
        Some(S::Captured),
    ),
    (Kind::ChargebackReversed, &[S::Captured, S::Refunded], TransitionEffect::ChangedUnexpectedly(AlarmReason::ChargebackReversed), None),
];

#[test]
fn every_notification_has_its_effect_in_the_listed_states_and_none_elsewhere() {
    let early = [S::Starting, S::Authorised, S::Capturing, S::Cancelling, S::CaptureFailed];
    for from in S::ALL {
        for kind in KINDS {
            let row = EFFECTS.iter().find(|(about, states, ..)| *about == kind && states.contains(&from));
            let (expected, to) = match (row, kind) {
                (Some((_, _, effect, to)), _) => (*effect, to.unwrap_or(from)),
                (None, Kind::ChargedBack | Kind::FundsWithdrawn | Kind::ChargebackReversed) if early.contains(&from) => {
                    (TransitionEffect::OutOfOrder, from)
                }
                (None, Kind::ChargedBack | Kind::FundsWithdrawn | Kind::ChargebackReversed) => {
                    (TransitionEffect::Unexpected(ParkReason::DisputeOfAPaymentWithoutMoney), from)
                }
                (None, _) => (TransitionEffect::Unchanged, from),
            };
            let mut after = payment(from);
            let effect = apply_notification(&mut after, &item(kind, 1), OwnerState::default(), NOW).unwrap();
            assert_eq!((effect, after.state), (expected, to), "{kind:?} in {from:?}");
        }
    }
}

#[test]
fn a_failed_capture_waits_for_a_report_in_progress() {
    let apply_failure = |owner: OwnerState| {
        let mut captured = payment(S::Captured);
        let effect = apply_notification(&mut captured, &item(Kind::CaptureFailed, 1), owner, NOW).unwrap();
        (effect, captured.state, captured.captured)
    };
    assert_eq!(apply_failure(OwnerState { in_flight: true, reporting: true }), (TransitionEffect::OutOfOrder, S::Captured, usd(999)));
    assert_eq!(apply_failure(OwnerState { in_flight: true, reporting: false }), (TransitionEffect::Changed, S::CaptureFailed, usd(0)));
    assert_eq!(apply_failure(OwnerState::default()), (TransitionEffect::FundsLost(AlarmReason::CaptureFailed), S::CaptureFailed, usd(0)));
}

#[test]
fn a_dispute_waits_for_the_flow_that_owns_its_payment() {
    for from in [S::Captured, S::Refunded, S::ChargedBack] {
        for kind in [Kind::ChargedBack, Kind::ChargebackReversed] {
            let mut disputed = payment(from);
            let owner = OwnerState { in_flight: true, reporting: false };
            assert_eq!(
                apply_notification(&mut disputed, &item(kind, 1), owner, NOW),
                Ok(TransitionEffect::OutOfOrder),
                "{kind:?} {from:?}"
            );
        }
    }
}

#[test]
fn a_won_chargeback_leaves_a_refunded_payment_refunded() {
    for (captured, refunded, state) in [(999, 999, S::Refunded), (999, 400, S::Captured), (999, 0, S::Captured), (0, 0, S::Captured)] {
        let mut disputed = payment(S::ChargedBack);
        (disputed.captured, disputed.refunded) = (usd(captured), usd(refunded));
        apply_notification(&mut disputed, &item(Kind::ChargebackReversed, 1), OwnerState::default(), NOW).unwrap();
        assert_eq!(disputed.state, state, "{refunded} of {captured} was given back");
    }
}

#[test]
fn a_loss_is_reported_once_and_never_for_refunded_money() {
    let lost = |change: &dyn Fn(&mut PaymentRecord)| {
        let mut captured = payment(S::Captured);
        change(&mut captured);
        apply_notification(&mut captured, &item(Kind::ChargedBack, 1), OwnerState::default(), NOW).unwrap()
    };
    let refund = |payment: &mut PaymentRecord| {
        payment.reserve_refund(&Key::new("refund", &["1"]), payment.reference.clone(), usd(1)).unwrap();
    };
    assert_eq!(lost(&|_| {}), TransitionEffect::FundsLost(AlarmReason::Chargeback));
    assert_eq!(lost(&|payment| payment.loss_reported = true), TransitionEffect::ChangedUnexpectedly(AlarmReason::Chargeback));
    assert_eq!(lost(&|payment| payment.refunded = usd(1)), TransitionEffect::ChangedUnexpectedly(AlarmReason::Chargeback));
    assert_eq!(lost(&refund), TransitionEffect::ChangedUnexpectedly(AlarmReason::Chargeback));
}

#[test]
fn money_counts_as_captured_unless_its_payment_is_only_being_started_or_it_is_known() {
    for from in S::ALL {
        let mut after = payment(from);
        after.captured = usd(0);
        apply_notification(&mut after, &item(Kind::Captured, 1), OwnerState::default(), NOW).unwrap();
        let untouched = matches!(from, S::Starting | S::Captured | S::Refunded | S::ChargedBack);
        assert_eq!(after.captured == usd(0), untouched, "{from:?}");
    }
}

#[test]
fn another_amount_or_another_payment_changes_nothing() {
    for kind in [Kind::Authorised, Kind::Captured, Kind::ChargedBack, Kind::ChargebackReversed] {
        for from in S::ALL {
            let mut after = payment(from);
            let effect = apply_notification(
                &mut after,
                &GatewayNotification { amount: Some(usd(998)), ..item(kind, 1) },
                OwnerState::default(),
                NOW,
            );
            assert_eq!((effect, after), (Ok(TransitionEffect::Unexpected(ParkReason::NotificationNamesAnotherAmount)), payment(from)));
            let other = GatewayNotification { external_payment_id: ExternalPaymentId::new("OTHER").ok(), ..item(kind, 1) };
            let mut after = payment(from);
            let effect = apply_notification(&mut after, &other, OwnerState::default(), NOW).unwrap();
            let expected = match from {
                S::Capturing => TransitionEffect::OutOfOrder,
                _ => TransitionEffect::Unexpected(ParkReason::NotificationNamesAnotherPayment),
            };
            assert!(from == S::Starting || effect == expected, "{kind:?} {from:?}: {effect:?}");
        }
    }
}

#[test]
fn an_authorisation_result_is_left_to_the_flow_that_waits_for_it() {
    let waiting = OwnerState { in_flight: true, reporting: false };
    let mut pending = payment(S::Starting);
    assert_eq!(apply_notification(&mut pending, &item(Kind::Authorised, 1), waiting, NOW), Ok(TransitionEffect::Changed));
    assert_eq!(pending.state, S::Starting);
    assert_eq!(
        pending.authorisation_result,
        ExternalPaymentId::new("AUTH").ok().map(|external| AuthorisationResult::Authorised { external })
    );
    let contradiction = apply_notification(&mut pending, &item(Kind::AuthorisationDeclined, 2), waiting, NOW);
    assert_eq!(contradiction, Ok(TransitionEffect::Unchanged), "the money counts");
    assert_eq!(
        apply_notification(&mut pending, &item(Kind::Authorised, 3), waiting, NOW),
        Ok(TransitionEffect::Unchanged),
        "the same under another name"
    );
    let mut orphan = payment(S::Starting);
    let effect = apply_notification(&mut orphan, &item(Kind::Authorised, 1), OwnerState::default(), NOW);
    assert_eq!((effect, orphan.state), (Ok(TransitionEffect::LateSuccess(AlarmReason::AuthorisedWithoutOpenAttempt)), S::Authorised));
}

#[test]
fn rule_2_a_success_counts_whatever_was_said_before_and_a_refusal_after_it_says_nothing() {
    let waiting = OwnerState { in_flight: true, reporting: false };
    let mut pending = payment(S::Starting);
    assert_eq!(apply_notification(&mut pending, &item(Kind::AuthorisationDeclined, 1), waiting, NOW), Ok(TransitionEffect::Changed));
    assert_eq!(apply_notification(&mut pending, &item(Kind::Authorised, 2), waiting, NOW), Ok(TransitionEffect::Changed));
    assert!(matches!(pending.authorisation_result, Some(AuthorisationResult::Authorised { .. })));
    let mut refused = payment(S::Declined);
    assert_eq!(apply_notification(&mut refused, &item(Kind::Authorised, 1), waiting, NOW), Ok(TransitionEffect::OutOfOrder));
    // A hold that was released is not there again because its authorisation is repeated.
    let mut released = payment(S::Starting);
    released.transition_to(S::Authorised, NOW).unwrap();
    released.transition_to(S::Cancelled, NOW).unwrap();
    assert_eq!(apply_notification(&mut released, &item(Kind::Authorised, 1), OwnerState::default(), NOW), Ok(TransitionEffect::Unchanged));
}

#[test]
fn rule_4_a_late_success_is_booked_by_what_the_attempt_was() {
    for (taken_at_once, state, captured) in [(false, S::Authorised, 0), (true, S::Captured, 999)] {
        for from in [S::Starting, S::Declined] {
            let mut late = PaymentRecord { taken_at_once, cleeng_payment: crate::ids::PaymentId::new("5").ok(), ..payment(from) };
            apply_notification(&mut late, &item(Kind::Authorised, 1), OwnerState::default(), NOW).unwrap();
            assert_eq!((late.state, late.captured), (state, usd(captured)), "{from:?}");
            assert_eq!(late.cleeng_payment.is_some(), from == S::Starting, "what Cleeng was told of the refusal is not about this money");
        }
    }
}

#[test]
fn rule_3_news_about_an_authorisation_that_was_renewed_or_captured_under_another_id_changes_nothing() {
    let id = |text: &str| ExternalPaymentId::new(text).ok();
    for (renewed, capture) in [(id("RENEWED"), None), (id("RENEWED"), id("CAPTURE")), (None, id("CAPTURE"))] {
        for kind in [Kind::Cancelled, Kind::Expired, Kind::CancelFailed, Kind::Authorised] {
            for state in [S::Capturing, S::Captured] {
                let before = PaymentRecord { renewed_authorisation: renewed.clone(), capture: capture.clone(), ..payment(state) };
                let mut after = before.clone();
                let effect = apply_notification(&mut after, &item(kind, 1), OwnerState::default(), NOW);
                assert_eq!((effect, &after), (Ok(TransitionEffect::Unchanged), &before), "{kind:?} {state:?}");
            }
        }
        let mut current = PaymentRecord { renewed_authorisation: renewed.clone(), ..payment(S::Capturing) };
        let item = GatewayNotification { external_payment_id: renewed.or(id("AUTH")), ..item(Kind::Cancelled, 1) };
        assert_eq!(apply_notification(&mut current, &item, OwnerState::default(), NOW), Ok(TransitionEffect::Changed));
    }
}

#[test]
fn rule_9_a_dispute_and_the_withdrawal_that_follows_are_one_loss_and_a_second_one_is_heard() {
    let mut disputed = payment(S::Captured);
    let mut apply = |kind, number| apply_notification(&mut disputed, &item(kind, number), OwnerState::default(), NOW).unwrap();
    assert_eq!(apply(Kind::ChargedBack, 1), TransitionEffect::FundsLost(AlarmReason::Chargeback));
    assert_eq!(apply(Kind::FundsWithdrawn, 2), TransitionEffect::Changed);
    assert_eq!(apply(Kind::ChargebackReversed, 3), TransitionEffect::ChangedUnexpectedly(AlarmReason::ChargebackReversed));
    assert_eq!(apply(Kind::FundsWithdrawn, 4), TransitionEffect::ChangedUnexpectedly(AlarmReason::Chargeback));
    assert_eq!(apply(Kind::ChargedBack, 5), TransitionEffect::Changed);
}

#[test]
fn a_decline_keeps_the_class_that_the_gateway_signed_and_a_second_one_says_nothing_new() {
    let waiting = OwnerState { in_flight: true, reporting: false };
    let mut pending = payment(S::Starting);
    let decline = Some(Decline::new(DeclineClass::Hard, "lost_card"));
    let signed = GatewayNotification { decline: decline.clone(), ..item(Kind::AuthorisationDeclined, 1) };
    assert_eq!(apply_notification(&mut pending, &signed, waiting, NOW), Ok(TransitionEffect::Changed));
    assert_eq!(apply_notification(&mut pending, &item(Kind::AuthorisationDeclined, 2), waiting, NOW), Ok(TransitionEffect::Unchanged));
    assert_eq!(pending.authorisation_result, Some(AuthorisationResult::Declined { decline }));
}

#[test]
fn a_record_stores_a_limited_number_of_notifications() {
    let mut disputed = payment(S::Captured);
    let effects: Vec<_> = (0..100)
        .map(|n| apply_notification(&mut disputed, &item(Kind::ChargebackReversed, n), OwnerState::default(), NOW).unwrap())
        .collect();
    assert_eq!(effects.last(), Some(&TransitionEffect::Unexpected(ParkReason::TooManyNotifications)));
    assert!(serde_json::to_string(&disputed).unwrap().len() < 10_000);
}

/// Applies what can be applied until nothing is out of order any more.
fn settle(payment: &mut PaymentRecord, items: &[GatewayNotification]) {
    let mut queue: Vec<&GatewayNotification> = items.iter().collect();
    loop {
        let before = queue.len();
        queue.retain(|item| apply_notification(payment, item, OwnerState::default(), NOW).unwrap() == TransitionEffect::OutOfOrder);
        if queue.is_empty() || queue.len() == before {
            return;
        }
    }
}

proptest! {
    #[test]
    fn the_order_of_captures_failures_and_disputes_does_not_matter(
        kinds in prop::collection::vec(0_usize..4, 1..8), order in Just((0_usize..24).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let kind = |index: usize| [Kind::Captured, Kind::CaptureFailed, Kind::ChargedBack, Kind::ChargebackReversed][index];
        // A gateway never disputes what it has not captured, and never fails what was disputed.
        let disputes = kinds.iter().any(|index| *index > 1);
        let kinds: Vec<Kind> = kinds.into_iter().map(kind).filter(|kind| !(disputes && *kind == Kind::CaptureFailed)).collect();
        let first = item(Kind::Captured, 99);
        let items: Vec<_> = std::iter::once(first).chain(kinds.iter().enumerate().map(|(n, kind)| item(*kind, n))).collect();
        let mut expected = payment(S::Capturing);
        settle(&mut expected, &items);
        let shuffled: Vec<_> = order.iter().filter_map(|index| items.get(index % 8)).cloned().collect();
        let mut other = payment(S::Capturing);
        settle(&mut other, &shuffled);
        prop_assert_eq!((other.state, other.captured, &other.seen_notifications), (expected.state, expected.captured, &expected.seen_notifications));
    }
}
