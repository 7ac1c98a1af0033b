//! The event queue of the operating system: epoll on Linux, and the crate `polling` on other
//! systems.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use linux::{EventBuffer, EventQueue, Notifier};
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{EventBuffer, EventQueue, Notifier};

use std::io;

/// An event of a registered source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceEvent {
    /// The key that the source was added with.
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed, the source has failed, or there is urgent data: no later event
    /// announces it again, and a short read may not be the last one.
    pub(crate) closed: bool,
}

fn forked() -> io::Error {
    io::Error::other("the process was forked, and the event queue belongs to its parent")
}
