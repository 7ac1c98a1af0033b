//! Finalizing a resource when its handle is dropped, or leaving that to its owner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crate::background::finalize_detached;
use crate::context::{enter_finalizer, ledger_or_new};
use crate::held_locks::assert_none_held;
use crate::panic_message::panic_message;
use crate::registry::{Detached, FinalizeStatus, Ledger, Place, Resource, ResourceHandle};

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
    assert_none_held();
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
/// For authors of handles with an asynchronous finalizer: call it in the handle's `Drop`. Dropping
/// a handle is a use by value, so the current task becomes the owner, unless the resource was
/// [given](crate::give()) to another task. Outside any task the finalizer of an unowned resource
/// runs at once, on a separate thread that is not joined.
///
/// If the resource has outlived an owner, the finalizer runs before the owner's end, provided that
/// a runtime has set a [service](crate::Ledger::set_finalizer_service) for it.
pub fn defer<H: ResourceHandle + ?Sized>(handle: &H) {
    if handle.ticket().is_finalized() {
        return;
    }
    let resource = handle.resource();
    match defer_to_owner(&resource) {
        Deferred::Unowned => finalize_unowned(resource),
        Deferred::AtOwnersEnd => {}
        Deferred::Due(owner) => owner.add_due(resource),
    }
}

/// Marks a resource as deferred: the handle is dropped, or a [`Release`](crate::Release) finalizes
/// the resource. The current task becomes its owner, unless it was given to another one.
pub(crate) fn defer_to_owner(resource: &Arc<dyn Resource>) -> Deferred {
    let current = ledger_or_new();
    let moved;
    let mut locked = resource.ticket().lock();
    let stays = match (locked.place(), &current) {
        (Place::Unowned, None) => {
            locked.set_deferred();
            return Deferred::Unowned;
        }
        (Place::Unowned, Some(_)) => false,
        // fault: dropped-handle-waits
        (Place::Owned { .. }, Some(current)) => {
            let is_own = locked.is_owned_by(current) && !locked.is_inherited();
            is_own || locked.is_given() || locked.is_deferred() || current.is_closed()
        }
        _ => true,
    };
    locked.set_deferred();
    if let (false, Some(current)) = (stays, current) {
        moved = locked.adopt(resource, current);
        if !moved.is_accepted() {
            return Deferred::Unowned;
        }
    }
    match locked.place() {
        Place::Owned { ledger, .. } if locked.has_outlived_owner() => {
            Deferred::Due(Arc::clone(ledger))
        }
        _ => Deferred::AtOwnersEnd,
    }
}

/// When the finalizer of a deferred resource runs.
pub(crate) enum Deferred {
    /// The resource has no owner, so the caller must finalize it.
    Unowned,
    /// At the owner's end, or once the parent has received the resource.
    AtOwnersEnd,
    /// As soon as the service of this ledger, that of the owner, runs it.
    Due(Arc<Ledger>),
}

#[cold]
fn finalize_unowned(resource: Arc<dyn Resource>) {
    let ledger = Ledger::new();
    ledger.receive(vec![resource]);
    finalize_detached(ledger);
}
