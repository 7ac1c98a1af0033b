//! Detects that the process is a copy made by `fork`.
//!
//! A forked process has a copy of the memory of its parent, but only the thread that called `fork`,
//! and it shares the parent's epoll instances: a descriptor that it removes is removed for both.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process in which something was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// Returns the current process.
    pub(crate) fn current() -> Process {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            // SAFETY: the handler is a function that can be called at any time; it only increments
            // an atomic, which is async-signal-safe. It fails only for lack of memory, and then
            // forks are not detected.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        });
        Process(FORKS.load(Ordering::Relaxed))
    }

    /// Returns whether it is not the current process, which is a descendant of it then.
    #[inline]
    pub(crate) fn is_forked(self) -> bool {
        // Relaxed: only the thread that has called `fork` exists in the new process.
        // fault: fork-not-detected
        FORKS.load(Ordering::Relaxed) != self.0
    }
}

/// Called in each new process.
extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
