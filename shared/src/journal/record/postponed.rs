//! Events that wait in the record for their time to come back, beside the one that an attempt keeps: a queue counts how often it delivers
//! a message, and gives up one that waits for long.

use serde::{Deserialize, Serialize};

use super::Obligation;
use crate::clock::Timestamp;

/// So many bytes of postponed events are kept in a record, as its JSON writes them: with the event of the open attempt and the history they
/// stay below [`MAX_BODY_BYTES`](crate::journal::store::MAX_BODY_BYTES).
const MAX_KEPT_BYTES: usize = 40_000;

/// How much room an event takes in a record, in bytes: a text in JSON, whose quotes and backslashes are escaped once more.
fn size_in_record(event: &str) -> usize {
    serde_json::to_string(event).map_or(usize::MAX, |text| text.len())
}

/// Whether a record can keep an event. One that does not fit must not be accepted: it could be neither postponed nor parked.
#[must_use]
pub fn fits_record(event: &str) -> bool {
    size_in_record(event) <= MAX_KEPT_BYTES
}

/// An event that cannot be completed now and left its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostponedEvent {
    /// The event as an envelope's text.
    pub event: String,
    /// When it was first postponed.
    pub since: Timestamp,
    /// Until when a copy of it is on its queue. `None` if it left its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_until: Option<Timestamp>,
}

impl Obligation {
    /// Keeps an event that leaves its queue, unless the open attempt keeps it. False if the record would become too large: then it stays on
    /// its queue.
    #[must_use]
    pub fn postpone(&mut self, event: &str, now: Timestamp) -> bool {
        if let Some(attempt) = self.current_attempt_mut().filter(|attempt| attempt.waiting_event.as_deref() == Some(event)) {
            attempt.queued_until = None;
        }
        if let Some(known) = self.postponed.iter_mut().find(|postponed| postponed.event == event) {
            known.queued_until = None;
            return true;
        }
        let kept =
            self.postponed.iter().map(|postponed| size_in_record(&postponed.event)).fold(size_in_record(event), usize::saturating_add);
        let fits = kept <= MAX_KEPT_BYTES;
        if fits {
            self.postponed.push(PostponedEvent { event: event.to_owned(), since: now, queued_until: None });
        }
        fits
    }

    /// Since when this event is postponed.
    #[must_use]
    pub fn postponed_since(&self, event: &str) -> Option<Timestamp> {
        self.postponed.iter().find(|postponed| postponed.event == event).map(|postponed| postponed.since)
    }

    /// Forgets a postponed event, which is completed. False if there is none.
    pub fn forget_postponed(&mut self, event: &str) -> bool {
        let before = self.postponed.len();
        self.postponed.retain(|postponed| postponed.event != event);
        self.postponed.len() != before
    }

    /// The events that wait here and are not on their queues: that of the open attempt, and those that were postponed.
    #[must_use]
    pub fn waiting_events(&self, now: Timestamp) -> Vec<String> {
        let of_attempt = self.current_attempt().filter(|attempt| !attempt.is_queued(now)).and_then(|attempt| attempt.waiting_event.clone());
        let left_queue = |postponed: &&PostponedEvent| postponed.queued_until.is_none_or(|until| until <= now);
        let postponed = self.postponed.iter().filter(left_queue).map(|postponed| postponed.event.clone());
        let mut events: Vec<String> = of_attempt.into_iter().collect();
        for event in postponed {
            if !events.contains(&event) {
                events.push(event);
            }
        }
        events
    }

    /// Copies of all waiting events are on their queues until then.
    pub fn mark_requeued(&mut self, until: Timestamp) {
        if let Some(attempt) = self.current_attempt_mut().filter(|attempt| attempt.waiting_event.is_some()) {
            attempt.queued_until = Some(until);
        }
        for postponed in &mut self.postponed {
            postponed.queued_until = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::{Attempt, AttemptKind};

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const LATER: Timestamp = Timestamp::from_secs(2_000);

    #[test]
    fn a_postponed_event_waits_until_it_is_queued_and_keeps_when_it_was_first_postponed() {
        let mut obligation = Obligation::new();
        assert!(obligation.postpone("one", NOW));
        assert!(!obligation.is_settled());
        assert_eq!(obligation.waiting_events(NOW), ["one"]);
        obligation.mark_requeued(LATER);
        assert_eq!(obligation.waiting_events(NOW), Vec::<String>::new());
        assert_eq!(obligation.waiting_events(LATER), ["one"]);
        assert!(obligation.postpone("one", LATER));
        assert_eq!((obligation.postponed.len(), obligation.postponed_since("one")), (1, Some(NOW)));
        assert!(obligation.forget_postponed("one") && !obligation.forget_postponed("one"));
        assert!(obligation.is_settled());
    }

    #[test]
    fn the_event_of_the_open_attempt_is_requeued_once() {
        let mut obligation = Obligation::new();
        obligation.push(Attempt {
            waiting_event: Some("own".to_owned()),
            queued_until: Some(LATER),
            ..Attempt::opened(AttemptKind::Charge, NOW, NOW)
        });
        assert!(obligation.postpone("own", NOW) && obligation.postpone("other", NOW));
        assert_eq!(obligation.waiting_events(NOW), ["own", "other"]);
    }

    #[test]
    fn a_record_takes_no_more_events_than_fit() {
        let mut obligation = Obligation::new();
        let largest = "\"".repeat(MAX_KEPT_BYTES / 2 - 1);
        assert!(fits_record(&largest) && !fits_record(&format!("{largest}\"")), "as it is escaped");
        assert!(obligation.postpone(&largest, NOW));
        assert!(!obligation.postpone("y", NOW));
        assert_eq!(obligation.postponed.len(), 1);
    }
}
