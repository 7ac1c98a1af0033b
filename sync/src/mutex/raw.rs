//! The lock of a mutex without its data: one state word and one wait list.
//!
//! # The state word
//!
//! ```text
//!      WAITER ..... LOCKED
//!     [ count ]    [ bit ]
//! ```
//!
//! | change | by | when |
//! | --- | --- | --- |
//! | `+ LOCKED` | [`RawMutex::try_lock`] | the mutex is unlocked and no waiter is starved |
//! | `+ LOCKED`, or `+ WAITER` | [`RawMutex::enqueue`] | as above, or else the task has to wait |
//! | `+ LOCKED - WAITER` | [`RawMutex::poll_waiter`] | a waiter gets the lock |
//! | `- WAITER` | [`RawMutex::cancel_wait`] | a waiter gives up |
//! | `- LOCKED` | [`RawMutex::unlock`] | the holder unlocks |
//!
//! # Why no wake-up is lost
//!
//! **Invariant:** if the mutex is unlocked and a waiter is in the line, then an offer is open, or a
//! task that has unlocked is about to make one.
//!
//! - `enqueue` locks the list, and takes the lock or counts itself in one read-modify-write. If it
//!   finds the mutex locked, the `unlock` that follows sees the count, and for its offer has to
//!   wait for the lock of the list until the waiter is in the line. If the mutex is unlocked but
//!   held back for a starved waiter, that waiter is in the line or has an offer, so the invariant
//!   held before.
//! - A waiter that was offered the lock and finds the mutex locked returns to the line under the
//!   lock of the list. The `unlock` of the present holder locks the list later: were it earlier,
//!   the waiter would have seen the mutex unlocked.
//! - `unlock` makes no offer if one is open. That waiter looks at the mutex under the lock of the
//!   list, and so after this `unlock`.
//! - A waiter that is dropped or declines while it has an offer passes the offer on. If no waiter
//!   is in the line, nothing has to be done.
//!
//! So `unlock` accesses the list only if there are waiters, and an uncontended mutex costs one
//! atomic operation for locking and one for unlocking.
//!
//! That newcomers are held back by starved waiters is taken from async-lock 3.5 (`src/mutex.rs`),
//! which decides by time when a waiter is starved; here the number of lost races decides, so that
//! equal schedules give equal results.

use std::fmt;
use std::task::{Context, Poll};

use matou_hooks::TaskKey;

use crate::holder::HolderNote;
use crate::locks::clone_waker;
use crate::primitives::{AtomicUsize, Ordering, const_fn};
use crate::waiting::{Kind, Request, WaitList, WaiterKey};

/// Set while a task or thread holds the lock.
const LOCKED: usize = 1;

/// One waiter. The count cannot overflow, because each waiter needs memory.
const WAITER: usize = LOCKED << 1;

const fn is_locked(state: usize) -> bool {
    state & LOCKED != 0
}

const fn waiters(state: usize) -> usize {
    state / WAITER
}

/// A lock that guards no data itself.
pub(super) struct RawMutex {
    /// See the table above.
    state: AtomicUsize,
    waiters: WaitList,
    /// The holder of the lock; for diagnosis only.
    holder: HolderNote,
}

impl RawMutex {
    const_fn! {
        pub(super) fn new() -> Self {
            Self {
                state: AtomicUsize::new(0),
                waiters: WaitList::new(Kind::Lock),
                holder: HolderNote::new(),
            }
        }
    }

    pub(super) fn holder(&self) -> &HolderNote {
        &self.holder
    }

    pub(super) fn is_locked(&self) -> bool {
        is_locked(self.state.load(Ordering::Acquire))
    }

    /// Whether the mutex is locked, as a hint.
    fn has_holder(&self) -> bool {
        is_locked(self.state.load(Ordering::Relaxed))
    }

    pub(super) fn waiters(&self) -> usize {
        waiters(self.state.load(Ordering::Acquire))
    }

    /// Whether tasks wait for the lock. A snapshot for reports.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        waiters(self.state.load(Ordering::Relaxed)) > 0
    }

    /// Locks if that is possible at once. One compare-exchange if the mutex is unlocked and has no
    /// waiters.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        // Acquire pairs with the release in `unlock`.
        self.state.compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.barge()
    }

    /// Locks ahead of the waiters, unless one of them is starved.
    #[cold]
    fn barge(&self) -> bool {
        // fault: newcomer-overtakes-starved-waiter
        self.waiters.reserved() == 0 && self.claim(0)
    }

    /// Locks if the mutex is unlocked, and counts `weight` waiters less.
    fn claim(&self, weight: usize) -> bool {
        // Acquire pairs with the release in `unlock`.
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (!is_locked(state)).then(|| state + LOCKED - weight)
            })
            .is_ok()
    }

    /// Adds a waiter, or locks if the mutex has been unlocked since `try_lock`; then the result is
    /// `None`.
    ///
    /// # Panics
    ///
    /// Panics if there are too many waiters.
    #[cold]
    pub(super) fn enqueue(&self, request: Request, cx: &Context<'_>) -> Option<WaiterKey> {
        let lock_or_count = |_, reserved| {
            // fault: mutex-without-second-check
            let may_lock = reserved == 0;
            let change = |state| match is_locked(state) {
                false if may_lock => Some(state + LOCKED),
                _ => Some(state + WAITER),
            };
            // Acquire pairs with the release in `unlock`. For the count, only the order of the
            // operations on this word matters.
            let before = self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, change);
            let was_locked = before.is_ok_and(is_locked);
            (may_lock && !was_locked).then_some(())
        };
        self.waiters.enqueue(cx, request, lock_or_count).ok()
    }

    /// Waits for the lock. `Ready` means that the waiter has become the holder and is used up.
    #[cold]
    pub(super) fn poll_waiter(
        &self,
        waiter: WaiterKey,
        task: Option<TaskKey>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        // Mostly, a newcomer was faster.
        let waker = self.has_holder().then(|| clone_waker(cx.waker()));
        self.waiters.poll_with(waiter, task, cx, waker, |turn| {
            // If a newcomer was first, its `unlock` makes the next offer.
            (turn.reserved() == 0 && self.claim(WAITER)).then_some(())
        })
    }

    /// Removes a waiter that gives up. If it was offered the lock, the next one is.
    pub(super) fn cancel_wait(&self, waiter: WaiterKey) {
        // Relaxed: only the count changes.
        self.state.fetch_sub(WAITER, Ordering::Relaxed);
        self.waiters.remove(waiter);
    }

    /// Unlocks, and offers the lock to the first waiter if there are any. For the holder only.
    #[inline]
    pub(super) fn unlock(&self) {
        self.holder.clear();
        // Release pairs with the acquire of whichever operation locks next.
        let before = self.state.fetch_sub(LOCKED, Ordering::Release);
        debug_assert!(is_locked(before), "unlocked a mutex that is not locked");
        if waiters(before) > 0 {
            self.waiters.offer_unless_open();
        }
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Acquire);
        f.debug_struct("RawMutex")
            .field("locked", &is_locked(state))
            .field("waiters", &waiters(state))
            .field("reserved", &self.waiters.reserved())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::panic::Location;
    use std::task::Waker;

    use super::*;

    #[test]
    fn m15_one_waiter_too_many_panics_and_changes_nothing() {
        let (mutex, cx) = (RawMutex::new(), Context::from_waker(Waker::noop()));
        let enqueue =
            || mutex.enqueue(Request { task: None, at: Location::caller(), data: 0 }, &cx);
        assert!(mutex.try_lock());
        // The limit is 8 in unit tests.
        let waiters: Vec<_> = (0..8).map(|_| enqueue().expect("the mutex is locked")).collect();

        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(enqueue));

        assert!(refused.is_err());
        assert_eq!(mutex.waiters(), 8);
        waiters.into_iter().for_each(|waiter| mutex.cancel_wait(waiter));
        assert_eq!(mutex.waiters(), 0);
        mutex.unlock();
        assert!(mutex.try_lock());
    }
}
