//! The references to a task, each of which permits different operations.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::super::cause::Cause;
use super::super::node::Slot;
use super::{Header, OutcomeTo, Schedule, free, ref_dec, waker};

/// The domain's own reference to one of its tasks: the right to poll it.
///
/// It stays on its thread, because a raw pointer is not `Send`. Dropping it leaks the task: no
/// other thread may drop its future.
pub(crate) struct OwnerRef<S: Schedule> {
    header: NonNull<Header<S>>,
}

impl<S: Schedule> OwnerRef<S> {
    pub(super) fn new(header: NonNull<Header<S>>) -> Self {
        OwnerRef { header }
    }

    fn header(&self) -> &Header<S> {
        // SAFETY: this reference keeps the task alive.
        unsafe { self.header.as_ref() }
    }

    /// Records the node of the task. From now on local references are counted without atomics.
    #[inline]
    pub(crate) fn set_slot(&self, slot: Slot) {
        self.header().state.set_slot(slot);
    }

    /// Returns the identity of the task's own waker.
    pub(crate) fn waker_id(&self) -> WakerId {
        WakerId(self.header.as_ptr().cast())
    }

    /// Polls the task.
    #[inline]
    pub(crate) fn poll(self, local: &S::Local) -> PollResult<S> {
        // The waker borrows this reference for the duration of the poll, so it is never dropped.
        // SAFETY: this reference stays alive until after the poll.
        let waker = ManuallyDrop::new(unsafe { waker::from_header(self.header) });
        let mut cx = Context::from_waker(&waker);
        // SAFETY: this reference keeps the task alive. The body is accessed exclusively: `self` is
        // the only `OwnerRef`, and no other reference touches the body before `State::complete`.
        match unsafe { (self.header().vtable.poll)(self.header, local, &mut cx) } {
            Poll::Pending => PollResult::Pending(self),
            // If it returns `true`, this call has released the domain's reference.
            Poll::Ready(OutcomeTo::Promise) if self.header().state.complete() => {
                PollResult::Complete
            }
            Poll::Ready(_) => PollResult::Detached(self),
        }
    }

    /// Drops the outcome of a task whose last poll returned [`PollResult::Detached`]. Returns the
    /// failures in it, which no task receives.
    pub(crate) fn drop_outcome(&mut self) -> Vec<Cause> {
        // SAFETY: the outcome was not handed to the promise, so it belongs to this reference.
        unsafe { (self.header().vtable.drop_outcome)(self.header) }
    }

    /// Releases a task whose outcome was dropped by [`drop_outcome`](OwnerRef::drop_outcome).
    pub(crate) fn complete_detached(self) {
        if self.header().state.complete_detached() {
            // SAFETY: this was the last reference, and it is not used afterwards.
            unsafe { free(self.header) };
        }
    }

    /// Converts the reference into one that can be sent to the thread of the task's scheduler.
    ///
    /// # Safety
    ///
    /// Everything in the task's body is `Send` until the body is polled for the first time.
    pub(crate) unsafe fn into_unstarted(self) -> Unstarted<S> {
        Unstarted(self)
    }
}

impl<S: Schedule> fmt::Debug for OwnerRef<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerRef").field("state", &self.header().state).finish_non_exhaustive()
    }
}

/// The result of a poll.
#[derive(Debug)]
pub(crate) enum PollResult<S: Schedule> {
    /// The task is not complete.
    Pending(OwnerRef<S>),
    /// The task is complete, and its outcome belongs to the promise.
    Complete,
    /// The task's body is ready, but its outcome has no receiver: the domain has to drop it.
    Detached(OwnerRef<S>),
}

/// The identity of a task's own waker. Comparing it neither clones the waker nor reads the task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakerId(*const ());

impl WakerId {
    /// The identity of no waker.
    pub(crate) const NONE: WakerId = WakerId(ptr::null());

    /// Returns whether `waker` belongs to the task with this identity.
    pub(crate) fn belongs_to<S: Schedule>(self, waker: &Waker) -> bool {
        waker::belongs_to::<S>(waker, self.0)
    }
}

/// A task on its way to its domain.
#[derive(Debug)]
pub(crate) struct Unstarted<S: Schedule>(OwnerRef<S>);

// SAFETY: the body is `Send` before its first poll, as `into_unstarted` requires, and the header
// always is. Only the thread of the scheduler polls it, after `start`.
unsafe impl<S: Schedule> Send for Unstarted<S> {}

impl<S: Schedule> Unstarted<S> {
    /// Becomes the reference of the domain that received it.
    ///
    /// # Panics
    ///
    /// If `scheduler` is not the one that the task was allocated for.
    pub(crate) fn start(self, scheduler: &Arc<S>) -> OwnerRef<S> {
        let allocated_for = &self.0.header().scheduler;
        assert!(Arc::ptr_eq(scheduler, allocated_for), "a task starts where it was sent to");
        self.0
    }
}

/// A promise's reference to its task: the right to take the outcome.
pub(crate) struct OutcomeRef<O, S: Schedule> {
    header: NonNull<Header<S>>,
    outcome: PhantomData<O>,
}

// SAFETY: an `OutcomeRef` moves the outcome to its own thread or drops it there, hence the bound on
// `O`. Otherwise it accesses only the header, which is `Sync`.
unsafe impl<O: Send, S: Schedule> Send for OutcomeRef<O, S> {}

// SAFETY: a shared `OutcomeRef` gives access only to the header, which is `Sync`.
unsafe impl<O, S: Schedule> Sync for OutcomeRef<O, S> {}

impl<O, S: Schedule> OutcomeRef<O, S> {
    pub(super) fn new(header: NonNull<Header<S>>) -> Self {
        OutcomeRef { header, outcome: PhantomData }
    }

    fn header(&self) -> &Header<S> {
        // SAFETY: this reference keeps the task alive.
        unsafe { self.header.as_ref() }
    }

    /// Returns the scheduler of the task.
    pub(crate) fn scheduler(&self) -> &Arc<S> {
        &self.header().scheduler
    }

    /// Returns whether the task is complete and its outcome can be taken.
    pub(crate) fn is_complete(&self) -> bool {
        self.header().state.is_complete()
    }

    /// Takes the outcome of a complete task.
    ///
    /// # Panics
    ///
    /// If the task is not complete.
    #[inline]
    pub(crate) fn take(self) -> O {
        let this = ManuallyDrop::new(self);
        let is_complete = this.header().state.is_complete();
        assert!(is_complete, "a parent is notified after the outcome was written");
        let mut outcome: Option<O> = None;
        // SAFETY: the task is complete and its outcome was delivered, so this thread alone accesses
        // the body. `O` is the outcome's type, since `allocate` made both. The reference is
        // released once, because `this` is not dropped.
        unsafe {
            (this.header().vtable.take)(this.header, ptr::from_mut(&mut outcome).cast());
            ref_dec(this.header);
        }
        outcome.expect("an outcome is there until it is taken")
    }
}

impl<O, S: Schedule> OutcomeRef<O, S> {
    /// Gives the outcome up. The task goes on. If it is complete, its outcome is dropped; this
    /// returns the failures in it, which no task receives.
    pub(crate) fn discard(self) -> Vec<Cause> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used afterwards, nor dropped.
        unsafe { this.release() }
    }

    /// # Safety
    ///
    /// The reference is not used afterwards.
    unsafe fn release(&mut self) -> Vec<Cause> {
        // SAFETY: the reference is released once, as the caller promises. If the task is complete
        // already, `drop_handle` says that the outcome belongs to this reference.
        unsafe {
            let causes = match self.header().state.drop_handle() {
                true => (self.header().vtable.drop_outcome)(self.header),
                false => Vec::new(),
            };
            ref_dec(self.header);
            causes
        }
    }
}

impl<O, S: Schedule> Drop for OutcomeRef<O, S> {
    /// Gives the outcome up, as [`discard`](OutcomeRef::discard).
    fn drop(&mut self) {
        // SAFETY: nothing is used after the drop.
        drop(unsafe { self.release() });
    }
}

impl<O, S: Schedule> fmt::Debug for OutcomeRef<O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutcomeRef").field("state", &self.header().state).finish_non_exhaustive()
    }
}

/// A wake-up from another thread, on its way to the task's domain.
pub(crate) struct RemoteWake<S: Schedule>(NonNull<Header<S>>);

// SAFETY: only the header is accessed, which is `Send` and `Sync`, and any thread may free the
// memory.
unsafe impl<S: Schedule> Send for RemoteWake<S> {}

impl<S: Schedule> RemoteWake<S> {
    /// Takes over a reference to the task.
    ///
    /// # Safety
    ///
    /// The caller owns a reference to the task and does not use it afterwards.
    pub(super) unsafe fn new(header: NonNull<Header<S>>) -> Self {
        RemoteWake(header)
    }

    /// Acknowledges the wake-up on the task's domain: the next one sends a message again. Returns
    /// the task's node, or `NIL` if the task is complete.
    pub(crate) fn acknowledge(&self) -> Slot {
        // SAFETY: this reference keeps the task alive.
        let state = unsafe { &self.0.as_ref().state };
        state.acknowledge();
        state.slot()
    }
}

impl<S: Schedule> Drop for RemoteWake<S> {
    fn drop(&mut self) {
        // SAFETY: the reference is released once.
        unsafe { ref_dec(self.0) };
    }
}
