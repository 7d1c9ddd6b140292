//! The glossary: what it names exists, and what was given up does not come back.

use std::collections::BTreeSet;

use crate::committed;
use crate::support::files::read;

/// Identifiers that were replaced because a newcomer could not guess what they were, each with the standard term. `docs/glossary.md`
/// explains the terms.
const RETIRED: &[(&str, &str)] = &[
    ("Story", "FlowResult"),
    ("Verdict", "Disposition"),
    ("verdict", "disposition"),
    ("World", "FlowContext"),
    ("Rules", "BillingPolicy"),
    ("Case", "ObligationContext"),
    ("Slot", "LoadedDocument"),
    ("put_back", "retry_later"),
    ("finish_untried", "skip"),
    ("park_untried", "park_without_attempt"),
    ("Head", "SubscriptionState or PendingSetups"),
    ("Watch", "LastBillingEvent"),
    ("Standing", "AttemptStatus, Capturability or another precise word"),
    ("Asked", "ExpectedPayment or SubscriptionCheck"),
    ("Told", "ReportResult, PageOutcome or ParsedEvent"),
    ("become_state", "transition_to"),
    ("find_out", "resolve_unknown"),
    ("held_or_taken", "record_success"),
    ("give_up", "release"),
    ("let_go", "finish_declined"),
    ("give_back", "reversal or refund"),
    ("GivenBack", "Reversed"),
    ("order_again", "replacement_order"),
    ("Stranger", "PreexistingPayment"),
    ("adopt", "import"),
    ("Ruling", "OperatorDecision"),
    ("Desk", "FrontendContext, NotificationContext or Session"),
    ("Onward", "RedirectUrls"),
    ("wish", "attempt_identity"),
    ("http_door", "webhook_handler"),
    ("queue_door", "queue_consumer"),
    ("notification_door", "notification_handler"),
    ("front_door", "frontend_handler"),
    ("Doors", "FunctionKind"),
    ("Rounds", "ScheduledJob"),
    ("go_round", "run_once"),
    ("Tally", "RunReport"),
    ("made_up", "recovered"),
    ("Wiring", "DependencyFactory"),
    ("Wired", "Dependencies"),
    ("SecretKeeper", "SecretCache"),
    ("Blueprint", "GatewayConfig"),
    ("Suspect", "QuarantinedWebhook"),
    ("Taking", "CaptureMethod"),
    ("misfit", "mismatch"),
    ("Surroundings", "CommandEnv"),
    ("hush", "register_secrets"),
    ("Bench", "TestHarness"),
    ("House", "SimulatedGateway"),
    ("Houses", "SimulatedGateways"),
    ("Guest", "GatewayFixture"),
    ("Stage", "TestEnvironment"),
    ("Backstage", "Interceptors"),
    ("Cast", "TestSubscriber"),
    ("furnish", "seed"),
    ("seat", "insert"),
    ("knock", "request"),
    ("Letter", "QueuedMessage"),
    ("hear_gateways", "deliver_notifications"),
    ("Books", "Database"),
    ("Road", "FaultyNetwork"),
    ("Peer", "SimulatedServer"),
    ("CrashSwitch", "CrashPoint"),
    ("open_house", "serve"),
    ("Theatre", "Simulator"),
    ("Played", "SimulationReport"),
    ("Sky", "SimulationContext"),
    ("Climate", "FaultProfile"),
    ("Dice", "Prng"),
    ("Agenda", "EventQueue"),
    ("Happening", "ScheduledEvent"),
    ("Visitor", "Shopper"),
    ("Censor", "LeakDetectingSubscriber"),
    ("Tricks", "Interceptors"),
    ("Honest", "NoInterceptors"),
];

/// Phrases that a reader of documents and template had to decipher.
const PHRASES: &[&str] = &[
    "goes round",
    "made up for",
    "gives back",
    "none the wiser",
    "is at it",
    "brought back",
    "for ever",
    "whoever",
    "whatever",
    "anew",
    "he",
    "his",
    "him",
    "dies",
    "died",
    "nothing where",
    "http door",
    "queue door",
    "two doors",
    "room | duty",
];

/// The code of a source text: without comments, and without what is in its texts.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            code.push('\n');
        } else if let Some(after) = rest.strip_prefix("'\"'").or_else(|| rest.strip_prefix("'\\\"'")) {
            rest = after;
        } else if let Some(text) = rest.strip_prefix('"') {
            rest = after_text(&code, text);
            code.push(' ');
        } else {
            code.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    code + rest
}

/// What follows a text that was opened at the end of this code.
fn after_text<'a>(code: &str, text: &'a str) -> &'a str {
    let before = code.trim_end_matches('#');
    if before.ends_with('r') {
        let end = format!("\"{}", "#".repeat(code.len() - before.len()));
        return text.split_once(end.as_str()).map_or("", |(_, after)| after);
    }
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// The identifiers of all committed code, each with a file that has it.
fn identifiers() -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    for (file, text) in committed(&["*.rs"]) {
        let code = code_of(&text);
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        found.extend(words.map(|word| (word.to_owned(), file.clone())));
    }
    found.into_iter().collect()
}

#[test]
fn no_identifier_that_was_replaced_comes_back() {
    let used = identifiers();
    assert!(used.iter().any(|(word, _)| word == "FlowContext"), "no identifier was found");
    let back: Vec<String> = RETIRED
        .iter()
        .flat_map(|(old, new)| used.iter().filter(move |(word, _)| word == old).map(move |(_, file)| format!("{file}: {old}; use {new}")))
        .collect();
    assert_eq!(back, Vec::<String>::new());
}

#[test]
fn what_the_glossary_names_is_in_the_code() {
    let used: BTreeSet<String> = identifiers().into_iter().map(|(word, _)| word).collect();
    let glossary = read("docs/glossary.md");
    let rows: Vec<Vec<&str>> = glossary.lines().filter(|line| line.starts_with("| ")).skip(1).map(|row| row.split('|').collect()).collect();
    assert!(rows.len() >= 30, "the glossary shrank to {} terms", rows.len());
    for row in rows {
        assert_eq!(row.len(), 5, "{row:?}: term, meaning and code");
        let named: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{}: nothing in the code", row[1].trim());
        for name in named {
            assert!(used.contains(name), "{}: the code has no {name}", row[1].trim());
        }
    }
}

#[test]
fn documents_and_template_do_without_the_old_phrases() {
    let mut found = Vec::new();
    for (file, text) in committed(&["*.md", "template.yaml", "samconfig.toml", "docs/openapi.json"]) {
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '|').filter(|word| !word.is_empty()).collect();
        let text = format!(" {} ", words.join(" ").to_lowercase());
        found.extend(PHRASES.iter().filter(|phrase| text.contains(&format!(" {phrase} "))).map(|phrase| format!("{file}: {phrase}")));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn comments_and_texts_are_no_code() {
    let source = "let Kept = r#\"Story \" Story\"#; // Story\nlet c = '\"'; let d = \"Story \\\" Story\"; Case::new(/ 2)";
    let code = code_of(source);
    assert!(!code.contains("Story"), "{code}");
    assert!(code.contains("Kept") && code.contains("let c") && code.contains("let d") && code.contains("Case"), "{code}");
}
