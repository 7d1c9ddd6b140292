//! What the template guarantees beyond one function: queues, roles, retained resources.

use connector::cleeng::webhook::Topic;
use connector::journal::{MAX_RECEIVES, MAX_REDELIVERY_DELAY, MAX_UNKNOWN_DEADLINE_HOURS, QUEUE_REDELIVERY_WINDOW};

use crate::support::files::{camel_case, read};
use crate::support::template::{Entry, resources, section, variables};
use crate::{NOTIFICATION, RECONCILIATION, functions, names, webhook_functions};

#[test]
fn resources_of_one_function_alone_stand_in_its_block() {
    let template = read("template.yaml");
    let resources = template.lines().skip_while(|line| *line != "Resources:").skip(1);
    let resources = resources.take_while(|line| line.is_empty() || line.starts_with(' '));
    let mut base: Option<&str> = None;
    for id in resources.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':')).filter(|id| id.chars().all(char::is_alphanumeric)) {
        base = id.strip_suffix("Function").or(base);
        assert!(base.is_none_or(|base| id.starts_with(base)), "{id} stands below {}Function", base.unwrap_or_default());
    }
    assert!(base.is_some(), "no function found");
}

#[test]
fn a_queues_visibility_timeout_is_six_times_its_functions_and_messages_are_retained() {
    let timeout: u32 = section("Globals")["Function"].value("Timeout").unwrap().parse().unwrap();
    for name in webhook_functions().into_keys() {
        let queue = &section("Resources")[&format!("{}Queue", camel_case(&name))];
        let visibility: u32 = queue.value("VisibilityTimeout").unwrap().parse().unwrap();
        assert!(visibility >= timeout * 6, "{name}: {visibility} s is less than six times {timeout} s");
        assert_eq!(queue.value("MessageRetentionPeriod"), Some("1209600"), "{name}: 14 days, the maximum of SQS");
        assert_eq!(queue.value("maxReceiveCount"), Some(MAX_RECEIVES.to_string().as_str()), "{name}");
        assert!(u64::from(visibility) < MAX_REDELIVERY_DELAY.as_secs(), "{name}: a message comes back after a crash in {visibility} s");
        assert_eq!(queue.value("deadLetterTargetArn"), Some("!GetAtt DeadLetters.Arn"), "{name}");
    }
    for (id, queue) in resources("AWS::SQS::Queue") {
        assert_eq!(queue.value("SqsManagedSseEnabled"), Some("true"), "{id} is not encrypted");
    }
}

/// One limit in one place: how long an outcome is asked about, how often a message is received, and how long a queue keeps it.
#[test]
fn deadline_receives_and_retention_fit_together() {
    let seconds = |entry: &str, name: &str| -> u64 { section("Resources")[entry].value(name).unwrap().parse().unwrap() };
    let deadline = section("Parameters")["UnknownDeadlineHours"].value("MaxValue").unwrap().to_owned();
    assert_eq!(deadline, MAX_UNKNOWN_DEADLINE_HOURS.to_string(), "the template and the functions have one limit");
    let (window, deadline) = (QUEUE_REDELIVERY_WINDOW.as_secs(), MAX_UNKNOWN_DEADLINE_HOURS * 3_600);
    let retention = seconds("DeadLetters", "MessageRetentionPeriod");
    assert_eq!(retention, 14 * 86_400);
    assert!(deadline + window < retention, "an outcome is decided before the last copy of its event is gone");
    // Retention counts from the first receipt; the alarm's age from when it became a dead letter.
    let alarm = seconds("DeadLettersAgeAlarm", "Threshold");
    assert!(window + alarm + 2 * 86_400 <= retention, "an operator has two days from the alarm on");
    assert!(section("Resources")["DeadLettersAlarm"].value("AlarmDescription").unwrap().contains("within 11 days"));
    assert!(window <= 3 * 86_400, "as the alarm and the runbook say");
}

/// Whether a filter of the access log counts a response: its status, and one of its routes, each with an asterisk for any text.
fn counts(pattern: &str, route: &str, status: &str) -> bool {
    let is_like = |wanted: &str, text: &str| match wanted.split_once('*') {
        Some((start, end)) if end.contains('*') => text.contains(end.trim_end_matches('*')) && text.starts_with(start),
        Some((start, end)) => text.starts_with(start) && text.ends_with(end),
        None => wanted == text,
    };
    let words = |member: &str| -> Vec<String> {
        let start = format!("$.{member} = \"");
        let parts = pattern.split(&start).skip(1);
        parts.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    };
    words("status").iter().any(|wanted| is_like(wanted, status)) && words("route").iter().any(|wanted| is_like(wanted, route))
}

#[test]
fn an_alarm_of_the_api_rings_for_its_kind_of_route_and_a_stranger_reaches_none_with_one_request() {
    let (all, filters) = (section("Resources"), resources("AWS::Logs::MetricFilter"));
    assert_eq!(filters.len(), 5);
    let counting = |route: &str, status: &str| -> Vec<String> {
        let ids = filters.iter().filter(|(_, filter)| counts(filter.value("FilterPattern").unwrap(), route, status));
        ids.map(|(id, _)| id.trim_end_matches("Filter").to_owned()).collect()
    };
    let [webhook, notification] = ["POST /webhooks/{key}/refund-payment", "POST /gateways/{gateway}/notifications"];
    let [page, browser] = ["POST /connectors/{gateway}/initial-payment", "GET /connectors/{gateway}/v1/tokens/return/{reference}"];
    for (route, status, expected) in [
        (webhook, "429", "ApiThrottled"),
        (webhook, "500", "ApiFailing"),
        (webhook, "503", "ApiFailing"),
        (notification, "429", "ApiThrottled"),
        (notification, "503", "NotificationsFailing"),
        (page, "429", "FrontEndsThrottled"),
        (page, "503", "FrontEndsFailing"),
        (browser, "429", "FrontEndsThrottled"),
        (browser, "502", "FrontEndsFailing"),
    ] {
        assert_eq!(counting(route, status), [expected], "{route} {status}");
        let (alarm, filter) = (&all[&format!("{expected}Alarm")], &all[&format!("{expected}Filter")]);
        assert_eq!(alarm.value("MetricName"), filter.value("MetricName"), "{expected}");
        let threshold: u32 = alarm.value("Threshold").unwrap().parse().unwrap();
        assert_eq!(threshold == 1, expected.starts_with("Api"), "{expected}: strangers reach what is no webhook");
    }
    for route in [webhook, notification, page, browser] {
        for status in ["200", "302", "400", "401", "404", "413"] {
            assert_eq!(counting(route, status), Vec::<String>::new(), "{route} {status}");
        }
    }
}

#[test]
fn resources_that_must_outlive_the_stack_are_retained() {
    for id in ["Journal", "Secret", "DeadLetters"] {
        let entry = &section("Resources")[id];
        assert_eq!(entry.value("DeletionPolicy"), Some("Retain"), "{id}");
        assert_eq!(entry.value("UpdateReplacePolicy"), Some("Retain"), "{id}");
    }
    assert_eq!(section("Resources")["Journal"].value("DeletionProtectionEnabled"), Some("true"));
    let secret = &section("Resources")["Secret"];
    assert!(
        secret.value("SecretString").is_none() && secret.value("GenerateSecretString").is_none(),
        "the stack must not write the secret"
    );
}

#[test]
fn no_role_has_a_wildcard_except_where_tracing_demands_it() {
    let roles = resources("AWS::IAM::Role");
    assert_eq!(roles.len(), names().len(), "one role per function");
    for (id, role) in roles {
        assert!(role.value("ManagedPolicyArns").is_none(), "{id} uses managed policies");
        let own = role.0.iter().position(|line| line.contains("PolicyName: own-resources")).unwrap();
        let tracing = role.0.iter().position(|line| line.contains("PolicyName: tracing")).unwrap();
        assert!(own < tracing, "{id}: the tracing policy comes last");
        for line in &role.0[..tracing] {
            assert!(!line.contains('*'), "{id} has a wildcard: {}", line.trim());
        }
        let tracing = Entry(role.0[tracing..].to_vec());
        assert_eq!(tracing.items("Action"), ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "{id}");
        assert_eq!(role.items("Resource").iter().filter(|resource| resource.contains('*')).count(), 1, "{id}");
    }
    for (name, (_, entry)) in functions() {
        assert!(entry.value("Policies").is_none(), "{name}: policies belong to its role");
    }
}

#[test]
fn only_gateway_notification_and_reconciliation_may_requeue_events_and_to_their_own_queues() {
    let all = section("Resources");
    let bring_back = [NOTIFICATION, RECONCILIATION];
    for (name, (_, entry)) in functions() {
        assert_eq!(variables(&entry).contains_key("EVENT_QUEUE_URLS"), bring_back.contains(&name.as_str()), "{name}");
    }
    for function in bring_back {
        let (urls, base) = (variables(&functions()[function].1)["EVENT_QUEUE_URLS"].clone(), camel_case(function));
        for entry in urls.trim_start_matches("!Sub ").trim_matches('"').split(',') {
            let (topic, queue) = entry.split_once('=').unwrap();
            let topic = Topic::parse(topic).unwrap_or_else(|| panic!("{topic}: no topic of Cleeng"));
            let queue = queue.trim_start_matches("${").trim_end_matches('}');
            assert!(queue.eq_ignore_ascii_case(&format!("{}Queue", topic.as_str())), "{queue} is not the queue of {}", topic.as_str());
            let (role, policy) = (&all[&format!("{base}Role")], &all[&format!("{queue}Policy")]);
            assert!(role.0.iter().any(|line| line.trim() == format!("- !GetAtt {queue}.Arn")), "{function} may not send to {queue}");
            assert!(policy.0.iter().any(|line| line.trim() == format!("- !GetAtt {base}Role.Arn")), "{queue} does not take {function}");
        }
    }
}
