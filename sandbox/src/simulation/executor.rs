//! Workers as futures that nobody but the simulation polls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use connector::clock::Timestamp;
use connector::flow::{Disposition, RunReport};
use connector::frontend_api::Reply;
use connector::gateway::GatewayName;

use crate::simulators::simulated_gateway::NotificationRequest;

/// The result of a worker.
pub(super) enum TaskResult {
    /// A delivery of this message.
    MessageHandled(u64, Disposition),
    /// A notification, kept in case that it has to be redelivered, and the status of the handler's response.
    NotificationHandled(GatewayName, NotificationRequest, u64),
    /// A forged notification, and the status of the handler's response.
    ForgeryHandled(u64),
    /// A call of this shopper's page.
    PageAnswered(usize, Reply),
    /// A reconciliation run.
    ReconciliationFinished(RunReport),
}

/// What a worker does, so that it can be scheduled again after a crash.
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

/// Runs a future to its end that waits for nothing outside itself. `None` if it does not end.
pub(super) fn run_to_completion<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    (0..10_000).find_map(|_| match work.as_mut().poll(&mut context) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    })
}

/// Lets other workers be polled: the point at which a worker is interrupted, and at which it can crash.
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
        // No waker is needed: the simulator polls every worker again.
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
