//! A task in one allocation: what everybody shares of it, and its life.
//!
//! It is what `async-task` is elsewhere, made for tasks that never leave their domain. There, each
//! poll, wake-up and end is a locked instruction or two, as any of them may come from any thread;
//! here, what a domain does with its own tasks is written down in its tree, and the shared word is
//! touched only by wakers that are cloned or come from elsewhere, and once at the end.
//!
//! | reference | who has it | what it may do |
//! | --- | --- | --- |
//! | [`OwnerRef`] | the domain, one, until the task is over | poll the life; write the outcome |
//! | [`Unstarted`] | who calls a task on another domain | nothing: it becomes the `OwnerRef` there |
//! | [`OutcomeRef`] | the promise, one | take the outcome when the task is over, or detach |
//! | a waker, [`RemoteWake`] | anybody, many | wake the task |
//!
//! **Invariant:** the life is touched by the holder of the `OwnerRef`, on the domain's thread; from the
//! end on by whoever the state word gives the outcome to. When the last reference goes there is
//! neither a body nor an outcome in it any more, so that any thread may free the memory.

mod state;
mod waker;

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub(crate) use state::State;

use super::future::{IntoOutcome, TaskFuture};
use super::node::Slot;
use super::panics;
use super::spawn::OutcomeHandle;
use crate::domain::{Domain, RemoteHandle};

/// What all references to a task may see of it.
pub(crate) struct Header {
    /// First, where a test that counts references looks for it.
    state: State,
    vtable: &'static Vtable,
    /// The outside of the domain that the task lives on.
    remote: Arc<RemoteHandle>,
}

/// The allocation. `repr(C)`: a pointer to the header is one to the whole.
#[repr(C)]
struct RawTask<L> {
    header: Header,
    body: L,
}

/// What is done with a life whose type is not known.
///
/// # Safety
///
/// All of them ask for a pointer to the `Cell` that the table was made for, all of which is there.
/// `poll`, `take` and `drop_outcome` ask for the life to be nobody else's meanwhile; `free` asks
/// for the cell to be nobody else's, for ever.
struct Vtable {
    poll: unsafe fn(NonNull<Header>, &Domain, &mut Context<'_>) -> Poll<OutcomeTo>,
    /// Moves the outcome to where an `Option` of it is.
    take: unsafe fn(NonNull<Header>, *mut ()),
    drop_outcome: unsafe fn(NonNull<Header>),
    free: unsafe fn(NonNull<Header>),
}

/// Whom the outcome of a task that is over is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeTo {
    /// The promise, if it is still there.
    Promise,
    /// Nobody: the parent has given it up.
    Nothing,
}

/// What a cell needs of a life.
pub(crate) trait TaskBody {
    type Output;

    /// Goes on with it. When that is ready there is nothing left but the outcome, if anything.
    fn poll(self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<OutcomeTo>;

    /// Takes the outcome out of a life that is over.
    fn take(self: Pin<&mut Self>) -> Option<Self::Output>;
}

impl<L: TaskBody> RawTask<L> {
    const VTABLE: Vtable = Vtable {
        poll: Self::poll,
        take: Self::take,
        drop_outcome: Self::drop_outcome,
        free: Self::free,
    };

    /// # Safety
    ///
    /// As [`Vtable`] says.
    unsafe fn body<'a>(header: NonNull<Header>) -> Pin<&'a mut L> {
        // SAFETY: the pointer is one to the whole cell, and the life is the caller's for now. It
        // never moves: it is dropped where it was made.
        unsafe { Pin::new_unchecked(&mut (*header.cast::<Self>().as_ptr()).body) }
    }

    unsafe fn poll(
        header: NonNull<Header>,
        domain: &Domain,
        cx: &mut Context<'_>,
    ) -> Poll<OutcomeTo> {
        // SAFETY: the caller promises what `body` asks for.
        unsafe { Self::body(header) }.poll(domain, cx)
    }

    unsafe fn take(header: NonNull<Header>, outcome: *mut ()) {
        // SAFETY: the caller promises what `body` asks for.
        let taken = unsafe { Self::body(header) }.take();
        // SAFETY: the caller promises that an `Option` of this very type is there.
        unsafe { *outcome.cast::<Option<L::Output>>() = taken };
    }

    unsafe fn drop_outcome(header: NonNull<Header>) {
        // SAFETY: the caller promises what `body` asks for.
        let outcome = unsafe { Self::body(header) }.take();
        panics::ignore(|| drop(outcome));
    }

    unsafe fn free(header: NonNull<Header>) {
        // Nothing is left in the life, so it need not be looked at.
        let cell = header.cast::<RawTask<ManuallyDrop<L>>>();
        // SAFETY: the cell was made by `Box::new`, and nobody else refers to it any more. Its type
        // had `L` instead of `ManuallyDrop<L>`, which is laid out alike.
        drop(unsafe { Box::from_raw(cell.as_ptr()) });
    }
}

/// Makes a task that lives where `remote` is the outside of.
///
/// The life is not `Send` as a rule: `OwnerRef` keeps it on the present thread. It is made where it will
/// be, since a large one would otherwise be copied on its way.
#[inline]
pub(crate) fn allocate<L: TaskBody + 'static>(
    remote: Arc<RemoteHandle>,
    body: impl FnOnce() -> L,
) -> (OwnerRef, OutcomeRef<L::Output>) {
    let vtable = &RawTask::<L>::VTABLE;
    let mut cell = Box::<RawTask<L>>::new_uninit();
    let place = cell.as_mut_ptr();
    // SAFETY: the box has room for both; nothing is dropped by writing to it for the first time.
    unsafe {
        (&raw mut (*place).header).write(Header { state: State::new(), vtable, remote });
        (&raw mut (*place).body).write(body());
    }
    // SAFETY: all of the cell was written. A box is never null.
    let header = unsafe { NonNull::new_unchecked(Box::into_raw(cell.assume_init()).cast()) };
    (OwnerRef { header }, OutcomeRef { header, outcome: PhantomData })
}

/// Makes a task that is to be sent to where `remote` is the outside of, there to make its body.
pub(crate) fn allocate_unstarted<M, F, V>(
    remote: Arc<RemoteHandle>,
    make: M,
) -> (Unstarted, OutcomeHandle<V::Value, V::Error>)
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    V: IntoOutcome<F::Output> + 'static,
{
    let (own, handle) = allocate(remote, || TaskFuture::<M, F, V>::lazy(make));
    (Unstarted(own), handle)
}

/// A domain's own reference to one of its tasks: by it the task is polled.
///
/// It stays on its thread, since it holds a bare pointer. Dropping it leaks the task, as befits one
/// that nobody may end any more.
pub(crate) struct OwnerRef {
    header: NonNull<Header>,
}

impl OwnerRef {
    fn header(&self) -> &Header {
        // SAFETY: the reference keeps the cell.
        unsafe { self.header.as_ref() }
    }

    /// Notes where the node is.
    #[inline]
    pub(crate) fn set_slot(&self, slot: Slot) {
        self.header().state.set_slot(slot);
    }

    /// Returns by what a waker of this task can be told.
    pub(crate) fn waker_id(&self) -> WakerId {
        WakerId(self.header.as_ptr().cast())
    }

    /// Polls the task.
    #[inline]
    pub(crate) fn poll(self, domain: &Domain) -> PollResult {
        // The waker lives on our reference, so it is not dropped.
        // SAFETY: the reference is there until after the poll.
        let waker = ManuallyDrop::new(unsafe { waker::of(self.header) });
        let mut cx = Context::from_waker(&waker);
        // SAFETY: we have the cell by our reference. The life is ours: there is one `OwnerRef`, which
        // this poll has taken, and nobody else touches the life before `complete`.
        match unsafe { (self.header().vtable.poll)(self.header, domain, &mut cx) } {
            Poll::Pending => PollResult::Pending(self),
            // With that our reference is gone.
            Poll::Ready(OutcomeTo::Promise) if self.header().state.complete() => {
                PollResult::Complete
            }
            Poll::Ready(_) => PollResult::Detached(self),
        }
    }

    /// Drops the outcome of a task that is over, which nobody will take. If that panics, the hook
    /// has told it.
    pub(crate) fn drop_outcome(&mut self) {
        // SAFETY: the outcome is ours, as it was not handed over.
        unsafe { (self.header().vtable.drop_outcome)(self.header) }
    }

    /// Gives up a task that is over, and whose outcome was dropped.
    pub(crate) fn complete_detached(self) {
        if self.header().state.complete_detached() {
            // SAFETY: our reference was the last one, and is not used any more.
            unsafe { free(self.header) };
        }
    }
}

/// By what a waker of a task can be told, without a look at the task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WakerId(*const ());

impl WakerId {
    pub(crate) const NONE: WakerId = WakerId(ptr::null());

    pub(crate) fn belongs_to(self, waker: &Waker) -> bool {
        waker::belongs_to(waker, self.0)
    }
}

/// What came of a poll.
#[derive(Debug)]
pub(crate) enum PollResult {
    /// The task goes on.
    Pending(OwnerRef),
    /// It is over, and its outcome is the promise's.
    Complete,
    /// It is over, and nobody will take its outcome.
    Detached(OwnerRef),
}

impl fmt::Debug for OwnerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerRef").field("state", &self.header().state).finish_non_exhaustive()
    }
}

/// A task on its way to its domain.
#[derive(Debug)]
pub(crate) struct Unstarted(OwnerRef);

// SAFETY: all that is in the life is what makes the body, which is `Send` by the bound of
// `allocate_unstarted`; so is all of a `Header`. It is polled only when it has arrived.
unsafe impl Send for Unstarted {}

impl Unstarted {
    /// Becomes the reference of the domain that it was sent to.
    pub(crate) fn start(self, remote: &Arc<RemoteHandle>) -> OwnerRef {
        assert!(Arc::ptr_eq(remote, &self.0.header().remote), "a task lives where it was sent to");
        self.0
    }
}

/// A promise's reference to a task: by it the outcome is taken.
pub(crate) struct OutcomeRef<O> {
    header: NonNull<Header>,
    outcome: PhantomData<O>,
}

// SAFETY: a handle moves the outcome to its thread, or drops it there, hence the bound. What else
// it touches is the header, all of which is `Sync`.
unsafe impl<O: Send> Send for OutcomeRef<O> {}

// SAFETY: through a shared handle only the header is seen.
unsafe impl<O> Sync for OutcomeRef<O> {}

impl<O> OutcomeRef<O> {
    fn header(&self) -> &Header {
        // SAFETY: the reference keeps the cell.
        unsafe { self.header.as_ref() }
    }

    /// The outside of the domain that the task lives on.
    pub(crate) fn remote(&self) -> &Arc<RemoteHandle> {
        &self.header().remote
    }

    /// Takes the outcome of a task that is over.
    #[inline]
    pub(crate) fn take(self) -> O {
        let this = ManuallyDrop::new(self);
        assert!(
            this.header().state.is_complete(),
            "a parent is told after the outcome was written"
        );
        let mut outcome: Option<O> = None;
        // SAFETY: the task is over, and was handed over to us: nobody else touches the life. The
        // outcome's type is `O`, since the handle was made with the cell. Our reference is given up
        // once, as the handle is not dropped.
        unsafe {
            (this.header().vtable.take)(this.header, ptr::from_mut(&mut outcome).cast());
            ref_dec(this.header);
        }
        outcome.expect("an outcome is there until it is taken")
    }
}

impl<O> Drop for OutcomeRef<O> {
    /// Lets the task go on without somebody who takes its outcome.
    fn drop(&mut self) {
        // SAFETY: the reference is there, and given up once. If the task is over the outcome is
        // ours, by `detach`.
        unsafe {
            if self.header().state.drop_handle() {
                (self.header().vtable.drop_outcome)(self.header);
            }
            ref_dec(self.header);
        }
    }
}

impl<O> fmt::Debug for OutcomeRef<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutcomeRef").field("state", &self.header().state).finish_non_exhaustive()
    }
}

/// A task that was woken elsewhere, on its way to its domain.
pub(crate) struct RemoteWake(NonNull<Header>);

// SAFETY: only the header is touched, all of which is `Send` and `Sync`; and the memory may be
// freed anywhere.
unsafe impl Send for RemoteWake {}

impl RemoteWake {
    /// Called by the domain: says that the message has come, and whom it concerns.
    pub(crate) fn ack(&self) -> Slot {
        // SAFETY: the reference keeps the cell.
        let state = unsafe { &self.0.as_ref().state };
        state.ack();
        state.slot()
    }
}

impl Drop for RemoteWake {
    fn drop(&mut self) {
        // SAFETY: the reference is there, and given up once.
        unsafe { ref_dec(self.0) };
    }
}

/// Gives up a reference, and frees the cell if it was the last one.
///
/// # Safety
///
/// The caller has a reference, and does not use it any more.
#[inline]
unsafe fn ref_dec(header: NonNull<Header>) {
    // SAFETY: the reference is there until the next line; if it was the last one, the cell is
    // nobody else's.
    unsafe {
        if header.as_ref().state.ref_dec() {
            free(header);
        }
    }
}

/// As [`ref_dec`], on the domain of the task.
///
/// # Safety
///
/// As for `ref_dec`; and the present thread steps the domain of the task.
#[inline]
unsafe fn ref_dec_local(header: NonNull<Header>) {
    // SAFETY: as in `ref_dec`.
    unsafe {
        if header.as_ref().state.ref_dec_local() {
            free(header);
        }
    }
}

/// Frees a cell. Neither body nor outcome is left in it: the domain gives its reference up after
/// the end, and the promise goes only with the outcome.
///
/// # Safety
///
/// The last reference was given up.
#[inline]
unsafe fn free(header: NonNull<Header>) {
    // SAFETY: nobody else refers to the cell.
    unsafe {
        let free = header.as_ref().vtable.free;
        free(header);
    }
}
