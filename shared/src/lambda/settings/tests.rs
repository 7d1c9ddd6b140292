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
    assert_eq!((settings.partial_refunds, settings.delete_deactivated_details), (PartialRefunds::Park, true));
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
        ("UNKNOWN_DEADLINE_HOURS", "73"),
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
