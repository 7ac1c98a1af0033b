//! Locks under which no foreign code runs.
//!
//! Code of the program (wakers, destructors, futures, callbacks) may use the runtime again, so it
//! must not be called while the runtime holds a lock. In debug builds each thread counts the locks
//! that it holds, and every call of foreign code asserts that there is none.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;

/// Locks a mutex. A panic of another thread that held it does not matter: no state is inconsistent
/// where a panic is possible.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
    Guard { guard: mutex.lock().unwrap_or_else(PoisonError::into_inner), _mark: Mark::new() }
}

/// Locks a mutex unless it is locked.
#[inline]
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<Guard<'_, T>> {
    let guard = match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    Some(Guard { guard, _mark: Mark::new() })
}

/// A locked mutex.
pub(crate) struct Guard<'a, T> {
    guard: MutexGuard<'a, T>,
    _mark: Mark,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Clones a waker, which may be foreign.
#[inline]
#[track_caller]
pub(crate) fn clone_waker(waker: &Waker) -> Waker {
    assert_none_held();
    waker.clone()
}

#[cfg(debug_assertions)]
mod count {
    use std::cell::Cell;
    use std::marker::PhantomData;

    thread_local! {
        static HELD: Cell<usize> = const { Cell::new(0) };
    }

    /// Exists while the thread holds a lock.
    pub(crate) struct Mark(PhantomData<*const ()>);

    impl Mark {
        pub(crate) fn new() -> Mark {
            HELD.set(HELD.get() + 1);
            Mark(PhantomData)
        }
    }

    impl Drop for Mark {
        fn drop(&mut self) {
            HELD.set(HELD.get() - 1);
        }
    }

    /// Calls foreign code that runs under a lock by contract: it must not need that lock.
    pub(crate) fn unmarked<R>(f: impl FnOnce() -> R) -> R {
        struct Restore(usize);
        impl Drop for Restore {
            fn drop(&mut self) {
                HELD.set(self.0);
            }
        }
        let _restore = Restore(HELD.replace(0));
        f()
    }

    /// Asserts that the thread holds no lock, because foreign code is about to be called.
    #[track_caller]
    pub(crate) fn assert_none_held() {
        assert!(HELD.get() == 0, "foreign code is called while a lock is held");
    }
}

#[cfg(not(debug_assertions))]
mod count {
    pub(crate) struct Mark;

    impl Mark {
        #[inline(always)]
        pub(crate) fn new() -> Mark {
            Mark
        }
    }

    #[inline(always)]
    pub(crate) fn unmarked<R>(f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline(always)]
    pub(crate) fn assert_none_held() {}
}

pub(crate) use count::{assert_none_held, unmarked};

use count::Mark;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "while a lock is held")]
    fn f7_a_waker_that_is_woken_under_a_lock_is_found() {
        let mutex = Mutex::new(());
        let _guard = lock(&mutex);
        drop(clone_waker(Waker::noop()));
    }

    #[test]
    fn f7_a_released_lock_is_not_counted() {
        let mutex = Mutex::new(1);
        assert!(try_lock(&mutex).is_some_and(|guard| *guard == 1));
        assert_none_held();
    }
}
