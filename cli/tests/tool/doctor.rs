//! What the doctor finds by asking: every peer over HTTP.

use std::sync::Arc;
use std::time::Duration;

use connector::clock::{Clock, SystemClock};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::money::{Currency, Money};
use connectorctl::output::CommandOutput;
use sandbox::simulators::cleeng::{Cycle, DunningSettings};
use sandbox::simulators::network::Fault;
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::fixtures::{OFFER, id};
use sandbox::testkit::gateway_fixtures::payment_methods_of;
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use serde_json::{Value, json};

use crate::deployment::{TestDeployment, endpoint};

/// The findings of a level with their subjects.
fn findings<'a>(answer: &'a CommandOutput, level: &str) -> Vec<(&'a str, &'a str)> {
    let findings = answer.json["findings"].as_array().unwrap().iter();
    let of_level = findings.filter(|finding| finding["level"] == level);
    of_level.map(|finding| (finding["subject"].as_str().unwrap(), finding["problem"].as_str().unwrap())).collect()
}

fn has_finding(answer: &CommandOutput, level: &str, subject: &str, word: &str) -> bool {
    findings(answer, level).iter().any(|(about, problem)| *about == subject && problem.contains(word))
}

#[tokio::test]
async fn a_deployment_that_is_right_is_told_to_be_right() {
    let deployment = TestDeployment::set_up().await;
    let answer = deployment.run(&["doctor"]).await;
    assert_eq!((answer.exit_code, findings(&answer, "error")), (0, vec![]), "{}", answer.text);
    for (subject, word) in [
        ("Cleeng Core API", "accepts the publisher token"),
        ("Cleeng MediaStore", "reached"),
        ("CONNECTOR_PUBLIC_URL", "leads to the connector"),
        ("webhook subscriptions", "every topic"),
        ("JOURNAL_TABLE", "can be read"),
        ("clock", "is right"),
    ] {
        assert!(has_finding(&answer, "ok", subject, word), "{subject}: {}", answer.text);
    }
    for gateway in GatewayName::ALL {
        assert!(has_finding(&answer, "ok", gateway.as_str(), "accepts our credentials"), "{gateway}: {}", answer.text);
    }
    // The simulators' own keys are public, and said to be.
    assert_eq!(deployment.run(&["doctor", "--strict"]).await.exit_code, 1);
}

#[tokio::test]
async fn what_keeps_pages_from_paying_is_found() {
    let mut deployment = TestDeployment::set_up().await;
    // A custom domain, without its API mapping key or with a wrong one.
    let elsewhere = format!("{}/payments", deployment.world.cleeng_url());
    deployment.settings.insert("CONNECTOR_PUBLIC_URL".to_owned(), elsewhere);
    deployment.settings.remove("ADYEN_CLIENT_KEY");
    let answer = deployment.run(&["doctor"]).await;
    assert!(has_finding(&answer, "error", "CONNECTOR_PUBLIC_URL", "does not lead to the connector"), "{}", answer.text);
    assert!(has_finding(&answer, "warning", "ADYEN_CLIENT_KEY", "is not set"), "{}", answer.text);
}

#[tokio::test]
async fn the_doctor_changes_nothing_anywhere() {
    let deployment = TestDeployment::set_up().await;
    let before = deployment.world.network.calls().len();
    deployment.run(&["doctor"]).await;
    for call in deployment.world.network.calls_since(before) {
        let question = call.method == Method::GET || call.path.ends_with("/paymentMethods") || call.path.ends_with("/oauth2/token");
        assert!(question, "{} {}", call.method, call.path);
    }
    assert!(deployment.store.snapshot().is_empty());
}

#[tokio::test]
async fn refused_credentials_are_told_by_where_they_stand() {
    let mut deployment = TestDeployment::set_up().await;
    deployment.secret["cleeng"]["publisher_token"] = json!("a-token-of-the-other-environment-0000000000000000");
    let answer = deployment.run(&["doctor"]).await;
    assert!(answer.exit_code == 2 && has_finding(&answer, "error", "cleeng.publisher_token", "refused by Cleeng"), "{}", answer.text);
    for gateway in GatewayName::ALL {
        let deployment = TestDeployment::set_up().await;
        let name = gateway.as_str();
        deployment.world.network.inject(Fault::StatusBefore(401), move |peer, _| peer == name);
        let answer = deployment.run(&["doctor"]).await;
        assert!(has_finding(&answer, "error", name, "refused our credentials"), "{gateway}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_peer_that_is_away_is_told_with_the_setting_that_leads_there() {
    let mut deployment = TestDeployment::set_up().await;
    for (setting, subject) in [
        ("CLEENG_API_URL", "CLEENG_API_URL"),
        ("CLEENG_MEDIASTORE_URL", "CLEENG_MEDIASTORE_URL"),
        ("ADYEN_BASE_URL", "adyen"),
        ("PAYPAL_BASE_URL", "paypal"),
    ] {
        let right = deployment.settings.insert(setting.to_owned(), "http://127.0.0.1:1/3.1".to_owned()).unwrap();
        let answer = deployment.run(&["doctor"]).await;
        let fix_names_it = answer.text.contains(setting);
        assert!(
            answer.exit_code == 2 && fix_names_it && findings(&answer, "error").iter().any(|(about, _)| *about == subject),
            "{setting}: {}",
            answer.text
        );
        deployment.settings.insert(setting.to_owned(), right);
    }
}

#[tokio::test]
async fn an_address_that_is_not_the_core_api_and_a_server_in_trouble_are_told_apart() {
    let deployment = TestDeployment::set_up().await;
    for (status, subject) in [(404, "CLEENG_API_URL"), (503, "Cleeng Core API")] {
        deployment.world.network.inject(Fault::StatusBefore(status), |peer, _| peer == "cleeng");
        let answer = deployment.run(&["doctor"]).await;
        assert!(findings(&answer, "error").iter().any(|(about, _)| *about == subject), "{status}: {}", answer.text);
    }
}

#[tokio::test]
async fn every_shortcoming_of_a_webhook_subscription_is_told_by_its_topic() {
    let deployment = TestDeployment::set_up().await;
    let subject = "webhook refundPayment";
    let cleeng = &deployment.world.cleeng;
    let right = endpoint("refund-payment");
    let changed = |change: fn(&mut Value)| {
        let mut endpoint = right.clone();
        change(&mut endpoint);
        endpoint
    };
    for (endpoints, level, word) in [
        (vec![], "error", "no endpoint of ours"),
        (vec![endpoint("capture-payment")], "error", "no endpoint of ours"),
        (vec![right.clone(), right.clone()], "warning", "delivered twice"),
        (vec![changed(|it| it["verification"] = Value::Null)], "error", "not signed"),
        (vec![changed(|it| it["verification"]["options"]["hashAlg"] = json!("MD5"))], "error", "not signed"),
        (vec![changed(|it| it["retryPolicy"] = Value::Null)], "warning", "not sent again"),
        (vec![changed(|it| it["retryPolicy"] = json!({ "enabled": false }))], "warning", "not sent again"),
        (vec![changed(|it| it["url"] = json!(it["url"].as_str().unwrap().replace("https", "http")))], "error", "http address"),
    ] {
        cleeng.set_webhook_endpoints("refundPayment", endpoints);
        let answer = deployment.run(&["doctor"]).await;
        assert!(has_finding(&answer, level, subject, word), "{word}: {}", answer.text);
    }
}

/// A subscription of a payment method with this dunning.
fn add_subscription(deployment: &TestDeployment, method: &str, dunning: DunningSettings) {
    let cleeng = &deployment.world.cleeng;
    cleeng.add_method(id(method), "adyen", dunning);
    let price = Money::new(999, Currency::new("USD").unwrap());
    cleeng.add_offer(id(OFFER), price, Cycle::MONTHLY);
    let due = Cycle::MONTHLY.after(SystemClock.now());
    cleeng.new_subscriber(&id(OFFER), &id(method), "token:shopper", due).unwrap();
}

#[tokio::test]
async fn the_dunning_trap_of_capture_only_billing_is_found_from_what_cleeng_plans() {
    let capture_only = |attempts: &[i64]| DunningSettings { authorised_first: false, attempts: attempts.to_vec(), grace: 80 };
    let subject = format!("PAYMENT_METHODS {ADYEN_CAPTURE_ONLY_METHOD}");
    for (dunning, expected) in [
        (capture_only(&[72, 48, 24, 0]), Some("up to 72 hours before")),
        (DunningSettings::default(), Some("authorizedFirst is true")),
        (capture_only(&[0, -24, -48, -72]), None),
    ] {
        let deployment = TestDeployment::set_up().await;
        add_subscription(&deployment, ADYEN_CAPTURE_ONLY_METHOD, dunning);
        let answer = deployment.run(&["doctor"]).await;
        match expected {
            Some(word) => assert!(answer.exit_code == 2 && has_finding(&answer, "error", &subject, word), "{word}: {}", answer.text),
            None => assert!(has_finding(&answer, "ok", &subject, "in use") && findings(&answer, "error").is_empty(), "{}", answer.text),
        }
    }
}

#[tokio::test]
async fn a_method_without_subscriptions_is_said_to_be_unknown_and_authorise_first_billing_has_no_trap() {
    let deployment = TestDeployment::set_up().await;
    add_subscription(&deployment, ADYEN_METHOD, DunningSettings::default());
    let answer = deployment.run(&["doctor"]).await;
    assert!(has_finding(&answer, "ok", &format!("PAYMENT_METHODS {ADYEN_METHOD}"), "in use"), "{}", answer.text);
    let (paypal, _) = payment_methods_of(GatewayName::PayPal);
    assert!(has_finding(&answer, "note", &format!("PAYMENT_METHODS {paypal}"), "no subscription yet"), "{}", answer.text);
}

#[tokio::test]
async fn another_publisher_than_the_tokens_is_found() {
    let mut deployment = TestDeployment::set_up().await;
    add_subscription(&deployment, ADYEN_METHOD, DunningSettings::default());
    deployment.settings.insert("CONNECTOR_PUBLISHER_ID".to_owned(), "999999999".to_owned());
    let answer = deployment.run(&["doctor"]).await;
    assert!(answer.exit_code == 2 && has_finding(&answer, "error", "CONNECTOR_PUBLISHER_ID", "not the publisher"), "{}", answer.text);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_found_by_what_every_peer_says() {
    for (seconds, level) in [(60, "warning"), (600, "error")] {
        let mut deployment = TestDeployment::set_up().await;
        deployment.clock = Arc::new(VirtualClock::starting_at(SystemClock.now().after(Duration::from_secs(seconds))));
        let answer = deployment.run(&["doctor"]).await;
        assert!(has_finding(&answer, level, "clock", "seconds apart"), "{seconds}: {}", answer.text);
    }
}
