//! `cargo run` plays a scenario per gateway in the sandbox; `cargo run -- serve` leaves the local world open.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sandbox::local::demo::{self, DemoError, DemoOptions, Terminal};
use sandbox::local::{Addresses, LocalWorld, serve};
use sandbox::testkit::fixtures::START;

/// The local world of the Cleeng payment connector: simulated Cleeng and gateways, the real functions.
///
/// Without a command it plays a scenario for each gateway and compares both ledgers. Exits with 1 if they disagree.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    demo: DemoOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Leaves the simulators and the functions running, for curl, a front end, or functions in embedded mode.
    Serve {
        /// The address to listen on. A container reaches the host at the bridge's address.
        #[arg(long, default_value = "127.0.0.1")]
        bind: IpAddr,
        /// The first port of a row: Cleeng, the connector, then each gateway.
        #[arg(long, default_value_t = 4010)]
        port: u16,
        /// For functions that run elsewhere, such as `sam local invoke --env-vars FILE`: writes their settings and secrets into this file, and
        /// runs no function here, so that the webhooks of events/ are yours to send.
        #[arg(long, value_name = "FILE")]
        env_vars: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let arguments = Arguments::parse();
    let result = match arguments.command {
        None => run_demo(&arguments.demo, &mut out).await,
        Some(Command::Serve { bind, port, env_vars }) => {
            let addresses = Addresses::sequential(bind, port);
            serve::serve(&mut out, addresses, env_vars.as_deref()).await.map(|()| true)
        }
    };
    if let Some(error) = result.as_ref().err().filter(|error| !error.is_closed_pipe()) {
        let _ = writeln!(std::io::stderr(), "{error}");
    }
    ExitCode::from(demo::exit_code(&result))
}

async fn run_demo(options: &DemoOptions, out: &mut std::io::Stdout) -> Result<bool, DemoError> {
    let world = LocalWorld::open(START, Addresses::ephemeral(Ipv4Addr::LOCALHOST.into())).await?;
    let terminal = Terminal::detect(out.is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    demo::run(&world, options, terminal, out).await
}
