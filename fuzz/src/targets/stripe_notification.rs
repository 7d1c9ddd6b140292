//! Stripe's events: a signed body is an event or malformed, by the signature of either secret; with one bit of the body or of the header's
//! time and signature changed it is rejected, as it is when it is too old.

use connector::clock::Clock;
use connector::gateway::{GatewayName, NotificationError};
use connector::http::{HeaderMap, HeaderValue};
use ring::hmac;
use sandbox::testkit::gateway_fixtures::STRIPE_WEBHOOK_SECRET;

use crate::tools::{block_on, functions, hex, text_with_flipped_bit, with_flipped_bit};

fn header(at: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, STRIPE_WEBHOOK_SECRET.as_bytes()));
    context.update(format!("{at}.").as_bytes());
    context.update(body);
    format!("t={at},v1={}", hex(context.sign().as_ref()))
}

fn read(header: &str, body: &[u8]) -> Option<NotificationError> {
    let mut headers = HeaderMap::new();
    headers.insert("stripe-signature", HeaderValue::from_str(header).ok()?);
    block_on(functions::gateway(GatewayName::Stripe).read_notification(&headers, body)).err()
}

pub(super) fn body(input: &[u8]) {
    let now = functions::clock().now().secs();
    let good = header(now, input);
    assert!(
        !matches!(read(&good, input), Some(NotificationError::BadSignature | NotificationError::Unsigned)),
        "a signed event is refused"
    );
    let beside = format!("{good},v1={}", "0".repeat(64));
    assert_eq!(read(&beside, input), read(&good, input), "a signature beside the good one is in its way");
    let bad = Some(NotificationError::BadSignature);
    assert_eq!(read(&format!("{good},v0={}", "0".repeat(1_024)), input), bad, "a header of any length is taken");
    for late in [now - 301, now + 301] {
        assert_eq!(read(&header(late, input), input), bad, "an event is taken at any time");
    }
    if let Some(changed) = with_flipped_bit(input) {
        assert_eq!(read(&good, &changed), bad, "a changed event is taken");
    }
    // A digit's other case is the same digit.
    let changed =
        text_with_flipped_bit(&good).filter(|changed| !changed.eq_ignore_ascii_case(&good) && HeaderValue::from_str(changed).is_ok());
    if let Some(changed) = changed {
        assert_eq!(read(&changed, input), bad, "a changed header is taken: {changed}");
    }
}
