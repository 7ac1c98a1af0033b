//! The state of one source of I/O: its readiness, its registration, and the tasks that wait for it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;

use super::direction::{Direction, PerDirection};
use super::poller::{Interest, PollMode, Poller, Readiness, Registration, Token};
use crate::panics;
use crate::sys::{self, BorrowedSource, OwnedSource};
use crate::waker_set::WakerSet;

/// The state of a source, which its users and its poller share.
pub(crate) struct SourceState {
    state: Mutex<State>,
}

/// The fields that every operation and every event reads come first, and the write direction's
/// wakers last, so that they mostly fit into one cache line.
#[repr(C)]
struct State {
    /// `None` once the source is closed.
    source: Option<OwnedSource>,
    /// An event said that no later event will come.
    closed: bool,
    /// The poller must be rearmed before each wait.
    one_shot: bool,
    /// The last attempt would have blocked, and no event has arrived since.
    would_block: PerDirection<bool>,
    /// A task waits for an event.
    has_waiter: PerDirection<bool>,
    /// The poller that the source is registered with.
    poller: Option<Arc<dyn Poller>>,
    wakers: PerDirection<WakerSet>,
    /// The registration there; unspecified without a poller.
    token: Token,
}

/// The result of an attempt to perform an operation.
pub(crate) enum Attempt<R> {
    /// The operation succeeded or failed.
    Done(io::Result<R>),
    /// It would block, and the waker is registered. The number identifies the source in reports.
    Blocked(u64),
}

impl SourceState {
    pub(crate) fn new(source: OwnedSource) -> Arc<SourceState> {
        let state = State {
            source: Some(source),
            closed: false,
            one_shot: false,
            would_block: PerDirection::default(),
            has_waiter: PerDirection::default(),
            poller: None,
            wakers: PerDirection::default(),
            token: Token(0),
        };
        Arc::new(SourceState { state: Mutex::new(state) })
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the source, under the lock.
    pub(crate) fn with<R>(
        &self,
        f: impl FnOnce(BorrowedSource<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        f(self.lock().source()?)
    }

    /// Attempts `operation`, under the lock, and registers `waker` if that would block.
    ///
    /// `is_short` says whether a success is a sign that the next attempt would block.
    #[inline]
    pub(crate) fn attempt<R>(
        self: &Arc<Self>,
        direction: Direction,
        poller: Option<&Arc<dyn Poller>>,
        waker: &Waker,
        mut operation: impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
        is_short: impl FnOnce(&R) -> bool,
    ) -> Attempt<R> {
        let mut state = self.lock();
        if !state.not_ready(direction, poller) {
            loop {
                let source = match state.source() {
                    Ok(source) => source,
                    Err(error) => return Attempt::Done(Err(error)),
                };
                match operation(source) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(done) => {
                        state.would_block[direction] = is_short(&done) && state.will_notify();
                        return Attempt::Done(Ok(done));
                    }
                    failed => return Attempt::Done(failed),
                }
            }
        }
        match self.wait(state, direction, poller, waker) {
            Ok(number) => Attempt::Blocked(number),
            Err(error) => Attempt::Done(Err(error)),
        }
    }

    /// Registers `waker` for the next event. Returns the number of the source.
    fn wait(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        direction: Direction,
        poller: Option<&Arc<dyn Poller>>,
        waker: &Waker,
    ) -> io::Result<u64> {
        let poller = poller.ok_or_else(no_poller)?;
        if let Some(number) = state.wait_again(poller, direction, waker) {
            return Ok(number);
        }
        let mut evicted = Vec::new();
        let waiting = state.wait_first(self, poller, direction, waker, &mut evicted);
        drop(state);
        // Not under the lock: a waker may run any code.
        evicted.into_iter().for_each(panics::wake);
        waiting
    }

    /// Deregisters the source and returns it; `None` if it is closed. Operations that wait are
    /// woken, and fail.
    pub(crate) fn take(&self) -> Option<OwnedSource> {
        let mut woken = Vec::new();
        let mut state = self.lock();
        // Deregister first: the poller may refer to the source until then.
        // fault: source-closed-while-registered
        state.deregister();
        let source = state.source.take();
        state.take_wakers(&mut woken);
        drop(state);
        woken.into_iter().for_each(panics::wake);
        source
    }

    /// See [`Registration::detach`].
    pub(super) fn detach(&self) {
        let mut woken = Vec::new();
        let mut state = self.lock();
        state.poller = None;
        state.take_wakers(&mut woken);
        drop(state);
        woken.into_iter().for_each(panics::wake);
    }

    /// See [`Registration::set_ready`].
    pub(super) fn set_ready(&self, readiness: Readiness) {
        let mut woken = Vec::new();
        self.set_ready_into(readiness, &mut woken);
        woken.into_iter().for_each(panics::wake);
    }

    /// Records an event, and moves the wakers of the tasks that wait for it to `woken`.
    pub(super) fn set_ready_into(&self, readiness: Readiness, woken: &mut Vec<Waker>) {
        self.lock().set_ready(readiness, woken);
    }

    /// As [`set_ready_into`](SourceState::set_ready_into), unless the lock is taken.
    #[inline]
    pub(super) fn try_set_ready_into(&self, readiness: Readiness, woken: &mut Vec<Waker>) -> bool {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        state.set_ready(readiness, woken);
        true
    }
}

impl State {
    #[inline]
    fn source(&self) -> io::Result<BorrowedSource<'_>> {
        match &self.source {
            Some(source) => Ok(source.as_fd()),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "the descriptor is closed")),
        }
    }

    #[inline]
    fn is_registered_with(&self, poller: &Arc<dyn Poller>) -> bool {
        self.poller.as_ref().is_some_and(|registered| Arc::ptr_eq(registered, poller))
    }

    /// Returns `true` if the last attempt would have blocked and no event has arrived since.
    #[inline]
    fn not_ready(&self, direction: Direction, poller: Option<&Arc<dyn Poller>>) -> bool {
        // The event must come from this domain's poller: the source may have moved here.
        self.would_block[direction] && poller.is_some_and(|poller| self.is_registered_with(poller))
    }

    /// Returns whether an event will announce further readiness.
    #[inline]
    fn will_notify(&self) -> bool {
        self.poller.is_some() && !self.closed
    }

    /// Registers the waker in the usual case: the source is registered here already, with an
    /// edge-triggered poller, and no other task waits.
    #[inline]
    fn wait_again(
        &mut self,
        poller: &Arc<dyn Poller>,
        direction: Direction,
        waker: &Waker,
    ) -> Option<u64> {
        let number = sys::source_number(self.source.as_ref()?);
        if self.has_waiter[direction] || self.one_shot || !self.is_registered_with(poller) {
            return None;
        }
        self.expect_event(direction);
        self.add_waker(direction, waker, &mut Vec::new());
        Some(number)
    }

    /// Registers the waker, and the source if it is not registered here. `evicted` receives wakers
    /// that the caller must wake without the lock, also after an error.
    fn wait_first(
        &mut self,
        this: &Arc<SourceState>,
        poller: &Arc<dyn Poller>,
        direction: Direction,
        waker: &Waker,
        evicted: &mut Vec<Waker>,
    ) -> io::Result<u64> {
        if !self.is_registered_with(poller) {
            // Leave the poller of another domain. Tasks that wait there register here when they are
            // polled again.
            self.deregister();
            self.take_wakers(evicted);
            self.closed = false;
            self.one_shot = poller.mode() == PollMode::OneShot;
            // Readiness that exists already is the first event. So none is lost between the attempt
            // and the registration.
            self.token = poller.register(self.source()?, Registration(Arc::clone(this)))?;
            self.poller = Some(Arc::clone(poller));
        }
        // An event that arrives from here on waits for the lock, and then finds the waker.
        self.expect_event(direction);
        self.add_waker(direction, waker, evicted);
        self.rearm()?;
        Ok(self.source.as_ref().map_or(0, sys::source_number))
    }

    /// Marks the direction as waited for.
    #[inline]
    fn expect_event(&mut self, direction: Direction) {
        self.would_block[direction] = true;
        self.has_waiter[direction] = true;
    }

    #[inline]
    fn add_waker(&mut self, direction: Direction, waker: &Waker, evicted: &mut Vec<Waker>) {
        let wakers = &mut self.wakers[direction];
        if !wakers.contains(waker) {
            wakers.insert(waker.clone()).drain_into(evicted);
        }
    }

    /// Passes the directions in which tasks wait to a one-shot poller, if there are any.
    fn rearm(&self) -> io::Result<()> {
        let waiting = &self.has_waiter;
        // fault: interest-of-other-direction-lost
        let interest = Interest::new(waiting[Direction::Read], waiting[Direction::Write]);
        match (&self.poller, interest) {
            (Some(poller), Some(interest)) if self.one_shot => {
                poller.rearm(self.source()?, self.token, interest)
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn set_ready(&mut self, readiness: Readiness, woken: &mut Vec<Waker>) {
        self.closed |= readiness.closed;
        if readiness.readable {
            self.take_direction(Direction::Read, woken);
        }
        if readiness.writable {
            self.take_direction(Direction::Write, woken);
        }
        // The event of a one-shot poller has cleared the interest in the other direction, too. If
        // that cannot be set again, the waiting task must find out.
        // fault: event-does-not-rearm
        if self.one_shot && self.rearm().is_err() {
            self.take_wakers(woken);
        }
    }

    fn take_wakers(&mut self, woken: &mut Vec<Waker>) {
        self.take_direction(Direction::Read, woken);
        self.take_direction(Direction::Write, woken);
    }

    /// Marks the direction as ready, and takes its wakers.
    #[inline]
    fn take_direction(&mut self, direction: Direction, woken: &mut Vec<Waker>) {
        self.would_block[direction] = false;
        if std::mem::take(&mut self.has_waiter[direction]) {
            self.wakers[direction].drain_into(woken);
        }
    }

    fn deregister(&mut self) {
        if let (Some(poller), Some(source)) = (self.poller.take(), &self.source) {
            poller.deregister(source.as_fd(), self.token);
        }
    }
}

fn no_poller() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the driver of this domain has no poller, so no descriptor can be waited for",
    )
}

impl fmt::Debug for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An operation, which holds the lock, may format its source.
        let Ok(state) = self.state.try_lock() else { return f.write_str("IoSource { busy }") };
        f.debug_struct("IoSource")
            .field("fd", &state.source)
            .field("registered", &state.poller.is_some())
            .finish_non_exhaustive()
    }
}
