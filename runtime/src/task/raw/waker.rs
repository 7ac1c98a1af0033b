//! A task as the [`Waker`] sees it.

use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::{Header, RemoteWake, ref_dec, ref_dec_local};
use crate::domain::{Domain, Message};

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// Makes a waker of a reference.
///
/// # Safety
///
/// The waker takes over a reference to the task.
pub(super) unsafe fn of(header: NonNull<Header>) -> Waker {
    // SAFETY: the functions of the table keep the contract of `RawWakerVTable`: they may be called
    // on any thread, as all of `Header` is `Sync`, and each does with the reference what it says.
    unsafe { Waker::new(header.as_ptr().cast::<()>(), &VTABLE) }
}

/// Whether `waker` was made of a reference to this very task.
#[inline]
pub(super) fn belongs_to(waker: &Waker, header: *const ()) -> bool {
    std::ptr::eq(waker.data(), header) && std::ptr::eq(waker.vtable(), &VTABLE)
}

/// # Safety
///
/// `data` comes from [`of`].
unsafe fn pointer(data: *const ()) -> NonNull<Header> {
    // SAFETY: it was made of a `NonNull`.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast::<Header>()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned has a reference.
    let header = unsafe { pointer(data).as_ref() };
    if Domain::is_current(&header.remote) {
        header.state.ref_inc_local();
    } else {
        header.state.ref_inc();
    }
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker has a reference, which it gives up.
    unsafe {
        if wake_here(pointer(data).as_ref()) {
            ref_dec_local(pointer(data));
        } else {
            send(pointer(data).as_ref());
            ref_dec(pointer(data));
        }
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker has a reference for the whole call.
    let header = unsafe { pointer(data).as_ref() };
    if !wake_here(header) {
        send(header);
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker has a reference, which it gives up.
    unsafe {
        if Domain::is_current(&pointer(data).as_ref().remote) {
            ref_dec_local(pointer(data));
        } else {
            ref_dec(pointer(data));
        }
    }
}

/// Wakes the task if the present thread is stepping the domain that it lives on.
#[inline]
fn wake_here(header: &Header) -> bool {
    Domain::wake_if_here(&header.remote, || header.state.slot())
}

/// Tells the domain of the task, unless it has been told and has not heard yet.
#[cold]
fn send(header: &Header) {
    if header.state.notify_remote() {
        header.state.ref_inc();
        // The remote is kept: the task may run, end and be freed on its domain while we still ring.
        let remote = Arc::clone(&header.remote);
        remote.send(Message::Wake(RemoteWake(NonNull::from(header))));
    }
}
