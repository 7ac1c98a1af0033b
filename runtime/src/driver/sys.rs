//! The system's event queue: `polling`, and on Linux its descriptor waited on directly.
//!
//! Why not `polling`'s own wait there? It makes five system calls (it sets a timerfd, re-arms its
//! one-shot notifier, ..); one is enough. `polling` also cannot ask for `EPOLLRDHUP`, without
//! which a short read could not be taken for "nothing more is there": the end of the stream may
//! already have been announced together with the data.

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) key: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has closed, or the descriptor failed: no later event will tell it again.
    pub(super) closed: bool,
}

#[cfg(target_os = "linux")]
pub(super) use linux::{Events, Queue};
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{Events, Queue};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use polling::Poller;
    use rustix::buffer::spare_capacity;
    use rustix::event::epoll::{self, EventData, EventFlags};
    use rustix::event::{EventfdFlags, Timespec, eventfd};
    use rustix::io::Errno;

    use super::Ready;
    use crate::driver::Unpark;

    /// The key of our own eventfd; those of descriptors are indices of a slab.
    const BELL_KEY: u64 = u64::MAX - 1;
    /// How many events one wait takes in.
    const EVENTS_MAX: usize = 256;

    #[derive(Debug)]
    pub(in crate::driver) struct Queue {
        poller: Poller,
        bell: Arc<Parker>,
    }

    /// Room for what one wait brings.
    pub(in crate::driver) struct Events(Vec<epoll::Event>);

    impl Events {
        pub(in crate::driver) fn new() -> Events {
            Events(Vec::with_capacity(EVENTS_MAX))
        }
    }

    /// An eventfd, registered edge-triggered once: every write is an edge, and it is never read.
    ///
    /// It is closed with its queue, although others may hold the bell for longer (the thread that
    /// watches for signals, or a promise that was leaked): a run leaves no descriptor behind. Why a
    /// lock? Without one, the close could not wait for an interrupt that is on its way. Only one
    /// thread at a time interrupts a sleeper, so it is free as a rule.
    #[derive(Debug)]
    struct Parker(Mutex<Option<OwnedFd>>);

    impl Parker {
        fn close(&self) {
            let mut fd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(fd.take());
        }
    }

    impl Unpark for Parker {
        fn unpark(&self) {
            let fd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(fd) = &*fd {
                // It could fail only if the counter were full, and then an event is pending anyway.
                let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
            }
        }
    }

    impl Drop for Queue {
        fn drop(&mut self) {
            self.bell.close();
        }
    }

    impl Queue {
        pub(in crate::driver) fn new() -> io::Result<Queue> {
            let poller = Poller::new()?;
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let data = EventData::new_u64(BELL_KEY);
            epoll::add(poller.as_fd(), &bell, data, EventFlags::IN | EventFlags::ET)?;
            Ok(Queue { poller, bell: Arc::new(Parker(Mutex::new(Some(bell)))) })
        }

        pub(in crate::driver) fn unparker(&self) -> Arc<dyn Unpark> {
            self.bell.clone()
        }

        pub(in crate::driver) fn add(&self, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            Ok(epoll::add(self.poller.as_fd(), fd, EventData::new_u64(key as u64), flags)?)
        }

        pub(in crate::driver) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
            self.poller.delete(fd)
        }

        /// Waits, and returns what is ready; `None` means without end.
        #[inline]
        pub(in crate::driver) fn wait<'e>(
            &self,
            timeout: Option<Duration>,
            events: &'e mut Events,
        ) -> io::Result<impl Iterator<Item = Ready> + use<'e>> {
            let timeout = timeout.map(round_up);
            let events = &mut events.0;
            events.clear();
            match epoll::wait(self.poller.as_fd(), spare_capacity(events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => Ok(events.iter().filter_map(ready)),
                Err(error) => Err(error.into()),
            }
        }
    }

    /// What an event says of a descriptor; `None` if it is the bell's.
    fn ready(event: &epoll::Event) -> Option<Ready> {
        let (key, flags) = (event.data.u64(), event.flags);
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        (key < BELL_KEY).then(|| Ready {
            key: key as usize,
            readable: gone || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
            writable: gone || flags.contains(EventFlags::OUT),
            closed: gone || flags.contains(EventFlags::RDHUP),
        })
    }

    /// Whole milliseconds, which every kernel understands, and never less than asked: a wait that
    /// ended early would be repeated at once, and spin.
    fn round_up(timeout: Duration) -> Timespec {
        const MILLIS_MAX: u128 = i32::MAX as u128;
        let millis = timeout.as_nanos().div_ceil(1_000_000).min(MILLIS_MAX) as i64;
        Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::fmt;
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::sync::Arc;
    use std::time::Duration;

    use polling::{Event, PollMode, Poller};

    use super::Ready;
    use crate::driver::Unpark;

    pub(in crate::driver) struct Queue {
        poller: Arc<Poller>,
    }

    /// Room for what one wait brings.
    pub(in crate::driver) struct Events(polling::Events);

    impl Events {
        pub(in crate::driver) fn new() -> Events {
            Events(polling::Events::new())
        }
    }

    struct Parker(Arc<Poller>);

    impl Unpark for Parker {
        fn unpark(&self) {
            let _ = self.0.notify();
        }
    }

    impl Queue {
        pub(in crate::driver) fn new() -> io::Result<Queue> {
            Ok(Queue { poller: Arc::new(Poller::new()?) })
        }

        pub(in crate::driver) fn unparker(&self) -> Arc<dyn Unpark> {
            Arc::new(Parker(self.poller.clone()))
        }

        pub(in crate::driver) fn add(&self, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
            // SAFETY: the descriptor is deleted before it is closed: the reactor holds the `IoSource`
            // that owns it until `Reactor::deregister`, and `IoSource::close` deregisters first.
            unsafe { self.poller.add_with_mode(fd.as_raw_fd(), Event::all(key), PollMode::Edge) }
        }

        pub(in crate::driver) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
            self.poller.delete(fd)
        }

        pub(in crate::driver) fn wait<'e>(
            &self,
            timeout: Option<Duration>,
            events: &'e mut Events,
        ) -> io::Result<impl Iterator<Item = Ready> + use<'e>> {
            let events = &mut events.0;
            events.clear();
            match self.poller.wait(events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            Ok(events.iter().map(|event| Ready {
                key: event.key,
                readable: event.readable,
                writable: event.writable,
                // Not told apart here: a short read is then never taken for the last one.
                closed: true,
            }))
        }
    }

    impl fmt::Debug for Queue {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Queue").field("poller", &self.poller).finish_non_exhaustive()
        }
    }
}
