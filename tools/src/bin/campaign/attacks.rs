//! The campaign of attacks: what strangers and customers can send to the doors, in many variations.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::webhook::Topic;
use connector::gateway::GatewayName;
use connector::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, ReqwestTransport, Transport as _};
use connector::lambda::webhook_handler::route_for_topic;
use connector::metrics::Metric;
use connector::reason::ParkReason;
use sandbox::local::PATH_KEY;
use sandbox::simulation::prng::Prng;
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::simulated_gateway::{EnteredDetails, NotificationRequest, SimulatedGateway};
use sandbox::testkit::fixtures::{PASS, SHOP_ORIGIN, id};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::CampaignWorld;
use crate::{Report, canaries};

const TIMEOUT: Duration = Duration::from_secs(30);
/// What is sent at once in the parallel attacks.
const PARALLEL: usize = 20;

/// A request of an attacker.
struct Attack {
    kind: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// What an attacker may have seen: genuine requests of others.
struct Loot {
    webhook: SentWebhook,
    notifications: Vec<(Arc<dyn SimulatedGateway>, NotificationRequest)>,
    /// A customer's own token, and somebody else's order at each gateway.
    token: String,
    foreign_orders: Vec<(GatewayName, Value)>,
}

/// Forged requests at every door, `rounds` of each kind, and then genuine ones many times at once.
///
/// # Errors
/// If a port cannot be bound, or a door gives no answer.
pub(crate) async fn run(rounds: u64, seed: u64) -> Result<Report, Box<dyn Error>> {
    let world = CampaignWorld::open(None).await?;
    let (client, mut prng) = (ReqwestTransport::new()?, Prng::from_seed(seed));
    let loot = gather(&world).await?;
    let before = books(&world);
    let (mut violations, mut sent) = (Vec::new(), 0_u64);
    for _ in 0..rounds {
        for attack in attacks(&loot, &mut prng) {
            let mut request = Request::new(attack.method.clone(), format!("{}{}", world.local.connector_url(), attack.path), TIMEOUT);
            for (name, value) in &attack.headers {
                if let Ok(value) = HeaderValue::from_str(value) {
                    request.headers.append(HeaderName::from_static(name), value);
                }
            }
            request.body = attack.body.into();
            let response = client.send(request).await?;
            sent += 1;
            let status = response.status.as_u16();
            if !(400..500).contains(&status) {
                violations.push(format!("{} is answered {status}", attack.kind));
            }
            let text = format!("{:?}\n{}", response.headers, String::from_utf8_lossy(&response.body));
            violations.extend(canaries::find(&text).map(|canary| format!("the answer to {} shows {canary}", attack.kind)));
        }
    }
    if books(&world) != before {
        violations.push(format!("forged requests changed the books from {before:?} to {:?}", books(&world)));
    }
    replay_at_another_door(&world, &loot, &mut violations).await?;
    let parallel = attack_in_parallel(&world, loot, &mut violations).await?;
    violations.sort_unstable();
    violations.dedup();
    let lines = vec![
        format!("{sent} forged requests of {} kinds", sent.checked_div(rounds).unwrap_or(0)),
        format!("{parallel} genuine requests, {PARALLEL} of each at once"),
    ];
    Ok(Report { lines, violations })
}

/// What nobody but Cleeng, a gateway or a paying customer may change: money taken, payments in Cleeng, messages on the queues.
fn books(world: &CampaignWorld) -> (i64, usize, usize) {
    let ledgers = world.local.gateways.iter().flat_map(|fixture| fixture.simulator.ledger());
    let taken = ledgers.map(|entry| entry.captured.minor - entry.refunded.minor).sum();
    (taken, world.local.cleeng.payments().len(), world.local.functions.queues.len())
}

async fn gather(world: &CampaignWorld) -> Result<Loot, Box<dyn Error>> {
    let local = &world.local;
    world.add_subscribers();
    let due = local.cleeng.next_webhook_due().ok_or("no subscriber is ever due")?;
    local.clock.advance_to(due);
    let webhook = local.due_webhooks().into_iter().next().ok_or("no webhook is due")?;
    let (mut notifications, mut foreign_orders) = (Vec::new(), Vec::new());
    for (number, fixture) in (1..).zip(&local.gateways) {
        let gateway = fixture.simulator.gateway_name();
        let body = purchase(world, gateway, number)?;
        local.call_frontend(gateway, "initial-payment", &body.1, &body.0).await?;
        fixture.simulator.process();
        notifications.extend(fixture.simulator.take_notifications().into_iter().map(|sent| (Arc::clone(&fixture.simulator), sent)));
        foreign_orders.push((gateway, purchase(world, gateway, number + 10)?.0));
    }
    let own = local.cleeng.new_customer().ok_or("no customer")?;
    Ok(Loot { webhook, notifications, token: local.cleeng.customer_token(&own), foreign_orders })
}

/// The body of a purchase of a new customer, and the customer's token.
fn purchase(world: &CampaignWorld, gateway: GatewayName, number: u32) -> Result<(Value, String), Box<dyn Error>> {
    let local = &world.local;
    let fixture = local.gateways.iter().find(|fixture| fixture.simulator.gateway_name() == gateway).ok_or("no such gateway")?;
    let customer = local.cleeng.new_customer().ok_or("no customer")?;
    let order = local.cleeng.new_order(&customer, &id(PASS), &id(fixture.method)).ok_or("no order")?;
    let mut body = json!({ "orderId": order, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/checkout") });
    if let (Some(body), Value::Object(entered)) =
        (body.as_object_mut(), fixture.simulator.payment_data(EnteredDetails::Frictionless, number))
    {
        body.extend(entered);
    }
    Ok((body, local.cleeng.customer_token(&customer)))
}

/// One of every kind, with what is drawn.
fn attacks(loot: &Loot, prng: &mut Prng) -> Vec<Attack> {
    let mut all = webhook_attacks(loot, prng);
    for (simulator, notification) in &loot.notifications {
        all.extend(notification_attacks(simulator.gateway_name(), notification, prng));
    }
    for (gateway, order) in &loot.foreign_orders {
        all.extend(page_attacks(*gateway, order, &loot.token, prng));
    }
    all
}

fn webhook_attacks(loot: &Loot, prng: &mut Prng) -> Vec<Attack> {
    let (body, signature, topic) = (loot.webhook.body.to_vec(), loot.webhook.signature.clone(), loot.webhook.topic);
    let path = |key: &str, topic: Topic| format!("/webhooks/{key}/{}", route_for_topic(topic));
    let own = path(PATH_KEY, topic);
    let attack = |kind, path: &str, signature: Option<String>, body: Vec<u8>| Attack {
        kind,
        method: Method::POST,
        path: path.to_owned(),
        headers: signature.into_iter().map(|signature| ("x-cleeng-signature", signature)).collect(),
        body,
    };
    vec![
        attack("an unsigned webhook", &own, None, body.clone()),
        attack("a webhook with an empty signature", &own, Some(String::new()), body.clone()),
        attack("a webhook with another signature", &own, Some(flipped(signature.as_bytes(), prng)), body.clone()),
        attack("a changed webhook", &own, Some(signature.clone()), flip(&body, prng)),
        attack("a shortened webhook", &own, Some(signature.clone()), body.get(..prng.index(body.len())).unwrap_or_default().to_vec()),
        attack("a webhook at another key", &path("sandbox-path-key-0123456780", topic), Some(signature.clone()), body.clone()),
        attack("a webhook at no key", &path("", topic), Some(signature.clone()), body.clone()),
        attack("deep JSON", &own, Some(signature.clone()), nested(2_000 + prng.index(2_000))),
        attack("a large body", &own, Some(signature), vec![b'{'; 400_000 + prng.index(100_000)]),
        Attack { kind: "a webhook by GET", method: Method::GET, path: own, headers: Vec::new(), body: Vec::new() },
    ]
}

fn notification_attacks(gateway: GatewayName, genuine: &NotificationRequest, prng: &mut Prng) -> Vec<Attack> {
    let path = format!("/gateways/{gateway}/notifications");
    let headers = known_headers(&genuine.headers);
    let attack = |kind, headers: Vec<(&'static str, String)>, body: Vec<u8>| Attack {
        kind,
        method: Method::POST,
        path: path.clone(),
        headers,
        body,
    };
    let mut without = headers.clone();
    without.retain(|(name, _)| !name.contains("sig"));
    // Adyen's signature is in the body.
    let unsigned = String::from_utf8_lossy(&genuine.body).replace("hmacSignature", "x");
    let changed = if gateway == GatewayName::Adyen { changed_amount(&genuine.body) } else { changed_digit(&genuine.body, prng) };
    vec![
        attack("an unsigned notification", without, unsigned.into_bytes()),
        attack("a changed notification", headers.clone(), changed),
        attack("a notification that is no JSON", headers.clone(), b"<xml/>".to_vec()),
        attack("a deep notification", headers, nested(3_000)),
        attack("an empty notification", Vec::new(), Vec::new()),
    ]
}

/// The headers of a notification whose names are known here; a test of the adapters has the others.
fn known_headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    const NAMES: [&str; 8] = [
        "content-type",
        "stripe-signature",
        "paypal-transmission-id",
        "paypal-transmission-time",
        "paypal-transmission-sig",
        "paypal-cert-url",
        "paypal-auth-algo",
        "authorization",
    ];
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    NAMES.into_iter().filter_map(|name| Some((name, value(name)?))).collect()
}

fn page_attacks(gateway: GatewayName, order: &Value, token: &str, prng: &mut Prng) -> Vec<Attack> {
    let path = format!("/connectors/{gateway}/initial-payment");
    let bearer = |token: &str| {
        vec![
            ("authorization", format!("Bearer {token}")),
            ("origin", SHOP_ORIGIN.to_owned()),
            ("content-type", "application/json".to_owned()),
        ]
    };
    let body = order.to_string().into_bytes();
    let attack = |kind, path: &str, headers: Vec<(&'static str, String)>, body: Vec<u8>| Attack {
        kind,
        method: Method::POST,
        path: path.to_owned(),
        headers,
        body,
    };
    let mut card = order.clone();
    if let Some(members) = card.as_object_mut() {
        members.insert("note".to_owned(), json!("4111 1111 1111 1111"));
    }
    vec![
        attack("a page without a token", &path, vec![("content-type", "application/json".to_owned())], body.clone()),
        attack("a page with a changed token", &path, bearer(&flipped(token.as_bytes(), prng)), body.clone()),
        attack("a page with somebody else's order", &path, bearer(token), body.clone()),
        attack("a page's result for somebody else's order", &format!("{path}/finalize"), bearer(token), body.clone()),
        attack("a page with a card number", &path, bearer(token), card.to_string().into_bytes()),
        attack("a page with deep JSON", &path, bearer(token), nested(1_000)),
        attack("a page with a large body", &path, bearer(token), vec![b' '; 300_000]),
        attack("a page's route that does not exist", &format!("/connectors/{gateway}/../webhooks"), bearer(token), body.clone()),
        attack("a page that changes a byte", &path, bearer(token), flip(&body, prng)),
    ]
}

fn nested(depth: usize) -> Vec<u8> {
    format!("{{\"data\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
}

/// One byte is another one.
fn flip(bytes: &[u8], prng: &mut Prng) -> Vec<u8> {
    let (mut changed, place) = (bytes.to_vec(), prng.index(bytes.len()));
    if let Some(byte) = changed.get_mut(place) {
        *byte ^= 1;
    }
    changed
}

/// One character of a text is another letter or digit.
fn flipped(text: &[u8], prng: &mut Prng) -> String {
    let place = prng.index(text.len());
    let other = |byte: u8| if byte == b'a' { 'b' } else { 'a' };
    text.iter().enumerate().map(|(index, byte)| if index == place { other(*byte) } else { char::from(*byte) }).collect()
}

/// Adyen signs some members alone, the amount among them (docs.adyen.com, "Verify HMAC signatures").
fn changed_amount(bytes: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(bytes).replace("\"value\":", "\"value\":1").into_bytes()
}

/// One digit in a value is another digit, so that the JSON stays JSON.
fn changed_digit(bytes: &[u8], prng: &mut Prng) -> Vec<u8> {
    let digits: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()).map(|(index, _)| index).collect();
    let mut changed = bytes.to_vec();
    if let Some(byte) = digits.get(prng.index(digits.len())).and_then(|place| changed.get_mut(*place)) {
        *byte = if *byte == b'1' { b'2' } else { b'1' };
    }
    changed
}

/// What Cleeng signed is kept wherever it comes, and never acted on at another topic's door: it is parked there.
async fn replay_at_another_door(world: &CampaignWorld, loot: &Loot, violations: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    let local = &world.local;
    let (taken, payments, _) = books(world);
    let topic = if loot.webhook.topic == Topic::RefundPayment { Topic::CapturePayment } else { Topic::RefundPayment };
    let mut request = Request::new(Method::POST, local.webhook_url(topic), TIMEOUT)
        .header(HeaderName::from_static("x-cleeng-signature"), &loot.webhook.signature);
    request.body = loot.webhook.body.clone().into();
    let status = ReqwestTransport::new()?.send(request).await?.status.as_u16();
    while let Some(message) = local.functions.queues.receive() {
        local.functions.deliver_message(&message).await;
    }
    let parked = local.functions.metrics.count(Metric::Parked, ParkReason::EventOfAnotherTopic.as_str());
    if (status, parked) != (200, 1) || books(world) != (taken, payments, 0) {
        violations
            .push(format!("a webhook at another topic's door is answered {status}, parked {parked} times, and leaves {:?}", books(world)));
    }
    Ok(())
}

/// Genuine requests, many times at once: each has one effect.
async fn attack_in_parallel(world: &CampaignWorld, loot: Loot, violations: &mut Vec<String>) -> Result<usize, Box<dyn Error>> {
    let local = &world.local;
    let client = Arc::new(ReqwestTransport::new()?);
    let mut sent = 0;
    for fixture in &local.gateways {
        let (gateway, simulator) = (fixture.simulator.gateway_name(), &fixture.simulator);
        let (body, token) = purchase(world, gateway, 50)?;
        let before = simulator.ledger().iter().filter(|entry| entry.holds_money()).count();
        let mut request = Request::new(Method::POST, format!("{}/connectors/{gateway}/initial-payment", local.connector_url()), TIMEOUT);
        for (name, value) in [
            ("authorization", format!("Bearer {token}")),
            ("origin", SHOP_ORIGIN.to_owned()),
            ("content-type", "application/json".to_owned()),
        ] {
            request = request.header(HeaderName::from_static(name), &value);
        }
        request.body = body.to_string().into();
        sent += send_at_once(&client, &request).await.len();
        let made = simulator.ledger().iter().filter(|entry| entry.holds_money()).count() - before;
        if made > 1 {
            violations.push(format!("{PARALLEL} clicks at once were charged {made} times at {gateway}"));
        }
    }
    let webhook = &loot.webhook;
    let mut request = Request::new(Method::POST, local.webhook_url(webhook.topic), TIMEOUT)
        .header(HeaderName::from_static("x-cleeng-signature"), &webhook.signature);
    request.body = webhook.body.clone().into();
    let statuses = send_at_once(&client, &request).await;
    sent += statuses.len();
    if statuses.iter().any(|status| *status != 200) {
        violations.push(format!("a genuine webhook, sent {PARALLEL} times at once, is answered {statuses:?}"));
    }
    let before = local.cleeng.payments().len();
    while let Some(message) = local.functions.queues.receive() {
        local.functions.deliver_message(&message).await;
    }
    let reported = local.cleeng.payments().len() - before;
    if reported > 1 {
        violations.push(format!("a webhook that came {PARALLEL} times was reported {reported} times"));
    }
    for (simulator, notification) in &loot.notifications {
        for _ in 0..PARALLEL {
            let status = local.post_notification(simulator.as_ref(), notification).await?;
            sent += 1;
            if status != 200 {
                violations.push(format!("a genuine notification of {} is answered {status}", simulator.gateway_name()));
            }
        }
    }
    Ok(sent)
}

async fn send_at_once(client: &Arc<ReqwestTransport>, request: &Request) -> Vec<u16> {
    let mut tasks = JoinSet::new();
    for _ in 0..PARALLEL {
        let (client, request) = (Arc::clone(client), request.clone());
        tasks.spawn(async move { client.send(request).await.map_or(0, |response| response.status.as_u16()) });
    }
    tasks.join_all().await
}
