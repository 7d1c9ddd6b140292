//! Every fuzz target on its corpus, and on mutations of it by seed: a rule that a fuzzer violated once is checked by every test run.
//! `.ci/fuzz` runs libFuzzer.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that fails says so by panicking"
)]

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;
#[path = "../../fuzz/src/tools/mod.rs"]
mod tools;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The most that the corpus of a target may hold, in bytes: it is read by people.
const LARGEST_CORPUS: usize = 40_000;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs a target's body over its corpus, and over so many changes of each file.
fn run_target(name: &str, changes: u64) {
    let body = targets::ALL.iter().find(|(other, _)| *other == name).unwrap().1;
    for file in files(&corpora().join(name)) {
        let whole = std::fs::read(&file).unwrap();
        for seed in 0..=changes {
            let input = if seed == 0 { whole.clone() } else { tools::mutate::mutate(seed, &whole) };
            if catch_unwind(AssertUnwindSafe(|| body(&input))).is_err() {
                panic!("{name} broke a rule: {} changed by seed {seed}:\n{}", file.display(), String::from_utf8_lossy(&input));
            }
        }
    }
}

/// One test for each target, named as it is; the number of changes fits the time that its body takes.
macro_rules! targets {
    ($($name:ident: $changes:literal,)*) => {
        $(#[test]
        fn $name() {
            run_target(stringify!($name), $changes);
        })*

        #[test]
        fn every_target_has_a_test_and_a_small_corpus_and_nothing_else_does() {
            let tested: BTreeSet<&str> = [$(stringify!($name)),*].into();
            assert_eq!(tested, targets::ALL.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>());
            let folders: BTreeSet<String> =
                files(&corpora()).iter().map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect();
            assert_eq!(folders, tested.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
            for folder in folders {
                let files = files(&corpora().join(&folder));
                let bytes: usize = files.iter().map(|file| std::fs::read(file).unwrap().len()).sum();
                assert!(!files.is_empty() && bytes <= LARGEST_CORPUS, "{folder}: {bytes} bytes in {} files", files.len());
            }
        }
    };
}

targets! {
    adyen_notification: 200,
    answers: 2,
    cleeng_answer: 60,
    customer_token: 1000,
    envelope: 200,
    foreign_notification: 150,
    front_call: 40,
    gateway_answer: 5,
    lambda_event: 15,
    log_line: 1000,
    money: 20,
    paypal_certificate: 40,
    paypal_notification: 20,
    quarantine: 60,
    record: 100,
    return_address: 1000,
    secrets: 200,
    settings: 300,
    signature_header: 1000,
    small_types: 1000,
    stripe_notification: 50,
    webhook: 100,
}

#[test]
fn every_journal_document_round_trips_member_by_member() {
    use connector::gateway::GatewayNotification;
    use connector::journal::payment::PaymentRecord;
    use connector::journal::record::Obligation;
    use connector::journal::stored_tokens::TokenRecord;
    use connector::payments::subscription_state::SubscriptionState;
    use connector::payments::token_usage::TokenUsers;
    fn round_trip<T: serde::de::DeserializeOwned + serde::Serialize>(text: &str) -> Option<Value> {
        serde_json::from_str::<T>(text).ok().map(|document| serde_json::to_value(document).unwrap())
    }
    for file in files(&corpora().join("record")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let written = match name.split('-').next().unwrap() {
            "obligation" => round_trip::<Obligation>(&text),
            "payment" => round_trip::<PaymentRecord>(&text),
            "head" => round_trip::<SubscriptionState>(&text),
            "tokens" => round_trip::<TokenRecord>(&text),
            "token" => round_trip::<TokenUsers>(&text),
            "notification" => round_trip::<GatewayNotification>(&text),
            _ => None,
        };
        assert_eq!(written, Some(kept), "{name}");
    }
}

#[test]
fn the_same_seed_makes_the_same_change_and_another_seed_mostly_another() {
    let text = br#"{"amount":{"value":999,"currency":"USD"},"items":[1,"two",null]}"#;
    let made: Vec<Vec<u8>> = (1..200).map(|seed| tools::mutate::mutate(seed, text)).collect();
    assert_eq!(made, (1..200).map(|seed| tools::mutate::mutate(seed, text)).collect::<Vec<_>>());
    let different: BTreeSet<&Vec<u8>> = made.iter().collect();
    assert!(different.len() > 120, "only {} of {} differ", different.len(), made.len());
}
