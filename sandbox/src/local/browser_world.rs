//! What a test in a real browser needs of the local world: customers and orders as Cleeng's pages make them, the pages of banks and wallets,
//! and the ledgers. Every question is a POST with a JSON object, at the path of its name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connector::clock::{Clock, SystemClock};
use connector::gateway::GatewayName;
use connector::ids::{CustomerId, OrderId};
use connector::money::{Currency, Money};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::functions::StartError;
use super::{Addresses, LocalWorld};
use crate::simulators::network::{Fault, RunningServer, serve_with};
use crate::simulators::simulated_gateway::{EnteredDetails, SimulatedGateway};
use crate::testkit::balance_check;
use crate::testkit::fixtures::{OFFER, PASS, id};
use crate::testkit::gateway_fixtures::payment_methods_of;

/// How often reconciliation runs.
const RECONCILIATION_INTERVAL: Duration = Duration::from_secs(300);

/// The world, and where it answers questions.
pub struct BrowserWorld {
    world: Arc<LocalWorld>,
    server: RunningServer,
}

impl BrowserWorld {
    /// Opens the local world at the present, on free ports of loopback. Time passes when a question says so.
    ///
    /// # Errors
    /// As [`LocalWorld::open`].
    pub async fn open() -> Result<Self, StartError> {
        let addresses = Addresses::ephemeral(Ipv4Addr::LOCALHOST.into());
        let world = Arc::new(LocalWorld::open(SystemClock.now(), addresses).await?);
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let asked = Arc::clone(&world);
        let server = serve_with(listener, move |request| answer(Arc::clone(&asked), request))?;
        Ok(Self { world, server })
    }

    /// Where everything is: `world` answers questions.
    #[must_use]
    pub fn addresses(&self) -> Value {
        json!({ "world": self.server.url(), "connector": self.world.connector_url(), "mediastore": format!("{}/mediastore", self.world.cleeng_url()) })
    }
}

async fn answer(
    world: Arc<LocalWorld>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, std::convert::Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let question = Question { world, body: serde_json::from_slice(&body).unwrap_or_default() };
    let answer = question.answer(parts.uri.path().trim_start_matches('/')).await;
    let mut response = hyper::Response::new(Full::new(Bytes::from(answer.clone().unwrap_or_default().to_string())));
    if answer.is_none() {
        *response.status_mut() = http::StatusCode::NOT_FOUND;
    }
    Ok(response)
}

/// A question about the world.
struct Question {
    world: Arc<LocalWorld>,
    body: Value,
}

impl Question {
    /// The answer; `None` for a question that is not understood.
    async fn answer(&self, name: &str) -> Option<Value> {
        match name {
            "customer" => self.add_customer(),
            "token" => self.renew_token(),
            "order" => self.add_order(),
            "choose-method" => {
                let method = id(payment_methods_of(self.gateway("method")?).0);
                Some(json!(self.world.cleeng.choose_payment_method(&OrderId::from_json(self.body.get("order")?).ok()?, &method)))
            }
            "price" => {
                let total = Money::new(self.body.get("total")?.as_i64()?, Currency::new("USD").ok()?);
                let needs_details = self.body.get("needsDetails")?.as_bool()?;
                self.world.cleeng.change_order_price(&OrderId::from_json(self.body.get("order")?).ok()?, total, needs_details);
                Some(Value::Null)
            }
            "leave-page" => {
                let simulator = self.simulator(self.gateway("gateway")?)?;
                Some(json!(simulator.complete_redirect(self.body.get("page")?.as_str()?, self.body.get("agrees")?.as_bool()?)))
            }
            "lose-next-answer" => {
                let gateway = self.gateway("gateway")?.as_str();
                let path = self.body.get("path")?.as_str()?.to_owned();
                self.world.network.inject(Fault::StatusAfter(500), move |peer, request| peer == gateway && request.path.ends_with(&path));
                Some(Value::Null)
            }
            "decline-next" => {
                // What the customer would enter says so; at a wallet nothing is entered.
                self.simulator(self.gateway("gateway")?)?.payment_data(EnteredDetails::Declined, 1);
                Some(Value::Null)
            }
            "advance" => {
                let seconds = self.body.get("seconds")?.as_u64()?;
                self.world.clock.advance(Duration::from_secs(seconds));
                Some(Value::Null)
            }
            "process" => self.process().await,
            "details" => self.list_details(),
            "ledger" => Some(self.ledger()),
            _ => None,
        }
    }

    fn gateway(&self, member: &str) -> Option<GatewayName> {
        GatewayName::parse(self.body.get(member)?.as_str()?)
    }

    fn customer(&self) -> Option<CustomerId> {
        CustomerId::from_json(self.body.get("customer")?).ok()
    }

    fn simulator(&self, gateway: GatewayName) -> Option<Arc<dyn SimulatedGateway>> {
        self.world.simulated_gateways().into_iter().find(|simulator| simulator.gateway_name() == gateway)
    }

    fn add_customer(&self) -> Option<Value> {
        let customer = self.world.cleeng.new_customer()?;
        Some(json!({ "customer": customer, "token": self.world.cleeng.customer_token(&customer) }))
    }

    /// A token that expires in so many seconds.
    fn renew_token(&self) -> Option<Value> {
        let expires = self.world.clock.now().after(Duration::from_secs(self.body.get("seconds")?.as_u64()?));
        Some(json!(self.world.cleeng.customer_token_until(&self.customer()?, expires)))
    }

    fn add_order(&self) -> Option<Value> {
        let offer = if self.body.get("renews")?.as_bool()? { OFFER } else { PASS };
        let method = payment_methods_of(self.gateway("method")?).0;
        self.world.cleeng.new_order(&self.customer()?, &id(offer), &id(method)).map(|order| json!(order))
    }

    /// The gateways do what is due and report it, and the functions finish what they can within a quarter of an hour.
    async fn process(&self) -> Option<Value> {
        for _ in 0..3 {
            for simulator in self.world.simulated_gateways() {
                simulator.process();
                self.world.post_notifications(simulator.as_ref()).await.ok()?;
            }
            self.world.clock.advance(RECONCILIATION_INTERVAL);
            while let Some(message) = self.world.functions.queues.receive() {
                self.world.functions.deliver_message(&message).await;
            }
            self.world.functions.run_reconciliation().await;
        }
        Some(Value::Null)
    }

    fn list_details(&self) -> Option<Value> {
        let details = self.world.cleeng.details_of(&self.customer()?);
        let shown =
            details.iter().map(|details| json!({ "method": details.method, "active": details.active, "shown": details.display_params }));
        Some(shown.collect())
    }

    /// What both sides have, and where they disagree.
    fn ledger(&self) -> Value {
        let simulators = self.world.simulated_gateways();
        let payments = self.world.cleeng.payments().into_iter().map(|payment| {
            json!({
                "order": payment.order, "status": format!("{:?}", payment.status), "externalPaymentId": payment.external_payment_id,
                "hasDetails": payment.details.is_some(), "total": payment.total.minor,
            })
        });
        let simulators: Vec<_> = simulators.iter().map(AsRef::as_ref).collect();
        json!({
            "payments": payments.collect::<Vec<_>>(), "discrepancies": balance_check::discrepancies(&self.world.cleeng, &simulators),
        })
    }
}
