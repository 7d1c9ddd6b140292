//! Lets time pass until the next event, delivers it, and prints a row for each webhook, each delivery and each call.

use std::io::Write;
use std::time::Duration;

use connector::clock::{Clock, Timestamp};
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use serde_json::Value;

use crate::local::LocalWorld;
use crate::local::demo::DemoError;
use crate::simulators::network::NetworkCall;

/// No scene takes more steps than this.
const MAX_STEPS: usize = 500;
/// The interval of reconciliation runs here; every five minutes would fill the table.
const RECONCILIATION_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// The table that is being written.
pub(super) struct Narration<'a, W> {
    pub(super) world: &'a LocalWorld,
    /// How many checks failed.
    pub(super) failed_checks: u32,
    out: &'a mut W,
    printed_calls: usize,
    next_reconciliation: Timestamp,
}

impl<'a, W: Write> Narration<'a, W> {
    pub(super) fn new(world: &'a LocalWorld, out: &'a mut W) -> Self {
        let next_reconciliation = world.clock.now().after(RECONCILIATION_INTERVAL);
        Self { world, failed_checks: 0, out, printed_calls: 0, next_reconciliation }
    }

    /// The title of a scene.
    pub(super) fn begin_scene(&mut self, title: &str) -> Result<(), DemoError> {
        Ok(writeln!(self.out, "\n-- {title}")?)
    }

    /// What has to be true after a scene.
    pub(super) fn check(&mut self, holds: bool, what: &str) -> Result<(), DemoError> {
        self.failed_checks = self.failed_checks.saturating_add(u32::from(!holds));
        Ok(writeln!(self.out, "   {}: {what}", if holds { "as expected" } else { "NOT AS EXPECTED" })?)
    }

    /// A page's call, and what it leads to at once.
    pub(super) async fn call_frontend(&mut self, gateway: GatewayName, path: &str, token: &str, body: &Value) -> Result<Value, DemoError> {
        let (status, answer) = self.world.call_frontend(gateway, path, token, body).await?;
        self.print_calls()?;
        self.print_row("page", &format!("POST /connectors/{gateway}/{path}"), &status.to_string())?;
        Ok(answer)
    }

    /// Lets everything happen that happens until then.
    pub(super) async fn run_until(&mut self, end: Timestamp) -> Result<(), DemoError> {
        for _ in 0..MAX_STEPS {
            self.run_due_work().await?;
            let next = self.world.next_event().into_iter().chain([self.next_reconciliation]).min().unwrap_or(end);
            if next > end {
                self.world.clock.advance_to(end);
                return Ok(());
            }
            self.world.clock.advance_to(next);
            if self.next_reconciliation <= next {
                self.next_reconciliation = next.after(RECONCILIATION_INTERVAL);
                self.run_reconciliation().await?;
            }
        }
        Err(DemoError::Inconsistent("the scenario does not end"))
    }

    /// Webhooks, messages and notifications, until nothing is left to be done now.
    async fn run_due_work(&mut self) -> Result<(), DemoError> {
        for _ in 0..MAX_STEPS {
            let happened = self.post_due_webhooks().await? | self.deliver_messages().await? | self.post_notifications().await?;
            if !happened {
                return Ok(());
            }
        }
        Err(DemoError::Inconsistent("the queues never become empty"))
    }

    async fn post_due_webhooks(&mut self) -> Result<bool, DemoError> {
        let due = self.world.due_webhooks();
        for webhook in &due {
            let status = self.world.post_webhook(webhook).await.ok();
            self.print_row("Cleeng", webhook.topic.as_str(), &status_text(status))?;
        }
        Ok(!due.is_empty())
    }

    async fn deliver_messages(&mut self) -> Result<bool, DemoError> {
        let mut any = false;
        while let Some(message) = self.world.functions.queues.receive() {
            any = true;
            let done = self.world.functions.deliver_message(&message).await;
            self.print_calls()?;
            let what = format!("{} delivery {}", message.function, message.receive_count);
            let last = |metric| self.world.functions.metrics.last(metric);
            let result = if done { last(Metric::Settled) } else { last(Metric::Deferred).map(|reason| format!("retry: {reason}")) };
            self.print_row("queue", &what, &result.unwrap_or_default())?;
        }
        Ok(any)
    }

    /// The gateways process what they acknowledged, and notify.
    async fn post_notifications(&mut self) -> Result<bool, DemoError> {
        let mut any = false;
        for simulator in self.world.simulated_gateways() {
            simulator.process();
            for status in self.world.post_notifications(simulator.as_ref()).await? {
                any = true;
                self.print_row(simulator.gateway_name().as_str(), "notification", &status.to_string())?;
            }
        }
        Ok(any)
    }

    async fn run_reconciliation(&mut self) -> Result<(), DemoError> {
        let report = self.world.functions.run_reconciliation().await;
        self.print_calls()?;
        if report.get("due").and_then(Value::as_u64) != Some(0) {
            self.print_row("schedule", "reconciliation", &report.to_string())?;
        }
        Ok(())
    }

    fn print_calls(&mut self) -> Result<(), DemoError> {
        for NetworkCall { server, method, path, status, .. } in self.world.calls_since(self.printed_calls) {
            self.printed_calls = self.printed_calls.saturating_add(1);
            self.print_row(&format!("  > {server}"), &format!("{method} {path}"), &status_text(status))?;
        }
        Ok(())
    }

    fn print_row(&mut self, who: &str, what: &str, result: &str) -> Result<(), DemoError> {
        let time = self.world.clock.now();
        Ok(writeln!(self.out, "{:<20}  {who:<10}  {what:<58}  {result}", time.to_rfc3339())?)
    }
}

fn status_text(status: Option<u16>) -> String {
    status.map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}
