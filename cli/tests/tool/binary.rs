//! The binary itself: files, standard input and output, exit codes.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{deployed, embedded};

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs the binary with nothing of this process's environment.
fn run(words: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connectorctl"));
    command.args(words).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn lines(settings: &std::collections::BTreeMap<String, String>) -> String {
    settings.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect()
}

#[test]
fn settings_come_from_files_of_both_kinds_and_a_later_one_wins() {
    let first = file("first.env", &lines(&embedded()));
    let wrong = file("wrong.json", r#"{ "Environment": { "Variables": { "LOG_LEVEL": "trace" } } }"#);
    let right = file("right.env", "LOG_LEVEL=info\n");
    let doctor = |files: &[&PathBuf]| {
        let mut words = vec!["doctor", "--offline", "--json"];
        files.iter().for_each(|file| words.extend(["--env-file", file.to_str().unwrap()]));
        let output = run(&words, "");
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    assert_eq!(doctor(&[&first]).0, Some(0));
    let (code, told) = doctor(&[&first, &wrong]);
    assert_eq!((code, told["findings"][0]["subject"].as_str()), (Some(2), Some("LOG_LEVEL")));
    assert_eq!(doctor(&[&first, &wrong, &right]).0, Some(0));
}

#[test]
fn warnings_count_only_when_they_are_asked_to() {
    let mut settings = embedded();
    settings.insert("SETTLE_ON".to_owned(), "receipt".to_owned());
    let settings = file("warning.env", &lines(&settings));
    let doctor =
        |more: &[&str]| run(&[&["doctor", "--offline", "--env-file", settings.to_str().unwrap()], more].concat(), "").status.code();
    assert_eq!((doctor(&[]), doctor(&["--strict"])), (Some(0), Some(1)));
}

#[test]
fn what_cannot_be_done_has_exit_code_2_and_says_what_to_do() {
    let missing = run(&["doctor", "--env-file", "no-such-file"], "");
    let text = String::from_utf8(missing.stdout).unwrap();
    assert!(missing.status.code() == Some(2) && text.contains("no-such-file") && text.contains("fix:"), "{text}");
    let settings = file("replay.env", &lines(&deployed()));
    let output = run(&["replay", "-", "--env-file", settings.to_str().unwrap()], "nonsense");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("no event of this connector"), "{text}");
    assert_eq!(run(&["reconcile"], "").status.code(), Some(2), "a run is never made from here");
    assert_eq!(
        run(&["parked", "resolve", "period#1#2", "--as", "done"], "").status.code(),
        Some(2),
        "nobody decides without a name and a reason"
    );
}

#[test]
fn every_shell_has_its_completion() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(&["completion", shell], "");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("resolve") && script.contains("env-file"), "{shell}");
    }
}
