//! The text of a deployment's secret: every mistake in it is reported without quoting any of it, and no accepted value is in a line. Values
//! that must not appear begin with a mark.

use connector::cleeng::client::{CleengEnvironment, CleengSettings, CoreApi};
use connector::cleeng::signature::{SignatureSettings, WebhookVerifier};
use connector::gateway::GatewayName;
use connector::lambda::secrets::Secrets;
use connector::lambda::telemetry::Redactor;
use connector::settings::{Problems, SettingsReader};
use sandbox::testkit::gateway_fixtures::gateway_settings;
use serde_json::Value;

use crate::tools::{assert_no_secret, functions};

const SECRET_MARKER: &str = "Hush";

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let gateways = GatewayName::ALL.iter().copied().collect();
    let (secrets, problems) = Secrets::read(&text, &gateways);
    let mut said = vec![Problems(problems)];
    let Some(secrets) = secrets else { return assert_not_shown(&text, &said) };
    let clock = functions::clock();
    for name in GatewayName::ALL {
        let settings = gateway_settings(*name, None);
        let get = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        let blueprint = name.read_config(&mut SettingsReader::new(&get)).expect("good settings");
        let texts = secrets.gateways.get(name).cloned().unwrap_or_default();
        said.extend(blueprint.build(&texts, functions::simulators(), std::sync::Arc::new(clock.clone())).err());
    }
    let settings = CleengSettings::defaults(CleengEnvironment::Sandbox);
    said.extend(CoreApi::new(settings, secrets.cleeng.publisher_tokens.clone(), functions::simulators()).err());
    said.extend(WebhookVerifier::new(SignatureSettings::default(), &secrets.cleeng.webhook_secrets).err());
    assert_not_shown(&text, &said);
    let redactor = Redactor::default();
    redactor.register(&secrets.texts());
    for secret in secrets.texts().iter().filter(|secret| secret.expose().starts_with(SECRET_MARKER) && secret.expose().len() > 8) {
        assert!(!redactor.redact(&format!("a {} b", secret.expose())).contains(secret.expose()), "a secret is seen in a line");
    }
    for key in &secrets.webhook_path_keys {
        assert!(secrets.is_path_key(key.expose()) && !secrets.is_path_key(&format!("{}x", key.expose())) || key.expose().ends_with('x'));
    }
}

fn assert_not_shown(text: &str, said: &[Problems]) {
    // The names of members are no secrets, and are told.
    if serde_json::from_str::<Value>(text).is_ok_and(|value| has_gateway_secret(&value)) {
        return;
    }
    said.iter().for_each(|problems| assert_no_secret(&format!("{problems} {problems:?}"), &[SECRET_MARKER]));
}

/// Whether a member's name holds the mark.
fn has_gateway_secret(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| name.contains(SECRET_MARKER) || has_gateway_secret(value)),
        Value::Array(items) => items.iter().any(has_gateway_secret),
        _ => false,
    }
}
