//! A task's reference count and wake-up behind the interface of [`Waker`].

use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::{Header, RemoteWake, Schedule, ref_dec, ref_dec_local};

/// Makes the vtable of a scheduler's wakers, for the one static behind
/// [`Schedule::waker_vtable`].
pub(crate) const fn vtable<S: Schedule>() -> RawWakerVTable {
    RawWakerVTable::new(clone::<S>, wake::<S>, wake_by_ref::<S>, drop_waker::<S>)
}

/// Makes a waker out of a reference.
///
/// # Safety
///
/// The caller owns a reference to the task, which the waker takes over.
pub(super) unsafe fn from_header<S: Schedule>(header: NonNull<Header<S>>) -> Waker {
    // SAFETY: the functions of the vtable fulfil the contract of `RawWakerVTable`. They may be
    // called on any thread, since all of `Header` is `Sync`, and each one releases or keeps the
    // waker's reference as it must.
    unsafe { Waker::new(header.as_ptr().cast::<()>(), S::waker_vtable()) }
}

/// Returns whether `waker` was made from a reference to the task at `header`.
#[inline]
pub(super) fn belongs_to<S: Schedule>(waker: &Waker, header: *const ()) -> bool {
    ptr::eq(waker.data(), header) && ptr::eq(waker.vtable(), S::waker_vtable())
}

/// # Safety
///
/// `data` is the data pointer of a waker made by [`from_header`] for the same `S`.
unsafe fn header_of<S: Schedule>(data: *const ()) -> NonNull<Header<S>> {
    // SAFETY: `from_header` made the pointer out of a `NonNull`.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast::<Header<S>>()) }
}

/// # Safety
///
/// `data` belongs to a live waker made by [`from_header`] for the same `S`.
unsafe fn clone<S: Schedule>(data: *const ()) -> RawWaker {
    // SAFETY: the waker's own reference keeps the task alive.
    let header = unsafe { header_of::<S>(data).as_ref() };
    if header.scheduler.is_current() {
        header.state.ref_inc_local();
    } else {
        header.state.ref_inc();
    }
    RawWaker::new(data, S::waker_vtable())
}

/// # Safety
///
/// As for [`clone`]; the waker gives its reference up.
unsafe fn wake<S: Schedule>(data: *const ()) {
    // SAFETY: the waker's reference keeps the task alive until it is released, once, at the end.
    unsafe {
        let header = header_of::<S>(data);
        if wake_local(header.as_ref()) {
            ref_dec_local(header);
        } else {
            wake_remote(header.as_ref());
            ref_dec(header);
        }
    }
}

/// # Safety
///
/// As for [`clone`].
unsafe fn wake_by_ref<S: Schedule>(data: *const ()) {
    // SAFETY: the waker keeps its reference during the call.
    let header = unsafe { header_of::<S>(data).as_ref() };
    if !wake_local(header) {
        wake_remote(header);
    }
}

/// # Safety
///
/// As for [`clone`]; the waker gives its reference up.
unsafe fn drop_waker<S: Schedule>(data: *const ()) {
    // SAFETY: the waker's reference is released once.
    unsafe {
        let header = header_of::<S>(data);
        if header.as_ref().scheduler.is_current() {
            ref_dec_local(header);
        } else {
            ref_dec(header);
        }
    }
}

/// Wakes the task if the current thread is running its scheduler. Returns whether it is.
#[inline]
fn wake_local<S: Schedule>(header: &Header<S>) -> bool {
    header.scheduler.wake_local(|| header.state.slot())
}

/// Sends a wake-up to the task's scheduler, unless one is on its way already.
#[cold]
fn wake_remote<S: Schedule>(header: &Header<S>) {
    if header.state.notify_remote() {
        header.state.ref_inc();
        // SAFETY: the reference was added in the line above.
        let wake = unsafe { RemoteWake::new(NonNull::from(header)) };
        // The scheduler is cloned first: once the message is sent, the task may run, complete and
        // be freed on its domain before this call returns.
        let scheduler = Arc::clone(&header.scheduler);
        scheduler.wake_remote(wake);
    }
}
