//! Why AWS cannot be asked: the cause is named, and never hides behind "unavailable". The binary itself, with an AWS configuration of its own.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::deployed;

/// Runs a command with this AWS configuration file and these variables, and nothing else.
fn run(test: &str, config: &str, variables: &[(&str, &str)], words: &[&str]) -> Value {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("access-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (config_file, settings_file) = (folder.join("config"), folder.join("settings.env"));
    std::fs::write(&config_file, config).unwrap();
    let mut settings = deployed();
    settings.remove("AWS_REGION");
    let lines: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    std::fs::write(&settings_file, lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_connectorctl"));
    command.args(words).arg("--json").arg("--env-file").arg(&settings_file).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("HOME", &folder).env("AWS_CONFIG_FILE", &config_file).env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

const REGION: (&str, &str) = ("AWS_REGION", "eu-west-1");

#[test]
fn each_cause_is_named_with_its_fix() {
    let sso = "[profile work]\nregion = eu-west-1\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Operator\n\
               [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example.com/start\n";
    let process = "[profile work]\nregion = eu-west-1\ncredential_process = echo no-ticket >&2; exit 3\n";
    let work = ("AWS_PROFILE", "work");
    for (test, config, variables, problem, fix) in [
        ("region", "", &[][..], "no AWS region", "AWS_REGION"),
        ("none", "", &[REGION][..], "no AWS credentials", "AWS_PROFILE"),
        ("profile", "", &[REGION, work][..], "in the profile work", "AWS_PROFILE"),
        ("sso", sso, &[work][..], "SSO", "aws sso login"),
        ("process", process, &[work][..], "no-ticket", "aws sts get-caller-identity"),
    ] {
        for words in [&["parked", "list"][..], &["secret", "put"], &["webhooks", "list"], &["reconcile", "--dry-run"]] {
            let told = run(test, config, variables, words);
            let (said, to_do) = (told["error"].as_str().unwrap(), told["fix"].as_str().unwrap());
            assert!(said.contains(problem) && to_do.contains(fix), "{test} {words:?}: {told:#}");
        }
    }
    let told = run("doctor", "", &[], &["doctor"]);
    assert_eq!(told["findings"][0]["subject"], "AWS access", "{told:#}");
}

#[test]
fn credentials_of_a_process_are_used() {
    let process = "[profile work]\nregion = eu-west-1\ncredential_process = echo '{\"Version\": 1, \"AccessKeyId\": \"AKIDEXAMPLE\", \
                   \"SecretAccessKey\": \"wJalrXUtnFEMI\"}'\n";
    let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let told = run("used", process, &[("AWS_PROFILE", "work"), endpoint], &["parked", "list"]);
    assert_eq!(told["error"], "the journal is unavailable", "there are credentials, and no journal: {told:#}");
}
