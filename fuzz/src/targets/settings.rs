//! The settings of a deployment, one `NAME=value` in each line over those of the sandbox: they are read, or every mistake is reported with
//! its setting and its fix, without the secret's text.

use connector::lambda::operator::Deployment;
use connector::secret::SecretString;
use connector::settings::SettingsReader;

use crate::tools::{assert_no_secret, functions};

const FORBIDDEN_IN_LOGS: &str = "Hush-this-is-the-text-of-the-secret";

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut environment = functions::environment();
    for (name, value) in text.lines().take(64).filter_map(|line| line.split_once('=')) {
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment.insert("CONNECTOR_SECRETS".to_owned(), FORBIDDEN_IN_LOGS.to_owned());
    let get = |name: &str| environment.get(name).cloned();
    let mut reader = SettingsReader::new(&get);
    let deployment = Deployment::read(&mut reader);
    let (deployment, problems) = reader.into_parts(deployment);
    for problem in &problems {
        assert!(!problem.setting.is_empty() && !problem.problem.is_empty() && !problem.fix.is_empty(), "{problem}");
        assert_no_secret(&format!("{problem} {problem:?}"), &[FORBIDDEN_IN_LOGS]);
    }
    let Some(deployment) = deployment.filter(|_| problems.is_empty()) else {
        return assert!(!problems.is_empty(), "nothing, and no word why");
    };
    let settings = &deployment.settings;
    assert_no_secret(
        &format!("{settings:?} {:?} {:?} {:?}", deployment.frontend, deployment.cleeng(), deployment.signature()),
        &[FORBIDDEN_IN_LOGS],
    );
    assert!(!settings.methods.is_empty() && !deployment.gateways_in_use().is_empty(), "a deployment without a payment method");
    assert!(settings.max_body_bytes > 0 && settings.settle_deadline <= settings.unknown_deadline.max(settings.settle_deadline));
    assert!(!(deployment.is_production() && deployment.signature().accept_unsigned), "unsigned webhooks in production");
    let rules = settings.policy(SecretString::new("salt"));
    assert!(rules.publisher == settings.publisher && rules.methods.len() == settings.methods.len());
}
