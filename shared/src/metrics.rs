//! What is counted. Names are stable: alarms and the dashboard are built on them. Dimensions hold no id and no personal data.

use std::sync::Arc;
use std::time::Duration;

/// What can be counted or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// A webhook was verified and queued.
    EventAccepted,
    /// A webhook was refused by its handler.
    EventRefused,
    /// A bad or missing signature; counted in [`Metric::EventRefused`] too. Dimension `door`: `webhooks`, whose addresses only Cleeng knows,
    /// or `notifications`. Alarmed.
    SignatureFailure,
    /// Something was not done that a right release with right settings would have done; dimension `reason`. Rolls a new version back.
    Fault,
    /// A webhook of another connector's payment method.
    EventNotOurs,
    /// A delivery of something that is settled already.
    Duplicate,
    /// A flow was completed; dimension `outcome`.
    Settled,
    /// A delivery was put back to be tried again; dimension `reason`.
    Deferred,
    /// The outcome of an outside write is unknown.
    UnknownOutcome,
    /// Something needs an operator; dimension `reason`. Alarmed.
    Parked,
    /// Something deviates and was handled; dimension `reason`.
    Warning,
    /// Money moved in another way than it was reported, and the journal has been corrected; dimension `reason`. Alarmed.
    Alarm,
    /// Money that was authorised, captured, released, refunded or charged back, as the journal knows it now, in minor units; dimensions
    /// `movement`, `gateway` and `currency`.
    MoneyMoved,
    /// A payment was declined; dimension `class`.
    Declined,
    /// A call had no effect because the gateway was unavailable, throttled the connector or refused its credentials; dimension `gateway`.
    /// Alarmed.
    GatewayUnavailable,
    /// How long a call to a gateway took, in milliseconds; dimensions `gateway` and `operation`.
    GatewayLatency,
    /// How long the oldest due document has been due at the beginning of a run of reconciliation, in seconds. Alarmed.
    DueAge,
    /// A run of reconciliation went through what is due, as far as its time allowed. Alarmed where it is missing.
    RunCompleted,
    /// A run of reconciliation could not do a part of its work; dimension `part`. Alarmed.
    RunFailed,
    /// How long ago an event that is being put back was received, in seconds. Its maximum is the age of unsettled work.
    UnsettledAge,
}

impl Metric {
    /// The name in CloudWatch.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventAccepted => "EventAccepted",
            Self::EventRefused => "EventRefused",
            Self::SignatureFailure => "SignatureFailure",
            Self::Fault => "Fault",
            Self::EventNotOurs => "EventNotOurs",
            Self::Duplicate => "Duplicate",
            Self::Settled => "Settled",
            Self::Deferred => "Deferred",
            Self::UnknownOutcome => "UnknownOutcome",
            Self::Parked => "Parked",
            Self::Warning => "Warning",
            Self::Alarm => "Alarm",
            Self::MoneyMoved => "MoneyMoved",
            Self::Declined => "Declined",
            Self::GatewayUnavailable => "GatewayUnavailable",
            Self::GatewayLatency => "GatewayLatency",
            Self::DueAge => "DueAge",
            Self::RunCompleted => "RunCompleted",
            Self::RunFailed => "RunFailed",
            Self::UnsettledAge => "UnsettledAge",
        }
    }

    /// Whether it is told by version of the function as well: the alarms that roll a version back must not hear of another one.
    #[must_use]
    pub const fn is_told_by_version(self) -> bool {
        matches!(self, Self::Fault | Self::EventAccepted | Self::EventNotOurs)
    }

    /// The unit in CloudWatch.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::GatewayLatency => "Milliseconds",
            Self::UnsettledAge | Self::DueAge => "Seconds",
            Self::MoneyMoved => "None",
            _ => "Count",
        }
    }
}

/// Where metrics go.
pub trait MetricSink: Send + Sync {
    /// Takes one value. Dimension names and values are short, stable words.
    fn emit(&self, metric: Metric, value: u64, dimensions: &[(&'static str, &str)]);
}

/// The metrics of a function. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<dyn MetricSink>);

impl Metrics {
    /// Sends to this sink.
    #[must_use]
    pub fn new(sink: Arc<dyn MetricSink>) -> Self {
        Self(sink)
    }

    /// Counts one.
    pub fn count(&self, metric: Metric, dimensions: &[(&'static str, &str)]) {
        self.0.emit(metric, 1, dimensions);
    }

    /// Records a number in the metric's unit.
    pub fn value(&self, metric: Metric, value: u64, dimensions: &[(&'static str, &str)]) {
        self.0.emit(metric, value, dimensions);
    }

    /// Records a duration in the metric's unit.
    pub fn duration(&self, metric: Metric, duration: Duration, dimensions: &[(&'static str, &str)]) {
        let value = if metric.unit() == "Seconds" { u128::from(duration.as_secs()) } else { duration.as_millis() };
        self.0.emit(metric, u64::try_from(value).unwrap_or(u64::MAX), dimensions);
    }
}
