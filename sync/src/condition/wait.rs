use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use matou_hooks::{Target, Wait as WaitReport};

use super::Condition;
use crate::error::polled_after_completion;
use crate::mutex::{Lock, Mutex, MutexGuard};
use crate::waiting::{Request, Turn, WaiterKey};

/// The future of [`Condition::wait`].
///
/// # Cancel safety
///
/// Dropping it leaves the mutex unlocked. If it was signalled, the signal is passed on to the next
/// waiter.
///
/// # Examples
///
/// ```
/// use matou_sync::{Condition, Mutex, futures::Wait};
///
/// let (mutex, changed) = (Mutex::new(()), Condition::new());
/// let wait: Wait<'_, '_, ()> = changed.wait(mutex.try_lock().unwrap());
/// drop(wait);
/// assert!(mutex.try_lock().is_some());
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Wait<'c, 'm, T: ?Sized> {
    condition: &'c Condition,
    mutex: &'m Mutex<T>,
    called_at: &'static Location<'static>,
    /// Until the first poll.
    guard: Option<MutexGuard<'m, T>>,
    state: State,
}

/// Beside the guard, so that a change of the state drops nothing.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Not polled yet, completed, or ended by a panic.
    Idle,
    /// Waiting, or woken and not polled since.
    Waiting { key: WaiterKey },
    /// Woken. The wake-up is used only when the mutex is locked again.
    Locking { waiter: Option<WaiterKey>, woken_by: Turn },
}

impl<'c, 'm, T: ?Sized> Wait<'c, 'm, T> {
    pub(super) fn new(
        condition: &'c Condition,
        guard: MutexGuard<'m, T>,
        called_at: &'static Location<'static>,
    ) -> Self {
        let mutex = MutexGuard::mutex(&guard);
        Self { condition, mutex, called_at, guard: Some(guard), state: State::Idle }
    }

    /// Registers the waiter, then unlocks the mutex.
    fn start(&mut self, guard: MutexGuard<'m, T>, cx: &Context<'_>) {
        // fault: condition-unlocks-before-enqueue
        let task = matou_hooks::current_task();
        let request = Request { task, at: self.called_at, data: self.mutex.address() };
        let key = self.condition.enqueue(request, cx);
        let key = key.expect("a `Condition` was used with two mutexes at the same time");
        self.state = State::Waiting { key };
        // Unlock last: from here on, other tasks can change the data and signal.
        drop(guard);
    }

    /// Waits for a signal or a broadcast.
    fn poll_wake_up(&mut self, key: WaiterKey, cx: &Context<'_>) -> Poll<Turn> {
        // Only a signal or a broadcast ends the wait.
        let woken = |turn| matches!(turn, Turn::Offered | Turn::Released).then_some(turn);
        self.condition.waiters.poll(key, matou_hooks::current_task(), cx, woken)
    }

    /// Returns whether the wait was ended and only the lock is missing.
    pub(super) fn was_woken(&self) -> bool {
        matches!(self.state, State::Locking { .. })
    }

    /// Ends a wait that has begun, and locks the mutex. A signal that it was offered is passed on.
    pub(super) fn give_up(&mut self) -> Option<Lock<'m, T>> {
        let State::Waiting { key } = self.state else { return None };
        self.state = State::Idle;
        // fault: expired-wait-keeps-signal
        self.condition.waiters.remove(key);
        Some(self.mutex.lock_at(self.called_at))
    }

    /// Makes a future that has completed wait again from its next poll on.
    pub(super) fn restart(&mut self, guard: MutexGuard<'m, T>) {
        self.guard = Some(guard);
    }

    /// Takes the guard, if the future holds it.
    pub(super) fn take_guard(&mut self) -> Option<MutexGuard<'m, T>> {
        self.guard.take()
    }

    /// Reports that the current task waits for a signal.
    fn report_wait(&self, cx: &Context<'_>) {
        let target = Target::new("condition", (&raw const *self.condition).addr());
        matou_hooks::on_wait(&WaitReport::new("condition", self.called_at).on(target), cx);
    }
}

impl<'m, T: ?Sized> Future for Wait<'_, 'm, T> {
    type Output = MutexGuard<'m, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(guard) = this.guard.take() {
            this.start(guard, cx);
            this.report_wait(cx);
            return Poll::Pending;
        }
        if let State::Waiting { key } = this.state {
            let Poll::Ready(woken_by) = this.poll_wake_up(key, cx) else {
                this.report_wait(cx);
                return Poll::Pending;
            };
            this.state = State::Locking { waiter: None, woken_by };
        }
        let State::Locking { waiter, .. } = &mut this.state else {
            polled_after_completion("`Wait`", this.called_at);
        };
        // Without budget: a wait has suspended its task.
        let poll = this.mutex.poll_lock(waiter, this.called_at, cx);
        if poll.is_ready() {
            this.state = State::Idle;
        }
        poll
    }
}

impl<T: ?Sized> Drop for Wait<'_, '_, T> {
    fn drop(&mut self) {
        match mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            // The list passes a signal on, but no broadcast.
            State::Waiting { key } => self.condition.waiters.remove(key),
            State::Locking { waiter, woken_by } => {
                // First the place among the waiters of the mutex.
                self.mutex.cancel_lock(waiter);
                // Not after a broadcast, which must not wake later waiters.
                // fault: condition-hands-broadcast-over
                if woken_by == Turn::Offered {
                    // fault: condition-keeps-signal
                    self.condition.waiters.pass_on(self.mutex.address());
                }
            }
        }
    }
}

impl<T: ?Sized> fmt::Debug for Wait<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle if self.guard.is_some() => "holding",
            State::Idle => "done",
            State::Waiting { .. } => "waiting",
            State::Locking { .. } => "locking",
        };
        f.debug_struct("Wait")
            .field("called_at", &self.called_at.to_string())
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// The future of [`Condition::wait_while`].
///
/// # Cancel safety
///
/// As that of [`Wait`].
///
/// # Examples
///
/// ```
/// use matou_sync::{Condition, Mutex, futures::WaitWhile};
///
/// fn is_empty(names: &mut Vec<&str>) -> bool {
///     names.is_empty()
/// }
///
/// let (mutex, changed) = (Mutex::new(vec!["matou"]), Condition::new());
/// let wait: WaitWhile<'_, '_, Vec<&str>, fn(&mut Vec<&str>) -> bool> =
///     changed.wait_while(mutex.try_lock().unwrap(), is_empty);
/// assert_eq!(futures::executor::block_on(wait).len(), 1);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct WaitWhile<'c, 'm, T: ?Sized, F> {
    /// Holds the guard whenever the condition has to be checked.
    wait: Wait<'c, 'm, T>,
    condition: F,
}

impl<'c, 'm, T: ?Sized, F> WaitWhile<'c, 'm, T, F> {
    pub(super) fn new(wait: Wait<'c, 'm, T>, condition: F) -> Self {
        Self { wait, condition }
    }
}

// `condition` is never pinned, only called.
impl<T: ?Sized, F> Unpin for WaitWhile<'_, '_, T, F> {}

impl<'m, T: ?Sized, F: FnMut(&mut T) -> bool> Future for WaitWhile<'_, 'm, T, F> {
    type Output = MutexGuard<'m, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            // Taken out of the future, so that a panic of the condition unlocks at once.
            // fault: condition-panics-locked
            if let Some(mut guard) = this.wait.guard.take() {
                if !(this.condition)(&mut guard) {
                    return Poll::Ready(guard);
                }
                this.wait.guard = Some(guard);
            }
            // Starts the wait, if the guard is still held, or continues it.
            let Poll::Ready(guard) = Pin::new(&mut this.wait).poll(cx) else {
                return Poll::Pending;
            };
            this.wait.guard = Some(guard);
        }
    }
}

impl<T: ?Sized, F> fmt::Debug for WaitWhile<'_, '_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitWhile").field("wait", &self.wait).finish_non_exhaustive()
    }
}
