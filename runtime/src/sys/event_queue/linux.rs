//! epoll. `polling` creates the queue, but its descriptor is used directly.
//!
//! `polling`'s own wait takes five system calls (among others it sets a timerfd and re-arms its
//! one-shot notifier), where one suffices. `polling` cannot request `EPOLLRDHUP` either. Without
//! that flag, a short read could not be taken as a sign that no more data is available: the end of
//! the stream may have been announced together with the data. `EPOLLPRI` announces urgent data,
//! before which a read ends early.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polling::Poller;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::{SourceEvent, forked};
use crate::locks::lock;
use crate::sys::Process;

/// The key of the notifier. Keys of sources are indices of a slab.
const NOTIFIER_KEY: u64 = u64::MAX - 1;
/// The most events that one wait returns.
const EVENTS_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct EventQueue {
    poller: Poller,
    notifier: Arc<Notifier>,
    process: Process,
}

/// Memory for the events of one wait.
pub(crate) struct EventBuffer(Vec<epoll::Event>);

impl EventBuffer {
    pub(crate) fn new() -> EventBuffer {
        EventBuffer(Vec::with_capacity(EVENTS_MAX))
    }
}

/// Ends a wait, from any thread: an eventfd, registered edge-triggered. Every write is an edge, so
/// it is never read.
///
/// The descriptor is closed together with its queue, even if the signal watcher or a leaked promise
/// still holds the notifier: a run leaves no descriptor behind. The lock makes the close wait for a
/// notification in progress. It is rarely contended, because only one thread at a time unparks a
/// domain.
#[derive(Debug)]
pub(crate) struct Notifier(Mutex<Option<OwnedFd>>);

impl Notifier {
    pub(crate) fn notify(&self) {
        let fd = lock(&self.0);
        if let Some(fd) = &*fd {
            // The write can only fail if the counter is full, and then an event is pending.
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }

    fn close(&self) {
        let mut fd = lock(&self.0);
        drop(fd.take());
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.notifier.close();
    }
}

impl EventQueue {
    pub(crate) fn new() -> io::Result<EventQueue> {
        let poller = Poller::new()?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let data = EventData::new_u64(NOTIFIER_KEY);
        epoll::add(poller.as_fd(), &eventfd, data, EventFlags::IN | EventFlags::ET)?;
        let notifier = Arc::new(Notifier(Mutex::new(Some(eventfd))));
        Ok(EventQueue { poller, notifier, process: Process::current() })
    }

    pub(crate) fn notifier(&self) -> Arc<Notifier> {
        Arc::clone(&self.notifier)
    }

    /// Adds a source, edge-triggered for both directions. The caller must
    /// [`delete`](EventQueue::delete) it before it is closed.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
        if self.process.is_forked() {
            return Err(forked());
        }
        let data = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        // fault: urgent-data-not-requested
        let flags = data | EventFlags::RDHUP | EventFlags::PRI;
        Ok(epoll::add(self.poller.as_fd(), fd, EventData::new_u64(key as u64), flags)?)
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // A forked process shares the queue, whose registrations belong to the parent.
        if self.process.is_forked() {
            return Ok(());
        }
        self.poller.delete(fd)
    }

    /// Waits for events; without a limit if `timeout` is `None`. An interrupted wait returns no
    /// events.
    #[inline]
    pub(crate) fn wait<'e>(
        &self,
        timeout: Option<Duration>,
        events: &'e mut EventBuffer,
    ) -> io::Result<impl Iterator<Item = SourceEvent> + use<'e>> {
        if self.process.is_forked() {
            return Err(forked());
        }
        let timeout = timeout.map(round_up);
        let events = &mut events.0;
        events.clear();
        match epoll::wait(self.poller.as_fd(), spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(events.iter().filter_map(source_event)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Translates an event; `None` if it is the notifier's.
fn source_event(event: &epoll::Event) -> Option<SourceEvent> {
    let (key, flags) = (event.data.u64(), event.flags);
    let failed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
    // A read ends before an urgent byte, so a short one says nothing about the bytes behind it.
    let ended = failed || flags.intersects(EventFlags::RDHUP | EventFlags::PRI);
    (key < NOTIFIER_KEY).then(|| SourceEvent {
        key: key as usize,
        readable: ended || flags.contains(EventFlags::IN),
        writable: failed || flags.contains(EventFlags::OUT),
        closed: ended,
    })
}

/// Rounds up to whole milliseconds, which every kernel supports. A wait that ended early would be
/// repeated at once, and spin.
fn round_up(timeout: Duration) -> Timespec {
    const MILLIS_MAX: u128 = i32::MAX as u128;
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(MILLIS_MAX) as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}
