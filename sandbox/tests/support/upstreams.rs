//! Cleeng and Adyen on loopback, with the subscriber of `events/`, as upstreams of the binaries and to read their effects.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use connector::cleeng::{PaymentOperation, PaymentStatus};
use connector::clock::{Clock as _, SystemClock, Timestamp};
use connector::money::{Currency, Money};
use sandbox::simulators::adyen::{AdyenConfig, AdyenSimulator, Payment, PaymentState};
use sandbox::simulators::cleeng::{CleengSimulator, PaidPurchase, PublisherAccount, SubscriberIds};
use sandbox::simulators::network::{Fault, FaultyNetwork, RunningServer, ServerRequest, serve};
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::balance_check::discrepancies;
use sandbox::testkit::fixtures;
use sandbox::testkit::fixtures::{PUBLISHER, SAMPLE_OFFER, WEBHOOK_SECRET, id};
use sandbox::testkit::gateway_fixtures::{ADYEN_HMAC_KEY, ADYEN_METHOD};

/// The merchant account of the tests.
pub(crate) const MERCHANT_ACCOUNT: &str = "SandboxMerchant";

/// The served peers.
pub(crate) struct Upstreams {
    /// What happened on the way to them.
    pub(crate) network: FaultyNetwork,
    /// Cleeng.
    pub(crate) cleeng: CleengSimulator,
    /// Adyen.
    pub(crate) adyen: Arc<AdyenSimulator>,
    /// Their time; the binaries have the machine's.
    pub(crate) clock: VirtualClock,
    /// Cleeng's base URL as the settings want it.
    pub(crate) cleeng_url: String,
    /// The base URL of Cleeng's MediaStore.
    pub(crate) mediastore_url: String,
    /// Adyen's.
    pub(crate) adyen_url: String,
    _served: [RunningServer; 2],
}

/// An address of this machine; port 0 is any free one.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The end of the sample subscriber's paid period, as `events/` has it.
pub(crate) fn paid_until() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-07T19:55:41Z").unwrap()
}

impl Upstreams {
    /// Serves them at the time of the sample authorisation event; Cleeng at this port.
    pub(crate) async fn start(cleeng_port: u16) -> Self {
        Self::start_at(Timestamp::parse_rfc3339("2026-11-04T19:55:41Z").unwrap(), cleeng_port).await
    }

    /// Serves them at the time that the binaries have, with the order of the sample purchase.
    pub(crate) async fn start_now() -> Self {
        let peers = Self::start_at(SystemClock.now(), 0).await;
        assert!(peers.cleeng.insert_order(&id("123456789"), &id("123321123"), &id(SAMPLE_OFFER), &id(ADYEN_METHOD)));
        peers
    }

    async fn start_at(now: Timestamp, cleeng_port: u16) -> Self {
        let clock = VirtualClock::starting_at(now);
        // The secrets are those of `support::aws::SECRET`, which the binaries read.
        let publisher = PublisherAccount {
            id: id(PUBLISHER),
            token: "sandbox-publisher-token-0123456789".to_owned(),
            webhook_secret: WEBHOOK_SECRET.to_owned(),
        };
        let cleeng = CleengSimulator::new(publisher, clock.clone());
        fixtures::seed(&cleeng);
        let account = AdyenConfig {
            merchant_account: MERCHANT_ACCOUNT.to_owned(),
            api_key: "sandbox-adyen-api-key-0123456789".to_owned(),
            hmac_key: ADYEN_HMAC_KEY.to_owned(),
            manual_capture: true,
        };
        let adyen = Arc::new(AdyenSimulator::new(account, Arc::new(clock.clone())));
        adyen.process_immediately(true);
        adyen.insert_method("8415718415718415", "123321123");
        let subscriber = SubscriberIds { customer: id("123321123"), details: id("665665665"), subscription: id("332332332") };
        assert!(cleeng.insert_subscriber(subscriber, &id(SAMPLE_OFFER), &id(ADYEN_METHOD), "8415718415718415:123321123", paid_until()));
        let network = FaultyNetwork::default();
        let cleeng_server = serve(Arc::new(cleeng.clone()), network.clone(), local(cleeng_port)).await.unwrap();
        let adyen_server = serve(adyen.clone(), network.clone(), local(0)).await.unwrap();
        Self {
            network,
            cleeng,
            adyen,
            clock,
            cleeng_url: format!("{}/3.1", cleeng_server.url()),
            mediastore_url: format!("{}/mediastore", cleeng_server.url()),
            adyen_url: adyen_server.url(),
            _served: [cleeng_server, adyen_server],
        }
    }

    /// The sample subscriber's payment of 9.99 by these ids of the sample events, made before there was a connector.
    pub(crate) fn seed_earlier_payment(
        &self,
        payment: &str,
        order: &str,
        external: &str,
        operation: PaymentOperation,
        status: PaymentStatus,
    ) {
        let captured = status == PaymentStatus::Captured;
        let total = Money::new(999, Currency::new("USD").unwrap());
        self.adyen.insert_payment(Payment {
            decided: None,
            psp_reference: external.to_owned(),
            reference: format!("order-{order}"),
            shopper_reference: "123321123".to_owned(),
            stored_payment_method_id: Some("8415718415718415".to_owned()),
            currency: "USD".to_owned(),
            amount: total.minor,
            authorised: total.minor,
            captured: if captured { total.minor } else { 0 },
            cancelled: 0,
            refunded: 0,
            state: if captured { PaymentState::Captured } else { PaymentState::Authorised },
            automatic_capture: captured,
        });
        let (customer, offer, method, details) = (id("123321123"), id(SAMPLE_OFFER), id(ADYEN_METHOD), Some(id("665665665")));
        let purchase = PaidPurchase { customer, offer, method, details, total, external_payment_id: id(external), status };
        self.cleeng.insert_payment(&id(payment), &id(order), operation, purchase);
    }

    /// The next call that is picked is done, and its caller is killed before it hears the answer.
    pub(crate) fn kill_on(
        &self,
        chooser: impl Fn(&str, &ServerRequest) -> bool + Send + Sync + 'static,
        kill: impl Fn() + Send + Sync + 'static,
    ) {
        self.network.inject(Fault::Mutate(Arc::new(move |_| kill())), chooser);
    }

    /// The statuses of all payments in Cleeng, in the order of their ids.
    pub(crate) fn statuses(&self) -> Vec<PaymentStatus> {
        self.cleeng.payments().into_iter().map(|payment| payment.status).collect()
    }

    /// Both sides must agree.
    pub(crate) fn assert_balanced(&self) {
        assert_eq!(discrepancies(&self.cleeng, &[self.adyen.as_ref()]), Vec::<String>::new());
    }
}
