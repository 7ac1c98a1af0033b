//! kqueue and similar systems, through the crate `polling`.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, PollMode, Poller};

use super::{SourceEvent, forked};
use crate::sys::Process;

pub(crate) struct EventQueue {
    poller: Arc<Poller>,
    process: Process,
}

/// Memory for the events of one wait.
pub(crate) struct EventBuffer(polling::Events);

impl EventBuffer {
    pub(crate) fn new() -> EventBuffer {
        EventBuffer(polling::Events::new())
    }
}

/// Ends a wait, from any thread.
pub(crate) struct Notifier(Arc<Poller>);

impl Notifier {
    pub(crate) fn notify(&self) {
        let _ = self.0.notify();
    }
}

impl EventQueue {
    pub(crate) fn new() -> io::Result<EventQueue> {
        Ok(EventQueue { poller: Arc::new(Poller::new()?), process: Process::current() })
    }

    pub(crate) fn notifier(&self) -> Arc<Notifier> {
        Arc::new(Notifier(Arc::clone(&self.poller)))
    }

    /// Adds a source, edge-triggered for both directions. The caller must
    /// [`delete`](EventQueue::delete) it before it is closed.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
        if self.process.is_forked() {
            return Err(forked());
        }
        // SAFETY: the source is deleted before it is closed: the reactor holds a `Registration`,
        // which keeps the descriptor open, until `Poller::deregister`, and `IoSource::close`
        // deregisters first.
        unsafe { self.poller.add_with_mode(fd.as_raw_fd(), Event::all(key), PollMode::Edge) }
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.process.is_forked() {
            return Ok(());
        }
        self.poller.delete(fd)
    }

    /// Waits for events; without a limit if `timeout` is `None`. An interrupted wait returns no
    /// events.
    pub(crate) fn wait<'e>(
        &self,
        timeout: Option<Duration>,
        events: &'e mut EventBuffer,
    ) -> io::Result<impl Iterator<Item = SourceEvent> + use<'e>> {
        if self.process.is_forked() {
            return Err(forked());
        }
        let events = &mut events.0;
        events.clear();
        match self.poller.wait(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        Ok(events.iter().map(|event| SourceEvent {
            key: event.key,
            readable: event.readable,
            writable: event.writable,
            // `polling` does not report this, nor urgent data on all systems, so a short read is
            // never taken for the last one.
            closed: true,
        }))
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        if self.process.is_forked() {
            // kqueue is not inherited: the number of its descriptor may have another meaning now.
            std::mem::forget(Arc::clone(&self.poller));
        }
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue").field("poller", &self.poller).finish_non_exhaustive()
    }
}
