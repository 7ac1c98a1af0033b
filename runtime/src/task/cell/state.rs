//! The word that everybody who refers to a task shares.
//!
//! It counts the references, and three bits settle what must be settled between threads:
//!
//! | bit | set by | settles |
//! | --- | --- | --- |
//! | `CALLED` | a foreign waker; cleared by the domain | that one wake-up of many sends a message |
//! | `OVER` | the domain, when the outcome is written | that the outcome may be taken |
//! | `DETACHED` | the promise, when it goes without it | who drops the outcome: who comes second |
//!
//! What a domain alone knows of its tasks (queued, running) is not here but in its tree, where it
//! costs no locked instruction. `runtime/tests/model/cell.rs` runs this very word against its wrong
//! twins.

use crate::sys::atomic::{AtomicUsize, Ordering};

const CALLED: usize = 1;
const OVER: usize = 2;
const DETACHED: usize = 4;
/// One reference.
const REFERENCE: usize = 8;
const FLAGS: usize = REFERENCE - 1;

/// Beyond so many references somebody leaks them in a loop, and the count would wrap.
const COUNT_MAX: usize = isize::MAX as usize;

/// The state of a task that is shared between threads.
#[derive(Debug)]
pub(crate) struct State(AtomicUsize);

impl State {
    /// A task with two references: its domain's and its promise's.
    pub(crate) fn new() -> State {
        State(AtomicUsize::new(2 * REFERENCE))
    }

    /// Adds a reference. Relaxed, because whoever does so has one already.
    pub(crate) fn acquire(&self) {
        if self.0.fetch_add(REFERENCE, Ordering::Relaxed) > COUNT_MAX {
            // As `Arc` does it: a panic could be caught, and the count would still be wrong.
            std::process::abort();
        }
    }

    /// Gives a reference up. Returns whether it was the last one.
    pub(crate) fn release(&self) -> bool {
        // Who has the only reference need not write: nobody is left to make another one. The
        // acquiring load sees what was done before the others were given up, since a chain of
        // read-modify-writes leads from each of them to the value that is read here.
        if self.0.load(Ordering::Acquire) & !FLAGS == REFERENCE {
            return true;
        }
        self.0.fetch_sub(REFERENCE, Ordering::AcqRel) & !FLAGS == REFERENCE
    }

    /// Called on a foreign thread that wakes the task. Returns whether a message has to be sent.
    ///
    /// A wake-up while one is under way must still write, so that the domain, when it hears of the
    /// first, sees what was written before the second.
    pub(crate) fn call(&self) -> bool {
        !self.is_over() && self.0.fetch_or(CALLED, Ordering::AcqRel) & (CALLED | OVER) == 0
    }

    /// Called by the domain when the message has come, before it looks at the task.
    pub(crate) fn hear(&self) {
        self.0.fetch_and(!CALLED, Ordering::AcqRel);
    }

    /// Called by the domain after the outcome was written: says so, and gives the domain's
    /// reference up. Returns false, and keeps the reference, if the promise is gone: the outcome
    /// is then the domain's to drop.
    pub(crate) fn hand_over(&self) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        while now & DETACHED == 0 {
            debug_assert!(now & !FLAGS >= 2 * REFERENCE, "the promise has a reference of its own");
            let new = (now | OVER) - REFERENCE;
            match self.0.compare_exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
        false
    }

    /// Called by the domain when nobody can take the outcome any more.
    pub(crate) fn end_unseen(&self) {
        self.0.fetch_or(OVER, Ordering::AcqRel);
    }

    /// Called by the promise when it goes. Returns whether the outcome is the promise's to drop.
    pub(crate) fn detach(&self) -> bool {
        self.0.fetch_or(DETACHED, Ordering::AcqRel) & OVER != 0
    }

    /// Whether the outcome was written.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) & OVER != 0
    }
}
