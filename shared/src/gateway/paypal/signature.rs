//! Whether a notification is PayPal's: by its signature, and where that cannot be checked here, by asking PayPal. Must never look into a
//! body before that, nor write it again: the signature is over the bytes as they came.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::certificates::{CertificateError, Certificates};
use super::client::{ApiResponse, Client};
use crate::clock::Timestamp;
use crate::gateway::NotificationError;
use crate::gateway::common::time_budget::TimeBudget;
use crate::http::HeaderMap;
use crate::json;

/// How long PayPal may be asked about one notification: its sender waits for the answer.
const VERIFICATION_TIMEOUT: Duration = Duration::from_secs(10);
/// The only algorithm that PayPal names.
const ALGORITHM: &str = "SHA256withRSA";
/// The longest header value that is read, in bytes: above the specification's (Webhooks 1.11, `verify_webhook_signature`).
const LONGEST_HEADER: usize = 1_024;

/// What PayPal sends along with a notification.
pub(super) struct Transmission<'a> {
    id: &'a str,
    time: &'a str,
    signature: &'a str,
    certificate: &'a str,
    algorithm: &'a str,
}

impl<'a> Transmission<'a> {
    /// Reads the five headers.
    ///
    /// # Errors
    /// Unsigned where one is missing, a bad signature where one cannot be PayPal's.
    pub(super) fn read(headers: &'a HeaderMap) -> Result<Self, NotificationError> {
        let text = |name: &str| {
            let value = headers.get(name).ok_or(NotificationError::Unsigned)?;
            let text = value.to_str().map_err(|_| NotificationError::BadSignature)?;
            match text.len() {
                0 => Err(NotificationError::Unsigned),
                1..=LONGEST_HEADER => Ok(text),
                _ => Err(NotificationError::BadSignature),
            }
        };
        Ok(Self {
            signature: text("paypal-transmission-sig")?,
            id: text("paypal-transmission-id")?,
            time: text("paypal-transmission-time")?,
            certificate: text("paypal-cert-url")?,
            algorithm: text("paypal-auth-algo")?,
        })
    }

    /// The signed text: id, time, webhook and the body's CRC-32 as an unsigned decimal, joined by bars (developer.paypal.com, "Verify
    /// webhook messages").
    fn message(&self, webhook: &str, crc: u32) -> String {
        format!("{}|{}|{webhook}|{crc}", self.id, self.time)
    }
}

/// Checks notifications.
pub(super) struct NotificationVerifier {
    certificates: Certificates,
    webhook_ids: Vec<String>,
}

impl NotificationVerifier {
    pub(super) const fn new(certificates: Certificates, webhook_ids: Vec<String>) -> Self {
        Self { certificates, webhook_ids }
    }

    /// Checks a body, at best without any call: the certificate is kept.
    ///
    /// # Errors
    /// It is not PayPal's; or it cannot be verified now, and PayPal delivers it again for three days.
    pub(super) async fn verify(&self, client: &Client, headers: &HeaderMap, body: &[u8]) -> Result<(), NotificationError> {
        let transmission = Transmission::read(headers)?;
        if transmission.algorithm != ALGORITHM {
            return Err(NotificationError::BadSignature);
        }
        let transmitted_at = Timestamp::parse_rfc3339(transmission.time).map_err(|_| NotificationError::BadSignature)?;
        if !self.certificates.is_recent(transmitted_at) {
            return Err(NotificationError::BadSignature);
        }
        let signature = STANDARD.decode(transmission.signature).map_err(|_| NotificationError::BadSignature)?;
        let genuine = match self.certificates.get(transmission.certificate).await {
            Ok(certificate) => {
                let crc = crc32(body);
                let fits = |webhook: &String| certificate.verifies(transmission.message(webhook, crc).as_bytes(), &signature);
                let is_genuine = self.webhook_ids.iter().any(fits);
                if is_genuine {
                    self.certificates.note_verified(&certificate);
                }
                is_genuine
            }
            Err(CertificateError::ForeignUrl) => false,
            Err(CertificateError::Unusable) => self.ask_paypal(client, &transmission, body).await?,
        };
        if genuine { Ok(()) } else { Err(NotificationError::BadSignature) }
    }

    /// Asks PayPal (`verify-webhook-signature`, Webhooks 1.11).
    async fn ask_paypal(&self, client: &Client, transmission: &Transmission<'_>, body: &[u8]) -> Result<bool, NotificationError> {
        // One JSON value and nothing behind it, so that nothing can be smuggled into the question.
        let event = json::parse(body).map_err(|_| NotificationError::Malformed)?;
        if !event.is_object() {
            return Err(NotificationError::Malformed);
        }
        let budget = TimeBudget::new(VERIFICATION_TIMEOUT);
        let mut decided = true;
        for webhook in &self.webhook_ids {
            if !self.certificates.allow_question() {
                return Err(NotificationError::Unverifiable);
            }
            let question = verification_request(transmission, webhook, body);
            match client.post_raw(&budget, "/v1/notifications/verify-webhook-signature", question).await {
                Ok(ApiResponse::Body(answer)) => match answer.get("verification_status").and_then(Value::as_str) {
                    Some("SUCCESS") => return Ok(true),
                    Some("FAILURE") => {}
                    _ => decided = false,
                },
                // What PayPal cannot read was not written by it.
                Ok(ApiResponse::Refused { status: 400 | 422, .. }) => {}
                Ok(ApiResponse::Refused { .. }) | Err(_) => decided = false,
            }
        }
        if decided { Ok(false) } else { Err(NotificationError::Unverifiable) }
    }
}

/// The question, with the body spliced in as it came.
fn verification_request(transmission: &Transmission<'_>, webhook: &str, body: &[u8]) -> Bytes {
    let facts = serde_json::json!({
        "auth_algo": transmission.algorithm,
        "cert_url": transmission.certificate,
        "transmission_id": transmission.id,
        "transmission_sig": transmission.signature,
        "transmission_time": transmission.time,
        "webhook_id": webhook,
    });
    let facts = facts.to_string();
    let mut question = Vec::with_capacity(facts.len().saturating_add(body.len()).saturating_add(20));
    question.extend_from_slice(facts.trim_end_matches('}').as_bytes());
    question.extend_from_slice(b",\"webhook_event\":");
    question.extend_from_slice(body);
    question.push(b'}');
    Bytes::from(question)
}

/// CRC-32 as in ISO 3309 and zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_an_unsigned_decimal_of_the_raw_bytes() {
        assert_eq!(crc32(br#"{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED"}"#), 2_325_436_976);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
        let headers = headers();
        let transmission = Transmission::read(&headers).unwrap();
        assert_eq!(
            transmission.message("8PT597110X687430LKGECATA", 2_325_436_976),
            "69cd13f0|2026-11-21T10:00:00Z|8PT597110X687430LKGECATA|2325436976"
        );
    }

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("paypal-transmission-id", "69cd13f0"),
            ("paypal-transmission-time", "2026-11-21T10:00:00Z"),
            ("paypal-transmission-sig", "c2ln"),
            ("paypal-cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-1"),
            ("paypal-auth-algo", "SHA256withRSA"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_missing_header_is_a_missing_signature_and_a_huge_one_a_bad_one() {
        for name in headers().keys() {
            let mut headers = headers();
            headers.remove(name);
            assert_eq!(Transmission::read(&headers).err(), Some(NotificationError::Unsigned), "{name}");
            headers.insert(name.clone(), "".parse().unwrap());
            assert_eq!(Transmission::read(&headers).err(), Some(NotificationError::Unsigned), "{name}");
            headers.insert(name.clone(), "x".repeat(1_025).parse().unwrap());
            assert_eq!(Transmission::read(&headers).err(), Some(NotificationError::BadSignature), "{name}");
        }
    }

    #[test]
    fn the_question_holds_the_body_byte_by_byte() {
        let headers = headers();
        let body = b"{ \"b\" : 1.10,\n\t\"a\":\"\\u00e4 } \\\" \" }";
        let question = verification_request(&Transmission::read(&headers).unwrap(), "WH1", body);
        assert!(question.windows(body.len()).any(|window| window == body));
        let read: Value = serde_json::from_slice(&question).unwrap();
        assert_eq!((&read["webhook_id"], &read["webhook_event"]["b"].to_string()), (&Value::from("WH1"), &"1.10".to_owned()));
        assert_eq!(read["transmission_id"], "69cd13f0");
    }
}
