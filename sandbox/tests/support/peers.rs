//! Cleeng and Adyen on loopback, with the subscriber of `events/`, so that the binaries have somebody to talk to and their effects can be
//! looked at.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use connector::clock::Timestamp;
use sandbox::adyen::{Adyen, AdyenConfig};
use sandbox::books::disagreements;
use sandbox::cleeng::{CleengSimulator, Publisher, Subscriber};
use sandbox::clock::VirtualClock;
use sandbox::peer::{Road, Served, serve};
use sandbox::stage::{self, METHOD, PUBLISHER, SAMPLE_OFFER, WEBHOOK_SECRET, id};

/// The merchant account of the tests.
pub(crate) const MERCHANT_ACCOUNT: &str = "SandboxMerchant";

/// The served peers.
pub(crate) struct Peers {
    /// What happened on the way to them.
    pub(crate) road: Road,
    /// Cleeng.
    pub(crate) cleeng: CleengSimulator,
    /// Adyen.
    pub(crate) adyen: Arc<Adyen>,
    /// Their time; the binaries have the machine's.
    pub(crate) clock: VirtualClock,
    /// Cleeng's base URL as the settings want it.
    pub(crate) cleeng_url: String,
    /// Adyen's.
    pub(crate) adyen_url: String,
    _served: [Served; 2],
}

/// An address of this machine; port 0 is any free one.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The end of the sample subscriber's paid period, as `events/` has it.
pub(crate) fn paid_until() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-07T19:55:41Z").unwrap()
}

impl Peers {
    /// Serves them at the time of the sample authorisation event; Cleeng at this port.
    pub(crate) async fn start(cleeng_port: u16) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::parse_rfc3339("2026-11-04T19:55:41Z").unwrap());
        // The secrets are those of `support::aws::SECRET`, which the binaries read.
        let publisher = Publisher {
            id: id(PUBLISHER),
            token: "sandbox-publisher-token-0123456789".to_owned(),
            webhook_secret: WEBHOOK_SECRET.to_owned(),
        };
        let cleeng = CleengSimulator::new(publisher, clock.clone());
        stage::furnish(&cleeng);
        let account = AdyenConfig {
            merchant_account: MERCHANT_ACCOUNT.to_owned(),
            api_key: "sandbox-adyen-api-key-0123456789".to_owned(),
            hmac_key: "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056".to_owned(),
            manual_capture: true,
        };
        let adyen = Arc::new(Adyen::new(account, Arc::new(clock.clone())));
        adyen.process_immediately(true);
        adyen.put_method("8415718415718415", "123321123");
        let subscriber = Subscriber { customer: id("123321123"), details: id("665665665"), subscription: id("332332332") };
        assert!(cleeng.seat(subscriber, &id(SAMPLE_OFFER), &id(METHOD), "8415718415718415:123321123", paid_until()));
        let road = Road::default();
        let cleeng_server = serve(Arc::new(cleeng.clone()), road.clone(), local(cleeng_port)).await.unwrap();
        let adyen_server = serve(adyen.clone(), road.clone(), local(0)).await.unwrap();
        Self {
            road,
            cleeng,
            adyen,
            clock,
            cleeng_url: format!("{}/3.1", cleeng_server.url()),
            adyen_url: adyen_server.url(),
            _served: [cleeng_server, adyen_server],
        }
    }

    /// Both sides must agree.
    pub(crate) fn assert_balanced(&self) {
        assert_eq!(disagreements(&self.cleeng, &[self.adyen.as_ref()]), Vec::<String>::new());
    }
}
