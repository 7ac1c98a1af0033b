use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::{Holder, Wait};

use super::{Mutex, MutexGuard};
use crate::error::polled_after_completion;
use crate::waiting::{Request, WaiterKey};

/// The future of [`Mutex::lock`].
///
/// # Cancel safety
///
/// Dropping it loses nothing but its place among the waiters.
///
/// # Examples
///
/// ```
/// use matou_sync::{Mutex, futures::Lock};
///
/// let mutex = Mutex::new(5);
/// let lock: Lock<'_, i32> = mutex.lock();
/// assert_eq!(*futures::executor::block_on(lock), 5);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Lock<'a, T: ?Sized> {
    /// `None` once the future has completed.
    mutex: Option<&'a Mutex<T>>,
    called_at: &'static Location<'static>,
    /// `None` as long as the future had no need to wait.
    waiter: Option<WaiterKey>,
}

impl<'a, T: ?Sized> Lock<'a, T> {
    pub(super) fn new(mutex: &'a Mutex<T>, called_at: &'static Location<'static>) -> Self {
        Self { mutex: Some(mutex), called_at, waiter: None }
    }
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(mutex) = this.mutex else { polled_after_completion("`Lock`", this.called_at) };
        if this.waiter.is_none() {
            // Only here: a waiter takes the lock that it was woken for, whatever the budget.
            // fault: lock-spends-no-budget
            ready!(matou_hooks::poll_budget(cx));
        }
        let poll = mutex.poll_lock(&mut this.waiter, this.called_at, cx);
        if poll.is_ready() {
            this.mutex = None;
        }
        poll
    }
}

impl<T: ?Sized> Drop for Lock<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mutex) = self.mutex {
            mutex.cancel_lock(self.waiter);
        }
    }
}

/// Locking, for all futures that do so.
impl<T: ?Sized> Mutex<T> {
    /// Locks, or waits for that as `waiter`, which is `None` until the task has to wait and after
    /// the result.
    #[inline]
    pub(crate) fn poll_lock(
        &self,
        waiter: &mut Option<WaiterKey>,
        called_at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> Poll<MutexGuard<'_, T>> {
        if waiter.is_none() && self.raw.try_lock() {
            return Poll::Ready(self.acquired(Holder::new(matou_hooks::current_task(), called_at)));
        }
        self.poll_contended(waiter, called_at, cx)
    }

    #[cold]
    fn poll_contended(
        &self,
        waiter: &mut Option<WaiterKey>,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> Poll<MutexGuard<'_, T>> {
        let task = matou_hooks::current_task();
        let poll = match *waiter {
            Some(key) => self.raw.poll_waiter(key, task, cx),
            None => {
                *waiter = self.raw.enqueue(Request { task, at, data: 0 }, cx);
                if waiter.is_some() { Poll::Pending } else { Poll::Ready(()) }
            }
        };
        if poll.is_pending() {
            self.report_wait(Wait::new("lock", at), cx);
            return Poll::Pending;
        }
        *waiter = None;
        Poll::Ready(self.acquired(Holder::new(task, at)))
    }

    /// Gives up waiting.
    #[inline]
    pub(crate) fn cancel_lock(&self, waiter: Option<WaiterKey>) {
        if let Some(waiter) = waiter {
            self.raw.cancel_wait(waiter);
        }
    }
}

impl<T: ?Sized> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("called_at", &self.called_at.to_string())
            .field("waiting", &self.waiter.is_some())
            .finish_non_exhaustive()
    }
}
