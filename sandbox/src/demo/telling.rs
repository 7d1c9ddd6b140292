//! Lets time pass until something happens, delivers it, and tells it: a row for each webhook, each delivery, each call.

use std::io::Write;
use std::time::Duration;

use connector::clock::{Clock, Timestamp};
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use serde_json::Value;

use super::DemoError;
use crate::local::LocalWorld;
use crate::peer::Call;

/// No scene takes more steps than this.
const MAX_STEPS: usize = 500;
/// How often reconciliation's schedule strikes here; every five minutes would fill the table.
const ROUNDS: Duration = Duration::from_secs(6 * 3600);

/// The table that is being written.
pub(super) struct Telling<'a, W> {
    pub(super) world: &'a LocalWorld,
    /// How many scenes went another way than they should.
    pub(super) unexpected: u32,
    out: &'a mut W,
    seen: usize,
    next_round: Timestamp,
}

impl<'a, W: Write> Telling<'a, W> {
    pub(super) fn new(world: &'a LocalWorld, out: &'a mut W) -> Self {
        let next_round = world.clock.now().after(ROUNDS);
        Self { world, unexpected: 0, out, seen: 0, next_round }
    }

    /// The title of a scene.
    pub(super) fn scene(&mut self, title: &str) -> Result<(), DemoError> {
        Ok(writeln!(self.out, "\n-- {title}")?)
    }

    /// What has to be true after a scene.
    pub(super) fn expect(&mut self, holds: bool, what: &str) -> Result<(), DemoError> {
        self.unexpected = self.unexpected.saturating_add(u32::from(!holds));
        Ok(writeln!(self.out, "   {}: {what}", if holds { "so it is" } else { "NOT AS EXPECTED" })?)
    }

    /// A page's call, and what it leads to at once.
    pub(super) async fn call(&mut self, gateway: GatewayName, path: &str, token: &str, body: &Value) -> Result<Value, DemoError> {
        let (status, answer) = self.world.call(gateway, path, token, body).await?;
        self.calls()?;
        self.row("page", &format!("POST /connectors/{gateway}/{path}"), &status.to_string())?;
        Ok(answer)
    }

    /// Lets everything happen that happens until then.
    pub(super) async fn until(&mut self, end: Timestamp) -> Result<(), DemoError> {
        for _ in 0..MAX_STEPS {
            self.everything_now().await?;
            let next = self.world.next_event().into_iter().chain([self.next_round]).min().unwrap_or(end);
            if next > end {
                self.world.clock.advance_to(end);
                return Ok(());
            }
            self.world.clock.advance_to(next);
            if self.next_round <= next {
                self.next_round = next.after(ROUNDS);
                self.round().await?;
            }
        }
        Err(DemoError::Broken("something never comes to an end"))
    }

    /// Webhooks, messages and notifications, until nothing is left to be done now.
    async fn everything_now(&mut self) -> Result<(), DemoError> {
        for _ in 0..MAX_STEPS {
            let happened = self.webhooks().await? | self.messages().await? | self.notifications().await?;
            if !happened {
                return Ok(());
            }
        }
        Err(DemoError::Broken("there is always something to be done"))
    }

    async fn webhooks(&mut self) -> Result<bool, DemoError> {
        let due = self.world.due_webhooks();
        for webhook in &due {
            let status = self.world.post(webhook).await.ok();
            self.row("Cleeng", webhook.topic.as_str(), &shown(status))?;
        }
        Ok(!due.is_empty())
    }

    async fn messages(&mut self) -> Result<bool, DemoError> {
        let mut any = false;
        while let Some(message) = self.world.functions.queues.receive() {
            any = true;
            let done = self.world.functions.work(&message).await;
            self.calls()?;
            let what = format!("{} delivery {}", message.function, message.receives);
            let last = |metric| self.world.functions.metrics.last(metric);
            let result = if done { last(Metric::Settled) } else { last(Metric::Deferred).map(|reason| format!("comes back: {reason}")) };
            self.row("queue", &what, &result.unwrap_or_default())?;
        }
        Ok(any)
    }

    /// The gateways do what they acknowledged, and tell it.
    async fn notifications(&mut self) -> Result<bool, DemoError> {
        let mut any = false;
        for house in self.world.houses() {
            house.process();
            for status in self.world.notify(house.as_ref()).await? {
                any = true;
                self.row(house.gateway().as_str(), "notification", &status.to_string())?;
            }
        }
        Ok(any)
    }

    async fn round(&mut self) -> Result<(), DemoError> {
        let tally = self.world.functions.go_round().await;
        self.calls()?;
        if tally.get("due").and_then(Value::as_u64) != Some(0) {
            self.row("schedule", "reconciliation", &tally.to_string())?;
        }
        Ok(())
    }

    fn calls(&mut self) -> Result<(), DemoError> {
        for Call { peer, method, path, status, .. } in self.world.calls_since(self.seen) {
            self.seen = self.seen.saturating_add(1);
            self.row(&format!("  > {peer}"), &format!("{method} {path}"), &shown(status))?;
        }
        Ok(())
    }

    fn row(&mut self, who: &str, what: &str, result: &str) -> Result<(), DemoError> {
        let time = self.world.clock.now();
        Ok(writeln!(self.out, "{:<20}  {who:<10}  {what:<58}  {result}", time.to_rfc3339())?)
    }
}

fn shown(status: Option<u16>) -> String {
    status.map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}
