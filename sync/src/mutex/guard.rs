use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::Mutex;

/// Access to the data of a locked [`Mutex`]. Dropping it unlocks the mutex.
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
#[must_use = "if unused the mutex is unlocked immediately"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// Makes the guard `Sync` only if `T` is. The reference to the mutex alone would make the guard
    /// of a `Cell` `Sync`.
    _data: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The caller must have locked `mutex` and must not create a second guard for that.
    pub(super) fn new(mutex: &'a Mutex<T>) -> Self {
        Self { mutex, _data: PhantomData }
    }

    /// Returns the mutex that this guard unlocks. An associated function, since the data may have a
    /// method of the same name.
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
        // SAFETY: a guard is created only after locking, one per lock, and unlocks when it is
        // dropped; so no other guard exists, and `Mutex::get_mut` and `into_inner` need the mutex
        // unborrowed. The reference borrows this guard, so `deref_mut` cannot be called while it
        // exists.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the reference borrows this guard exclusively, so no other
        // reference to the data exists.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Report first: after the unlock, another task may lock and report that.
        self.mutex.report_release();
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
