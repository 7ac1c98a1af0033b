//! Finalizing a resource when its handle is dropped, or leaving that to its owner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crate::background::finalize_detached;
use crate::context::{enter_finalizer, ledger_or_new};
use crate::panic_message::panic_message;
use crate::registry::{Detached, FinalizeStatus, Ledger, List, Place, Resource, ResourceHandle};

/// Finalizes a resource now: removes it from its owner and runs its finalizer, unless the finalizer
/// has started already.
///
/// For authors of handles: call it in the handle's `Drop`. Any task, any thread, and code outside
/// any task may call it, whether or not the current task is the owner.
///
/// Returns the result of the resource's [`finalize`](Resource::finalize), or `None` if the resource
/// was finalized already. The caller must poll the future of a
/// [`Pending`](FinalizeStatus::Pending) result; where it cannot, use [`defer`] instead.
///
/// # Panics
///
/// If the finalizer panics. While the thread is panicking already, the second panic is caught and
/// recorded for the owner's [`FinalizeReport`](crate::FinalizeReport).
#[doc(alias = "close")]
pub fn release<H: ResourceHandle + ?Sized>(handle: &H) -> Option<FinalizeStatus> {
    let Detached { resource, ledger, .. } = handle.ticket().begin_finalize()?;
    let resource = resource.unwrap_or_else(|| handle.resource());
    let _finalizer = enter_finalizer();
    if !thread::panicking() {
        return Some(resource.finalize());
    }
    // A panic that leaves a destructor during unwinding would abort the process.
    let finalized = catch_unwind(AssertUnwindSafe(|| resource.finalize()));
    Some(finalized.unwrap_or_else(|payload| {
        let message = panic_message(payload);
        if let Some(ledger) = ledger.or_else(ledger_or_new) {
            ledger.record_panic(resource.ticket().info(), message);
        }
        FinalizeStatus::Done
    }))
}

/// Leaves a resource to its owner, whose end runs the finalizer. The resource does not count as a
/// leak then.
///
/// For authors of handles with an asynchronous finalizer: call it in the handle's `Drop`. If the
/// resource is unowned, the current task becomes its owner. Outside any task the finalizer of an
/// unowned resource runs at once, on a separate thread that is not joined.
pub fn defer<H: ResourceHandle + ?Sized>(handle: &H) {
    if handle.ticket().is_finalized() {
        return;
    }
    let resource = handle.resource();
    if !defer_to_owner(&resource) {
        finalize_unowned(resource);
    }
}

/// Marks a resource as deferred. Returns `false` if it has no owner that will finalize it.
pub(crate) fn defer_to_owner(resource: &Arc<dyn Resource>) -> bool {
    let current = ledger_or_new();
    let moved;
    let mut locked = resource.ticket().lock();
    locked.set_deferred();
    match (locked.place(), current) {
        (Place::Unowned, None) => false,
        (Place::Unowned, Some(current)) => {
            moved = locked.move_to(resource, current, List::Owned);
            moved.is_accepted()
        }
        _ => true,
    }
}

#[cold]
fn finalize_unowned(resource: Arc<dyn Resource>) {
    let ledger = Ledger::new();
    ledger.receive(vec![resource]);
    finalize_detached(ledger);
}
