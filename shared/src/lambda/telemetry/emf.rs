//! Metrics as log lines (CloudWatch, "Specification: Embedded metric format").

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Output;
use crate::clock::Clock;
use crate::metrics::{Metric, MetricSink};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "CleengPaymentConnector";

/// Writes each value as one line: per function, per deployment, where there are dimensions, per deployment with them, and what decides about a
/// roll-out per version of the function.
pub struct EmfSink {
    output: Output,
    deployment: String,
    function: String,
    version: String,
    clock: Arc<dyn Clock>,
}

impl EmfSink {
    /// Metrics of this function, in this version, of this deployment, which is the stack.
    #[must_use]
    pub fn new(
        output: Output,
        deployment: impl Into<String>,
        function: impl Into<String>,
        version: impl Into<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { output, deployment: deployment.into(), function: function.into(), version: version.into(), clock }
    }
}

impl MetricSink for EmfSink {
    fn emit(&self, metric: Metric, value: u64, dimensions: &[(&'static str, &str)]) {
        let mut sets = vec![json!(["function"]), json!(["deployment"])];
        if metric.is_told_by_version() {
            sets.insert(0, json!(["function", "version"]));
        }
        if !dimensions.is_empty() {
            sets.push(std::iter::once("deployment").chain(dimensions.iter().map(|(name, _)| *name)).collect());
        }
        let directive = json!({
            "Namespace": NAMESPACE,
            "Dimensions": sets,
            "Metrics": [{ "Name": metric.as_str(), "Unit": metric.unit() }],
        });
        let mut line = Map::new();
        line.insert("_aws".to_owned(), json!({ "Timestamp": self.clock.now().millis(), "CloudWatchMetrics": [directive] }));
        line.insert("deployment".to_owned(), Value::from(self.deployment.as_str()));
        line.insert("function".to_owned(), Value::from(self.function.as_str()));
        if metric.is_told_by_version() {
            line.insert("version".to_owned(), Value::from(self.version.as_str()));
        }
        for (name, text) in dimensions {
            line.insert((*name).to_owned(), Value::from(*text));
        }
        line.insert(metric.as_str().to_owned(), Value::from(value));
        self.output.line(&Value::Object(line).to_string());
    }
}
