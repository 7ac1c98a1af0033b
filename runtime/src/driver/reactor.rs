use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use super::io::IoSource;
use super::sys::{Events, Queue};
use super::{Driver, ParkTimeout, Unpark};
use crate::panics;

/// The default driver: the system's event queue, by the crate `polling`.
///
/// A turn makes one waiting system call. Descriptors are registered edge-triggered, once for
/// their life on the domain, and only when an operation first would block; see [`IoSource`].
pub struct Reactor {
    shared: Arc<Shared>,
    /// Where a wait puts the events, and who is to be woken; kept to use their memory again.
    events: RefCell<Events>,
    woken: RefCell<Vec<Waker>>,
}

/// The part of a reactor that an [`IoSource`] on another thread may touch, to leave it.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Queue,
    /// The registered descriptors. While one is here it is not closed.
    sources: Mutex<Slab<Arc<IoSource>>>,
}

impl Reactor {
    /// Makes a reactor.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors left for its event queue.
    pub fn new() -> io::Result<Reactor> {
        let shared = Shared { queue: Queue::new()?, sources: Mutex::default() };
        let (events, woken) = (RefCell::new(Events::new()), RefCell::default());
        Ok(Reactor { shared: Arc::new(shared), events, woken })
    }

    /// Returns how many descriptors are registered.
    pub fn registered(&self) -> usize {
        self.shared.sources().len()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits, and takes out who waits for what has become ready.
    fn wait_for_events(&self, timeout: Option<Duration>, woken: &mut Vec<Waker>) -> io::Result<()> {
        let mut events = self.events.borrow_mut();
        let (mut sources, mut busy) = (None, Vec::new());
        for ready in self.shared.queue.wait(timeout, &mut events)? {
            // One lock for all, if there are any.
            let sources = sources.get_or_insert_with(|| self.shared.sources());
            // A descriptor may have left meanwhile, or another one taken its key: its tasks then
            // look once more and find that they have to wait. No event is lost by that.
            let Some(io) = sources.get(ready.key) else { continue };
            // Who uses a descriptor may want the sources next: it is not waited for here.
            if !io.try_mark_ready(ready, woken) {
                busy.push((Arc::clone(io), ready));
            }
        }
        drop(sources);
        while let Some((io, ready)) = busy.pop() {
            io.mark_ready(ready, woken);
        }
        Ok(())
    }
}

impl Shared {
    fn sources(&self) -> MutexGuard<'_, Slab<Arc<IoSource>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a descriptor and returns its key.
    pub(super) fn register(&self, fd: BorrowedFd<'_>, io: Arc<IoSource>) -> io::Result<usize> {
        // The key first: an event may come before `add` returns.
        let key = self.sources().insert(io);
        let added = self.queue.add(fd, key);
        if let Err(error) = added {
            drop(self.sources().try_remove(key));
            return Err(error);
        }
        Ok(key)
    }

    /// Deregisters a descriptor that is still open.
    pub(super) fn deregister(&self, fd: BorrowedFd<'_>, key: usize) {
        // It can fail only for a descriptor that is not registered, and then nothing is to be done.
        let _ = self.queue.delete(fd);
        drop(self.sources().try_remove(key));
    }
}

impl Driver for Reactor {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        let timeout = match timeout {
            ParkTimeout::Immediate => Some(Duration::ZERO),
            ParkTimeout::Deadline(deadline) => {
                Some(deadline.saturating_duration_since(Instant::now()))
            }
            ParkTimeout::Forever => None,
        };
        let mut woken = self.woken.take();
        let waited = self.wait_for_events(timeout, &mut woken);
        // Not under a lock: a waker may do anything.
        woken.drain(..).for_each(panics::wake);
        self.woken.replace(woken);
        waited
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.shared.queue.unparker()
    }

    fn reactor(&self) -> Option<&Reactor> {
        Some(self)
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // A descriptor that outlives its domain (its owner put it somewhere and disowned it) refers
        // to the reactor, as the reactor refers to it. Part them, so that both can go.
        let sources = std::mem::take(&mut *self.shared.sources());
        let mut woken = Vec::new();
        for (_, io) in sources {
            io.evict(&mut woken);
        }
        woken.into_iter().for_each(panics::wake);
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("registered", &self.registered()).finish_non_exhaustive()
    }
}
