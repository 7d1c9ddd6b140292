//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::output::CommandOutput;

/// The maximum number of parked obligations that a list shows unless told otherwise.
pub const DEFAULT_LIMIT: usize = 100;

/// The operator's tool of the Cleeng payment connector.
#[derive(Debug, Parser)]
#[command(name = "connectorctl", version)]
pub struct Arguments {
    /// The name of a deployed stack, whose functions' settings are read with the AWS CLI. They override the environment.
    #[arg(long, global = true, value_name = "NAME")]
    pub stack: Option<String>,
    /// A file with the functions' settings: KEY=VALUE lines, or the JSON of `aws lambda get-function-configuration`. May be given several
    /// times; a later one overrides an earlier one, and files override the stack and the environment.
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
    /// Reports every problem of a deployment with its cause and fix. Changes nothing.
    Doctor(Doctor),
    /// The deployment's secret in AWS Secrets Manager.
    Secret {
        /// What to do with it.
        #[command(subcommand)]
        command: Secret,
    },
    /// Cleeng's webhook subscriptions.
    Webhooks {
        /// What to do with them.
        #[command(subcommand)]
        command: Webhooks,
    },
    /// Obligations that wait for an operator's decision.
    Parked {
        /// What to do with it.
        #[command(subcommand)]
        command: Parked,
    },
    /// Shows the history behind an id of Cleeng or of a gateway, our own reference, or a journal key. Changes nothing.
    Explain {
        /// The id.
        id: String,
    },
    /// Requeues an event to its function: a saved webhook body, or the envelope of a dead letter.
    Replay(Replay),
    /// Asks the refund function for a refund: shows it, and asks with --apply. The same request with the same note is made once.
    Refund(Refund),
    /// Shows what reconciliation would do now.
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
    /// Checks the settings only, without any call, to AWS either. The secret is checked in embedded mode only.
    #[arg(long)]
    pub offline: bool,
}

/// Commands about the secret.
#[derive(Clone, Debug, Subcommand)]
pub enum Secret {
    /// Fills in the secret: asks for each missing value without echo, generates the idempotency salt and the path key, checks everything as the
    /// functions do, and writes it after a confirmation. A salt that is there is never replaced.
    Put(PutSecret),
}

/// Options of `secret put`.
#[derive(Clone, Debug, Args)]
pub struct PutSecret {
    /// A JSON file with values, in place of questions; `-` is standard input. Its values replace those of the same name.
    #[arg(long, value_name = "FILE")]
    pub from: Option<String>,
    /// A value to rotate, such as cleeng.webhook_secrets: the new value comes first, and the current one is kept as the previous one. May be
    /// given several times. A new path key is generated.
    #[arg(long, value_name = "NAME")]
    pub rotate: Vec<String>,
    /// The secret's name or ARN, instead of CONNECTOR_SECRET_ID in the settings.
    #[arg(long, value_name = "ID")]
    pub secret_id: Option<String>,
    /// Writes it without asking. Required with --from.
    #[arg(long)]
    pub apply: bool,
}

/// Commands about webhook subscriptions.
#[derive(Clone, Debug, Subcommand)]
pub enum Webhooks {
    /// Shows what Cleeng sends where.
    List,
    /// Adds or corrects our endpoint of every topic, with verification and retries on. Leaves every other endpoint as it is. Shows the
    /// changes; makes them with --apply.
    Sync {
        /// The address of the webhooks: the stack's output WebhookBaseUrl.
        #[arg(long, value_name = "URL")]
        url: String,
        /// The retry policy as JSON, in Cleeng's form. Without it, an existing policy stays, and `{"enabled": true}` is set if there is no
        /// policy.
        #[arg(long, value_name = "JSON")]
        retry_policy: Option<String>,
        /// Writes the current webhook secret even if verification is on. Use it after a rotation: Cleeng does not return the secret that it
        /// has.
        #[arg(long)]
        push_secret: bool,
        /// Makes the changes.
        #[arg(long)]
        apply: bool,
    },
    /// Removes our endpoints and leaves every other one. Shows the changes; makes them with --apply.
    Remove {
        /// Makes the changes.
        #[arg(long)]
        apply: bool,
    },
}

/// Commands about parked work.
#[derive(Clone, Debug, Subcommand)]
pub enum Parked {
    /// Lists the parked obligations, the longest parked first.
    List {
        /// The maximum number of entries.
        #[arg(long, default_value_t = DEFAULT_LIMIT)]
        limit: usize,
    },
    /// Records a decision. Shows its effect; records it with --apply.
    Resolve(Resolve),
}

/// Options of `parked resolve`.
#[derive(Clone, Debug, Args)]
pub struct Resolve {
    /// The obligation's key, as `parked list` shows it.
    #[arg(value_name = "OBLIGATION", required_unless_present = "reason", conflicts_with = "reason")]
    pub key: Option<String>,
    /// Every obligation that is parked for this reason alone, as `parked list` shows it: after an outage.
    #[arg(long)]
    pub reason: Option<String>,
    /// The decision.
    #[arg(long = "as", value_name = "DECISION")]
    pub decision: DecisionArgument,
    /// Who decides; kept in the record.
    #[arg(long)]
    pub by: String,
    /// Why; kept in the record. No personal data: the record lives for more than a year.
    #[arg(long)]
    pub note: String,
    /// For `abandon` if it is unknown whether the customer's money moved: confirms that you checked at the gateway, and that it took none.
    #[arg(long)]
    pub no_money_moved: bool,
    /// Makes the changes.
    #[arg(long)]
    pub apply: bool,
}

/// What can be decided about parked work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecisionArgument {
    /// Both sides were corrected by hand. The connector closes the obligation and never tries it again.
    Done,
    /// The cause is fixed: the event is requeued. Finished steps are not repeated; an unknown step is queried first.
    Retry,
    /// The attempt is abandoned: the customer's money was not touched. The next event of the same obligation may try again.
    Abandon,
}

/// Options of `replay`.
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// The file; `-` is standard input.
    pub file: String,
    /// The queue to send it to, instead of the one that EVENT_QUEUE_URLS names for the topic.
    #[arg(long, value_name = "URL")]
    pub queue: Option<String>,
}

/// Options of `refund`.
#[derive(Clone, Debug, Args)]
pub struct Refund {
    /// The payment: Cleeng's id, the gateway's, or the connector's reference.
    pub payment: String,
    /// How much, in major units of the payment's currency, such as 4.99. Without it all that is left.
    #[arg(long, value_name = "AMOUNT")]
    pub amount: Option<String>,
    /// Who asks for it; kept in the record.
    #[arg(long)]
    pub by: String,
    /// Why; kept in the record, and the reason that Cleeng gets. No personal data: the record lives for more than a year.
    #[arg(long)]
    pub note: String,
    /// The queue to send it to, instead of the one that EVENT_QUEUE_URLS names for refundPayment.
    #[arg(long, value_name = "URL")]
    pub queue: Option<String>,
    /// Sends the request.
    #[arg(long)]
    pub apply: bool,
}

/// Options of `reconcile`.
#[derive(Clone, Debug, Args)]
pub struct Reconcile {
    /// Shows what a run would do. Required: only the function makes real runs, on its schedule.
    #[arg(long, required = true)]
    pub dry_run: bool,
    /// The maximum number of documents.
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
