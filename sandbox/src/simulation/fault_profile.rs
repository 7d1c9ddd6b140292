//! What goes wrong in a run, and how often.

use super::prng::Prng;

/// How often what goes wrong, in a thousand: per call, per message or per turn of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultProfile {
    /// A call does not get out.
    pub not_sent: u16,
    /// A call is lost on its way.
    pub timeout_before: u16,
    /// The answer to a call is lost.
    pub timeout_after: u16,
    /// A call is lost for its caller and arrives all the same, later.
    pub delivered_late: u16,
    /// A server refuses a call for a technical reason: 500, 502, 503, 429, 401.
    pub error_before: u16,
    /// A server executes it and answers 500 or 502.
    pub error_after: u16,
    /// Something in between answers in Cleeng's place, whether or not Cleeng got the call: a redirect, a page, a route that is lost.
    pub answer_in_between: u16,
    /// An answer comes cut off.
    pub truncated_body: u16,
    /// An answer comes without one of its members, or with null in its place.
    pub truncated_field: u16,
    /// A call takes its time.
    pub slow: u16,
    /// The journal cannot be read.
    pub journal_read_error: u16,
    /// The journal cannot be written.
    pub journal_write_error: u16,
    /// It is not known whether the journal was written.
    pub commit_unknown: u16,
    /// A worker crashes where it stands.
    pub crash: u16,
    /// A worker outlives its time, by the clock of the others.
    pub overrun: u16,
    /// Time jumps forward by minutes while workers run.
    pub clock_jump: u16,
    /// A webhook or notification comes twice.
    pub duplicate: u16,
    /// A webhook or notification comes late.
    pub delayed: u16,
    /// A webhook of Cleeng never comes.
    pub dropped: u16,
    /// A queue does not take a message; a queue delivers one twice.
    pub queue_error: u16,
    /// A server does not accept our credentials for some minutes, because they were changed there first: per day.
    pub credential_rotation: u16,
    /// Somebody posts what nobody signed: per webhook or notification.
    pub forgery: u16,
    /// Something happens to a customer's payment: a decline, a card change, an expiry, a chargeback, a refund.
    pub life_event: u16,
}

impl FaultProfile {
    /// Nothing fails, and customers do nothing but pay.
    #[must_use]
    pub fn no_faults() -> Self {
        Self::default()
    }

    /// Draws a profile: some kinds of fault not at all, some now and then, some all the time, so that every mixture comes up.
    #[must_use]
    pub fn from_prng(prng: &mut Prng) -> Self {
        let mut often = |much: &[u16]| prng.choose(0, much);
        // In a few runs nothing fails, so that what customers and banks do is seen alone.
        let calls: &[u16] = &[0, 0, 3, 10, 40];
        let rarely: &[u16] = &[0, 0, 2, 8];
        Self {
            not_sent: often(calls),
            timeout_before: often(calls),
            timeout_after: often(calls),
            delivered_late: often(rarely),
            error_before: often(calls),
            error_after: often(calls),
            answer_in_between: often(calls),
            truncated_body: often(calls),
            truncated_field: often(calls),
            slow: often(&[0, 10, 100]),
            journal_read_error: often(calls),
            journal_write_error: often(calls),
            commit_unknown: often(calls),
            crash: often(&[0, 2, 5, 20]),
            overrun: often(&[0, 0, 500]),
            clock_jump: often(&[0, 0, 2, 10]),
            duplicate: often(&[0, 50, 300]),
            delayed: often(&[0, 100, 500]),
            dropped: often(&[0, 0, 0, 0, 0, 100]),
            queue_error: often(&[0, 10, 50]),
            credential_rotation: often(&[0, 0, 200]),
            forgery: often(&[0, 20, 200]),
            life_event: often(&[300, 700, 1_000]),
        }
    }
}
