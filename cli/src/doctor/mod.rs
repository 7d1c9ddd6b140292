//! Looks for everything that is wrong with a deployment. Changes nothing, asks only harmless questions, and never quotes a value: it could be a
//! secret in the wrong place.

mod advice;
mod finding;
mod names;
mod peers;
mod resources;
mod secret;
mod watch;

use std::sync::Arc;

use connector::http::Transport;
use connector::lambda::operator::Deployment;
use connector::lambda::secrets::Secrets;
use connector::settings::Reader;

pub use self::finding::{Finding, Level, tell};
use self::watch::Watching;
use crate::answer::Answer;
use crate::arguments::Doctor;
use crate::desk;
use crate::surroundings::Surroundings;

/// Looks at everything that these options allow.
pub async fn examine(options: &Doctor, surroundings: &Surroundings) -> Answer {
    tell(findings(options, surroundings).await, options.strict)
}

/// Everything that was found.
pub async fn findings(options: &Doctor, surroundings: &Surroundings) -> Vec<Finding> {
    let (deployment, mut findings) = settings(surroundings);
    let Some(deployment) = deployment else {
        let fix = "mend the errors above and run it again";
        findings.push(Finding::note("secret, peers", "are not looked at, because the settings cannot be read", fix));
        return findings;
    };
    findings.extend(advice::about(&deployment, surroundings));
    if options.offline && deployment.settings.resources.is_some() {
        findings.push(Finding::note("secret", "is not looked at offline", ""));
        return findings;
    }
    let secrets = secret::examine(&deployment, surroundings, &mut findings).await;
    if options.offline {
        return findings;
    }
    resources::examine(&deployment, surroundings, &mut findings).await;
    match (secrets, desk::transport()) {
        (Some(secrets), Ok(transport)) => ask_peers(&deployment, &secrets, transport, surroundings, &mut findings).await,
        _ => findings.push(Finding::note(
            "peers",
            "are not asked, because the secret is not right",
            "mend the errors above and run it again",
        )),
    }
    findings
}

async fn ask_peers(
    deployment: &Deployment,
    secrets: &Secrets,
    transport: Arc<dyn Transport>,
    surroundings: &Surroundings,
    findings: &mut Vec<Finding>,
) {
    let watching = Arc::new(Watching::new(transport, Arc::clone(&surroundings.clock)));
    let transport: Arc<dyn Transport> = watching.clone();
    (surroundings.progress)("asking Cleeng");
    if let Ok(api) = deployment.core_api(secrets, &transport) {
        peers::cleeng(deployment, secrets, &api, findings).await;
    }
    peers::mediastore(deployment, &transport, findings).await;
    peers::gateways(deployment, secrets, &transport, surroundings, findings).await;
    findings.extend(watching.findings());
}

/// What the functions would say at their start, and what they cannot notice.
fn settings(surroundings: &Surroundings) -> (Option<Deployment>, Vec<Finding>) {
    let get = |name: &str| surroundings.get(name);
    let mut reader = Reader::new(&get);
    let deployment = Deployment::read(&mut reader);
    let (deployment, problems) = reader.parts(deployment);
    let mut findings: Vec<Finding> = problems.into_iter().map(Finding::from).collect();
    findings.extend(names::examine(surroundings));
    if let Some(deployment) = &deployment
        && findings.iter().all(|finding| finding.level < Level::Error)
    {
        let methods = deployment.settings.methods.len();
        findings.push(Finding::fine("settings", format!("are understood; {methods} payment method(s)")));
    }
    (deployment, findings)
}
