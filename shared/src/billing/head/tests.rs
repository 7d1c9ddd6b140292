use super::*;
use crate::ids::{CustomerId, OfferId};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

fn details() -> PaymentDetailsId {
    PaymentDetailsId::new("55").unwrap()
}

fn in_flight() -> Head {
    Head { in_flight: Some("period#1#2".to_owned()), ..Head::default() }
}

fn held() -> Head {
    let reference = Reference::parse("clg-00112233-4455-8677-8899-aabbccddeeff").unwrap();
    Head { live: Some(Live { reference, details: details(), expiration: NOW }), ..Head::default() }
}

fn watched() -> Head {
    let watch = Watch {
        subscription: SubscriptionId::new("1").unwrap(),
        customer: CustomerId::new("2").unwrap(),
        offer: OfferId::new("S1").unwrap(),
        details: details(),
        currency: None,
        country: None,
        token: None,
        expected: None,
    };
    Head { watch: Some(watch), ..Head::default() }
}

#[test]
fn a_subscription_is_forgotten_only_when_nothing_of_it_is_in_flight_held_or_expected() {
    assert_eq!(Head::default().expires_at(NOW), Some(NOW.after(SETTLED_KEPT)));
    for head in [in_flight(), held(), watched()] {
        assert_eq!(head.expires_at(NOW), None, "{head:?}");
    }
}

#[test]
fn somebody_looks_for_the_next_event_only_where_one_is_expected() {
    for head in [Head::default(), in_flight(), held()] {
        assert_eq!(head.due_at(NOW), None, "{head:?}");
    }
    assert_eq!(watched().due_at(NOW), Some(NOW.after(LOOK_AFTER_EVENT)));
    let busy = Head { in_flight: Some("period#1#2".to_owned()), ..watched() };
    assert_eq!(busy.due_at(NOW), Some(NOW.after(LOOK_IN_FLIGHT)), "the flow that is at it has its own look");
}
