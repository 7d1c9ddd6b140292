//! What happens to subscribers while their functions are at work.

use std::sync::Arc;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::ids::RefundId;
use connector::money::Money;

use super::agenda::{Happening, Life};
use super::theatre::Theatre;
use crate::cleeng::{PaymentRecord, RefundRequest};
use crate::house::Standing;
use crate::stage::id;

impl Theatre<'_> {
    /// Something happens to a member.
    pub(super) fn live(&mut self, who: usize, life: Life) {
        let stage = Arc::clone(&self.stage);
        let Some(member) = self.members.get_mut(who) else { return };
        self.sky.note(|| format!("member {who}: {life:?}"));
        let gateway = member.gateway;
        let house = &stage.guest(gateway).house;
        match life {
            Life::Refusal(class) => {
                house.refuse_next(&member.cast.token, class);
            }
            Life::NewDetails(place) => {
                let Some(guest) = stage.guests.get(place) else { return };
                let now_at = stage.cleeng.subscription(&member.cast.subscriber.subscription).map(|one| one.method);
                let capture_only = now_at.is_some_and(|method| stage.guest_of(method.as_str()).capture_only == method.as_str());
                let method = if capture_only { guest.capture_only } else { guest.method };
                self.audit.replaced.insert(member.cast.subscriber.details.clone(), self.sky.now());
                stage.change_card(&mut member.cast, method);
                member.gateway = guest.house.gateway();
            }
            Life::Failure => {
                house.fail_next();
            }
            Life::Stop => stage.cleeng.set_status(&member.cast.subscriber.subscription, SubscriptionStatus::Stopped),
            Life::Deactivation => {
                // Of details that are still in use it is never told.
                let details = &member.cast.subscriber.details;
                if stage.cleeng.details(details).is_some_and(|details| !details.active)
                    && let Some(webhook) = stage.cleeng.deactivation_event(details)
                {
                    self.agenda.put(self.sky.now(), Happening::Webhook(webhook));
                }
            }
            Life::Expiry => {
                for payment in self.payments_of(who) {
                    for guest in &stage.guests {
                        let held = guest.house.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id);
                        if held.is_some_and(|entry| entry.standing == Standing::Authorised) {
                            guest.house.expire(&payment.external_payment_id);
                            self.agenda.put(self.sky.now(), Happening::Acts(guest.house.gateway()));
                        }
                    }
                }
            }
            Life::Chargeback => {
                for payment in self.payments_of(who) {
                    for guest in &stage.guests {
                        let taken = guest.house.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id);
                        if taken.is_some_and(|entry| entry.standing == Standing::Captured && entry.refunded.is_zero()) {
                            guest.house.charge_back(&payment.external_payment_id);
                            self.agenda.put(self.sky.now(), Happening::Acts(guest.house.gateway()));
                        }
                    }
                }
            }
            Life::Refund(part) => {
                let captured = self.payments_of(who).into_iter().find(|payment| payment.status == PaymentStatus::Captured);
                if let Some(payment) = captured {
                    self.serial = self.serial.saturating_add(1);
                    let number: RefundId = id(&self.serial.to_string());
                    let amount = part.map(|minor| Money::new(minor, payment.total.currency));
                    let _asked = stage.cleeng.ask_refund(&payment.id, &RefundRequest { amount, id: Some(number), reason: None });
                }
            }
        }
    }

    /// What Cleeng knows of a member's payments.
    fn payments_of(&self, who: usize) -> Vec<PaymentRecord> {
        let Some(member) = self.members.get(who) else { return Vec::new() };
        let of_member = |payment: &PaymentRecord| payment.subscription.as_ref() == Some(&member.cast.subscriber.subscription);
        self.stage.cleeng.payments().into_iter().filter(of_member).collect()
    }
}
