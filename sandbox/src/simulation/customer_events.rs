//! What happens to subscribers while their functions are at work.

use std::sync::Arc;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::ids::RefundId;
use connector::money::Money;

use super::event_queue::{LifeEvent, ScheduledEvent};
use super::simulator::Simulator;
use crate::simulators::cleeng::{OperatorRefund, PaymentRow};
use crate::simulators::simulated_gateway::LedgerStatus;
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
            LifeEvent::Decline(class) => {
                simulator.decline_next(&actor.subscriber.token, class);
            }
            LifeEvent::NewDetails(place) => {
                let Some(fixture) = env.gateways.get(place) else { return };
                let now_at = env.cleeng.subscription(&actor.subscriber.ids.subscription).map(|one| one.method);
                let capture_only =
                    now_at.is_some_and(|method| env.gateway_of_method(method.as_str()).capture_only_method == method.as_str());
                let method = if capture_only { fixture.capture_only_method } else { fixture.method };
                self.invariants.replaced_details.insert(actor.subscriber.ids.details.clone(), self.context.now());
                env.change_card(&mut actor.subscriber, method);
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
                for payment in self.payments_of_subscriber(who) {
                    for fixture in &env.gateways {
                        let held =
                            fixture.simulator.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id);
                        if held.is_some_and(|entry| entry.status == LedgerStatus::Authorised) {
                            fixture.simulator.expire(&payment.external_payment_id);
                            self.events.schedule(self.context.now(), ScheduledEvent::GatewayProcessing(fixture.simulator.gateway_name()));
                        }
                    }
                }
            }
            LifeEvent::Chargeback => {
                for payment in self.payments_of_subscriber(who) {
                    for fixture in &env.gateways {
                        let taken =
                            fixture.simulator.ledger().into_iter().find(|entry| entry.external_payment_id == payment.external_payment_id);
                        if taken.is_some_and(|entry| entry.status == LedgerStatus::Captured && entry.refunded.is_zero()) {
                            fixture.simulator.charge_back(&payment.external_payment_id);
                            self.events.schedule(self.context.now(), ScheduledEvent::GatewayProcessing(fixture.simulator.gateway_name()));
                        }
                    }
                }
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

    /// What Cleeng knows of a member's payments.
    fn payments_of_subscriber(&self, who: usize) -> Vec<PaymentRow> {
        let Some(actor) = self.subscribers.get(who) else { return Vec::new() };
        let of_member = |payment: &PaymentRow| payment.subscription.as_ref() == Some(&actor.subscriber.ids.subscription);
        self.env.cleeng.payments().into_iter().filter(of_member).collect()
    }
}
