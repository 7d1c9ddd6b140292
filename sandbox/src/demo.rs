//! `cargo run`: a subscriber's life, every call of it, and the balance of both sides.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use connector::cleeng::SubscriptionStatus;
use connector::clock::Clock;
use connector::metrics::Metric;

use crate::books::disagreements;
use crate::cleeng::Subscriber;
use crate::local::{Addresses, LocalWorld, StartError};
use crate::peer::Call;
use crate::stage::{METHOD, OFFER, START, id};

/// No life of one subscriber takes more steps than this.
const MAX_STEPS: usize = 500;

/// Why the demo did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The world did not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing can be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// The sandbox contradicts itself.
    #[error("the sandbox is broken: {0}")]
    Broken(&'static str),
}

/// Plays and prints. Tells whether both sides agree at the end.
///
/// # Errors
/// [`DemoError`].
pub async fn play(out: &mut impl Write) -> Result<bool, DemoError> {
    let world = LocalWorld::open(START, Addresses::free(Ipv4Addr::LOCALHOST.into())).await?;
    writeln!(out, "Cleeng at {}, Adyen at {}, the connector at {}", world.cleeng_url(), world.adyen_url(), world.connector_url())?;
    writeln!(out, "(simulated, on this machine only; time is virtual)\n")?;
    let mut play = Play::new(&world, out)?;
    play.live().await?;
    balance(&world, out)
}

struct Play<'a, W> {
    world: &'a LocalWorld,
    out: &'a mut W,
    subscriber: Subscriber,
    stored: String,
    act: u32,
    seen: usize,
}

impl<'a, W: Write> Play<'a, W> {
    fn new(world: &'a LocalWorld, out: &'a mut W) -> Result<Self, DemoError> {
        let stored = world.adyen.store_method("shopper-1");
        let due = world.clock.now().after(Duration::from_secs(7 * 86_400));
        let subscriber = world.cleeng.new_subscriber(&id(OFFER), &id(METHOD), &format!("{stored}:shopper-1"), due);
        let subscriber = subscriber.ok_or(DemoError::Broken("its offer is unknown"))?;
        Ok(Self { world, out, subscriber, stored, act: 0, seen: 0 })
    }

    async fn live(&mut self) -> Result<(), DemoError> {
        writeln!(self.out, "{:<20}  {:<10}  {:<56}  result", "virtual time", "who", "what")?;
        for _ in 0..MAX_STEPS {
            self.next_act()?;
            let Some(next) = self.world.next_event() else { return Ok(()) };
            self.world.clock.advance_to(next);
            self.webhooks().await?;
            self.messages().await?;
            // Adyen does what it acknowledged.
            self.world.adyen.process();
        }
        Err(DemoError::Broken("its subscriber never comes to an end"))
    }

    /// The first renewal goes well, the second needs a second attempt, the third never succeeds.
    fn next_act(&mut self) -> Result<(), DemoError> {
        let subscription = self.world.cleeng.subscription(&self.subscriber.subscription);
        let subscription = subscription.ok_or(DemoError::Broken("its subscription is gone"))?;
        let act = subscription.completed.saturating_add(1);
        if self.act == act || subscription.status != SubscriptionStatus::Active {
            return Ok(());
        }
        self.act = act;
        let title = match act {
            1 => "first renewal: it goes well",
            2 => {
                self.world.adyen.refuse_next(&self.stored, "12");
                "second renewal: not enough balance at the first attempt, then enough"
            }
            _ => {
                self.world.adyen.refuse_always(&self.stored, "2");
                "third renewal: the bank refuses every attempt"
            }
        };
        writeln!(self.out, "\n-- {title}")?;
        Ok(())
    }

    async fn webhooks(&mut self) -> Result<(), DemoError> {
        for webhook in self.world.due_webhooks() {
            let status = self.world.post(&webhook).await.ok();
            self.row("Cleeng", webhook.topic.as_str(), &shown(status))?;
        }
        Ok(())
    }

    async fn messages(&mut self) -> Result<(), DemoError> {
        while let Some(message) = self.world.functions.queues.receive() {
            let done = self.world.functions.work(&message).await;
            self.calls()?;
            let what = format!("{} delivery {}", connector::lambda::http_door::route_of(message.topic), message.receives);
            let last = |metric| self.world.functions.metrics.last(metric);
            let result = if done { last(Metric::Settled) } else { last(Metric::Deferred).map(|reason| format!("comes back: {reason}")) };
            self.row("queue", &what, &result.unwrap_or_default())?;
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
        writeln!(self.out, "{:<20}  {who:<10}  {what:<56}  {result}", time.to_rfc3339())?;
        Ok(())
    }
}

fn shown(status: Option<u16>) -> String {
    status.map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}

fn balance(world: &LocalWorld, out: &mut impl Write) -> Result<bool, DemoError> {
    writeln!(out, "\nThe books")?;
    writeln!(
        out,
        "{:<12}  {:<40}  {:>10}  {:<12}  {:<12}  taken at the gateway",
        "payment", "at the gateway", "amount", "Cleeng", "gateway"
    )?;
    for payment in world.cleeng.payments() {
        let there = world.adyen.payment(payment.external_payment_id.as_str());
        let (state, captured) = there.map_or_else(|| ("-".to_owned(), 0), |there| (format!("{:?}", there.state), there.captured));
        writeln!(
            out,
            "{:<12}  {:<40}  {:>10}  {:<12}  {state:<12}  {captured}",
            payment.id.to_string(),
            payment.external_payment_id.to_string(),
            payment.total.to_string(),
            format!("{:?}", payment.status),
        )?;
    }
    let booked = world.cleeng.transactions().iter().fold(0_i64, |sum, transaction| sum.saturating_add(transaction.amount.minor));
    let taken = world.adyen.total_captured("USD").saturating_sub(world.adyen.total_refunded("USD"));
    writeln!(
        out,
        "Cleeng booked {booked} minor units of USD, the gateway took {taken}; {} messages are left",
        world.functions.queues.len()
    )?;
    let found = disagreements(&world.cleeng, &[world.adyen.as_ref()]);
    for line in &found {
        writeln!(out, "DISAGREEMENT: {line}")?;
    }
    let good = found.is_empty() && booked == taken && world.functions.queues.is_empty();
    writeln!(out, "{}", if good { "Both sides agree." } else { "The two sides do NOT agree." })?;
    Ok(good)
}
