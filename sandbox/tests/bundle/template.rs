//! What the template guarantees beyond one function: queues, roles, retained resources.

use connector::cleeng::webhook::Topic;

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
        assert_eq!(queue.value("MessageRetentionPeriod"), Some("345600"), "{name}: four days");
        assert_eq!(queue.value("maxReceiveCount"), Some("200"), "{name}");
        assert_eq!(queue.value("deadLetterTargetArn"), Some("!GetAtt DeadLetters.Arn"), "{name}");
    }
    for (id, queue) in resources("AWS::SQS::Queue") {
        assert_eq!(queue.value("SqsManagedSseEnabled"), Some("true"), "{id} is not encrypted");
    }
}

#[test]
fn resources_that_must_outlive_the_stack_are_retained() {
    for id in ["Journal", "Secret", "DeadLetters"] {
        let entry = &section("Resources")[id];
        assert_eq!(entry.value("DeletionPolicy"), Some("Retain"), "{id}");
        assert_eq!(entry.value("UpdateReplacePolicy"), Some("Retain"), "{id}");
    }
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
