//! Which payment a refund is about: one of the journal, or one that was made before this connector, as far as event and order tell
//! everything that must not be guessed.

use connector::billing::Story;
use connector::billing::case::Case;
use connector::billing::find::{self, Found, Owner, Stranger};
use connector::cleeng::Order;
use connector::cleeng::webhook::{NamedPayment, RefundEvent};
use connector::flow::Method;
use connector::gateway::Reference;
use connector::journal::payment::PaymentState;
use connector::money::Money;

/// The payment, now in work, or why an operator has to look.
pub(crate) async fn payment(case: &mut Case<'_>, event: &RefundEvent) -> Story<Result<Reference, &'static str>> {
    match find::in_journal(case, &event.payment)? {
        Found::Yes(reference) => return Ok(Ok(reference)),
        Found::Contradiction => return Ok(Err("event_contradicts_journal")),
        Found::No => {}
    }
    let Owner { method, order } = find::owner(case.world, &event.payment).await?;
    let Some(method) = method else { return Ok(Err("whose_event_is_unknown")) };
    match stranger(event, method, order) {
        Ok(stranger) => Ok(Ok(find::adopt(case, stranger, PaymentState::Captured).await?)),
        Err(reason) => Ok(Err(reason)),
    }
}

/// A payment that the journal does not know. The event names it at the gateway and says how much of it goes back; how much it was in all
/// is said by its order alone.
fn stranger(event: &RefundEvent, method: Method, order: Option<Order>) -> Result<Stranger, &'static str> {
    let NamedPayment { payment, external, customer, subscription, details, operation, .. } = event.payment.clone();
    let (Some(payment), Some(external), Some(amount), Some(currency)) = (payment, external, &event.amount, event.currency) else {
        return Err("unknown_payment_lacks_id_or_amount");
    };
    let order = order.ok_or("unknown_payment_lacks_order")?;
    if operation.is_none() && subscription.is_none() {
        // Cleeng wants to hear which kind of payment is refunded, and a wrong word would only be noticed after the money moved.
        return Err("unknown_payment_lacks_operation");
    }
    let customer = match (customer, order.customer) {
        (Some(told), Some(known)) if told != known => return Err("event_contradicts_order"),
        (told, known) => told.or(known).ok_or("unknown_payment_lacks_customer")?,
    };
    let amount = Money::from_decimal(amount, currency).map_err(|_| "refund_amount_unreadable")?;
    if order.total.currency != currency {
        return Err("refund_in_another_currency");
    }
    if amount.minor > order.total.minor {
        return Err("refund_above_captured");
    }
    let (gateway, order, amount) = (method.gateway, Some(order.id), order.total);
    Ok(Stranger { gateway, payment, external, customer, order, details, subscription, amount })
}
