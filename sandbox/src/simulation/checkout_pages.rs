//! Customers at their pages.

use std::sync::Arc;

use connector::frontend_api::Reply;

use super::actors::{PAGE_RETRY_INTERVAL, ShopperStep};
use super::event_queue::ScheduledEvent;
use super::executor::{TaskKind, TaskResult};
use super::simulator::Simulator;
use crate::simulators::simulated_gateway::EnteredDetails;
use crate::testkit::fixtures::FRONTEND_TIMEOUT;

impl Simulator<'_> {
    /// A page makes its next call.
    pub(super) fn call_page(&mut self, who: usize) {
        let Some(shopper) = self.shoppers.get_mut(who) else { return };
        let Some((path, headers, body)) = shopper.next_call(&self.env) else { return };
        shopper.call_count = shopper.call_count.saturating_add(1);
        if shopper.call_count > 40 {
            // Even the most patient customer goes.
            shopper.step = ShopperStep::Finished;
            return;
        }
        let env = Arc::clone(&self.env);
        self.context.trace(|| format!("w{} is called by shopper {who}: {path}", self.next_task_id()));
        let come = async move { TaskResult::PageAnswered(who, env.post(&path, headers, body).await) };
        self.spawn(TaskKind::PageCall(who), FRONTEND_TIMEOUT, Box::pin(come));
    }

    /// A page has its answer.
    pub(super) fn handle_page_reply(&mut self, who: usize, reply: &Reply) {
        let now = self.context.now();
        let env = Arc::clone(&self.env);
        let Some(shopper) = self.shoppers.get_mut(who) else { return };
        let (status, code) = (reply.status.as_u16(), reply.body.get("code").cloned().unwrap_or_default());
        self.context.trace(|| format!("shopper {who} receives {status} {code}"));
        let action = reply.body.pointer("/responseData/action").filter(|action| action.is_object());
        let next = if let Some(action) = action {
            let simulator = &env.gateway(shopper.gateway).simulator;
            if shopper.returns {
                shopper.step = ShopperStep::Finalizing(simulator.complete_action(action));
                Some(self.prng.duration(5, 900))
            } else {
                // The shopper approves and never returns, or never approves, or starts again with other details.
                match self.prng.below(3) {
                    0 => {
                        simulator.complete_action(action);
                        shopper.step = ShopperStep::Finished;
                        let wait = self.prng.duration(0, 3_600);
                        self.events.schedule(now.after(wait), ScheduledEvent::GatewayProcessing(shopper.gateway));
                        None
                    }
                    1 => {
                        shopper.step = ShopperStep::Finished;
                        None
                    }
                    _ => {
                        if self.prng.chance(500) {
                            simulator.complete_action(action);
                        }
                        shopper.tries = shopper.tries.saturating_add(1);
                        shopper.step = ShopperStep::EnteringDetails(EnteredDetails::ActionRequired);
                        shopper.returns = self.prng.chance(500);
                        Some(self.prng.duration(1, 600))
                    }
                }
            }
        } else if matches!(status, 202 | 429 | 500..) {
            Some(PAGE_RETRY_INTERVAL)
        } else if status == 200 {
            shopper.step = ShopperStep::Finished;
            None
        } else {
            shopper.retry_or_give_up(&mut self.prng);
            Some(self.prng.duration(5, 120))
        };
        self.invariants.check_reply(reply, &self.context);
        if let Some(wait) = next {
            self.events.schedule(now.after(wait), ScheduledEvent::PageCall(who));
        }
    }
}
