//! The balance check: what Cleeng records and what the gateways hold must be the same.

use connector::cleeng::PaymentStatus;
use connector::ids::SubscriptionId;

use crate::simulators::cleeng::{CleengSimulator, PaymentRow};
use crate::simulators::simulated_gateway::{LedgerEntry, LedgerStatus, SimulatedGateway};

/// Everything that disagrees, a line each. Empty is good.
#[must_use]
pub fn discrepancies(cleeng: &CleengSimulator, simulators: &[&dyn SimulatedGateway]) -> Vec<String> {
    let ours = cleeng.payments();
    let theirs: Vec<LedgerEntry> = simulators.iter().flat_map(|simulator| simulator.ledger()).collect();
    let mut found: Vec<String> = cleeng.violations().iter().map(|v| format!("Cleeng's contract: {} by {}", v.rule, v.request)).collect();
    for payment in latest_words(&ours) {
        found.extend(compare(payment, theirs.iter().find(|other| is_about(payment, other))));
    }
    for payment in theirs.iter().filter(|payment| must_be_in_cleeng(payment)) {
        if !ours.iter().any(|other| other.external_payment_id == payment.external_payment_id) {
            found.push(format!("{} at the gateway is unknown to Cleeng", payment.external_payment_id));
        }
    }
    found.extend(double_payments(&ours));
    found
}

/// Cleeng's payments, without a rejected or cancelled one whose payment at the gateway succeeded later and was reported again.
pub(crate) fn latest_words(payments: &[PaymentRow]) -> impl Iterator<Item = &PaymentRow> {
    payments
        .iter()
        .enumerate()
        .filter(|(place, payment)| {
            let is_over = matches!(payment.status, PaymentStatus::Rejected | PaymentStatus::Cancelled);
            let mut later = payments.iter().skip(place.saturating_add(1));
            !(is_over && later.any(|other| other.external_payment_id == payment.external_payment_id))
        })
        .map(|(_, payment)| payment)
}

/// Whether Cleeng's payment is this one. What Cleeng has as over may have the id of the authorisation, although the gateway captured later.
pub(crate) fn is_about(ours: &PaymentRow, theirs: &LedgerEntry) -> bool {
    let is_over = matches!(ours.status, PaymentStatus::Rejected | PaymentStatus::Cancelled);
    ours.external_payment_id == theirs.external_payment_id || (is_over && ours.external_payment_id == theirs.authorisation_id)
}

/// Whether Cleeng has to know of it. A payment that was released or refunded in full charged nobody.
pub(crate) fn must_be_in_cleeng(payment: &LedgerEntry) -> bool {
    payment.authorised && payment.amount.minor > 0 && !payment.is_released() && !payment.is_given_back()
}

/// What disagrees about one payment, if anything does.
pub(crate) fn compare(ours: &PaymentRow, theirs: Option<&LedgerEntry>) -> Option<String> {
    let id = &ours.id;
    let Some(theirs) = theirs else {
        let needs_none = ours.status == PaymentStatus::Rejected || ours.total.is_zero();
        return (!needs_none).then(|| format!("payment {id} of Cleeng is unknown to the gateway"));
    };
    if ours.total.is_zero() && theirs.amount.is_zero() {
        // A verification: nothing was to be taken.
        let declined = theirs.status == LedgerStatus::Declined;
        return (declined != (ours.status == PaymentStatus::Rejected)).then(|| format!("verification {id} differs"));
    }
    let fits = match ours.status {
        PaymentStatus::Authorised => theirs.status == LedgerStatus::Authorised,
        PaymentStatus::Captured => theirs.refunded.is_zero() && matches!(theirs.status, LedgerStatus::Captured | LedgerStatus::ChargedBack),
        PaymentStatus::Rejected => {
            matches!(theirs.status, LedgerStatus::Declined | LedgerStatus::CaptureFailed | LedgerStatus::Expired | LedgerStatus::Cancelled)
                || theirs.is_given_back()
        }
        PaymentStatus::Cancelled => matches!(theirs.status, LedgerStatus::Cancelled | LedgerStatus::Expired) || theirs.is_given_back(),
        // Captured money that is gone, or that never came although the capture was accepted, is reported as refunded.
        PaymentStatus::Refunded => {
            let never_came = theirs.captured.is_zero() && matches!(theirs.status, LedgerStatus::Expired | LedgerStatus::Cancelled);
            refunds_agree(ours, theirs) || never_came || matches!(theirs.status, LedgerStatus::ChargedBack | LedgerStatus::CaptureFailed)
        }
        PaymentStatus::Other(_) => false,
    };
    if !fits {
        return Some(format!("payment {id} is {:?} in Cleeng and {:?} at the gateway", ours.status, theirs.status));
    }
    let all_taken = ours.status != PaymentStatus::Captured || theirs.captured == ours.total;
    (ours.total != theirs.amount || !all_taken)
        .then(|| format!("payment {id} is {} in Cleeng and {} of {} at the gateway", ours.total, theirs.captured, theirs.amount))
}

/// The refunded amount is what Cleeng records, and never more than was captured.
fn refunds_agree(ours: &PaymentRow, theirs: &LedgerEntry) -> bool {
    let reported = ours.refund.as_ref().map_or(0, |refund| refund.amount.minor);
    theirs.refunded.minor == reported && theirs.refunded.minor <= theirs.captured.minor
}

/// Two payments that hold or took money for one period of one subscription.
pub(crate) fn double_payments(payments: &[PaymentRow]) -> Vec<String> {
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
