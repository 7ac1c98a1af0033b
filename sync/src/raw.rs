//! The lock without the data: one word, one event.
//!
//! # The word
//!
//! ```text
//!      STARVED ..... WAITER ..... LOCKED
//!     [ count ]     [ count ]    [ bit ]
//! ```
//!
//! | transition | made by | when |
//! | --- | --- | --- |
//! | `+ LOCKED` | [`RawLock::try_lock`] | unlocked, and nobody is starved |
//! | `+ WAITER` | [`RawLock::enqueue`] | a lock was refused and goes into the line |
//! | `+ STARVED` | [`RawLock::poll_queued`] | a queued lock was overtaken too often |
//! | `+ LOCKED - WAITER (- STARVED)` | [`RawLock::claim`] | a queued lock gets its turn |
//! | `- WAITER (- STARVED)` | [`RawLock::leave`] | a queued lock is given up |
//! | `- LOCKED` | [`RawLock::unlock`] | always by the one who holds it |
//!
//! # Why no wake-up is lost
//!
//! A lock that waits counts itself (`+ WAITER`), then listens, then looks again. Unlocking is a
//! read-modify-write of the same word. If it comes before the count, the second look sees the
//! lock free. If it comes after, it sees the count and notifies: either the listener is in the list
//! and is told, or the list's own mutex orders the notification before the listening and with it
//! before the second look. So the unlocking side never asks the list when nobody waits, which
//! keeps an uncontended lock free of allocation and of a second atomic operation.
//!
//! The idea of a count of starved waiters that bars newcomers is that of async-lock 3.5
//! (`src/mutex.rs`), which measures time where we count; the count of all waiters is ours.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use event_listener::{Event, EventListener, Listener};

use crate::self_deadlock::HolderNote;
use crate::sys::{self, AtomicUsize, Ordering, Patience, Sabotage};

/// Set while somebody holds the lock.
const LOCKED: usize = 1;

/// The width of each count: 31 bits, or 15 where a word has only 32.
const COUNT_BITS: u32 = (usize::BITS - 1) / 2;

/// The largest number of locks that can wait at the same time.
const COUNT_MAX: usize = (1 << COUNT_BITS) - 1;

/// One queued lock, starved ones included.
const WAITER: usize = LOCKED << 1;

/// One queued lock that has run out of patience. While there is any, newcomers wait in the line.
const STARVED: usize = WAITER << COUNT_BITS;

const _: () = assert!(STARVED.checked_mul(COUNT_MAX).is_some());

const fn is_locked(state: usize) -> bool {
    state & LOCKED != 0
}

const fn waiters(state: usize) -> usize {
    (state / WAITER) & COUNT_MAX
}

const fn starved(state: usize) -> usize {
    state / STARVED
}

/// A mutex that guards nothing yet.
pub(crate) struct RawLock {
    /// See the table above.
    state: AtomicUsize,
    /// Told once for each unlocking that found somebody waiting.
    unlocked: Event,
    /// Who holds the lock, for diagnosis only.
    holder: HolderNote,
}

/// A place in the line. It must go back to its lock: through a successful
/// [`RawLock::poll_queued`], or through [`RawLock::leave`].
#[derive(Debug)]
pub(crate) struct Queued {
    /// `None` before the first poll only.
    listener: Option<EventListener>,
    patience: Patience,
    /// This place is counted in `STARVED`, too.
    starved: bool,
}

impl Queued {
    /// What this place adds to the word.
    fn weight(&self) -> usize {
        if self.starved { WAITER + STARVED } else { WAITER }
    }
}

impl RawLock {
    sys::const_constructor! {
        pub(crate) fn new() -> Self {
            Self { state: AtomicUsize::new(0), unlocked: Event::new(), holder: HolderNote::new() }
        }
    }

    pub(crate) fn holder(&self) -> &HolderNote {
        &self.holder
    }

    pub(crate) fn is_locked(&self) -> bool {
        is_locked(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn waiters(&self) -> usize {
        waiters(self.state.load(Ordering::Acquire))
    }

    /// Locks if that is possible now. One exchange when nobody holds it and nobody waits.
    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        self.state.compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.overtake()
    }

    /// Locks ahead of those who wait, unless one of them is starved.
    #[cold]
    fn overtake(&self) -> bool {
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (!is_locked(state) && starved(state) == 0).then_some(state + LOCKED)
            })
            .is_ok()
    }

    /// Takes a place in the line.
    #[cold]
    pub(crate) fn enqueue(&self) -> Queued {
        let counted = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
            (waiters(state) < COUNT_MAX).then_some(state + WAITER)
        });
        assert!(counted.is_ok(), "a mutex has more than {COUNT_MAX} tasks waiting for it");
        Queued { listener: None, patience: Patience::start(), starved: false }
    }

    /// Waits for the lock. The place is used up when this returns `Ready`.
    #[cold]
    pub(crate) fn poll_queued(&self, queued: &mut Queued, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(listener) = &mut queued.listener {
                sys::foreign_call();
                ready!(Pin::new(listener).poll(cx));
                queued.listener = None;
                if self.claim(queued, |_| true) {
                    return Poll::Ready(());
                }
                self.note_the_loss(queued);
            }

            sys::foreign_call();
            queued.listener = Some(self.unlocked.listen());
            if !sys::sabotaged(Sabotage::LockWithoutRecheck) && self.look_again(queued) {
                return Poll::Ready(());
            }
        }
    }

    /// Locks after listening, if nobody but this place has a right to it.
    fn look_again(&self, queued: &mut Queued) -> bool {
        let own = usize::from(queued.starved);
        if self.claim(queued, |state| starved(state) == own) {
            // A wake-up that came in between is used up by this very success: the unlocking that
            // follows tells the next one. Passing it on would only move somebody to the end.
            if let Some(listener) = queued.listener.take() {
                sys::foreign_call();
                listener.discard();
            }
            return true;
        }
        if !is_locked(self.state.load(Ordering::Acquire))
            && !sys::sabotaged(Sabotage::RefusedLockCallsNobody)
        {
            // The lock is free, but meant for a starved one: see to it that the first in the
            // line knows, which may be this place itself.
            sys::foreign_call();
            self.unlocked.notify(1);
        }
        false
    }

    /// Turns a place in the line into the lock, if it is free and `admits` the state.
    fn claim(&self, queued: &Queued, admits: impl Fn(usize) -> bool) -> bool {
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (!is_locked(state) && admits(state)).then(|| state + LOCKED - queued.weight())
            })
            .is_ok()
    }

    /// Bars newcomers once this place has been overtaken and its patience is over.
    fn note_the_loss(&self, queued: &mut Queued) {
        if !queued.starved && queued.patience.is_exhausted() {
            // Cannot overflow: the starved are among the waiters, whose count was checked.
            self.state.fetch_add(STARVED, Ordering::Relaxed);
            queued.starved = true;
        }
    }

    /// Gives up a place in the line. A wake-up that it has received goes to the next one.
    pub(crate) fn leave(&self, queued: Queued) {
        // Count down first: whoever the listener wakes must not find the lock barred for us.
        let weight =
            if sys::sabotaged(Sabotage::LockStaysStarved) { WAITER } else { queued.weight() };
        self.state.fetch_sub(weight, Ordering::Release);
        sys::foreign_call();
        match queued.listener {
            Some(listener) if sys::sabotaged(Sabotage::LockKeepsItsCall) => {
                listener.discard();
            }
            listener => drop(listener),
        }
    }

    /// Unlocks, and tells the first in the line, if any. For the one who holds the lock.
    #[inline]
    pub(crate) fn unlock(&self) {
        self.holder.clear();
        let before = self.state.fetch_sub(LOCKED, Ordering::Release);
        debug_assert!(is_locked(before), "unlocked a mutex that nobody holds");
        if waiters(before) > 0 {
            self.tell();
        }
    }

    #[cold]
    fn tell(&self) {
        sys::foreign_call();
        self.unlocked.notify(1);
    }
}

impl fmt::Debug for RawLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Acquire);
        f.debug_struct("RawLock")
            .field("locked", &is_locked(state))
            .field("waiters", &waiters(state))
            .field("starved", &starved(state))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// The counts are bounded by an assertion; they never carry into their neighbours.
    #[test]
    fn m15_one_waiter_too_many_panics_and_changes_nothing() {
        let full = LOCKED + COUNT_MAX * WAITER;
        let lock = RawLock { state: AtomicUsize::new(full), ..RawLock::new() };

        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lock.enqueue()));

        assert!(refused.is_err());
        assert_eq!(lock.state.load(Ordering::SeqCst), full);
        assert_eq!((lock.waiters(), starved(full)), (COUNT_MAX, 0));
    }

    #[test]
    fn a_newcomer_overtakes_the_patient_but_not_the_starved() {
        let patient = RawLock { state: AtomicUsize::new(WAITER), ..RawLock::new() };
        assert!(patient.try_lock());

        let starving = RawLock { state: AtomicUsize::new(WAITER + STARVED), ..RawLock::new() };
        assert!(!starving.try_lock());
        assert!(!starving.is_locked());
    }
}
