//! The balance of both sides: what Cleeng believes and what the gateways hold must be the same.

use connector::cleeng::PaymentStatus;
use connector::ids::SubscriptionId;

use crate::cleeng::{CleengSimulator, PaymentRecord};
use crate::house::{House, LedgerEntry, Standing};

/// Everything that disagrees, a line each. Empty is good.
#[must_use]
pub fn disagreements(cleeng: &CleengSimulator, houses: &[&dyn House]) -> Vec<String> {
    let ours = cleeng.payments();
    let theirs: Vec<LedgerEntry> = houses.iter().flat_map(|house| house.ledger()).collect();
    let mut found: Vec<String> = cleeng.violations().iter().map(|v| format!("Cleeng's contract: {} by {}", v.rule, v.request)).collect();
    for payment in &ours {
        found.extend(compare(payment, theirs.iter().find(|other| other.external_payment_id == payment.external_payment_id)));
    }
    for payment in theirs.iter().filter(|payment| is_kept(payment)) {
        if !ours.iter().any(|other| other.external_payment_id == payment.external_payment_id) {
            found.push(format!("{} at the gateway is unknown to Cleeng", payment.external_payment_id));
        }
    }
    found.extend(doubled(&ours));
    found
}

/// Whether Cleeng has to know of it. What was released or given back in full was nobody's charge.
pub(crate) fn is_kept(payment: &LedgerEntry) -> bool {
    let given_back = payment.captured.minor > 0 && payment.refunded == payment.captured;
    payment.authorised && payment.amount.minor > 0 && !payment.released() && !given_back
}

/// What disagrees about one payment, if anything does.
pub(crate) fn compare(ours: &PaymentRecord, theirs: Option<&LedgerEntry>) -> Option<String> {
    let id = &ours.id;
    let Some(theirs) = theirs else {
        let needs_none = ours.status == PaymentStatus::Rejected || ours.total.is_zero();
        return (!needs_none).then(|| format!("payment {id} of Cleeng is unknown to the gateway"));
    };
    if ours.total.is_zero() && theirs.amount.is_zero() {
        // A verification: nothing was to be taken.
        let refused = theirs.standing == Standing::Refused;
        return (refused != (ours.status == PaymentStatus::Rejected)).then(|| format!("verification {id} differs"));
    }
    let fits = match ours.status {
        PaymentStatus::Authorised => theirs.standing == Standing::Authorised,
        PaymentStatus::Captured => theirs.refunded.is_zero() && matches!(theirs.standing, Standing::Captured | Standing::ChargedBack),
        PaymentStatus::Rejected => {
            matches!(theirs.standing, Standing::Refused | Standing::CaptureFailed | Standing::Expired | Standing::Cancelled)
        }
        PaymentStatus::Cancelled => matches!(theirs.standing, Standing::Cancelled | Standing::Expired),
        // Captured money that is gone, or that never came although the capture was accepted, is told as given back.
        PaymentStatus::Refunded => {
            let never_came = theirs.captured.is_zero() && matches!(theirs.standing, Standing::Expired | Standing::Cancelled);
            same_refund(ours, theirs) || never_came || matches!(theirs.standing, Standing::ChargedBack | Standing::CaptureFailed)
        }
        PaymentStatus::Other(_) => false,
    };
    if !fits {
        return Some(format!("payment {id} is {:?} in Cleeng and {:?} at the gateway", ours.status, theirs.standing));
    }
    let all_taken = ours.status != PaymentStatus::Captured || theirs.captured == ours.total;
    (ours.total != theirs.amount || !all_taken)
        .then(|| format!("payment {id} is {} in Cleeng and {} of {} at the gateway", ours.total, theirs.captured, theirs.amount))
}

/// As much was given back as Cleeng believes, and never more than was taken.
fn same_refund(ours: &PaymentRecord, theirs: &LedgerEntry) -> bool {
    let told = ours.refund.as_ref().map_or(0, |refund| refund.amount.minor);
    theirs.refunded.minor == told && theirs.refunded.minor <= theirs.captured.minor
}

/// Two payments that hold or took money for one period of one subscription.
pub(crate) fn doubled(payments: &[PaymentRecord]) -> Vec<String> {
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
