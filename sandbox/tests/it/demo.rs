//! What `cargo run` tells: every row of Cleeng's connector checklist at every gateway, in a text that a person reads in a minute.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use clap::ValueEnum;
use connector::cleeng::PaymentStatus;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::money::{Currency, Money};
use sandbox::local::demo::{self, DemoError, DemoOptions, Scene, Terminal};
use sandbox::local::{Addresses, LocalWorld};
use sandbox::simulators::cleeng::PaidPurchase;
use sandbox::testkit::fixtures::{PASS, START, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;

/// The lines that the demo may take: 200 for three gateways.
const MAX_LINES_PER_GATEWAY: usize = 68;
/// The rows of Cleeng's connector checklist (developers.cleeng.com/docs/connector-checklist), as the headings name them.
const CHECKLIST: [&str; 7] = [
    "Initial purchase:",
    "Recurring, authorise and capture:",
    "Recurring, capture only:",
    "Termination:",
    "Update payment details:",
    "Update payment details, two gateways:",
    "Refund:",
];
/// What goes wrong in practice.
const TROUBLE: [&str; 5] = ["A decline:", "A webhook gets lost:", "A crash ", "Chargeback:", "Abandoned checkout:"];

async fn open_world() -> LocalWorld {
    LocalWorld::open(START, Addresses::ephemeral(Ipv4Addr::LOCALHOST.into())).await.unwrap()
}

async fn play(world: &LocalWorld, options: &DemoOptions, terminal: Terminal) -> (bool, String) {
    let mut out = Vec::new();
    let good = demo::run(world, options, terminal, &mut out).await.unwrap();
    (good, String::from_utf8(out).unwrap())
}

fn only(gateway: GatewayName, scenes: &[Scene]) -> DemoOptions {
    DemoOptions { verbose: false, gateway: vec![gateway], scene: scenes.to_vec() }
}

fn sandbox() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sandbox"))
}

#[tokio::test]
async fn the_demo_tells_every_row_of_the_checklist_at_every_gateway() {
    let (good, told) = play(&open_world().await, &DemoOptions::default(), Terminal::default()).await;
    assert!(good, "{told}");
    let scenarios: Vec<&str> = told.split("\nScenario: ").skip(1).collect();
    let played: Vec<&str> = scenarios.iter().map(|scenario| scenario.lines().next().unwrap()).collect();
    let gateways: Vec<&str> = GatewayName::ALL.iter().map(|gateway| gateway.as_str()).collect();
    assert_eq!(played, gateways);
    for scenario in &scenarios {
        for heading in CHECKLIST.iter().chain(&TROUBLE) {
            assert!(scenario.contains(&format!("✓ {heading}")), "{heading} is not told:\n{scenario}");
        }
        let headings = scenario.lines().filter(|line| Scene::value_variants().iter().any(|scene| line.ends_with(scene.title())));
        assert_eq!(headings.count(), CHECKLIST.len() + TROUBLE.len(), "{scenario}");
        assert_eq!(scenario.matches("✓ Both ledgers agree").count(), 1, "{scenario}");
        assert!(scenario.contains("the function CRASHES") && scenario.contains("event recovered"), "{scenario}");
    }
    assert!(told.lines().count() <= MAX_LINES_PER_GATEWAY * gateways.len(), "{} lines", told.lines().count());
    assert!(told.lines().all(|line| line.chars().count() <= 130), "a line is too wide for a terminal");
    assert!(!told.contains('\u{1b}') && !told.contains('\r'), "codes of a terminal in plain text");
    assert!(told.contains("✓ Both sides agree.") && told.contains("cargo run -- --verbose"), "{told}");
}

#[tokio::test]
async fn one_scene_at_one_gateway_is_played_after_the_purchase_that_it_needs() {
    for (scene, headings) in
        [(Scene::Refund, ["Initial purchase", "Refund"].as_slice()), (Scene::CaptureOnly, &["Recurring, capture only"])]
    {
        let (good, told) = play(&open_world().await, &only(GatewayName::ALL[1], &[scene]), Terminal::default()).await;
        let results: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("✓ ")?.split(':').next()).collect();
        let end = results.len() - 2;
        assert!(good && told.matches("Scenario: ").count() == 1, "{told}");
        assert_eq!(results[..end], *headings, "{told}");
    }
}

#[tokio::test]
async fn verbose_prints_every_request_and_folds_background_reads() {
    let options = DemoOptions { verbose: true, ..only(GatewayName::ALL[0], &[Scene::Renewal, Scene::LostWebhook]) };
    let world = open_world().await;
    let (_, told) = play(&world, &options, Terminal::default()).await;
    let calls = world.network.calls();
    assert!(calls.iter().any(|call| call.path == "/3.1/subscriptions"), "nothing was read in the background");
    for call in calls.iter().filter(|call| call.method != Method::GET) {
        assert!(told.contains(&format!("{:<5} {}", call.method.as_str(), call.path)), "{} is not told:\n{told}", call.path);
    }
    assert!(told.contains("subscriptionReadyForPaymentAuthorisation"), "{told}");
    let folded =
        told.lines().filter(|line| line.contains("reconciliation") && line.contains("nothing to do") && line.contains("only reads: "));
    assert!(folded.count() > 0, "{told}");
    let rows: Vec<&str> = told.lines().filter(|line| line.contains("GET   /3.1/subscriptions ")).collect();
    assert!(rows.iter().all(|row| row.ends_with(" times")), "{rows:?}");
}

#[tokio::test]
async fn the_demo_fails_if_the_ledgers_disagree() {
    let world = open_world().await;
    let customer = world.cleeng.new_customer().unwrap();
    let purchase = PaidPurchase {
        customer,
        offer: id(PASS),
        method: id(ADYEN_METHOD),
        details: None,
        total: Money::new(999, Currency::new("USD").unwrap()),
        external_payment_id: ExternalPaymentId::new("NEVERTAKEN").unwrap(),
        status: PaymentStatus::Captured,
    };
    let (payment, _) = world.cleeng.insert_purchase(purchase).unwrap();
    let (good, told) = play(&world, &only(GatewayName::ALL[0], &[Scene::Purchase]), Terminal::default()).await;
    assert!(!good && told.contains("✗ The ledgers do NOT agree"), "{told}");
    assert!(told.contains(&format!("DISAGREEMENT: payment {payment} of Cleeng is unknown to the gateway")), "{told}");
    assert_eq!((demo::exit_code(&Ok(good)), demo::exit_code(&Ok(true))), (1, 0));
    assert_eq!(demo::exit_code(&Err(DemoError::Inconsistent("a test"))), 1);
}

#[tokio::test]
async fn a_terminal_gets_colour_and_progress() {
    let terminal = Terminal::detect(true, None);
    let (_, told) = play(&open_world().await, &only(GatewayName::ALL[0], &[Scene::Renewal]), terminal).await;
    assert!(told.contains("\u{1b}[32m✓ Initial purchase") && told.contains("\r  2026-03-29 12:00 ..."), "{told}");
    let no_color = Terminal::detect(true, Some("1".as_ref()));
    assert_eq!((no_color.color, no_color.progress), (false, true));
    assert!(Terminal::detect(true, Some("".as_ref())).color);
    assert_eq!(Terminal::detect(false, None), Terminal::default());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut demo = sandbox().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(demo.stdout.take());
    let ended = demo.wait_with_output().unwrap();
    assert!(ended.status.success(), "{:?}", ended.status);
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let names: Vec<String> = Scene::value_variants().iter().map(|scene| scene.to_possible_value().unwrap().get_name().to_owned()).collect();
    let gateways = GatewayName::ALL.iter().map(|gateway| gateway.as_str().to_owned()).collect();
    for (option, known) in [("--scene", names), ("--gateway", gateways)] {
        let ended = sandbox().args([option, "nonesuch"]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && known.iter().all(|name| said.contains(name)), "{said}");
    }
    let help = sandbox().arg("--help").output().unwrap();
    let said = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success() && ["--verbose", "--gateway", "--scene", "serve"].iter().all(|word| said.contains(word)), "{said}");
}
