//! What everybody who refers to a task shares, and how references to it are counted.
//!
//! A word counts the references, and three bits of it settle what must be settled between threads:
//!
//! | bit | set by | settles |
//! | --- | --- | --- |
//! | `NOTIFIED` | a foreign waker; cleared by the domain | that one wake-up of many sends a message |
//! | `COMPLETE` | the domain, when the outcome is written | that the outcome may be taken |
//! | `HANDLE_DROPPED` | the promise, when it goes without it | who drops the outcome: who comes second |
//!
//! What a domain alone knows of its tasks (queued, running) is not here but in its tree, where it
//! costs no locked instruction.
//!
//! Nor do the references cost one that a domain makes and gives up itself, as it does whenever one
//! of its tasks waits: it counts them apart, until the task is over. Some of them may meanwhile be
//! given up on other threads, which the word then has too few of, as the count apart has too many.
//! So the domain's own reference counts in the word as very many, and no thread can take another
//! one for the last. At the end the domain puts the two counts together. (This is the biased
//! reference counting of Choi, Shull and Torrellas, PACT 2018, made simpler by an end that is
//! certain to come.)
//!
//! `runtime/tests/model/ending.rs`, `waking.rs` and `counting.rs` run this very state against its
//! wrong twins.

use crate::sys::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use crate::task::node::{NIL, Slot};

const NOTIFIED: usize = 1;
const COMPLETE: usize = 2;
const HANDLE_DROPPED: usize = 4;
/// One reference.
const REF_ONE: usize = 8;
const FLAGS: usize = REF_ONE - 1;

/// The domain's own reference, as long as references are counted apart.
const OWNER_BIAS: usize = REF_ONE << 26;

/// How many references are counted apart at most, either way: less than what `OWNER_BIAS` stands for.
const LOCAL_REFS_MAX: i32 = 1 << 25;

/// Beyond so many references somebody leaks them in a loop, and the count would wrap.
const COUNT_MAX: usize = isize::MAX as usize;

/// The state of a task that is shared between threads.
#[derive(Debug)]
pub(crate) struct State {
    word: AtomicUsize,
    /// The references that the domain has made, less those that it gave up. As `slot`, it is
    /// written and read by the domain alone, hence relaxed.
    local_refs: AtomicI32,
    /// The node's place in its domain's tree: from before the first poll until the task is over.
    slot: AtomicU32,
}

impl State {
    /// A task with two references: its domain's and its promise's.
    pub(crate) fn new() -> State {
        State {
            word: AtomicUsize::new(OWNER_BIAS + REF_ONE),
            local_refs: AtomicI32::new(0),
            slot: AtomicU32::new(NIL),
        }
    }

    /// Called by the domain when it has a place for the task.
    #[inline]
    pub(crate) fn set_slot(&self, slot: Slot) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Where the node is; `NIL` if the task is over. For the domain.
    #[inline]
    pub(crate) fn slot(&self) -> Slot {
        self.slot.load(Ordering::Relaxed)
    }

    /// Adds a reference. Relaxed, because whoever does so has one already.
    pub(crate) fn ref_inc(&self) {
        if self.word.fetch_add(REF_ONE, Ordering::Relaxed) > COUNT_MAX {
            // As `Arc` does it: a panic could be caught, and the count would still be wrong.
            std::process::abort();
        }
    }

    /// Gives a reference up. Returns whether it was the last one.
    pub(crate) fn ref_dec(&self) -> bool {
        // Who has the only reference need not write: nobody is left to make another one. The
        // acquiring load sees what was done before the others were given up, since a chain of
        // read-modify-writes leads from each of them to the value that is read here.
        if self.word.load(Ordering::Acquire) & !FLAGS == REF_ONE {
            return true;
        }
        self.word.fetch_sub(REF_ONE, Ordering::AcqRel) & !FLAGS == REF_ONE
    }

    /// As [`ref_inc`](State::acquire), on the task's own domain.
    #[inline]
    pub(crate) fn ref_inc_local(&self) {
        if !self.adjust_local(1) {
            self.ref_inc();
        }
    }

    /// As [`ref_dec`](State::release), on the task's own domain.
    #[inline]
    pub(crate) fn ref_dec_local(&self) -> bool {
        !self.adjust_local(-1) && self.ref_dec()
    }

    /// Counts a reference of the domain apart, unless the counts are together already.
    #[inline]
    fn adjust_local(&self, change: i32) -> bool {
        let changed = self.local_refs.load(Ordering::Relaxed) + change;
        let may = self.slot() != NIL && changed.abs() <= LOCAL_REFS_MAX;
        if may {
            self.local_refs.store(changed, Ordering::Relaxed);
        }
        may
    }

    /// What the domain's own reference is to be replaced by in the word when the task is over.
    #[inline]
    fn local_ref_bits(&self) -> usize {
        // It may be less than none: then the word has more.
        (self.local_refs.load(Ordering::Relaxed) as usize).wrapping_mul(REF_ONE)
    }

    /// Called on a foreign thread that wakes the task. Returns whether a message has to be sent.
    ///
    /// A wake-up while one is under way must still write, so that the domain, when it hears of the
    /// first, sees what was written before the second.
    pub(crate) fn notify_remote(&self) -> bool {
        !self.is_complete()
            && self.word.fetch_or(NOTIFIED, Ordering::AcqRel) & (NOTIFIED | COMPLETE) == 0
    }

    /// Called by the domain when the message has come, before it looks at the task.
    pub(crate) fn ack(&self) {
        self.word.fetch_and(!NOTIFIED, Ordering::AcqRel);
    }

    /// Called by the domain after the outcome was written: says so, and gives the domain's
    /// reference up. Returns false, and keeps the reference, if the promise is gone: the outcome
    /// is then the domain's to drop.
    pub(crate) fn complete(&self) -> bool {
        // Before the cell may be freed.
        let place = self.slot();
        self.set_slot(NIL);
        let local_refs = self.local_ref_bits();
        let mut now = self.word.load(Ordering::Acquire);
        while now & HANDLE_DROPPED == 0 {
            let new = (now | COMPLETE).wrapping_sub(OWNER_BIAS).wrapping_add(local_refs);
            debug_assert!(new & !FLAGS >= REF_ONE, "the promise has a reference of its own");
            match self.word.compare_exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
        self.set_slot(place);
        false
    }

    /// Called by the domain when nobody can take the outcome any more: says that the task is over,
    /// and gives the domain's reference up. Returns whether it was the last one.
    pub(crate) fn complete_detached(&self) -> bool {
        self.set_slot(NIL);
        self.word.fetch_or(COMPLETE, Ordering::AcqRel);
        let given_up = OWNER_BIAS.wrapping_sub(self.local_ref_bits());
        let before = self.word.fetch_sub(given_up, Ordering::AcqRel);
        before.wrapping_sub(given_up) & !FLAGS == 0
    }

    /// Called by the promise when it goes. Returns whether the outcome is the promise's to drop.
    pub(crate) fn drop_handle(&self) -> bool {
        self.word.fetch_or(HANDLE_DROPPED, Ordering::AcqRel) & COMPLETE != 0
    }

    /// Whether the outcome was written.
    pub(crate) fn is_complete(&self) -> bool {
        self.word.load(Ordering::Acquire) & COMPLETE != 0
    }
}
