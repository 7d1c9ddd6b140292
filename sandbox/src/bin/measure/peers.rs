//! Cleeng and Adyen with one subscriber and one constant answer to each question, so that only the function's own work is measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sandbox::peer::{Peer, PeerAnswer, PeerRequest, Road, Served, serve};
use serde_json::{Value, json};

/// 2026-11-07T19:55:41Z, the expiry in `events/`.
pub(crate) const PAID_UNTIL: u32 = 1_794_081_341;

/// Cleeng.
pub(crate) struct Cleeng;

impl Peer for Cleeng {
    fn name(&self) -> &'static str {
        "cleeng"
    }

    fn handle(&self, request: &PeerRequest) -> PeerAnswer {
        let body = request.json();
        match (request.method.as_str(), request.segments().as_slice()) {
            ("GET", ["3.1", "subscriptions", "332332332"]) => PeerAnswer::json(200, &subscription("active")),
            ("POST", ["3.1", "subscriptions", "332332332", "terminate"]) => PeerAnswer::json(200, &subscription("terminated")),
            ("POST", ["3.1", "orders"]) => PeerAnswer::json(201, &order()),
            ("POST", ["3.1", "payments"]) => PeerAnswer::json(201, &payment(&body)),
            ("GET" | "POST", ["3.1", "payment_details", _, "authorised_payments"]) => PeerAnswer::json(200, &json!([])),
            _ => PeerAnswer::json(404, &json!({ "success": false, "message": "not found" })),
        }
    }
}

fn subscription(status: &str) -> Value {
    json!({
        "subscriptionId": 332_332_332, "publisherId": 558_186_818, "customerId": 123_321_123, "status": status, "dateTo": PAID_UNTIL,
        "nextPaymentAction": "authorise", "paymentDetailsId": 665_665_665, "paymentMethodId": 123_123_123, "offerId": "S123123123_US",
        "paymentCountry": "US", "latestPaymentExternalId": null, "renewalCycle": { "completed": 1, "unit": "month", "amount": 1 },
    })
}

fn order() -> Value {
    // Parsed, so that the amount keeps its digits.
    let price: Value = serde_json::from_str("10.99").unwrap();
    json!({
        "id": 778_877_887, "customerId": 123_321_123, "offerId": "S123123123_US", "totalPrice": price, "currency": "USD",
        "paymentMethodId": 123_123_123, "expirationDate": 4_102_444_800_u64,
    })
}

fn payment(asked: &Value) -> Value {
    json!({
        "id": 515_151_515, "orderId": asked["orderId"], "status": asked["status"], "externalPaymentId": asked["externalPaymentId"],
        "customerId": 123_321_123, "offerId": "S123123123_US", "paymentDetailsId": 665_665_665,
    })
}

/// Adyen.
pub(crate) struct Adyen;

impl Peer for Adyen {
    fn name(&self) -> &'static str {
        "adyen"
    }

    fn handle(&self, request: &PeerRequest) -> PeerAnswer {
        let body = request.json();
        match (request.method.as_str(), request.segments().as_slice()) {
            ("POST", ["v71", "payments"]) => PeerAnswer::json(
                200,
                &json!({
                    "pspReference": "NC6HT9CRT65ZGN82", "resultCode": "Authorised", "merchantReference": body["reference"],
                    "amount": body["amount"],
                }),
            ),
            _ => PeerAnswer::json(404, &json!({ "status": 404, "errorCode": "000", "message": "not found" })),
        }
    }
}

/// The served peers.
pub(crate) struct Peers {
    /// What happened.
    pub(crate) road: Road,
    /// Cleeng's base URL as the settings want it.
    pub(crate) cleeng: String,
    /// Adyen's.
    pub(crate) adyen: String,
    _served: [Served; 2],
}

/// An address of this machine; port 0 is any free one.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Peers {
    /// Serves them; Cleeng at this port.
    pub(crate) async fn start(cleeng_port: u16) -> Self {
        let road = Road::default();
        let cleeng = serve(Arc::new(Cleeng), road.clone(), local(cleeng_port)).await.unwrap();
        let adyen = serve(Arc::new(Adyen), road.clone(), local(0)).await.unwrap();
        Self { road, cleeng: format!("{}/3.1", cleeng.url()), adyen: adyen.url(), _served: [cleeng, adyen] }
    }
}
