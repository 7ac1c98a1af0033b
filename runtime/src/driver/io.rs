use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker, ready};

use super::reactor::Shared;
use super::side::{Both, Direction, Side};
use super::sys::Ready;
use crate::domain::Domain;
use crate::panics;
use crate::task::{BlockedOn, WaitSite, WaitTarget};

/// A non-blocking descriptor that tasks can wait for: what sockets are made of.
///
/// An operation is tried first. Only if it would block does the descriptor register with the
/// reactor of the domain that it is used on, edge-triggered and for both directions, and it stays
/// registered until it is closed or used on another domain, whereupon it moves there. So a socket
/// that is accepted on one domain and given to another never touches the first one's queue. It is
/// used on one domain at a time: two domains that wait for it at once take it from each other.
///
/// Who makes one has to [`close`](IoSource::close) it: while it is registered, the reactor holds it too.
/// It is deregistered before it is closed, and nothing borrows the descriptor for longer than one
/// operation, so it cannot be closed under anybody's hands.
pub struct IoSource {
    state: Mutex<State>,
}

/// What each operation and each event looks at comes first, and what only a writer who has to wait
/// does comes last: mostly one line of the cache is all there is to fetch.
#[repr(C)]
struct State {
    /// None once it is closed.
    fd: Option<OwnedFd>,
    /// An event said that no later one will come.
    closed: bool,
    /// For each direction whether the last try would have blocked, and no event came since.
    exhausted: Both<bool>,
    /// For each direction whether somebody waits.
    awaited: Both<bool>,
    /// The reactor that it is registered with.
    reactor: Option<Arc<Shared>>,
    waiting: Both<Side>,
    /// Its key there; meaningless without one.
    key: usize,
}

impl IoSource {
    /// Takes a descriptor that is in non-blocking mode. Nothing is registered yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use matou_runtime::{Direction, IoSource, RunError, WaitSite, run, spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let (ours, mut theirs) = UnixStream::pair()?;
    ///     ours.set_nonblocking(true)?;
    ///     let io = IoSource::new(ours.into());
    ///     let site = WaitSite::here("read");
    ///     let reader = spawn(poll_fn(move |cx| {
    ///         io.poll(Direction::Read, site, cx, |fd| {
    ///             let mut byte = [0];
    ///             rustix::io::read(fd, &mut byte)?;
    ///             Ok(byte[0])
    ///         })
    ///     }));
    ///     theirs.write_all(b"m")?;
    ///     assert_eq!(reader.await??, b'm');
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn new(fd: OwnedFd) -> Arc<IoSource> {
        let state = State {
            fd: Some(fd),
            closed: false,
            exhausted: Both::default(),
            awaited: Both::default(),
            reactor: None,
            waiting: Both::default(),
            key: 0,
        };
        Arc::new(IoSource { state: Mutex::new(state) })
    }

    #[inline]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the descriptor, whether or not it is ready.
    ///
    /// `f` runs under a lock: it must not block, nor use this `IoSource`.
    ///
    /// # Errors
    ///
    /// What `f` returns, or [`NotConnected`](io::ErrorKind::NotConnected) after the close.
    pub fn with<R>(&self, f: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        f(self.state().fd()?)
    }

    /// Tries `operation`, and waits for the descriptor when that would block.
    ///
    /// Reports show `site` while the task waits. `operation` runs under a lock: it
    /// must not block, nor use this `IoSource`. A success spends a part of the task's budget.
    ///
    /// # Errors
    ///
    /// What `operation` returns, other than `WouldBlock` and `Interrupted`;
    /// [`NotConnected`](io::ErrorKind::NotConnected) after the close;
    /// [`Unsupported`](io::ErrorKind::Unsupported) if it has to wait and the domain's driver has
    /// no reactor; what the system says when it cannot register another descriptor.
    pub fn poll<R>(
        self: &Arc<Self>,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
        operation: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(direction, site, cx, operation, |_| false)
    }

    /// Moves up to `wanted` bytes by `operation`, and waits as [`poll`](IoSource::poll) does.
    ///
    /// Beyond that, an operation that moves less than was wanted says that the next one would
    /// block, which then waits at once: that saves a system call. Not when the peer has closed,
    /// because the end of the stream is not announced twice, and not when nothing was read, for
    /// that is the end.
    ///
    /// # Errors
    ///
    /// As [`poll`](IoSource::poll).
    #[inline]
    pub fn poll_transfer(
        self: &Arc<Self>,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
        wanted: usize,
        operation: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let is_short = |&moved: &usize| match direction {
            Direction::Read => 0 < moved && moved < wanted,
            Direction::Write => moved < wanted,
        };
        self.poll_with(direction, site, cx, operation, is_short)
    }

    #[inline]
    fn poll_with<R>(
        self: &Arc<Self>,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
        is_short: impl FnOnce(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        Domain::with("a socket", |domain| {
            ready!(domain.spend_budget(cx));
            let mut state = self.state();
            if !state.must_wait(direction, domain) {
                loop {
                    match operation(state.fd()?) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Ok(done) => {
                            state.exhausted[direction] = is_short(&done) && state.tells_more();
                            return Poll::Ready(Ok(done));
                        }
                        failed => return Poll::Ready(failed),
                    }
                }
            }
            self.wait(domain, state, direction, site, cx).map(Err)
        })
    }

    /// Waits until an operation may be tried again. Ready only if that cannot be.
    fn wait(
        self: &Arc<Self>,
        domain: &Domain,
        mut state: MutexGuard<'_, State>,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<io::Error> {
        let Some(reactor) = domain.reactor() else {
            return Poll::Ready(no_reactor());
        };
        let waiting = match state.wait_on_again(reactor.shared(), direction, cx.waker()) {
            Some(fd) => {
                drop(state);
                Ok(fd)
            }
            None => {
                let mut stale = Vec::new();
                let waker = cx.waker();
                let waiting = state.wait_on(self, reactor.shared(), direction, waker, &mut stale);
                drop(state);
                // Not under the lock: a waker may do anything.
                stale.into_iter().for_each(panics::wake);
                waiting
            }
        };
        match waiting {
            Ok(fd) => {
                domain.set_blocked_on(BlockedOn::new(site, WaitTarget::IoSource(fd as u64)));
                Poll::Pending
            }
            Err(error) => Poll::Ready(error),
        }
    }

    /// Deregisters and closes the descriptor; what waits for it is woken. Returns whether it was
    /// open.
    pub fn close(&self) -> bool {
        self.take_fd().is_some()
    }

    /// Deregisters the descriptor and hands it out; `None` after the close. What waits for it is
    /// woken, and fails.
    pub fn take_fd(&self) -> Option<OwnedFd> {
        let mut woken = Vec::new();
        let mut state = self.state();
        let fd = state.leave();
        state.take_wakers(&mut woken);
        drop(state);
        woken.into_iter().for_each(panics::wake);
        fd
    }

    /// Leaves a reactor that is about to go, and takes out who waits for it in vain.
    pub(super) fn evict(&self, woken: &mut Vec<Waker>) {
        let mut state = self.state();
        state.reactor = None;
        state.take_wakers(woken);
    }

    /// Notes an event, and takes out who is to be woken.
    pub(super) fn mark_ready(&self, ready: Ready, woken: &mut Vec<Waker>) {
        self.state().mark_ready(ready, woken);
    }

    /// As [`mark_ready`](IoSource::mark_ready), unless somebody else uses the descriptor right now.
    #[inline]
    pub(super) fn try_mark_ready(&self, ready: Ready, woken: &mut Vec<Waker>) -> bool {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        state.mark_ready(ready, woken);
        true
    }
}

impl State {
    #[inline]
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.fd {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "the descriptor is closed")),
        }
    }

    fn is_registered_with(&self, reactor: &Arc<Shared>) -> bool {
        self.reactor.as_ref().is_some_and(|here| Arc::ptr_eq(here, reactor))
    }

    /// Whether trying is known to be in vain: an event from this very reactor is still to come.
    #[inline]
    fn must_wait(&mut self, direction: Direction, domain: &Domain) -> bool {
        self.exhausted[direction]
            && domain.reactor().is_some_and(|reactor| self.is_registered_with(reactor.shared()))
    }

    /// Whether an event will tell when there is more.
    #[inline]
    fn tells_more(&self) -> bool {
        self.reactor.is_some() && !self.closed
    }

    /// Registers the waker, in the usual case: the descriptor is registered here already, and
    /// nobody else waits. Returns the number of the descriptor.
    #[inline]
    fn wait_on_again(
        &mut self,
        reactor: &Arc<Shared>,
        direction: Direction,
        waker: &Waker,
    ) -> Option<RawFd> {
        let fd = self.fd.as_ref()?.as_raw_fd();
        if self.awaited[direction] || !self.is_registered_with(reactor) {
            return None;
        }
        self.expect_event(direction);
        self.waiting[direction].register_first(waker);
        Some(fd)
    }

    /// Registers the descriptor here, if it is not yet, and the waker. Returns the number of the
    /// descriptor; puts wakers that are to be asked whether they still wait, outside the lock, into
    /// `stale`, also when it fails.
    fn wait_on(
        &mut self,
        io: &Arc<IoSource>,
        reactor: &Arc<Shared>,
        direction: Direction,
        waker: &Waker,
        stale: &mut Vec<Waker>,
    ) -> io::Result<RawFd> {
        if !self.is_registered_with(reactor) {
            self.deregister();
            self.take_wakers(stale);
            self.closed = false;
            // What is ready already is told as the first edge, so nothing is missed between the
            // try and the registration.
            let key = reactor.register(self.fd()?, Arc::clone(io))?;
            (self.reactor, self.key) = (Some(Arc::clone(reactor)), key);
        }
        self.expect_event(direction);
        self.waiting[direction].register(waker, stale);
        Ok(self.fd()?.as_raw_fd())
    }

    /// Notes that somebody is about to wait.
    #[inline]
    fn expect_event(&mut self, direction: Direction) {
        self.exhausted[direction] = true;
        self.awaited[direction] = true;
    }

    #[inline]
    fn mark_ready(&mut self, ready: Ready, woken: &mut Vec<Waker>) {
        self.closed |= ready.closed;
        if ready.readable {
            self.take(Direction::Read, woken);
        }
        if ready.writable {
            self.take(Direction::Write, woken);
        }
    }

    fn take_wakers(&mut self, woken: &mut Vec<Waker>) {
        self.take(Direction::Read, woken);
        self.take(Direction::Write, woken);
    }

    /// Notes an event, and takes out who waits for it.
    #[inline]
    fn take(&mut self, direction: Direction, woken: &mut Vec<Waker>) {
        self.exhausted[direction] = false;
        if std::mem::take(&mut self.awaited[direction]) {
            self.waiting[direction].take(woken);
        }
    }

    fn deregister(&mut self) {
        if let (Some(reactor), Some(fd)) = (self.reactor.take(), &self.fd) {
            reactor.deregister(fd.as_fd(), self.key);
        }
    }

    fn leave(&mut self) -> Option<OwnedFd> {
        self.deregister();
        self.fd.take()
    }
}

fn no_reactor() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this domain's driver has no reactor, so no descriptor can be waited for",
    )
}

impl fmt::Debug for IoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be asked for in the middle of an operation, which holds the lock.
        let Ok(state) = self.state.try_lock() else { return f.write_str("IoSource { busy }") };
        f.debug_struct("IoSource")
            .field("fd", &state.fd)
            .field("registered", &state.reactor.is_some())
            .finish_non_exhaustive()
    }
}
