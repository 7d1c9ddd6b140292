//! Runs the simulation by seed: `cargo run --release -p sandbox --bin simulate -- --seeds 0..1000 --jobs 2`, and one seed with its trace:
//! `cargo run -p sandbox --bin simulate -- --seed 17 --trace`. Ends with 1 if something was found wrong.

use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use clap::Parser;
use sandbox::simulation::behaviour::{Behaviour, BehaviourCounts};
use sandbox::simulation::{SimulationOptions, SimulationReport, run_seed};

/// So often a long run says how far it is, in seeds.
const PROGRESS_INTERVAL: u64 = 5_000;

/// Runs the simulation by seed.
#[derive(Parser)]
struct Options {
    /// The seeds from A up to B, without B.
    #[arg(long, value_name = "A..B", value_parser = parse_range, conflicts_with = "seed")]
    seeds: Option<Range<u64>>,
    /// One seed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many threads run; each seed is run by one.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Prints the trace of the run; with `--seeds` of the runs with violations.
    #[arg(long)]
    trace: bool,
    /// Ends when so many seeds were found wrong.
    #[arg(long, default_value_t = 20)]
    max_failures: u64,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.filter(|range| !range.is_empty()).ok_or_else(|| "expected A..B with A below B, such as 0..1000".to_owned())
}

fn main() -> io::Result<ExitCode> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    let started = Instant::now();
    if let Some(seed) = options.seed {
        let report = run_seed(seed, &SimulationOptions { trace: options.trace, ..SimulationOptions::default() });
        for line in &report.trace {
            writeln!(out, "{line}")?;
        }
        print_violations(&mut out, &report)?;
        writeln!(out, "seed {seed}: {:?} {:?}", report.counts, report.behaviours)?;
        return Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let seeds = options.seeds.clone().unwrap_or(0..1_000);
    let next = AtomicU64::new(seeds.start);
    let (sender, receiver) = mpsc::channel::<SimulationReport>();
    let mut behaviours = BehaviourCounts::new();
    let (mut runs, mut deliveries, mut crashes, mut wrong) = (0_u64, 0_u64, 0_u64, 0_u64);
    thread::scope(|scope| -> io::Result<()> {
        for _ in 0..options.jobs.max(1) {
            let (next, sender, end) = (&next, sender.clone(), seeds.end);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end || sender.send(run_seed(seed, &SimulationOptions::default())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for report in &receiver {
            runs = runs.saturating_add(1);
            if runs.checked_rem(PROGRESS_INTERVAL) == Some(0) {
                writeln!(out, "{runs} seeds, {wrong} wrong")?;
            }
            deliveries = deliveries.saturating_add(report.counts.deliveries);
            crashes = crashes.saturating_add(report.counts.crashes);
            for (behaviour, times) in &report.behaviours {
                let sum = behaviours.entry(*behaviour).or_default();
                *sum = sum.saturating_add(*times);
            }
            if !report.violations.is_empty() {
                wrong = wrong.saturating_add(1);
                if options.trace {
                    for line in run_seed(report.seed, &SimulationOptions { trace: true, ..SimulationOptions::default() }).trace {
                        writeln!(out, "{line}")?;
                    }
                }
                print_violations(&mut out, &report)?;
                if wrong >= options.max_failures {
                    // The others end with the seeds that they are at.
                    next.store(seeds.end, Ordering::SeqCst);
                }
            }
        }
        Ok(())
    })?;
    for behaviour in Behaviour::ALL {
        writeln!(out, "{behaviour:?}: {}", behaviours.get(&behaviour).copied().unwrap_or_default())?;
    }
    let took = started.elapsed();
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = deliveries.saturating_mul(1_000).checked_div(millis).unwrap_or_default();
    writeln!(
        out,
        "{runs} seeds, {deliveries} deliveries, {crashes} crashes, {wrong} wrong; {millis} ms, {per_second} deliveries per second"
    )?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was found wrong, and how to see it again.
fn print_violations(out: &mut impl Write, report: &SimulationReport) -> io::Result<()> {
    for found in &report.violations {
        writeln!(out, "seed {}: {found}", report.seed)?;
    }
    if !report.violations.is_empty() {
        writeln!(out, "  again: cargo run -p sandbox --bin simulate -- --seed {} --trace", report.seed)?;
    }
    Ok(())
}
