//! PayPal's signature over a notification (developer.paypal.com, "Verify webhook messages"), with the key of the simulator.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

/// As lax as PEM is read: with or without padding, and whatever the last bits are.
const LAX: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);
const KEY_KIND: &str = include_str!("../../../sandbox/src/simulators/paypal/test_keys/signer_key.pem");
/// Where the simulator's certificate lies.
pub(crate) const CERTIFICATE_URL: &str = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-7a2fd7d3";

/// The signed text.
pub(crate) fn message(id: &str, time: &str, webhook: &str, body: &[u8]) -> String {
    format!("{id}|{time}|{webhook}|{}", crc32(body))
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Signs a text.
pub(crate) fn sign(message: &str) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(&der(KEY_KIND)).expect("the simulator's key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).expect("it signs");
    signature
}

/// The bytes of the first part of a PEM text. Whitespace between its characters means nothing (RFC 7468, section 3, lax).
pub(crate) fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN ")).skip(1).take_while(|line| !line.starts_with('-'));
    LAX.decode(lines.flat_map(str::chars).filter(|c| !matches!(c, '\t'..='\r' | ' ')).collect::<String>()).unwrap_or_default()
}
