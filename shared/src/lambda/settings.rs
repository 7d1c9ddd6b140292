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
    /// How a partial refund is handled.
    pub partial_refunds: PartialRefunds,
    /// Whether details that were deactivated are deleted.
    pub delete_deactivated_details: bool,
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
            unknown_deadline: minutes(reader.number("UNKNOWN_DEADLINE_HOURS", 24_u64, 1, 144).saturating_mul(60)),
            partial_refunds: read_partial_refunds(reader),
            delete_deactivated_details: reader.parsed("DELETE_DEACTIVATED_DETAILS", false, "yes or no", |text| match text {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            }),
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
            partial_refunds: self.partial_refunds,
            delete_deactivated_details: self.delete_deactivated_details,
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
mod tests {
    use super::*;
    use crate::settings::Problems;

    const COMPLETE: [(&str, &str); 6] = [
        ("CONNECTOR_PUBLISHER_ID", "870553921"),
        ("PAYMENT_METHODS", "123123123=adyen:authorise_then_capture, 456=adyen:capture_only"),
        ("JOURNAL_TABLE", "journal"),
        ("QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/q"),
        ("QUARANTINE_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/quarantine"),
        ("CONNECTOR_SECRET_ID", "connector"),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<Settings, Problems> {
        let get = |name: &str| {
            let find = |list: &[(&str, &str)]| list.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            find(changes).or_else(|| find(&COMPLETE))
        };
        let mut reader = SettingsReader::new(&get);
        let settings = Settings::read(&mut reader);
        reader.finish(settings)
    }

    fn mistakes(changes: &[(&str, &str)]) -> Vec<String> {
        let problems = read(changes).unwrap_err();
        problems.0.into_iter().map(|problem| problem.setting).collect()
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.mode, Mode::Lambda);
        assert_eq!(settings.capture_wait, Duration::from_secs(3600));
        assert_eq!(settings.settle_on, SettleOn::Notification);
        assert_eq!(settings.settle_deadline, Duration::from_secs(2700));
        assert_eq!(settings.unknown_deadline, Duration::from_secs(86_400));
        assert_eq!((settings.partial_refunds, settings.delete_deactivated_details), (PartialRefunds::Park, false));
        assert_eq!(settings.max_body_bytes, DEFAULT_MAX_BODY_BYTES);
        assert_eq!(settings.log_level, LevelFilter::INFO);
        let methods: Vec<_> = settings.methods.iter().map(|(id, method)| (id.as_str(), method.gateway, method.billing)).collect();
        let adyen = GatewayName::Adyen;
        assert_eq!(methods, [("123123123", adyen, BillingMode::AuthoriseThenCapture), ("456", adyen, BillingMode::CaptureOnly)]);
        assert!(settings.uses(adyen));
    }

    #[test]
    fn every_mistake_of_one_start_is_named() {
        let names = mistakes(&[
            ("CONNECTOR_PUBLISHER_ID", ""),
            ("PAYMENT_METHODS", "1=adyen:sometimes,x"),
            ("JOURNAL_TABLE", " "),
            ("QUEUE_URL", "my-queue"),
            ("SETTLE_ON", "whenever"),
            ("CAPTURE_WAIT_MINUTES", "0"),
            ("UNKNOWN_DEADLINE_HOURS", "145"),
            ("PARTIAL_REFUNDS", "sometimes"),
            ("DELETE_DEACTIVATED_DETAILS", "1"),
            ("MAX_BODY_BYTES", "1000000"),
            ("LOG_LEVEL", "trace"),
        ]);
        let expected = [
            "JOURNAL_TABLE",
            "QUEUE_URL",
            "CONNECTOR_PUBLISHER_ID",
            "PAYMENT_METHODS",
            "PAYMENT_METHODS",
            "SETTLE_ON",
            "CAPTURE_WAIT_MINUTES",
            "UNKNOWN_DEADLINE_HOURS",
            "PARTIAL_REFUNDS",
            "DELETE_DEACTIVATED_DETAILS",
            "MAX_BODY_BYTES",
            "LOG_LEVEL",
        ];
        for name in expected {
            assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
        }
    }

    #[test]
    fn a_wrong_payment_method_is_named_by_its_place_and_never_quoted() {
        for (text, reason) in [
            ("1=adyen:capture_only,sk_live_123", "entry 2: there is no '='"),
            ("1=adyen", "entry 1: there is no ':'"),
            ("=adyen:capture_only", "entry 1: the id"),
            ("1=sk_live_123:capture_only", "entry 1: the gateway"),
            ("1=adyen:sk_live_123", "entry 1: the billing"),
            ("1=adyen:capture_only,1=adyen:capture_only", "entry 2 names a payment method a second time"),
            ("", "is missing"),
            (",", "is missing"),
        ] {
            // An empty value is absent, as a template's empty parameter is.
            let shown = read(&[("PAYMENT_METHODS", text)]).unwrap_err().to_string();
            assert!(shown.contains(reason), "{text}: {shown}");
            assert!(!shown.contains("sk_live_123"), "{shown}");
        }
    }

    #[test]
    fn the_settle_deadline_must_be_shorter_than_the_grace_period() {
        assert_eq!(mistakes(&[("SETTLE_DEADLINE_MINUTES", "120")]), ["SETTLE_DEADLINE_MINUTES"]);
        assert_eq!(mistakes(&[("GRACE_PERIOD_MINUTES", "45")]), ["SETTLE_DEADLINE_MINUTES"]);
        assert!(read(&[("SETTLE_DEADLINE_MINUTES", "119")]).is_ok());
    }

    #[test]
    fn embedded_mode_is_the_default_under_sam_and_can_be_switched() {
        let mode = |changes| read(changes).map(|settings| (settings.mode, settings.resources.is_some()));
        assert_eq!(mode(&[("AWS_SAM_LOCAL", "true")]), Ok((Mode::Embedded, false)));
        assert_eq!(mode(&[("AWS_SAM_LOCAL", "true"), ("CONNECTOR_EMBEDDED", "0")]), Ok((Mode::Lambda, true)));
        assert_eq!(mode(&[("CONNECTOR_EMBEDDED", "1"), ("QUEUE_URL", "")]), Ok((Mode::Embedded, false)));
        assert_eq!(mistakes(&[("CONNECTOR_EMBEDDED", "yes")]), ["CONNECTOR_EMBEDDED"]);
    }
}
