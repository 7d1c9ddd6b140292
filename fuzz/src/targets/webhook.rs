//! A signed body of any shape is a webhook of its topic or rejected, by the current secret and by the previous one; an accepted one
//! survives its envelope. An unsigned body, one signed with another secret, and one with a changed bit are rejected.

use std::sync::LazyLock;

use connector::cleeng::envelope::Envelope;
use connector::cleeng::signature::{SignatureSettings, WebhookVerifier};
use connector::cleeng::webhook::{BillingEvent, CapturePaymentEvent, DeactivationEvent, RefundEvent, TerminationEvent, Topic};
use connector::clock::Timestamp;
use connector::http::{HeaderMap, HeaderValue};
use connector::secret::SecretString;
use sandbox::testkit::fixtures::{PUBLISHER, WEBHOOK_SECRET, id};

use crate::tools::{text_with_flipped_bit, with_flipped_bit};

const PREVIOUS_SECRET: &str = "sandbox-webhook-secret-of-yesterday";
const OTHER_SECRET: &str = "sandbox-webhook-secret-of-somebody-else";
const AT: Timestamp = Timestamp::from_millis(1_790_000_000_123);

static VERIFIER: LazyLock<WebhookVerifier> = LazyLock::new(|| {
    let secrets = [WEBHOOK_SECRET, PREVIOUS_SECRET].map(SecretString::new);
    WebhookVerifier::new(SignatureSettings::default(), &secrets).expect("good secrets")
});

fn signature_headers(signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-cleeng-signature", HeaderValue::from_str(signature).expect("visible characters"));
    headers
}

pub(super) fn body(body: &[u8]) {
    let [current, previous, other] =
        [WEBHOOK_SECRET, PREVIOUS_SECRET, OTHER_SECRET].map(|secret| sandbox::simulators::cleeng::sign(secret, body));
    assert!(
        VERIFIER.signature_matches(&signature_headers(&current), body) && VERIFIER.signature_matches(&signature_headers(&previous), body),
        "a signature is refused"
    );
    assert!(!VERIFIER.signature_matches(&signature_headers(&other), body), "a stranger's signature is taken");
    if let Some(changed) = with_flipped_bit(body) {
        assert!(!VERIFIER.signature_matches(&signature_headers(&current), &changed), "another body is taken");
    }
    // A digit's other case is the same digit.
    let changed = text_with_flipped_bit(&current).filter(|changed| !changed.eq_ignore_ascii_case(&current));
    if let Some(headers) =
        changed.and_then(|changed| HeaderValue::from_str(&changed).ok()).map(|value| signature_headers(value.to_str().unwrap_or("")))
    {
        assert!(!VERIFIER.signature_matches(&headers, body), "another signature is taken");
    }
    let mut taken = 0;
    for topic in Topic::ALL {
        assert!(VERIFIER.verify(&HeaderMap::new(), body, &id(PUBLISHER), topic).is_err(), "unsigned");
        assert!(VERIFIER.verify(&signature_headers(&other), body, &id(PUBLISHER), topic).is_err(), "signed by somebody else");
        let read = VERIFIER.verify(&signature_headers(&current), body, &id(PUBLISHER), topic);
        assert_eq!(read.is_ok(), VERIFIER.verify(&signature_headers(&previous), body, &id(PUBLISHER), topic).is_ok(), "the secrets differ");
        let Ok(verified) = read else { continue };
        taken += 1;
        let webhook = verified.get();
        assert!(webhook.topic == topic && webhook.publisher == id(PUBLISHER));
        let _ = (webhook.validate(), webhook.payment_method(), BillingEvent::read(webhook), TerminationEvent::read(webhook));
        let _ = (CapturePaymentEvent::read(webhook), DeactivationEvent::read(webhook));
        for envelope in [Envelope::seal(&verified, body, AT).expect("a text"), Envelope::reseal(&verified, AT)] {
            let back = Envelope::from_text(&envelope.to_text()).expect("our own envelope");
            assert!(back == envelope && back.received_at() == AT, "an envelope changes on its way");
            let opened = back.open().expect("our own envelope opens");
            let opened = opened.get();
            assert!(opened.topic == topic && opened.publisher == webhook.publisher && opened.data == webhook.data, "the event changes");
            assert_eq!(opened.validate(), webhook.validate());
            let amount = |event: Result<RefundEvent, _>| event.ok().map(|event| (event.fingerprint, event.amount, event.currency));
            assert_eq!(amount(RefundEvent::read(opened)), amount(RefundEvent::read(webhook)), "a refund changes on its way");
        }
    }
    assert!(taken <= 1, "a webhook of two topics");
}
