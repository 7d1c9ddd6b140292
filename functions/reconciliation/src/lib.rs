//! Work that no event asks for, on a schedule: what the journal says is due.
//!
//! Every obligation with something unsettled is due a quarter of an hour after it was last written, the more seldom the older it is. It has no
//! second copy of any flow:
//!
//! | what is due | what is done |
//! |---|---|
//! | an order or a storing of details whose customer is away | what can be done without him; after its time it is ended and called off at the gateway, so that nothing is left hanging |
//! | a payment that is being given back | the giving back goes on |
//! | what is held for a period that was paid in another way | it goes back, at the gateway and in Cleeng (`holds.rs`) |
//! | an event that waits in the journal for a gateway's word | unless it is still on its own queue, it goes back there: its function looks whether the word came, or its deadline did |
//! | a subscription whose next billing event should have been here | Cleeng is asked what it expects; an event that never came is put on its queue (`watch.rs`) |
//! | nothing: on and on, as far as the time allows | all subscriptions of our payment methods are read, and what is new is watched from then on (`scan.rs`) |
//! | anything else unsettled | its event is on its queue; only its age is counted |
//!
//! Parked obligations are not due: an operator has them. Lost webhooks about refunds and deactivated details cannot be found by asking Cleeng, which
//! has no list of them.

mod due;
mod missed_events;
mod obsolete_authorisations;
pub mod plan;
mod scan;

use async_trait::async_trait;
use connector::delivery::Delivery;
use connector::flow::{FlowContext, RunReport, ScheduledJob};

/// Goes round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reconciliation;

#[async_trait]
impl ScheduledJob for Reconciliation {
    async fn run(&self, flow_context: &FlowContext, delivery: &Delivery) -> RunReport {
        let mut report = due::run_once(flow_context, delivery).await;
        report.discovered = scan::continue_scan(flow_context, delivery).await;
        report
    }
}
