use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::{Holder, TaskKey, Wait};

use super::{Mutex, MutexGuard};
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

    /// Completes the future with the mutex that it has just locked.
    #[inline]
    fn complete(&mut self, mutex: &'a Mutex<T>, task: Option<TaskKey>) -> MutexGuard<'a, T> {
        self.mutex = None;
        mutex.acquired(Holder::new(task, self.called_at))
    }
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mutex = this.mutex.expect("`Lock` polled after completion");
        let (task, poll) = match this.waiter {
            None => {
                // Only here: a waiter takes the lock that it was woken for, whatever the budget.
                // fault: lock-spends-no-budget
                let task = ready!(matou_hooks::begin_operation(cx));
                if mutex.raw.try_lock() {
                    return Poll::Ready(this.complete(mutex, task));
                }
                this.waiter = mutex.raw.enqueue(Request { task, at: this.called_at, data: 0 }, cx);
                (task, if this.waiter.is_some() { Poll::Pending } else { Poll::Ready(()) })
            }
            Some(waiter) => {
                let task = matou_hooks::current_task();
                (task, mutex.raw.poll_waiter(waiter, task, cx))
            }
        };
        if poll.is_pending() {
            mutex.report_wait(Wait::new("lock", this.called_at), cx);
            return Poll::Pending;
        }
        this.waiter = None;
        Poll::Ready(this.complete(mutex, task))
    }
}

impl<T: ?Sized> Drop for Lock<'_, T> {
    fn drop(&mut self) {
        if let (Some(mutex), Some(waiter)) = (self.mutex, self.waiter.take()) {
            mutex.raw.cancel_wait(waiter);
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
