//! Locks under which no foreign code runs.
//!
//! A waker or a host may use the primitive that calls it, so neither is called while a lock of this
//! crate is held. In debug builds each thread counts the locks that it holds, and every call of
//! foreign code asserts that there is none. (Not in models, whose threads share a thread.)

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::task::Waker;

use crate::primitives::{Mutex, MutexGuard};

pub(crate) use count::assert_none_held;

use count::Mark;

/// Locks a mutex. A panic of another thread that held it does not matter: no state is inconsistent
/// where a panic is possible.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
    Guard { guard: mutex.lock().unwrap_or_else(PoisonError::into_inner), _mark: Mark::new() }
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

#[cfg(all(debug_assertions, not(any(loom, shuttle))))]
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

    /// Asserts that the thread holds no lock, because foreign code is about to be called.
    #[track_caller]
    pub(crate) fn assert_none_held() {
        assert!(HELD.get() == 0, "foreign code is called while a lock is held");
    }
}

#[cfg(not(all(debug_assertions, not(any(loom, shuttle)))))]
mod count {
    pub(crate) struct Mark;

    impl Mark {
        #[inline(always)]
        pub(crate) fn new() -> Mark {
            Mark
        }
    }

    #[inline(always)]
    pub(crate) fn assert_none_held() {}
}
