//! A scheduled job: work that no event asks for, by what the journal says is due.
//!
//! Every obligation with something unsettled is due a quarter of an hour after it was last written, and less often the older it is. There
//! is no second copy of any flow here:
//!
//! | what is due | what is done |
//! |---|---|
//! | an order or a storing of details whose customer is away | what is possible without the customer; after its expiry it is ended and cancelled at the gateway, so that no money stays held |
//! | a payment that is being reversed | the reversal continues |
//! | an authorisation for a period that was paid in another way | it is released at the gateway and in Cleeng (`obsolete_authorisations.rs`) |
//! | an event that waits in the journal for a gateway's notification | unless it is still on its own queue, it is requeued: its function checks whether the notification came, or its deadline has passed |
//! | a subscription whose next billing event should have arrived | Cleeng is asked what it expects; an event that was missed is put on its queue (`missed_events.rs`) |
//! | all the time, as far as the run's time allows | all subscriptions of our payment methods are read, and new ones are watched from then on (`scan.rs`) |
//! | anything else unsettled | its event is on its queue; only its age is counted |
//!
//! Parked obligations are not due: an operator decides about them. Lost webhooks about refunds and deactivated details cannot be found by
//! asking Cleeng, which has no list of them.

mod documents;
mod due;
mod missed_events;
mod obsolete_authorisations;
pub mod plan;
mod scan;

use async_trait::async_trait;
use connector::delivery::Delivery;
use connector::flow::{FlowContext, RunReport, ScheduledJob};

use crate::due::Run;

/// The job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reconciliation;

#[async_trait]
impl ScheduledJob for Reconciliation {
    async fn run(&self, flow_context: &FlowContext, delivery: &Delivery) -> RunReport {
        let mut report = Run::new(flow_context, delivery).process_all().await;
        let scanned = scan::continue_scan(flow_context, delivery).await;
        (report.discovered, report.is_scan_failed) = (scanned.discovered, scanned.failed);
        report
    }
}
