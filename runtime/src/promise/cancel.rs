use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::take_outcome;
use crate::domain::{ChildRef, Domain};
use crate::task::Handle;

/// Waits until a cancelled child is gone; made by [`Promise::cancel`](super::Promise::cancel).
#[must_use = "the child is being cancelled, but it is gone only when this future is ready"]
pub struct Cancel<T, E> {
    /// None once the outcome is taken, or if the promise was somebody else's.
    waiting: Option<(Handle<T, E>, ChildRef)>,
    refused: bool,
    at: &'static Location<'static>,
}

impl<T, E> Cancel<T, E> {
    pub(super) fn new(
        handle: Handle<T, E>,
        child: ChildRef,
        at: &'static Location<'static>,
    ) -> Self {
        Cancel { waiting: Some((handle, child)), refused: false, at }
    }

    /// The current task is not the parent. It is not resumed, so this never becomes ready.
    pub(super) fn refused(at: &'static Location<'static>) -> Self {
        Cancel { waiting: None, refused: true, at }
    }
}

impl<T, E> Future for Cancel<T, E> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Pending;
        }
        Domain::with("cancelling a task", |domain| {
            let waiting = this.waiting.as_mut();
            let (handle, child) = waiting.expect("`Cancel` is polled after it was ready");
            ready!(domain.poll_child(
                &handle.metadata().run,
                *child,
                ("the end of a cancelled task", Some(this.at)),
                cx
            ));
            let outcome = take_outcome(handle);
            domain.reap(child.entry);
            this.waiting = None;
            Poll::Ready(outcome.ok())
        })
    }
}

impl<T, E> Unpin for Cancel<T, E> {}

impl<T, E> Drop for Cancel<T, E> {
    fn drop(&mut self) {
        let Some((handle, child)) = self.waiting.take() else {
            return;
        };
        let run = &handle.metadata().run;
        let parent_domain = usize::from(child.domain);
        let here = Domain::try_with(|domain| {
            let here = domain.is(run, parent_domain);
            if here {
                domain.waive(child.entry);
            }
            here
        });
        if here != Some(true) {
            let message = crate::domain::Message::Dropped { entry: child.entry, abandoned: true };
            run.port(parent_domain).send(message);
        }
        handle.detach();
    }
}

impl<T, E> fmt::Debug for Cancel<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.waiting.as_ref().map(|(_, child)| child.entry.id);
        f.debug_struct("Cancel").field("id", &id).finish_non_exhaustive()
    }
}
