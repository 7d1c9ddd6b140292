//! Reports every problem of a deployment. Changes nothing, makes only harmless requests, and never quotes a value: it could be a secret in
//! the wrong place.

mod advice;
mod clock_check;
mod finding;
mod resources;
mod secret;
mod setting_names;
mod upstreams;

use std::sync::Arc;

use connector::http::Transport;
use connector::lambda::operator::Deployment;
use connector::lambda::secrets::Secrets;
use connector::settings::SettingsReader;

use self::clock_check::ClockCheckingTransport;
pub use self::finding::{Finding, Level, to_output};
pub(crate) use self::secret::check as check_secret;
use crate::arguments::Doctor;
use crate::command_env::CommandEnv;
use crate::output::CommandOutput;
use crate::session;

/// Looks at everything that these options allow.
pub async fn examine(options: &Doctor, env: &CommandEnv) -> CommandOutput {
    to_output(findings(options, env).await, options.strict)
}

/// Everything that was found.
pub async fn findings(options: &Doctor, env: &CommandEnv) -> Vec<Finding> {
    let (deployment, mut findings) = check_settings(env);
    let Some(deployment) = deployment else {
        let fix = "correct the errors above and run doctor again";
        findings.push(Finding::note("secret, AWS, Cleeng, gateways", "are not checked, because the settings are not valid", fix));
        return findings;
    };
    findings.extend(advice::check(&deployment, env));
    if options.offline && deployment.settings.resources.is_some() {
        findings.push(Finding::note("secret", "is not checked offline", ""));
        return findings;
    }
    if let Err(failure) = session::check_aws_access(&deployment, env).await {
        findings.push(Finding::error("AWS access", failure.problem, failure.fix));
        let fix = "correct the error above and run doctor again";
        findings.push(Finding::note("secret, table, queues, Cleeng, gateways", "are not checked without access to AWS", fix));
        return findings;
    }
    let secrets = secret::examine(&deployment, env, &mut findings).await;
    if options.offline {
        return findings;
    }
    resources::examine(&deployment, env, &mut findings).await;
    match (secrets, session::transport()) {
        (Some(secrets), Ok(transport)) => ask_upstreams(&deployment, &secrets, transport, env, &mut findings).await,
        _ => findings.push(Finding::note(
            "Cleeng, gateways",
            "are not checked, because the secret is not valid",
            "correct the errors above and run doctor again",
        )),
    }
    findings
}

async fn ask_upstreams(
    deployment: &Deployment,
    secrets: &Secrets,
    transport: Arc<dyn Transport>,
    env: &CommandEnv,
    findings: &mut Vec<Finding>,
) {
    let watching = Arc::new(ClockCheckingTransport::new(transport, Arc::clone(&env.clock)));
    let transport: Arc<dyn Transport> = watching.clone();
    (env.progress)("asking Cleeng");
    if let Ok(api) = deployment.core_api(secrets, &transport) {
        upstreams::check_cleeng(deployment, secrets, &api, findings).await;
    }
    upstreams::check_mediastore(deployment, &transport, findings).await;
    upstreams::check_public_url(deployment, &transport, findings).await;
    upstreams::check_gateways(deployment, secrets, &transport, env, findings).await;
    findings.extend(watching.findings());
}

/// What the functions would say at their start, and what they cannot notice.
fn check_settings(env: &CommandEnv) -> (Option<Deployment>, Vec<Finding>) {
    let get = |name: &str| env.get(name);
    let mut reader = SettingsReader::new(&get);
    let deployment = Deployment::read(&mut reader);
    let (deployment, problems) = reader.into_parts(deployment);
    let mut findings: Vec<Finding> = problems.into_iter().map(Finding::from).collect();
    findings.extend(setting_names::examine(env));
    if let Some(deployment) = &deployment
        && findings.iter().all(|finding| finding.level < Level::Error)
    {
        let methods = deployment.settings.methods.len();
        findings.push(Finding::fine("settings", format!("are valid; {methods} payment method(s)")));
    }
    (deployment, findings)
}
