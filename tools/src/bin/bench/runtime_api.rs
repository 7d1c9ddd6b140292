//! A Lambda Runtime API that hands out events and notes when the function asks and answers (AWS, "Using the Lambda runtime API").

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sandbox::simulators::network::{FaultyNetwork, RunningServer, ServerRequest, ServerResponse, SimulatedServer, serve};

/// How long a function may take for anything; under valgrind it is slow.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What the function did.
pub(crate) enum Signal {
    /// It asks for the next event: it has started, or is done with the last one.
    Next(Instant),
    /// It answered.
    Answer(Instant, Bytes),
    /// It reported an error.
    Error(String),
}

struct RuntimeApiServer {
    events: Mutex<Receiver<Bytes>>,
    signals: Mutex<Sender<Signal>>,
}

impl RuntimeApiServer {
    fn signal(&self, signal: Signal) {
        // Nobody listens any more when the measurement is over.
        let _ = self.signals.lock().unwrap_or_else(PoisonError::into_inner).send(signal);
    }

    fn next(&self) -> ServerResponse {
        let event = self.events.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(event) = event else { return ServerResponse::empty(500) };
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(90);
        let mut answer = ServerResponse::empty(200)
            .with_header("content-type", "application/json")
            .with_header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            .with_header("lambda-runtime-deadline-ms", &deadline.as_millis().to_string())
            .with_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:measured");
        answer.body = event;
        answer
    }
}

impl SimulatedServer for RuntimeApiServer {
    fn name(&self) -> &'static str {
        "runtime"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let now = Instant::now();
        match request.segments().last().copied() {
            Some("next") => {
                self.signal(Signal::Next(now));
                self.next()
            }
            Some("response") => {
                self.signal(Signal::Answer(now, request.body.clone()));
                ServerResponse::empty(202)
            }
            _ => {
                self.signal(Signal::Error(String::from_utf8_lossy(&request.body).into_owned()));
                ServerResponse::empty(202)
            }
        }
    }
}

/// The other end of the Runtime API.
pub(crate) struct RuntimeApi {
    /// Host and port, as `AWS_LAMBDA_RUNTIME_API` wants them.
    pub(crate) address: String,
    events: Sender<Bytes>,
    signals: Receiver<Signal>,
    _served: RunningServer,
}

impl RuntimeApi {
    /// Serves a new one.
    pub(crate) async fn start() -> std::io::Result<Self> {
        let (events, to_function) = channel();
        let (from_function, signals) = channel();
        let api = Arc::new(RuntimeApiServer { events: Mutex::new(to_function), signals: Mutex::new(from_function) });
        let served = serve(api, FaultyNetwork::default(), ([127, 0, 0, 1], 0).into()).await?;
        let address = served.url().trim_start_matches("http://").to_owned();
        Ok(Self { address, events, signals, _served: served })
    }

    /// Waits until the function asks for an event.
    pub(crate) fn until_next(&self) -> Result<Instant, String> {
        match self.signal()? {
            Signal::Next(at) => Ok(at),
            Signal::Answer(..) => Err("the function answered without being asked".to_owned()),
            Signal::Error(text) => Err(format!("the function failed: {text}")),
        }
    }

    /// Hands out an event and waits for the answer: how long it took, and what it was.
    pub(crate) fn invoke(&self, event: &Bytes) -> Result<(Duration, Bytes), String> {
        let start = Instant::now();
        self.events.send(event.clone()).map_err(|_| "the function is gone".to_owned())?;
        match self.signal()? {
            Signal::Answer(at, body) => Ok((at.duration_since(start), body)),
            Signal::Next(_) => Err("the function did not answer".to_owned()),
            Signal::Error(text) => Err(format!("the function failed: {text}")),
        }
    }

    fn signal(&self) -> Result<Signal, String> {
        self.signals.recv_timeout(TIMEOUT).map_err(|error| match error {
            RecvTimeoutError::Timeout => "the function is silent".to_owned(),
            RecvTimeoutError::Disconnected => "the Runtime API is gone".to_owned(),
        })
    }
}
