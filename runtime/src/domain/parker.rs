//! How a domain falls asleep, and how others wake it.
//!
//! The danger is a message that arrives between a domain's last look into its inbox and its
//! waiting system call. Both sides therefore write first and look second (Dekker's protocol):
//!
//! ```text
//! domain:  state = ASLEEP;  look into the inbox; empty? wait : state = AWAKE
//! sender:  push a message;  look at the state;   ASLEEP? state = RUNG, interrupt
//! ```
//!
//! With sequentially consistent fences between the write and the look, at least one of the two
//! sees the other. The fences alone do that: all else is relaxed, and orders nothing. Only a
//! sleeper is interrupted, and only once: a sender that finds `RUNNING` or `NOTIFIED` makes no system
//! call. Who puts a message behind another one does not look at all: the sender of that one does.

use crate::sys::atomic::{AtomicU8, Ordering, fence};

/// The domain runs, and will look into its inbox before it sleeps.
const RUNNING: u8 = 0;
/// The domain is about to wait, or waits. Set by the domain alone.
const PARKED: u8 = 1;
/// Somebody has taken it upon himself to interrupt the sleeper. Set by one sender alone.
const NOTIFIED: u8 = 2;

/// The state that settles who interrupts a sleeping domain.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU8,
}

impl Parker {
    pub(crate) fn new() -> Parker {
        Parker { state: AtomicU8::new(RUNNING) }
    }

    /// Called by the domain before it waits. Returns whether it may: `empty` is asked after the
    /// intent to sleep can be seen by every sender.
    pub(crate) fn prepare_park(&self, empty: impl FnOnce() -> bool) -> bool {
        self.state.store(PARKED, Ordering::Relaxed);
        // Pairs with the fence in `notify`: either we see the message or the sender sees us.
        fence(Ordering::SeqCst);
        if empty() {
            return true;
        }
        self.end_park();
        false
    }

    /// Called by the domain after it waited.
    pub(crate) fn end_park(&self) {
        self.state.store(RUNNING, Ordering::Relaxed);
    }

    /// Called by a sender after its message is in the inbox. Returns whether the sender has to
    /// interrupt the domain.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        // Pairs with the fence in `prepare_park`.
        fence(Ordering::SeqCst);
        let relaxed = Ordering::Relaxed;
        self.state.load(relaxed) == PARKED
            && self.state.compare_exchange(PARKED, NOTIFIED, relaxed, relaxed).is_ok()
    }
}
