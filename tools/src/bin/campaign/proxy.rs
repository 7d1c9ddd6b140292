//! A proxy that stands between a function and one of its upstreams, and does to a call what networks, proxies and gateways are known to do.
//! It works on bytes, one connection a call, because much of what goes wrong is no HTTP.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sandbox::simulation::prng::Prng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request or a response is at most so long.
const MAX_BYTES: usize = 1 << 20;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// The connection is closed at once.
    Refused,
    /// The connection is closed when the request was read; the upstream never sees it.
    CutBefore,
    /// The upstream does it, and the connection is closed without an answer.
    CutAfter,
    /// The upstream does it, and its answer is cut in the middle of the body.
    CutInBody,
    /// The upstream does it, and only the head of its answer comes.
    HeadOnly,
    /// The upstream gets the call twice.
    Twice,
    /// The caller is answered 504, and then the upstream gets the call.
    Late,
    /// The upstream does it, and the caller is answered 504.
    TimeoutAfter,
    /// The upstream does it, and the caller is answered 500.
    ErrorAfter,
    /// 500 with JSON.
    Error,
    /// 502 with HTML.
    BadGateway,
    /// 503 with `Retry-After`.
    Unavailable,
    /// 429 with `Retry-After`.
    Throttled,
    /// 403 with a message alone, as API gateways refuse.
    Forbidden,
    /// 404 with HTML, of something that does not know the path.
    NotFound,
    /// 302 to elsewhere.
    Redirect,
    /// 425.
    TooEarly,
    /// 200 with a page, as a captive portal answers.
    Portal,
    /// 200 without a body.
    Empty,
    /// The upstream does it, and its JSON is cut although its length is right.
    CutJson,
    /// No HTTP at all.
    Garbage,
    /// The upstream does it, and the answer comes in drops.
    Slow,
}

impl FaultKind {
    /// All of them.
    pub(crate) const ALL: [Self; 22] = [
        Self::Refused,
        Self::CutBefore,
        Self::CutAfter,
        Self::CutInBody,
        Self::HeadOnly,
        Self::Twice,
        Self::Late,
        Self::TimeoutAfter,
        Self::ErrorAfter,
        Self::Error,
        Self::BadGateway,
        Self::Unavailable,
        Self::Throttled,
        Self::Forbidden,
        Self::NotFound,
        Self::Redirect,
        Self::TooEarly,
        Self::Portal,
        Self::Empty,
        Self::CutJson,
        Self::Garbage,
        Self::Slow,
    ];
}

/// Which faults are drawn, and how many were. Clones share both.
#[derive(Clone)]
pub(crate) struct FaultDraw(Arc<Mutex<DrawState>>);

struct DrawState {
    prng: Prng,
    per_mille: u16,
    calls: u64,
    counts: BTreeMap<FaultKind, u64>,
}

impl FaultDraw {
    /// Draws for so many calls of a thousand.
    pub(crate) fn new(seed: u64, per_mille: u16) -> Self {
        Self(Arc::new(Mutex::new(DrawState { prng: Prng::from_seed(seed), per_mille, calls: 0, counts: BTreeMap::new() })))
    }

    /// From now on nothing goes wrong.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).per_mille = 0;
    }

    /// How many calls there were, and how often each fault was met.
    pub(crate) fn counts(&self) -> (u64, BTreeMap<FaultKind, u64>) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.calls, state.counts.clone())
    }

    fn draw(&self) -> Option<FaultKind> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls += 1;
        let per_mille = state.per_mille;
        if !state.prng.chance(per_mille) {
            return None;
        }
        let index = state.prng.index(FaultKind::ALL.len());
        let kind = FaultKind::ALL.get(index).copied()?;
        *state.counts.entry(kind).or_default() += 1;
        Some(kind)
    }
}

/// Starts a proxy in front of this upstream, and returns its URL. It runs as long as the process.
///
/// # Errors
/// If no port is free, or the URL has no address.
pub(crate) async fn start(upstream: &str, draw: FaultDraw) -> io::Result<String> {
    let address = upstream.trim_start_matches("http://").parse::<SocketAddr>().map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let draw = draw.clone();
            // A connection that breaks is what this is for.
            tokio::spawn(async move { carry(stream, address, &draw).await.ok() });
        }
    });
    Ok(url)
}

async fn carry(mut caller: TcpStream, upstream: SocketAddr, draw: &FaultDraw) -> io::Result<()> {
    let request = read_message(&mut caller).await?;
    if request.is_empty() {
        return Ok(());
    }
    let Some(kind) = draw.draw() else {
        let answer = forward(&request, upstream).await?;
        return caller.write_all(&answer).await;
    };
    match kind {
        FaultKind::Refused | FaultKind::CutBefore => Ok(()),
        FaultKind::CutAfter => forward(&request, upstream).await.map(drop),
        FaultKind::CutInBody => {
            let answer = forward(&request, upstream).await?;
            let head = head_length(&answer);
            let end = head + (answer.len() - head) / 2;
            caller.write_all(answer.get(..end).unwrap_or_default()).await
        }
        FaultKind::HeadOnly => {
            let answer = forward(&request, upstream).await?;
            caller.write_all(answer.get(..head_length(&answer)).unwrap_or_default()).await
        }
        FaultKind::Twice => {
            forward(&request, upstream).await?;
            let answer = forward(&request, upstream).await?;
            caller.write_all(&answer).await
        }
        FaultKind::Late => {
            caller.write_all(answer("504 Gateway Timeout", "text/html", "", "<html>timeout</html>").as_bytes()).await?;
            caller.shutdown().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            forward(&request, upstream).await.map(drop)
        }
        FaultKind::TimeoutAfter => {
            forward(&request, upstream).await?;
            caller.write_all(answer("504 Gateway Timeout", "text/html", "", "<html>timeout</html>").as_bytes()).await
        }
        FaultKind::ErrorAfter => {
            forward(&request, upstream).await?;
            caller.write_all(answer("500 Internal Server Error", "application/json", "", "{}").as_bytes()).await
        }
        FaultKind::CutJson => {
            let whole = forward(&request, upstream).await?;
            let (head, body) = whole.split_at(head_length(&whole));
            let half = body.get(..body.len() / 2).unwrap_or_default();
            let status = String::from_utf8_lossy(head.get(9..12).unwrap_or(b"200")).into_owned();
            caller.write_all(answer(&status, "application/json", "", &String::from_utf8_lossy(half)).as_bytes()).await
        }
        FaultKind::Slow => {
            let whole = forward(&request, upstream).await?;
            for part in whole.chunks(whole.len() / 4 + 1) {
                caller.write_all(part).await?;
                caller.flush().await?;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        }
        FaultKind::Garbage => caller.write_all(b"\x16\x03\x01\x00\xa5 this is no HTTP\r\n\r\n").await,
        FaultKind::Error
        | FaultKind::BadGateway
        | FaultKind::Unavailable
        | FaultKind::Throttled
        | FaultKind::Forbidden
        | FaultKind::NotFound
        | FaultKind::Redirect
        | FaultKind::TooEarly
        | FaultKind::Portal
        | FaultKind::Empty => caller.write_all(in_place_of_upstream(kind).as_bytes()).await,
    }
}

/// What something in between answers, and the upstream sees nothing.
fn in_place_of_upstream(kind: FaultKind) -> String {
    let page = "<!doctype html><html><body>Please sign in</body></html>";
    match kind {
        FaultKind::Error => answer("500 Internal Server Error", "application/json", "", r#"{"message":"Internal server error"}"#),
        FaultKind::BadGateway => answer("502 Bad Gateway", "text/html", "", page),
        FaultKind::Unavailable => answer("503 Service Unavailable", "text/plain", "retry-after: 2\r\n", "busy"),
        FaultKind::Throttled => {
            answer("429 Too Many Requests", "application/json", "retry-after: 1\r\n", r#"{"message":"Too Many Requests"}"#)
        }
        FaultKind::Forbidden => answer("403 Forbidden", "application/json", "", r#"{"message":"Forbidden"}"#),
        FaultKind::NotFound => answer("404 Not Found", "text/html", "", page),
        FaultKind::Redirect => answer("302 Found", "text/html", "location: http://127.0.0.1:9/elsewhere\r\n", ""),
        FaultKind::TooEarly => answer("425 Too Early", "text/plain", "", ""),
        FaultKind::Portal => answer("200 OK", "text/html", "", page),
        _ => answer("200 OK", "application/json", "", ""),
    }
}

fn answer(status: &str, content_type: &str, more: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}", body.len())
}

/// Hands a request on, over a connection of its own that the upstream closes, and returns the whole answer.
async fn forward(request: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let line = request.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    stream.write_all(request.get(..line).unwrap_or_default()).await?;
    stream.write_all(b"connection: close\r\n").await?;
    stream.write_all(request.get(line..).unwrap_or_default()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Reads a message whose length its head says; empty if the connection ends before.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut part = vec![0; 16_384];
    loop {
        let head = head_length(&message);
        if head > 0 && message.len() >= head + content_length(message.get(..head).unwrap_or_default()) {
            return Ok(message);
        }
        let count = stream.read(&mut part).await?;
        if count == 0 || message.len() > MAX_BYTES {
            return Ok(Vec::new());
        }
        message.extend_from_slice(part.get(..count).unwrap_or_default());
    }
}

/// How long the head of a message is, with the empty line; 0 if it is not whole.
fn head_length(message: &[u8]) -> usize {
    message.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |start| start + 4)
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
