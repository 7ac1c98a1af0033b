//! Tasks that are not cancelled with their parents.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Task;
use crate::domain::{CancelWait, Domain};
use crate::join::Promise;
use crate::outcome::Outcome;
use crate::panics::polled_after_completion;
use crate::task::{BlockedOn, Cancelled, TaskId, WaitSite, WaitTarget};

/// Runs `future` as a child that is not cancelled with its parent, for work that must not be
/// interrupted.
///
/// A shield is a child task, because a future is dropped together with the future that contains it.
/// If the parent is cancelled, or a `timeout` drops the branch that waits for the shield, the child
/// goes on, and the parent waits for it before it completes. The child is not cancelled when its
/// parent returns or is cancelled; instead it receives a cancel request, which it can observe with
/// [`cancelled`]. From then on its time is limited, to the grace period of the run or to the
/// duration set by [`limit`](Shield::limit). When the limit has elapsed, it is cancelled like any
/// other task. While the parent is running, there is no request: a shield that a `timeout` has
/// dropped has no time limit until the parent ends. The descendants of a shield are protected as
/// well. A [`deadline`](crate::deadline) outside the shield does not apply inside.
///
/// # Cancel safety
///
/// Dropping the future loses only the outcome. That is never a violation.
///
/// # Panics
///
/// As [`spawn`](crate::spawn).
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use matou_runtime::{RunError, run, shield, sleep, spawn, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let committed = Rc::new(Cell::new(false));
///     let commit = Rc::clone(&committed);
///     let child = spawn(async move {
///         let _ = shield(async move {
///             sleep(Duration::from_millis(5)).await;
///             commit.set(true);
///         })
///         .await;
///     });
///     yield_now().await;
///     child.cancel().await; // waits for the commit
///     assert!(committed.get());
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "CancellationToken")]
#[track_caller]
pub fn shield<F>(future: F) -> Shield<F::Output>
where
    F: Future + 'static,
{
    Task::new().name("shield").shield(future)
}

/// Runs a future that may fail as a child that is not cancelled with its parent; see [`shield`].
///
/// # Cancel safety
///
/// As [`shield`].
///
/// # Panics
///
/// As [`spawn`](crate::spawn).
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, TaskError, run, try_shield};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let outcome = try_shield(async { "seven".parse::<i32>() }).await;
///     assert!(matches!(outcome, Err(TaskError::Failed { .. })));
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn try_shield<F, T, E>(future: F) -> Shield<T, E>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: 'static,
{
    Task::new().name("shield").try_shield(future)
}

impl Task {
    /// Spawns the child as a shield on this domain. See [`shield`].
    ///
    /// # Cancel safety
    ///
    /// As [`shield`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{RunError, Task, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let commit = Task::new().name("commit").shield(async { "written" });
    ///     assert_eq!(commit.await?, "written");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn shield<F>(self, future: F) -> Shield<F::Output>
    where
        F: Future + 'static,
    {
        Shield::new(self.spawn(future), Location::caller())
    }

    /// Spawns a child that may fail as a shield on this domain. See [`shield`](Task::shield).
    ///
    /// # Cancel safety
    ///
    /// As [`shield`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn try_shield<F, T, E>(self, future: F) -> Shield<T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: 'static,
    {
        Shield::new(self.try_spawn(future), Location::caller())
    }
}

/// Makes a child that was just spawned a shield.
#[track_caller]
pub(super) fn make_shield<T, E>(promise: &Promise<T, E>) {
    Domain::with("`shield`", |domain| {
        domain.make_shield(promise.child().entry, domain.run.config.grace);
    });
}

/// The future of [`shield`] and [`try_shield`]: the outcome of the child.
#[must_use = "the shielded task runs, but this future has its outcome"]
pub struct Shield<T, E = Infallible> {
    /// `None` once the outcome is taken.
    promise: Option<Promise<T, E>>,
    at: &'static Location<'static>,
}

impl<T, E> Shield<T, E> {
    #[track_caller]
    fn new(promise: Promise<T, E>, at: &'static Location<'static>) -> Shield<T, E> {
        make_shield(&promise);
        Shield { promise: Some(promise), at }
    }

    /// Sets how long the child may go on after a cancel request. Default: the grace period of the
    /// run. This has no effect after a request, or outside the run and the domain of the shield.
    pub fn limit(self, limit: Duration) -> Shield<T, E> {
        if let Some(promise) = &self.promise {
            Domain::try_with(|domain| {
                // Another run, or another domain, may have a task with an equal key.
                // fault: shield-of-another-run-limited
                if promise.is_child_of(domain) {
                    domain.set_shield_limit(promise.child().entry, limit);
                }
            });
        }
        self
    }

    /// Returns the child's id.
    ///
    /// # Panics
    ///
    /// If the outcome was taken already.
    #[track_caller]
    pub fn id(&self) -> TaskId {
        self.promise.as_ref().expect("a shield has its child until its outcome is taken").id()
    }
}

impl<T, E> Future for Shield<T, E> {
    type Output = Outcome<T, E>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(promise) = &mut this.promise else { polled_after_completion("`Shield`", this.at) };
        let poll = promise.poll_join(WaitSite::new("shielded task", this.at), cx);
        if poll.is_ready() {
            this.promise = None;
        }
        poll
    }
}

impl<T, E> Unpin for Shield<T, E> {}

impl<T, E> Drop for Shield<T, E> {
    fn drop(&mut self) {
        if let Some(promise) = self.promise.take() {
            promise.detach();
        }
    }
}

impl<T, E> fmt::Debug for Shield<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield").field("promise", &self.promise).finish_non_exhaustive()
    }
}

/// Waits for a cancel request for the current task and returns its reason, for code that shuts down
/// by itself.
///
/// A cancelled task is not polled any more, so only a protected task can observe the request: a
/// [`shield`] and its descendants, on any domain. In any other task this future is never ready.
///
/// # Cancel safety
///
/// Dropping the future loses nothing: the request remains.
///
/// # Panics
///
/// If it is polled outside a task.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, cancelled, race, run, shield, spawn, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let server = spawn(async {
///         let served = shield(async {
///             let mut served = 0;
///             let stop = async { cancelled().await; false };
///             let mut stop = std::pin::pin!(stop);
///             while race(stop.as_mut(), async { yield_now().await; true }).await {
///                 served += 1;
///             }
///             served // every client has its answer
///         });
///         assert!(served.await.is_ok());
///     });
///     yield_now().await;
///     server.cancel().await;
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "CancellationToken")]
#[doc(alias = "graceful_shutdown")]
#[track_caller]
pub fn cancelled() -> CancelledWait {
    CancelledWait { at: Location::caller(), wait: CancelWait::default() }
}

/// The future of [`cancelled`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct CancelledWait {
    at: &'static Location<'static>,
    wait: CancelWait,
}

impl Future for CancelledWait {
    type Output = Cancelled;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cancelled> {
        let CancelledWait { at, wait } = self.get_mut();
        Domain::with("`cancelled`", |domain| match domain.poll_cancel_request(wait, cx.waker()) {
            Some(cancelled) => Poll::Ready(cancelled),
            None => {
                let site = WaitSite::new("a cancellation", at);
                domain.set_blocked_on(BlockedOn::new(site, WaitTarget::Unknown));
                Poll::Pending
            }
        })
    }
}

impl Drop for CancelledWait {
    fn drop(&mut self) {
        // On another thread the waker stays until its task has completed.
        Domain::try_with(|domain| domain.end_cancel_wait(&mut self.wait));
    }
}
