//! Whatever lies on a queue or in the journal is an envelope or an error.
#![no_main]

use connector::clock::Timestamp;
use connector::lambda::queue::{Envelope, NotificationEnvelope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(envelope) = Envelope::from_text(text) {
        let _ = envelope.open();
        assert!(Envelope::from_text(&envelope.to_text()).is_ok(), "an envelope that was read cannot be written");
    }
    let _ = Envelope::of_waiting(text, Timestamp::from_secs(1_790_000_000));
    if let Ok(envelope) = NotificationEnvelope::from_text(text) {
        let _ = envelope.open();
    }
});
