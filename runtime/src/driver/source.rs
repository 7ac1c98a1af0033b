//! The state of one source of I/O: its readiness, its registration, and the tasks that wait for it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Instant;

use super::direction::{Direction, PerDirection};
use super::poller::{Interest, PollMode, Poller, Readiness, Registration, Token};
use crate::locks::{self, Guard, clone_waker, lock};
use crate::panics;
use crate::sys::{self, BorrowedSource, OwnedSource};
use crate::waker_set::{WakerKey, WakerSet};

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
    /// The number of the last registration. Reports of earlier ones have no effect.
    registration: u64,
}

/// A future that waits for a source.
pub(crate) struct Waiter<'a> {
    pub(crate) waker: &'a Waker,
    /// By which the future is found again; `None` if the caller keeps none.
    pub(crate) key: Option<&'a mut WakerKey>,
}

/// The part of the current domain that an attempt needs.
pub(crate) trait WaitContext {
    /// Returns the poller of the domain's driver.
    fn poller(&self) -> Option<&Arc<dyn Poller>>;

    /// Returns whether it is the own waker of the current task. Cloning one runs no foreign code.
    fn is_own(&self, waker: &Waker) -> bool;

    /// Returns roughly the current time. It is called under the lock, so it runs no foreign code.
    fn recent_time(&self) -> Instant;
}

/// The wakers to wake and to drop after an operation, once the lock is released.
#[derive(Default)]
struct Leftovers {
    woken: Vec<Waker>,
    dropped: Option<Waker>,
}

impl Leftovers {
    fn settle(self) {
        locks::assert_none_held();
        self.woken.into_iter().for_each(panics::wake);
        panics::drop_each(self.dropped);
    }
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
            registration: 0,
        };
        Arc::new(SourceState { state: Mutex::new(state) })
    }

    /// Calls `f` with the source, under the lock.
    pub(crate) fn with<R>(
        &self,
        f: impl FnOnce(BorrowedSource<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        let state = lock(&self.state);
        let source = state.source()?;
        locks::unmarked(|| f(source))
    }

    /// Attempts `operation`, under the lock, and registers the waiter if that would block.
    ///
    /// `is_short` says whether a success is a sign that the next attempt would block.
    #[inline]
    pub(crate) fn attempt<R>(
        self: &Arc<Self>,
        direction: Direction,
        context: &impl WaitContext,
        waiter: Waiter<'_>,
        mut operation: impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
        is_short: impl Fn(&R) -> bool,
    ) -> Attempt<R> {
        let poller = context.poller();
        let mut state = lock(&self.state);
        if !state.not_ready(direction, poller)
            && let Some(result) = state.perform(direction, &mut operation, &is_short)
        {
            let waker = state.remove(direction, waiter.key);
            drop(state);
            // A panic would lose the result.
            panics::drop_each(waker);
            return Attempt::Done(result);
        }
        if context.is_own(waiter.waker) {
            let waker = waiter.waker;
            return self.wait(state, direction, context, waiter, || waker.clone());
        }
        state.mark_would_block(direction, poller);
        drop(state);
        self.attempt_foreign(direction, context, waiter, operation, is_short)
    }

    /// As [`attempt`](SourceState::attempt), after a first one, for a foreign waker: it may run any
    /// code when it is cloned. An event that arrives in the meantime causes a second attempt.
    fn attempt_foreign<R>(
        self: &Arc<Self>,
        direction: Direction,
        context: &impl WaitContext,
        mut waiter: Waiter<'_>,
        mut operation: impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
        is_short: impl Fn(&R) -> bool,
    ) -> Attempt<R> {
        // fault: foreign-waker-cloned-under-lock
        let mut waker = Some(clone_waker(waiter.waker));
        let mut state = lock(&self.state);
        if !state.not_ready(direction, context.poller())
            && let Some(result) = state.perform(direction, &mut operation, &is_short)
        {
            let known = state.remove(direction, waiter.key.take());
            drop(state);
            panics::drop_each([known, waker]);
            return Attempt::Done(result);
        }
        // If the waiter is known already, the clone is dropped here, after the lock is released.
        self.wait(state, direction, context, waiter, || waker.take().expect("it is taken once"))
    }

    /// Registers the waiter for the next event. `clone` returns its waker.
    fn wait<R>(
        self: &Arc<Self>,
        mut state: Guard<'_, State>,
        direction: Direction,
        context: &impl WaitContext,
        waiter: Waiter<'_>,
        clone: impl FnOnce() -> Waker,
    ) -> Attempt<R> {
        let Some(poller) = context.poller() else { return Attempt::Done(Err(no_poller())) };
        if state.can_wait_again(poller, direction) {
            // Nothing is replaced or evicted: no other future waits.
            let _ = state.add_waiter(direction, waiter, clone, || context.recent_time());
            return Attempt::Blocked(state.number());
        }
        let mut leftovers = Leftovers::default();
        let prepared = state.prepare(self, poller, &mut leftovers.woken).and_then(|()| {
            // An event that arrives from here on waits for the lock, and then finds the waker.
            let added = state.add_waiter(direction, waiter, clone, || context.recent_time());
            leftovers.woken.extend(added.woken);
            leftovers.dropped = added.dropped;
            state.rearm()
        });
        let number = state.number();
        drop(state);
        leftovers.settle();
        prepared.map_or_else(|error| Attempt::Done(Err(error)), |()| Attempt::Blocked(number))
    }

    /// Removes the waker of a future that does not wait any more.
    pub(crate) fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        let waker = lock(&self.state).remove(direction, Some(key));
        panics::ignore(|| drop(waker));
    }

    /// Deregisters the source and returns it; `None` if it is closed. Operations that wait are
    /// woken, and fail.
    pub(crate) fn take(&self) -> Option<OwnedSource> {
        let mut woken = Vec::new();
        let mut state = lock(&self.state);
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
    pub(super) fn detach(&self, registration: u64) {
        let mut woken = Vec::new();
        let mut state = lock(&self.state);
        // In the meantime the source may have registered with another poller.
        // fault: detached-from-another-poller
        if registration != state.registration {
            return;
        }
        state.poller = None;
        state.take_wakers(&mut woken);
        drop(state);
        woken.into_iter().for_each(panics::wake);
    }

    /// See [`Registration::set_ready`].
    pub(super) fn set_ready(&self, registration: u64, readiness: Readiness) {
        let mut woken = Vec::new();
        self.set_ready_into(registration, readiness, &mut woken);
        woken.into_iter().for_each(panics::wake);
    }

    /// Records an event, and moves the wakers of the tasks that wait for it to `woken`.
    pub(super) fn set_ready_into(
        &self,
        registration: u64,
        readiness: Readiness,
        woken: &mut Vec<Waker>,
    ) {
        lock(&self.state).set_ready(registration, readiness, woken);
    }

    /// As [`set_ready_into`](SourceState::set_ready_into), unless the lock is taken.
    #[inline]
    pub(super) fn try_set_ready_into(
        &self,
        registration: u64,
        readiness: Readiness,
        woken: &mut Vec<Waker>,
    ) -> bool {
        let Some(mut state) = locks::try_lock(&self.state) else { return false };
        state.set_ready(registration, readiness, woken);
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

    fn number(&self) -> u64 {
        self.source.as_ref().map_or(0, sys::source_number)
    }

    /// Performs an operation; `None` if it would block.
    #[inline]
    fn perform<R>(
        &mut self,
        direction: Direction,
        operation: &mut impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
        is_short: &impl Fn(&R) -> bool,
    ) -> Option<io::Result<R>> {
        loop {
            let source = match self.source() {
                Ok(source) => source,
                Err(error) => return Some(Err(error)),
            };
            match locks::unmarked(|| operation(source)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(done) => {
                    self.would_block[direction] = is_short(&done) && self.will_notify();
                    return Some(Ok(done));
                }
                failed => return Some(failed),
            }
        }
    }

    /// Notes that an attempt would have blocked, if an event will clear the mark.
    fn mark_would_block(&mut self, direction: Direction, poller: Option<&Arc<dyn Poller>>) {
        let will_notify = poller.is_some_and(|poller| self.is_registered_with(poller));
        self.would_block[direction] = will_notify && !self.one_shot;
    }

    /// Returns whether the usual case applies: the source is open and registered here already, with
    /// an edge-triggered poller, and no other future waits.
    #[inline]
    fn can_wait_again(&self, poller: &Arc<dyn Poller>, direction: Direction) -> bool {
        self.source.is_some()
            && !self.has_waiter[direction]
            && !self.one_shot
            && self.is_registered_with(poller)
    }

    /// Registers the source if it is not registered here. `woken` receives wakers that the caller
    /// must wake without the lock, also after an error.
    fn prepare(
        &mut self,
        this: &Arc<SourceState>,
        poller: &Arc<dyn Poller>,
        woken: &mut Vec<Waker>,
    ) -> io::Result<()> {
        if self.is_registered_with(poller) {
            return Ok(());
        }
        // Leave the poller of another domain. Tasks that wait there register here when they are
        // polled again.
        self.deregister();
        self.take_wakers(woken);
        self.closed = false;
        self.one_shot = poller.mode() == PollMode::OneShot;
        self.registration += 1;
        // Readiness that exists already is the first event. So none is lost between the attempt
        // and the registration.
        let registration = Registration { source: Arc::clone(this), number: self.registration };
        self.token = poller.register(self.source()?, registration)?;
        self.poller = Some(Arc::clone(poller));
        Ok(())
    }

    /// Marks the direction as waited for, and registers the waiter.
    #[inline]
    fn add_waiter(
        &mut self,
        direction: Direction,
        waiter: Waiter<'_>,
        clone: impl FnOnce() -> Waker,
        now: impl FnOnce() -> Instant,
    ) -> Leftovers {
        self.would_block[direction] = true;
        self.has_waiter[direction] = true;
        let (wakers, mut leftovers) = (&mut self.wakers[direction], Leftovers::default());
        match waiter.key {
            Some(key) if !wakers.is_registered(key, waiter.waker) => {
                leftovers.dropped = wakers.register(key, clone());
            }
            None if !wakers.contains_unkeyed(waiter.waker) => {
                wakers.insert_unkeyed(clone(), now).drain_into(&mut leftovers.woken);
            }
            _ => {}
        }
        leftovers
    }

    /// Removes the waker of a future that does not wait any more.
    #[inline]
    fn remove(&mut self, direction: Direction, key: Option<&mut WakerKey>) -> Option<Waker> {
        let key = key.filter(|key| key.is_set())?;
        let waker = self.wakers[direction].remove(key);
        self.has_waiter[direction] = !self.wakers[direction].is_empty();
        waker
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
    fn set_ready(&mut self, registration: u64, readiness: Readiness, woken: &mut Vec<Waker>) {
        // The poller that the source has left knows nothing about the next one.
        if registration != self.registration {
            return;
        }
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
        let Some(state) = locks::try_lock(&self.state) else {
            return f.write_str("IoSource { busy }");
        };
        f.debug_struct("IoSource")
            .field("fd", &state.source)
            .field("registered", &state.poller.is_some())
            .finish_non_exhaustive()
    }
}
