use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::raw::{RawMutex, Waiter};
use super::{Mutex, MutexGuard};
use crate::{hooks, self_deadlock};

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
    waiter: Option<Waiter>,
    /// A possible self-deadlock was reported already.
    reported: bool,
}

impl<'a, T: ?Sized> Lock<'a, T> {
    pub(super) fn new(mutex: &'a Mutex<T>, called_at: &'static Location<'static>) -> Self {
        Self { mutex: Some(mutex), called_at, waiter: None, reported: false }
    }

    /// Reports, once, if the holder was polled with the same waker as this future.
    fn check_self_deadlock(&mut self, raw: &RawMutex, cx: &Context<'_>) {
        if self.reported {
            return;
        }
        if let Some(found) = raw.holder().check(cx.waker(), self.called_at) {
            // Before the call, since the hook may panic.
            self.reported = true;
            self_deadlock::report(&found);
        }
    }
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mutex = this.mutex.expect("`Lock` polled after completion");
        // A future that waits does not try to overtake the others.
        if this.waiter.is_some() || !mutex.raw.try_lock() {
            let waiter = this.waiter.get_or_insert_with(|| mutex.raw.enqueue());
            if mutex.raw.poll_waiter(waiter, cx).is_pending() {
                this.check_self_deadlock(&mutex.raw, cx);
                hooks::on_wait(Some(mutex.address()), "lock", this.called_at);
                return Poll::Pending;
            }
            this.waiter = None;
        }
        this.mutex = None;
        mutex.raw.holder().set(Some(cx.waker()), this.called_at);
        hooks::on_acquire(mutex.address(), this.called_at);
        Poll::Ready(MutexGuard::new(mutex))
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
