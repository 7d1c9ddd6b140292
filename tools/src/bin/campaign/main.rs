//! Campaigns against the whole connector over sockets: `cargo run --release -p tools --bin campaign -- faults` or `-- attacks`.
//!
//! | command | what |
//! |---|---|
//! | `faults` | a proxy between the functions and every simulator draws one of [`proxy::FaultKind`]'s faults for a share of all calls, while subscribers renew and customers pay; then both sides' books are compared |
//! | `attacks` | forged, replayed, parallel and malformed requests at every door; nothing may move, and no answer or log line may show a secret |
//!
//! The functions are the real ones with the real handlers, settings, clients and adapters, in the local world of the sandbox; a seed decides
//! what is drawn. The exit code tells whether everything held. `docs/reliability.md` has the figures.
#![expect(clippy::arithmetic_side_effects, reason = "counts of a harness, far from any bound")]

mod attacks;
mod canaries;
mod faults;
mod proxy;
mod world;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Faults and attacks against the whole connector, over sockets")]
struct Arguments {
    #[command(subcommand)]
    command: Campaign,
}

#[derive(Subcommand)]
enum Campaign {
    /// Faults between the connector and its upstreams.
    Faults {
        /// So many worlds, each with a seed of its own.
        #[arg(long, default_value_t = 10)]
        rounds: u64,
        /// The seed of the first world.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many calls of a thousand meet a fault.
        #[arg(long, default_value_t = 250)]
        per_mille: u16,
    },
    /// Attacks at every door.
    Attacks {
        /// So many requests of each kind.
        #[arg(long, default_value_t = 40)]
        rounds: u64,
        /// The seed of what is drawn.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// What a campaign found.
struct Report {
    /// What it did, in a line each.
    lines: Vec<String>,
    /// What did not hold, in a line each.
    violations: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let log = canaries::LogCapture::install();
    let mut report = match Arguments::parse().command {
        Campaign::Faults { rounds, seed, per_mille } => faults::run(rounds, seed, per_mille).await?,
        Campaign::Attacks { rounds, seed } => attacks::run(rounds, seed).await?,
    };
    let text = log.text();
    report.lines.push(format!("{} lines of log were searched for secrets", text.lines().count()));
    report.violations.extend(canaries::find(&text).map(|canary| format!("the log shows {canary}")));
    let mut out = std::io::stdout().lock();
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    for line in &report.violations {
        writeln!(out, "VIOLATION: {line}")?;
    }
    writeln!(out, "{}", if report.violations.is_empty() { "Everything held." } else { "Something did not hold." })?;
    Ok(ExitCode::from(u8::from(!report.violations.is_empty())))
}
