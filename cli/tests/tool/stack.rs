//! `--stack`: settings of a deployed stack, read with the AWS CLI. A script in its place answers as the CLI does.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::deployed;

/// A folder with an `aws` that prints what lies in the file named after its subcommand and last argument.
fn aws_cli(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("aws-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = "#!/bin/sh\n[ \"$5 $6\" = '--output json' ] || exit 9\nfile=\"${0%/*}/$2-$4.json\"\n[ -f \"$file\" ] && exec cat \"$file\"\necho \"Stack with id $4 does not exist\" >&2\nexit 254\n";
    // Linux refuses to run a file that a process still has open for writing, which a parallel test's child may inherit: a copy is run.
    std::fs::write(folder.join("script"), script).unwrap();
    let made = Command::new("install").args(["-m", "755", "script", "aws"]).current_dir(&folder).status().unwrap();
    assert!(made.success());
    folder
}

fn put(folder: &std::path::Path, file: &str, value: &Value) {
    std::fs::write(folder.join(file), value.to_string()).unwrap();
}

fn doctor(folder: &std::path::Path, stack: &str) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connectorctl"));
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let output = command.args(["--stack", stack, "--json", "doctor", "--offline"]).env_clear().env("PATH", path).output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap();
    (output, told)
}

#[test]
fn the_settings_of_two_functions_are_those_of_the_deployment() {
    let folder = aws_cli("settings");
    let summary = |logical: &str, physical: &str| json!({ "LogicalResourceId": logical, "PhysicalResourceId": physical });
    let resources = [summary("Journal", "table"), summary("InitialPurchaseFunction", "page"), summary("ReconciliationFunction", "run")];
    put(&folder, "list-stack-resources-shop.json", &json!({ "StackResourceSummaries": resources }));
    let mut settings = deployed();
    settings.remove("AWS_REGION");
    let arn = |name: &str| format!("arn:aws:lambda:eu-west-1:123456789012:function:{name}");
    let page = settings.remove("ALLOWED_ORIGINS");
    let run = json!({ "FunctionArn": arn("run"), "Environment": { "Variables": settings } });
    put(&folder, "get-function-configuration-run.json", &run);
    settings.remove("EVENT_QUEUE_URLS");
    settings.extend(page.map(|page| ("ALLOWED_ORIGINS".to_owned(), page)));
    put(&folder, "get-function-configuration-page.json", &json!({ "FunctionArn": arn("page"), "Environment": { "Variables": settings } }));
    let (output, told) = doctor(&folder, "shop");
    let findings = told["findings"].as_array().unwrap();
    let subjects: Vec<&str> = findings.iter().map(|finding| finding["subject"].as_str().unwrap()).collect();
    assert_eq!((output.status.code(), &subjects[..]), (Some(0), &["DELETE_DEACTIVATED_DETAILS", "secret", "settings"][..]), "{told:#}");
}

#[test]
fn a_stack_that_is_not_there_or_is_another_systems_is_named_with_the_cause() {
    let folder = aws_cli("missing");
    put(&folder, "list-stack-resources-other.json", &json!({ "StackResourceSummaries": [] }));
    let (output, told) = doctor(&folder, "nowhere");
    assert_eq!(output.status.code(), Some(2));
    assert!(told["error"].as_str().unwrap().contains("Stack with id nowhere does not exist"), "{told:#}");
    assert!(doctor(&folder, "other").1["error"].as_str().unwrap().contains("no functions of this connector"));
    let (_, told) = doctor(std::path::Path::new("/nonexistent"), "shop");
    assert!(told["fix"].as_str().unwrap().contains("AWS CLI") || told["error"].as_str().unwrap().contains("shop"), "{told:#}");
}
