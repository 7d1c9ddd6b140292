//! Nothing secret and nothing personal in what functions write to logs and metrics.

use std::fmt;
use std::sync::Arc;

use connector::metrics::{Metric, MetricSink};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::context::SimulationContext;
use crate::testkit::fixtures::{PUBLISHER_TOKEN, WEBHOOK_SECRET};
use crate::testkit::gateway_fixtures::{PAYPAL_SECRET, gateway_secrets};

/// What is personal: an e-mail address.
pub(super) const PERSONAL_DATA: &str = "an e-mail address";

/// What is in a text that must not be there.
pub(super) fn find_leak(text: &str) -> Option<&'static str> {
    if text.contains('@') && text.contains("example.com") {
        return Some(PERSONAL_DATA);
    }
    let known = [PUBLISHER_TOKEN, WEBHOOK_SECRET, PAYPAL_SECRET, "sandbox-idempotency-salt"];
    known.iter().any(|secret| text.contains(secret)).then_some("a secret")
}

/// The log under the eyes of the audit. Nothing is kept of it.
pub(super) struct LeakDetectingSubscriber {
    context: SimulationContext,
    forbidden: Arc<Vec<String>>,
}

impl LeakDetectingSubscriber {
    pub(super) fn new(context: SimulationContext) -> Self {
        let mut needles = vec![PUBLISHER_TOKEN.to_owned(), WEBHOOK_SECRET.to_owned(), "sandbox-idempotency-salt".to_owned()];
        let all = gateway_secrets();
        let gateways = all.as_object().into_iter().flatten().filter_map(|(_, own)| own.as_object());
        let values = gateways.flatten().flat_map(|(_, values)| values.as_array().into_iter().flatten());
        needles.extend(values.filter_map(|value| value.as_str().map(str::to_owned)));
        needles.push("@example.com".to_owned());
        // What a customer's token and a bearer begin with.
        needles.extend(["eyJ".to_owned(), "Bearer ".to_owned()]);
        Self { context, forbidden: Arc::new(needles) }
    }
}

struct FieldCollector(String);

impl Visit for FieldCollector {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        let _never_fails = write!(self.0, "{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push_str(field.name());
        self.0.push('=');
        self.0.push_str(value);
        self.0.push(' ');
    }
}

impl Subscriber for LeakDetectingSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut reader = FieldCollector(String::new());
        attributes.record(&mut reader);
        self.check(&reader.0);
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        let mut reader = FieldCollector(String::new());
        values.record(&mut reader);
        self.check(&reader.0);
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut reader = FieldCollector(String::new());
        event.record(&mut reader);
        self.check(&reader.0);
        self.context.trace(|| format!("log: {}", reader.0.trim_end()));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

impl LeakDetectingSubscriber {
    fn check(&self, text: &str) {
        if self.forbidden.iter().any(|needle| text.contains(needle.as_str())) {
            self.context.report_violation("a secret or personal data was logged".to_owned());
        }
    }
}

/// Metrics under the eyes of the audit.
pub(super) struct LeakDetectingMetrics {
    pub(super) context: SimulationContext,
    pub(super) sink: Arc<dyn MetricSink>,
}

impl MetricSink for LeakDetectingMetrics {
    fn emit(&self, metric: Metric, value: u64, dimensions: &[(&'static str, &str)]) {
        for (name, text) in dimensions {
            // A dimension is a stable word: ids, which have many digits, would make a metric of their own each.
            if text.len() > 60 || text.chars().filter(char::is_ascii_digit).count() > 6 {
                self.context.report_violation(format!("a metric has a dimension {name} that is not a stable value"));
            }
        }
        if matches!(metric, Metric::Parked | Metric::Alarm) {
            dimensions.iter().for_each(|(_, reason)| self.context.record_alarm(reason));
        }
        if matches!(metric, Metric::Parked | Metric::Alarm | Metric::Warning) {
            self.context.trace(|| format!("{} {dimensions:?}", metric.as_str()));
        }
        self.sink.emit(metric, value, dimensions);
    }
}
