//! One task in one allocation: a shared header followed by the task's body.
//!
//! This is what the crate `async-task` provides elsewhere, specialized for tasks that never leave
//! their domain. In `async-task` every poll, wake-up and completion takes an atomic operation or
//! two, because each of them may happen on any thread. Here the owning domain records what it does
//! with its own tasks in its task tree. The shared state word is touched only when a waker is
//! cloned on another thread or wakes from there, and once on completion.
//!
//! | reference | holder | permits |
//! | --- | --- | --- |
//! | [`OwnerRef`] | the domain: one until completion | polling the body, writing the outcome |
//! | [`Unstarted`] | a message to another domain | becoming the `OwnerRef` there |
//! | [`OutcomeRef`] | the promise: one | taking the outcome after completion, giving it up |
//! | a waker, [`RemoteWake`] | any thread: any number | waking the task |
//!
//! **Invariant:** until completion only the holder of the `OwnerRef` accesses the body, on the
//! domain's own thread. Completion hands the outcome to exactly one of the two sides: to the
//! promise if its handle still exists, otherwise to the domain, which drops it ([`State`] decides).
//! When the last reference is released, the body contains neither a future nor an outcome, so any
//! thread may free the memory.
//!
//! The scheduler is known to this folder only through [`Schedule`].

mod refs;
mod state;
mod waker;

use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable};

pub(crate) use refs::{OutcomeRef, OwnerRef, PollResult, RemoteWake, Unstarted, WakerId};
pub(crate) use state::State;
pub(crate) use waker::vtable as waker_vtable;

use super::cause::Cause;
use super::node::Slot;
use crate::panics;

/// The interface of a task to its scheduler.
///
/// Each task holds an `Arc` of the implementing type, so that its wakers work on any thread, also
/// after the scheduler has stopped.
pub(crate) trait Schedule: Send + Sync + Sized + 'static {
    /// The part of the scheduler that only its own thread may access; passed to each poll.
    type Local;

    /// Returns the vtable of this scheduler's wakers: always the same static, because its address
    /// identifies them.
    fn waker_vtable() -> &'static RawWakerVTable;

    /// Returns whether the current thread is running this scheduler.
    fn is_current(&self) -> bool;

    /// Wakes the task at `slot` if the current thread is running this scheduler. Returns whether
    /// it is.
    fn wake_local(&self, slot: impl FnOnce() -> Slot) -> bool;

    /// Sends a wake-up to the scheduler's thread.
    fn wake_remote(&self, wake: RemoteWake<Self>);
}

/// The future of a task together with its outcome, as the allocation needs it.
pub(crate) trait TaskBody<L> {
    type Output;

    /// Polls the body. It is ready once nothing is left of it but the outcome.
    fn poll(self: Pin<&mut Self>, local: &L, cx: &mut Context<'_>) -> Poll<OutcomeTo>;

    /// Takes the outcome of a body that was ready.
    fn take(self: Pin<&mut Self>) -> Option<Self::Output>;

    /// Drops the outcome of a body that was ready, and returns the failures in it that no task
    /// receives. Does not unwind.
    fn discard(self: Pin<&mut Self>) -> Vec<Cause> {
        let outcome = self.take();
        panics::ignore(|| drop(outcome));
        Vec::new()
    }
}

/// The receiver of the outcome of a completed task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeTo {
    /// The promise, if it still exists.
    Promise,
    /// No task: the parent has given the outcome up, and the domain drops it.
    Nothing,
}

/// The part of a task that all its references share.
pub(crate) struct Header<S: Schedule> {
    /// The first field, where a test that counts references looks for it.
    state: State,
    vtable: &'static Vtable<S>,
    scheduler: Arc<S>,
}

/// The allocation. `repr(C)`, so that a pointer to the header is also a pointer to the whole.
#[repr(C)]
struct RawTask<S: Schedule, B> {
    header: Header<S>,
    body: B,
}

/// Polls the body of a task.
type PollFn<S> =
    unsafe fn(NonNull<Header<S>>, &<S as Schedule>::Local, &mut Context<'_>) -> Poll<OutcomeTo>;

/// The operations on a body whose type is erased.
///
/// # Safety
///
/// Each function requires a pointer to a live `RawTask` of the type that the table was made for.
/// `poll`, `take` and `drop_outcome` require exclusive access to the body during the call. `free`
/// requires that no other reference to the task exists, and ends its life.
struct Vtable<S: Schedule> {
    poll: PollFn<S>,
    /// Writes the outcome to the `Option<Output>` behind the pointer.
    take: unsafe fn(NonNull<Header<S>>, *mut ()),
    drop_outcome: unsafe fn(NonNull<Header<S>>) -> Vec<Cause>,
    free: unsafe fn(NonNull<Header<S>>),
}

impl<S: Schedule, B: TaskBody<S::Local>> RawTask<S, B> {
    const VTABLE: Vtable<S> = Vtable {
        poll: Self::poll,
        take: Self::take,
        drop_outcome: Self::drop_outcome,
        free: Self::free,
    };

    /// # Safety
    ///
    /// `header` belongs to a live `RawTask<S, B>`, and the caller has exclusive access to its body
    /// for `'a`.
    unsafe fn body<'a>(header: NonNull<Header<S>>) -> Pin<&'a mut B> {
        // SAFETY: the caller promises that the whole allocation is there and that no other access
        // to the body exists. The body never moves: it is dropped where it was created.
        unsafe { Pin::new_unchecked(&mut (*header.cast::<Self>().as_ptr()).body) }
    }

    /// # Safety
    ///
    /// As for [`body`](Self::body).
    unsafe fn poll(
        header: NonNull<Header<S>>,
        local: &S::Local,
        cx: &mut Context<'_>,
    ) -> Poll<OutcomeTo> {
        // SAFETY: the caller promises what `body` requires.
        unsafe { Self::body(header) }.poll(local, cx)
    }

    /// # Safety
    ///
    /// As for [`body`](Self::body); `outcome` points to a live `Option<B::Output>`.
    unsafe fn take(header: NonNull<Header<S>>, outcome: *mut ()) {
        // SAFETY: the caller promises what `body` requires.
        let taken = unsafe { Self::body(header) }.take();
        // SAFETY: the caller promises that `outcome` points to a value of this type.
        unsafe { *outcome.cast::<Option<B::Output>>() = taken };
    }

    /// # Safety
    ///
    /// As for [`body`](Self::body).
    unsafe fn drop_outcome(header: NonNull<Header<S>>) -> Vec<Cause> {
        // SAFETY: the caller promises what `body` requires.
        unsafe { Self::body(header) }.discard()
    }

    /// # Safety
    ///
    /// `header` belongs to a live `RawTask<S, B>` to which no other reference exists, and whose
    /// body contains neither a future nor an outcome.
    unsafe fn free(header: NonNull<Header<S>>) {
        // The body has nothing left to drop, so the drop glue of `B` is skipped.
        let task = header.cast::<RawTask<S, ManuallyDrop<B>>>();
        // SAFETY: the task came from a `Box`, and the caller has the only reference to it.
        // `ManuallyDrop<B>` has the same layout as `B`.
        drop(unsafe { Box::from_raw(task.as_ptr()) });
    }
}

/// Allocates a task of `scheduler`. `body` is called once.
///
/// The body is usually not `Send`; `OwnerRef` keeps it on the current thread. It is created in
/// place, because moving a large future would copy it once more.
#[inline]
pub(crate) fn allocate<S: Schedule, B: TaskBody<S::Local> + 'static>(
    scheduler: Arc<S>,
    body: impl FnOnce() -> B,
) -> (OwnerRef<S>, OutcomeRef<B::Output, S>) {
    let vtable = &RawTask::<S, B>::VTABLE;
    let mut task = Box::<RawTask<S, B>>::new_uninit();
    let place = task.as_mut_ptr();
    // SAFETY: the box has room for both fields, and the first write to each drops nothing.
    unsafe {
        (&raw mut (*place).header).write(Header { state: State::new(), vtable, scheduler });
        (&raw mut (*place).body).write(body());
    }
    // SAFETY: both fields are initialized, and a box is never null.
    let header = unsafe { NonNull::new_unchecked(Box::into_raw(task.assume_init()).cast()) };
    (OwnerRef::new(header), OutcomeRef::new(header))
}

/// Releases a reference, and frees the task if it was the last one.
///
/// # Safety
///
/// The caller owns a reference to the task and does not use it afterwards.
#[inline]
unsafe fn ref_dec<S: Schedule>(header: NonNull<Header<S>>) {
    // SAFETY: the caller's reference keeps the task alive up to the decrement. If that returns
    // `true`, no other reference is left.
    unsafe {
        if header.as_ref().state.ref_dec() {
            free(header);
        }
    }
}

/// As [`ref_dec`], without an atomic operation until the task completes.
///
/// # Safety
///
/// As for `ref_dec`; in addition the current thread is running the task's scheduler.
#[inline]
unsafe fn ref_dec_local<S: Schedule>(header: NonNull<Header<S>>) {
    // SAFETY: as in `ref_dec`.
    unsafe {
        if header.as_ref().state.ref_dec_local() {
            free(header);
        }
    }
}

/// Frees a task.
///
/// # Safety
///
/// The last reference was released. (The body is then empty: the domain releases its reference
/// after completion, and the promise only together with the outcome.)
#[inline]
unsafe fn free<S: Schedule>(header: NonNull<Header<S>>) {
    // SAFETY: the caller promises that no other reference exists.
    unsafe {
        let free = header.as_ref().vtable.free;
        free(header);
    }
}
