use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Cancel;
use super::child_handle::{ChildHandle, Release};
use crate::domain::{ChildRef, Domain, OutcomeHandle};
use crate::outcome::Outcome;
use crate::panics::polled_after_completion;
use crate::task::{TaskId, WaitSite};

/// A parent's handle to a child. The parent awaits it or cancels it.
///
/// Awaiting it returns the child's [`Outcome`] once the child and all its descendants are complete
/// and their resources are finalized. Only the task that spawned the child may do so; any other
/// task commits the violation [`NotAChild`](crate::Violation::NotAChild).
///
/// Dropping a promise never detaches the child: it cancels the child, and the parent waits for it
/// before it completes. In two cases the drop also counts as *forgetting* the child, which is
/// reported as the finding [`Forgotten`](crate::Finding::Forgotten): a promise that was never
/// polled is dropped in the poll that spawned the child, as by `let _ = spawn(..)`, or by the last
/// poll of a parent that returns. To drop such a promise on purpose, use
/// [`abandon`](crate::abandon). [`Builder::forgotten`](crate::Builder::forgotten) changes what is
/// reported.
///
/// A promise is `Send` if the outcome is, so that futures that hold one can be `Send`.
///
/// # Cancel safety
///
/// If a future that awaits `&mut promise` is dropped, the outcome stays in the promise.
///
/// # Panics
///
/// If it is polled again after it has returned the outcome, or outside a run.
#[doc(alias = "JoinHandle")]
#[must_use = "await it, `cancel` it, or spawn the child into `Orphans`; \
              `let _ = ..` cancels the child at once, and is reported"]
pub struct Promise<T, E = Infallible> {
    handle: ChildHandle<T, E>,
}

impl<T, E> Promise<T, E> {
    pub(crate) fn new(outcome: OutcomeHandle<T, E>, child: ChildRef) -> Promise<T, E> {
        Promise { handle: ChildHandle::new(outcome, child) }
    }

    /// Returns the child's id.
    pub fn id(&self) -> TaskId {
        self.child().entry.id
    }

    /// Returns the name that [`Task::name`](crate::Task::name) has given to the child.
    ///
    /// `None` if it has none, after the outcome was taken, and on other threads than the parent's.
    pub fn name(&self) -> Option<Arc<str>> {
        let entry = self.child().entry;
        let name =
            |domain: &Domain| self.is_child_of(domain).then(|| domain.child_name(entry)).flatten();
        Domain::try_with(name).flatten()
    }

    /// Returns whether the child and all its descendants are complete: awaiting the promise does
    /// not wait then. Also `true` after the outcome was taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{RunError, run, spawn, yield_now};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let child = spawn(async { 7 });
    ///     assert!(!child.is_finished());
    ///     yield_now().await;
    ///     assert!(child.is_finished());
    ///     assert_eq!(child.await?, 7);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "is_complete")]
    pub fn is_finished(&self) -> bool {
        let entry = self.child().entry;
        let is_complete =
            |domain: &Domain| self.is_child_of(domain).then(|| domain.child_is_complete(entry));
        let here = Domain::try_with(is_complete).flatten();
        here.unwrap_or_else(|| self.handle.has_completed())
    }

    /// Cancels the child and waits until it and all its descendants are complete.
    ///
    /// The cancellation is requested by this call, not by the first poll of the future. The future
    /// returns `None` if the child was cut off. If the child had ended before, the future returns
    /// its outcome, so that neither a value nor a failure is lost; likewise if a destructor or a
    /// finalizer of the child panicked, or the child violated a rule.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not withdraw the request: the child is cancelled, and the parent
    /// waits for it before it completes.
    ///
    /// # Panics
    ///
    /// If the outcome was taken already, and outside a run.
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
    ///     assert!(endless.cancel().await.is_none());
    ///
    ///     let quick = spawn(async { 7 });
    ///     yield_now().await;
    ///     assert!(matches!(quick.cancel().await, Some(Ok(7))));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "abort")]
    #[doc(alias = "CancellationToken")]
    #[track_caller]
    pub fn cancel(self) -> Cancel<T, E> {
        self.cancel_at(Location::caller(), None)
    }

    /// Cancels the child for a reason given as text; see [`cancel`](Promise::cancel).
    ///
    /// The outcomes of the child and of its descendants contain the reason: their
    /// [`Cancelled`](crate::Cancelled) names the task that requested the cancellation, the line,
    /// and this text. So do reports, and [`cancelled`](crate::cancelled).
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
    ///         // A shielded task is informed of the request and ends by itself.
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

    #[track_caller]
    pub(crate) fn cancel_at(
        mut self,
        at: &'static Location<'static>,
        reason: Option<Cow<'static, str>>,
    ) -> Cancel<T, E> {
        let child = self.child();
        let remote = self.handle.remote();
        let remote = remote.expect("a promise is cancelled after it yielded its outcome");
        let is_own = Domain::with("cancelling a task", |domain| {
            let cancelled = &domain.requested_reason(at, reason);
            domain.cancel_child(remote, child, cancelled).is_ok()
        });
        // The handle is taken last. If the request has panicked or was refused, because the child
        // is another task's, dropping `self` releases the child.
        match is_own {
            true => Cancel::new(self.handle.take(), at),
            false => Cancel::refused(child, at),
        }
    }

    /// Returns whether the child is complete, without registering for its completion.
    pub(super) fn is_complete(&self) -> bool {
        let entry = self.child().entry;
        Domain::try_with(|domain| domain.child_is_complete(entry)).unwrap_or(false)
    }

    /// Records that the promise was polled, so that its drop gives the child up.
    pub(super) fn mark_polled(&self) {
        let entry = self.child().entry;
        Domain::try_with(|domain| domain.mark_polled(entry));
    }

    /// Gives up the outcome of a child that was just spawned. The child stays as it is, and its
    /// node stays until it is reaped.
    pub(crate) fn drop_outcome(mut self) -> ChildRef {
        let child = self.child();
        self.handle.drop_outcome();
        child
    }

    /// Gives the promise up; the child goes on.
    pub(crate) fn detach(mut self) {
        self.handle.release(Release::Detached);
    }

    /// Returns whether the child belongs to a task of `domain`.
    pub(crate) fn is_child_of(&self, domain: &Domain) -> bool {
        let is_own = |remote| domain.is_domain_of(remote, self.child().domain);
        self.handle.remote().is_some_and(is_own)
    }

    pub(crate) fn child(&self) -> ChildRef {
        self.handle.child()
    }

    /// Takes the outcome of a child that is complete.
    pub(super) fn into_outcome(mut self, domain: &Domain) -> Outcome<T, E> {
        self.handle.take().into_outcome(domain)
    }

    /// Takes the outcome of a child of the current task that is complete.
    pub(super) fn into_outcome_here(self) -> Outcome<T, E> {
        Domain::with("awaiting a task", |domain| self.into_outcome(domain))
    }

    /// Waits for the child without taking its outcome: if the promise is dropped then, a failure in
    /// it is reported.
    pub(super) fn poll_end(&mut self, site: WaitSite, cx: &mut Context<'_>) -> Poll<()> {
        Domain::with("awaiting a task", |domain| self.handle.poll_end(domain, site, cx))
    }

    /// Waits for the child. `site` says in reports where the parent waits.
    #[inline]
    #[track_caller]
    pub(crate) fn poll_join(
        &mut self,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<T, E>> {
        if self.handle.is_empty() {
            polled_after_completion("a promise", self.child().spawned_at);
        }
        Domain::with("awaiting a task", |domain| self.handle.poll(domain, site, cx))
    }
}

impl<T, E> Future for Promise<T, E> {
    type Output = Outcome<T, E>;

    // The caller of a future that is awaited directly is the `.await`.
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_join(WaitSite::here("promise"), cx)
    }
}

impl<T, E> Unpin for Promise<T, E> {}

impl<T, E> Drop for Promise<T, E> {
    fn drop(&mut self) {
        self.handle.release(Release::Dropped);
    }
}

impl<T, E> fmt::Debug for Promise<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise")
            .field("id", &self.id())
            .field("spawned_at", &format_args!("{}", self.child().spawned_at))
            .finish_non_exhaustive()
    }
}
