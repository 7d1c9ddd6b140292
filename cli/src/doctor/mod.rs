//! Looks for everything that is wrong with a deployment. Changes nothing, asks only harmless questions, and never quotes a value: it could be a
//! secret in the wrong place.

mod advice;
mod finding;
mod names;
mod secret;

use connector::lambda::operator::Deployment;
use connector::settings::Reader;

pub use self::finding::{Finding, Level, tell};
use crate::answer::Answer;
use crate::arguments::Doctor;
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
    let secret = secret::examine(&deployment, surroundings, &mut findings).await;
    if options.offline || secret.is_none() {
        return findings;
    }
    findings
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
