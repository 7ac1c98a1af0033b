//! Locking a mutex in an `Arc`, for a guard that outlives the caller.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::{Mutex, MutexGuard};
use crate::error::polled_after_completion;
use crate::waiting::WaiterKey;

/// Access to the data of a locked [`Mutex`] of which it owns a share. Dropping it unlocks.
///
/// It is `Send` if the data are `Send`, and `Sync` if the data are both:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// let mutex = std::sync::Arc::new(matou_sync::Mutex::new(std::cell::Cell::new(0)));
/// shared(mutex.try_lock_arc().unwrap());
/// ```
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use matou_sync::{Mutex, OwnedMutexGuard};
///
/// let mutex = Arc::new(Mutex::new(1));
/// let guard: OwnedMutexGuard<i32> = mutex.try_lock_arc().unwrap();
/// std::thread::spawn(move || assert_eq!(*guard, 1)).join().unwrap();
/// assert!(mutex.try_lock().is_some());
/// ```
#[doc(alias = "MutexGuardArc")]
#[must_use = "if unused the mutex is unlocked immediately"]
pub struct OwnedMutexGuard<T: ?Sized> {
    mutex: Arc<Mutex<T>>,
    /// The `Arc` alone would make the guard of a `Cell` `Sync`.
    data: PhantomData<*const ()>,
}

// SAFETY: sending the guard sends the access to the data and a share of the mutex.
unsafe impl<T: ?Sized + Send> Send for OwnedMutexGuard<T> {}
// SAFETY: a shared guard gives access to `&T`.
unsafe impl<T: ?Sized + Send + Sync> Sync for OwnedMutexGuard<T> {}

impl<T: ?Sized> Mutex<T> {
    /// Locks the mutex, waiting until it is available, for a guard that outlives the caller.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    ///
    /// As for [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let mutex = std::sync::Arc::new(matou_sync::Mutex::new(1));
    /// let mut guard = mutex.lock_arc().await;
    /// std::thread::spawn(move || *guard += 1).join().unwrap();
    /// assert_eq!(*mutex.lock().await, 2);
    /// # });
    /// ```
    #[doc(alias = "lock_owned")]
    #[track_caller]
    pub fn lock_arc(self: &Arc<Self>) -> LockArc<T> {
        LockArc { mutex: Some(Arc::clone(self)), called_at: Location::caller(), waiter: None }
    }

    /// Locks the mutex if it is available at once, for a guard that outlives the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// let mutex = std::sync::Arc::new(matou_sync::Mutex::new(1));
    /// let guard = mutex.try_lock_arc().unwrap();
    /// assert!(mutex.try_lock_arc().is_none());
    /// # drop(guard);
    /// ```
    #[doc(alias = "try_lock_owned")]
    #[track_caller]
    pub fn try_lock_arc(self: &Arc<Self>) -> Option<OwnedMutexGuard<T>> {
        let guard = self.try_lock()?;
        mem::forget(guard);
        Some(OwnedMutexGuard { mutex: Arc::clone(self), data: PhantomData })
    }
}

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// Returns the mutex that this guard unlocks. An associated function, since the data may have a
    /// method of the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use matou_sync::{Mutex, OwnedMutexGuard};
    ///
    /// let mutex = Arc::new(Mutex::new(0));
    /// let guard = mutex.try_lock_arc().unwrap();
    /// assert!(Arc::ptr_eq(OwnedMutexGuard::mutex(&guard), &mutex));
    /// ```
    #[doc(alias = "source")]
    pub fn mutex(guard: &Self) -> &Arc<Mutex<T>> {
        &guard.mutex
    }
}

impl<T: ?Sized> Deref for OwnedMutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: as for `MutexGuard`: this guard holds the lock, so there is no other one.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for OwnedMutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the reference borrows this guard exclusively.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        drop(MutexGuard::new(&self.mutex));
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for OwnedMutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// The future of [`Mutex::lock_arc`].
///
/// # Cancel safety
///
/// Dropping it loses nothing but its place among the waiters.
///
/// # Examples
///
/// ```
/// use matou_sync::{Mutex, futures::LockArc};
///
/// let mutex = std::sync::Arc::new(Mutex::new(5));
/// let lock: LockArc<i32> = mutex.lock_arc();
/// assert_eq!(*futures::executor::block_on(lock), 5);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct LockArc<T: ?Sized> {
    /// `None` once the future has completed.
    mutex: Option<Arc<Mutex<T>>>,
    called_at: &'static Location<'static>,
    /// `None` as long as the future had no need to wait.
    waiter: Option<WaiterKey>,
}

impl<T: ?Sized> Future for LockArc<T> {
    type Output = OwnedMutexGuard<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(polled) = &this.mutex else {
            polled_after_completion("`LockArc`", this.called_at)
        };
        if this.waiter.is_none() {
            ready!(matou_hooks::poll_budget(cx));
        }
        mem::forget(ready!(polled.poll_lock(&mut this.waiter, this.called_at, cx)));
        let mutex = this.mutex.take().expect("it was polled just now");
        Poll::Ready(OwnedMutexGuard { mutex, data: PhantomData })
    }
}

impl<T: ?Sized> Drop for LockArc<T> {
    fn drop(&mut self) {
        if let Some(mutex) = &self.mutex {
            mutex.cancel_lock(self.waiter);
        }
    }
}

impl<T: ?Sized> fmt::Debug for LockArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockArc")
            .field("called_at", &self.called_at.to_string())
            .field("waiting", &self.waiter.is_some())
            .finish_non_exhaustive()
    }
}
