//! A signed body of any shape is a webhook of its topic or a refusal; one that is taken survives its envelope; nothing unsigned is ever taken.
#![no_main]

use std::sync::LazyLock;

use connector::cleeng::signature::{SignatureSettings, Verifier};
use connector::cleeng::webhook::{BillingEvent, CapturePaymentEvent, DeactivationEvent, RefundEvent, TerminationEvent, Topic};
use connector::clock::Timestamp;
use connector::http::{HeaderMap, HeaderValue};
use connector::lambda::queue::Envelope;
use connector::secret::SecretString;
use libfuzzer_sys::fuzz_target;
use sandbox::stage::{PUBLISHER, WEBHOOK_SECRET, id};

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(SignatureSettings::default(), &[SecretString::new(WEBHOOK_SECRET)]).ok().expect("good secret"));

fuzz_target!(|body: &[u8]| {
    let mut headers = HeaderMap::new();
    let signature = sandbox::cleeng::sign(WEBHOOK_SECRET, body);
    headers.insert("x-cleeng-signature", HeaderValue::from_str(&signature).expect("hexadecimal digits"));
    for topic in Topic::ALL {
        assert!(VERIFIER.verify(&HeaderMap::new(), body, &id(PUBLISHER), topic).is_err(), "unsigned");
        let Ok(verified) = VERIFIER.verify(&headers, body, &id(PUBLISHER), topic) else { continue };
        let webhook = verified.get();
        let _ = (webhook.check(), webhook.payment_method(), BillingEvent::read(webhook), TerminationEvent::read(webhook));
        let _ = (RefundEvent::read(webhook), CapturePaymentEvent::read(webhook), DeactivationEvent::read(webhook));
        if let Ok(envelope) = Envelope::seal(&verified, body, Timestamp::from_secs(1_790_000_000)) {
            let back = Envelope::from_text(&envelope.to_text()).expect("our own envelope");
            assert!(back.open().is_ok(), "our own envelope does not open");
        }
    }
});
