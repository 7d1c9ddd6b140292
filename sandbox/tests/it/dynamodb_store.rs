//! The journal's store in DynamoDB against a DynamoDB Local at `CONNECTOR_TEST_DYNAMODB_URL`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use connector::clock::{Clock, SystemClock};
use connector::journal::conformance::{self, StoreUnderTest};
use connector::journal::dynamodb::{DynamoStore, TableError, create_table};
use connector::journal::store::{CommitError, Key, Put, Store, StoreError};
use sandbox::simulation::linearizability::{RecordingStore, run_contending_worker};
use sandbox::simulators::virtual_clock::VirtualClock;
use sandbox::testkit::harness::TestEnvironment;

use crate::reconciliation::poison;
use crate::support::newer_release;

const ADDRESS: &str = "CONNECTOR_TEST_DYNAMODB_URL";

async fn client(url: &str) -> Client {
    // The clients of the functions, with an address and credentials of the test's own.
    let config = connector::lambda::aws::load().await.into_builder();
    let config = config.region(Region::new("eu-west-1")).endpoint_url(url);
    let credentials = aws_sdk_dynamodb::config::SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test"));
    Client::new(&config.credentials_provider(credentials).build())
}

/// A client and a table of the test's own; `None` if there is no database.
#[expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test's preparation: fails loudly, and says loudly that it is skipped")]
async fn client_and_table(test: &str) -> Option<(Client, String)> {
    let Ok(url) = std::env::var(ADDRESS) else {
        eprintln!("SKIPPED {test}: set {ADDRESS} to the address of a DynamoDB Local to run it");
        return None;
    };
    let client = client(&url).await;
    let table = format!("journal-{test}-{}-{}", std::process::id(), SystemClock.now().millis());
    create_table(&client, &table).await.unwrap();
    Some((client, table))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_dynamodb_keeps_the_contract() {
    let Some((client, table)) = client_and_table("contract").await else { return };
    let clock = VirtualClock::starting_at(SystemClock.now());
    let store = DynamoStore::new(client, table, Arc::new(clock.clone()));
    let mover = clock.clone();
    let advance = move |by: Duration| mover.advance(by);
    let seen = conformance::run_all(&StoreUnderTest { store: Arc::new(store), clock: Arc::new(clock), advance: &advance }).await;
    assert!(seen >= 18, "the suite shrank to {seen} cases");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_has_the_attributes_that_the_template_builds_on() {
    let Some((client, table)) = client_and_table("attributes").await else { return };
    let clock = VirtualClock::starting_at(SystemClock.now());
    let store = DynamoStore::new(client.clone(), table.clone(), Arc::new(clock.clone()));
    let (due_at, expires_at) = (clock.now().after(Duration::from_secs(60)), clock.now().after(Duration::from_secs(3600)));
    let put = |key, due_at, expires_at| Put { key, expected_version: None, body: "{}".to_owned(), due_at, parked_since: None, expires_at };
    let [timed, plain] = [Key::new("period", &["1", "2"]), Key::new("period", &["3"])];
    store.commit(&[put(timed.clone(), Some(due_at), Some(expires_at)), put(plain.clone(), None, None)]).await.unwrap();

    let item = |key: &Key| client.get_item().table_name(&table).key("pk", AttributeValue::S(key.to_string())).send();
    let timed = item(&timed).await.unwrap().item.unwrap();
    assert_eq!(timed["kind"], AttributeValue::S("period".to_owned()));
    assert_eq!(timed["version"], AttributeValue::N("1".to_owned()));
    assert_eq!(timed["due_at"], AttributeValue::N(due_at.millis().to_string()));
    assert!(timed.contains_key("due_bucket"));
    let seconds: i64 = timed["expires_at"].as_n().unwrap().parse().unwrap();
    assert!((expires_at.secs()..=expires_at.secs() + 1).contains(&seconds), "TTL counts in seconds");
    let plain = item(&plain).await.unwrap().item.unwrap();
    let mut names: Vec<&str> = plain.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["body", "kind", "pk", "version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reads_and_writes_of_many_workers_are_linearizable() {
    let Some((client, table)) = client_and_table("histories").await else { return };
    let store = Arc::new(RecordingStore::new(Arc::new(DynamoStore::new(client, table, Arc::new(SystemClock)))));
    let workers: Vec<_> = (0..8).map(|worker| tokio::spawn(run_contending_worker(store.clone(), worker, 25))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(store.linearizability_errors(), Vec::<String>::new());
    let (written, refused) = store.counts();
    assert!(written > 40 && refused > 20, "{written} writes, {refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_refused_and_named() {
    let Some((client, table)) = client_and_table("missing").await else { return };
    assert_eq!(create_table(&client, &table).await, Err(TableError::NotCreated));
    let store = DynamoStore::new(client, "journal-that-is-not-there", Arc::new(SystemClock));
    let key = Key::new("period", &["1"]);
    let put = Put { key: key.clone(), expected_version: None, body: "{}".to_owned(), due_at: None, parked_since: None, expires_at: None };
    let refused = StoreError::Refused("no such table");
    assert_eq!(store.load(std::slice::from_ref(&key)).await, Err(refused));
    assert_eq!(store.load(&[key.clone(), Key::new("period", &["2"])]).await, Err(refused));
    assert_eq!(store.commit(&[put]).await, Err(CommitError::NotWritten(refused)));
    assert_eq!(store.due(SystemClock.now(), 5).await, Err(refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_known_to_have_written_nothing() {
    // A port of our own that nobody listens on any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = DynamoStore::new(client(&format!("http://127.0.0.1:{port}")).await, "journal", Arc::new(SystemClock));
    let key = Key::new("period", &["1"]);
    let put = Put { key: key.clone(), expected_version: None, body: "{}".to_owned(), due_at: None, parked_since: None, expires_at: None };
    assert_eq!(store.load(&[key]).await, Err(StoreError::Unavailable));
    assert_eq!(store.commit(&[put]).await, Err(CommitError::NotWritten(StoreError::Unavailable)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_unknown() {
    // Takes connections, reads, and closes without a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut calls = 0_u32;
        while let Ok((stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
            calls += 1;
            if calls == 3 {
                break;
            }
        }
        calls
    });
    let store = DynamoStore::new(client(&url).await, "journal", Arc::new(SystemClock));
    let put = Put {
        key: Key::new("period", &["1"]),
        expected_version: None,
        body: "{}".to_owned(),
        due_at: None,
        parked_since: None,
        expires_at: None,
    };
    assert_eq!(store.commit(&[put]).await, Err(CommitError::Unknown));
    assert_eq!(server.await.unwrap(), 3, "three attempts, no hidden ones");
}

/// A way to the database on which the first answer gets lost after the database has done its work, and whether it did get lost.
fn proxy_losing_first_answer(database: &str) -> std::io::Result<(String, Arc<AtomicBool>)> {
    use std::io::{Read, Write};
    let database = database.trim_start_matches("http://").to_owned();
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let lost = Arc::new(AtomicBool::new(false));
    let losing = Arc::clone(&lost);
    std::thread::spawn(move || -> std::io::Result<()> {
        for (connection, client) in listener.incoming().enumerate() {
            let (mut client, mut upstream) = (client?, std::net::TcpStream::connect(&database)?);
            let (mut up, mut down) = (upstream.try_clone()?, client.try_clone()?);
            std::thread::spawn(move || std::io::copy(&mut client, &mut up));
            let mut buffer = [0_u8; 65_536];
            while let Ok(read @ 1..) = upstream.read(&mut buffer) {
                if connection == 0 {
                    losing.store(true, Ordering::SeqCst);
                    break;
                }
                down.write_all(buffer.get(..read).unwrap_or_default())?;
            }
            down.shutdown(std::net::Shutdown::Both)?;
        }
        Ok(())
    });
    Ok((url, lost))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_first_answer_is_lost_is_repeated_and_does_not_conflict_with_itself() {
    let Some((direct, table)) = client_and_table("lost").await else { return };
    let (url, lost) = proxy_losing_first_answer(&std::env::var(ADDRESS).unwrap()).unwrap();
    let store = DynamoStore::new(client(&url).await, table.clone(), Arc::new(SystemClock));
    let key = Key::new("period", &["1"]);
    let put = Put { key: key.clone(), expected_version: None, body: "{}".to_owned(), due_at: None, parked_since: None, expires_at: None };
    assert_eq!(store.commit(std::slice::from_ref(&put)).await, Ok(()));
    assert!(lost.load(Ordering::SeqCst), "no answer was lost");
    let store = DynamoStore::new(direct, table, Arc::new(SystemClock));
    let versions: Vec<_> = store.load(&[key]).await.unwrap().into_iter().map(|stored| stored.map(|stored| stored.version)).collect();
    assert_eq!(versions, [Some(1)]);
    assert_eq!(store.commit(&[put]).await, Err(CommitError::Conflict), "another write under another token does conflict");
}

/// A database that answers as written, call by call: a status with a body, or nothing, which is a lost answer.
fn scripted_database(answers: Vec<Option<(u16, String)>>) -> std::io::Result<(String, std::thread::JoinHandle<std::io::Result<()>>)> {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = std::thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept()?;
            let mut reader = BufReader::new(client.try_clone()?);
            let (mut line, mut length) = (String::new(), 0_u64);
            while reader.read_line(&mut line)? > 2 {
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().unwrap_or_default();
                }
                line.clear();
            }
            std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
            if let Some((status, body)) = answer {
                let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                client.write_all(format!("{head}{body}").as_bytes())?;
            }
        }
        Ok(())
    });
    Ok((url, server))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_answer_neither_contention_nor_a_refusal_says_that_nothing_was_written() {
    let lost = || None;
    let cancelled = |reason: &str| {
        let body = format!(
            r#"{{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","CancellationReasons":[{{"Code":"{reason}"}}]}}"#
        );
        Some((400, body))
    };
    let contention = || cancelled("TransactionConflict");
    let denied = || Some((400, r#"{"__type":"com.amazon.coral.service#AccessDeniedException"}"#.to_owned()));
    let good = || Some((200, "{}".to_owned()));
    let refused = Err(CommitError::NotWritten(StoreError::Refused("access denied")));
    for (answers, expected) in [
        (vec![contention()], Err(CommitError::Conflict)),
        (vec![denied()], refused),
        (vec![lost(), contention(), contention()], Err(CommitError::Unknown)),
        (vec![lost(), contention(), good()], Ok(())),
        (vec![lost(), denied(), denied()], Err(CommitError::Unknown)),
        // Under the token of a write that was carried out there would have been success.
        (vec![lost(), cancelled("ConditionalCheckFailed")], Err(CommitError::Conflict)),
    ] {
        let calls = answers.len();
        let (url, server) = scripted_database(answers).unwrap();
        let store = DynamoStore::new(client(&url).await, "journal", Arc::new(SystemClock));
        let key = Key::new("period", &["1"]);
        let put = Put { key, expected_version: None, body: "{}".to_owned(), due_at: None, parked_since: None, expires_at: None };
        assert_eq!(store.commit(&[put]).await, expected, "{calls} calls");
        server.join().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_document_holds_back_another_whatever_is_wrong_with_it() {
    if client_and_table("poison").await.is_none() {
        return;
    }
    poison::assert_no_poison_holds_back(30, &[0, 25], async |env, name| {
        let (client, table) = client_and_table(&format!("poison-{name}")).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(DynamoStore::new(client, table, Arc::new(env.clock.clone())));
        store
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_with_attributes_of_another_type_holds_back_nobody_and_can_be_repaired() {
    let Some((client, table)) = client_and_table("attribute-types").await else { return };
    let mut env = TestEnvironment::default();
    let store = Arc::new(DynamoStore::new(client.clone(), table.clone(), Arc::new(env.clock.clone())));
    env.flow_context.store = store.clone();
    let number = |number: i64| AttributeValue::N(number.to_string());
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let due_at = env.clock.now().millis();
    for (name, attribute, value) in [
        ("period#body", "body", number(1)),
        ("period#version", "version", text("one")),
        ("period#expiry", "expires_at", text("never")),
        ("period#none", "kind", text("period")),
    ] {
        let item = client.put_item().table_name(&table).item("pk", text(name)).item("due_bucket", text("due"));
        item.item("due_at", number(due_at)).item(attribute, value).send().await.unwrap();
    }
    let healthy = Key::new("period", &["healthy"]);
    let body = poison::healthy(env.clock.now());
    let put = Put { key: healthy, expected_version: None, body, due_at: Some(env.clock.now()), parked_since: None, expires_at: None };
    store.commit(&[put]).await.unwrap();
    let report = env.run_reconciliation().await;
    assert_eq!((report.due, report.requeued, report.deferred, report.failed), (5, 1, 4, 0), "{report:?}");
    assert_eq!(connector::manual_review::list_parked(store.as_ref(), 10).await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciliation_leaves_what_a_newer_release_wrote_as_it_is() {
    let Some((client, table)) = client_and_table("newer-release").await else { return };
    let mut env = TestEnvironment::default();
    env.flow_context.store = Arc::new(DynamoStore::new(client, table, Arc::new(env.clock.clone())));
    let store = env.flow_context.store.clone();
    let keys = ["period", "order", "subscription"].map(|kind| Key::new(kind, &["1"]));
    for key in &keys {
        let body = r#"{"schema":1,"attempts":[]}"#.to_owned();
        store
            .commit(&[Put { key: key.clone(), expected_version: None, body, due_at: None, parked_since: None, expires_at: None }])
            .await
            .unwrap();
    }
    newer_release::rewrite_as_newer(&store, &keys, Some(env.clock.now())).await;
    let before = newer_release::bodies(&store, &keys).await;
    let report = env.run_reconciliation().await;
    assert_eq!((report.due, report.checked, report.deferred), (2, 1, 3), "{report:?}");
    assert_eq!(newer_release::bodies(&store, &keys).await, before);
}
