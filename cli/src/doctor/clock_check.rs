//! The transport to the upstreams, which notes the time that each of them reports (HTTP's `Date`, RFC 9110 section 6.6.1).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector::clock::{Clock, Timestamp};
use connector::http::{Request, Response, Transport, TransportError};

use super::Finding;

/// Beyond this a clock is worth a look: dates have whole seconds, and answers take some.
const NOTABLE_SKEW: Duration = Duration::from_secs(30);
/// Beyond this signatures are refused: AWS's after five minutes ("Signature Version 4", "RequestTimeTooSkewed" at fifteen for some
/// services), gateways' after about as long.
const MAX_SKEW: Duration = Duration::from_secs(300);

/// Sends, and compares clocks.
pub(super) struct ClockCheckingTransport {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    dates: Mutex<BTreeMap<String, (Timestamp, Timestamp)>>,
}

impl ClockCheckingTransport {
    pub(super) fn new(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, dates: Mutex::default() }
    }

    /// The findings of the comparison.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        if dates.is_empty() {
            return vec![Finding::note("clock", "no upstream sent the time, so this machine's clock was not compared", "")];
        }
        let apart = |(told, own): &(Timestamp, Timestamp)| told.since(*own).max(own.since(*told));
        let least = dates.iter().min_by_key(|(_, pair)| apart(pair));
        // One upstream's clock may be wrong; all of them are not.
        let Some((upstream, pair)) = least else { return Vec::new() };
        let (off, seconds) = (apart(pair), apart(pair).as_secs());
        let fix = "synchronise this machine's clock by NTP and run doctor again: other findings may come from it. Lambda has another clock";
        vec![if off > MAX_SKEW {
            Finding::error(
                "clock",
                format!("is {seconds} seconds apart from {upstream}'s, and further from the others': signatures are refused"),
                fix,
            )
        } else if off > NOTABLE_SKEW {
            Finding::warning("clock", format!("is {seconds} seconds apart from {upstream}'s, and further from the others'"), fix)
        } else {
            Finding::fine("clock", format!("is right, compared with {} upstream(s)", dates.len()))
        }]
    }
}

#[async_trait]
impl Transport for ClockCheckingTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let host = request.url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', ':']).next().unwrap_or_default().to_owned();
        let answer = self.inner.send(request).await?;
        let date = answer.headers.get("date").and_then(|date| date.to_str().ok()).and_then(|date| Timestamp::parse_http_date(date).ok());
        if let Some(date) = date {
            self.dates.lock().unwrap_or_else(PoisonError::into_inner).insert(host, (date, self.clock.now()));
        }
        Ok(answer)
    }
}
