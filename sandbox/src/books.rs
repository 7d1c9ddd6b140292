//! The balance of both sides: what Cleeng believes and what the gateway holds must be the same.

use connector::cleeng::PaymentStatus;
use connector::ids::SubscriptionId;

use crate::adyen::{Adyen, Payment, PaymentState};
use crate::cleeng::{CleengSimulator, PaymentRecord};

/// Everything that disagrees, a line each. Empty is good.
#[must_use]
pub fn disagreements(cleeng: &CleengSimulator, adyen: &Adyen) -> Vec<String> {
    let (ours, theirs) = (cleeng.payments(), adyen.payments());
    let mut found: Vec<String> = cleeng.violations().iter().map(|v| format!("Cleeng's contract: {} by {}", v.rule, v.request)).collect();
    for payment in &ours {
        found.extend(compare(payment, theirs.iter().find(|other| other.psp_reference == payment.external_payment_id.as_str())));
    }
    // What was given back in full was nobody's charge, and Cleeng need not know of it.
    let kept = |payment: &&Payment| payment.authorised > payment.cancelled.saturating_add(payment.refunded);
    for payment in theirs.iter().filter(kept) {
        if !ours.iter().any(|other| other.external_payment_id.as_str() == payment.psp_reference) {
            found.push(format!("{} at the gateway is unknown to Cleeng", payment.psp_reference));
        }
    }
    found.extend(doubled(&ours));
    found
}

fn compare(ours: &PaymentRecord, theirs: Option<&Payment>) -> Option<String> {
    let id = &ours.id;
    let Some(theirs) = theirs else {
        let needs_none = ours.status == PaymentStatus::Rejected || ours.total.is_zero();
        return (!needs_none).then(|| format!("payment {id} of Cleeng is unknown to the gateway"));
    };
    if ours.total.is_zero() && theirs.amount == 0 {
        // A verification: nothing was to be taken.
        let refused = theirs.state == PaymentState::Refused;
        return (refused != (ours.status == PaymentStatus::Rejected)).then(|| format!("verification {id} differs"));
    }
    let fits = match ours.status {
        PaymentStatus::Authorised => theirs.state == PaymentState::Authorised,
        PaymentStatus::Captured => theirs.refunded == 0 && matches!(theirs.state, PaymentState::Captured | PaymentState::ChargedBack),
        PaymentStatus::Rejected => {
            matches!(theirs.state, PaymentState::Refused | PaymentState::CaptureFailed | PaymentState::Expired | PaymentState::Cancelled)
        }
        PaymentStatus::Cancelled => matches!(theirs.state, PaymentState::Cancelled | PaymentState::Expired),
        PaymentStatus::Refunded => {
            same_refund(ours, theirs) || matches!(theirs.state, PaymentState::ChargedBack | PaymentState::CaptureFailed)
        }
        PaymentStatus::Other(_) => false,
    };
    if !fits {
        return Some(format!("payment {id} is {:?} in Cleeng and {:?} at the gateway", ours.status, theirs.state));
    }
    let same_amount = ours.total.minor == theirs.amount && ours.total.currency.as_str() == theirs.currency;
    let all_taken = ours.status != PaymentStatus::Captured || theirs.captured == ours.total.minor;
    (!same_amount || !all_taken)
        .then(|| format!("payment {id} is {} in Cleeng and {} {} at the gateway", ours.total, theirs.captured, theirs.currency))
}

/// As much was given back as Cleeng believes, and never more than was taken.
fn same_refund(ours: &PaymentRecord, theirs: &Payment) -> bool {
    let told = ours.refund.as_ref().map_or(0, |refund| refund.amount.minor);
    theirs.refunded == told && theirs.refunded <= theirs.captured
}

/// Two payments that hold or took money for one period of one subscription.
fn doubled(payments: &[PaymentRecord]) -> Vec<String> {
    let mut live: Vec<(&SubscriptionId, i64)> = payments
        .iter()
        .filter(|payment| payment.is_live())
        .filter_map(|payment| Some((payment.subscription.as_ref()?, payment.period?.secs())))
        .collect();
    live.sort_unstable();
    let mut orders: Vec<_> = payments.iter().filter(|payment| payment.is_live()).map(|payment| &payment.order).collect();
    orders.sort_unstable();
    let paid_twice = orders.iter().zip(orders.iter().skip(1)).filter(|(one, other)| one == other);
    let paid_twice: Vec<String> = paid_twice.map(|(order, _)| format!("order {order} is paid twice")).collect();
    let pairs = live.iter().zip(live.iter().skip(1)).filter(|(one, other)| one == other);
    let pairs = pairs.map(|((subscription, period), _)| format!("subscription {subscription} pays twice for the period until {period}"));
    pairs.chain(paid_twice).collect()
}
