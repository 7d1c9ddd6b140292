//! Any content at a certificate's URL, with any status: a message signed by the simulator's key is accepted only under the certificate that
//! the test CA issued to PayPal's signer, byte by byte.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector::gateway::GatewayName;
use connector::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Transport, TransportCause, TransportError};
use sandbox::simulators::paypal::test_keys::TRUSTED;
use sandbox::testkit::gateway_fixtures::{self, PAYPAL_WEBHOOK_ID};

use crate::tools::paypal::{CERTIFICATE_URL, der, message, sign};
use crate::tools::{block_on, functions};

const NOTIFICATION: &[u8] =
    br#"{"id":"WH-1","event_type":"PAYMENT_PATHS.CAPTURE.COMPLETED","resource_type":"capture","resource":{"id":"1AB"}}"#;

/// Only the certificate is available; the call that replaces it is not answered.
struct CertificateTransport(Bytes);

#[async_trait]
impl Transport for CertificateTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if request.url != CERTIFICATE_URL {
            return Err(TransportError::NotSent(TransportCause::Connect));
        }
        Ok(Response { status: StatusCode::OK, headers: HeaderMap::new(), body: self.0.clone() })
    }
}

pub(super) fn body(input: &[u8]) {
    let time = "2026-03-01T12:00:00Z";
    let signature = STANDARD.encode(sign(&message("69cd13f0", time, PAYPAL_WEBHOOK_ID, NOTIFICATION)));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("paypal-transmission-id", "69cd13f0"),
        ("paypal-transmission-time", time),
        ("paypal-transmission-sig", &signature),
        ("paypal-cert-url", CERTIFICATE_URL),
        ("paypal-auth-algo", "SHA256withRSA"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("visible characters"));
    }
    let adapter = gateway_fixtures::build_adapter(
        GatewayName::PayPal,
        Arc::new(CertificateTransport(Bytes::copy_from_slice(input))),
        &functions::clock(),
    );
    if block_on(adapter.read_notification(&headers, NOTIFICATION)).is_ok() {
        // The PEM reader takes more than one writing of the same bytes; other parts of other kinds may stand before.
        let text = String::from_utf8_lossy(input);
        let parts = text.split("-----BEGIN ").skip(1).map(|part| der(&format!("-----BEGIN {part}")));
        assert!(parts.into_iter().any(|part| part == der(TRUSTED)), "another certificate is trusted");
    }
}
