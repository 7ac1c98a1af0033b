mod until;
mod wait;

use std::fmt;
use std::panic::Location;
use std::task::Context;

pub use self::wait::{Wait, WaitWhile};
use crate::mutex::MutexGuard;
use crate::primitives::const_fn;
use crate::waiting::{Kind, Request, WaitList, WaiterKey};

/// A condition variable: tasks wait, with a [`Mutex`](crate::Mutex) unlocked during the wait, until
/// another task signals.
///
/// # Order and guarantees
///
/// A task waits from the first poll of its future on, and [`signal`](Self::signal) wakes the task
/// that has waited longest. A task is registered before its mutex is unlocked, so no change that is
/// made under the lock can be missed between the check of the data and the wait.
///
/// Each signal ends exactly one wait, if there is one: a waiter that was signalled and is dropped
/// before its future completes passes the signal on to the next one. A
/// [`broadcast`](Self::broadcast) ends all waits that have begun, and no later one. There are no
/// spurious wake-ups. But a newcomer may lock the mutex before the task that was woken, so a
/// condition that was true at the time of the signal may have changed again: use
/// [`wait_while`](Self::wait_while).
///
/// A signal without waiters has no effect; it is not stored.
///
/// Under `matou-runtime`, a signal for a wait that is kept without being polled goes to the next
/// waiter after one poll of the task; see [`Mutex`](crate::Mutex#futures-that-are-kept). If no
/// other task waits, it stays with that wait. (A wait that was polled since has its signal, also
/// while it locks the mutex again.)
///
/// # One condition, one mutex
///
/// All simultaneous waits must use the same mutex. A wait with another one panics, since a change
/// made under one mutex could be missed by tasks that wait with the other.
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
#[doc(alias = "Condvar")]
pub struct Condition {
    /// Each waiter's data is the address of its mutex.
    waiters: WaitList,
}

impl Condition {
    const_fn! {
        /// Creates a condition without waiters.
        ///
        /// # Examples
        ///
        /// ```
        /// static CHANGED: matou_sync::Condition = matou_sync::Condition::new();
        /// assert_eq!(CHANGED.waiters(), 0);
        /// ```
        pub fn new() -> Self {
            Self { waiters: WaitList::new(Kind::Signal) }
        }
    }

    /// Unlocks the mutex, waits for a signal or a broadcast, and locks the mutex again.
    ///
    /// The mutex stays locked until the first poll.
    ///
    /// # Panics
    ///
    /// The future panics, and unlocks the mutex, if other tasks wait with another mutex. It also
    /// panics if it is polled after completion, and as [`Mutex::lock`](crate::Mutex::lock) does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, at any point, leaves the mutex unlocked. If it was signalled, the
    /// signal is passed on to the next waiter.
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
        Wait::new(self, guard, Location::caller())
    }

    /// Waits as long as `condition` returns `true`. It is called with the mutex locked, before the
    /// first wait and after each wake-up.
    ///
    /// # Panics
    ///
    /// The future panics as that of [`wait`](Self::wait) does. If `condition` panics, the mutex is
    /// unlocked.
    ///
    /// # Cancel safety
    ///
    /// As for [`wait`](Self::wait).
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
        WaitWhile::new(self.wait(guard), condition)
    }

    /// Wakes the task that has waited longest. Returns `false` if no task waits.
    ///
    /// The mutex may be locked or unlocked.
    ///
    /// # Panics
    ///
    /// Panics if the waker of the task does. The signal has then been delivered nevertheless.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!matou_sync::Condition::new().signal());
    /// ```
    #[doc(alias = "notify_one")]
    pub fn signal(&self) -> bool {
        self.waiters.offer()
    }

    /// Wakes all tasks that wait, and returns their number.
    ///
    /// # Panics
    ///
    /// Panics if a waker does, after all others have been called.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Condition::new().broadcast(), 0);
    /// ```
    #[doc(alias = "notify_all")]
    #[doc(alias = "notify_waiters")]
    pub fn broadcast(&self) -> usize {
        self.waiters.release_all()
    }

    /// Returns the number of waiters that have not been signalled. A waiter that was woken by a
    /// broadcast counts until it is polled. A snapshot for reports.
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
        self.waiters.len()
    }

    /// Registers a waiter, or returns `None` if other tasks wait with another mutex.
    fn enqueue(&self, request: Request, cx: &Context<'_>) -> Option<WaiterKey> {
        // All waiters use the same mutex, so it is sufficient to check the first one.
        let refuse = |first: Option<usize>, _| {
            first.is_some_and(|first_address| first_address != request.data).then_some(())
        };
        self.waiters.enqueue(cx, request, refuse).ok()
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
