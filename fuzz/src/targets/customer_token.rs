//! A customer's token is one of Cleeng's or rejected; its content is that of its claims, and an expired one is never accepted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector::cleeng::mediastore::CustomerToken;
use connector::clock::Clock;
use serde_json::Value;

use crate::tools::functions;

pub(super) fn body(input: &[u8]) {
    let now = functions::clock().now();
    let text = String::from_utf8_lossy(input);
    // A header as it comes, and a token with these claims.
    let made = format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(input));
    for header in [text.as_ref(), &made] {
        let Ok(token) = CustomerToken::from_header(Some(header), now) else { continue };
        let claims = header.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).expect("three parts");
        // A byte order mark in front is skipped.
        let claims: Value = serde_json::from_slice(claims.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&claims)).expect("claims");
        let text = |name: &str| claims[name].as_str().map_or_else(|| claims[name].to_string(), |text| text.trim().to_owned());
        assert_eq!(token.customer().as_str(), text("customerId"));
        assert_eq!(token.publisher().as_str(), text("publisherId"));
        assert!(claims["exp"].as_i64().is_some_and(|until| until > now.secs()), "a token is taken whose time is over");
    }
}
