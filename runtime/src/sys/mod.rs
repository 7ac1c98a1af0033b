//! Everything that depends on the operating system or on a model checker. No other module names
//! descriptors, error numbers, epoll, kqueue or signal numbers.

#[cfg(not(unix))]
compile_error!(
    "matou-runtime supports Unix systems only (Linux, macOS, the BSDs): it waits for I/O by epoll \
     or kqueue and takes signals by signal-hook"
);

mod event_queue;
mod fork;
mod signals;
mod sync;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

pub(crate) use event_queue::{EventBuffer, EventQueue, Notifier};
pub(crate) use fork::Process;
pub(crate) use signals::{
    CHILD, HANGUP, INTERRUPT, QUIT, SignalWatcher, TERMINATE, USER1, USER2, WINDOW_CHANGE,
    check_signal, default_action, terminate_by,
};
pub(crate) use sync::{atomic, lock};

/// A source of I/O as the operating system hands it out: a file descriptor.
///
/// An alias, so that code which names it also compiles for systems that call it differently.
pub type OwnedSource = OwnedFd;

/// A borrowed [`OwnedSource`].
pub type BorrowedSource<'a> = BorrowedFd<'a>;

/// Puts a source into non-blocking mode, unless it is in it.
pub(crate) fn set_nonblocking(source: &OwnedSource) -> io::Result<()> {
    let flags = fcntl_getfl(source)?;
    if !flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(source, flags | OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// Returns whether a source is in non-blocking mode.
pub(crate) fn is_nonblocking(source: &OwnedSource) -> bool {
    fcntl_getfl(source).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// Returns the number by which reports identify a source.
#[inline]
pub(crate) fn source_number(source: &OwnedSource) -> u64 {
    source.as_raw_fd() as u64
}
