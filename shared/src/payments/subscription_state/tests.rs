use super::*;
use crate::ids::{CustomerId, OfferId};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

fn details() -> PaymentDetailsId {
    PaymentDetailsId::new("55").unwrap()
}

fn in_flight() -> SubscriptionState {
    SubscriptionState { in_flight: Some("period#1#2".to_owned()), ..SubscriptionState::default() }
}

fn authorised() -> SubscriptionState {
    let reference = Reference::parse("clg-00112233-4455-8677-8899-aabbccddeeff").unwrap();
    SubscriptionState {
        live_authorisation: Some(LiveAuthorisation { reference, details: details(), expiration: NOW }),
        ..SubscriptionState::default()
    }
}

fn expecting() -> SubscriptionState {
    let watch = LastBillingEvent {
        subscription: SubscriptionId::new("1").unwrap(),
        customer: CustomerId::new("2").unwrap(),
        offer: OfferId::new("S1").unwrap(),
        details: details(),
        currency: None,
        country: None,
        token: None,
        expected_event: None,
    };
    SubscriptionState { last_billing_event: Some(watch), ..SubscriptionState::default() }
}

#[test]
fn a_subscription_state_expires_only_when_nothing_is_in_flight_authorised_or_expected() {
    assert_eq!(SubscriptionState::default().expires_at(NOW), Some(NOW.after(SETTLED_RETENTION)));
    for head in [in_flight(), authorised(), expecting()] {
        assert_eq!(head.expires_at(NOW), None, "{head:?}");
    }
}

#[test]
fn a_subscription_is_due_only_when_an_event_is_expected() {
    for head in [SubscriptionState::default(), in_flight(), authorised()] {
        assert_eq!(head.due_at(NOW), None, "{head:?}");
    }
    assert_eq!(expecting().due_at(NOW), Some(NOW.after(CHECK_AFTER_EVENT)));
    let in_flight_and_expecting = SubscriptionState { in_flight: Some("period#1#2".to_owned()), ..expecting() };
    assert_eq!(in_flight_and_expecting.due_at(NOW), Some(NOW.after(CHECK_IN_FLIGHT)), "the flow that is at it has its own look");
}
