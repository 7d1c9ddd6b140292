//! Late results: what a gateway says after everybody has gone on, for every gateway and both ways of billing, with the effects checked at both
//! ledgers.

mod captures;
mod give_backs;
mod lapses;
mod losses;
mod single_purchases;
mod successes;
mod terminations;
mod undecided;
mod unrequested;

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::Clock as _;
use connector::flow::{BillingMode, Disposition};
use connector::gateway::{CaptureRequest, GatewayName, GatewayText, IdempotencyKey, OperationKind, Reference};
use connector::ids::ExternalPaymentId;
use connector::reason::CompletionReason;
use connector::secret::SecretString;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::LedgerEntry;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::every_gateway::scenarios::approved_entries;

pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3_600);
const MODES: [BillingMode; 2] = [BillingMode::AuthoriseThenCapture, BillingMode::CaptureOnly];

/// A renewal at one gateway, at the time of its first event.
pub(super) struct Renewal {
    pub(super) env: TestEnvironment,
    pub(super) subscriber: TestSubscriber,
    pub(super) gateway: GatewayName,
    pub(super) billing: BillingMode,
}

impl Renewal {
    pub(super) fn new(gateway: GatewayName, billing: BillingMode) -> Self {
        let env = TestEnvironment::default();
        let fixture = env.gateway(gateway).clone();
        let (method, ahead) = match billing {
            BillingMode::AuthoriseThenCapture => (fixture.method, 72 * HOUR),
            BillingMode::CaptureOnly => (fixture.capture_only_method, Duration::ZERO),
        };
        let subscriber = env.subscriber(method);
        env.clock.advance_to(subscriber.due.before(ahead));
        Self { env, subscriber, gateway, billing }
    }

    /// Every gateway in both ways of billing.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        GatewayName::ALL.iter().flat_map(|gateway| MODES.map(|billing| Self::new(*gateway, billing)))
    }

    /// One that is authorised, when the capture is due.
    pub(super) async fn authorised_and_due(gateway: GatewayName) -> Self {
        let renewal = Self::new(gateway, BillingMode::AuthoriseThenCapture);
        assert_eq!(renewal.env.run_event(&renewal.attempt_now()).await, renewal.completion());
        renewal.env.clock.advance_to(renewal.subscriber.due);
        renewal
    }

    /// The next call that asks the gateway for money meets this fault.
    pub(super) fn break_next_payment(&self, fault: Fault) {
        let name = self.env.gateway(self.gateway).simulator.name();
        self.env.network.inject(fault, move |peer, request| {
            peer == name && request.method == connector::http::Method::POST && !request.path.contains("oauth2")
        });
    }

    pub(super) fn name(&self) -> String {
        format!("{} {:?}", self.gateway, self.billing)
    }

    pub(super) fn operation(&self) -> OperationKind {
        match self.billing {
            BillingMode::AuthoriseThenCapture => OperationKind::Authorise,
            BillingMode::CaptureOnly => OperationKind::Charge,
        }
    }

    /// The event that asks for the money of the period, as an attempt at this moment.
    pub(super) fn attempt_now(&self) -> SentWebhook {
        let topic = match self.billing {
            BillingMode::AuthoriseThenCapture => Topic::SubscriptionReadyForPaymentAuthorisation,
            BillingMode::CaptureOnly => Topic::SubscriptionReadyForPaymentCapture,
        };
        self.env.billing_event(topic, &self.subscriber, self.env.clock.now(), self.subscriber.due)
    }

    /// The status of a payment of the period that succeeded.
    pub(super) fn success(&self) -> PaymentStatus {
        match self.billing {
            BillingMode::AuthoriseThenCapture => PaymentStatus::Authorised,
            BillingMode::CaptureOnly => PaymentStatus::Captured,
        }
    }

    pub(super) fn completion(&self) -> Disposition {
        Disposition::Completed(match self.billing {
            BillingMode::AuthoriseThenCapture => CompletionReason::Authorised,
            BillingMode::CaptureOnly => CompletionReason::Captured,
        })
    }

    pub(super) fn ledger(&self) -> Vec<LedgerEntry> {
        self.env.gateway(self.gateway).simulator.ledger()
    }

    /// How many payments are held, or taken and kept.
    pub(super) fn kept(&self) -> usize {
        self.ledger().iter().filter(|entry| entry.holds_money()).count()
    }

    pub(super) fn id_of_first(&self) -> ExternalPaymentId {
        self.ledger()[0].external_payment_id.clone()
    }

    pub(super) fn statuses(&self) -> Vec<PaymentStatus> {
        self.env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
    }

    /// Time passes in steps, in which gateways decide and notify, and reconciliation runs.
    pub(super) async fn pass(&self, time: Duration) {
        let end = self.env.clock.now().after(time);
        while self.env.clock.now() < end {
            self.env.clock.advance_to(end.min(self.env.clock.now().after(7 * HOUR)));
            self.settle().await;
        }
    }

    /// Everything that can be settled now is.
    pub(super) async fn settle(&self) {
        self.env.run_until_idle().await;
        self.env.run_reconciliation().await;
        self.env.run_until_idle().await;
    }

    pub(super) fn assert_balanced(&self) {
        assert_eq!(self.env.discrepancies(), Vec::<String>::new(), "{}", self.name());
    }
}

/// Somebody captures the only hold at the gateway, by hand.
pub(super) async fn capture_by_hand(env: &TestEnvironment, gateway: GatewayName) {
    let hold = approved_entries(env, gateway).remove(0);
    let salt = SecretString::new("somebody else's");
    let request = CaptureRequest {
        key: IdempotencyKey::derive(&salt, GatewayText(gateway.as_str()), OperationKind::Capture, "by hand", "1"),
        reference: Reference::parse(&hold.reference).unwrap(),
        external_payment_id: hold.authorisation_id,
        amount: hold.amount,
        authorised_at: None,
    };
    env.flow_context.gateways.get(gateway).unwrap().capture(&request).await.unwrap();
    env.process_gateways();
}
