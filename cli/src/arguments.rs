//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::output::CommandOutput;

/// The operator's tool of the Cleeng payment connector.
#[derive(Debug, Parser)]
#[command(name = "connectorctl", version)]
pub struct Arguments {
    /// A file with the functions' settings: KEY=VALUE lines, or the JSON of `aws lambda get-function-configuration`. May be given several
    /// times; a later one wins, and files win over the environment.
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Writes JSON for scripts instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Looks for everything that is wrong with a deployment, and says what to do. Changes nothing.
    Doctor(Doctor),
    /// Cleeng's webhook subscriptions.
    Webhooks {
        /// What to do with them.
        #[command(subcommand)]
        command: Webhooks,
    },
    /// Work that waits for a decision of an operator.
    Parked {
        /// What to do with it.
        #[command(subcommand)]
        command: Parked,
    },
    /// Tells the whole story behind an id: of Cleeng, of a gateway, or our own reference or journal key. Changes nothing.
    Explain {
        /// The id.
        id: String,
    },
    /// Puts an event back on its function's queue: a saved webhook body, or the envelope of a dead letter.
    Replay(Replay),
    /// What reconciliation would do now.
    Reconcile(Reconcile),
    /// Writes the completion script of a shell.
    Completion {
        /// Which shell.
        shell: Shell,
    },
}

/// Options of `doctor`.
#[derive(Clone, Debug, Default, Args)]
pub struct Doctor {
    /// Exits with 1 if there are warnings.
    #[arg(long)]
    pub strict: bool,
    /// Looks at settings only; asks nobody, AWS neither (the secret is looked at in embedded mode only).
    #[arg(long)]
    pub offline: bool,
}

/// Commands about webhook subscriptions.
#[derive(Clone, Debug, Subcommand)]
pub enum Webhooks {
    /// Shows what Cleeng sends where.
    List,
    /// Adds or mends our endpoint of every topic, with verification and retries on. Leaves every other endpoint as it is. Shows what it
    /// would do; does it with --apply.
    Sync {
        /// The address of the webhooks: the stack's output WebhookBaseUrl.
        #[arg(long, value_name = "URL")]
        url: String,
        /// The retry policy as JSON, in Cleeng's words. Without it, an existing one stays and `{"enabled": true}` is set where none is.
        #[arg(long, value_name = "JSON")]
        retry_policy: Option<String>,
        /// Writes the current webhook secret even where verification is on: after a rotation, since Cleeng does not tell which one it has.
        #[arg(long)]
        push_secret: bool,
        /// Does it.
        #[arg(long)]
        apply: bool,
    },
    /// Takes our endpoints away and leaves every other one. Shows what it would do; does it with --apply.
    Remove {
        /// Does it.
        #[arg(long)]
        apply: bool,
    },
}

/// Commands about parked work.
#[derive(Clone, Debug, Subcommand)]
pub enum Parked {
    /// Lists it, the longest parked first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Takes the decision. Shows what it would do; does it with --apply.
    Resolve(Resolve),
}

/// Options of `parked resolve`.
#[derive(Clone, Debug, Args)]
pub struct Resolve {
    /// The obligation's key, as `parked list` shows it.
    pub key: String,
    /// The decision.
    #[arg(long = "as", value_name = "DECISION")]
    pub decision: DecisionArgument,
    /// Who decides; kept in the record.
    #[arg(long)]
    pub by: String,
    /// Why; kept in the record. No personal data: the record lives for more than a year.
    #[arg(long)]
    pub note: String,
    /// For `abandon` where it is unknown what happened to the customer's money: says that you looked at the gateway and it took none.
    #[arg(long)]
    pub no_money_moved: bool,
    /// Does it.
    #[arg(long)]
    pub apply: bool,
}

/// What can be decided about parked work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecisionArgument {
    /// Both sides were brought into line by hand; the connector does nothing more about it, and never tries this obligation again.
    Done,
    /// The cause is mended: the event goes back to its queue. What is finished is not done again, what is unknown is asked about first.
    Retry,
    /// It is given up: nothing happened to the customer's money. The next event of the same obligation may try anew.
    Abandon,
}

/// Options of `replay`.
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// The file; `-` is standard input.
    pub file: String,
    /// The queue to put it on, instead of the one that EVENT_QUEUE_URLS names for the topic.
    #[arg(long, value_name = "URL")]
    pub queue: Option<String>,
}

/// Options of `reconcile`.
#[derive(Clone, Debug, Args)]
pub struct Reconcile {
    /// Shows what a round would do. The only way: rounds are made by the function, on its schedule.
    #[arg(long, required = true)]
    pub dry_run: bool,
    /// At most so many documents.
    #[arg(long, default_value_t = 500)]
    pub limit: usize,
}

/// The completion script of a shell.
#[must_use]
pub fn completion(shell: Shell) -> CommandOutput {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "connectorctl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    CommandOutput { json: serde_json::json!({ "script": script }), text: script, exit_code: 0 }
}
