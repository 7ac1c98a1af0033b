//! The lock of a mutex without its data: one state word and one event.
//!
//! # The state word
//!
//! ```text
//!      STARVED ..... WAITER ..... LOCKED
//!     [ count ]     [ count ]    [ bit ]
//! ```
//!
//! | change | by | when |
//! | --- | --- | --- |
//! | `+ LOCKED` | [`RawMutex::try_lock`] | the mutex is unlocked and no waiter is starved |
//! | `+ WAITER` | [`RawMutex::enqueue`] | a task has to wait |
//! | `+ STARVED` | [`RawMutex::count_loss`] | a waiter has been overtaken too often |
//! | `+ LOCKED - WAITER (- STARVED)` | [`RawMutex::claim`] | a waiter gets the lock |
//! | `- WAITER (- STARVED)` | [`RawMutex::cancel_wait`] | a waiter gives up |
//! | `- LOCKED` | [`RawMutex::unlock`] | the holder unlocks |
//!
//! # Why no wake-up is lost
//!
//! A waiter counts itself (`+ WAITER`), starts to listen, and checks the word again. `unlock` is a
//! read-modify-write of the same word:
//!
//! - If it comes before the count, the second check reads a later value than `unlock` wrote and
//!   finds the mutex unlocked, or locked by a task whose own `unlock` sees the count.
//! - If it comes after the count, it sees the count and notifies, for which event-listener locks
//!   its list. Either the listener is in the list and is notified; or the listener enters the list
//!   later, so the lock of the list orders `unlock` before the second check.
//!
//! So `unlock` accesses the event only if there are waiters, and an uncontended mutex costs one
//! atomic operation for locking and one for unlocking.
//!
//! The count of starved waiters that holds newcomers back is taken from async-lock 3.5
//! (`src/mutex.rs`), which decides by time when a waiter is starved; here the number of lost races
//! decides, so that equal schedules give equal results.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use event_listener::{Event, EventListener, Listener};

use crate::holder::HolderNote;
use crate::primitives::{AtomicUsize, Ordering, const_fn};

/// Set while a task or thread holds the lock.
const LOCKED: usize = 1;

/// The width of each count: 31 bits, or 15 on targets with 32-bit words.
const COUNT_BITS: u32 = (usize::BITS - 1) / 2;

/// The largest number of simultaneous waiters.
const COUNT_MAX: usize = (1 << COUNT_BITS) - 1;

/// One waiter, starved or not.
const WAITER: usize = LOCKED << 1;

/// One starved waiter. While the count is not zero, `try_lock` fails and new lockers queue.
const STARVED: usize = WAITER << COUNT_BITS;

const _: () = assert!(STARVED.checked_mul(COUNT_MAX).is_some());

/// How many lost races a waiter tolerates; with the next one it is starved. Several, because the
/// thread that uses a busy mutex usually locks it again before another thread can wake up; not
/// many, because each lost race costs the waiter a useless poll. The models explore short schedules
/// only.
const LOSSES_MAX: u8 = if cfg!(any(loom, shuttle)) { 1 } else { 4 };

const fn is_locked(state: usize) -> bool {
    state & LOCKED != 0
}

const fn waiters(state: usize) -> usize {
    (state / WAITER) & COUNT_MAX
}

const fn starved(state: usize) -> usize {
    state / STARVED
}

/// A lock that guards no data itself.
pub(super) struct RawMutex {
    /// See the table above.
    state: AtomicUsize,
    /// Notified by each `unlock` that sees a waiter.
    unlocked: Event,
    /// Who holds the lock; for diagnosis only.
    holder: HolderNote,
}

/// A task that waits. It must go back to its mutex, either through [`RawMutex::poll_waiter`] that
/// returns `Ready` or through [`RawMutex::cancel_wait`], since it is counted in the state word.
#[derive(Debug)]
pub(super) struct Waiter {
    /// `None` before the first poll, and within a poll while the waiter is not listening.
    listener: Option<EventListener>,
    /// How often another task has locked after this waiter was notified.
    losses: u8,
    /// Also counted in `STARVED`.
    starved: bool,
}

impl Waiter {
    /// The contribution of this waiter to the state word.
    fn weight(&self) -> usize {
        if self.starved { WAITER + STARVED } else { WAITER }
    }
}

impl RawMutex {
    const_fn! {
        pub(super) fn new() -> Self {
            Self { state: AtomicUsize::new(0), unlocked: Event::new(), holder: HolderNote::new() }
        }
    }

    pub(super) fn holder(&self) -> &HolderNote {
        &self.holder
    }

    pub(super) fn is_locked(&self) -> bool {
        is_locked(self.state.load(Ordering::Acquire))
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
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (!is_locked(state) && starved(state) == 0).then_some(state + LOCKED)
            })
            .is_ok()
    }

    /// Adds a waiter.
    ///
    /// # Panics
    ///
    /// Panics if there are `COUNT_MAX` waiters.
    #[cold]
    pub(super) fn enqueue(&self) -> Waiter {
        // Relaxed: only the order of the operations on this word matters, see the module docs.
        let counted = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            (waiters(state) < COUNT_MAX).then_some(state + WAITER)
        });
        assert!(counted.is_ok(), "a mutex has more than {COUNT_MAX} tasks waiting for it");
        Waiter { listener: None, losses: 0, starved: false }
    }

    /// Waits for the lock. `Ready` means that the waiter has become the holder and is used up.
    #[cold]
    pub(super) fn poll_waiter(&self, waiter: &mut Waiter, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(listener) = &mut waiter.listener {
                ready!(Pin::new(listener).poll(cx));
                // Notified, which used up the listener. It was this waiter's turn, so it may lock
                // even if others are starved.
                waiter.listener = None;
                if self.claim(waiter, |_| true) {
                    return Poll::Ready(());
                }
                // Another task has locked in between.
                self.count_loss(waiter);
            }

            // Listen before the second check: an `unlock` that comes after the check finds the
            // listener. (The next iteration polls it, to register the waker.)
            waiter.listener = Some(self.unlocked.listen());
            // fault: mutex-without-second-check
            if self.check_again(waiter) {
                return Poll::Ready(());
            }
        }
    }

    /// Locks on behalf of a waiter that has just started to listen, if the mutex is unlocked and no
    /// other waiter is starved.
    fn check_again(&self, waiter: &mut Waiter) -> bool {
        let own = usize::from(waiter.starved);
        if self.claim(waiter, |state| starved(state) == own) {
            if let Some(listener) = waiter.listener.take() {
                // Discard instead of drop: if the listener was notified in the meantime, passing
                // that on would send a waiter to a locked mutex. The next waiter is notified when
                // this one unlocks.
                listener.discard();
            }
            return true;
        }
        // fault: mutex-refusal-without-notification
        if !self.is_locked() {
            // The mutex is unlocked but reserved for starved waiters. It is possible that none of
            // them was listening when it was unlocked: if several lose at the same time, each finds
            // the others starved here. So notify the first in the list, which may be this waiter.
            self.unlocked.notify(1);
        }
        false
    }

    /// Turns a waiter into the holder, if the mutex is unlocked and `admit` accepts the state.
    fn claim(&self, waiter: &Waiter, admit: impl Fn(usize) -> bool) -> bool {
        // Acquire pairs with the release in `unlock`.
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (!is_locked(state) && admit(state)).then(|| state + LOCKED - waiter.weight())
            })
            .is_ok()
    }

    /// Counts that a waiter was overtaken. From a certain number on, it is starved and newcomers
    /// are held back.
    fn count_loss(&self, waiter: &mut Waiter) {
        waiter.losses = waiter.losses.saturating_add(1);
        if waiter.losses > LOSSES_MAX && !waiter.starved {
            // Cannot overflow: starved waiters are counted among the waiters, whose number is
            // limited. Relaxed: the count publishes nothing but itself.
            self.state.fetch_add(STARVED, Ordering::Relaxed);
            waiter.starved = true;
        }
    }

    /// Removes a waiter that gives up. If it was notified, the next one is.
    pub(super) fn cancel_wait(&self, waiter: Waiter) {
        // Count down before the listener is dropped, which may wake the next waiter: that one must
        // not find the mutex reserved for this one. The lock of the event's list orders the two, so
        // relaxed is enough.
        // fault: mutex-cancelled-waiter-stays-starved
        self.state.fetch_sub(waiter.weight(), Ordering::Relaxed);
        // fault: mutex-cancelled-waiter-keeps-notification
        drop(waiter.listener);
    }

    /// Unlocks, and notifies the first waiter if there are any. For the holder only.
    #[inline]
    pub(super) fn unlock(&self) {
        self.holder.clear();
        // Release pairs with the acquire of whichever operation locks next.
        let before = self.state.fetch_sub(LOCKED, Ordering::Release);
        debug_assert!(is_locked(before), "unlocked a mutex that is not locked");
        if waiters(before) > 0 {
            self.notify_waiter();
        }
    }

    #[cold]
    fn notify_waiter(&self) {
        // Does nothing if a waiter is notified already and has not run yet: one is enough to take
        // the lock.
        self.unlocked.notify(1);
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Acquire);
        f.debug_struct("RawMutex")
            .field("locked", &is_locked(state))
            .field("waiters", &waiters(state))
            .field("starved", &starved(state))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn m15_one_waiter_too_many_panics_and_changes_nothing() {
        let full = LOCKED + COUNT_MAX * WAITER;
        let mutex = RawMutex { state: AtomicUsize::new(full), ..RawMutex::new() };

        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mutex.enqueue()));

        assert!(refused.is_err());
        assert_eq!(mutex.state.load(Ordering::SeqCst), full);
        assert_eq!((mutex.waiters(), starved(full)), (COUNT_MAX, 0));
    }

    #[test]
    fn a_newcomer_overtakes_waiters_unless_one_is_starved() {
        let waiting = RawMutex { state: AtomicUsize::new(WAITER), ..RawMutex::new() };
        assert!(waiting.try_lock());

        let starving = RawMutex { state: AtomicUsize::new(WAITER + STARVED), ..RawMutex::new() };
        assert!(!starving.try_lock());
        assert!(!starving.is_locked());
    }
}
