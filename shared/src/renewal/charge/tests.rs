use crate::ids::{CustomerId, OfferId, SubscriptionId};
use crate::money::Currency;
use crate::renewal::charge::*;

fn order_sent() -> NewOrder {
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
fn order_returned() -> Order {
    let sent = order_sent();
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
fn an_order_is_accepted_only_if_customer_method_and_currency_are_what_was_sent() {
    assert!(order_matches(&order_returned(), &order_sent()));
    assert!(
        order_matches(&Order { customer: None, offer: None, payment_method: None, ..order_returned() }, &order_sent()),
        "what is not told is no contradiction"
    );
    for other in [
        Order { customer: CustomerId::new("8").ok(), ..order_returned() },
        Order { payment_method: PaymentMethodId::new("42").ok(), ..order_returned() },
        Order { total: Money::new(999, Currency::new("USD").unwrap()), ..order_returned() },
    ] {
        assert!(!order_matches(&other, &order_sent()), "{other:?}");
    }
}
