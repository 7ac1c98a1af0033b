//! Everything that depends on the operating system or on a model checker. No other module names
//! descriptors, error numbers, epoll, kqueue or signal numbers.

#[cfg(not(unix))]
compile_error!(
    "matou-runtime supports Unix systems only (Linux, macOS, the BSDs): it waits for I/O by epoll \
     or kqueue and takes signals by signal-hook"
);

mod event_queue;
mod signals;
mod sync;

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

pub(crate) use event_queue::{EventBuffer, EventQueue, Notifier};
pub(crate) use signals::{INTERRUPT, SignalWatcher, TERMINATE, terminate_by};
pub(crate) use sync::{atomic, lock};

/// A source of I/O as the operating system hands it out: a file descriptor.
///
/// An alias, so that code which names it also compiles for systems that call it differently.
pub type OwnedSource = OwnedFd;

/// A borrowed [`OwnedSource`].
pub type BorrowedSource<'a> = BorrowedFd<'a>;

/// Returns the number by which reports identify a source.
#[inline]
pub(crate) fn source_number(source: &OwnedSource) -> u64 {
    source.as_raw_fd() as u64
}
