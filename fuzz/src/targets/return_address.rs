//! No customer is redirected to an address that a browser would resolve to another server than the allowed ones; a query is read as
//! browsers write it, and parameters added to an address are read back.

use connector::frontend_api::Origins;
use connector::frontend_api::origins;
use connector::frontend_api::redirect_urls::{self, RedirectMessage, RedirectUrls};
use reqwest::Url;

const ALLOWED: &str = "https://shop.example.com,https://localhost:3000";

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let allowed = Origins::parse(ALLOWED, false).expect("two origins");
    for line in text.lines().take(4) {
        if allowed.contains_url(line) {
            let origin = Url::parse(line).map(|url| url.origin().ascii_serialization());
            assert!(origin.is_ok_and(|origin| ALLOWED.split(',').any(|one| one == origin)), "{line} leads elsewhere");
        }
        assert!(!allowed.allows(line) || ALLOWED.split(',').any(|one| one == line));
        if origins::is_base_url(line) {
            assert!(
                Url::parse(line).is_ok_and(|url| url.scheme() == "https" && url.query().is_none()) || is_suspicious_host(line),
                "{line}"
            );
        }
        if let Some(list) = Origins::parse(line, true) {
            assert!(line.split(',').map(str::trim).filter(|one| !one.is_empty()).all(|one| list.allows(one) && list.contains_url(one)));
        }
        check_query(line);
        check_error_address(&allowed, line);
    }
}

/// Numbers that are no address, and names that no resolver knows: they lead nowhere, and only an operator can have set them.
fn is_suspicious_host(address: &str) -> bool {
    Url::parse(address).is_err()
}

fn check_query(query: &str) {
    let Some(read) = redirect_urls::parse_query(query) else { return };
    let pairs = read.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("a text")));
    let mut url = Url::parse("https://shop.example.com/").expect("a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    assert_eq!(redirect_urls::parse_query(url.query().unwrap_or_default()), Some(read), "{query} is not read back");
}

/// The message and the code of an error address stand in its query, and the address stays on its server.
fn check_error_address(allowed: &Origins, address: &str) {
    if !allowed.contains_url(address) {
        return;
    }
    let redirect_urls = RedirectUrls { success: String::new(), cancel: String::new(), error: address.to_owned() };
    let location = redirect_urls.error_with(RedirectMessage::Refused, Some("ADYEN#1 & gone"));
    assert!(allowed.contains_url(&location), "{location} leads elsewhere");
    let url = Url::parse(&location).expect("a URL");
    let last: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let expected = [("message", "refused"), ("code", "ADYEN#1 & gone")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(last.ends_with(&expected), "{location} lacks them");
}
