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

/// An event of a registered source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceEvent {
    /// The key that the source was added with.
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed, or the source has failed: no later event announces it again.
    pub(crate) closed: bool,
}
