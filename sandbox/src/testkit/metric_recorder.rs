//! A metric sink that records.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use connector::metrics::{Metric, MetricSink};

/// Recorded metrics.
#[derive(Default)]
pub struct MetricRecorder(Mutex<Vec<RecordedMetric>>);

/// A metric, its value and its dimensions.
pub type RecordedMetric = (Metric, u64, BTreeMap<&'static str, String>);

impl MetricRecorder {
    /// The sum of the values of a metric with this value of a dimension.
    #[must_use]
    pub fn total(&self, metric: Metric, value: &str) -> u64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = seen.iter().filter(|(m, _, dimensions)| *m == metric && dimensions.values().any(|other| other == value));
        of_it.fold(0, |sum, (_, by, _)| sum.saturating_add(*by))
    }

    /// How often this metric was counted with this value of any dimension; with an empty value, how often at all.
    #[must_use]
    pub fn count(&self, metric: Metric, value: &str) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(m, _, dims)| *m == metric && (value.is_empty() || dims.values().any(|v| v == value))).count()
    }
}

impl MetricRecorder {
    /// The metrics after the first `seen` ones.
    #[must_use]
    pub fn recorded_since(&self, seen: usize) -> Vec<RecordedMetric> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(seen).cloned().collect()
    }
}

impl MetricSink for MetricRecorder {
    fn emit(&self, metric: Metric, value: u64, dimensions: &[(&'static str, &str)]) {
        let dimensions = dimensions.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((metric, value, dimensions));
    }
}
