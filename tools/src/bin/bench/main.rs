//! Measures built functions: `cargo run --release -p tools --bin bench -- start --event events/NAME/http.json NAME=BOOTSTRAP ...`.
//!
//! | command | what |
//! |---|---|
//! | `start` | spawn to ready, first event, warm events, resident memory; several binaries interleaved, since a machine's speed drifts |
//! | `memory` | resident memory after the first and after the last of many events |
//! | `instructions` | user instructions per warm event, by valgrind's callgrind |
//! | `in-process` | the same of the connector's own part alone: no network, TLS, Lambda runtime or AWS client (`in_process.rs`) |
//!
//! The function talks to constant answers on loopback without TLS: AWS ([`aws`]), Cleeng and Adyen ([`upstreams`]). `docs/performance.md`
//! has the figures.
#![expect(clippy::arithmetic_side_effects, reason = "figures of a harness, far from any bound")]

mod aws;
mod in_process;
mod runtime_api;
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a harness may fail loudly")]
mod upstreams;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use runtime_api::RuntimeApi;
use sandbox::simulators::network::{FaultyNetwork, RunningServer};
use upstreams::Upstreams;

#[derive(Parser)]
#[command(about = "Measures built functions")]
struct Arguments {
    #[command(subcommand)]
    command: Measure,
}

#[derive(Subcommand)]
enum Measure {
    /// Cold starts, first and warm events, of several binaries interleaved.
    Start {
        #[command(flatten)]
        what: Target,
        /// Cold starts per binary.
        #[arg(long, default_value_t = 25)]
        runs: usize,
        /// Warm events per cold start.
        #[arg(long, default_value_t = 200)]
        warm: usize,
    },
    /// Resident memory after many events.
    Memory {
        #[command(flatten)]
        what: Target,
        /// How many events.
        #[arg(long, default_value_t = 10_000)]
        events: usize,
    },
    /// User instructions per warm event.
    Instructions {
        #[command(flatten)]
        what: Target,
        /// How many events the difference is taken over.
        #[arg(long, default_value_t = 500)]
        events: u64,
    },
    /// User instructions per event of the connector's own part of an authorisation, which is in this program.
    InProcess {
        /// The event that is dealt with.
        #[arg(long)]
        event: PathBuf,
        /// How many events the difference is taken over.
        #[arg(long, default_value_t = 500)]
        events: u64,
    },
    /// Deals with an event so many times; what `in-process` counts.
    #[command(hide = true)]
    Repeat {
        #[arg(long)]
        event: PathBuf,
        #[arg(long)]
        times: u64,
    },
}

#[derive(Args)]
struct Target {
    /// The event that is sent.
    #[arg(long)]
    event: PathBuf,
    /// Binaries, as NAME=PATH.
    #[arg(required = true)]
    binaries: Vec<String>,
}

impl Target {
    fn event(&self) -> std::io::Result<Bytes> {
        std::fs::read(&self.event).map(Bytes::from)
    }

    fn binaries(&self) -> Result<Vec<(&str, &Path)>, String> {
        let split = |text| str::split_once(text, '=').map(|(name, path)| (name, Path::new(path)));
        self.binaries.iter().map(|text| split(text).ok_or_else(|| format!("{text}: expected NAME=PATH"))).collect()
    }
}

/// The constant world around a function.
struct ConstantBackends {
    environment: Vec<(&'static str, String)>,
    _aws: RunningServer,
    upstreams: Upstreams,
}

impl ConstantBackends {
    async fn start() -> std::io::Result<Self> {
        let server = aws::start(FaultyNetwork::default()).await?;
        let upstreams = Upstreams::start(0).await;
        let environment = aws::environment(&server.url(), &upstreams.cleeng, &upstreams.adyen);
        Ok(Self { environment, _aws: server, upstreams })
    }
}

/// A function at work. Dropping it kills it.
struct FunctionProcess {
    child: Child,
    api: RuntimeApi,
    init: Duration,
}

impl FunctionProcess {
    async fn start(mut command: Command, backends: &ConstantBackends) -> Result<Self, Box<dyn Error>> {
        let api = RuntimeApi::start().await?;
        command.env_clear().envs(std::env::var_os("SSL_CERT_FILE").map(|file| ("SSL_CERT_FILE", file)));
        command.envs(backends.environment.iter().map(|(name, value)| (name, value)));
        command.env("AWS_LAMBDA_RUNTIME_API", &api.address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let child = command.spawn()?;
        let mut function = Self { child, api, init: Duration::ZERO };
        function.init = function.api.until_next()?.duration_since(start);
        Ok(function)
    }

    /// One event, until the function asks for the next one: how long the answer took.
    fn event(&self, event: &Bytes) -> Result<(Duration, Bytes), String> {
        let (took, answer) = self.api.invoke(event)?;
        self.api.until_next()?;
        Ok((took, answer))
    }

    /// Resident memory now and at most, in KiB.
    fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for FunctionProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    // A thread more than there are blocked ones: the Runtime API waits in its answer to `next`.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let figures = runtime.block_on(async {
        if let Measure::Repeat { event, times } = &arguments.command {
            return in_process::repeat(&std::fs::read_to_string(event)?, *times).await;
        }
        let backends = ConstantBackends::start().await?;
        match arguments.command {
            Measure::Start { what, runs, warm } => start(&what, runs, warm, &backends).await,
            Measure::Memory { what, events } => memory(&what, events, &backends).await,
            Measure::Instructions { what, events } => instructions(&what, events, &backends).await,
            Measure::InProcess { event, events } => in_process_instructions(&event, events),
            Measure::Repeat { .. } => Ok(String::new()),
        }
    });
    runtime.shutdown_background();
    Ok(std::io::stdout().write_all(figures?.as_bytes())?)
}

#[derive(Default)]
struct Samples {
    init: Vec<Duration>,
    first: Vec<Duration>,
    cold: Vec<Duration>,
    warm: Vec<Duration>,
    resident: u64,
    answer: String,
}

async fn start(what: &Target, runs: usize, warm: usize, backends: &ConstantBackends) -> Result<String, Box<dyn Error>> {
    let (event, binaries) = (what.event()?, what.binaries()?);
    let mut samples: Vec<Samples> = binaries.iter().map(|_| Samples::default()).collect();
    for _ in 0..runs {
        for ((_, path), samples) in binaries.iter().zip(&mut samples) {
            let function = FunctionProcess::start(Command::new(path), backends).await?;
            let (first, answer) = function.event(&event)?;
            samples.init.push(function.init);
            samples.first.push(first);
            samples.cold.push(function.init + first);
            samples.answer = String::from_utf8_lossy(&answer).chars().take(80).collect();
            for _ in 0..warm {
                samples.warm.push(function.event(&event)?.0);
            }
            samples.resident = samples.resident.max(function.memory().0);
        }
    }
    let mut text =
        "| binary | init ms | first ms | cold ms (p95) | warm ms (p99) | resident KiB | answer |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for ((name, _), mut samples) in binaries.iter().zip(samples) {
        let (init, first) = (percentile(&mut samples.init, 50), percentile(&mut samples.first, 50));
        let (cold, slow) = (percentile(&mut samples.cold, 50), percentile(&mut samples.cold, 95));
        let (warm, tail) = (percentile(&mut samples.warm, 50), percentile(&mut samples.warm, 99));
        let (resident, answer) = (samples.resident, samples.answer);
        text.push_str(&format!("| {name} | {init} | {first} | {cold} ({slow}) | {warm} ({tail}) | {resident} | `{answer}` |\n"));
    }
    text.push_str(&format!("calls to Cleeng and Adyen: {}\n", backends.upstreams.network.calls().len()));
    Ok(text)
}

async fn memory(what: &Target, events: usize, backends: &ConstantBackends) -> Result<String, Box<dyn Error>> {
    let event = what.event()?;
    let mut text = "| binary | after the first KiB | after the last KiB | at most KiB |\n|---|---|---|---|\n".to_owned();
    for (name, path) in what.binaries()? {
        let function = FunctionProcess::start(Command::new(path), backends).await?;
        function.event(&event)?;
        let (first, _) = function.memory();
        for _ in 1..events {
            function.event(&event)?;
        }
        let (last, most) = function.memory();
        text.push_str(&format!("| {name} | {first} | {last} | {most} |\n"));
    }
    Ok(text)
}

async fn instructions(what: &Target, events: u64, backends: &ConstantBackends) -> Result<String, Box<dyn Error>> {
    let event = what.event()?;
    let mut text = "| binary | instructions until ready and first event | per warm event |\n|---|---|---|\n".to_owned();
    for (name, path) in what.binaries()? {
        let few = count_instructions(path, 1, &event, backends).await?;
        // Pools and caches are warm after a few.
        let warm = count_instructions(path, 50, &event, backends).await?;
        let many = count_instructions(path, 50 + events, &event, backends).await?;
        let each = many.saturating_sub(warm) / events.max(1);
        text.push_str(&format!("| {name} | {few} | {each} |\n"));
    }
    Ok(text)
}

fn in_process_instructions(event: &Path, events: u64) -> Result<String, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let count = |times: u64| {
        let callgrind = Callgrind::new();
        let mut command = callgrind.command(&program);
        command.arg("repeat").arg("--event").arg(event).args(["--times", &times.to_string()]);
        let ended = command.stderr(Stdio::null()).status()?;
        if ended.success() { callgrind.total() } else { Err("the event was not dealt with".into()) }
    };
    let (warm, many) = (count(50)?, count(50 + events)?);
    let each = many.saturating_sub(warm) / events.max(1);
    Ok(format!("| event | own instructions |\n|---|---|\n| {} | {each} |\n", event.display()))
}

/// The user instructions of a process that deals with this many events.
async fn count_instructions(path: &Path, events: u64, event: &Bytes, backends: &ConstantBackends) -> Result<u64, Box<dyn Error>> {
    let callgrind = Callgrind::new();
    let mut function = FunctionProcess::start(callgrind.command(path), backends).await?;
    for _ in 0..events {
        function.event(event)?;
    }
    // Callgrind writes when its process ends, and not when it is killed.
    Command::new("kill").args(["-TERM", &function.child.id().to_string()]).status()?;
    function.child.wait()?;
    callgrind.total()
}

/// One count of valgrind's callgrind.
struct Callgrind(PathBuf);

impl Callgrind {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("callgrind.{}", std::process::id())))
    }

    /// Starts this program under it.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", self.0.display())).arg(program);
        command
    }

    /// What it counted, once the program has ended.
    fn total(&self) -> Result<u64, Box<dyn Error>> {
        let written = std::fs::read_to_string(&self.0)?;
        std::fs::remove_file(&self.0)?;
        let totals = written.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
        let totals = totals.and_then(|line| line.split_whitespace().next()?.parse().ok());
        totals.ok_or_else(|| "callgrind wrote no total".into())
    }
}

/// A percentile in milliseconds with three decimals.
fn percentile(samples: &mut [Duration], percent: usize) -> String {
    samples.sort_unstable();
    let index = samples.len().saturating_sub(1) * percent / 100;
    let micros = samples.get(index).copied().unwrap_or_default().as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}
