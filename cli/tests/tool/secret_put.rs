//! `secret put`: what is asked, generated, kept, refused and written, looked at in the stored secret; and what is shown of it, which is no value.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clap::Parser;
use connector::secret::SecretString;
use connectorctl::arguments::Arguments;
use connectorctl::aws::SecretStore;
use connectorctl::command_env::CommandEnv;
use connectorctl::output::{CommandError, CommandOutput};
use connectorctl::terminal::Terminal;
use serde_json::{Value, json};

use crate::support::{ADYEN_KEY, PATH_KEY, PUBLISHER_TOKEN, WEBHOOK_SECRET, deployed, embedded, secret};

const HMAC_KEY: &str = "9F3A6C1E8B2D7054F1A9C3E6B8D2407195AC3E7F0B6D8241C5E9A7F30B1D6842";
const PAYPAL_SECRET: &str = "EGnHDxD_qRPdaLdZz8iCr8N7_MzF-YHPTkjs6NKYQvQSBngp4PTTVWkPZRbL";
const NEW_SECRET: &str = "mB4nV7cX1zL8kJ5hG2fD9sA6pO3iU0yT";

/// A secret in memory, with every version that was written.
#[derive(Default)]
struct MemorySecret(Mutex<Vec<String>>);

impl MemorySecret {
    fn with(value: &Value) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![value.to_string()])))
    }

    fn versions(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn current(&self) -> Value {
        serde_json::from_str(self.0.lock().unwrap().last().unwrap()).unwrap()
    }
}

#[async_trait]
impl SecretStore for MemorySecret {
    async fn read(&self) -> Result<Option<SecretString>, CommandError> {
        Ok(self.0.lock().unwrap().last().map(SecretString::new))
    }

    async fn write(&self, text: &SecretString, first: bool) -> Result<(), CommandError> {
        let mut versions = self.0.lock().unwrap();
        assert_eq!(first, versions.is_empty());
        versions.push(text.expose().to_owned());
        Ok(())
    }
}

/// A person: answers by the name in the question, keeps the questions, and confirms or does not.
#[derive(Default)]
struct Person {
    answers: Vec<(&'static str, &'static str)>,
    confirms: bool,
    questions: Arc<Mutex<Vec<String>>>,
}

impl Terminal for Person {
    fn secret(&self, question: &str) -> io::Result<SecretString> {
        let mut questions = self.questions.lock().unwrap();
        let place = questions.len();
        questions.push(question.to_owned());
        let (name, value) = self.answers.get(place).ok_or_else(|| io::Error::other("nobody answers"))?;
        assert!(question.starts_with(name), "asked {question}, expected {name}");
        Ok(SecretString::new(*value))
    }

    fn confirm(&self, question: &str) -> io::Result<bool> {
        self.questions.lock().unwrap().push(question.to_owned());
        Ok(self.confirms)
    }
}

async fn put_with(
    store: &Arc<MemorySecret>,
    person: Person,
    stdin: &str,
    settings: BTreeMap<String, String>,
    words: &[&str],
) -> CommandOutput {
    let mut env = CommandEnv::new(settings);
    env.secret_store = Some(store.clone());
    env.terminal = Box::new(person);
    stdin.clone_into(&mut env.stdin);
    let arguments = Arguments::try_parse_from([&["connectorctl", "secret", "put"], words].concat()).unwrap();
    let output = connectorctl::run(&arguments, &env).await;
    // In every case: no value of the secret is in what the command says.
    let mut shown = format!("{}{}", output.text, output.json);
    shown.push_str(&format!("{arguments:?}"));
    for value in [PUBLISHER_TOKEN, WEBHOOK_SECRET, ADYEN_KEY, HMAC_KEY, PAYPAL_SECRET, NEW_SECRET, PATH_KEY] {
        assert!(!shown.contains(value), "{words:?} shows a secret: {shown}");
    }
    output
}

async fn put(store: &Arc<MemorySecret>, person: Person, stdin: &str, words: &[&str]) -> CommandOutput {
    put_with(store, person, stdin, deployed(), words).await
}

fn all_answers() -> Vec<(&'static str, &'static str)> {
    vec![
        ("cleeng.publisher_token", PUBLISHER_TOKEN),
        ("cleeng.webhook_secrets", WEBHOOK_SECRET),
        ("adyen.api_key", ADYEN_KEY),
        ("adyen.hmac_keys", HMAC_KEY),
        ("paypal.client_secret", PAYPAL_SECRET),
    ]
}

#[tokio::test]
async fn an_empty_secret_is_filled_in_by_questions_and_starts_a_function() {
    let store = Arc::new(MemorySecret::default());
    let questions = Arc::default();
    let person = Person { answers: all_answers(), confirms: true, questions: Arc::clone(&questions) };
    let output = put(&store, person, "", &[]).await;
    assert_eq!((output.exit_code, &output.json["applied"]), (0, &json!(true)), "{}", output.text);
    let written = store.current();
    assert_eq!(written["cleeng"], json!({ "publisher_token": [PUBLISHER_TOKEN], "webhook_secrets": [WEBHOOK_SECRET] }));
    assert_eq!(written["adyen"], json!({ "api_key": [ADYEN_KEY], "hmac_keys": [HMAC_KEY] }));
    assert_eq!(written["paypal"], json!({ "client_secret": [PAYPAL_SECRET] }));
    let is_hex = |value: &Value, bytes: usize| value.as_str().is_some_and(|text| hex_digits(text) == bytes * 2);
    assert!(is_hex(&written["idempotency_salt"], 32) && is_hex(&written["webhook_path_keys"][0], 24));
    let confirmation = questions.lock().unwrap().last().unwrap().clone();
    assert!(
        confirmation.contains("idempotency_salt") && confirmation.contains("***") && !confirmation.contains(WEBHOOK_SECRET),
        "{confirmation}"
    );
    for generated in [&written["idempotency_salt"], &written["webhook_path_keys"][0]] {
        assert!(!confirmation.contains(generated.as_str().unwrap()) && !output.text.contains(generated.as_str().unwrap()));
    }
    // The functions' own check, through the doctor.
    let mut env = CommandEnv::new(embedded());
    env.variables.insert("CONNECTOR_SECRETS".to_owned(), written.to_string());
    let arguments = Arguments::try_parse_from(["connectorctl", "doctor", "--offline"]).unwrap();
    assert_eq!(connectorctl::run(&arguments, &env).await.exit_code, 0);
}

fn hex_digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_hexdigit).count()
}

#[tokio::test]
async fn nothing_is_written_without_a_confirmation_or_a_terminal() {
    let store = Arc::new(MemorySecret::default());
    let declined = put(&store, Person { answers: all_answers(), ..Person::default() }, "", &[]).await;
    assert!(declined.text.contains("nothing was written") && declined.json["applied"] == false, "{}", declined.text);
    let nobody = put(&store, Person::default(), "", &["--apply"]).await;
    assert!(nobody.exit_code == 2 && nobody.text.contains("no terminal") && nobody.text.contains("--from"), "{}", nobody.text);
    let shown = put(&store, Person::default(), &secret().to_string(), &["--from", "-"]).await;
    assert!(shown.exit_code == 0 && shown.text.contains("--apply"), "{}", shown.text);
    assert_eq!(store.versions(), 0);
}

#[tokio::test]
async fn values_come_from_standard_input_and_a_complete_secret_is_left_alone() {
    let store = Arc::new(MemorySecret::default());
    let mut given = secret();
    given.as_object_mut().unwrap().remove("idempotency_salt");
    let output = put(&store, Person::default(), &given.to_string(), &["--from", "-", "--apply"]).await;
    assert_eq!(output.exit_code, 0, "{}", output.text);
    let salt = store.current()["idempotency_salt"].clone();
    assert_eq!((salt.as_str().map(str::len), &store.current()["webhook_path_keys"]), (Some(64), &json!([PATH_KEY])));
    let again = put(&store, Person::default(), &given.to_string(), &["--from", "-", "--apply"]).await;
    assert!(again.text.contains("nothing is to be written"), "{}", again.text);
    assert_eq!((store.versions(), store.current()["idempotency_salt"].clone()), (1, salt));
}

#[tokio::test]
async fn an_existing_salt_is_never_replaced() {
    let store = MemorySecret::with(&secret());
    for words in [&["--from", "-", "--apply"][..], &["--rotate", "idempotency_salt", "--apply"]] {
        let output = put(&store, Person::default(), &json!({ "idempotency_salt": "another-salt-0123456789" }).to_string(), words).await;
        assert!(output.exit_code == 2 && output.text.contains("never replaced"), "{}", output.text);
    }
    // The same salt is no other one.
    let same = json!({ "idempotency_salt": secret()["idempotency_salt"], "paypal": { "client_secret": format!("{PAYPAL_SECRET}x") } });
    assert_eq!(put(&store, Person::default(), &same.to_string(), &["--from", "-", "--apply"]).await.exit_code, 0);
    assert_eq!(store.current()["paypal"]["client_secret"], json!([format!("{PAYPAL_SECRET}x")]));
    // A text that cannot be read may hold one.
    let garbled = Arc::new(MemorySecret(Mutex::new(vec!["idempotency_salt = h4Kd9sLq2Wm7Xz5V".to_owned()])));
    let output = put(&garbled, Person::default(), &secret().to_string(), &["--from", "-", "--apply"]).await;
    assert!(output.exit_code == 2 && output.text.contains("no JSON object") && !output.text.contains("h4Kd9"), "{}", output.text);
    assert_eq!(garbled.versions(), 1);
}

#[tokio::test]
async fn a_rotation_puts_the_new_value_first_and_keeps_one_previous() {
    let store = MemorySecret::with(&secret());
    let rotated = put(
        &store,
        Person { answers: vec![("cleeng.webhook_secrets", NEW_SECRET)], confirms: true, ..Person::default() },
        "",
        &["--rotate", "cleeng.webhook_secrets", "--rotate", "webhook_path_keys"],
    )
    .await;
    assert_eq!(rotated.exit_code, 0, "{}", rotated.text);
    assert_eq!(store.current()["cleeng"]["webhook_secrets"], json!([NEW_SECRET, WEBHOOK_SECRET]));
    let keys = store.current()["webhook_path_keys"].clone();
    assert!(keys[0].as_str().is_some_and(|key| hex_digits(key) == 48) && keys[1] == PATH_KEY, "a new path key is generated");
    assert_eq!(store.current()["idempotency_salt"], secret()["idempotency_salt"]);
    let third = json!({ "cleeng": { "webhook_secrets": "a-third-secret-of-thirty-two-byt" } }).to_string();
    assert_eq!(
        put(&store, Person::default(), &third, &["--rotate", "cleeng.webhook_secrets", "--from", "-", "--apply"]).await.exit_code,
        0
    );
    assert_eq!(store.current()["cleeng"]["webhook_secrets"], json!(["a-third-secret-of-thirty-two-byt", NEW_SECRET]));
    for (stdin, name, word) in [
        (third.as_str(), "cleeng.webhook_secrets", "is the current one"),
        (third.as_str(), "cleeng.webhook_secret", "use one of: adyen.api_key"),
        ("{}", "paypal.client_secret", "needs one new value"),
    ] {
        let output = put(&store, Person::default(), stdin, &["--rotate", name, "--from", "-", "--apply"]).await;
        assert!(output.exit_code == 2 && output.text.contains(word), "{name}: {}", output.text);
    }
    assert_eq!(store.versions(), 3);
}

#[tokio::test]
async fn what_a_function_would_refuse_is_asked_again_and_never_written() {
    let store = Arc::new(MemorySecret::default());
    let questions = Arc::default();
    let mut answers = all_answers();
    answers.insert(3, ("adyen.hmac_keys", "not-sixty-four-hex-digits"));
    let output = put(&store, Person { answers, confirms: true, questions: Arc::clone(&questions) }, "", &[]).await;
    assert_eq!(output.exit_code, 0, "{}", output.text);
    assert!(questions.lock().unwrap().iter().any(|question| question.contains("64 hex digits")));
    let store = Arc::new(MemorySecret::default());
    let stubborn = vec![("cleeng.publisher_token", "short"); 4];
    let output = put(&store, Person { answers: stubborn, confirms: true, ..Person::default() }, "", &[]).await;
    assert!(output.exit_code == 2 && output.text.contains("cleeng.publisher_token is too short"), "{}", output.text);
    let mut given = secret();
    given["adyen"]["api_key"] = json!(["<api key>"]);
    given["cleeng"]["publisher_token"] = json!([PUBLISHER_TOKEN, PUBLISHER_TOKEN, PUBLISHER_TOKEN]);
    let output = put(&store, Person::default(), &given.to_string(), &["--from", "-", "--apply"]).await;
    assert!(output.text.contains("adyen.api_key") && output.text.contains("more than two values"), "{}", output.text);
    for garbled in ["", "[]", "{\"cleeng\": ", WEBHOOK_SECRET] {
        assert_eq!(put(&store, Person::default(), garbled, &["--from", "-", "--apply"]).await.exit_code, 2, "{garbled}");
    }
    assert_eq!(store.versions(), 0);
}

#[tokio::test]
async fn a_misspelt_name_is_warned_of_and_embedded_mode_has_no_secret_to_write() {
    let store = Arc::new(MemorySecret::default());
    let mut given = secret();
    given["cleeng"]["webhook_secert"] = json!("kJ5hG2fD9sA6pO3iU0yTmB4nV7cX1zL8");
    let output = put(&store, Person::default(), &given.to_string(), &["--from", "-"]).await;
    assert!(output.text.contains("warning: cleeng.webhook_secert"), "{}", output.text);
    let mut env = CommandEnv::new(embedded());
    env.terminal = Box::new(Person::default());
    let arguments = Arguments::try_parse_from(["connectorctl", "secret", "put"]).unwrap();
    let output = connectorctl::run(&arguments, &env).await;
    assert!(output.exit_code == 2 && output.text.contains("CONNECTOR_SECRETS"), "{}", output.text);
}
