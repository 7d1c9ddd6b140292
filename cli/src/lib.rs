//! The operator's tool: fills in the secret of a deployment and checks it, sets up Cleeng's webhooks, shows and resolves what is parked,
//! explains a payment, and requeues an event.
//!
//! | module | purpose |
//! |---|---|
//! | [`arguments`] | the command line |
//! | [`command_env`] | settings from the environment and from files; clock, stores and queues that a test replaces |
//! | [`stack`] | the settings of a deployed stack, as its functions have them |
//! | [`terminal`] | what a person types, without echo |
//! | [`aws`] | region and credentials; the secret, read to be written |
//! | [`output`] | the output of a command: text for people, JSON for scripts, an exit code; cleaned of secrets |
//! | [`session`] | settings, secret and clients, opened for a command |
//! | [`doctor`] | what is wrong, why, and what to do |
//! | [`secret`] | fills in the deployment's secret, and rotates its values |
//! | [`webhooks`] | Cleeng's webhook subscriptions: read, merge, write |
//! | [`parked`] | what is parked for an operator's decision |
//! | [`explain`] | the history behind an id |
//! | [`replay`] | requeues an event |
//! | [`reconcile`] | what a reconciliation run would do |
//!
//! It uses the functions' own code and must never act on a payment itself: what moves money goes through a queue to the function
//! that owns it.

pub mod arguments;
pub mod aws;
pub mod command_env;
pub mod doctor;
pub mod explain;
pub mod output;
pub mod parked;
pub mod reconcile;
pub mod refund;
pub mod replay;
pub mod secret;
pub mod session;
pub mod stack;
pub mod terminal;
pub mod webhooks;

use self::arguments::{Arguments, Command, Secret};
use self::command_env::CommandEnv;
use self::output::{CommandError, CommandOutput};

/// Runs a command. Its output is free of secrets.
pub async fn run(arguments: &Arguments, command_env: &CommandEnv) -> CommandOutput {
    // A secret in the environment is kept out of every output, whether or not the command reads it.
    session::register_secrets(&command_env.get("CONNECTOR_SECRETS").unwrap_or_default(), command_env);
    let output = match &arguments.command {
        Command::Doctor(options) => Ok(doctor::examine(options, command_env).await),
        Command::Secret { command: Secret::Put(options) } => secret::put(options, command_env).await,
        Command::Webhooks { command } => webhooks::run(command, command_env).await,
        Command::Parked { command } => parked::run(command, command_env).await,
        Command::Explain { id } => explain::run(id, command_env).await,
        Command::Replay(options) => replay::run(options, command_env).await,
        Command::Refund(options) => refund::run(options, command_env).await,
        Command::Reconcile(options) => reconcile::run(options, command_env).await,
        Command::Completion { shell } => Ok(arguments::completion(*shell)),
    };
    output.unwrap_or_else(CommandError::into_output).redacted(&command_env.redactor)
}
