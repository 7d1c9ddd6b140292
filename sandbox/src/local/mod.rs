//! The local world with sockets: the simulators as HTTP servers on loopback, the functions behind their routes, a queue in memory, the
//! journal in memory, and one clock for all. What `cargo run` lives in.
//!
//! The functions are the real ones with the real doors, settings, clients and adapters; only AWS is played.

mod functions;
mod gate;
mod queue;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, Timestamp};
use connector::gateway::GatewayName;
use connector::http::{HeaderName, Method, Request, ReqwestTransport, Transport, TransportError};
use connector::lambda::http_door::route_of;
pub use functions::{Answered, Functions, StartError};
pub use gate::Gate;
pub use queue::{Message, QueueSet};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::adyen::Adyen;
use crate::cleeng::{CleengSimulator, SentWebhook};
use crate::clock::VirtualClock;
use crate::guests::{self, Guest, Houses};
use crate::house::House;
use crate::peer::{Call, Peer, Road, Served, serve};
use crate::stage;

/// The unguessable segment of the sandbox's routes.
pub const PATH_KEY: &str = "sandbox-path-key-0123456789";

/// Where everything listens. Port 0 is any free port.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Cleeng's Core API.
    pub cleeng: SocketAddr,
    /// The connector's routes.
    pub connector: SocketAddr,
    /// The first gateway; the others are in a row behind it.
    pub gateways: SocketAddr,
}

impl Addresses {
    /// Any free ports of this address.
    #[must_use]
    pub fn free(ip: IpAddr) -> Self {
        let any = SocketAddr::new(ip, 0);
        Self { cleeng: any, connector: any, gateways: any }
    }

    /// Ports in a row: Cleeng, the connector, then each gateway.
    #[must_use]
    pub fn in_a_row(ip: IpAddr, first: u16) -> Self {
        let port = |offset: u16| SocketAddr::new(ip, first.saturating_add(offset));
        Self { cleeng: port(0), connector: port(1), gateways: port(2) }
    }
}

/// The local world.
pub struct LocalWorld {
    /// The time.
    pub clock: VirtualClock,
    /// Cleeng.
    pub cleeng: CleengSimulator,
    /// Adyen.
    pub adyen: Arc<Adyen>,
    /// All gateways, Adyen first.
    pub guests: Vec<Guest>,
    /// The calls that were made to all of them.
    pub road: Road,
    /// The functions.
    pub functions: Arc<Functions>,
    cleeng_server: Served,
    servers: Vec<(GatewayName, Served)>,
    gate: Gate,
    sender: ReqwestTransport,
}

impl LocalWorld {
    /// Opens the world at this time.
    ///
    /// # Errors
    /// If an address cannot be bound, or the sandbox's own settings are refused.
    pub async fn open(start: Timestamp, addresses: Addresses) -> Result<Self, StartError> {
        let clock = VirtualClock::starting_at(start);
        let cleeng = CleengSimulator::new(stage::publisher(), clock.clone());
        stage::furnish(&cleeng);
        let houses = Houses::open(&clock);
        let road = Road::default();
        let peer: Arc<dyn Peer> = Arc::new(cleeng.clone());
        let cleeng_server = serve(peer, road.clone(), addresses.cleeng).await?;
        let (mut gateways, mut servers) = (Vec::new(), Vec::new());
        for (offset, (gateway, peer)) in (0_u16..).zip(houses.peers()) {
            let mut address = addresses.gateways;
            if address.port() != 0 {
                address.set_port(address.port().saturating_add(offset));
            }
            let server = serve(peer, road.clone(), address).await?;
            gateways.extend(guests::settings_of(gateway, Some(&server.url())));
            servers.push((gateway, server));
        }
        if let Some((_, server)) = servers.iter().find(|(gateway, _)| *gateway == GatewayName::PayPal) {
            houses.paypal.lie_at(&server.url());
        }
        let listener = TcpListener::bind(addresses.connector).await?;
        let own_url = format!("http://{}", listener.local_addr()?);
        let functions = Arc::new(Functions::start(&clock, &cleeng_server.url(), &own_url, &gateways).await?);
        let gate = Gate::open(listener, Arc::clone(&functions))?;
        let sender = ReqwestTransport::new().map_err(|_| StartError::Http)?;
        let (guests, adyen) = (houses.guests(), houses.adyen);
        Ok(Self { clock, cleeng, adyen, guests, road, functions, cleeng_server, servers, gate, sender })
    }

    /// Where Cleeng listens, without `/3.1`.
    #[must_use]
    pub fn cleeng_url(&self) -> String {
        self.cleeng_server.url()
    }

    /// Where each gateway listens.
    #[must_use]
    pub fn gateway_urls(&self) -> Vec<(GatewayName, String)> {
        self.servers.iter().map(|(gateway, server)| (*gateway, server.url())).collect()
    }

    /// Where the connector listens.
    #[must_use]
    pub fn connector_url(&self) -> String {
        self.gate.url()
    }

    /// The URL of a topic, as it would be entered in Cleeng.
    #[must_use]
    pub fn webhook_url(&self, topic: Topic) -> String {
        format!("{}/webhooks/{PATH_KEY}/{}", self.connector_url(), route_of(topic))
    }

    /// The settings and secrets of functions that run elsewhere without AWS, with this world's simulators as peers. `own_url` is where
    /// browsers reach those functions.
    #[must_use]
    pub fn embedded_settings(&self, own_url: &str) -> BTreeMap<&'static str, String> {
        let gateways: Vec<_> =
            self.gateway_urls().into_iter().flat_map(|(gateway, url)| guests::settings_of(gateway, Some(&url))).collect();
        functions::embedded(&self.cleeng_url(), own_url, &gateways)
    }

    /// Every simulated gateway.
    #[must_use]
    pub fn houses(&self) -> Vec<Arc<dyn House>> {
        self.guests.iter().map(|guest| Arc::clone(&guest.house)).collect()
    }

    /// A page's call over HTTP, with the customer's token. `path` begins behind the gateway's name.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn call(&self, gateway: GatewayName, path: &str, token: &str, body: &Value) -> Result<(u16, Value), TransportError> {
        let url = format!("{}/connectors/{gateway}/{path}", self.connector_url());
        let mut request = Request::new(Method::POST, url, Duration::from_secs(30))
            .header(HeaderName::from_static("content-type"), "application/json")
            .header(HeaderName::from_static("origin"), stage::ORIGIN)
            .header(HeaderName::from_static("authorization"), &format!("Bearer {token}"));
        request.body = body.to_string().into();
        let answer = self.sender.send(request).await?;
        Ok((answer.status.as_u16(), answer.json().unwrap_or_default()))
    }

    /// Posts over HTTP what a gateway tells since the last time; the statuses.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn notify(&self, house: &dyn House) -> Result<Vec<u16>, TransportError> {
        let url = format!("{}/gateways/{}/notifications", self.connector_url(), house.gateway());
        let mut statuses = Vec::new();
        for told in house.take_notifications() {
            let mut request = Request::new(Method::POST, url.clone(), Duration::from_secs(10));
            request.headers.extend(told.headers);
            request.body = told.body;
            statuses.push(self.sender.send(request).await?.status.as_u16());
        }
        Ok(statuses)
    }

    /// Posts a webhook over HTTP, as Cleeng does, and returns the status.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn post(&self, webhook: &SentWebhook) -> Result<u16, TransportError> {
        let mut request = Request::new(Method::POST, self.webhook_url(webhook.topic), Duration::from_secs(10))
            .header(HeaderName::from_static("content-type"), "application/json")
            .header(HeaderName::from_static("x-cleeng-signature"), &webhook.signature);
        request.body = webhook.body.clone().into();
        self.sender.send(request).await.map(|answer| answer.status.as_u16())
    }

    /// The webhooks that Cleeng sends now.
    #[must_use]
    pub fn due_webhooks(&self) -> Vec<SentWebhook> {
        self.cleeng.due_webhooks()
    }

    /// When something happens next: a webhook, or a message that becomes visible again.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        let next_message = self.functions.queues.next_visible();
        self.cleeng.next_due().into_iter().chain(next_message).min().map(|at| at.max(self.clock.now()))
    }

    /// The calls since the last so many.
    #[must_use]
    pub fn calls_since(&self, seen: usize) -> Vec<Call> {
        self.road.calls().into_iter().skip(seen).collect()
    }
}
