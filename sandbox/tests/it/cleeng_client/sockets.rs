//! The real transport over real sockets: reused connections that break, silence, redirects, responses that are too large or not HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector::cleeng::client::{CleengSettings, CoreApi};
use connector::cleeng::{Cleeng, CleengError, NewPaymentStatus, Order, PaymentStatus, UnknownAnswer};
use connector::http::{MAX_RESPONSE_BYTES, Method, Request, ReqwestTransport, Transport, TransportCause, TransportError};
use connector::ids::OrderId;
use connector::secret::SecretString;
use sandbox::simulators::network::{Fault, FaultyNetwork, ServerRequest, ServerResponse, SimulatedServer, serve};
use serde_json::json;

use crate::cleeng_client::harness::{CleengHarness, TOKEN, external, usd};

const LONG: Duration = Duration::from_secs(30);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A server that speaks in bytes: for the n-th request of the m-th connection the script has an answer, or the connection is cut.
struct ScriptedServer {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl ScriptedServer {
    fn serve(script: fn(usize, usize) -> Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(any_port()).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        // The threads end with the process.
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (Ok(mut stream), counter) = (stream, Arc::clone(&counter)) else { return };
                std::thread::spawn(move || {
                    let mut buffer = [0_u8; 4096];
                    let mut index = 0;
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                        counter.fetch_add(1, Ordering::SeqCst);
                        match script(connection, index) {
                            Some(answer) => drop(stream.write_all(&answer)),
                            None => break,
                        }
                        index += 1;
                    }
                });
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn send(transport: &ReqwestTransport, request: Request) -> Result<u16, TransportError> {
    transport.send(request).await.map(|answer| answer.status.as_u16())
}

#[tokio::test]
async fn a_closed_keep_alive_connection_is_replaced_once_for_repeatable_requests() {
    let server = ScriptedServer::serve(|connection, index| (connection > 0 || index == 0).then(|| OK.to_vec()));
    let transport = ReqwestTransport::new().unwrap();
    let get = || Request::new(Method::GET, server.url.clone(), LONG);
    assert_eq!(send(&transport, get()).await, Ok(200));
    // The second request goes over the kept connection, which the server cuts; the third is its repetition over a new one.
    assert_eq!(send(&transport, get()).await, Ok(200));
    assert_eq!(server.requests(), 3);
}

/// Connections die while the process is frozen: the kept one breaks with the next data that is written to it.
#[tokio::test]
async fn a_write_without_a_key_never_uses_a_connection_that_was_idle() {
    let server = ScriptedServer::serve(|_, index| (index == 0).then(|| OK.to_vec()));
    let transport = ReqwestTransport::new().unwrap();
    let post = || Request::new(Method::POST, server.url.clone(), LONG).json(&json!({}));
    assert_eq!(send(&transport, Request::new(Method::GET, server.url.clone(), LONG)).await, Ok(200));
    for _ in 0..3 {
        assert_eq!(send(&transport, post()).await, Ok(200));
    }
    assert_eq!(server.requests(), 4);
}

/// The process is stopped between the question and the report, and the peer resets what it had kept. Cleeng's client is that of a warm
/// function.
#[tokio::test]
async fn a_report_after_a_freeze_reaches_cleeng_over_a_connection_of_its_own() {
    let harness = CleengHarness::at_renewal();
    let server = ScriptedServer::serve(|_, index| (index == 0).then(|| answer_of_cleeng().into_bytes()));
    let api = api_at(server.url.trim_end_matches('/'));
    let order = OrderId::new("5").unwrap();
    assert!(api.order(&order).await.is_ok());
    let order = Order { id: order, total: usd(999), customer: None, offer: None, payment_method: None, expires_at: None };
    let reported = api.create_payment(&harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1")).await;
    assert_eq!(reported.map(|payment| payment.status), Ok(PaymentStatus::Captured));
    assert_eq!(server.requests(), 2);
}

/// An order and a payment at once.
fn answer_of_cleeng() -> String {
    let body = json!({ "id": 5, "currency": "USD", "totalPrice": 9.99, "status": "captured", "orderId": 5, "externalPaymentId": "PSP1" });
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_server_that_always_closes_the_connection_is_tried_twice() {
    let server = ScriptedServer::serve(|_, _| None);
    let transport = ReqwestTransport::new().unwrap();
    let post = Request::new(Method::POST, server.url.clone(), LONG);
    assert_eq!(send(&transport, post.repeatable()).await, Err(TransportError::NoResponse(TransportCause::Broken)));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn the_timeout_covers_no_answer_and_an_endless_answer() {
    let transport = ReqwestTransport::new().unwrap();
    let short = Duration::from_millis(150);
    let silent = TcpListener::bind(any_port()).unwrap();
    let request = Request::new(Method::GET, format!("http://{}/", silent.local_addr().unwrap()), short);
    assert_eq!(send(&transport, request).await, Err(TransportError::NoResponse(TransportCause::Timeout)));
    let endless = ScriptedServer::serve(|_, _| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()));
    let request = Request::new(Method::GET, endless.url.clone(), short);
    assert_eq!(send(&transport, request).await, Err(TransportError::NoResponse(TransportCause::Timeout)));
    assert_eq!(endless.requests(), 1, "a timeout is never repeated");
}

#[tokio::test]
async fn a_refused_connection_is_known_to_have_had_no_effect() {
    let address = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let transport = ReqwestTransport::new().unwrap();
    let request = Request::new(Method::POST, format!("http://{address}/"), LONG);
    assert_eq!(send(&transport, request).await, Err(TransportError::NotSent(TransportCause::Connect)));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_garbled_and_not_repeated() {
    let server = ScriptedServer::serve(|_, _| Some(b"SSH-2.0-nonsense\r\n\r\n".to_vec()));
    let transport = ReqwestTransport::new().unwrap();
    let get = Request::new(Method::GET, server.url.clone(), LONG);
    assert_eq!(send(&transport, get).await, Err(TransportError::NoResponse(TransportCause::Malformed)));
    assert_eq!(server.requests(), 1);
}

/// Answers everything with the same, and remembers the paths.
struct ConstantServer(ServerResponse, Mutex<Vec<String>>);

impl SimulatedServer for ConstantServer {
    fn name(&self) -> &'static str {
        "always"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        self.1.lock().unwrap().push(request.path.clone());
        self.0.clone()
    }
}

fn api_at(url: &str) -> CoreApi {
    let settings = CleengSettings { api_url: format!("{url}/3.1"), ..CleengHarness::settings() };
    CoreApi::new(settings, vec![SecretString::new(TOKEN)], Arc::new(ReqwestTransport::new().unwrap())).unwrap()
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let answer = ServerResponse::empty(302).with_header("location", "/elsewhere");
    let peer = Arc::new(ConstantServer(answer, Mutex::default()));
    let served = serve(peer.clone(), FaultyNetwork::default(), any_port()).await.unwrap();
    let harness = CleengHarness::new();
    assert_eq!(
        api_at(&served.url()).subscription(&harness.subscriber.subscription).await,
        Err(CleengError::Unknown(UnknownAnswer::Status(302)))
    );
    assert_eq!(*peer.1.lock().unwrap(), [format!("/3.1/subscriptions/{}", harness.subscriber.subscription)]);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let mut answer = ServerResponse::empty(200);
    answer.body = vec![b' '; MAX_RESPONSE_BYTES + 1].into();
    let served = serve(Arc::new(ConstantServer(answer, Mutex::default())), FaultyNetwork::default(), any_port()).await.unwrap();
    let harness = CleengHarness::new();
    let garbled = CleengError::Unknown(UnknownAnswer::NoAnswer(TransportError::NoResponse(TransportCause::Malformed)));
    assert_eq!(api_at(&served.url()).subscription(&harness.subscriber.subscription).await, Err(garbled));
}

#[tokio::test]
async fn the_client_renews_over_real_http_and_posts_a_payment_once() {
    let harness = CleengHarness::at_renewal();
    let served = serve(Arc::new(harness.cleeng.clone()), harness.network.clone(), any_port()).await.unwrap();
    let api = api_at(&served.url());
    harness.network.inject(Fault::TimeoutAfter, |_, request| request.path == "/3.1/orders");
    let order = api.create_order(&harness.new_order()).await.unwrap();
    assert_eq!(harness.cleeng.orders().len(), 2, "an order may be repeated");
    harness.network.inject(Fault::TimeoutAfter, |_, request| request.path == "/3.1/payments");
    let lost = api.create_payment(&harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1")).await;
    assert_eq!(lost, Err(CleengError::Unknown(UnknownAnswer::NoAnswer(TransportError::NoResponse(TransportCause::Broken)))));
    assert_eq!(harness.cleeng.payments().len(), 1, "a payment may not");
    let renewed = api.subscription(&harness.subscriber.subscription).await.unwrap();
    assert_eq!(renewed.latest_payment, connector::cleeng::LatestPayment::Known(external("PSP1")));
    assert_eq!(harness.violated_rules(), Vec::<&str>::new());
}
