//! Webhook subscriptions against the simulated Cleeng over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::{PATH_KEY, PUBLISHER_TOKEN, WEBHOOK_SECRET, embedded};
use clap::Parser;
use connector::cleeng::webhook::Topic;
use connector::clock::{Clock, SystemClock};
use connector::http::Method;
use connector::ids::PublisherId;
use connector::lambda::webhook_handler::route_for_topic;
use connectorctl::arguments::Arguments;
use connectorctl::command_env::CommandEnv;
use connectorctl::output::CommandOutput;
use proptest::prelude::*;
use sandbox::simulators::cleeng::{CleengSimulator, PublisherAccount};
use sandbox::simulators::network::{Fault, FaultyNetwork, RunningServer, serve};
use sandbox::simulators::virtual_clock::VirtualClock;
use serde_json::{Value, json};

const URL: &str = "https://abc123.execute-api.eu-west-1.amazonaws.com";

struct CleengServer {
    simulator: CleengSimulator,
    network: FaultyNetwork,
    server: RunningServer,
}

impl CleengServer {
    async fn open() -> Self {
        let publisher = PublisherAccount {
            id: PublisherId::new("558186818").unwrap(),
            token: PUBLISHER_TOKEN.to_owned(),
            webhook_secret: WEBHOOK_SECRET.to_owned(),
        };
        let simulator = CleengSimulator::new(publisher, VirtualClock::starting_at(SystemClock.now()));
        let road = FaultyNetwork::default();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = serve(Arc::new(simulator.clone()), road.clone(), any).await.unwrap();
        Self { simulator, network: road, server }
    }

    async fn run(&self, words: &[&str]) -> CommandOutput {
        let mut settings = embedded();
        settings.insert("CLEENG_API_URL".to_owned(), format!("{}/3.1", self.server.url()));
        let arguments = Arguments::try_parse_from([&["connectorctl", "webhooks"], words].concat()).unwrap();
        connectorctl::run(&arguments, &CommandEnv::new(settings)).await
    }

    async fn sync(&self) -> CommandOutput {
        self.run(&["sync", "--url", URL, "--apply"]).await
    }

    fn all(&self) -> Vec<Vec<Value>> {
        Topic::ALL.map(|topic| self.simulator.webhook_endpoints(topic.as_str())).to_vec()
    }

    fn writes(&self) -> usize {
        self.network.calls().iter().filter(|call| call.method == Method::PUT).count()
    }
}

fn ours(topic: Topic) -> Value {
    json!({
        "url": format!("{URL}/webhooks/{PATH_KEY}/{}", route_for_topic(topic)),
        "verification": { "name": "HMAC", "options": { "hashAlg": "SHA256", "sharedSecret": WEBHOOK_SECRET } },
        "retryPolicy": { "enabled": true },
    })
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_writes_nothing() {
    let cleeng = CleengServer::open().await;
    let answer = cleeng.run(&["sync", "--url", URL]).await;
    assert_eq!((answer.exit_code, cleeng.writes()), (0, 0), "{}", answer.text);
    assert!(answer.text.contains("would change: adds our endpoint") && answer.text.contains("--apply"), "{}", answer.text);
    assert!(cleeng.all().iter().all(Vec::is_empty));
}

#[tokio::test]
async fn sync_adds_our_endpoint_to_every_topic_verified_and_with_retries() {
    let cleeng = CleengServer::open().await;
    let answer = cleeng.sync().await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    for topic in Topic::ALL {
        assert_eq!(cleeng.simulator.webhook_endpoints(topic.as_str()), [ours(topic)]);
    }
    assert!(cleeng.simulator.violations().is_empty());
    let listed = cleeng.run(&["list"]).await;
    assert_eq!((listed.exit_code, listed.json["missing"].as_u64()), (0, Some(0)));
}

#[tokio::test]
async fn an_endpoint_of_ours_that_is_not_right_is_mended_where_it_stands() {
    let cleeng = CleengServer::open().await;
    let topic = Topic::RefundPayment;
    let other = json!({ "url": "https://other.example.com/hook", "filters": { "paymentMethodId": [7] } });
    let old = json!({ "url": format!("https://old.example.com/webhooks/{PATH_KEY}/{}", route_for_topic(topic)), "filters": { "paymentMethodId": [1] } });
    cleeng.simulator.set_webhook_endpoints(topic.as_str(), vec![old.clone(), other.clone(), old]);
    let answer = cleeng.sync().await;
    let mut expected = ours(topic);
    expected["filters"] = json!({ "paymentMethodId": [1] });
    assert_eq!(cleeng.simulator.webhook_endpoints(topic.as_str()), [expected, other], "{}", answer.text);
    assert_eq!(answer.exit_code, 0);
}

#[tokio::test]
async fn remove_takes_our_endpoints_away_and_nothing_else() {
    let cleeng = CleengServer::open().await;
    let other = json!({ "url": format!("https://other.example.com/{PATH_KEY}/refund-payment") });
    cleeng.simulator.set_webhook_endpoints("refundPayment", vec![other.clone()]);
    cleeng.sync().await;
    let dry = cleeng.run(&["remove"]).await;
    assert!(dry.text.contains("would change: takes our endpoint away"), "{}", dry.text);
    let answer = cleeng.run(&["remove", "--apply"]).await;
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
    assert_eq!(cleeng.simulator.webhook_endpoints("refundPayment"), [other]);
    assert!(cleeng.simulator.webhook_endpoints("capturePayment").is_empty());
}

#[tokio::test]
async fn a_topic_where_anothers_verification_would_be_lost_is_not_written() {
    let cleeng = CleengServer::open().await;
    let verification = json!({ "name": "HMAC", "options": { "hashAlg": "SHA256", "sharedSecret": "somebody-elses-secret-32-bytes-xx" } });
    let other = json!({ "url": "https://other.example.com/hook", "verification": verification });
    cleeng.simulator.set_webhook_endpoints("capturePayment", vec![other.clone()]);
    let answer = cleeng.sync().await;
    assert_eq!(answer.exit_code, 2);
    assert!(answer.text.contains("NOT DONE: another endpoint of this topic is verified"), "{}", answer.text);
    assert_eq!(cleeng.simulator.webhook_endpoints("capturePayment"), [other]);
    assert_eq!(cleeng.simulator.webhook_endpoints("refundPayment"), [ours(Topic::RefundPayment)], "the other topics are written");
}

#[tokio::test]
async fn after_a_rotation_the_secret_is_written_only_when_that_is_asked_for() {
    let cleeng = CleengServer::open().await;
    cleeng.sync().await;
    let writes = cleeng.writes();
    cleeng.sync().await;
    assert_eq!(cleeng.writes(), writes, "nothing is written twice");
    let answer = cleeng.run(&["sync", "--url", URL, "--push-secret", "--apply"]).await;
    assert_eq!((answer.exit_code, cleeng.writes()), (0, writes + Topic::ALL.len()), "{}", answer.text);
}

#[tokio::test]
async fn a_write_that_cleeng_refuses_is_told_and_the_rest_is_done() {
    let cleeng = CleengServer::open().await;
    cleeng.network.inject(sandbox::simulators::cleeng::refusal(422), |_, request| {
        request.method == Method::PUT && request.path.ends_with("capturePayment")
    });
    let answer = cleeng.sync().await;
    assert_eq!(answer.exit_code, 2);
    assert!(answer.text.contains("NOT DONE"), "{}", answer.text);
    assert_eq!(cleeng.simulator.webhook_endpoints("refundPayment"), [ours(Topic::RefundPayment)]);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_never_replaced() {
    let cleeng = CleengServer::open().await;
    let changed = Fault::Mutate(Arc::new(|body| *body = json!({ "data": "something new" })));
    cleeng.network.inject(changed, |_, request| request.method == Method::GET);
    let answer = cleeng.sync().await;
    assert_eq!((answer.exit_code, cleeng.writes()), (2, 0), "{}", answer.text);
}

#[tokio::test]
async fn the_stacks_own_output_is_an_address_and_nothing_else_with_a_path_is() {
    let cleeng = CleengServer::open().await;
    for url in ["https://abc.example.com/other", "abc.example.com", "https://user@abc.example.com", "https:///webhooks"] {
        assert_eq!(cleeng.run(&["sync", "--url", url, "--apply"]).await.exit_code, 2, "{url}");
    }
    assert_eq!(cleeng.writes(), 0);
    assert_eq!(cleeng.run(&["sync", "--url", &format!("{URL}/webhooks/"), "--apply"]).await.exit_code, 0);
    assert_eq!(cleeng.simulator.webhook_endpoints("refundPayment"), [ours(Topic::RefundPayment)]);
}

/// Endpoints of others: anything that Cleeng takes, some of it looking much like ours.
fn foreign() -> impl Strategy<Value = Value> {
    let url = prop_oneof![
        "https://[a-z]{1,8}\\.example\\.com/[a-z]{0,12}",
        Just(format!("{URL}/webhooks/another-key-that-is-long/refund-payment")),
        Just(format!("{URL}/webhooks/{PATH_KEY}/refund-payment/more")),
        Just(format!("https://x.example.com/?next=/webhooks/{PATH_KEY}/refund-payment")),
    ];
    let filters = proptest::option::of(proptest::collection::vec(any::<u32>(), 0..3));
    (url, filters, any::<bool>()).prop_map(|(url, filters, retried)| {
        let mut endpoint = json!({ "url": url });
        if let Some(filters) = filters {
            endpoint["filters"] = json!({ "paymentMethodId": filters });
        }
        if retried {
            endpoint["retryPolicy"] = json!({ "maxAttempts": 3 });
        }
        endpoint
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_others_have_stays_and_a_second_sync_changes_nothing(
        lists in proptest::collection::vec((proptest::collection::vec(foreign(), 0..4), any::<bool>(), 0_usize..4), 6)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cleeng = CleengServer::open().await;
            for (topic, (others, with_ours, place)) in Topic::ALL.into_iter().zip(&lists) {
                let mut list = others.clone();
                if *with_ours {
                    list.insert((*place).min(list.len()), json!({ "url": format!("http://old.example.com/webhooks/{PATH_KEY}/{}", route_for_topic(topic)) }));
                }
                cleeng.simulator.set_webhook_endpoints(topic.as_str(), list);
            }
            assert_eq!(cleeng.sync().await.exit_code, 0);
            let first = cleeng.all();
            for (topic, (list, (others, ..))) in Topic::ALL.into_iter().zip(first.iter().zip(&lists)) {
                let kept: Vec<&Value> = list.iter().filter(|endpoint| **endpoint != ours(topic)).collect();
                assert_eq!(kept, others.iter().collect::<Vec<_>>());
                assert_eq!(list.len(), others.len() + 1, "one of ours");
            }
            let writes = cleeng.writes();
            assert_eq!(cleeng.sync().await.exit_code, 0);
            assert_eq!((cleeng.all(), cleeng.writes()), (first, writes));
            assert_eq!(cleeng.run(&["remove", "--apply"]).await.exit_code, 0);
            assert_eq!(cleeng.all(), lists.iter().map(|(others, ..)| others.clone()).collect::<Vec<_>>());
        });
    }
}
