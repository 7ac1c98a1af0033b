//! Code of the program (finalizers, destructors, services) may use this crate, so it must not be
//! called under a lock of a ticket or a ledger. In debug builds each thread counts the locks that
//! it holds, and calls of such code assert that there is none.

pub(crate) use imp::{HeldLock, assert_none_held};

// Under loom all threads of a model share one thread.
#[cfg(all(debug_assertions, not(loom)))]
mod imp {
    use std::cell::Cell;
    use std::marker::PhantomData;

    thread_local! {
        static HELD: Cell<usize> = const { Cell::new(0) };
    }

    /// Exists while the thread holds a lock.
    pub(crate) struct HeldLock(PhantomData<*const ()>);

    impl HeldLock {
        #[inline]
        pub(crate) fn new() -> HeldLock {
            HELD.set(HELD.get() + 1);
            HeldLock(PhantomData)
        }
    }

    impl Drop for HeldLock {
        #[inline]
        fn drop(&mut self) {
            HELD.set(HELD.get() - 1);
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn assert_none_held() {
        assert!(HELD.get() == 0, "code of the program is called while a lock is held");
    }
}

#[cfg(not(all(debug_assertions, not(loom))))]
mod imp {
    pub(crate) struct HeldLock;

    impl HeldLock {
        #[inline(always)]
        pub(crate) fn new() -> HeldLock {
            HeldLock
        }
    }

    #[inline(always)]
    pub(crate) fn assert_none_held() {}
}

#[cfg(all(test, debug_assertions, not(loom)))]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "while a lock is held")]
    fn code_of_the_program_that_is_called_under_a_lock_is_found() {
        let _held = HeldLock::new();
        assert_none_held();
    }

    #[test]
    fn a_released_lock_is_not_counted() {
        drop([HeldLock::new(), HeldLock::new()]);
        assert_none_held();
    }
}
