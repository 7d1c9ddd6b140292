//! The local world of a campaign, and the passing of time in it.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use connector::clock::Clock as _;
use sandbox::local::{Addresses, LocalWorld};
use sandbox::simulators::cleeng::{SentWebhook, SubscriberIds};
use sandbox::simulators::simulated_gateway::{NotificationRequest, SimulatedGateway};
use sandbox::testkit::fixtures::{OFFER, START, id};

use crate::proxy::{self, FaultDraw};

/// The interval of reconciliation runs.
const STEP: Duration = Duration::from_secs(15 * 60);
/// A webhook or notification that is not answered 200 is sent again so often.
const MAX_SENDS: u32 = 200;

/// A local world, and what was sent to it and not accepted yet.
pub(crate) struct CampaignWorld {
    pub(crate) local: LocalWorld,
    webhooks: Vec<(SentWebhook, u32)>,
    notifications: Vec<(Arc<dyn SimulatedGateway>, NotificationRequest, u32)>,
}

impl CampaignWorld {
    /// Opens it. With `faults` there is a proxy in front of every upstream.
    ///
    /// # Errors
    /// If a port cannot be bound.
    pub(crate) async fn open(faults: Option<&FaultDraw>) -> Result<Self, Box<dyn Error>> {
        let addresses = Addresses::ephemeral(Ipv4Addr::LOCALHOST.into());
        let local = LocalWorld::open_behind(START, addresses, async |url| match faults {
            Some(draw) => proxy::start(&url, draw.clone()).await,
            None => Ok(url),
        })
        .await?;
        Ok(Self { local, webhooks: Vec::new(), notifications: Vec::new() })
    }

    /// A subscriber of every payment method, each due in a week.
    pub(crate) fn add_subscribers(&self) -> Vec<SubscriberIds> {
        let due = self.local.clock.now().after(Duration::from_secs(7 * 86_400));
        let mut added = Vec::new();
        for fixture in &self.local.gateways {
            for method in [fixture.method, fixture.capture_only_method] {
                let token = fixture.simulator.add_stored_details(&format!("shopper-{method}"));
                added.extend(self.local.cleeng.new_subscriber(&id(OFFER), &id(method), &token, due));
            }
        }
        added
    }

    /// Time passes, and everything that is due happens.
    ///
    /// # Errors
    /// If a door gives no answer.
    pub(crate) async fn pass(&mut self, time: Duration) -> Result<(), Box<dyn Error>> {
        let end = self.local.clock.now().after(time);
        while self.local.clock.now() < end {
            let step = self.local.clock.now().after(STEP);
            let next = self.local.next_event().map_or(step, |next| next.min(step));
            self.local.clock.advance_to(next.max(self.local.clock.now().after(Duration::from_secs(1))).min(end));
            self.work().await?;
            if next >= step {
                self.local.functions.run_reconciliation().await;
            }
        }
        Ok(())
    }

    async fn work(&mut self) -> Result<(), Box<dyn Error>> {
        self.webhooks.extend(self.local.due_webhooks().into_iter().map(|webhook| (webhook, 0)));
        for (webhook, sends) in std::mem::take(&mut self.webhooks) {
            if self.local.post_webhook(&webhook).await? != 200 && sends < MAX_SENDS {
                self.webhooks.push((webhook, sends + 1));
            }
        }
        while let Some(message) = self.local.functions.queues.receive() {
            self.local.functions.deliver_message(&message).await;
        }
        for simulator in self.local.simulated_gateways() {
            simulator.process();
            let sent = simulator.take_notifications().into_iter();
            self.notifications.extend(sent.map(|notification| (Arc::clone(&simulator), notification, 0)));
        }
        for (simulator, notification, sends) in std::mem::take(&mut self.notifications) {
            if self.local.post_notification(simulator.as_ref(), &notification).await? != 200 && sends < MAX_SENDS {
                self.notifications.push((simulator, notification, sends + 1));
            }
        }
        Ok(())
    }

    /// What was sent and never accepted.
    pub(crate) fn unaccepted(&self) -> usize {
        self.webhooks.len() + self.notifications.len()
    }
}
