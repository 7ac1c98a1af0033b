use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::Arc;

use matou_hooks::Holder;

use super::{RwLock, WRITER};

/// A [`ReadGuard`] that borrows its lock.
pub type RwLockReadGuard<'a, T> = ReadGuard<&'a RwLock<T>, T>;

/// A [`ReadGuard`] that owns a share of its lock.
pub type OwnedRwLockReadGuard<T> = ReadGuard<Arc<RwLock<T>>, T>;

/// A [`WriteGuard`] that borrows its lock.
pub type RwLockWriteGuard<'a, T> = WriteGuard<&'a RwLock<T>, T>;

/// A [`WriteGuard`] that owns a share of its lock.
pub type OwnedRwLockWriteGuard<T> = WriteGuard<Arc<RwLock<T>>, T>;

/// Shared access to the data of an [`RwLock`]. Dropping it unlocks.
///
/// `L` is `&RwLock` or `Arc<RwLock>`.
///
/// # Examples
///
/// ```
/// use matou_sync::{RwLock, RwLockReadGuard};
///
/// let lock = RwLock::new(5);
/// let guard: RwLockReadGuard<'_, i32> = lock.try_read().unwrap();
/// assert_eq!(*guard, 5);
/// ```
#[must_use = "if unused the lock is unlocked immediately"]
pub struct ReadGuard<L: Deref<Target = RwLock<T>>, T: ?Sized> {
    lock: L,
    /// Whether the lock's record names the holder of this guard.
    is_recorded: bool,
    /// Makes the guard `Send` only if `&T` is.
    data: PhantomData<ptr::NonNull<T>>,
}

/// Exclusive access to the data of an [`RwLock`]. Dropping it unlocks.
///
/// `L` is `&RwLock` or `Arc<RwLock>`.
///
/// # Examples
///
/// ```
/// use matou_sync::{RwLock, RwLockWriteGuard};
///
/// let lock = RwLock::new(5);
/// let mut guard: RwLockWriteGuard<'_, i32> = lock.try_write().unwrap();
/// *guard += 1;
/// drop(guard);
/// assert_eq!(*lock.try_read().unwrap(), 6);
/// ```
#[must_use = "if unused the lock is unlocked immediately"]
pub struct WriteGuard<L: Deref<Target = RwLock<T>>, T: ?Sized> {
    lock: L,
    /// Makes the guard `Send` and `Sync` only if `T` is.
    data: PhantomData<ptr::NonNull<T>>,
}

// SAFETY: the guard gives access to `&T`, and its drop moves or shares nothing but the handle.
unsafe impl<L: Deref<Target = RwLock<T>> + Send, T: ?Sized + Sync> Send for ReadGuard<L, T> {}
// SAFETY: as above.
unsafe impl<L: Deref<Target = RwLock<T>> + Sync, T: ?Sized + Sync> Sync for ReadGuard<L, T> {}
// SAFETY: the guard gives access to `&mut T`, so sending it sends the access to the data.
unsafe impl<L: Deref<Target = RwLock<T>> + Send, T: ?Sized + Send> Send for WriteGuard<L, T> {}
// SAFETY: a shared guard gives access to `&T`.
unsafe impl<L: Deref<Target = RwLock<T>> + Sync, T: ?Sized + Sync> Sync for WriteGuard<L, T> {}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> ReadGuard<L, T> {
    /// The caller must have taken one permit, and found `before` of them.
    #[inline]
    pub(super) fn acquired(lock: L, before: usize, holder: impl FnOnce() -> Holder) -> Self {
        // Only the first reader records itself: no other one does until it has unlocked, since the
        // record is removed before the permit is returned.
        let mut guard = Self { lock, is_recorded: false, data: PhantomData };
        if before == WRITER {
            guard.is_recorded = true;
            guard.lock.record(holder());
        }
        guard
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> WriteGuard<L, T> {
    /// The caller must have taken the permits of a writer.
    #[inline]
    pub(super) fn acquired(lock: L, holder: Holder) -> Self {
        // The guard first: it unlocks whatever happens.
        let guard = Self { lock, data: PhantomData };
        guard.lock.record(holder);
        guard
    }

    /// Turns the guard into one for reading, without a moment in which a writer could lock. Readers
    /// that wait and are next in the line lock as well. An associated function, since the data may
    /// have a method of the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writing = lock.try_write().unwrap();
    /// *writing = 2;
    /// let reading = RwLockWriteGuard::downgrade(writing);
    /// assert_eq!(*reading + *lock.try_read().unwrap(), 4);
    /// ```
    pub fn downgrade(guard: Self) -> ReadGuard<L, T> {
        let guard = ManuallyDrop::new(guard);
        // SAFETY: the guard is not used or dropped after this, so the handle is moved out once.
        let lock = unsafe { ptr::read(&raw const guard.lock) };
        let reading = ReadGuard { lock, is_recorded: true, data: PhantomData };
        // fault: downgrade-keeps-writing
        reading.lock.raw.release(WRITER - 1);
        reading
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Deref for ReadGuard<L, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard has a permit, so there is no write guard, which needs all of them; and
        // `get_mut` and `into_inner` need the lock unborrowed and unshared.
        unsafe { &*self.lock.data.get() }
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Deref for WriteGuard<L, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard has all permits, so there is no other guard. The reference borrows the
        // guard, so `deref_mut` cannot be called while it exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> DerefMut for WriteGuard<L, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the reference borrows the guard exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Drop for ReadGuard<L, T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_recorded {
            self.lock.clear_record();
        }
        self.lock.raw.release(1);
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized> Drop for WriteGuard<L, T> {
    #[inline]
    fn drop(&mut self) {
        // Report first: after the unlock, another task may lock and report that.
        self.lock.clear_record();
        self.lock.raw.release(WRITER);
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized + fmt::Debug> fmt::Debug for ReadGuard<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<L: Deref<Target = RwLock<T>>, T: ?Sized + fmt::Debug> fmt::Debug for WriteGuard<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
