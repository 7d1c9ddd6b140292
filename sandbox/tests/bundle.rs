//! What is built, what is deployed, what is documented and what the code reads are one and the same: folders, `template.yaml`, `events/`
//! and the README, compared with each other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod support {
    pub(crate) mod files;
    pub(crate) mod template;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use connector::cleeng::webhook::{Topic, Webhook};
use connector::gateway::Blueprint as _;
use connector::gateway::adyen::AdyenSettings;
use connector::http::HeaderMap;
use connector::lambda::queue::NotificationEnvelope;
use connector::secret::{SecretString, SecretTexts};
use ring::hmac;
use serde_json::Value;
use support::files::{camel_case, read, root};
use support::template::{Entry, resources, section, variables};

const FUNCTION: &str = "AWS::Serverless::Function";

fn folders(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let folders = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The functions by folder name, as the template has them.
fn functions() -> BTreeMap<String, (String, Entry)> {
    let functions = resources(FUNCTION).into_iter();
    let by_name = |(id, entry): (String, Entry)| {
        let name = entry.value("CodeUri").unwrap().strip_prefix("functions/").unwrap().to_owned();
        (name, (id, entry))
    };
    functions.map(by_name).collect()
}

fn names() -> BTreeSet<String> {
    functions().into_keys().collect()
}

/// The function that gateways call.
const NOTIFICATION: &str = "gateway-notification";

/// The functions that take a topic of Cleeng, which names them.
fn webhooks() -> BTreeSet<String> {
    webhook_functions().into_keys().filter(|name| name != NOTIFICATION).collect()
}

fn route(name: &str) -> String {
    if name == NOTIFICATION { "/gateways/{gateway}/notifications".to_owned() } else { format!("/webhooks/{{key}}/{name}") }
}

/// Functions that pages call: they have no queue.
fn is_front_end(entry: &Entry) -> bool {
    entry.items("Path").iter().any(|path| path.starts_with("/connectors/"))
}

/// The function that a schedule starts: it has no route and no queue.
const ROUNDS: &str = "reconciliation";

/// The functions that have a queue.
fn webhook_functions() -> BTreeMap<String, (String, Entry)> {
    functions().into_iter().filter(|(name, (_, entry))| !is_front_end(entry) && name != ROUNDS).collect()
}

/// The names of the functions that pages call.
fn front_ends() -> BTreeSet<String> {
    functions().into_iter().filter(|(_, (_, entry))| is_front_end(entry)).map(|(name, _)| name).collect()
}

/// The sample events of a function.
/// Of a function that pages call: in the order of its routes in the template.
fn samples(name: &str) -> &'static [&'static str] {
    match name {
        ROUNDS => &["schedule.json"],
        _ if front_ends().contains(name) => &["http.json", "finalize.json", "tokens.json", "return.json", "cancel.json"],
        _ => &["http.json", "queue.json"],
    }
}

/// The rows of the README's table whose first header is `header`: cells without backticks.
fn readme_table(header: &str) -> Vec<Vec<String>> {
    let readme = read("README.md");
    let rows =
        readme.lines().skip_while(|line| !line.starts_with(&format!("| {header} |"))).skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "README.md has no table that begins with {header}");
    rows
}

#[test]
fn every_folder_of_a_function_is_deployed_and_every_deployed_function_has_a_folder() {
    assert_eq!(folders("functions"), names());
}

#[test]
fn a_function_is_a_package_with_a_binary_of_its_folders_name() {
    for name in names() {
        let manifest = read(&format!("functions/{name}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}: the package has another name");
        assert!(root().join("functions").join(&name).join("src/main.rs").is_file(), "{name}: no src/main.rs");
        assert!(root().join("functions").join(&name).join("src/lib.rs").is_file(), "{name}: no src/lib.rs");
    }
}

#[test]
fn every_function_has_sample_events_and_every_sample_event_has_a_function() {
    assert_eq!(folders("events"), names());
    for name in names() {
        for file in samples(&name) {
            assert!(root().join("events").join(&name).join(file).is_file(), "{name}: no {file}");
        }
    }
}

#[test]
fn every_sample_event_has_documented_answers_and_nothing_else_lies_beside_it() {
    for name in names() {
        let expected = event(&name, "expected.json");
        let documented: BTreeSet<_> = expected.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, samples(&name).iter().copied().collect(), "{name}: left: documented in expected.json, right: sample events");
        let files = fs::read_dir(root().join("events").join(&name)).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let beside: BTreeSet<_> = files.filter(|file| file != "expected.json").collect();
        assert_eq!(beside, documented.iter().map(ToString::to_string).collect(), "{name}: left: files, right: documented in expected.json");
        for (file, cases) in expected.as_object().unwrap() {
            assert!(!cases.as_array().unwrap().is_empty(), "{name}/{file}: no answer");
            for case in cases.as_array().unwrap() {
                let promised = !case["answer"].as_object().unwrap().is_empty() && !case["says"].as_str().unwrap().is_empty();
                assert!(promised, "{name}/{file}: an answer that could be anything");
                for before in case["after"].as_array().into_iter().flatten() {
                    assert!(root().join("events").join(before.as_str().unwrap()).is_file(), "{name}/{file}: there is no {before}");
                }
            }
        }
    }
}

#[test]
fn every_function_has_one_route_with_its_name_and_one_row_in_the_readme() {
    let mut routes = BTreeSet::new();
    for (name, (_, entry)) in webhook_functions() {
        assert_eq!(entry.items("Path"), [route(&name)], "{name}");
        assert_eq!(entry.items("Method"), ["POST"], "{name}");
        assert_eq!(entry.value("PayloadFormatVersion"), Some("\"2.0\""), "{name}");
        routes.insert(entry.value("Path").unwrap().to_owned());
    }
    let rows = readme_table("route");
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<BTreeSet<_>>(), routes);
    assert_eq!(rows.len(), routes.len(), "a route stands twice in the README");
    for row in rows.into_iter().filter(|row| row[0] != route(NOTIFICATION)) {
        let topic = Topic::parse(&row[1]).unwrap_or_else(|| panic!("{}: no topic of Cleeng", row[1]));
        let function = row[0].rsplit('/').next().unwrap();
        assert!(camel_case(function).eq_ignore_ascii_case(topic.as_str()), "{function} is not the function of {}", row[1]);
    }
}

#[test]
fn every_front_end_function_has_routes_of_both_styles_a_short_time_and_rows_in_the_readme() {
    let mut routes = BTreeSet::new();
    for (name, (_, entry)) in functions().into_iter().filter(|(_, (_, entry))| is_front_end(entry)) {
        let (paths, methods) = (entry.items("Path"), entry.items("Method"));
        let [start, finalize, tokens, came_back, gave_up] = paths.as_slice() else { panic!("{name}: {paths:?}") };
        assert_eq!(*finalize, format!("{start}/finalize"), "{name}");
        assert!(tokens.ends_with("/tokens"), "{name}");
        let (back, cancel) = (format!("{tokens}/return/{{reference}}"), format!("{tokens}/cancel/{{reference}}"));
        assert_eq!((came_back, gave_up), (&back, &cancel), "{name}");
        assert_eq!(methods, ["POST", "POST", "POST", "GET", "GET"], "{name}");
        assert_eq!(entry.value("Timeout"), Some("29"), "{name}: an HTTP API cuts after 30 s");
        assert!(entry.value("QUEUE_URL").is_none(), "{name} has no queue");
        routes.extend(
            paths.iter().cloned().zip(methods).zip(samples(&name)).map(|((path, method), file)| (path, method, *file, name.clone())),
        );
    }
    let rows = readme_table("front-end call").into_iter().map(|row| (row[0].clone(), row[1].clone()));
    assert_eq!(rows.collect::<BTreeSet<_>>(), routes.iter().map(|(path, _, _, name)| (path.clone(), name.clone())).collect());
    let api = &section("Resources")["Api"];
    for (path, method, file, name) in &routes {
        assert!(api.0.iter().any(|line| line.trim() == format!("{method} {path}:")), "{name}: {path} has no limit of its own");
        let http = event(name, file);
        assert_eq!(
            (&http["routeKey"], &http["requestContext"]["http"]["method"]),
            (&format!("{method} {path}").into(), &method.as_str().into())
        );
        let reference = http["pathParameters"]["reference"].as_str().unwrap_or_default();
        assert_eq!(http["rawPath"], path.replace("{gateway}", "adyen").replace("{reference}", reference));
    }
}

#[test]
fn everything_that_belongs_to_a_function_is_its_own() {
    let all = section("Resources");
    for (name, (id, entry)) in functions().into_iter().filter(|(name, (_, entry))| is_front_end(entry) || name == ROUNDS) {
        let base = camel_case(&name);
        assert_eq!(id, format!("{base}Function"));
        assert_eq!(entry.value("Role"), Some(format!("!GetAtt {base}Role.Arn").as_str()), "{name}");
        assert_eq!(entry.value("LogGroup"), Some(format!("!Ref {base}Logs").as_str()), "{name}");
        for part in ["Role", "Logs", "ParkedAlarm"] {
            assert!(all.contains_key(&format!("{base}{part}")), "{name}: no {base}{part}");
        }
    }
    for (name, (id, entry)) in webhook_functions() {
        let base = camel_case(&name);
        assert_eq!(id, format!("{base}Function"));
        assert_eq!(entry.value("Role"), Some(format!("!GetAtt {base}Role.Arn").as_str()), "{name}");
        assert_eq!(entry.value("LogGroup"), Some(format!("!Ref {base}Logs").as_str()), "{name}");
        assert_eq!(entry.value("QUEUE_URL"), Some(format!("!Ref {base}Queue").as_str()), "{name}");
        let queue = entry.below("Events").below("Queue");
        assert_eq!(queue.value("Queue"), Some(format!("!GetAtt {base}Queue.Arn").as_str()), "{name}");
        assert_eq!(entry.value("BuildMethod"), Some("rust-cargolambda"), "{name}");
        assert_eq!(entry.value("BatchSize"), Some("1"), "{name}: one event of money at a time");
        assert_eq!(entry.items("FunctionResponseTypes"), ["ReportBatchItemFailures"], "{name}");
        for part in ["Queue", "QueuePolicy", "Role", "Logs", "ParkedAlarm"] {
            assert!(all.contains_key(&format!("{base}{part}")), "{name}: no {base}{part}");
        }
    }
}

#[test]
fn a_queue_outwaits_its_function_six_times_and_keeps_its_messages() {
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
fn what_must_outlive_the_stack_does() {
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

/// Names of settings in a source text: what is handed to the reader of settings or looked up in the environment, and every text that
/// begins like a setting of ours.
fn settings_read(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
    let calls = [".text(", ".required(", ".parsed(", ".number(", ".base_url(", "env::var(", "env::var_os(", "get)(", "get("];
    let families = ["CONNECTOR_", "CLEENG_", "ADYEN_", "PAYPAL_", "STRIPE_"];
    let mut names = BTreeSet::new();
    let pieces: Vec<&str> = code.split('"').collect();
    for pair in pieces.windows(2) {
        let (before, text) = (pair[0], pair[1]);
        let named = text.contains('_') && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if named && (calls.iter().any(|call| before.ends_with(call)) || families.iter().any(|family| text.starts_with(family))) {
            names.insert(text.to_owned());
        }
    }
    names
}

fn sources(folder: &Path, visit: &mut dyn FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !tests {
            sources(&path, visit);
        } else if !tests && path.extension().is_some_and(|extension| extension == "rs") {
            visit(&fs::read_to_string(&path).unwrap());
        }
    }
}

fn deployed_settings() -> BTreeMap<String, String> {
    let mut settings = variables(&section("Globals")["Function"]);
    for (_, (_, entry)) in functions() {
        settings.extend(variables(&entry));
    }
    settings
}

#[test]
fn every_setting_that_the_code_reads_is_deployed_and_every_deployed_one_is_read() {
    let (mut read_names, mut all_code) = (BTreeSet::new(), String::new());
    let mut visit = |source: &str| {
        read_names.extend(settings_read(source));
        all_code.push_str(source);
    };
    sources(&root().join("shared/src"), &mut visit);
    sources(&root().join("functions"), &mut visit);
    let deployed = deployed_settings();
    // Lambda and the AWS clients set and read their own.
    let undeclared: Vec<_> = read_names.iter().filter(|name| !name.starts_with("AWS_") && !deployed.contains_key(*name)).collect();
    assert!(undeclared.is_empty(), "read by the code and not set in template.yaml: {undeclared:?}");
    // Read by the TLS library.
    let unread = |name: &&String| *name != "SSL_CERT_FILE" && !all_code.contains(&format!("\"{name}\""));
    let unread: Vec<_> = deployed.keys().filter(unread).collect();
    assert!(unread.is_empty(), "set in template.yaml and not read by the code: {unread:?}");
}

#[test]
fn the_readme_lists_every_setting_with_its_parameter_and_default() {
    let deployed = deployed_settings();
    let parameters = section("Parameters");
    let rows = readme_table("variable");
    let listed: BTreeSet<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed, deployed.keys().map(String::as_str).collect());
    assert_eq!(listed.len(), rows.len(), "a setting stands twice in the README");
    for row in &rows {
        let (value, parameter) = (&deployed[&row[0]], &row[1]);
        if parameter.is_empty() {
            continue;
        }
        let referred = value == &format!("!Ref {parameter}") || value.ends_with(&format!("!Ref {parameter}]"));
        assert!(referred, "{} is set from {value}, not from {parameter}", row[0]);
        let default = parameters[parameter].value("Default").map(|default| default.trim_matches('"'));
        assert_eq!(row[2], default.unwrap_or("required"), "{}: the default in the README", row[0]);
    }
}

#[test]
fn every_parameter_is_described_and_text_is_checked() {
    for (name, parameter) in section("Parameters") {
        assert!(parameter.value("Description").is_some(), "{name} has no description");
        let bounded = ["AllowedPattern", "AllowedValues", "MinValue"].iter().any(|rule| parameter.value(rule).is_some());
        assert!(bounded || name == "EmbeddedSecrets", "{name} takes anything");
    }
    let capture = section("Parameters")["AdyenCapture"].value("Default").map(|default| default.trim_matches('"').to_owned());
    assert_eq!(capture.as_deref(), Some(""), "a wrong default would move money twice or never");
}

fn event(function: &str, file: &str) -> Value {
    serde_json::from_str(&read(&format!("events/{function}/{file}"))).unwrap()
}

#[test]
fn a_sample_webhook_is_signed_and_is_of_its_functions_topic() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"sandbox-webhook-secret-0123456789abcdef");
    for name in webhooks() {
        let http = event(&name, "http.json");
        assert_eq!(http["routeKey"], format!("POST /webhooks/{{key}}/{name}"));
        assert_eq!(http["rawPath"], format!("/webhooks/sandbox-path-key-0123456789/{name}"));
        let body = http["body"].as_str().unwrap();
        let signature = http["headers"]["x-cleeng-signature"].as_str().unwrap();
        let bytes: Vec<u8> = (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap()).collect();
        assert!(hmac::verify(&key, body.as_bytes(), &bytes).is_ok(), "{name}: the signature is wrong");
        let webhook = Webhook::parse(body.as_bytes()).unwrap();
        assert!(webhook.check().is_ok(), "{name}: the payload lacks something");
        assert!(camel_case(&name).eq_ignore_ascii_case(webhook.topic.as_str()), "{name}: the topic is {}", webhook.topic.as_str());
        let envelope: Value = serde_json::from_str(event(&name, "queue.json")["Records"][0]["body"].as_str().unwrap()).unwrap();
        assert_eq!(envelope["body"].as_str(), Some(body), "{name}: the queue holds another webhook");
        assert_eq!(envelope["topic"], webhook.topic.as_str());
    }
}

#[tokio::test]
async fn the_sample_notification_is_signed_and_is_queued_as_its_sample_message_says() {
    let stage = sandbox::stage::Stage::default();
    let http = event(NOTIFICATION, "http.json");
    assert_eq!(http["routeKey"], format!("POST {}", route(NOTIFICATION)));
    let secrets = [("api_key", "sandbox-api-key-0123456789"), ("hmac_keys", sandbox::stage::ADYEN_HMAC_KEY)];
    let secrets = secrets.map(|(name, value)| (name.to_owned(), vec![SecretString::new(value)]));
    let settings = AdyenSettings { merchant_account: "SandboxMerchant".to_owned(), ..sandbox::stage::adyen_settings("http://adyen.test") };
    let adapter = settings
        .build(&SecretTexts(secrets.into()), Arc::new(sandbox::peer::InProcess::new(stage.road.clone())), Arc::new(stage.clock.clone()))
        .unwrap();
    let body = http["body"].as_str().unwrap();
    let read = adapter.read_notification(&HeaderMap::new(), body.as_bytes()).await.unwrap().remove(0).unwrap();
    let queued = event(NOTIFICATION, "queue.json");
    let envelope = NotificationEnvelope::from_text(queued["Records"][0]["body"].as_str().unwrap()).ok().unwrap();
    assert_eq!(*envelope.open().get(), read);
}

#[test]
fn only_who_learns_a_gateways_word_and_who_goes_round_may_bring_events_back_and_to_their_own_queues() {
    let all = section("Resources");
    let bring_back = [NOTIFICATION, ROUNDS];
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

#[test]
fn a_gateway_touches_no_other_files_than_the_page_about_adding_one_lists() {
    fn files(folder: &Path, visit: &mut dyn FnMut(&Path)) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() { files(&path, visit) } else { visit(&path) }
        }
    }
    let guide = read("docs/adding-a-gateway.md");
    let listed: BTreeSet<String> = guide
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('|').nth(1).unwrap().split(','))
        .map(|path| path.trim().trim_matches('`').replace("NAME", "stripe"))
        .collect();
    let mut missing = Vec::new();
    let mut visit = |path: &Path| {
        let Ok(text) = fs::read_to_string(path) else { return };
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<String>().to_lowercase();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let is_listed = listed.iter().any(|entry| path == *entry || entry.ends_with('/') && path.starts_with(entry.as_str()));
        if code.contains("stripe") && !is_listed {
            missing.push(path);
        }
    };
    for folder in ["shared/src", "sandbox/src", "sandbox/tests", "functions", "cli/src"] {
        files(&root().join(folder), &mut visit);
    }
    for file in ["template.yaml", "samconfig.toml", "README.md", "CHANGELOG.md", "docs/openapi.json"] {
        visit(&root().join(file));
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_sample_events_are_what_their_generator_writes() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("events");
    let status = Command::new(env!("CARGO_BIN_EXE_write-events")).arg(&folder).status().unwrap();
    assert!(status.success());
    for name in names() {
        for file in samples(&name) {
            let written = fs::read_to_string(folder.join(&name).join(file)).unwrap();
            assert!(written == read(&format!("events/{name}/{file}")), "{name}/{file}: run `cargo run -p sandbox --bin write-events`");
        }
    }
}

/// Names in a manifest's dependency sections, without the workspace's own packages.
fn dependencies(manifest: &str, own: &BTreeSet<String>) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once(['.', ' ', '=']).filter(|_| inside && !line.starts_with('#')) {
            names.insert(name.to_owned());
        }
    }
    names.difference(own).filter(|name| !name.is_empty()).cloned().collect()
}

#[test]
fn every_dependency_has_its_reason_and_every_reason_its_dependency() {
    let mut own: BTreeSet<String> = names();
    own.extend(["connector".to_owned(), "sandbox".to_owned()]);
    let others = ["shared", "sandbox", "cli"].map(str::to_owned);
    let members = names().into_iter().map(|name| format!("functions/{name}")).chain(others);
    let used: BTreeSet<String> = members.flat_map(|member| dependencies(&read(&format!("{member}/Cargo.toml")), &own)).collect();
    let text = read("docs/decisions/0002-dependencies.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let rows = rows.filter(|cell| *cell != "crate" && !cell.starts_with("**")).flat_map(|cell| cell.split(", "));
    let explained: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(used, explained, "left: used by a member; right: explained in docs/decisions/0002-dependencies.md");
    let offered = dependencies(&read("Cargo.toml"), &own);
    assert_eq!(offered, used, "left: in the workspace's Cargo.toml; right: used by a member");
}

#[test]
fn no_committed_file_names_a_machine_or_a_registry() {
    // Put together here, so that this file does not name them either.
    let unwanted: Vec<String> =
        [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/tm", "p/"], ["index-", "url"], ["local", "stack.cloud"]]
            .map(|parts| parts.concat())
            .into();
    let files = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    let files = String::from_utf8(files.stdout).unwrap();
    for file in files.split('\0').filter(|file| !file.is_empty() && *file != "Cargo.lock" && *file != "LICENSE") {
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        for word in &unwanted {
            assert!(!text.contains(word.as_str()), "{file} contains {word}");
        }
    }
}

#[test]
fn every_reason_for_calling_an_operator_is_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    let (mut seen, mut unexplained) = (0, BTreeSet::new());
    let mut visit = |source: &str| {
        let product = source.split("#[cfg(test)]").next().unwrap_or_default();
        for call in ["park(\"", "park_untried(KIND, asked.received_at, \"", "call_operator(case, reference, \"", "Odd(\""] {
            for rest in product.split(call).skip(1) {
                let reason = rest.split('"').next().unwrap_or_default();
                seen += 1;
                if !runbook.contains(&format!("`{reason}`")) {
                    unexplained.insert(reason.to_owned());
                }
            }
        }
    };
    sources(&root().join("shared/src"), &mut visit);
    sources(&root().join("functions"), &mut visit);
    assert!(seen > 30, "only {seen} places found");
    assert_eq!(unexplained, BTreeSet::new());
}
