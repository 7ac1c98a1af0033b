use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::hooks;
use crate::line::Line;
use crate::mutex::{Lock, Mutex, MutexGuard};
use crate::sys::{self, Sabotage};
use crate::waiters::{Call, Key};

/// A place where tasks wait, with a [`Mutex`] unlocked meanwhile, until another task signals.
///
/// # Order and guarantees
///
/// Waiters stand in a line from their first poll on, and [`signal`](Self::signal) calls the one
/// that came first. A waiter is in the line before the mutex is unlocked, so that no change made
/// under the lock can come between the look at the data and the wait.
///
/// Each signal ends exactly one wait, if there is one: a waiter that was signalled and is dropped
/// before its future resolves passes the signal on to the next. A
/// [`broadcast`](Self::broadcast) ends the waits that are in the line at that moment and no later
/// one. No wait ends without either; but since a newcomer may lock the mutex before the woken one,
/// what was true at the signal may have changed again: use [`wait_while`](Self::wait_while).
///
/// Signals that find nobody are not kept.
///
/// # One condition, one mutex
///
/// All who wait at a time wait with the same mutex. A wait with another one panics, as it would
/// break the promise above for whichever of the two data is changed.
///
/// # Examples
///
/// ```
/// use futures::{executor::block_on, join};
/// use matou_sync::{Condition, Mutex};
///
/// static READY: Mutex<bool> = Mutex::new(false);
/// static CHANGED: Condition = Condition::new();
///
/// block_on(async {
///     let wait = async {
///         let guard = CHANGED.wait_while(READY.lock().await, |ready| !*ready).await;
///         assert!(*guard);
///     };
///     let set = async {
///         *READY.lock().await = true;
///         CHANGED.signal();
///     };
///     join!(wait, set);
/// });
/// ```
pub struct Condition {
    line: Line,
}

impl Condition {
    sys::const_constructor! {
        /// Creates a condition that nobody waits for.
        ///
        /// # Examples
        ///
        /// ```
        /// static CHANGED: matou_sync::Condition = matou_sync::Condition::new();
        /// assert_eq!(CHANGED.waiters(), 0);
        /// ```
        pub fn new() -> Self {
            Self { line: Line::new() }
        }
    }

    /// Unlocks the mutex, waits for a signal or a broadcast, and locks again.
    ///
    /// The guard is kept until the first poll.
    ///
    /// # Panics
    ///
    /// The future panics, and the guard is released, if others wait here with another mutex; when
    /// it is polled again after it has resolved; and as [`Mutex::lock`] does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the mutex unlocked, at whatever point that happens. A signal that
    /// had reached it goes to the next waiter.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{executor::block_on, join};
    /// use matou_sync::{Condition, Mutex};
    ///
    /// let (mutex, changed) = (Mutex::new(1), Condition::new());
    /// block_on(async {
    ///     let guard = mutex.lock().await;
    ///     let (guard, ()) = join!(changed.wait(guard), async {
    ///         *mutex.lock().await = 2;
    ///         changed.signal();
    ///     });
    ///     assert_eq!(*guard, 2);
    /// });
    /// ```
    #[track_caller]
    pub fn wait<'c, 'm, T: ?Sized>(&'c self, guard: MutexGuard<'m, T>) -> Wait<'c, 'm, T> {
        Wait { condition: self, called_at: Location::caller(), stage: Stage::Holding(guard) }
    }

    /// Waits as long as `condition` holds, which is asked with the mutex locked, first and after
    /// each call.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait). A panic of `condition` releases the guard.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{executor::block_on, join};
    /// use matou_sync::{Condition, Mutex};
    ///
    /// let (jobs, changed) = (Mutex::new(Vec::new()), Condition::new());
    /// block_on(async {
    ///     let take = async {
    ///         changed.wait_while(jobs.lock().await, |jobs| jobs.is_empty()).await.pop()
    ///     };
    ///     let give = async {
    ///         jobs.lock().await.push("job");
    ///         changed.signal();
    ///     };
    ///     assert_eq!(join!(take, give).0, Some("job"));
    /// });
    /// ```
    #[track_caller]
    pub fn wait_while<'c, 'm, T: ?Sized, F: FnMut(&mut T) -> bool>(
        &'c self,
        guard: MutexGuard<'m, T>,
        condition: F,
    ) -> WaitWhile<'c, 'm, T, F> {
        WaitWhile { wait: self.wait(guard), condition }
    }

    /// Calls the waiter that came first, and returns whether there was one.
    ///
    /// It may be called with or without the mutex locked.
    ///
    /// # Panics
    ///
    /// As the waker of the called task does; the waiter counts as called.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!matou_sync::Condition::new().signal());
    /// ```
    pub fn signal(&self) -> bool {
        wake_one(self.line.call_first())
    }

    /// Calls all waiters, and returns how many there were.
    ///
    /// # Panics
    ///
    /// As the first waker that does, after the others have been woken.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Condition::new().broadcast(), 0);
    /// ```
    pub fn broadcast(&self) -> usize {
        let wakers = self.line.call_all();
        let called = wakers.len();
        wake_all(wakers);
        called
    }

    /// Returns how many wait and were not signalled. One that was called with all the others
    /// counts until it is polled. A snapshot.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::FutureExt;
    /// use matou_sync::{Condition, Mutex};
    ///
    /// let (mutex, changed) = (Mutex::new(()), Condition::new());
    /// let mut wait = changed.wait(mutex.try_lock().unwrap());
    /// assert!((&mut wait).now_or_never().is_none());
    /// assert_eq!(changed.waiters(), 1);
    /// ```
    pub fn waiters(&self) -> usize {
        self.line.len()
    }

    /// Passes on what a waiter had got that ends before its future resolves: not to one who came
    /// since with another mutex, and waits for something else.
    fn pass_on(&self, call: Call, mutex_address: usize) {
        let is_due = match call {
            Call::Signal => !sys::sabotaged(Sabotage::WaitKeepsItsSignal),
            Call::Broadcast => sys::sabotaged(Sabotage::BroadcastIsPassedOn),
        };
        if is_due {
            wake_one(self.line.call_first_with(mutex_address));
        }
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("waiters", &self.waiters()).finish()
    }
}

/// Wakes who was called, if anybody was, and returns whether.
fn wake_one(waker: Option<Waker>) -> bool {
    // Not under the lock of the line: a waker is foreign code and may well come back here.
    let called = waker.is_some();
    waker.into_iter().for_each(Waker::wake);
    called
}

/// Where a mutex is.
fn address<T: ?Sized>(mutex: &Mutex<T>) -> usize {
    (&raw const *mutex).cast::<()>().addr()
}

/// Wakes all, also if one of them panics; then the first panic goes on.
fn wake_all(wakers: Vec<Waker>) {
    let mut first_panic = None;
    for waker in wakers {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            first_panic.get_or_insert(panic);
        }
    }
    if let Some(panic) = first_panic {
        resume_unwind(panic);
    }
}

/// The future of [`Condition::wait`].
///
/// # Cancel safety
///
/// Dropping it leaves the mutex unlocked; a signal that had reached it goes to the next waiter.
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
    called_at: &'static Location<'static>,
    stage: Stage<'m, T>,
}

enum Stage<'m, T: ?Sized> {
    /// Not polled yet.
    Holding(MutexGuard<'m, T>),
    /// In the line, or called and not polled since. The key must go back to the line.
    Waiting { mutex: &'m Mutex<T>, key: Key },
    /// Called. The call counts as delivered only when the lock is had.
    Locking { mutex: &'m Mutex<T>, lock: Lock<'m, T>, call: Call },
    /// Resolved, or ended by a panic.
    Over,
}

impl<'m, T: ?Sized> Wait<'_, 'm, T> {
    /// Goes into the line, and unlocks the mutex.
    fn start(&mut self, guard: MutexGuard<'m, T>, cx: &Context<'_>) {
        let mutex = MutexGuard::mutex(&guard);
        let guard = if sys::sabotaged(Sabotage::UnlockBeforeEnqueue) {
            drop(guard);
            None
        } else {
            Some(guard)
        };
        let key = self.condition.line.push(address(mutex), cx);
        let key = key.expect("a `Condition` was used with two mutexes at the same time");
        self.stage = Stage::Waiting { mutex, key };
        // Unlock last: from here on others can make true what this one waits for.
        drop(guard);
    }
}

impl<'m, T: ?Sized> Future for Wait<'_, 'm, T> {
    type Output = MutexGuard<'m, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if matches!(this.stage, Stage::Holding(_))
            && let Stage::Holding(guard) = std::mem::replace(&mut this.stage, Stage::Over)
        {
            this.start(guard, cx);
            hooks::on_wait(None, "condition", this.called_at);
            return Poll::Pending;
        }
        if let Stage::Waiting { mutex, key } = this.stage {
            let Poll::Ready(call) = this.condition.line.poll_call(key, cx) else {
                hooks::on_wait(None, "condition", this.called_at);
                return Poll::Pending;
            };
            this.stage = Stage::Locking { mutex, lock: mutex.lock_at(this.called_at), call };
        }
        let Stage::Locking { lock, .. } = &mut this.stage else {
            panic!("a `Wait` was polled after it had resolved");
        };
        let poll = Pin::new(lock).poll(cx);
        if poll.is_ready() {
            this.stage = Stage::Over;
        }
        poll
    }
}

impl<T: ?Sized> Drop for Wait<'_, '_, T> {
    fn drop(&mut self) {
        let (mutex, call) = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Holding(_) | Stage::Over => return,
            Stage::Waiting { mutex, key } => (mutex, self.condition.line.remove(key)),
            Stage::Locking { mutex, call, .. } => (mutex, Some(call)),
        };
        if let Some(call) = call {
            self.condition.pass_on(call, address(mutex));
        }
    }
}

impl<T: ?Sized> fmt::Debug for Wait<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Holding(_) => "holding",
            Stage::Waiting { .. } => "waiting",
            Stage::Locking { .. } => "locking",
            Stage::Over => "over",
        };
        f.debug_struct("Wait")
            .field("called_at", &self.called_at.to_string())
            .field("stage", &stage)
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
    /// Holds the guard whenever the condition is to be asked.
    wait: Wait<'c, 'm, T>,
    condition: F,
}

// The condition is never pinned, only called.
impl<T: ?Sized, F> Unpin for WaitWhile<'_, '_, T, F> {}

impl<'m, T: ?Sized, F: FnMut(&mut T) -> bool> Future for WaitWhile<'_, 'm, T, F> {
    type Output = MutexGuard<'m, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Stage::Holding(guard) = &mut this.wait.stage
                && !(this.condition)(guard)
                && let Stage::Holding(guard) = std::mem::replace(&mut this.wait.stage, Stage::Over)
            {
                return Poll::Ready(guard);
            }
            let Poll::Ready(guard) = Pin::new(&mut this.wait).poll(cx) else {
                return Poll::Pending;
            };
            this.wait.stage = Stage::Holding(guard);
        }
    }
}

impl<T: ?Sized, F> fmt::Debug for WaitWhile<'_, '_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitWhile").field("wait", &self.wait).finish_non_exhaustive()
    }
}
