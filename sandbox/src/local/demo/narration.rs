//! Lets time pass until the next event, delivers it, and tells what became of it.

use std::time::Duration;

use connector::clock::{Clock, Timestamp};
use connector::gateway::GatewayName;
use connector::lambda::webhook_handler::route_for_topic;
use serde_json::Value;

use super::DemoError;
use super::observer::{Observation, Observer};
use super::transcript::{Line, QUEUE, Transcript};
use crate::local::LocalWorld;

/// No scene takes more steps than this.
const MAX_STEPS: usize = 500;
/// The interval of the reconciliation runs, as the template sets it.
const RECONCILIATION_INTERVAL: Duration = Duration::from_secs(300);

const CLEENG: &str = "Cleeng";
const SCHEDULE: &str = "schedule";

/// The world, and the text about it.
pub(super) struct Narration<'a> {
    pub(super) world: &'a LocalWorld,
    pub(super) transcript: Transcript<'a>,
    /// What the functions do.
    pub(super) observer: Observer<'a>,
    /// The next webhook of Cleeng never arrives.
    pub(super) loses_next_webhook: bool,
    /// How many runs of reconciliation there were.
    pub(super) reconciliation_runs: u32,
    entered_details: u32,
    last_run: Timestamp,
}

impl<'a> Narration<'a> {
    pub(super) fn new(world: &'a LocalWorld, transcript: Transcript<'a>) -> Self {
        Self {
            world,
            transcript,
            observer: Observer::new(world),
            loses_next_webhook: false,
            reconciliation_runs: 0,
            entered_details: 0,
            last_run: world.clock.now(),
        }
    }

    /// A number that tells what a customer enters now from everything that was entered before.
    pub(super) fn number_entered_details(&mut self) -> u32 {
        self.entered_details = self.entered_details.saturating_add(1);
        self.entered_details
    }

    /// A page's call: the answer, and what the connector did.
    pub(super) async fn call_frontend(
        &mut self,
        gateway: GatewayName,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<(Value, Observation), DemoError> {
        let (status, answer) = self.world.call_frontend(gateway, path, token, body).await?;
        let mut seen = self.observer.observe();
        seen.details.push(format!("{:<8} POST  {:<58} {status}", "page", format!("/connectors/{gateway}/{path}")));
        Ok((answer, seen))
    }

    /// Lets everything happen that happens until then. The clock jumps to what is next: a webhook of Cleeng, a message that becomes visible
    /// again, or the first run of reconciliation that finds something due. The runs between, which would find nothing, are left out.
    pub(super) async fn run_until(&mut self, end: Timestamp) -> Result<(), DemoError> {
        for _ in 0..MAX_STEPS {
            self.run_due_work().await?;
            let next_run = self.next_run();
            let Some(next) = self.world.next_event().into_iter().chain(next_run).min().filter(|next| *next <= end) else {
                self.world.clock.advance_to(end);
                return Ok(());
            };
            self.world.clock.advance_to(next);
            self.transcript.show_progress(next)?;
            if next_run.is_some_and(|at| at <= next) {
                self.last_run = next;
                self.run_reconciliation().await?;
            }
        }
        Err(DemoError::Inconsistent("the scenario does not end"))
    }

    /// The first run on the schedule that finds something due.
    fn next_run(&self) -> Option<Timestamp> {
        let earliest = self.world.functions.next_due()?.max(self.last_run.after(Duration::from_millis(1))).millis();
        let interval = i64::try_from(RECONCILIATION_INTERVAL.as_millis()).unwrap_or(i64::MAX);
        let past = earliest.rem_euclid(interval);
        let wait = if past == 0 { 0 } else { interval.saturating_sub(past) };
        Some(Timestamp::from_millis(earliest.saturating_add(wait)))
    }

    /// Webhooks, messages and notifications, until nothing is left to be done now.
    async fn run_due_work(&mut self) -> Result<(), DemoError> {
        for _ in 0..MAX_STEPS {
            let happened = self.deliver_messages(QUEUE).await? | self.post_due_webhooks().await? | self.post_notifications().await?;
            if !happened {
                return Ok(());
            }
        }
        Err(DemoError::Inconsistent("the queues never become empty"))
    }

    async fn post_due_webhooks(&mut self) -> Result<bool, DemoError> {
        let due = self.world.due_webhooks();
        for webhook in &due {
            let function = route_for_topic(webhook.topic);
            let mut line = Line::new(self.world.clock.now(), CLEENG, describe(&function), "");
            if std::mem::take(&mut self.loses_next_webhook) {
                "the webhook is LOST".clone_into(&mut line.result);
                self.transcript.tell(line);
                continue;
            }
            let status = self.world.post_webhook(webhook).await?;
            line.result = format!("answered {status}");
            line.background = status == 200;
            line.details.push(format!("{CLEENG:<8} POST  {:<58} {status}", webhook.topic.as_str()));
            self.transcript.tell(line);
            self.deliver_messages(CLEENG).await?;
        }
        Ok(!due.is_empty())
    }

    async fn deliver_messages(&mut self, cause: &str) -> Result<bool, DemoError> {
        let mut any = false;
        while let Some(message) = self.world.functions.queues.receive() {
            any = true;
            let functions = &self.world.functions;
            // The message of a function that crashes stays in the queue.
            let crashed = functions.crash.run(functions.deliver_message(&message)).await.is_none();
            let seen = self.observer.observe();
            let who = if message.receive_count > 1 { QUEUE } else { cause };
            let mut line = Line::new(self.world.clock.now(), who, describe(&message.function), seen.result);
            if crashed {
                "the function CRASHES".clone_into(&mut line.result);
            }
            line.background = !(seen.writes || seen.parked || crashed);
            (line.steps, line.details, line.reads, line.waits) = (seen.steps, seen.details, seen.reads, seen.deferred);
            self.transcript.tell(line);
        }
        Ok(any)
    }

    /// The gateways process what they acknowledged, and notify.
    async fn post_notifications(&mut self) -> Result<bool, DemoError> {
        let mut any = false;
        for simulator in self.world.simulated_gateways() {
            simulator.process();
            let gateway = simulator.gateway_name().as_str();
            for status in self.world.post_notifications(simulator.as_ref()).await? {
                any = true;
                let mut line = Line::new(self.world.clock.now(), gateway, "notification", format!("answered {status}"));
                line.background = status == 200;
                self.transcript.tell(line);
            }
            // What the check of a signature reads belongs to no delivery.
            self.observer.observe();
            self.deliver_messages(gateway).await?;
        }
        Ok(any)
    }

    async fn run_reconciliation(&mut self) -> Result<(), DemoError> {
        self.reconciliation_runs = self.reconciliation_runs.saturating_add(1);
        let report = self.world.functions.run_reconciliation().await;
        let seen = self.observer.observe();
        let did = [("recovered", "event recovered"), ("finished", "purchase ended"), ("released", "released")];
        let did: Vec<&str> =
            did.into_iter().filter(|(name, _)| report.get(name).and_then(Value::as_u64) > Some(0)).map(|(_, did)| did).collect();
        let mut line = Line::new(self.world.clock.now(), SCHEDULE, "reconciliation", "");
        let recovered = report.get("recovered").and_then(Value::as_u64) > Some(0);
        line.background = !(recovered || seen.writes || seen.parked);
        line.result = if line.background { "nothing to do".to_owned() } else { did.join(", ") };
        (line.steps, line.reads) = (seen.steps, seen.reads);
        if !line.background {
            line.details = seen.details;
        }
        self.transcript.tell(line);
        self.deliver_messages(SCHEDULE).await?;
        Ok(())
    }
}

/// What a function is asked to do.
fn describe(function: &str) -> &str {
    match function {
        "subscription-ready-for-payment-authorisation" => "authorise the renewal",
        "subscription-ready-for-payment-capture" => "capture the renewal",
        "subscription-ready-for-termination" => "end the subscription",
        "payment-details-deactivated" => "release the old details",
        "refund-payment" => "refund the payment",
        "capture-payment" => "capture the purchase",
        "gateway-notification" => "notification",
        other => other,
    }
}
