//! Wraps the test environment into transport and journal that inject faults, and into the checks of journal, logs and metrics.

use std::sync::{Arc, OnceLock};

use connector::gateway::{Gateway, GatewayName};
use connector::http::Transport;
use connector::journal::store::Store;
use connector::metrics::MetricSink;

use super::context::SimulationContext;
use super::due_calls::DueCalls;
use super::faulty_io::{FaultyStore, FaultyTransport};
use super::journal_checker::JournalChecker;
use super::leak_checker::LeakDetectingMetrics;
use crate::testkit::gateway_fixtures::{build_adapter_with, gateway_secrets, gateway_settings};
use crate::testkit::interceptors::Interceptors;

/// The wrappers of a run. Those of its options stand between them and the functions.
pub(super) struct FaultInjection<'a> {
    pub(super) context: SimulationContext,
    pub(super) checker: JournalChecker,
    pub(super) due_calls: DueCalls,
    /// Whether Adyen's account captures by request alone.
    pub(super) manual_capture: bool,
    pub(super) outer: &'a dyn Interceptors,
    /// Set when the environment is built: requests that arrive late go through it.
    pub(super) transport: OnceLock<Arc<FaultyTransport>>,
}

impl Interceptors for FaultInjection<'_> {
    fn transport(&self, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        let (context, due_calls) = (self.context.clone(), self.due_calls.clone());
        let faulty = self.transport.get_or_init(|| Arc::new(FaultyTransport { inner, context, due_calls }));
        self.outer.transport(faulty.clone())
    }

    fn store(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        let (context, checker, due_calls) = (self.context.clone(), self.checker.clone(), self.due_calls.clone());
        self.outer.store(Arc::new(FaultyStore { inner, context, checker, due_calls }))
    }

    fn gateway(&self, inner: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        let transport = self.transport.get().filter(|_| self.manual_capture && inner.name() == GatewayName::Adyen);
        self.outer.gateway(transport.map_or(inner, |transport| {
            let mut settings = gateway_settings(GatewayName::Adyen, None);
            settings.push(("ADYEN_CAPTURE", "manual".to_owned()));
            build_adapter_with(
                GatewayName::Adyen,
                &settings,
                &gateway_secrets(),
                self.outer.transport(transport.clone()),
                self.context.clock(),
            )
        }))
    }

    fn metrics(&self, sink: Arc<dyn MetricSink>) -> Arc<dyn MetricSink> {
        Arc::new(LeakDetectingMetrics { context: self.context.clone(), sink })
    }
}
