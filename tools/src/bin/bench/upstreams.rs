//! Cleeng and Adyen with one subscriber and one constant answer to each question, so that only the function's own work is measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sandbox::simulators::network::{FaultyNetwork, RunningServer, ServerRequest, ServerResponse, SimulatedServer, serve};
use serde_json::{Value, json};

/// 2026-11-07T19:55:41Z, the expiry in `events/`.
pub(crate) const PAID_UNTIL: u32 = 1_794_081_341;

/// Cleeng.
pub(crate) struct CleengStub;

impl SimulatedServer for CleengStub {
    fn name(&self) -> &'static str {
        "cleeng"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let body = request.json();
        match (request.method.as_str(), request.segments().as_slice()) {
            ("GET", ["3.1", "subscriptions", "332332332"]) => ServerResponse::json(200, &subscription("active")),
            ("PATCH", ["3.1", "subscriptions", "332332332"]) => ServerResponse::json(200, &subscription("terminated")),
            ("POST", ["3.1", "orders"]) => ServerResponse::json(201, &order()),
            ("POST", ["3.1", "payments"]) => ServerResponse::json(201, &payment(&body)),
            ("GET" | "POST", ["3.1", "payment_details", _, "authorised_payments"]) => ServerResponse::json(200, &json!([])),
            _ => ServerResponse::json(404, &json!({ "success": false, "message": "not found" })),
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

fn payment(request: &Value) -> Value {
    json!({
        "id": 515_151_515, "orderId": request["orderId"], "status": request["status"], "externalPaymentId": request["externalPaymentId"],
        "customerId": 123_321_123, "offerId": "S123123123_US", "paymentDetailsId": 665_665_665,
    })
}

/// Adyen.
pub(crate) struct AdyenStub;

impl SimulatedServer for AdyenStub {
    fn name(&self) -> &'static str {
        "adyen"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let body = request.json();
        match (request.method.as_str(), request.segments().as_slice()) {
            ("POST", ["v71", "payments"]) => ServerResponse::json(
                200,
                &json!({
                    "pspReference": "NC6HT9CRT65ZGN82", "resultCode": "Authorised", "merchantReference": body["reference"],
                    "amount": body["amount"],
                }),
            ),
            _ => ServerResponse::json(404, &json!({ "status": 404, "errorCode": "000", "message": "not found" })),
        }
    }
}

/// The served peers.
pub(crate) struct Upstreams {
    /// What happened.
    pub(crate) network: FaultyNetwork,
    /// Cleeng's base URL as the settings want it.
    pub(crate) cleeng: String,
    /// Adyen's.
    pub(crate) adyen: String,
    _served: [RunningServer; 2],
}

/// An address of this machine; port 0 is any free one.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Upstreams {
    /// Serves them; Cleeng at this port.
    pub(crate) async fn start(cleeng_port: u16) -> Self {
        let network = FaultyNetwork::default();
        let cleeng = serve(Arc::new(CleengStub), network.clone(), loopback(cleeng_port)).await.unwrap();
        let adyen = serve(Arc::new(AdyenStub), network.clone(), loopback(0)).await.unwrap();
        Self { network, cleeng: format!("{}/3.1", cleeng.url()), adyen: adyen.url(), _served: [cleeng, adyen] }
    }
}
