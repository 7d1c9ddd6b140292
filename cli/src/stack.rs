//! The settings of a deployed stack, as its functions have them. The AWS CLI reads them, which every deployment needs anyway: AWS's clients
//! for CloudFormation and Lambda would take minutes to compile for three calls.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::command_env::parse_settings;
use crate::output::CommandError;

/// The functions (template.yaml) that have all settings between them. The later one's win: `reconciliation` names every queue.
const FUNCTIONS: [&str; 2] = ["InitialPurchaseFunction", "ReconciliationFunction"];

/// Reads the environment variables of the stack's functions, and the stack's region as `AWS_REGION`.
///
/// # Errors
/// [`CommandError`] if the AWS CLI cannot read them, or the stack is none of this connector.
pub fn settings(stack: &str) -> Result<BTreeMap<String, String>, CommandError> {
    let resources = aws(&["cloudformation", "list-stack-resources", "--stack-name", stack])?;
    let resources: Value = serde_json::from_str(&resources).map_err(|_| not_ours(stack))?;
    let resources = resources.get("StackResourceSummaries").and_then(Value::as_array).ok_or_else(|| not_ours(stack))?;
    let mut settings = BTreeMap::new();
    for function in FUNCTIONS {
        let resource = resources.iter().find(|resource| resource.get("LogicalResourceId").and_then(Value::as_str) == Some(function));
        let name = resource.and_then(|resource| resource.get("PhysicalResourceId")?.as_str()).ok_or_else(|| not_ours(stack))?;
        let configuration = aws(&["lambda", "get-function-configuration", "--function-name", name])?;
        settings.extend(parse_settings(&configuration)?);
        settings.extend(region_of(&configuration).map(|region| ("AWS_REGION".to_owned(), region)));
    }
    Ok(settings)
}

/// The region in the function's ARN: `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
fn region_of(configuration: &str) -> Option<String> {
    let configuration: Value = serde_json::from_str(configuration).ok()?;
    configuration.get("FunctionArn")?.as_str()?.split(':').nth(3).map(str::to_owned)
}

fn not_ours(stack: &str) -> CommandError {
    CommandError::new(format!("the stack {stack} has no functions of this connector"), "give the stack's name as samconfig.toml has it")
}

fn aws(words: &[&str]) -> Result<String, CommandError> {
    let output = Command::new("aws").args(words).args(["--output", "json"]).output().map_err(|_| {
        CommandError::new("--stack needs the AWS CLI, and aws cannot be run", "install the AWS CLI, or give the settings with --env-file")
    })?;
    if !output.status.success() {
        let cause = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let fix = "check the stack's name, AWS_REGION and AWS_PROFILE; sign in again with aws sso login if the session expired";
        return Err(CommandError::new(format!("the stack cannot be read: {cause}"), fix));
    }
    String::from_utf8(output.stdout).map_err(|_| CommandError::new("the AWS CLI's answer is no text", "run it by hand and look"))
}
