//! `secret put`: fills in the deployment's secret. It reads what is there, asks for what is missing, checks everything as the functions do
//! at their start, and writes. Values come from a terminal without echo or from a file, and go to AWS only: no file is written, and the
//! output has names alone.

mod draft;

use std::sync::Arc;

use connector::lambda::operator::Deployment;
use connector::secret::SecretString;
use serde_json::{Value, json};

use self::draft::{PATH_KEYS, SecretDraft, new_path_key, object, paths, values};
use crate::arguments::PutSecret;
use crate::aws::{self, SecretStore, SecretsManagerStore};
use crate::command_env::CommandEnv;
use crate::doctor::{Finding, Level, check_secret};
use crate::output::{CommandError, CommandOutput, table};
use crate::session;

/// How often a value is asked for that is not valid.
const MAX_TRIES: usize = 3;

/// Fills in the secret.
///
/// # Errors
/// [`CommandError`] if a value is missing or not valid, or AWS does not take the secret. Nothing is written then.
pub async fn put(options: &PutSecret, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let given = match options.from.as_deref() {
        Some(path) => Some(read_given(path, env)?),
        None => None,
    };
    let deployment = session::deployment(env)?;
    let store = open_store(&deployment, env).await?;
    (env.progress)("reading the secret");
    let present = store.read().await?;
    if let Some(text) = &present {
        session::register_secrets(text.expose(), env);
    }
    let mut groups = vec!["cleeng"];
    groups.extend(deployment.gateways_in_use().iter().map(|gateway| gateway.as_str()));
    let mut draft = SecretDraft::new(present.as_ref().map(SecretString::expose), &groups)?;
    for path in &options.rotate {
        draft.check_rotatable(path)?;
    }
    if let Some(given) = &given {
        fill_from_file(&mut draft, given, &options.rotate)?;
    } else {
        rotate_by_hand(&mut draft, &options.rotate, env)?;
    }
    draft.check_salt_is_kept()?;
    draft.generate_missing()?;
    let warnings = complete(&mut draft, given.is_none(), &deployment, env)?;
    write(&draft, options.apply, present.is_none(), store.as_ref(), &warnings, env).await
}

/// The values in a file, or on standard input.
fn read_given(path: &str, env: &CommandEnv) -> Result<serde_json::Map<String, Value>, CommandError> {
    let text = SecretString::new(env.input(path)?);
    session::register_secrets(text.expose(), env);
    object(text.expose())
        .ok_or_else(|| CommandError::new("what --from gives is no JSON object", "write it as docs/cli.md shows, without comments"))
}

async fn open_store(deployment: &Deployment, env: &CommandEnv) -> Result<Arc<dyn SecretStore>, CommandError> {
    if let Some(store) = &env.secret_store {
        return Ok(Arc::clone(store));
    }
    let resources = deployment.settings.resources.as_ref().ok_or_else(|| {
        CommandError::new("embedded mode takes its secret from CONNECTOR_SECRETS", "use the settings of a deployment in AWS")
    })?;
    aws::check_access(env).await?;
    Ok(Arc::new(SecretsManagerStore::open(env, &resources.secret_id).await))
}

fn fill_from_file(draft: &mut SecretDraft, given: &serde_json::Map<String, Value>, rotate: &[String]) -> Result<(), CommandError> {
    for path in rotate {
        match values(given, path).as_slice() {
            [Value::String(value)] => draft.rotate(path, value.trim())?,
            [] if path == PATH_KEYS => draft.rotate(path, &new_path_key()?)?,
            _ => {
                return Err(CommandError::new(format!("--rotate {path} needs one new value of it in --from"), "give the new value alone"));
            }
        }
    }
    paths(given).iter().filter(|path| !rotate.contains(path)).try_for_each(|path| draft.set(path, Value::Array(values(given, path))))
}

fn rotate_by_hand(draft: &mut SecretDraft, rotate: &[String], env: &CommandEnv) -> Result<(), CommandError> {
    for path in rotate {
        let value = if path == PATH_KEYS { new_path_key()? } else { ask(&format!("{path}, new value: "), env)?.expose().to_owned() };
        draft.rotate(path, &value)?;
    }
    Ok(())
}

/// Asks for one value without echo.
fn ask(question: &str, env: &CommandEnv) -> Result<SecretString, CommandError> {
    let no_terminal =
        |_| CommandError::new("there is no terminal to ask for values at", "give them with --from FILE, or --from - for standard input");
    let answer = env.terminal.secret(question).map_err(no_terminal)?;
    let answer = SecretString::new(answer.expose().trim());
    env.redactor.register(std::slice::from_ref(&answer));
    Ok(answer)
}

/// Asks for every value that the functions would miss or refuse, until they would start. Returns what is worth a warning.
fn complete(draft: &mut SecretDraft, may_ask: bool, deployment: &Deployment, env: &CommandEnv) -> Result<Vec<Finding>, CommandError> {
    let transport = session::transport()?;
    let mut asked: Vec<String> = Vec::new();
    loop {
        let (_, findings) = check_secret(&draft.text(), deployment, &transport, env);
        let (problems, warnings): (Vec<Finding>, Vec<Finding>) = findings.into_iter().partition(|finding| finding.level == Level::Error);
        let Some(problem) = problems.first() else { return Ok(warnings) };
        let path = problem.subject.strip_suffix("[0]").unwrap_or(&problem.subject).to_owned();
        // Salt and path keys are generated, a previous value is not typed again, and a value is asked for a few times only.
        let can_be_asked = may_ask && path.contains('.') && !path.contains('[');
        if !can_be_asked || asked.iter().filter(|other| **other == path).count() >= MAX_TRIES {
            return Err(not_valid(&problems));
        }
        let repeated = asked.contains(&path) || draft.has(&path);
        let hint = if repeated { format!("{}; {}", problem.problem, problem.fix) } else { problem.fix.clone() };
        let value = ask(&format!("{path} ({hint}): "), env)?;
        draft.set_current(&path, value.expose())?;
        asked.push(path);
    }
}

fn not_valid(problems: &[Finding]) -> CommandError {
    let list: Vec<String> = problems.iter().map(|one| format!("{} {}: {}", one.subject, one.problem, one.fix)).collect();
    CommandError::new(
        format!("the functions would not start with this secret: {}", list.join("; ")),
        "correct these values; nothing was written",
    )
}

async fn write(
    draft: &SecretDraft,
    apply: bool,
    first: bool,
    store: &dyn SecretStore,
    warnings: &[Finding],
    env: &CommandEnv,
) -> Result<CommandOutput, CommandError> {
    let plan = describe(draft, warnings);
    if draft.is_unchanged() {
        return Ok(to_output(draft, warnings, false, &format!("{plan}the secret is complete; nothing is to be written\n")));
    }
    // A person who typed values decides at once, and would not type them again.
    let confirmed = !apply && env.terminal.confirm(&format!("{plan}write this secret? (yes/no) ")).unwrap_or(false);
    if !apply && !confirmed {
        return Ok(to_output(draft, warnings, false, &format!("{plan}nothing was written; --apply writes it\n")));
    }
    let text = SecretString::new(draft.text());
    session::register_secrets(text.expose(), env);
    (env.progress)("writing the secret");
    store.write(&text, first).await?;
    let written = store.read().await?.is_some_and(|stored| stored.matches(text.expose()));
    if !written {
        let fix = "check the secret's versions in AWS Secrets Manager, then run connectorctl doctor";
        return Err(CommandError::new("another operator wrote the secret at the same time, and it is not what this command wrote", fix));
    }
    let outcome = "written; connectorctl doctor checks it with Cleeng and the gateways\n";
    Ok(to_output(draft, warnings, true, &if confirmed { outcome.to_owned() } else { format!("{plan}{outcome}") }))
}

/// What would be written, by name.
fn describe(draft: &SecretDraft, warnings: &[Finding]) -> String {
    let rows: Vec<Vec<String>> =
        draft.changes().into_iter().map(|(path, change)| vec![path, "***".to_owned(), change.as_str().to_owned()]).collect();
    let mut text = table(&["NAME", "VALUE", "CHANGE"], &rows);
    for Finding { subject, problem, fix, .. } in warnings {
        text.push_str(&format!("warning: {subject} {problem}; {fix}\n"));
    }
    text
}

fn to_output(draft: &SecretDraft, warnings: &[Finding], applied: bool, text: &str) -> CommandOutput {
    let changes: Vec<Value> =
        draft.changes().into_iter().map(|(path, change)| json!({ "name": path, "change": change.as_str() })).collect();
    let warnings: Vec<Value> =
        warnings.iter().map(|finding| json!({ "subject": finding.subject, "problem": finding.problem, "fix": finding.fix })).collect();
    CommandOutput { text: text.to_owned(), json: json!({ "applied": applied, "values": changes, "warnings": warnings }), exit_code: 0 }
}
