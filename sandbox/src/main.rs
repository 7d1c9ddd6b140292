//! `cargo run` runs an end-to-end scenario per gateway in the sandbox; `cargo run -- serve` leaves the local world open.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sandbox::local::Addresses;
use sandbox::local::{demo, serve};

/// The local world of the Cleeng payment connector: simulated Cleeng and gateways, the real functions.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs an end-to-end scenario for one customer per gateway and compares both ledgers (the default). Exits with 1 if they disagree.
    Demo,
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
    let result = match Arguments::parse().command.unwrap_or(Command::Demo) {
        Command::Demo => demo::run(&mut out).await,
        Command::Serve { bind, port, env_vars } => {
            let addresses = Addresses::sequential(bind, port);
            serve::serve(&mut out, addresses, env_vars.as_deref()).await.map(|()| true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
