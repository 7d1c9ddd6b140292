//! A Cleeng with one subscriber, and a client for it.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::client::{CleengEnvironment, CleengSettings, CoreApi};
use connector::cleeng::{Cleeng, NewOrder, NewPayment, NewPaymentStatus, Order, Payment, PaymentOperation, PaymentSource};
use connector::clock::{Clock, Timestamp};
use connector::ids::{ExternalPaymentId, OfferId, PaymentMethodId, PublisherId};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::simulators::cleeng::{CleengSimulator, Cycle, DunningSettings, PublisherAccount, SubscriberIds};
use sandbox::simulators::network::{FaultyNetwork, InProcessTransport};
use sandbox::simulators::virtual_clock::VirtualClock;

pub(crate) const TOKEN: &str = "publisher-token-of-the-sandbox-0123456789abcdef0";
pub(crate) const SECRET: &str = "webhook-secret-of-32-bytes-01234567";
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct CleengHarness {
    pub(crate) clock: VirtualClock,
    pub(crate) cleeng: CleengSimulator,
    pub(crate) network: FaultyNetwork,
    pub(crate) subscriber: SubscriberIds,
    pub(crate) due: Timestamp,
}

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

pub(crate) fn method() -> PaymentMethodId {
    PaymentMethodId::new("123123123").unwrap()
}

pub(crate) fn offer() -> OfferId {
    OfferId::new("S123123123_US").unwrap()
}

pub(crate) fn external(text: &str) -> ExternalPaymentId {
    ExternalPaymentId::new(text).unwrap()
}

impl CleengHarness {
    pub(crate) fn new() -> Self {
        Self::with_dunning(DunningSettings::default())
    }

    /// A month before a renewal.
    pub(crate) fn with_dunning(dunning: DunningSettings) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::parse_rfc3339("2026-01-15T12:00:00Z").unwrap());
        let publisher =
            PublisherAccount { id: PublisherId::new("558186818").unwrap(), token: TOKEN.to_owned(), webhook_secret: SECRET.to_owned() };
        let cleeng = CleengSimulator::new(publisher, clock.clone());
        cleeng.add_method(method(), "adyen", dunning);
        cleeng.add_offer(offer(), usd(999), Cycle::MONTHLY);
        let due = Cycle::MONTHLY.after(clock.now());
        let subscriber = cleeng.new_subscriber(&offer(), &method(), "tok_en", due).unwrap();
        Self { clock, cleeng, network: FaultyNetwork::default(), subscriber, due }
    }

    /// Two days before the renewal, when it may be paid.
    pub(crate) fn at_renewal() -> Self {
        let harness = Self::new();
        harness.clock.advance_to(harness.due.before(2 * DAY));
        harness
    }

    pub(crate) fn settings() -> CleengSettings {
        CleengSettings { api_url: "http://cleeng.test/3.1".to_owned(), ..CleengSettings::defaults(CleengEnvironment::Sandbox) }
    }

    pub(crate) fn api(&self) -> CoreApi {
        self.api_with(Self::settings(), &[TOKEN])
    }

    pub(crate) fn api_with(&self, settings: CleengSettings, tokens: &[&str]) -> CoreApi {
        let transport = InProcessTransport::new(self.network.clone()).with_server("http://cleeng.test", Arc::new(self.cleeng.clone()));
        let tokens = tokens.iter().map(|token| SecretString::new(*token)).collect();
        CoreApi::new(settings, tokens, Arc::new(transport)).unwrap()
    }

    pub(crate) fn new_order(&self) -> NewOrder {
        NewOrder {
            customer: self.subscriber.customer.clone(),
            offer: offer(),
            currency: usd(0).currency,
            country: "US".to_owned(),
            payment_method: method(),
            subscription: self.subscriber.subscription.clone(),
        }
    }

    pub(crate) fn new_payment(&self, order: &Order, status: NewPaymentStatus, external_id: &str) -> NewPayment {
        NewPayment {
            order: order.id.clone(),
            status,
            operation: PaymentOperation::Recurring,
            source: PaymentSource::Existing(self.subscriber.details.clone()),
            external_payment_id: external(external_id),
            subscription: Some(self.subscriber.subscription.clone()),
        }
    }

    /// Order and payment of this status.
    pub(crate) async fn pay(&self, status: NewPaymentStatus, external_id: &str) -> Payment {
        let api = self.api();
        let order = api.create_order(&self.new_order()).await.unwrap();
        api.create_payment(&self.new_payment(&order, status, external_id)).await.unwrap()
    }

    pub(crate) fn violated_rules(&self) -> Vec<&'static str> {
        self.cleeng.violations().into_iter().map(|violation| violation.rule).collect()
    }
}

pub(crate) fn rejected() -> NewPaymentStatus {
    NewPaymentStatus::Rejected { reason: "soft: refused".to_owned() }
}
