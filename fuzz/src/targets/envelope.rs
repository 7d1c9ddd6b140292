//! Any message on a queue or in the journal is an envelope or an error; one that is read is written back unchanged.

use connector::cleeng::envelope::Envelope;
use connector::clock::Timestamp;
use connector::lambda::queue::NotificationEnvelope;
use serde_json::Value;

pub(super) fn body(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let event = Envelope::from_text(&text);
    let notification = NotificationEnvelope::from_text(&text);
    assert!(event.is_err() || notification.is_err(), "an event and a notification at once");
    if let Ok(envelope) = event {
        let _ = envelope.open();
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(told["received_at"].as_i64(), Some(envelope.received_at().millis()), "the time changes");
        assert!(Envelope::from_text(&envelope.to_text()).is_ok_and(|again| again == envelope), "an event's envelope changes");
    }
    if let Ok(waiting) = Envelope::from_waiting_event(&text, Timestamp::from_secs(1_790_000_000)) {
        assert!(Envelope::from_text(&waiting.to_text()).is_ok_and(|again| again == waiting), "a waiting event changes");
    }
    if let Ok(envelope) = notification {
        let written = envelope.to_text();
        assert!(NotificationEnvelope::from_text(&written).is_ok_and(|again| again == envelope), "a notification's envelope changes");
        let shown = format!("{:?}", envelope.clone().open().get());
        if let Some(token) = envelope.open().get().token.as_ref().filter(|token| token.token.starts_with("STORED")) {
            assert!(!shown.contains(&token.token), "stored details are shown");
        }
    }
}
