use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::raw::{Queued, RawLock};
use crate::{hooks, self_deadlock, sys};

/// A lock whose guard may be held across an `.await`.
///
/// Consider [`std::sync::Mutex`] if you hold no guard across an `.await`: it is smaller and faster.
///
/// # Fairness
///
/// Those who wait stand in a line and are called in the order in which they came. A newcomer that
/// finds the lock free takes it ahead of them, which keeps a busy lock fast, and sends the one that
/// was called back to the end. This is bounded: a lock that was overtaken five times bars newcomers
/// until it got its turn, so that from then on it waits for those in the line before it only. The
/// rule is that of async-lock, which has a time instead of a number; here no clock decides
/// anything.
///
/// A future that was called must be polled or dropped. One that is kept and never polled again
/// ("futurelock") keeps the others of the line waiting; newcomers still get through, unless it is
/// starved. It shows as a [`holder`](Self::holder) of `None` beside [`waiters`](Self::waiters) that
/// stay. Do not keep a half-polled [`Lock`] while the same task locks elsewhere.
///
/// # Panics while locked
///
/// There is no poisoning: a guard that is dropped by a panic unlocks, and the next one finds the
/// data as it was left. Keep invariants by what a half-done change leaves behind, or wrap the data.
///
/// # A task that waits for itself
///
/// A task that locks a mutex twice waits for ever, since only the task itself could unlock it. Such
/// a wait is reported to the hook of [`set_self_deadlock_hook`](crate::set_self_deadlock_hook).
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
/// A `Mutex` of something that is not `Send` is not `Sync`:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// shared(matou_sync::Mutex::new(std::rc::Rc::new(0)));
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawLock,
    data: UnsafeCell<T>,
}

// SAFETY: a shared mutex hands out the data to one thread at a time, as `RawLock` admits one
// holder, and its acquire and release order what they do. So sharing it is sending the data back
// and forth.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    sys::const_constructor! {
        /// Creates an unlocked mutex. It allocates nothing, also later, until somebody has to wait.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAMES: matou_sync::Mutex<Vec<String>> = matou_sync::Mutex::new(Vec::new());
        /// assert!(NAMES.try_lock().unwrap().is_empty());
        /// ```
        pub fn new(data: T) -> Self {
            Self { raw: RawLock::new(), data: UnsafeCell::new(data) }
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
    /// Locks the mutex, waiting as long as somebody else holds it.
    ///
    /// # Panics
    ///
    /// The future panics when 2^31 - 1 others wait already (2^15 - 1 on a 32-bit target), and when
    /// it is polled again after it has resolved.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing but the place in the line; a wake-up that had reached it
    /// goes to the next one.
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

    /// What an observer knows the mutex by.
    fn name(&self) -> usize {
        (&raw const *self).cast::<()>().addr()
    }

    /// Locks on behalf of a call at `wanted_at`.
    pub(crate) fn lock_at(&self, wanted_at: &'static Location<'static>) -> Lock<'_, T> {
        Lock { mutex: Some(self), wanted_at, queued: None, reported: false }
    }

    /// Locks the mutex if that is possible at once, else returns `None`.
    ///
    /// It is refused as well while a starved lock waits for a mutex that is free.
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
        let line = Location::caller();
        self.raw.try_lock().then(|| {
            self.raw.holder().set(None, line);
            hooks::on_acquire(self.name(), line);
            MutexGuard::new(self)
        })
    }

    /// Locks the mutex and blocks the thread meanwhile. Not for tasks: it stops their executor.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock).
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
    #[track_caller]
    pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
        crate::blocking::block_on(self.lock())
    }

    /// Returns the data through an exclusive borrow, which needs no lock.
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

    /// Returns the line that asked for the lock which is held now, or `None` if it is free.
    ///
    /// It is a snapshot for reports: another thread may unlock at any moment.
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

    /// Returns how many locks wait now. A snapshot for reports.
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
    /// Shows who holds it and how many wait. Not the data: a report must not take locks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("holder", &self.holder().map(ToString::to_string))
            .field("raw", &self.raw)
            .finish_non_exhaustive()
    }
}

/// The future of [`Mutex::lock`].
///
/// # Cancel safety
///
/// Dropping it loses nothing but its place in the line.
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
    /// `None` once the lock is had.
    mutex: Option<&'a Mutex<T>>,
    wanted_at: &'static Location<'static>,
    /// The place in the line, if it came to that.
    queued: Option<Queued>,
    /// The hook was told already.
    reported: bool,
}

impl<T: ?Sized> Lock<'_, T> {
    /// Tells the hook, once, if the task of `cx` seems to wait for itself.
    fn suspect(&mut self, raw: &RawLock, cx: &Context<'_>) {
        if self.reported {
            return;
        }
        if let Some(found) = raw.holder().check(cx.waker(), self.wanted_at) {
            self.reported = true;
            self_deadlock::report(&found);
        }
    }
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mutex = this.mutex.expect("a `Lock` was polled after it had resolved");
        if this.queued.is_some() || !mutex.raw.try_lock() {
            let queued = this.queued.get_or_insert_with(|| mutex.raw.enqueue());
            if mutex.raw.poll_queued(queued, cx).is_pending() {
                this.suspect(&mutex.raw, cx);
                hooks::on_wait(Some(mutex.name()), "lock", this.wanted_at);
                return Poll::Pending;
            }
            this.queued = None;
        }
        this.mutex = None;
        mutex.raw.holder().set(Some(cx.waker()), this.wanted_at);
        hooks::on_acquire(mutex.name(), this.wanted_at);
        Poll::Ready(MutexGuard::new(mutex))
    }
}

impl<T: ?Sized> Drop for Lock<'_, T> {
    fn drop(&mut self) {
        if let (Some(mutex), Some(queued)) = (self.mutex, self.queued.take()) {
            mutex.raw.leave(queued);
        }
    }
}

impl<T: ?Sized> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("wanted_at", &self.wanted_at.to_string())
            .field("queued", &self.queued.is_some())
            .finish_non_exhaustive()
    }
}

/// The access to the data of a locked [`Mutex`], which is unlocked when this is dropped.
///
/// It is `Send` if the data is `Send`, and `Sync` if the data is both:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// let mutex = matou_sync::Mutex::new(std::cell::Cell::new(0));
/// shared(mutex.try_lock().unwrap());
/// ```
///
/// ```compile_fail,E0277
/// fn sent<T: Send>(_: T) {}
/// let mutex = matou_sync::Mutex::new(std::rc::Rc::new(0));
/// sent(mutex.try_lock().unwrap());
/// ```
///
/// # Examples
///
/// ```
/// let mutex = matou_sync::Mutex::new(String::from("ma"));
/// mutex.try_lock().unwrap().push_str("tou");
/// assert_eq!(*mutex.try_lock().unwrap(), "matou");
/// ```
#[must_use = "the mutex is unlocked at once if the guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// A guard is as good as this borrow, so it is `Sync` for `T: Sync` only. The reference to the
    /// mutex alone would make the guard of a `Cell` `Sync`.
    _data: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// For the one who has just locked `mutex.raw`.
    fn new(mutex: &'a Mutex<T>) -> Self {
        Self { mutex, _data: PhantomData }
    }

    /// Returns the mutex that this guard unlocks. An associated function, as the data may have a
    /// method of this name.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_sync::{Mutex, MutexGuard};
    ///
    /// let mutex = Mutex::new(0);
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(std::ptr::eq(MutexGuard::mutex(&guard), &mutex));
    /// ```
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists, so the mutex is locked on its behalf and nobody else has
        // access; the borrow of the guard bars `deref_mut` for as long as the reference lives.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the borrow of the guard is exclusive, so this reference is, too.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Before another one can lock it.
        hooks::on_release(self.mutex.name());
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
