//! The local world: the simulators as HTTP servers on loopback, the functions behind the HTTP API, and one clock for all.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, Timestamp};
use connector::gateway::GatewayName;
use connector::http::{HeaderName, Method, Request, ReqwestTransport, Transport, TransportError};
use connector::lambda::webhook_handler::route_for_topic;
use serde_json::Value;
use tokio::net::TcpListener;

use super::functions::{self, Functions, PATH_KEY, StartError};
use super::http_api;
use crate::simulators::adyen::AdyenSimulator;
use crate::simulators::cleeng::{CleengSimulator, SentWebhook};
use crate::simulators::network::{FaultyNetwork, RunningServer, SimulatedServer, serve};
use crate::simulators::simulated_gateway::{NotificationRequest, SimulatedGateway};
use crate::simulators::virtual_clock::VirtualClock;
use crate::testkit::fixtures;
use crate::testkit::gateway_fixtures::{self, GatewayFixture, SimulatedGateways};

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
    pub fn ephemeral(ip: IpAddr) -> Self {
        let any = SocketAddr::new(ip, 0);
        Self { cleeng: any, connector: any, gateways: any }
    }

    /// Ports in a row: Cleeng, the connector, then each gateway.
    #[must_use]
    pub fn sequential(ip: IpAddr, first: u16) -> Self {
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
    pub adyen: Arc<AdyenSimulator>,
    /// All gateways, Adyen first.
    pub gateways: Vec<GatewayFixture>,
    /// The calls that were made to all of them.
    pub network: FaultyNetwork,
    /// The functions.
    pub functions: Arc<Functions>,
    cleeng_server: RunningServer,
    servers: Vec<(GatewayName, RunningServer)>,
    http_api: RunningServer,
    http_client: ReqwestTransport,
}

impl LocalWorld {
    /// Opens the world at this time.
    ///
    /// # Errors
    /// If an address cannot be bound, or the sandbox's own settings are refused.
    pub async fn open(start: Timestamp, addresses: Addresses) -> Result<Self, StartError> {
        Self::open_behind(start, addresses, async |url| Ok(url)).await
    }

    /// The same with something between the functions and every upstream: `proxy` gets the URL of an upstream, and returns the one that the
    /// functions call.
    ///
    /// # Errors
    /// As [`LocalWorld::open`], and if a proxy cannot be started.
    pub async fn open_behind(
        start: Timestamp,
        addresses: Addresses,
        proxy: impl AsyncFn(String) -> std::io::Result<String>,
    ) -> Result<Self, StartError> {
        let clock = VirtualClock::starting_at(start);
        let cleeng = CleengSimulator::new(fixtures::publisher(), clock.clone());
        fixtures::seed(&cleeng);
        let simulators = SimulatedGateways::open(&clock);
        let network = FaultyNetwork::default();
        let simulator: Arc<dyn SimulatedServer> = Arc::new(cleeng.clone());
        let cleeng_server = serve(simulator, network.clone(), addresses.cleeng).await?;
        let (mut settings, mut servers) = (Vec::new(), Vec::new());
        let cleeng_url = proxy(cleeng_server.url()).await?;
        for (offset, (gateway, simulator)) in (0_u16..).zip(simulators.servers()) {
            let mut address = addresses.gateways;
            if address.port() != 0 {
                address.set_port(address.port().saturating_add(offset));
            }
            let server = serve(simulator, network.clone(), address).await?;
            let url = proxy(server.url()).await?;
            settings.extend(gateway_fixtures::gateway_settings(gateway, Some(&url)));
            if gateway == GatewayName::PayPal {
                simulators.paypal.serve_certificate_at(&url);
            }
            servers.push((gateway, server));
        }
        let listener = TcpListener::bind(addresses.connector).await?;
        let own_url = format!("http://{}", listener.local_addr()?);
        let functions = Arc::new(Functions::start(&clock, &cleeng_url, &own_url, &settings).await?);
        let http_api = http_api::serve(listener, Arc::clone(&functions))?;
        let sender = ReqwestTransport::new().map_err(|_| StartError::Http)?;
        let (gateways, adyen) = (simulators.fixtures(), simulators.adyen);
        Ok(Self { clock, cleeng, adyen, gateways, network, functions, cleeng_server, servers, http_api, http_client: sender })
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
        self.http_api.url()
    }

    /// The URL of a topic, as it would be entered in Cleeng.
    #[must_use]
    pub fn webhook_url(&self, topic: Topic) -> String {
        format!("{}/webhooks/{PATH_KEY}/{}", self.connector_url(), route_for_topic(topic))
    }

    /// The settings and secrets of functions that run elsewhere without AWS, with this world's simulators as upstreams. `own_url` is where
    /// browsers reach those functions.
    #[must_use]
    pub fn embedded_settings(&self, own_url: &str) -> BTreeMap<&'static str, String> {
        let gateways: Vec<_> =
            self.gateway_urls().into_iter().flat_map(|(gateway, url)| gateway_fixtures::gateway_settings(gateway, Some(&url))).collect();
        functions::embedded_environment(&self.cleeng_url(), own_url, &gateways)
    }

    /// Every simulated gateway.
    #[must_use]
    pub fn simulated_gateways(&self) -> Vec<Arc<dyn SimulatedGateway>> {
        self.gateways.iter().map(|fixture| Arc::clone(&fixture.simulator)).collect()
    }

    /// A front-end call over HTTP, with the customer's token. `path` begins behind the gateway's name.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn call_frontend(&self, gateway: GatewayName, path: &str, token: &str, body: &Value) -> Result<(u16, Value), TransportError> {
        let url = format!("{}/connectors/{gateway}/{path}", self.connector_url());
        let mut request = Request::new(Method::POST, url, Duration::from_secs(30))
            .header(HeaderName::from_static("content-type"), "application/json")
            .header(HeaderName::from_static("origin"), fixtures::SHOP_ORIGIN)
            .header(HeaderName::from_static("prefer"), "respond-async")
            .header(HeaderName::from_static("authorization"), &format!("Bearer {token}"));
        request.body = body.to_string().into();
        let answer = self.http_client.send(request).await?;
        Ok((answer.status.as_u16(), answer.json().unwrap_or_default()))
    }

    /// Posts the notifications of a gateway since the last time over HTTP; the statuses.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn post_notifications(&self, simulator: &dyn SimulatedGateway) -> Result<Vec<u16>, TransportError> {
        let mut statuses = Vec::new();
        for notification in simulator.take_notifications() {
            statuses.push(self.post_notification(simulator, &notification).await?);
        }
        Ok(statuses)
    }

    /// Posts one notification of a gateway over HTTP, and returns the status.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn post_notification(
        &self,
        simulator: &dyn SimulatedGateway,
        notification: &NotificationRequest,
    ) -> Result<u16, TransportError> {
        let url = format!("{}/gateways/{}/notifications", self.connector_url(), simulator.gateway_name());
        let mut request = Request::new(Method::POST, url, Duration::from_secs(10));
        request.headers.extend(notification.headers.clone());
        request.body = notification.body.clone();
        Ok(self.http_client.send(request).await?.status.as_u16())
    }

    /// Posts a webhook over HTTP, as Cleeng does, and returns the status.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn post_webhook(&self, webhook: &SentWebhook) -> Result<u16, TransportError> {
        let mut request = Request::new(Method::POST, self.webhook_url(webhook.topic), Duration::from_secs(10))
            .header(HeaderName::from_static("content-type"), "application/json")
            .header(HeaderName::from_static("x-cleeng-signature"), &webhook.signature);
        request.body = webhook.body.clone().into();
        self.http_client.send(request).await.map(|answer| answer.status.as_u16())
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
        self.cleeng.next_webhook_due().into_iter().chain(next_message).min().map(|at| at.max(self.clock.now()))
    }
}
