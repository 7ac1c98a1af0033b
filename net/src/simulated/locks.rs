//! The locks of the simulated network, under which no foreign code runs.
//!
//! A waker may use the socket that calls it. In debug builds the locks that the thread holds are
//! counted, and every call of a waker asserts that there is none.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Locks a mutex of the simulated network. The domains of a simulated run share one thread, so it
/// is never contended; it is never poisoned, because no code panics while it holds one.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
    let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    #[cfg(debug_assertions)]
    HELD.set(HELD.get() + 1);
    Guard(guard)
}

/// Asserts that the thread holds no lock, because foreign code is about to be called.
#[track_caller]
pub(super) fn assert_none_held() {
    #[cfg(debug_assertions)]
    assert!(HELD.get() == 0, "foreign code is called while a lock is held");
}

/// A locked mutex.
pub(super) struct Guard<'a, T>(MutexGuard<'a, T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(debug_assertions)]
impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}
