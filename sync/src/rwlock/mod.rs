mod acquire;
mod guard;

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use matou_hooks::{Holder, Target, Wait};

pub use self::acquire::{Read, ReadArc, ReadFrom, Write, WriteArc, WriteFrom};
pub use self::guard::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, ReadGuard, RwLockReadGuard, RwLockWriteGuard,
    WriteGuard,
};
use crate::holder::HolderNote;
use crate::primitives::const_fn;
use crate::semaphore::raw::RawSemaphore;

/// The permits of a writer; a reader has one.
const WRITER: usize = (u32::MAX >> 3) as usize;

/// A lock that several readers or one writer hold, also across an `.await`.
///
/// Consider [`std::sync::RwLock`] if you hold no guard across an `.await`: it is smaller and
/// faster.
///
/// # Fairness
///
/// The lock is acquired in the order in which tasks began to wait: readers that come after a
/// waiting writer wait for it, so that it is not starved, and the next writer waits for readers
/// that came before it. A task that holds the lock for reading must therefore not read again, since
/// it would wait for the writer, which waits for the task. `matou-runtime` reports this.
///
/// Futures that are kept without being polled hold no others up under `matou-runtime`, as for
/// [`Semaphore`](crate::Semaphore#fairness).
///
/// # Panics while locked
///
/// There is no poisoning: a guard that is dropped by a panic unlocks.
///
/// # Examples
///
/// ```
/// use futures::{executor::block_on, join};
/// use matou_sync::RwLock;
///
/// static ROUTES: RwLock<Vec<&str>> = RwLock::new(Vec::new());
///
/// block_on(async {
///     ROUTES.write().await.push("/");
///     let (one, other) = join!(ROUTES.read(), ROUTES.read());
///     assert_eq!((one.len(), other[0]), (1, "/"));
/// });
/// ```
///
/// It is `Sync` only if the data are `Send` and `Sync`:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// shared(matou_sync::RwLock::new(std::cell::Cell::new(0)));
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawSemaphore,
    /// The writer, or the first of the present readers, until it unlocks.
    holder: HolderNote,
    data: UnsafeCell<T>,
}

// SAFETY: the data are accessed through guards, of which either one may write or several may read.
// A read guard gives `&T` to several threads at a time, hence `T: Sync`; a write guard moves the
// access from thread to thread, hence `T: Send`. The release and acquire operations of `raw` order
// the accesses.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// Creates an unlocked lock. It does not allocate until a task has to wait.
        ///
        /// # Examples
        ///
        /// ```
        /// static NAMES: matou_sync::RwLock<Vec<String>> = matou_sync::RwLock::new(Vec::new());
        /// assert!(NAMES.try_read().unwrap().is_empty());
        /// ```
        pub fn new(data: T) -> Self {
            Self {
                raw: RawSemaphore::new(WRITER),
                holder: HolderNote::new(),
                data: UnsafeCell::new(data),
            }
        }
    }

    /// Consumes the lock and returns its data.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::RwLock::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, waiting for a writer that holds the lock or waits for it.
    ///
    /// # Panics
    ///
    /// The future panics if 2^32 - 1 tasks wait already, or if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing but its place in the line.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let lock = matou_sync::RwLock::new(1);
    /// assert_eq!(*lock.read().await + *lock.read().await, 2);
    /// # });
    /// ```
    #[track_caller]
    pub fn read(&self) -> Read<'_, T> {
        Read::new(self, Location::caller())
    }

    /// Locks for writing, waiting until no other task holds the lock.
    ///
    /// # Panics
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing but its place in the line. The readers behind it go on.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let lock = matou_sync::RwLock::new(1);
    /// *lock.write().await += 1;
    /// assert_eq!(lock.into_inner(), 2);
    /// # });
    /// ```
    #[track_caller]
    pub fn write(&self) -> Write<'_, T> {
        Write::new(self, Location::caller())
    }

    /// Locks for reading, for a task that outlives the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let lock = std::sync::Arc::new(matou_sync::RwLock::new(1));
    /// let guard = lock.read_arc().await;
    /// assert_eq!(std::thread::spawn(move || *guard).join().unwrap(), 1);
    /// # });
    /// ```
    #[doc(alias = "read_owned")]
    #[track_caller]
    pub fn read_arc(self: &Arc<Self>) -> ReadArc<T> {
        ReadArc::new(Arc::clone(self), Location::caller())
    }

    /// Locks for writing, for a task that outlives the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let lock = std::sync::Arc::new(matou_sync::RwLock::new(1));
    /// let mut guard = lock.write_arc().await;
    /// std::thread::spawn(move || *guard = 2).join().unwrap();
    /// assert_eq!(*lock.read().await, 2);
    /// # });
    /// ```
    #[doc(alias = "write_owned")]
    #[track_caller]
    pub fn write_arc(self: &Arc<Self>) -> WriteArc<T> {
        WriteArc::new(Arc::clone(self), Location::caller())
    }

    /// Locks for reading if no writer holds the lock or waits for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = matou_sync::RwLock::new(1);
    /// let reading = lock.try_read().unwrap();
    /// assert!(lock.try_read().is_some() && lock.try_write().is_none());
    /// # drop(reading);
    /// ```
    #[track_caller]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let called_at = Location::caller();
        let before = self.raw.try_acquire(1).ok()?;
        Some(ReadGuard::acquired(self, before, || holder(called_at)))
    }

    /// Locks for writing if no other task holds the lock or waits for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = matou_sync::RwLock::new(1);
    /// let writing = lock.try_write().unwrap();
    /// assert!(lock.try_read().is_none());
    /// # drop(writing);
    /// ```
    #[track_caller]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.try_acquire(WRITER).ok()?;
        Some(WriteGuard::acquired(self, holder(Location::caller())))
    }

    /// Returns a mutable reference to the data. The exclusive borrow makes locking unnecessary.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut lock = matou_sync::RwLock::new(1);
    /// *lock.get_mut() = 2;
    /// assert_eq!(lock.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// Returns the number of waiters that were offered nothing. A snapshot for reports.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::RwLock::new(()).waiters(), 0);
    /// ```
    pub fn waiters(&self) -> usize {
        self.raw.waiters()
    }

    fn target(&self) -> Target {
        Target::new("lock", (&raw const *self).cast::<()>().addr())
    }

    /// Completes the report of a wait.
    fn describe(&self, wait: Wait) -> Wait {
        let wait = wait.on(self.target());
        self.holder.get().map_or(wait, |holder| wait.held_by(holder))
    }

    /// Records the only holder, or the first of several readers.
    fn record(&self, holder: Holder) {
        self.holder.set(holder);
        // Without a waiter no report is needed: the next one names the holder that it finds.
        if self.raw.may_have_waiters() {
            matou_hooks::on_acquire(self.target(), holder);
        }
    }

    /// Removes the record, before its task unlocks.
    fn clear_record(&self) {
        if self.raw.may_have_waiters() {
            matou_hooks::on_release(self.target());
        }
        self.holder.clear();
    }
}

fn holder(at: &'static Location<'static>) -> Holder {
    Holder::new(matou_hooks::current_task(), at)
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(data: T) -> Self {
        Self::new(data)
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    /// Shows the number of readers and waiters, but not the data, which would need a lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let available = self.raw.available();
        f.debug_struct("RwLock")
            .field("is_written", &(available == 0))
            .field("readers", &if available == 0 { 0 } else { WRITER - available })
            .field("waiters", &self.waiters())
            .finish_non_exhaustive()
    }
}
