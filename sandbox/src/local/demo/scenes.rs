//! The scenes of a scenario: the rows of Cleeng's connector checklist, and what goes wrong in practice.

use std::time::Duration;

use clap::ValueEnum;
use connector::cleeng::PaymentStatus;
use connector::clock::Clock;

use super::DemoError;
use super::customer::Customer;
use super::narration::Narration;
use crate::simulators::simulated_gateway::LedgerStatus;
use crate::testkit::gateway_fixtures::GatewayFixture;

/// As many declines as dunning has attempts.
const DECLINES_UNTIL_TERMINATION: u32 = 4;

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours.saturating_mul(3_600))
}

/// A scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// A first purchase.
    Purchase,
    /// A renewal, authorised and then captured.
    Renewal,
    /// A renewal that is declined at first.
    Decline,
    /// New payment details while a renewal is authorised.
    Details,
    /// A webhook that never arrives.
    LostWebhook,
    /// A function that crashes after a payment was made, before it is reported.
    Crash,
    /// Two purchases, refunded in part and in full.
    Refund,
    /// The bank reverses a payment.
    Chargeback,
    /// A checkout that the customer does not finish.
    Abandoned,
    /// A subscription that cannot be renewed.
    Termination,
    /// A renewal that is charged at once.
    CaptureOnly,
    /// New payment details at another gateway.
    Switch,
}

impl Scene {
    /// The heading: the row of the checklist where it is one, and what happens.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Purchase => "Initial purchase: the customer confirms with the bank or the wallet, the subscription starts",
            Self::Renewal => "Recurring, authorise and capture: authorised before the due date, captured on it",
            Self::Decline => "A decline: reported as rejected, the next attempt succeeds",
            Self::Details => "Update payment details: the authorisation with the old ones is released, the new ones pay",
            Self::LostWebhook => "A webhook gets lost: reconciliation notices and recovers it",
            Self::Crash => "A crash between the payment and its report: resumed where it stopped, the customer pays once",
            Self::Refund => "Refund: one purchase in part, another in full",
            Self::Chargeback => "Chargeback: the bank reverses the last renewal, Cleeng is told",
            Self::Abandoned => "Abandoned checkout: nothing stays open after the order expires",
            Self::Termination => "Termination: every attempt is declined, the subscription ends",
            Self::CaptureOnly => "Recurring, capture only: another customer, charged on the due date",
            Self::Switch => "Update payment details, two gateways: another customer leaves for the next gateway while authorised",
        }
    }
}

/// The customers of one gateway.
pub(super) struct Scenario<'n, 'w> {
    narration: &'n mut Narration<'w>,
    gateway: GatewayFixture,
    next_gateway: GatewayFixture,
    subscriber: Option<Customer>,
}

impl<'n, 'w> Scenario<'n, 'w> {
    pub(super) const fn new(narration: &'n mut Narration<'w>, gateway: GatewayFixture, next_gateway: GatewayFixture) -> Self {
        Self { narration, gateway, next_gateway, subscriber: None }
    }

    /// Plays a scene. If it needs a subscriber and there is none yet, the first purchase is played before it.
    pub(super) async fn play(&mut self, scene: Scene) -> Result<(), DemoError> {
        let needs_subscriber = !matches!(scene, Scene::Purchase | Scene::CaptureOnly | Scene::Switch);
        if needs_subscriber && self.subscriber.is_none() {
            self.play_scene(Scene::Purchase).await?;
        }
        self.play_scene(scene).await
    }

    /// Plays a scene and tells it, even if it does not get to its end.
    async fn play_scene(&mut self, scene: Scene) -> Result<(), DemoError> {
        let played = match scene {
            Scene::Purchase => self.purchase().await,
            Scene::CaptureOnly => self.capture_only().await,
            Scene::Switch => self.switch().await,
            _ => self.play_with_subscriber(scene).await,
        };
        self.expect(played.is_ok(), "the scene comes to its end");
        self.narration.transcript.end_scene(scene.title())?;
        played
    }

    async fn play_with_subscriber(&mut self, scene: Scene) -> Result<(), DemoError> {
        let subscriber = self.subscriber.take().ok_or(DemoError::Inconsistent("no subscriber"))?;
        match scene {
            Scene::Renewal => self.renew(&subscriber).await?,
            Scene::Decline => self.decline(&subscriber).await?,
            Scene::Details => self.details(&subscriber).await?,
            Scene::LostWebhook => self.lost_webhook(&subscriber).await?,
            Scene::Crash => self.crash(&subscriber).await?,
            Scene::Refund => self.refund(&subscriber).await?,
            Scene::Chargeback => self.chargeback(&subscriber).await?,
            Scene::Abandoned => self.abandoned(&subscriber).await?,
            Scene::Termination => self.termination(&subscriber).await?,
            Scene::Purchase | Scene::CaptureOnly | Scene::Switch => {}
        }
        self.subscriber = Some(subscriber);
        Ok(())
    }

    async fn purchase(&mut self) -> Result<(), DemoError> {
        let subscriber = Customer::new(self.narration, &self.gateway, self.gateway.method)?;
        let paid = subscriber.subscribe(self.narration).await?;
        self.expect(paid, "the order is paid, the subscription is active and can be renewed");
        self.subscriber = Some(subscriber);
        Ok(())
    }

    fn expect(&mut self, holds: bool, what: &'static str) {
        self.narration.transcript.expect(holds, what);
    }

    fn count(&self, customer: &Customer, status: &PaymentStatus) -> usize {
        customer.payments(self.narration).iter().filter(|payment| payment.status == *status).count()
    }

    /// Lets time pass until the next period must be paid, and expects that it is, by one payment that the gateway took.
    async fn renew(&mut self, customer: &Customer) -> Result<(), DemoError> {
        let due = customer.due_date(self.narration)?;
        let captured = self.count(customer, &PaymentStatus::Captured);
        self.narration.run_until(due.after(hours(3))).await?;
        let paid_once = self.count(customer, &PaymentStatus::Captured) == captured.saturating_add(1);
        let taken = customer.payments(self.narration).last().is_some_and(|payment| customer.took(payment));
        self.expect(paid_once && taken && customer.due_date(self.narration)? > due, "the next period is paid, once");
        Ok(())
    }

    async fn decline(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        let rejected = self.count(subscriber, &PaymentStatus::Rejected);
        subscriber.decline_next(self.narration, 1)?;
        self.renew(subscriber).await?;
        let one_more = self.count(subscriber, &PaymentStatus::Rejected) == rejected.saturating_add(1);
        self.expect(one_more, "one payment is rejected");
        Ok(())
    }

    /// Lets time pass until the next renewal is authorised.
    async fn authorise(&mut self, customer: &Customer) -> Result<(), DemoError> {
        let due = customer.due_date(self.narration)?;
        self.narration.run_until(due.before(hours(60))).await?;
        let authorised = self.count(customer, &PaymentStatus::Authorised) == 1;
        self.expect(authorised, "the renewal is authorised");
        Ok(())
    }

    async fn details(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        self.authorise(subscriber).await?;
        let old = subscriber.stored_token(self.narration)?;
        subscriber.store_details(self.narration).await?;
        self.renew(subscriber).await?;
        let released = self.count(subscriber, &PaymentStatus::Cancelled) == 1;
        let replaced = old != subscriber.stored_token(self.narration)?;
        self.expect(released && replaced, "the authorisation with the old details is released, the new ones are in use");
        Ok(())
    }

    async fn lost_webhook(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        self.narration.loses_next_webhook = true;
        self.renew(subscriber).await
    }

    async fn crash(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        self.narration.world.functions.crash.arm();
        self.renew(subscriber).await?;
        let crashed = !self.narration.world.functions.crash.is_armed();
        self.expect(crashed, "the function crashed before the report");
        Ok(())
    }

    async fn refund(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        for (number, minor) in [("1", Some(400)), ("2", None)] {
            let (order, paid) = subscriber.buy_pass(self.narration).await?;
            let refunded = subscriber.refund(self.narration, &order, minor, number).await?;
            self.expect(paid && refunded, "the purchase is paid, and the requested amount is refunded");
        }
        Ok(())
    }

    async fn chargeback(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        let captured = subscriber.payments(self.narration).into_iter().rfind(|payment| payment.status == PaymentStatus::Captured);
        let last = captured.ok_or(DemoError::Inconsistent("no payment to charge back"))?;
        subscriber.simulator.charge_back(&last.external_payment_id);
        subscriber.run_follow_ups(self.narration).await?;
        let reported = subscriber.payments(self.narration).into_iter().find(|payment| payment.id == last.id);
        let refunded = reported.is_some_and(|payment| payment.status == PaymentStatus::Refunded);
        self.expect(refunded, "Cleeng records the payment as refunded");
        Ok(())
    }

    async fn abandoned(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        let order = subscriber.abandon_checkout(self.narration).await?;
        self.narration.run_until(self.narration.world.clock.now().after(hours(40))).await?;
        let known = subscriber.payments(self.narration).iter().any(|payment| payment.order == order);
        let held = subscriber.simulator.ledger().iter().any(|entry| entry.status == LedgerStatus::Authorised && entry.holds_money());
        self.expect(!known && !held, "no authorisation is left, and nothing was reported to Cleeng");
        Ok(())
    }

    async fn termination(&mut self, subscriber: &Customer) -> Result<(), DemoError> {
        subscriber.decline_next(self.narration, DECLINES_UNTIL_TERMINATION)?;
        let due = subscriber.due_date(self.narration)?;
        self.narration.run_until(due.after(hours(5))).await?;
        let ended = subscriber.subscription(self.narration)?.terminated_as.is_some();
        self.expect(ended, "the subscription is terminated");
        Ok(())
    }

    async fn capture_only(&mut self) -> Result<(), DemoError> {
        let customer = Customer::new(self.narration, &self.gateway, self.gateway.capture_only_method)?;
        let paid = customer.subscribe(self.narration).await?;
        self.expect(paid, "the order is paid, and the subscription can be renewed");
        self.renew(&customer).await?;
        customer.leave(self.narration)
    }

    async fn switch(&mut self) -> Result<(), DemoError> {
        let old = Customer::new(self.narration, &self.gateway, self.gateway.method)?;
        old.subscribe(self.narration).await?;
        self.authorise(&old).await?;
        let new = old.at(&self.next_gateway);
        new.store_details(self.narration).await?;
        self.renew(&new).await?;
        let statuses: Vec<_> = new.payments(self.narration).into_iter().map(|payment| payment.status).collect();
        let switched = statuses == [PaymentStatus::Captured, PaymentStatus::Cancelled, PaymentStatus::Captured];
        self.expect(switched, "the authorisation at the old gateway is released, the next period is paid through the new one");
        new.leave(self.narration)
    }
}
