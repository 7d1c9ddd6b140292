use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const CURRENT: &str = "current-secret-of-32-bytes-0123456";
const PREVIOUS: &str = "previous-secret-of-32-bytes-012345";
const TOPIC: Topic = Topic::SubscriptionReadyForTermination;

fn body() -> Vec<u8> {
    json!({ "broadcasterId": 558_186_818, "topic": TOPIC.as_str(), "data": { "subscriptionId": "332332332" } }).to_string().into_bytes()
}

fn publisher() -> PublisherId {
    PublisherId::new("558186818").unwrap()
}

fn tag(secret: &str, body: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body).as_ref().to_vec()
}

fn hex(tag: &[u8]) -> String {
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn headers(values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("x-cleeng-signature", HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn verifier(settings: SignatureSettings) -> WebhookVerifier {
    WebhookVerifier::new(settings, &[SecretString::new(CURRENT), SecretString::new(PREVIOUS)]).unwrap()
}

fn outcome(verifier: &WebhookVerifier, headers: &HeaderMap, body: &[u8]) -> Result<(), VerificationError> {
    verifier.verify(headers, body, &publisher(), TOPIC).map(|_| ())
}

fn signed_by(text: &str) -> Result<(), VerificationError> {
    outcome(&verifier(SignatureSettings::default()), &headers(&[text.as_bytes()]), &body())
}

#[test]
fn a_signature_made_by_another_implementation_fits() {
    // Python: hmac.new(CURRENT, b"Hi There", hashlib.sha256).hexdigest()
    let made = "afb50f25350b88f8040e29bc355c88cdf8269fba8ba9488a84409505bac3028b";
    let verifier = verifier(SignatureSettings::default());
    assert!(verifier.signature_matches(&headers(&[made.as_bytes()]), b"Hi There"));
    assert!(!verifier.signature_matches(&headers(&[made.as_bytes()]), b"Hi there"));
}

#[test]
fn hex_of_either_case_and_base64_fit_by_either_secret() {
    for secret in [CURRENT, PREVIOUS] {
        let tag = tag(secret, &body());
        for text in [hex(&tag), hex(&tag).to_uppercase(), STANDARD.encode(&tag), format!("  {} ", hex(&tag))] {
            assert_eq!(signed_by(&text), Ok(()), "{text}");
        }
    }
}

#[test]
fn the_set_encoding_excludes_the_other() {
    let tag = tag(CURRENT, &body());
    for (encoding, fits, other) in [(Encoding::Hex, hex(&tag), STANDARD.encode(&tag)), (Encoding::Base64, STANDARD.encode(&tag), hex(&tag))]
    {
        let verifier = verifier(SignatureSettings { encoding, ..SignatureSettings::default() });
        assert_eq!(outcome(&verifier, &headers(&[fits.as_bytes()]), &body()), Ok(()));
        assert_eq!(outcome(&verifier, &headers(&[other.as_bytes()]), &body()), Err(VerificationError::BadSignature));
    }
}

#[test]
fn a_prefix_is_required_where_it_is_set_and_foreign_where_it_is_not() {
    let plain = hex(&tag(CURRENT, &body()));
    let prefixed = format!("sha256={plain}");
    let verifier = verifier(SignatureSettings { prefix: Some("sha256=".to_owned()), ..SignatureSettings::default() });
    assert_eq!(outcome(&verifier, &headers(&[prefixed.as_bytes()]), &body()), Ok(()));
    assert_eq!(outcome(&verifier, &headers(&[plain.as_bytes()]), &body()), Err(VerificationError::BadSignature));
    assert_eq!(signed_by(&prefixed), Err(VerificationError::BadSignature));
}

#[test]
fn a_wrong_truncated_or_empty_signature_is_refused_with_401() {
    let (right, wrong) = (hex(&tag(CURRENT, &body())), hex(&tag("another-secret-of-32-bytes-0123456", &body())));
    for text in [wrong.as_str(), right.get(..62).unwrap(), right.get(2..).unwrap(), "", " ", ",", "0x", "sha256", "null"] {
        assert_eq!(signed_by(text), Err(VerificationError::BadSignature), "{text:?}");
    }
    assert_eq!(VerificationError::BadSignature.status(), 401);
}

#[test]
fn a_header_that_is_no_text_is_refused() {
    let verifier = verifier(SignatureSettings::default());
    assert_eq!(outcome(&verifier, &headers(&["é".as_bytes()]), &body()), Err(VerificationError::BadSignature));
    assert_eq!(outcome(&verifier, &headers(&[&[0xff, 0xfe]]), &body()), Err(VerificationError::BadSignature));
}

#[test]
fn one_of_several_headers_suffices_up_to_a_bound() {
    let verifier = verifier(SignatureSettings::default());
    let right = hex(&tag(CURRENT, &body()));
    let joined = format!("00, {right}");
    assert_eq!(outcome(&verifier, &headers(&[b"00", &[0xff], right.as_bytes()]), &body()), Ok(()));
    assert_eq!(outcome(&verifier, &headers(&[joined.as_bytes()]), &body()), Ok(()));
    assert_eq!(outcome(&verifier, &headers(&[b"1,2,3,4", right.as_bytes()]), &body()), Err(VerificationError::BadSignature));
}

#[test]
fn an_unsigned_webhook_is_refused_before_its_body_is_read() {
    let verifier = verifier(SignatureSettings::default());
    assert_eq!(outcome(&verifier, &HeaderMap::new(), &body()), Err(VerificationError::Unsigned));
    assert_eq!(outcome(&verifier, &HeaderMap::new(), b"no json"), Err(VerificationError::Unsigned));
    assert_eq!(outcome(&verifier, &headers(&[b"00"]), b"no json"), Err(VerificationError::BadSignature));
}

#[test]
fn with_the_opt_out_an_unsigned_webhook_passes_and_a_badly_signed_one_does_not() {
    let settings = SignatureSettings { accept_unsigned: true, ..SignatureSettings::default() };
    for verifier in [verifier(settings.clone()), WebhookVerifier::new(settings, &[]).unwrap()] {
        assert_eq!(outcome(&verifier, &HeaderMap::new(), &body()), Ok(()));
        assert_eq!(outcome(&verifier, &headers(&[b"00"]), &body()), Err(VerificationError::BadSignature));
        assert!(!verifier.signature_matches(&HeaderMap::new(), &body()));
    }
}

#[test]
fn a_signed_body_must_still_be_an_event_of_this_address() {
    let verifier = verifier(SignatureSettings::default());
    let refused = |value: serde_json::Value| {
        let body = value.to_string().into_bytes();
        outcome(&verifier, &headers(&[hex(&tag(CURRENT, &body)).as_bytes()]), &body).unwrap_err()
    };
    let with =
        |publisher: u64, topic: &str, data: serde_json::Value| refused(json!({ "broadcasterId": publisher, "topic": topic, "data": data }));
    let data = json!({ "subscriptionId": 1 });
    assert_eq!(with(1, TOPIC.as_str(), data.clone()), VerificationError::WrongPublisher);
    assert_eq!(with(558_186_818, Topic::RefundPayment.as_str(), data.clone()), VerificationError::WrongTopic);
    assert_eq!(with(558_186_818, "transactionCreated", data), VerificationError::Malformed(WebhookError::UnknownTopic));
    let missing = with(558_186_818, TOPIC.as_str(), json!([]));
    assert_eq!(missing, VerificationError::Malformed(WebhookError::Invalid { field: "data", expected: "an object" }));
    assert_eq!((missing.status(), missing.code()), (400, "malformed"));
}

#[test]
fn a_secret_that_is_none_is_a_mistake_with_a_name() {
    let wrong = |secrets: &[&str]| {
        let secrets: Vec<SecretString> = secrets.iter().map(|text| SecretString::new(*text)).collect();
        let problems = WebhookVerifier::new(SignatureSettings::default(), &secrets).map(|_| ()).unwrap_err();
        problems.0.into_iter().map(|problem| problem.setting).collect::<Vec<_>>()
    };
    let (long, short) = ("0123456789abcdef".repeat(5), "0123456789abcde");
    assert_eq!(wrong(&[]), ["cleeng.webhook_secrets"]);
    for bad in ["", "changeme-changeme-changeme", "aaaaaaaaaaaaaaaaaaaaaaaa", short, long.as_str()] {
        assert_eq!(wrong(&[bad]), ["cleeng.webhook_secrets"], "{bad}");
        assert_eq!(wrong(&[CURRENT, bad]), ["cleeng.webhook_secrets[1]"], "{bad}");
    }
    assert_eq!(wrong(&[CURRENT, PREVIOUS, CURRENT]), ["cleeng.webhook_secrets"]);
}

fn read(pairs: &[(&str, &str)], environment: Option<CleengEnvironment>) -> Result<SignatureSettings, Problems> {
    let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let mut reader = SettingsReader::new(&get);
    let settings = SignatureSettings::read(&mut reader, environment);
    reader.finish(Some(settings))
}

#[test]
fn the_opt_out_takes_one_sentence_and_is_refused_in_production() {
    let says = |text: &'static str, environment| read(&[(OPT_OUT_SETTING, text)], environment).map(|settings| settings.accept_unsigned);
    assert_eq!(says("anyone-may-forge-charges", Some(CleengEnvironment::Sandbox)), Ok(true));
    assert_eq!(says("", Some(CleengEnvironment::Production)), Ok(false));
    for (text, environment) in [
        ("anyone-may-forge-charges", Some(CleengEnvironment::Production)),
        ("anyone-may-forge-charges", None),
        ("true", Some(CleengEnvironment::Sandbox)),
        ("1", Some(CleengEnvironment::Sandbox)),
    ] {
        assert_eq!(says(text, environment).unwrap_err().0.len(), 1, "{text}");
    }
}

#[test]
fn the_settings_are_read_and_their_mistakes_are_told() {
    let sandbox = Some(CleengEnvironment::Sandbox);
    assert_eq!(read(&[], sandbox), Ok(SignatureSettings::default()));
    let settings = read(
        &[("CLEENG_SIGNATURE_HEADER", "X-Hook-Sig"), ("CLEENG_SIGNATURE_PREFIX", "sha256="), ("CLEENG_SIGNATURE_ENCODING", "base64")],
        sandbox,
    )
    .unwrap();
    assert_eq!(
        (settings.header.as_str(), settings.prefix.as_deref(), settings.encoding),
        ("x-hook-sig", Some("sha256="), Encoding::Base64)
    );
    for (text, encoding) in [("hex", Encoding::Hex), ("base64", Encoding::Base64), ("either", Encoding::Either)] {
        let read = read(&[("CLEENG_SIGNATURE_ENCODING", text)], sandbox);
        assert_eq!(read.map(|settings| settings.encoding), Ok(encoding), "{text}");
    }
    let wrong =
        read(&[("CLEENG_SIGNATURE_HEADER", "x y"), ("CLEENG_SIGNATURE_PREFIX", "a,b"), ("CLEENG_SIGNATURE_ENCODING", "md5")], sandbox);
    assert_eq!(wrong.unwrap_err().0.len(), 3);
}

proptest! {
    #[test]
    fn no_change_of_one_byte_of_the_body_passes(index: proptest::sample::Index, xor in 1_u8..) {
        let (original, mut changed) = (body(), body());
        let index = index.index(changed.len());
        changed[index] ^= xor;
        let headers = headers(&[hex(&tag(CURRENT, &original)).as_bytes()]);
        prop_assert_eq!(outcome(&verifier(SignatureSettings::default()), &headers, &changed), Err(VerificationError::BadSignature));
    }

    #[test]
    fn no_change_of_one_byte_of_the_signature_passes(index: proptest::sample::Index, byte in 0x20_u8..0x7f, in_base64: bool) {
        let tag = tag(CURRENT, &body());
        let mut text = if in_base64 { STANDARD.encode(&tag) } else { hex(&tag) }.into_bytes();
        let index = index.index(text.len());
        // The other case of a hexadecimal digit is the same signature.
        let same = if in_base64 { text[index] == byte } else { text[index].eq_ignore_ascii_case(&byte) };
        prop_assume!(!same);
        text[index] = byte;
        prop_assert_eq!(outcome(&verifier(SignatureSettings::default()), &headers(&[&text]), &body()), Err(VerificationError::BadSignature));
    }

    #[test]
    fn no_bytes_make_it_panic(value in proptest::collection::vec(0x20_u8.., 0..80), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut headers = HeaderMap::new();
            headers.insert("x-cleeng-signature", value);
            prop_assert_eq!(outcome(&verifier(SignatureSettings::default()), &headers, &body), Err(VerificationError::BadSignature));
        }
    }
}
