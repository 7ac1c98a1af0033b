use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use slab::Slab;

use super::io::Io;
use super::sys::{Queue, Ready};
use super::{Driver, Interrupt, Until};

/// The default driver: the system's event queue, by the crate `polling`.
///
/// A turn makes one waiting system call. Descriptors are registered edge-triggered, once for
/// their life on the domain, and only when an operation first would block; see [`Io`].
pub struct Reactor {
    shared: Arc<Shared>,
    /// What the last wait brought, and whom that concerns; kept to use their memory again.
    ready: RefCell<Vec<Ready>>,
    concerned: RefCell<Vec<(Arc<Io>, Ready)>>,
}

/// The part of a reactor that an [`Io`] on another thread may touch, to leave it.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Queue,
    /// The registered descriptors. While one is here it is not closed.
    sources: Mutex<Slab<Arc<Io>>>,
}

impl Reactor {
    /// Makes a reactor.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors left for its event queue.
    pub fn new() -> io::Result<Reactor> {
        let shared = Shared { queue: Queue::new()?, sources: Mutex::default() };
        let (ready, concerned) = (RefCell::default(), RefCell::default());
        Ok(Reactor { shared: Arc::new(shared), ready, concerned })
    }

    /// Returns how many descriptors are registered.
    pub fn registered(&self) -> usize {
        self.shared.sources().len()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Wakes the tasks that wait for what has become ready.
    fn dispatch(&self, ready: &mut Vec<Ready>) {
        if ready.is_empty() {
            return;
        }
        let mut concerned = self.concerned.take();
        {
            // A descriptor may have left meanwhile, or another one taken its key: its tasks then
            // look once more and find that they have to wait. No event is lost by that.
            let sources = self.shared.sources();
            let find = |ready: Ready| Some((Arc::clone(sources.get(ready.key)?), ready));
            concerned.extend(ready.drain(..).filter_map(find));
        }
        for (io, ready) in concerned.drain(..) {
            io.mark_ready(ready).wake();
        }
        self.concerned.replace(concerned);
    }
}

impl Shared {
    fn sources(&self) -> MutexGuard<'_, Slab<Arc<Io>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a descriptor and returns its key.
    pub(super) fn register(&self, fd: BorrowedFd<'_>, io: Arc<Io>) -> io::Result<usize> {
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

    fn wait(&self, until: Until) -> io::Result<()> {
        let timeout = match until {
            Until::Now => Some(std::time::Duration::ZERO),
            Until::Deadline(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            Until::Forever => None,
        };
        let mut ready = self.ready.take();
        let waited = self.shared.queue.wait(timeout, &mut ready);
        self.dispatch(&mut ready);
        self.ready.replace(ready);
        waited
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.shared.queue.interrupter()
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
        for (_, io) in sources {
            io.evict().wake();
        }
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("registered", &self.registered()).finish_non_exhaustive()
    }
}
