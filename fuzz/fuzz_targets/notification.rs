//! A notification that its gateway did not sign never says anything, at any gateway.
#![no_main]

use connector::http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sandbox::stage::Stage;

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (name, value, body) = input;
    let mut headers = HeaderMap::new();
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let stage = Stage::default();
    runtime.block_on(async {
        for guest in &stage.guests {
            let gateway = stage.world.gateways.get(guest.house.gateway()).expect("on the stage");
            if let Ok(items) = gateway.read_notification(&headers, body).await {
                assert!(items.iter().all(Result::is_err), "an unsigned notification is believed");
            }
        }
    });
});
