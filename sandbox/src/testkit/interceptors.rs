//! Wrappers around the functions and everything outside them, for tests that inject faults or seed defects.

use std::sync::Arc;

use connector::flow::Flow;
use connector::gateway::Gateway;
use connector::http::Transport;
use connector::journal::store::Store;
use connector::metrics::MetricSink;

/// What stands between the functions and everything outside them. By default nothing does.
pub trait Interceptors: Sync {
    /// The transport to Cleeng and the gateways.
    fn transport(&self, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        inner
    }

    /// The journal.
    fn store(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        inner
    }

    /// The adapter of a gateway.
    fn gateway(&self, inner: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        inner
    }

    /// The sink of metrics.
    fn metrics(&self, inner: Arc<dyn MetricSink>) -> Arc<dyn MetricSink> {
        inner
    }

    /// A flow. Only the simulation asks for it.
    fn flow(&self, inner: Box<dyn Flow>) -> Box<dyn Flow> {
        inner
    }

    /// Whether the webhook handler acknowledges a webhook that its queue does not accept. Only the simulation asks for it.
    fn acknowledges_before_enqueue(&self) -> bool {
        false
    }

    /// A run of the simulation begins.
    fn reset(&self) {}
}

/// Wraps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInterceptors;

impl Interceptors for NoInterceptors {}
