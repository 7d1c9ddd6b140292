//! Points in time, and the clocks that provide them.
//!
//! Flows never read the system's clock: they get a [`Clock`], so that the sandbox can simulate a month in a second and a test can stop the
//! time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text or number that is no point in time.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a point in time: expected RFC 3339 such as 2026-11-07T19:55:41Z, or unix seconds")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads RFC 3339 with `Z` or any offset: Cleeng writes both (`2019-11-04T19:55:41Z`, `2019-03-03T09:43:20+01:00`; Cleeng,
    /// "Webhook subscription topics"). The result is the same instant either way.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] for anything else.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000)).map(Self).map_err(|_| InvalidTimestamp)
    }

    /// Reads the date of an HTTP header such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7, the preferred form).
    ///
    /// # Errors
    /// [`InvalidTimestamp`] for anything else.
    pub fn parse_http_date(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed = OffsetDateTime::parse(text, &Rfc2822).map_err(|_| InvalidTimestamp)?;
        Ok(Self::from_secs(parsed.unix_timestamp()))
    }

    /// RFC 3339 in UTC with whole seconds, or the bare milliseconds for a year that RFC 3339 cannot write.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.secs()).ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| self.0.to_string())
    }

    /// This point later by `by`, at most the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This point earlier by `by`.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Provides the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_instant_written_with_z_and_with_an_offset_is_one_instant() {
        let zulu = Timestamp::parse_rfc3339("2019-03-06T08:43:20Z");
        assert_eq!(zulu, Timestamp::parse_rfc3339("2019-03-06T09:43:20+01:00"));
        assert_eq!(zulu, Timestamp::parse_rfc3339("2019-03-06T03:43:20-05:00"));
        assert_eq!(zulu.map(Timestamp::secs), Ok(1_551_861_800));
    }

    #[test]
    fn an_invalid_timestamp_is_refused() {
        for text in ["", "tomorrow", "2019-03-06", "2019-13-06T08:43:20Z", "2019-03-06T08:43:20"] {
            assert_eq!(Timestamp::parse_rfc3339(text), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn the_date_of_an_answer_is_read_and_nothing_else_is() {
        assert_eq!(Timestamp::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(Timestamp::secs), Ok(784_111_777));
        for text in ["", "1994-11-06", "Sunday, 06-Nov-94 08:49:37 GMT"] {
            assert_eq!(Timestamp::parse_http_date(text), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn a_timestamp_writes_itself_in_utc() {
        assert_eq!(Timestamp::from_secs(1_551_861_800).to_rfc3339(), "2019-03-06T08:43:20Z");
        assert_eq!(Timestamp::from_secs(1_551_861_800).to_string(), "2019-03-06T08:43:20Z");
    }

    #[test]
    fn durations_never_wrap() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.after(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::from_secs(5).since(Timestamp::from_secs(9)), Duration::ZERO);
    }
}
