//! The pointer to the domain that the present thread is stepping: all that is thread-local.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use super::{Domain, RemoteHandle};
use crate::task::Slot;

thread_local! {
    static CURRENT: Cell<*const Domain> = const { Cell::new(ptr::null()) };
}

/// Keeps a domain the current one; the one before comes back at the drop.
pub(super) struct Entered<'a> {
    domain: &'a Domain,
    previous: *const Domain,
    previous_resource: u64,
}

impl Domain {
    #[inline]
    pub(super) fn enter(&self) -> Entered<'_> {
        let previous_resource = matou_ownership::replace_id_source(self.next_resource.get());
        Entered { domain: self, previous: CURRENT.replace(self), previous_resource }
    }

    /// Calls `f` with the current domain, if this thread is stepping one.
    // Always: a call of this small frame around `f` costs half as much as to wake a task does.
    #[inline(always)]
    pub(crate) fn try_with<R>(f: impl FnOnce(&Domain) -> R) -> Option<R> {
        // The cell has no destructor, so this cannot fail; but a waker may be called from
        // anywhere, and from there nothing may panic.
        let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
        if current.is_null() {
            return None;
        }
        // SAFETY: the pointer is not null only while an `Entered` of this thread lives, which
        // borrows the domain and puts the previous pointer back when it is dropped. The closure
        // cannot outlive that guard: it runs inside the frame that holds it, and the reference
        // cannot escape through `R`, whose type is chosen before the closure's lifetime.
        Some(f(unsafe { &*current }))
    }

    /// Calls `f` with the current domain.
    ///
    /// # Panics
    ///
    /// If the thread is not inside a run; `what` says which function was called there.
    #[inline]
    #[track_caller]
    pub(crate) fn with<R>(what: &str, f: impl FnOnce(&Domain) -> R) -> R {
        match Domain::try_with(f) {
            Some(result) => result,
            None => panic_outside(what),
        }
    }

    /// Whether the present thread is stepping the domain that `remote` is the outside of.
    #[inline]
    pub(crate) fn is_current(remote: &Arc<RemoteHandle>) -> bool {
        Domain::try_with(|domain| domain.has_handle(remote)) == Some(true)
    }

    /// Wakes a task if the present thread is stepping the domain that it lives on.
    #[inline]
    pub(crate) fn wake_if_here(remote: &Arc<RemoteHandle>, slot: impl FnOnce() -> Slot) -> bool {
        Domain::try_with(|domain| domain.has_handle(remote).then(|| domain.wake(slot())))
            .flatten()
            .is_some()
    }

    /// Whether the present thread is inside a run.
    pub(crate) fn is_inside() -> bool {
        Domain::try_with(|_| ()).is_some()
    }
}

#[cold]
#[track_caller]
fn panic_outside(what: &str) -> ! {
    panic!("{what} works only inside a matou run, on one of its tasks")
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.previous);
        let next = matou_ownership::replace_id_source(self.previous_resource);
        self.domain.next_resource.set(next);
    }
}
