//! The sample events and their documented responses.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use connector::cleeng::webhook::Webhook;
use connector::gateway::GatewayConfig as _;
use connector::gateway::adyen::AdyenSettings;
use connector::http::HeaderMap;
use connector::lambda::queue::NotificationEnvelope;
use connector::secret::{NamedSecrets, SecretString};
use ring::hmac;
use serde_json::Value;

use crate::support::files::{camel_case, root};
use crate::{NOTIFICATION, event, folders, names, route, samples, webhooks};

#[test]
fn every_function_has_sample_events_and_every_sample_event_has_a_function() {
    assert_eq!(folders("events"), names());
    for name in names() {
        for file in samples(&name) {
            assert!(root().join("events").join(&name).join(file).is_file(), "{name}: no {file}");
        }
    }
}

#[test]
fn every_sample_event_has_documented_answers_and_no_other_file_is_there() {
    for name in names() {
        let expected = event(&name, "expected.json");
        let documented: BTreeSet<_> = expected.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, samples(&name).iter().copied().collect(), "{name}: left: documented in expected.json, right: sample events");
        let files = fs::read_dir(root().join("events").join(&name)).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let beside: BTreeSet<_> = files.filter(|file| file != "expected.json").collect();
        assert_eq!(beside, documented.iter().map(ToString::to_string).collect(), "{name}: left: files, right: documented in expected.json");
        for (file, cases) in expected.as_object().unwrap() {
            assert!(!cases.as_array().unwrap().is_empty(), "{name}/{file}: no answer");
            for case in cases.as_array().unwrap() {
                let promised = !case["answer"].as_object().unwrap().is_empty() && !case["says"].as_str().unwrap().is_empty();
                assert!(promised, "{name}/{file}: an answer that could be anything");
                for before in case["after"].as_array().into_iter().flatten() {
                    assert!(root().join("events").join(before.as_str().unwrap()).is_file(), "{name}/{file}: there is no {before}");
                }
            }
        }
    }
}

#[test]
fn a_sample_webhook_is_signed_and_is_of_its_functions_topic() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"sandbox-webhook-secret-0123456789abcdef");
    for name in webhooks() {
        let http = event(&name, "http.json");
        assert_eq!(http["routeKey"], format!("POST /webhooks/{{key}}/{name}"));
        assert_eq!(http["rawPath"], format!("/webhooks/sandbox-path-key-0123456789/{name}"));
        let body = http["body"].as_str().unwrap();
        let signature = http["headers"]["x-cleeng-signature"].as_str().unwrap();
        let bytes: Vec<u8> = (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap()).collect();
        assert!(hmac::verify(&key, body.as_bytes(), &bytes).is_ok(), "{name}: the signature is wrong");
        let webhook = Webhook::parse(body.as_bytes()).unwrap();
        assert!(webhook.validate().is_ok(), "{name}: the payload lacks something");
        assert!(camel_case(&name).eq_ignore_ascii_case(webhook.topic.as_str()), "{name}: the topic is {}", webhook.topic.as_str());
        let envelope: Value = serde_json::from_str(event(&name, "queue.json")["Records"][0]["body"].as_str().unwrap()).unwrap();
        assert_eq!(envelope["body"].as_str(), Some(body), "{name}: the queue holds another webhook");
        assert_eq!(envelope["topic"], webhook.topic.as_str());
    }
}

#[tokio::test]
async fn the_sample_notification_is_signed_and_is_queued_as_its_sample_message() {
    let env = sandbox::testkit::harness::TestEnvironment::default();
    let http = event(NOTIFICATION, "http.json");
    assert_eq!(http["routeKey"], format!("POST {}", route(NOTIFICATION)));
    let secrets = [("api_key", "sandbox-api-key-0123456789"), ("hmac_keys", sandbox::testkit::gateway_fixtures::ADYEN_HMAC_KEY)];
    let secrets = secrets.map(|(name, value)| (name.to_owned(), vec![SecretString::new(value)]));
    let settings = AdyenSettings {
        merchant_account: "SandboxMerchant".to_owned(),
        ..sandbox::testkit::gateway_fixtures::adyen_settings("http://adyen.test")
    };
    let adapter = settings
        .build(
            &NamedSecrets(secrets.into()),
            Arc::new(sandbox::simulators::network::InProcessTransport::new(env.network.clone())),
            Arc::new(env.clock.clone()),
        )
        .unwrap();
    let body = http["body"].as_str().unwrap();
    let read = adapter.read_notification(&HeaderMap::new(), body.as_bytes()).await.unwrap().remove(0).unwrap();
    let queued = event(NOTIFICATION, "queue.json");
    let envelope = NotificationEnvelope::from_text(queued["Records"][0]["body"].as_str().unwrap()).ok().unwrap();
    assert_eq!(*envelope.open().get(), read);
}
