//! Events that wait in the record for their time to come back, beside the one that an attempt keeps: a queue counts how often it delivers
//! a message, and gives up one that waits for long.

use serde::{Deserialize, Serialize};

use super::Obligation;
use crate::clock::Timestamp;

/// So many characters of events are kept in a record, which has to stay small.
const MAX_KEPT_TEXT: usize = 40_000;

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
        let kept = self.postponed.iter().map(|postponed| postponed.event.len()).fold(event.len(), usize::saturating_add);
        let fits = kept <= MAX_KEPT_TEXT;
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
        assert!(obligation.postpone(&"x".repeat(MAX_KEPT_TEXT), NOW));
        assert!(!obligation.postpone("y", NOW));
        assert_eq!(obligation.postponed.len(), 1);
    }
}
