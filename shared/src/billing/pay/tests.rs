use super::*;
use crate::ids::{CustomerId, OfferId, SubscriptionId};
use crate::money::Currency;

fn sent() -> NewOrder {
    NewOrder {
        customer: CustomerId::new("7").unwrap(),
        offer: OfferId::new("S1").unwrap(),
        currency: Currency::new("EUR").unwrap(),
        country: "PL".to_owned(),
        payment_method: PaymentMethodId::new("41").unwrap(),
        subscription: SubscriptionId::new("1").unwrap(),
    }
}

/// An order that says everything of what was sent.
fn answered() -> Order {
    let sent = sent();
    Order {
        id: OrderId::new("3").unwrap(),
        total: Money::new(999, sent.currency),
        customer: Some(sent.customer),
        offer: Some(sent.offer),
        payment_method: Some(sent.payment_method),
        expires_at: None,
    }
}

#[test]
fn an_order_is_taken_only_if_all_that_it_says_is_what_was_sent() {
    assert!(belongs(&answered(), &sent()));
    assert!(
        belongs(&Order { customer: None, offer: None, payment_method: None, ..answered() }, &sent()),
        "what is not told is no contradiction"
    );
    for other in [
        Order { customer: CustomerId::new("8").ok(), ..answered() },
        Order { offer: OfferId::new("S2").ok(), ..answered() },
        Order { payment_method: PaymentMethodId::new("42").ok(), ..answered() },
        Order { total: Money::new(999, Currency::new("USD").unwrap()), ..answered() },
    ] {
        assert!(!belongs(&other, &sent()), "{other:?}");
    }
}
