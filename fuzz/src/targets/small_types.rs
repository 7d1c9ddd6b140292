//! Ids, times, references, keys: a value is written back as it was read, and reads as the same again. One in each line.

use connector::clock::Timestamp;
use connector::frontend_api::card_numbers;
use connector::gateway::{GatewayName, Reference};
use connector::ids::OrderId;
use connector::journal::store::Key;
use connector::secret::SecretString;
use serde_json::Value;

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for line in text.lines().take(8) {
        check_id(line);
        check_time(line);
        if let Some(reference) = Reference::parse(line) {
            assert_eq!(Reference::parse(reference.as_str()), Some(reference));
        }
        if let Some(gateway) = GatewayName::parse(line) {
            assert_eq!(GatewayName::parse(gateway.as_str()), Some(gateway));
        }
        let key = Key::new("o", &[line]);
        assert_eq!(Key::from_stored(key.as_str()), key);
        let secret = SecretString::new(line);
        assert!(secret.matches(line) && !secret.matches(&format!("{line} ")) && secret.expose() == line);
        let shouted = SecretString::new(line.to_ascii_uppercase());
        assert_eq!(secret.is_placeholder(), shouted.is_placeholder(), "a placeholder's case decides");
        // A card number stays one between any characters.
        if !line.is_empty() && line.chars().all(|c| !c.is_alphanumeric()) {
            assert!(card_numbers::text_contains_card_number(&format!("{line}(4111 1111 1111 1111){line}")), "a card number is overlooked");
        }
    }
}

fn check_id(line: &str) {
    let Ok(id) = OrderId::new(line) else { return };
    assert_eq!(OrderId::new(id.as_str()).as_ref(), Ok(&id));
    for written in [Value::from(id.as_str()), id.to_json_number(), serde_json::to_value(&id).expect("writable")] {
        assert_eq!(OrderId::from_json(&written).as_ref(), Ok(&id), "{written} is another id");
        assert_eq!(serde_json::from_value::<OrderId>(written).ok().as_ref(), Some(&id));
    }
    // Journal keys of different ids never collide.
    assert_ne!(Key::new("a", &[id.as_str(), "b"]), Key::new("a", &[id.as_str()]));
}

fn check_time(line: &str) {
    if let Ok(at) = Timestamp::parse_rfc3339(line) {
        let written = at.to_rfc3339();
        assert_eq!(Timestamp::parse_rfc3339(&written).map(Timestamp::secs), Ok(at.secs()), "{line} is written as {written}");
    }
    if let Ok(at) = Timestamp::parse_http_date(line) {
        assert_eq!(at.millis() % 1000, 0);
    }
    if let Ok(millis) = line.parse::<i64>() {
        let at = Timestamp::from_millis(millis);
        let kept = serde_json::to_string(&at).expect("writable");
        assert_eq!(serde_json::from_str::<Timestamp>(&kept).ok(), Some(at));
        let _ = (at.to_rfc3339(), Timestamp::from_secs(millis), at.after(std::time::Duration::MAX), at.before(std::time::Duration::MAX));
    }
}
