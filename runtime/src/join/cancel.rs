use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::child_handle::{ChildHandle, Release};
use crate::domain::{ChildRef, Domain};
use crate::outcome::{Outcome, TaskError};
use crate::panics::polled_after_completion;
use crate::task::WaitSite;

/// The future of [`Promise::cancel`](super::Promise::cancel): waits until the cancelled child is
/// complete.
#[must_use = "the child is being cancelled, but it is gone only when this future is ready"]
pub struct Cancel<T, E> {
    handle: ChildHandle<T, E>,
    /// Whether the request was refused, because the child is another task's.
    refused: bool,
    at: &'static Location<'static>,
}

impl<T, E> Cancel<T, E> {
    pub(super) fn new(handle: ChildHandle<T, E>, at: &'static Location<'static>) -> Self {
        Cancel { handle, refused: false, at }
    }

    /// The future that the current task gets if it is not the parent. It is never ready: the
    /// violation has cancelled the task.
    pub(super) fn refused(child: ChildRef, at: &'static Location<'static>) -> Self {
        Cancel { handle: ChildHandle::empty(child), refused: true, at }
    }

    /// Waits for the child without taking its outcome: when the future is dropped, a failure in it
    /// is reported.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.refused {
            return Poll::Pending;
        }
        let site = self.site();
        Domain::with("cancelling a task", |domain| self.handle.poll_end(domain, site, cx))
    }

    fn site(&self) -> WaitSite {
        WaitSite::new("the end of a cancelled task", self.at)
    }
}

impl<T, E> Future for Cancel<T, E> {
    type Output = Option<Outcome<T, E>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Pending;
        }
        if this.handle.is_empty() {
            polled_after_completion("`Cancel`", this.at);
        }
        let site = this.site();
        Domain::with("cancelling a task", |domain| {
            this.handle.poll(domain, site, cx).map(|outcome| match outcome {
                Err(TaskError::Cancelled(_)) => None,
                // fault: finished-value-lost
                ended => Some(ended),
            })
        })
    }
}

impl<T, E> Unpin for Cancel<T, E> {}

impl<T, E> Drop for Cancel<T, E> {
    fn drop(&mut self) {
        self.handle.release(Release::Cancelled);
    }
}

impl<T, E> fmt::Debug for Cancel<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("id", &self.handle.child().entry.id).finish_non_exhaustive()
    }
}
