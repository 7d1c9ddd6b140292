//! What happens to subscribers while their functions are at work.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::gateway::{DeclineClass, GatewayName, OperationKind, RetryAdvice};
use connector::ids::{ExternalPaymentId, RefundId};
use connector::money::Money;

use super::event_queue::{LifeEvent, ScheduledEvent};
use super::simulator::Simulator;
use crate::simulators::cleeng::{OperatorRefund, PaymentRow};
use crate::simulators::simulated_gateway::{LedgerEntry, LedgerStatus, SimulatedGateway};
use crate::testkit::fixtures::id;

impl Simulator<'_> {
    /// Something happens to a member.
    pub(super) fn handle_life_event(&mut self, who: usize, life: LifeEvent) {
        let env = Arc::clone(&self.env);
        let Some(actor) = self.subscribers.get_mut(who) else { return };
        self.context.trace(|| format!("subscriber {who}: {life:?}"));
        let gateway = actor.gateway;
        let simulator = &env.gateway(gateway).simulator;
        match life {
            // Where the gateway passes on the network's word, a hard decline is one after which nobody may try again.
            LifeEvent::Decline(DeclineClass::Hard) if simulator.decline_next_with_advice(&actor.subscriber.token, RetryAdvice::Never) => {}
            LifeEvent::Decline(class) => {
                simulator.decline_next(&actor.subscriber.token, class);
            }
            LifeEvent::NewDetails(place) => {
                let Some(fixture) = env.gateways.get(place) else { return };
                let now_at = env.cleeng.subscription(&actor.subscriber.ids.subscription).map(|one| one.method);
                let capture_only =
                    now_at.is_some_and(|method| env.gateway_of_method(method.as_str()).capture_only_method == method.as_str());
                let method = if capture_only { fixture.capture_only_method } else { fixture.method };
                self.invariants.replaced_details.insert((gateway, actor.subscriber.stored_id.clone()), self.context.now());
                let old = actor.subscriber.ids.details.clone();
                env.change_card(&mut actor.subscriber, method);
                let (removed, announced) = self.context.draw(|prng| (prng.chance(300), prng.chance(500)));
                // Cleeng's front-end library removes what is not active any more, and whether Cleeng announces that is not known.
                if let Some(webhook) = removed.then(|| env.cleeng.remove_details(&old)).flatten()
                    && announced
                {
                    self.events.schedule(self.context.now(), ScheduledEvent::Webhook(webhook));
                }
                actor.gateway = fixture.simulator.gateway_name();
            }
            LifeEvent::OperationFailure => {
                simulator.fail_next_operation();
            }
            LifeEvent::Stop => env.cleeng.set_status(&actor.subscriber.ids.subscription, SubscriptionStatus::Stopped),
            LifeEvent::RepeatedDeactivation => {
                // Details that are still in use are never announced.
                let details = &actor.subscriber.ids.details;
                if env.cleeng.details(details).is_some_and(|details| !details.active)
                    && let Some(webhook) = env.cleeng.deactivation_event(details)
                {
                    self.events.schedule(self.context.now(), ScheduledEvent::Webhook(webhook));
                }
            }
            LifeEvent::Expiry => {
                self.change_entries(who, |entry| entry.status == LedgerStatus::Authorised, |simulator, id| simulator.expire(id));
            }
            LifeEvent::Undecided(..) | LifeEvent::UndecidedCapture(..) => {
                let token = actor.subscriber.token.clone();
                self.leave_undecided(gateway, &token, life);
            }
            LifeEvent::RefundFailure => {
                simulator.fail_next_refund();
            }
            LifeEvent::ChangeOfMind => self.change_entries(
                who,
                |entry| entry.status == LedgerStatus::Declined,
                |simulator, id| {
                    simulator.approve_after_refusal(id);
                },
            ),
            LifeEvent::ChargebackWon => {
                self.change_entries(
                    who,
                    |entry| entry.status == LedgerStatus::ChargedBack,
                    |simulator, id| simulator.return_charge_back(id),
                );
            }
            LifeEvent::Chargeback => {
                let is_taken = |entry: &LedgerEntry| entry.status == LedgerStatus::Captured && entry.refunded.is_zero();
                self.change_entries(who, is_taken, |simulator, id| simulator.charge_back(id));
            }
            LifeEvent::Refund(part) => {
                let captured = self.payments_of_subscriber(who).into_iter().find(|payment| payment.status == PaymentStatus::Captured);
                if let Some(payment) = captured {
                    self.last_id = self.last_id.saturating_add(1);
                    let number: RefundId = id(&self.last_id.to_string());
                    let amount = part.map(|minor| Money::new(minor, payment.total.currency));
                    let _asked = env.cleeng.request_refund(&payment.id, &OperatorRefund { amount, id: Some(number), reason: None });
                }
            }
        }
    }

    /// The gateways do something to the payments of a member that are in their ledgers like this, and notify.
    fn change_entries(
        &mut self,
        who: usize,
        is_meant: impl Fn(&LedgerEntry) -> bool,
        change: impl Fn(&dyn SimulatedGateway, &ExternalPaymentId),
    ) {
        let env = Arc::clone(&self.env);
        for payment in self.payments_of_subscriber(who) {
            for fixture in &env.gateways {
                let entry = fixture.simulator.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id);
                if entry.is_some_and(|entry| is_meant(&entry)) {
                    change(fixture.simulator.as_ref(), &payment.external_payment_id);
                    self.events.schedule(self.context.now(), ScheduledEvent::GatewayProcessing(fixture.simulator.gateway_name()));
                }
            }
        }
    }

    /// The next payment or capture with these details is declared undecided for a while.
    fn leave_undecided(&mut self, gateway: GatewayName, token: &str, life: LifeEvent) {
        let (operation, wait, approves) = match life {
            LifeEvent::Undecided(wait, approves) => (OperationKind::Charge, wait, approves),
            LifeEvent::UndecidedCapture(wait, approves) => (OperationKind::Capture, wait, approves),
            _ => return,
        };
        let until = self.context.now().after(wait).min(self.last_decision);
        if self.env.gateway(gateway).simulator.leave_next_undecided(token, operation, until, approves) {
            self.events.schedule(until.after(Duration::from_secs(1)), ScheduledEvent::GatewayProcessing(gateway));
        }
    }

    /// What Cleeng knows of a member's payments.
    fn payments_of_subscriber(&self, who: usize) -> Vec<PaymentRow> {
        let Some(actor) = self.subscribers.get(who) else { return Vec::new() };
        let of_member = |payment: &PaymentRow| payment.subscription.as_ref() == Some(&actor.subscriber.ids.subscription);
        self.env.cleeng.payments().into_iter().filter(of_member).collect()
    }
}
