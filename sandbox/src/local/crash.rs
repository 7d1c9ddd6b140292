//! A crash at the point that a payment connector fears most: the money has moved, and Cleeng does not know yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use connector::http::{Method, Request, Response, Transport, TransportError};
use tokio::sync::Notify;

/// Lets a function crash before it reports a payment to Cleeng. Clones are the same trigger.
#[derive(Clone, Default)]
pub struct CrashTrigger(Arc<CrashState>);

#[derive(Default)]
struct CrashState {
    armed: AtomicBool,
    crashed: Notify,
}

impl CrashTrigger {
    /// The next function that reports a payment crashes before the report is sent.
    pub fn arm(&self) {
        self.0.armed.store(true, Ordering::SeqCst);
    }

    /// Whether the crash is still to come.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.0.armed.load(Ordering::SeqCst)
    }

    /// Runs a function to its end; `None` if it crashes: then it is dropped, and what it had in memory is gone.
    pub async fn run<F: Future>(&self, function: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.0.crashed.notified() => None,
            output = function => Some(output),
        }
    }
}

/// The transport of a function that can crash.
pub(super) struct CrashingTransport<T> {
    pub(super) inner: T,
    pub(super) trigger: CrashTrigger,
}

#[async_trait]
impl<T: Transport> Transport for CrashingTransport<T> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let is_report = request.method == Method::POST && request.url.ends_with("/3.1/payments");
        if is_report && self.trigger.0.armed.swap(false, Ordering::SeqCst) {
            self.trigger.0.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.send(request).await
    }
}
