use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{notify_parent, poll_outcome};
use crate::domain::{ChildRef, Domain, Message};
use crate::task::{Outcome, OutcomeHandle, WaitSite};

/// Waits until a cancelled child is gone; made by [`Promise::cancel`](super::Promise::cancel).
#[must_use = "the child is being cancelled, but it is gone only when this future is ready"]
pub struct Cancel<T, E> {
    /// None once the outcome is taken, or if the promise was somebody else's.
    handle: Option<OutcomeHandle<T, E>>,
    child: ChildRef,
    refused: bool,
    at: &'static Location<'static>,
}

impl<T, E> Cancel<T, E> {
    pub(super) fn new(
        handle: OutcomeHandle<T, E>,
        child: ChildRef,
        at: &'static Location<'static>,
    ) -> Self {
        Cancel { handle: Some(handle), child, refused: false, at }
    }

    /// The current task is not the parent. It is not resumed, so this never becomes ready.
    pub(super) fn refused(child: ChildRef, at: &'static Location<'static>) -> Self {
        Cancel { handle: None, child, refused: true, at }
    }
}

impl<T, E> Future for Cancel<T, E> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Pending;
        }
        assert!(this.handle.is_some(), "`Cancel` is polled after it was ready");
        let site = WaitSite::new("the end of a cancelled task", this.at);
        Domain::with("cancelling a task", |domain| {
            // fault: finished-value-lost
            poll_outcome(domain, &mut this.handle, this.child, site, cx).map(Outcome::ok)
        })
    }
}

impl<T, E> Unpin for Cancel<T, E> {}

impl<T, E> Drop for Cancel<T, E> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let entry = self.child.entry;
            notify_parent(
                &handle,
                self.child,
                |domain| domain.detach_child(entry),
                |_| Message::HandleDropped { entry, abandoned: true },
            );
        }
    }
}

impl<T, E> fmt::Debug for Cancel<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("id", &self.child.entry.id).finish_non_exhaustive()
    }
}
