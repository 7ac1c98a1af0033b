//! A parent's handle on a child, and the ways to wait for one.

mod cancel;
mod join;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub use cancel::Cancel;
pub use join::{AwaitAll, AwaitFirst, AwaitOne, await_all, await_first, await_one};

use crate::domain::{ChildRef, Domain, Message};
use crate::task::{Outcome, OutcomeHandle, TaskId, WaitSite};

/// A parent's handle on a child: awaited or cancelled, by the parent alone.
///
/// Awaiting it yields the child's [`Outcome`] once the child and all its descendants are over and
/// their resources are settled. Only the task that made the child may do so; any other commits the
/// violation [`NotAChild`](crate::Violation::NotAChild).
///
/// Dropping it never detaches the child. It asks for the child's cancellation, and it is
/// *forgetting* the child, which is reported at the parent's normal end, unless the drop belongs
/// to an abandonment: the abnormal end of a task, an unwinding panic, or one of matou's own
/// combinators ([`timeout`](crate::timeout), [`race`](crate::race), ..) giving up a branch.
///
/// A promise is `Send` where its outcome is, so that futures that hold one can be `Send`.
///
/// # Cancel safety
///
/// Awaiting `&mut promise` and giving up loses nothing: the outcome stays with the promise.
///
/// # Panics
///
/// When it is polled again after it yielded the outcome, or outside a run.
#[must_use = "a child has to be awaited or cancelled by its parent"]
pub struct Promise<T, E = Infallible> {
    /// None once the outcome is taken.
    handle: Option<OutcomeHandle<T, E>>,
    child: ChildRef,
}

impl<T, E> Promise<T, E> {
    pub(crate) fn new(handle: OutcomeHandle<T, E>, child: ChildRef) -> Promise<T, E> {
        Promise { handle: Some(handle), child }
    }

    /// Returns the child's id.
    pub fn id(&self) -> TaskId {
        self.child.entry.id
    }

    /// Cancels the child and waits until it is gone with its whole subtree.
    ///
    /// The request is made at once, not at the first poll. A child that had already returned
    /// yields its value: a finished value is not lost. One that failed or panicked yields `None`,
    /// like one that was ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes nothing back: the child is ended, and the parent's end waits for
    /// that.
    ///
    /// # Panics
    ///
    /// When the outcome was taken already, and outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use matou_runtime::{RunError, run, spawn, yield_now};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let endless = spawn(pending::<()>());
    ///     assert_eq!(endless.cancel().await, None);
    ///
    ///     let quick = spawn(async { 7 });
    ///     yield_now().await;
    ///     assert_eq!(quick.cancel().await, Some(7));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn cancel(self) -> Cancel<T, E> {
        self.cancel_at(Location::caller(), None)
    }

    /// Cancels the child and says why; see [`cancel`](Promise::cancel).
    ///
    /// The reason travels with the cancellation: whoever looks at the outcome of the child, or of
    /// what descends from it, finds in [`Cancelled`](crate::Cancelled) who asked, at which line,
    /// and what was said. So do reports, and [`cancelled`](crate::cancelled).
    ///
    /// # Cancel safety
    ///
    /// As [`cancel`](Promise::cancel).
    ///
    /// # Panics
    ///
    /// As [`cancel`](Promise::cancel).
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{RunError, cancelled, run, shield, spawn, yield_now};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let child = spawn(async {
    ///         // A shielded task hears of a cancellation, and ends in its own way.
    ///         let _ = shield(async {
    ///             assert_eq!(cancelled().await.reason(), Some("the shop closes"));
    ///         })
    ///         .await;
    ///     });
    ///     yield_now().await;
    ///     child.cancel_because("the shop closes").await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn cancel_because(self, reason: impl Into<Cow<'static, str>>) -> Cancel<T, E> {
        self.cancel_at(Location::caller(), Some(reason.into()))
    }

    pub(crate) fn cancel_at(
        mut self,
        at: &'static Location<'static>,
        reason: Option<Cow<'static, str>>,
    ) -> Cancel<T, E> {
        let mine = Domain::with("cancelling a task", |domain| {
            let cancelled = &domain.requested_reason(at, reason);
            let handle = self.handle.as_ref();
            let handle = handle.expect("a promise is cancelled before its outcome is taken");
            domain.cancel_child(handle.remote(), self.child, cancelled).is_ok()
        });
        // The handle is taken last. If the promise is somebody else's, which is recorded, or if
        // there was a panic, the drop of the promise sees to the child.
        match self.handle.take_if(|_| mine) {
            Some(handle) => Cancel::new(handle, self.child, at),
            None => Cancel::refused(self.child, at),
        }
    }

    /// Whether the child has ended; for combinators that look at many.
    fn is_complete(&self) -> bool {
        Domain::try_with(|domain| domain.child_is_complete(self.child.entry)).unwrap_or(false)
    }

    /// Gives the handle up without a word to the child.
    pub(crate) fn detach(mut self) {
        if let Some(handle) = self.handle.take() {
            let entry = self.child.entry;
            notify_parent(
                &handle,
                self.child,
                |domain| domain.detach_child(entry),
                |_| Message::DetachHandle { entry },
            );
        }
    }

    pub(crate) fn child(&self) -> ChildRef {
        self.child
    }

    /// Takes the outcome of a child that has ended.
    pub(crate) fn into_outcome(mut self, domain: &Domain) -> Outcome<T, E> {
        domain.reap(self.child.entry);
        self.handle.take().expect("a promise has its handle until its outcome is taken").take()
    }

    /// Waits for the child, as the operation `site`.
    #[inline]
    pub(crate) fn poll_join(
        &mut self,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<T, E>> {
        Domain::with("awaiting a task", |domain| {
            poll_outcome(domain, &mut self.handle, self.child, site, cx)
        })
    }
}

/// Waits for the child of a handle, and takes the outcome.
#[inline]
fn poll_outcome<T, E>(
    domain: &Domain,
    slot: &mut Option<OutcomeHandle<T, E>>,
    child: ChildRef,
    site: WaitSite,
    cx: &mut Context<'_>,
) -> Poll<Outcome<T, E>> {
    let handle = slot.as_ref().expect("a promise is polled after it yielded its outcome");
    // fault: cancel-busy-wait
    ready!(domain.poll_child(handle.remote(), child, site, cx));
    Poll::Ready(slot.take().expect("it was there a moment ago").take())
}

/// Tells a child's parent of what became of its handle: directly if its domain is the present one,
/// by a message otherwise, which may depend on whether the present code abandons what it drops.
fn notify_parent<T, E>(
    handle: &OutcomeHandle<T, E>,
    child: ChildRef,
    here: impl FnOnce(&Domain),
    message: impl FnOnce(bool) -> Message,
) {
    let elsewhere = Domain::try_with(|domain| {
        if domain.is_domain_of(handle.remote(), child.domain) {
            here(domain);
            return None;
        }
        Some(domain.drop_is_abandonment())
    });
    if let Some(abandoned) = elsewhere.unwrap_or_else(|| Some(std::thread::panicking())) {
        // fault: remote-drop-not-sent
        handle.remote().send_to(usize::from(child.domain), message(abandoned));
    }
}

impl<T, E> Future for Promise<T, E> {
    type Output = Outcome<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_join(WaitSite::unlocated("promise"), cx)
    }
}

impl<T, E> Unpin for Promise<T, E> {}

impl<T, E> Drop for Promise<T, E> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let entry = self.child.entry;
            notify_parent(
                &handle,
                self.child,
                |domain| domain.promise_dropped(entry, domain.drop_is_abandonment()),
                |abandoned| Message::HandleDropped { entry, abandoned },
            );
        }
    }
}

impl<T, E> fmt::Debug for Promise<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise")
            .field("id", &self.id())
            .field("spawned_at", &format_args!("{}", self.child.spawned_at))
            .finish_non_exhaustive()
    }
}
