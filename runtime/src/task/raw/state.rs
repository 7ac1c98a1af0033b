//! The state of a task that all threads share, and how references to it are counted.
//!
//! # The word
//!
//! One atomic word holds the number of references and three flags:
//!
//! | flag | set by | decides |
//! | --- | --- | --- |
//! | `NOTIFIED` | a remote waker; cleared by the domain | which of many wake-ups sends a message |
//! | `COMPLETE` | the domain, after it has written the outcome | when the outcome may be taken |
//! | `HANDLE_DROPPED` | the promise, when it is dropped | which side drops the outcome |
//!
//! The transitions of the last two flags, where the second side to arrive gets the outcome:
//!
//! ```text
//!                complete()                              take(): the promise has the outcome
//! (neither) --------------------> COMPLETE ------------> drop_handle(): the promise drops it
//!     | drop_handle()
//!     v
//! HANDLE_DROPPED -- complete() refuses; the domain drops the outcome -- complete_detached()
//! ```
//!
//! Whether a task is queued or running is not recorded here but in the domain's task tree, where
//! writing it takes no atomic operation.
//!
//! # Biased counting
//!
//! The owning domain clones and drops wakers whenever one of its tasks waits. It counts those
//! references in a separate counter without atomics (`local_refs`) until the task completes. Some
//! of them may be released on other threads, which decrement the word; then the word is too low and
//! `local_refs` is too high by the same number. So that no other thread can mistake its reference
//! for the last one, the domain's own reference counts as a large bias in the word. On completion
//! the domain replaces the bias by `local_refs`, and from then on the word is exact. (This is the
//! biased reference counting of Choi, Shull and Torrellas, PACT 2018, simplified by the fact that
//! every task completes.)
//!
//! `runtime/tests/model/completion.rs`, `wakes.rs`, `ref_counts.rs` run this very type under loom,
//! next to wrong variants that must fail.

use super::super::node::{NIL, Slot};
use crate::sys::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

const NOTIFIED: usize = 1;
const COMPLETE: usize = 2;
const HANDLE_DROPPED: usize = 4;
/// One reference.
const REF_ONE: usize = 8;
const FLAGS: usize = REF_ONE - 1;

/// The domain's own reference while its other references are counted in `local_refs`.
const OWNER_BIAS: usize = REF_ONE << 26;

/// The largest absolute value of `local_refs`: less than the number of references in the bias.
const LOCAL_REFS_MAX: i32 = 1 << 25;

/// A higher count means that references are leaked in a loop and the count would soon overflow.
const COUNT_MAX: usize = isize::MAX as usize;

/// The state of a task that is shared between threads.
#[derive(Debug)]
pub(crate) struct State {
    word: AtomicUsize,
    /// The references that the domain has added, minus those that it has released. Accessed only by
    /// the domain's thread, as is `slot`, hence relaxed.
    local_refs: AtomicI32,
    /// The task's node in the domain's tree; `NIL` before it has one and after completion.
    slot: AtomicU32,
}

impl State {
    /// The state of a new task with two references: the domain's and the promise's.
    pub(crate) fn new() -> State {
        State {
            word: AtomicUsize::new(OWNER_BIAS + REF_ONE),
            local_refs: AtomicI32::new(0),
            slot: AtomicU32::new(NIL),
        }
    }

    /// Records the task's node. Called by the domain.
    #[inline]
    pub(crate) fn set_slot(&self, slot: Slot) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Returns the task's node, or `NIL` if the task is complete. Called by the domain.
    #[inline]
    pub(crate) fn slot(&self) -> Slot {
        self.slot.load(Ordering::Relaxed)
    }

    /// Adds a reference. Relaxed, because the caller already holds one.
    pub(crate) fn ref_inc(&self) {
        if self.word.fetch_add(REF_ONE, Ordering::Relaxed) > COUNT_MAX {
            // As `Arc` does: a panic could be caught, and the count would still be wrong.
            std::process::abort();
        }
    }

    /// Releases a reference. Returns whether it was the last one.
    pub(crate) fn ref_dec(&self) -> bool {
        // The holder of the only reference need not write: no other thread can add one. The
        // acquiring load sees everything done before the other references were released, since each
        // release is followed by a chain of read-modify-writes up to the value that is read here.
        if self.word.load(Ordering::Acquire) & !FLAGS == REF_ONE {
            return true;
        }
        // Release: pairs with the acquire (here or above) of the thread that frees the task.
        self.word.fetch_sub(REF_ONE, Ordering::AcqRel) & !FLAGS == REF_ONE
    }

    /// As [`ref_inc`](State::ref_inc), on the task's own domain.
    #[inline]
    pub(crate) fn ref_inc_local(&self) {
        if !self.adjust_local(1) {
            self.ref_inc();
        }
    }

    /// As [`ref_dec`](State::ref_dec), on the task's own domain.
    #[inline]
    pub(crate) fn ref_dec_local(&self) -> bool {
        !self.adjust_local(-1) && self.ref_dec()
    }

    /// Counts a reference in `local_refs`. Returns `false` if that is no longer possible, because
    /// the task is complete or the counter is full.
    #[inline]
    fn adjust_local(&self, change: i32) -> bool {
        let changed = self.local_refs.load(Ordering::Relaxed) + change;
        let is_biased = self.slot() != NIL && changed.abs() <= LOCAL_REFS_MAX;
        if is_biased {
            self.local_refs.store(changed, Ordering::Relaxed);
        }
        is_biased
    }

    /// Returns the value that replaces the bias in the word on completion.
    #[inline]
    fn local_ref_bits(&self) -> usize {
        // Possibly negative: the word then holds more references than the domain has left.
        (self.local_refs.load(Ordering::Relaxed) as usize).wrapping_mul(REF_ONE)
    }

    /// Called on another thread that wakes the task. Returns whether it has to send a message.
    ///
    /// The flag is also written if a message is on its way already: release, so that the domain,
    /// whose `acknowledge` reads the result, sees what this thread wrote before the wake-up.
    pub(crate) fn notify_remote(&self) -> bool {
        !self.is_complete()
            && self.word.fetch_or(NOTIFIED, Ordering::AcqRel) & (NOTIFIED | COMPLETE) == 0
    }

    /// Called by the domain when the message arrives, before it accesses the task. Acquire: pairs
    /// with every `notify_remote` since the last call.
    pub(crate) fn acknowledge(&self) {
        self.word.fetch_and(!NOTIFIED, Ordering::AcqRel);
    }

    /// Called by the domain after it has written the outcome. Hands the outcome to the promise and
    /// releases the domain's reference; returns `false` and does neither if the promise is gone.
    pub(crate) fn complete(&self) -> bool {
        // Cleared before the exchange: after it the task may be freed at any time.
        let slot = self.slot();
        self.set_slot(NIL);
        let local_refs = self.local_ref_bits();
        let mut word = self.word.load(Ordering::Acquire);
        while word & HANDLE_DROPPED == 0 {
            let new = (word | COMPLETE).wrapping_sub(OWNER_BIAS).wrapping_add(local_refs);
            debug_assert!(new & !FLAGS >= REF_ONE, "the promise has a reference of its own");
            // Release: publishes the outcome to `is_complete` and `drop_handle`. Acquire on
            // failure: sees what the promise did before it set `HANDLE_DROPPED`.
            match self.word.compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(changed) => word = changed,
            }
        }
        self.set_slot(slot);
        false
    }

    /// Called by the domain when the outcome has no receiver and was dropped. Marks the task as
    /// complete and releases the domain's reference. Returns whether it was the last one.
    pub(crate) fn complete_detached(&self) -> bool {
        self.set_slot(NIL);
        // First the flag, while the bias still keeps the task alive.
        self.word.fetch_or(COMPLETE, Ordering::AcqRel);
        let released = OWNER_BIAS.wrapping_sub(self.local_ref_bits());
        // Acquire: sees what was done before the other references were released.
        let before = self.word.fetch_sub(released, Ordering::AcqRel);
        before.wrapping_sub(released) & !FLAGS == 0
    }

    /// Called by the promise when it is dropped. Returns whether the outcome is the promise's to
    /// drop. Acquire: pairs with `complete`, which published the outcome.
    pub(crate) fn drop_handle(&self) -> bool {
        self.word.fetch_or(HANDLE_DROPPED, Ordering::AcqRel) & COMPLETE != 0
    }

    /// Returns whether the task is complete. Acquire: if so, the outcome can be read.
    pub(crate) fn is_complete(&self) -> bool {
        self.word.load(Ordering::Acquire) & COMPLETE != 0
    }
}
