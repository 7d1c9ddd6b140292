//! Start-up of the tool; its commands are in the library beside this file.

use std::io::{Read, Write};
use std::process::ExitCode;

use clap::Parser;
use connectorctl::arguments::{Arguments, Command, Secret};
use connectorctl::command_env::{CommandEnv, parse_settings};
use connectorctl::output::{CommandError, CommandOutput};
use connectorctl::stack;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let answer = match command_env(&arguments) {
        Ok(env) => connectorctl::run(&arguments, &env).await,
        Err(failure) => failure.into_output(),
    };
    write(&arguments, &answer)
}

fn command_env(arguments: &Arguments) -> Result<CommandEnv, CommandError> {
    // A variable that is not text does not belong to the connector.
    let own = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut variables: std::collections::BTreeMap<String, String> = own.collect();
    if let Some(stack) = &arguments.stack {
        variables.extend(stack::settings(stack)?);
    }
    for file in &arguments.env_file {
        let unreadable =
            |_| CommandError::new(format!("the file {} cannot be read as text", file.display()), "check the path after --env-file");
        variables.extend(parse_settings(&std::fs::read_to_string(file).map_err(unreadable)?)?);
    }
    let put = match &arguments.command {
        Command::Secret { command: Secret::Put(options) } => Some(options),
        _ => None,
    };
    variables.extend(put.and_then(|put| put.secret_id.clone()).map(|id| ("CONNECTOR_SECRET_ID".to_owned(), id)));
    let mut env = CommandEnv::new(variables);
    let from_stdin = matches!(&arguments.command, Command::Replay(options) if options.file == "-");
    if from_stdin || put.is_some_and(|put| put.from.as_deref() == Some("-")) {
        let unreadable = |_| CommandError::new("standard input is no text", "pipe JSON in UTF-8 into it");
        std::io::stdin().read_to_string(&mut env.stdin).map_err(unreadable)?;
    }
    env.progress = Box::new(|line| {
        let _ = writeln!(std::io::stderr(), "{line}");
    });
    Ok(env)
}

fn write(arguments: &Arguments, answer: &CommandOutput) -> ExitCode {
    let mut out = std::io::stdout();
    let written = if arguments.json { writeln!(out, "{:#}", answer.json) } else { write!(out, "{}", answer.text) };
    match written {
        Ok(()) => ExitCode::from(answer.exit_code),
        Err(_) => ExitCode::FAILURE,
    }
}
