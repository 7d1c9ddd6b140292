//! `cargo run` plays a subscriber's life in the sandbox; `cargo run -- serve` leaves the local world open.

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sandbox::{demo, open_house};

/// The local world of the Cleeng payment connector: simulated Cleeng and gateways, the real functions.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Plays a subscriber's life and prints the balance of both sides (the default). Exits with 1 if they disagree.
    Demo,
    /// Leaves the simulators and the functions running, for curl, a front end, or functions in embedded mode.
    Serve {
        /// The address to listen on. A container reaches the host at the bridge's address.
        #[arg(long, default_value = "127.0.0.1")]
        bind: IpAddr,
        /// The first port of a row: Cleeng, the connector, then each gateway.
        #[arg(long, default_value_t = 4010)]
        port: u16,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let result = match Arguments::parse().command.unwrap_or(Command::Demo) {
        Command::Demo => demo::play(&mut out).await,
        Command::Serve { bind, port } => open_house::keep_open(&mut out, bind, port).await.map(|()| true),
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
