//! Any signature header, under any settings of it: only the signature itself is accepted.
//!
//! The first line is the settings: encoding, then a prefix.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::cleeng::signature::{Encoding, SignatureSettings, WebhookVerifier};
use connector::secret::SecretString;
use sandbox::testkit::fixtures::WEBHOOK_SECRET;

use crate::tools::parse_message;

pub(super) fn body(input: &[u8]) {
    let message = parse_message(input);
    let (encoding, prefix) = message.first_line.split_once(' ').unwrap_or((message.first_line, ""));
    let encoding = match encoding {
        "hex" => Encoding::Hex,
        "base64" => Encoding::Base64,
        _ => Encoding::Either,
    };
    let settings = SignatureSettings { encoding, prefix: (!prefix.is_empty()).then(|| prefix.to_owned()), ..SignatureSettings::default() };
    let verifier = WebhookVerifier::new(settings, &[SecretString::new(WEBHOOK_SECRET)]).expect("good settings");
    let hex = sandbox::simulators::cleeng::sign(WEBHOOK_SECRET, message.body);
    let bytes: Vec<u8> = (0..32).filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect();
    let written = STANDARD.encode(bytes);
    let told: Vec<&str> = message.headers.get_all("x-cleeng-signature").iter().filter_map(|value| value.to_str().ok()).collect();
    let told = told.join(",");
    let holds = |encoded: &str| told.split(',').any(|part| part.trim().strip_prefix(prefix).is_some_and(|part| part == encoded));
    let in_hex = encoding != Encoding::Base64 && (holds(&hex) || told.to_ascii_lowercase().contains(&hex));
    let in_base64 = encoding != Encoding::Hex && holds(&written);
    assert!(!verifier.signature_matches(&message.headers, message.body) || in_hex || in_base64, "a signature that is none is taken");
}
