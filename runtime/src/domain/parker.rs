//! How a domain parks, and how senders unpark it.
//!
//! A message must not arrive unnoticed between the domain's last look at its queue and its waiting
//! system call. So both sides first write and then read (Dekker's protocol):
//!
//! ```text
//! domain:  state = PARKED;  read the queue;  empty? wait in the driver;  state = RUNNING
//! sender:  push a message;  read the state;  PARKED? state = NOTIFIED, unpark
//! ```
//!
//! Sequentially consistent fences between the write and the read guarantee that at least one side
//! sees the write of the other. All other accesses are relaxed, because nothing else depends on
//! their order. Only a parked domain is unparked, and only once: a sender that reads `RUNNING` or
//! `NOTIFIED` makes no system call. A sender that finds the queue non-empty skips the check; the
//! sender of the first message performs it.

use crate::sys::atomic::{AtomicU8, Ordering, fence};

/// The domain is running and will read its queue before it parks.
const RUNNING: u8 = 0;
/// The domain is parked or about to park. Set only by the domain.
const PARKED: u8 = 1;
/// A sender has claimed the wake-up. Set by exactly one sender.
const NOTIFIED: u8 = 2;

/// The state that decides which sender unparks a domain.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU8,
}

impl Parker {
    pub(crate) fn new() -> Parker {
        Parker { state: AtomicU8::new(RUNNING) }
    }

    /// Called by the domain before it waits. Returns whether it may wait: `is_empty`, which reads
    /// the queue, is called after every sender can see that the domain is about to park.
    pub(crate) fn prepare_park(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.state.store(PARKED, Ordering::Relaxed);
        // Pairs with the fence in `notify`: either this thread sees the message or the sender sees
        // `PARKED`.
        fence(Ordering::SeqCst);
        if is_empty() {
            return true;
        }
        self.end_park();
        false
    }

    /// Called by the domain after it has waited.
    pub(crate) fn end_park(&self) {
        self.state.store(RUNNING, Ordering::Relaxed);
    }

    /// Called by a sender after its message is in the queue. Returns whether the sender must unpark
    /// the domain.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        // Pairs with the fence in `prepare_park`.
        fence(Ordering::SeqCst);
        let relaxed = Ordering::Relaxed;
        // The load saves the exchange in the common case of a running domain.
        self.state.load(relaxed) == PARKED
            && self.state.compare_exchange(PARKED, NOTIFIED, relaxed, relaxed).is_ok()
    }
}
