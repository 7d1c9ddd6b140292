//! The settings of a function that belong to no upstream: the publisher, the payment methods, the rules of billing, and where table, queue
//! and secret are. Every mistake is collected; a value is never quoted, because it could be a secret in the wrong place.
//!
//! Settings of Cleeng and of each gateway live beside their clients and are read by the same [`SettingsReader`], so that one start shows
//! all mistakes.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::flow::{BillingMode, BillingPolicy, PartialRefunds, PaymentMethodConfig, SettleOn};
use crate::gateway::GatewayName;
use crate::ids::{PaymentMethodId, PublisherId};
use crate::journal::MAX_UNKNOWN_DEADLINE_HOURS;
use crate::secret::SecretString;
use crate::settings::SettingsReader;

/// The largest webhook body that is taken by default, in bytes. Cleeng's events are below 2 KB.
pub const DEFAULT_MAX_BODY_BYTES: usize = 32_768;
/// The largest limit that can be set: the envelope of an event is kept in a journal document, which holds 100 KB.
pub const LARGEST_MAX_BODY_BYTES: usize = 65_536;

const METHODS_FORMAT_HINT: &str =
    "payment method ids with gateway and billing, such as 123123123=adyen:authorise_then_capture,456456456=adyen:capture_only";

/// Where a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In AWS, with queue, table and secret.
    Lambda,
    /// Without AWS: the HTTP handler runs the flow at once, the journal is in memory. Never with a live Cleeng or gateway.
    Embedded,
}

impl Mode {
    /// `CONNECTOR_EMBEDDED` (1 or 0) decides; without it, embedded where SAM CLI runs the function (`AWS_SAM_LOCAL`; AWS SAM, "Invoke
    /// functions locally").
    pub fn read(reader: &mut SettingsReader<'_>) -> Self {
        let default = if reader.text("AWS_SAM_LOCAL").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            Self::Embedded
        } else {
            Self::Lambda
        };
        reader.parsed("CONNECTOR_EMBEDDED", default, "1 (no AWS, journal in memory) or 0", |text| match text {
            "1" => Some(Self::Embedded),
            "0" => Some(Self::Lambda),
            _ => None,
        })
    }
}

/// The settings that only some functions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequiredSettings {
    /// Whether it has a queue (`QUEUE_URL`).
    pub queue: bool,
    /// Whether it quarantines webhooks (`QUARANTINE_QUEUE_URL`).
    pub quarantine: bool,
    /// Whether it puts waiting events back on their queues (`EVENT_QUEUE_URLS`).
    pub event_queues: bool,
    /// Whether customers' browsers call it (`ALLOWED_ORIGINS` and its companions).
    pub frontend: bool,
}

impl RequiredSettings {
    /// Those of a function for webhooks.
    pub const WEBHOOKS: Self = Self { queue: true, quarantine: true, event_queues: false, frontend: false };
    /// Those of the function for the gateways' notifications.
    pub const NOTIFICATIONS: Self = Self { queue: true, quarantine: false, event_queues: true, frontend: false };
    /// Those of the scheduled function; its queue is the quarantine.
    pub const SCHEDULED: Self = Self::NOTIFICATIONS;
    /// Those of a function for customers' browsers.
    pub const FRONTEND: Self = Self { queue: false, quarantine: false, event_queues: false, frontend: true };
}

/// What a deployed function uses in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The journal's table.
    pub table: String,
    /// The function's queue; empty if it has none. The scheduled function's is the quarantine.
    pub queue_url: String,
    /// The queue for webhooks whose signature does not fit yet; empty for a function that takes no webhooks of Cleeng.
    pub quarantine_url: String,
    /// The secret's name or ARN.
    pub secret_id: String,
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the function runs.
    pub mode: Mode,
    /// `None` in embedded mode.
    pub resources: Option<Resources>,
    /// The publisher whose events are accepted.
    pub publisher: PublisherId,
    /// The payment methods that are ours.
    pub methods: BTreeMap<PaymentMethodId, PaymentMethodConfig>,
    /// How long a capture waits for its authorisation.
    pub capture_wait: Duration,
    /// When an acknowledged capture is reported captured.
    pub settle_on: SettleOn,
    /// How long the notification of an acknowledged capture may take.
    pub settle_deadline: Duration,
    /// How long an unknown outcome is queried before it is parked.
    pub unknown_deadline: Duration,
    /// How long a termination waits for a payment in flight.
    pub termination_wait: Duration,
    /// How a partial refund is handled.
    pub partial_refunds: PartialRefunds,
    /// Whether details that were deactivated are deleted.
    pub delete_deactivated_details: bool,
    /// How many merchant-initiated payments with one token may be declined in thirty days.
    pub max_declines: usize,
    /// The largest webhook body, in bytes.
    pub max_body_bytes: usize,
    /// The least important log line that is written.
    pub log_level: LevelFilter,
}

impl Settings {
    /// Reads the settings; mistakes are noted in the reader, whose [`SettingsReader::finish`] then fails.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        Self::read_for(reader, RequiredSettings::WEBHOOKS)
    }

    /// As [`Settings::read`], for a function with these requirements.
    pub fn read_for(reader: &mut SettingsReader<'_>, required: RequiredSettings) -> Option<Self> {
        let mode = Mode::read(reader);
        let resources = match mode {
            Mode::Lambda => read_resources(reader, required),
            Mode::Embedded => None,
        };
        let publisher = read_publisher(reader);
        let methods = read_methods(reader);
        let (settle_on, settle_deadline) = read_settling(reader);
        Some(Self {
            capture_wait: minutes(reader.number("CAPTURE_WAIT_MINUTES", 60, 1, 1440)),
            unknown_deadline: minutes(reader.number("UNKNOWN_DEADLINE_HOURS", 24_u64, 1, MAX_UNKNOWN_DEADLINE_HOURS).saturating_mul(60)),
            termination_wait: minutes(reader.number("TERMINATION_WAIT_HOURS", 48_u64, 1, 336).saturating_mul(60)),
            partial_refunds: read_partial_refunds(reader),
            delete_deactivated_details: reader.parsed("DELETE_DEACTIVATED_DETAILS", true, "yes or no", |text| match text {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            }),
            // Mastercard's limit is 35 in 30 days.
            max_declines: reader.number("MAX_DECLINES_PER_TOKEN", 15, 1, 35),
            max_body_bytes: reader.number("MAX_BODY_BYTES", DEFAULT_MAX_BODY_BYTES, 1024, LARGEST_MAX_BODY_BYTES),
            log_level: read_log_level(reader),
            mode,
            resources,
            publisher: publisher?,
            methods,
            settle_on,
            settle_deadline,
        })
    }

    /// The policy that flows decide by.
    #[must_use]
    pub fn policy(&self, salt: SecretString) -> BillingPolicy {
        BillingPolicy {
            publisher: self.publisher.clone(),
            methods: self.methods.clone(),
            capture_wait: self.capture_wait,
            settle_on: self.settle_on,
            settle_deadline: self.settle_deadline,
            unknown_deadline: self.unknown_deadline,
            termination_wait: self.termination_wait,
            partial_refunds: self.partial_refunds,
            delete_deactivated_details: self.delete_deactivated_details,
            max_declines: self.max_declines,
            salt,
        }
    }

    /// Whether a payment method uses this gateway, so that its secrets are needed.
    #[must_use]
    pub fn uses(&self, gateway: GatewayName) -> bool {
        self.methods.values().any(|method| method.gateway == gateway)
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes.saturating_mul(60))
}

fn read_resources(reader: &mut SettingsReader<'_>, required: RequiredSettings) -> Option<Resources> {
    let table = reader.required("JOURNAL_TABLE", "set it to the name of the journal's DynamoDB table");
    let mut queue = |needed: bool, name, fix| if needed { reader.required(name, fix) } else { Some(String::new()) };
    let queue_url = queue(required.queue, "QUEUE_URL", "set it to the URL of this function's SQS queue");
    let quarantine_url = queue(required.quarantine, "QUARANTINE_QUEUE_URL", "set it to the URL of the stack's quarantine queue");
    let secret_id = reader.required("CONNECTOR_SECRET_ID", "set it to the name or ARN of the secret in AWS Secrets Manager");
    for (name, url) in [("QUEUE_URL", &queue_url), ("QUARANTINE_QUEUE_URL", &quarantine_url)] {
        let url = url.as_deref().filter(|url| !url.is_empty());
        if url.is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            reader.problem(name, "is no URL", "set it to the queue's URL, not its name or ARN");
        }
    }
    Some(Resources { table: table?, queue_url: queue_url?, quarantine_url: quarantine_url?, secret_id: secret_id? })
}

fn read_publisher(reader: &mut SettingsReader<'_>) -> Option<PublisherId> {
    let fix = "set it to your publisher id, which Cleeng's dashboard shows";
    let text = reader.required("CONNECTOR_PUBLISHER_ID", fix)?;
    let publisher = PublisherId::new(&text).ok();
    if publisher.is_none() {
        reader.problem("CONNECTOR_PUBLISHER_ID", "is no id", fix);
    }
    publisher
}

fn read_settling(reader: &mut SettingsReader<'_>) -> (SettleOn, Duration) {
    let settle_on = reader.parsed("SETTLE_ON", SettleOn::Notification, "notification or receipt", |text| match text {
        "notification" => Some(SettleOn::Notification),
        "receipt" => Some(SettleOn::Receipt),
        _ => None,
    });
    let grace: u64 = reader.number("GRACE_PERIOD_MINUTES", 120, 2, 43_200);
    let deadline: u64 = reader.number("SETTLE_DEADLINE_MINUTES", 45, 1, 43_200);
    if deadline >= grace {
        let problem = "is not shorter than GRACE_PERIOD_MINUTES, so Cleeng could end a subscription whose payment is still being settled";
        reader.problem(
            "SETTLE_DEADLINE_MINUTES",
            problem,
            format!("set it to less than {grace}, or raise GRACE_PERIOD_MINUTES to your dunning's"),
        );
    }
    (settle_on, minutes(deadline))
}

fn read_partial_refunds(reader: &mut SettingsReader<'_>) -> PartialRefunds {
    reader.parsed("PARTIAL_REFUNDS", PartialRefunds::Park, "park or send", |text| match text {
        "park" => Some(PartialRefunds::Park),
        "send" => Some(PartialRefunds::Send),
        _ => None,
    })
}

fn read_log_level(reader: &mut SettingsReader<'_>) -> LevelFilter {
    // No trace: at that level the runtime logs whole events.
    reader.parsed("LOG_LEVEL", LevelFilter::INFO, "error, warn, info or debug", |text| match text.to_ascii_lowercase().as_str() {
        "error" => Some(LevelFilter::ERROR),
        "warn" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        _ => None,
    })
}

fn read_methods(reader: &mut SettingsReader<'_>) -> BTreeMap<PaymentMethodId, PaymentMethodConfig> {
    let mut methods = BTreeMap::new();
    let Some(text) = reader.required("PAYMENT_METHODS", &format!("set it to {METHODS_FORMAT_HINT}")) else { return methods };
    for (entry, number) in text.split(',').zip(1_u32..) {
        let entry = entry.trim();
        if entry.is_empty() {
            continue;
        }
        match read_method(entry) {
            Ok((id, method)) => {
                if methods.insert(id, method).is_some() {
                    reader.problem("PAYMENT_METHODS", format!("entry {number} names a payment method a second time"), "keep one of them");
                }
            }
            Err(problem) => reader.problem("PAYMENT_METHODS", format!("entry {number}: {problem}"), format!("write {METHODS_FORMAT_HINT}")),
        }
    }
    if text.split(',').all(|entry| entry.trim().is_empty()) {
        reader.problem("PAYMENT_METHODS", "is missing", format!("set it to {METHODS_FORMAT_HINT}"));
    }
    methods
}

fn read_method(entry: &str) -> Result<(PaymentMethodId, PaymentMethodConfig), String> {
    let (id, method) = entry.split_once('=').ok_or("there is no '=' between id and gateway")?;
    let (gateway, billing) = method.split_once(':').ok_or("there is no ':' between gateway and billing")?;
    let id = PaymentMethodId::new(id).map_err(|_| "the id before '=' is no payment method id")?;
    let gateway = GatewayName::parse(gateway.trim()).ok_or_else(|| {
        let known: Vec<&str> = GatewayName::ALL.iter().map(|name| name.as_str()).collect();
        format!("the gateway is none of {}", known.join(", "))
    })?;
    let billing = match billing.trim() {
        "authorise_then_capture" => BillingMode::AuthoriseThenCapture,
        "capture_only" => BillingMode::CaptureOnly,
        _ => return Err("the billing is neither authorise_then_capture nor capture_only".to_owned()),
    };
    Ok((id, PaymentMethodConfig { gateway, billing }))
}

#[cfg(test)]
mod tests;
