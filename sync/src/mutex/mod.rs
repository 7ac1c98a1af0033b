mod guard;
mod lock;
mod owned;
mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::task::Context;

use matou_hooks::{Holder, Target, Wait};

pub use self::guard::MutexGuard;
pub use self::lock::Lock;
pub use self::owned::{LockArc, OwnedMutexGuard};
use self::raw::RawMutex;
use crate::primitives::const_fn;

/// A mutex whose guard may be held across an `.await`.
///
/// Consider [`std::sync::Mutex`] if you hold no guard across an `.await`: it is smaller and faster.
///
/// # Fairness
///
/// Waiters are notified in the order in which they began to wait. A newcomer that finds the mutex
/// unlocked takes it ahead of them, which keeps a busy mutex fast, and the waiter that was notified
/// keeps its place. This is bounded: a waiter that has been overtaken five times is *starved* and
/// holds newcomers back until it has locked. (async-lock has the same rule with a time instead of a
/// number. Here no clock is involved.)
///
/// # Futures that are kept
///
/// A task may keep a [`Lock`] that has been polled, in a `select!` for example, and wait for
/// something else. If the lock is then offered to this future, it is not taken ("futurelock").
/// Under `matou-runtime` the offer goes to the next waiter after one poll of the task, newcomers
/// are not held back any longer, and the runtime reports the line. The future keeps its place for
/// when it is polled again. The same holds for a cancelled task that waits for its children.
///
/// Under other runtimes the waiters behind such a future wait until it is polled or dropped, except
/// that one which is polled for another reason locks an unlocked mutex; newcomers still get the
/// lock, unless the kept future is starved. You can recognise it by a [`holder`](Self::holder) of
/// `None` together with [`waiters`](Self::waiters) that stay.
///
/// # Panics while locked
///
/// There is no poisoning: a guard that is dropped by a panic unlocks, and the next holder finds the
/// data as they were left.
///
/// # Self-deadlock
///
/// A task that locks a mutex twice waits forever, since only the task itself could unlock it.
/// `matou-runtime` reports such a wait with both lines, because the mutex names the task that holds
/// it; other runtimes can do the same, see [`matou_hooks`].
///
/// # Examples
///
/// ```
/// use futures::executor::block_on;
/// use matou_sync::Mutex;
///
/// static TOTAL: Mutex<u32> = Mutex::new(40);
///
/// block_on(async {
///     *TOTAL.lock().await += 2;
///     assert_eq!(*TOTAL.lock().await, 42);
/// });
/// ```
///
/// A `Mutex` of a type that is not `Send` is not `Sync`:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// shared(matou_sync::Mutex::new(std::rc::Rc::new(0)));
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    data: UnsafeCell<T>,
}

// SAFETY: a shared mutex gives access to its data only through a guard, and `RawMutex` admits one
// holder at a time, so the data are never accessed by two threads at once. Its release on unlocking
// and acquire on locking order the accesses of successive holders. Moving the access from thread to
// thread is sending the data, hence `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// Creates an unlocked mutex. It does not allocate until a task has to wait.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAMES: matou_sync::Mutex<Vec<String>> = matou_sync::Mutex::new(Vec::new());
        /// assert!(NAMES.try_lock().unwrap().is_empty());
        /// ```
        pub fn new(data: T) -> Self {
            Self { raw: RawMutex::new(), data: UnsafeCell::new(data) }
        }
    }

    /// Consumes the mutex and returns its data.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Mutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks the mutex, waiting until it is available.
    ///
    /// # Panics
    ///
    /// The future panics if 2^32 - 1 tasks wait already, or if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing but its place among the waiters. If it was notified, the
    /// next waiter is notified.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let mutex = matou_sync::Mutex::new(1);
    /// let mut guard = mutex.lock().await;
    /// *guard += 1;
    /// assert_eq!(*guard, 2);
    /// # });
    /// ```
    #[track_caller]
    pub fn lock(&self) -> Lock<'_, T> {
        self.lock_at(Location::caller())
    }

    /// Locks on behalf of the call at `called_at`.
    pub(crate) fn lock_at(&self, called_at: &'static Location<'static>) -> Lock<'_, T> {
        Lock::new(self, called_at)
    }

    /// Locks the mutex if it is available at once, otherwise returns `None`.
    ///
    /// It is not available either while it is unlocked but a starved waiter has not locked it yet.
    ///
    /// # Examples
    ///
    /// ```
    /// let mutex = matou_sync::Mutex::new(1);
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_none());
    /// drop(guard);
    /// assert!(mutex.try_lock().is_some());
    /// ```
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let called_at = Location::caller();
        let locked = self.raw.try_lock();
        locked.then(|| self.acquired(Holder::new(matou_hooks::current_task(), called_at)))
    }

    /// Locks the mutex, blocking the current thread until it is available. Do not call it in a
    /// task: it blocks the executor.
    ///
    /// # Panics
    ///
    /// Panics if too many tasks wait already, as [`lock`](Self::lock) does.
    ///
    /// # Examples
    ///
    /// ```
    /// let mutex = matou_sync::Mutex::new(0);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..4 {
    ///         scope.spawn(|| *mutex.lock_blocking() += 1);
    ///     }
    /// });
    /// assert_eq!(mutex.into_inner(), 4);
    /// ```
    #[cfg(not(any(loom, shuttle)))]
    #[doc(alias = "blocking_lock")]
    #[track_caller]
    pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
        crate::block_on::block_on(self.lock())
    }

    /// Returns a mutable reference to the data. The exclusive borrow makes locking unnecessary.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut mutex = matou_sync::Mutex::new(1);
    /// *mutex.get_mut() = 2;
    /// assert_eq!(mutex.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// Returns the location of the call that locked the mutex, or `None` if it is unlocked.
    ///
    /// A snapshot for reports: another thread may lock or unlock at any moment.
    ///
    /// # Examples
    ///
    /// ```
    /// let mutex = matou_sync::Mutex::new(());
    /// assert!(mutex.holder().is_none());
    /// let _guard = mutex.try_lock();
    /// assert_eq!(mutex.holder().unwrap().line(), line!() - 1);
    /// ```
    pub fn holder(&self) -> Option<&'static Location<'static>> {
        if self.raw.is_locked() { self.raw.holder().location() } else { None }
    }

    /// Returns the number of waiters. A snapshot for reports.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::FutureExt;
    ///
    /// let mutex = matou_sync::Mutex::new(());
    /// let _guard = mutex.try_lock();
    /// let mut second = mutex.lock();
    /// assert!((&mut second).now_or_never().is_none());
    /// assert_eq!(mutex.waiters(), 1);
    /// drop(second);
    /// assert_eq!(mutex.waiters(), 0);
    /// ```
    pub fn waiters(&self) -> usize {
        self.raw.waiters()
    }

    /// The address of the mutex, which identifies it for the host and for conditions.
    pub(crate) fn address(&self) -> usize {
        (&raw const *self).cast::<()>().addr()
    }

    fn target(&self) -> Target {
        Target::new("lock", self.address())
    }

    /// Records the holder of the mutex, which the caller has just locked, and returns its guard.
    #[inline]
    fn acquired(&self, holder: Holder) -> MutexGuard<'_, T> {
        // The guard first: it unlocks in any case.
        let guard = MutexGuard::new(self);
        self.raw.holder().set(holder);
        // Without a waiter no report is needed: the next one names the holder that it finds.
        if self.raw.has_waiters() {
            matou_hooks::on_acquire(self.target(), holder);
        }
        guard
    }

    /// Reports the release of the mutex, which is about to be unlocked.
    #[inline]
    fn report_release(&self) {
        if self.raw.has_waiters() {
            matou_hooks::on_release(self.target());
        }
    }

    /// Reports that the current task waits for the mutex.
    fn report_wait(&self, wait: Wait, cx: &Context<'_>) {
        let wait = wait.on(self.target());
        let wait = self.raw.holder().get().map_or(wait, |holder| wait.held_by(holder));
        matou_hooks::on_wait(&wait, cx);
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(data: T) -> Self {
        Self::new(data)
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    /// Shows the holder and the number of waiters. Does not show the data, which would need a lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("holder", &self.holder().map(ToString::to_string))
            .field("raw", &self.raw)
            .finish_non_exhaustive()
    }
}
