//! What goes wrong in a play, and how often.

use super::dice::Dice;

/// How often what goes wrong, in a thousand: per call, per message or per turn of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Climate {
    /// A call does not get out.
    pub not_sent: u16,
    /// A call is lost on its way.
    pub timeout_before: u16,
    /// The answer to a call is lost.
    pub timeout_after: u16,
    /// A call is lost for its caller and arrives all the same, later.
    pub late: u16,
    /// A peer refuses a call for a technical reason: 500, 502, 503, 429, 401.
    pub refused: u16,
    /// A peer does it and answers 500 or 502.
    pub failed_after: u16,
    /// An answer comes cut off.
    pub cut: u16,
    /// An answer comes without one of its members, or with null in its place.
    pub maimed: u16,
    /// A call takes its time.
    pub slow: u16,
    /// The journal cannot be read.
    pub unread: u16,
    /// The journal cannot be written.
    pub unwritten: u16,
    /// It is not known whether the journal was written.
    pub doubtful_commit: u16,
    /// A worker dies where it stands.
    pub death: u16,
    /// A worker outlives its time, by the clock of the others.
    pub undead: u16,
    /// Time jumps forward by minutes while workers are at it.
    pub jump: u16,
    /// A webhook or notification comes twice.
    pub twice: u16,
    /// A webhook or notification comes late.
    pub delayed: u16,
    /// A webhook of Cleeng never comes.
    pub dropped: u16,
    /// A queue does not take a message; a queue delivers one twice.
    pub queue: u16,
    /// A peer does not take our credentials for some minutes, because they were changed there first: per day.
    pub rotation: u16,
    /// Somebody posts what nobody signed: per webhook or notification.
    pub forgery: u16,
    /// Something happens to a customer's payment: a decline, a card change, an expiry, a chargeback, a refund.
    pub life: u16,
}

impl Climate {
    /// Nothing goes wrong, and customers do nothing but pay.
    #[must_use]
    pub fn fair() -> Self {
        Self::default()
    }

    /// As the dice have it: some kinds of trouble not at all, some now and then, some all the time, so that every mixture comes up.
    #[must_use]
    pub fn of(dice: &mut Dice) -> Self {
        let mut often = |much: &[u16]| dice.pick(0, much);
        // In a few worlds nothing fails, so that what customers and banks do is seen by itself.
        let calls: &[u16] = &[0, 0, 3, 10, 40];
        let rarely: &[u16] = &[0, 0, 2, 8];
        Self {
            not_sent: often(calls),
            timeout_before: often(calls),
            timeout_after: often(calls),
            late: often(rarely),
            refused: often(calls),
            failed_after: often(calls),
            cut: often(calls),
            maimed: often(calls),
            slow: often(&[0, 10, 100]),
            unread: often(calls),
            unwritten: often(calls),
            doubtful_commit: often(calls),
            death: often(&[0, 2, 5, 20]),
            undead: often(&[0, 0, 500]),
            jump: often(&[0, 0, 2, 10]),
            twice: often(&[0, 50, 300]),
            delayed: often(&[0, 100, 500]),
            dropped: often(&[0, 0, 0, 0, 0, 100]),
            queue: often(&[0, 10, 50]),
            rotation: often(&[0, 0, 200]),
            forgery: often(&[0, 20, 200]),
            life: often(&[300, 700, 1_000]),
        }
    }
}
