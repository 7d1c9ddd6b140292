//! Workers as futures that nobody but the simulation polls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use connector::clock::Timestamp;
use connector::flow::{Disposition, RunReport};
use connector::frontend_api::Reply;
use connector::gateway::GatewayName;

use crate::simulators::simulated_gateway::NotificationRequest;

/// What a worker came to.
pub(super) enum TaskResult {
    /// A delivery of this message.
    MessageHandled(u64, Disposition),
    /// A notification at its door, kept for the case that it has to come again, and the door's answer.
    NotificationHandled(GatewayName, NotificationRequest, u64),
    /// A forged notification at the door, and the door's answer.
    ForgeryHandled(u64),
    /// A call of this visitor's page.
    PageAnswered(usize, Reply),
    /// A round.
    ReconciliationFinished(RunReport),
}

/// What is to be done again if its worker crashes.
pub(super) enum TaskKind {
    Message(u64),
    Notification(GatewayName, NotificationRequest),
    Forgery,
    PageCall(usize),
    Reconciliation,
}

pub(super) struct Task {
    pub(super) id: u64,
    pub(super) kind: TaskKind,
    pub(super) deadline: Timestamp,
    pub(super) overrun: bool,
    pub(super) future: Pin<Box<dyn Future<Output = TaskResult>>>,
}

/// Runs something to its end that waits for nobody.
pub(super) fn run_to_completion<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    (0..10_000).find_map(|_| match work.as_mut().poll(&mut context) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    })
}

/// Gives all others their turn: the place where a worker is interrupted, and where it can crash.
#[must_use]
pub const fn yield_now() -> YieldNow {
    YieldNow(false)
}

/// See [`yield_now`].
#[derive(Debug)]
pub struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        // Nobody has to be woken: whoever runs the run comes round to everybody.
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
