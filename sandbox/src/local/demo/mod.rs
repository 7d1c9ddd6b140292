//! `cargo run`: a scenario for each gateway, told line by line, and the comparison of both ledgers.
//!
//! | module | purpose |
//! |---|---|
//! | `mod.rs` | options, start, result |
//! | `scenes.rs` | the scenes of a scenario |
//! | `customer.rs` | what a customer does |
//! | `narration.rs` | time and deliveries |
//! | `observer.rs` | what the functions did, in words |
//! | `transcript.rs` | the text |
//! | `ledgers.rs` | the two ledgers side by side |

mod customer;
mod ledgers;
mod narration;
mod observer;
mod scenes;
mod transcript;

use std::io::{self, Write};
use std::time::Instant;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use connector::gateway::GatewayName;
use connector::http::TransportError;

use crate::local::{LocalWorld, StartError};
use ledgers::Ledgers;
use narration::Narration;
use scenes::Scenario;
pub use scenes::Scene;
pub use transcript::Terminal;
use transcript::Transcript;

/// What to try after the demo, and what it does.
const NEXT: [(&str, &str); 5] = [
    ("cargo run -- --verbose", "the same with every request"),
    ("cargo run -- --scene crash", "one scene; --gateway NAME plays one gateway, --help lists the names"),
    ("cargo run -- serve", "keeps the local world open for curl, a page, or `sam local`"),
    ("./test quick", "the tests that need no release build"),
    ("less +/Deploy README.md", "how to deploy it"),
];

/// Why the demo did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The world did not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing can be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// There is no response on loopback.
    #[error("the connector does not answer: {0}")]
    NoResponse(#[from] TransportError),
    /// The sandbox contradicts itself.
    #[error("the sandbox is broken: {0}")]
    Inconsistent(&'static str),
}

impl DemoError {
    /// Whether the reader of the output has gone, as `head` does when it has seen enough. That is no failure.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The status that the process exits with: 0 if both sides agree, or if nobody read on; else 1.
#[must_use]
pub fn exit_code(result: &Result<bool, DemoError>) -> u8 {
    match result {
        Ok(agree) => u8::from(!agree),
        Err(error) => u8::from(!error.is_closed_pipe()),
    }
}

/// What is played, and how it is told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoOptions {
    /// Prints every request; background reads are folded into one line.
    #[arg(long)]
    pub verbose: bool,
    /// Plays only this gateway; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = gateway_parser())]
    pub gateway: Vec<GatewayName>,
    /// Plays only this scene, after a first purchase if it needs a subscriber; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub scene: Vec<Scene>,
}

fn gateway_parser() -> impl TypedValueParser<Value = GatewayName> {
    let known = PossibleValuesParser::new(GatewayName::ALL.iter().map(|gateway| gateway.as_str()));
    known.try_map(|name| GatewayName::ALL.iter().copied().find(|gateway| gateway.as_str() == name).ok_or("unknown gateway"))
}

/// Plays the scenarios in this world and tells them. True if every scene went as expected and both ledgers agree after each scenario.
///
/// # Errors
/// [`DemoError`].
pub async fn run(world: &LocalWorld, options: &DemoOptions, terminal: Terminal, out: &mut dyn Write) -> Result<bool, DemoError> {
    let started = Instant::now();
    let mut narration = Narration::new(world, Transcript::new(out, terminal, options.verbose));
    let gateways = GatewayName::ALL.iter().map(|gateway| gateway.as_str()).collect::<Vec<_>>().join(", ");
    narration
        .transcript
        .print("The connector at work, on this machine only: the functions with the code that is deployed, over HTTP on loopback with")?;
    narration
        .transcript
        .print(&format!("simulated servers of Cleeng and of {gateways}. Queues and journal are in memory, time is virtual."))?;
    narration
        .transcript
        .print("Each line is one thing that happened: when, who, what, the result, and the connector's calls that changed something.")?;
    let next_gateways = world.gateways.iter().cycle().skip(1);
    let mut agree = true;
    for (gateway, next) in world.gateways.iter().zip(next_gateways) {
        let name = gateway.simulator.gateway_name();
        if options.gateway.is_empty() || options.gateway.contains(&name) {
            narration.transcript.begin_scenario(name.as_str())?;
            let before = Ledgers::of(world);
            let mut scenario = Scenario::new(&mut narration, gateway.clone(), next.clone());
            for scene in Scene::value_variants().iter().filter(|scene| options.scene.is_empty() || options.scene.contains(scene)) {
                scenario.play(*scene).await?;
            }
            agree &= print_ledgers(&mut narration, &before)?;
        }
    }
    let good = agree && narration.transcript.all_met;
    print_end(&mut narration, good, started)?;
    Ok(good)
}

/// The two ledgers of a scenario, and whether they agree.
fn print_ledgers(narration: &mut Narration<'_>, before: &Ledgers) -> Result<bool, DemoError> {
    let comparison = before.compare(narration.world);
    let good = comparison.disagreements.is_empty();
    narration.transcript.print_result(good, &ledgers::title(good))?;
    for row in &comparison.rows {
        narration.transcript.print(row)?;
    }
    for line in &comparison.disagreements {
        narration.transcript.print_result(false, &format!("DISAGREEMENT: {line}"))?;
    }
    let background = narration.transcript.background;
    narration.transcript.print(&format!("  {}. {background} more deliveries and checks changed nothing.", comparison.sums))?;
    Ok(good)
}

fn print_end(narration: &mut Narration<'_>, good: bool, started: Instant) -> Result<(), DemoError> {
    let (calls, runs, took) = (narration.observer.calls, narration.reconciliation_runs, started.elapsed());
    let result = if good { "Both sides agree." } else { "The two sides do NOT agree, or a scene went wrong." };
    narration.transcript.print("")?;
    narration
        .transcript
        .print_result(good, &format!("{result} {calls} calls of the connector and {runs} reconciliation runs in {took:.1?}."))?;
    narration.transcript.print("Next:")?;
    for (command, what) in NEXT {
        narration.transcript.print(&format!("  {command:<28} {what}"))?;
    }
    Ok(())
}
