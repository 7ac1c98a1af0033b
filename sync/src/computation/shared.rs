//! The part of a computation that both sides own.

use std::cell::UnsafeCell;
use std::panic::Location;
use std::task::{Context, Poll, ready};

use matou_hooks::{Target, Wait};

use super::ComputationError;
use crate::primitives::{AtomicUsize, Ordering};
use crate::waiting::{Kind, Notify, Place, Request};

/// The computation runs: no result is set.
const RUNNING: usize = 0;
/// The completer moves the value in.
const WRITING: usize = 1;
/// The value is there, or was taken out by the reading side.
const RETURNED: usize = 2;
/// There will be no value.
pub(super) const CANCELLED: usize = 3;
/// As above.
pub(super) const ABANDONED: usize = 4;

pub(super) struct Shared<T> {
    /// One of the constants. `RUNNING` can change to all others, `WRITING` to `RETURNED`.
    state: AtomicUsize,
    /// Set before `RETURNED`, and accessed by the reading side only after that.
    value: UnsafeCell<Option<T>>,
    /// Both sides wait here until the computation has ended.
    pub(super) ended: Notify,
}

// SAFETY: the writing side accesses the value only between `RUNNING` and `RETURNED`, which it
// enters once, and the reading side only after `RETURNED`; the release and acquire operations on
// the state order these accesses. This moves the value between threads, hence `T: Send`. That the
// reading side gives references to several threads only if `T: Sync` is up to `Computation`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicUsize::new(RUNNING),
            value: UnsafeCell::new(None),
            ended: Notify::new(Kind::Computation),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        // Acquire pairs with the release in `set`.
        self.state.load(Ordering::Acquire) >= RETURNED
    }

    #[inline]
    fn claim(&self, state: usize) -> bool {
        // Both sides come here when they are dropped, mostly after the end: the load saves them an
        // exchange. It may be relaxed: after a failed claim nothing is read without another look at
        // the state.
        self.state.load(Ordering::Relaxed) == RUNNING && self.exchange(state)
    }

    fn exchange(&self, state: usize) -> bool {
        // fault: computation-ends-twice
        self.state.compare_exchange(RUNNING, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sets the value, or returns it if the computation has ended or another thread sets one.
    pub(super) fn set(&self, value: T) -> Result<(), T> {
        if !self.claim(WRITING) {
            return Err(value);
        }
        // SAFETY: `WRITING` is entered once, and the reading side waits for `RETURNED`.
        unsafe { *self.value.get() = Some(value) };
        // Release pairs with the acquire in `has_ended`.
        self.state.store(RETURNED, Ordering::Release);
        self.ended.notify_all();
        Ok(())
    }

    /// Ends the computation without a value, unless it has ended.
    pub(super) fn end(&self, state: usize) -> bool {
        let is_first = self.claim(state);
        if is_first {
            // fault: computation-ends-silently
            self.ended.notify_all();
        }
        is_first
    }

    fn error(&self) -> Option<ComputationError> {
        match self.state.load(Ordering::Acquire) {
            CANCELLED => Some(ComputationError::Cancelled),
            ABANDONED => Some(ComputationError::Abandoned),
            _ => None,
        }
    }

    /// # Safety
    ///
    /// For the reading side, which must not call `take` while the reference exists.
    pub(super) unsafe fn result(&self) -> Option<Result<&T, ComputationError>> {
        if !self.has_ended() {
            return None;
        }
        match self.error() {
            Some(error) => Some(Err(error)),
            // SAFETY: after `RETURNED` only the reading side accesses the value, and the caller
            // does not take it out in the meantime.
            None => unsafe { &*self.value.get() }.as_ref().map(Ok),
        }
    }

    /// Takes the result out. `None` if that was done before, or if the computation has not ended.
    ///
    /// # Safety
    ///
    /// For the reading side, which must have no reference to the value.
    pub(super) unsafe fn take(&self) -> Option<Result<T, ComputationError>> {
        if !self.has_ended() {
            return None;
        }
        match self.error() {
            Some(error) => Some(Err(error)),
            // SAFETY: after `RETURNED` only the reading side accesses the value, and the caller
            // has no reference to it.
            None => unsafe { &mut *self.value.get() }.take().map(Ok),
        }
    }

    /// Waits until the computation has ended.
    pub(super) fn poll_ended(
        &self,
        place: &mut Place,
        called_at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let task = if place.is_waiting() {
            matou_hooks::current_task()
        } else {
            let task = ready!(matou_hooks::begin_operation(cx));
            if self.has_ended() {
                return Poll::Ready(());
            }
            task
        };
        let request = Request { task, at: called_at, data: 0 };
        let poll = place.poll(&self.ended, cx, request, |_| self.has_ended().then_some(()));
        if poll.is_pending() {
            let target = Target::new("computation", (&raw const *self).addr());
            matou_hooks::on_wait(&Wait::new("computation", called_at).on(target), cx);
        }
        poll
    }
}
