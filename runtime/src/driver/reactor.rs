use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use super::poller::{PollMode, Poller, Readiness, Registration, Token};
use super::{Driver, ParkTimeout, Unpark};
use crate::locks::{Guard, lock};
use crate::panics;
use crate::sys::{BorrowedSource, EventBuffer, EventQueue, Notifier};

/// The default driver: the clock and the event queue of the operating system.
///
/// On Linux it waits by epoll, by one system call in each tick of the domain. On other systems it
/// uses the crate `polling`. Sources are registered edge-triggered, once for their time on the
/// domain; see [`IoSource`](crate::IoSource).
pub struct Reactor {
    shared: Arc<Shared>,
    /// The events of a wait, and the wakers to wake; kept to reuse their memory.
    events: RefCell<EventBuffer>,
    woken: RefCell<Vec<Waker>>,
}

/// The poller of a reactor. Other threads use it to deregister a source that moves to another
/// domain or is closed.
#[derive(Debug)]
struct Shared {
    queue: EventQueue,
    /// The registered sources. None of them is closed before it is removed here.
    sources: Mutex<Slab<Registration>>,
}

impl Reactor {
    /// Creates a reactor.
    ///
    /// # Errors
    ///
    /// When the system cannot create an event queue, for example because the limit on descriptors
    /// is reached.
    pub fn new() -> io::Result<Reactor> {
        let shared = Shared { queue: EventQueue::new()?, sources: Mutex::default() };
        let (events, woken) = (RefCell::new(EventBuffer::new()), RefCell::default());
        Ok(Reactor { shared: Arc::new(shared), events, woken })
    }

    /// Returns the number of registered sources.
    pub fn registered(&self) -> usize {
        self.shared.sources().len()
    }

    /// Waits for events, and moves the wakers of tasks that wait for them to `woken`.
    fn wait_for_events(&self, timeout: Option<Duration>, woken: &mut Vec<Waker>) -> io::Result<()> {
        let mut events = self.events.borrow_mut();
        let (mut sources, mut contended) = (None, Vec::new());
        for event in self.shared.queue.wait(timeout, &mut events)? {
            // Take the lock once for all events, and only if there are any.
            let sources = sources.get_or_insert_with(|| self.shared.sources());
            // The source may have been deregistered since, and another one may have its key. The
            // tasks that wait for that source then make one extra attempt; no event is lost.
            let Some(registration) = sources.get(event.key) else { continue };
            let readiness = Readiness {
                readable: event.readable,
                writable: event.writable,
                closed: event.closed,
            };
            // Do not wait for the source's lock: its holder may wait for `sources`.
            let Registration { source, number } = registration;
            if !source.try_set_ready_into(*number, readiness, woken) {
                contended.push((registration.clone(), readiness));
            }
        }
        drop(sources);
        while let Some((registration, readiness)) = contended.pop() {
            registration.source.set_ready_into(registration.number, readiness, woken);
        }
        Ok(())
    }
}

impl Shared {
    fn sources(&self) -> Guard<'_, Slab<Registration>> {
        lock(&self.sources)
    }

    fn remove(&self, key: usize) {
        // If it is the last reference to the source, foreign wakers are dropped: not under the
        // lock.
        let registration = self.sources().try_remove(key);
        drop(registration);
    }
}

impl Poller for Shared {
    fn mode(&self) -> PollMode {
        PollMode::EdgeTriggered
    }

    fn register(
        &self,
        source: BorrowedSource<'_>,
        registration: Registration,
    ) -> io::Result<Token> {
        // Insert the registration first: an event may arrive before `add` returns.
        let key = self.sources().insert(registration);
        let added = self.queue.add(source, key);
        if let Err(error) = added {
            self.remove(key);
            return Err(error);
        }
        Ok(Token(key))
    }

    fn deregister(&self, source: BorrowedSource<'_>, token: Token) {
        // It fails only for a source that is not in the queue.
        let _ = self.queue.delete(source);
        self.remove(token.0);
    }
}

impl Unpark for Notifier {
    fn unpark(&self) {
        self.notify();
    }
}

impl Driver for Reactor {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        let mut woken = self.woken.take();
        let waited = self.wait_for_events(timeout.remaining(Instant::now), &mut woken);
        // Wake without a lock: a waker may run any code.
        woken.drain(..).for_each(panics::wake);
        self.woken.replace(woken);
        waited
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.shared.queue.notifier()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        Some(Arc::clone(&self.shared) as Arc<dyn Poller>)
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // A source may outlive its domain, for example in a static. It refers to the poller, and
        // the poller to it: separate them, so that both can be freed.
        let sources = std::mem::take(&mut *self.shared.sources());
        sources.into_iter().for_each(|(_, registration)| registration.detach());
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("registered", &self.registered()).finish_non_exhaustive()
    }
}
