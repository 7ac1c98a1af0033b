use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::thread;

use crate::current::{self, ledger_or_new};
use crate::ledger::List;
use crate::settle::{let_go, message_of};
use crate::ticket::{Detached, LockedTicket, Place};
use crate::{
    AccessError, FinalizeStatus, Ledger, NotOwner, Resource, ResourceHandle, ResourceInfo,
};

/// Enters a new resource into the current task. Outside any scope it stays unowned.
///
/// For those who write handles: call it when the resource is made. See [`Resource`] for an example.
///
/// # Panics
///
/// In a finalizer, which has no life of its own that a resource could belong to.
#[track_caller]
pub fn own(resource: &Arc<dyn Resource>) {
    refuse_in_finalizer("own", resource.ticket().info());
    if current::in_task() {
        // A resource that was finalized before it was entered has nothing left to own.
        let _ = adopt_slow(resource);
    }
}

/// Checks that the current task may use a resource by shared reference.
///
/// If nobody owns it, the current task becomes its owner. Outside any scope an unowned resource may
/// be used, and stays unowned. On the fast path this is one load and one compare.
///
/// # Errors
///
/// [`AccessError::NotOwner`] if another task owns it; inside a task this is also recorded as the task's
/// [fault](Ledger::take_not_owner), if it is the first. [`AccessError::Finalized`] if it is finalized.
///
/// # Examples
///
/// ```
/// use matou_ownership::{AccessError, Owned, check, enter};
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// assert!(check(&owned).is_ok());
/// let _owner = entered.leave();
///
/// // Another task:
/// let entered = enter(None);
/// assert!(matches!(check(&owned), Err(AccessError::NotOwner(_))));
/// let fault = entered.leave().and_then(|ledger| ledger.take_not_owner());
/// assert_eq!(fault.expect("it was recorded").used_at.file(), file!());
/// ```
#[inline]
#[track_caller]
pub fn check<H: ResourceHandle + ?Sized>(handle: &H) -> Result<(), AccessError> {
    if handle.ticket().is_owned_by_current() {
        return Ok(());
    }
    check_slow(&handle.resource(), Location::caller())
}

/// Makes the current task the owner of a resource, whomever it belonged to. Outside any scope it
/// becomes unowned.
///
/// For those who write handles: call it in what takes the handle by value or by `&mut`. A move is
/// a gift, since the borrow checker has proved that nobody else uses the handle. On the fast path
/// this is one load and one compare.
///
/// # Errors
///
/// [`AccessError::Finalized`] if it is finalized.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, adopt, enter};
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let giver = entered.leave().expect("it owns something");
///
/// let entered = enter(None);
/// adopt(&owned)?;
/// let taker = entered.leave().expect("it owns something");
/// assert_eq!((giver.len(), taker.len()), (0, 1));
/// # Ok::<(), matou_ownership::AccessError>(())
/// ```
#[inline]
#[track_caller]
pub fn adopt<H: ResourceHandle + ?Sized>(handle: &H) -> Result<(), AccessError> {
    if handle.ticket().is_owned_by_current() {
        return Ok(());
    }
    adopt_slow(&handle.resource())
}

/// Lets a resource leave the current task without being finalized. Nobody owns it until its next
/// use.
///
/// # Errors
///
/// As for [`check`].
///
/// # Panics
///
/// In a finalizer.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Ledger, Owned, disown, enter};
///
/// let ledger = Ledger::new();
/// let entered = enter(Some(ledger.clone()));
/// let owned = Owned::new(1, drop);
/// disown(&owned)?;
/// assert!(ledger.is_empty());
/// # Ok::<(), matou_ownership::AccessError>(())
/// ```
#[track_caller]
pub fn disown<H: ResourceHandle + ?Sized>(handle: &H) -> Result<(), AccessError> {
    refuse_in_finalizer("disown", handle.ticket().info());
    let (resource, here) = (handle.resource(), ledger_or_new());
    let _left;
    let mut ticket = lock_as_user(&resource, here.as_ref(), Location::caller())?;
    _left = ticket.detach();
    Ok(())
}

/// Sets a resource apart for the parent, to which it is delivered when the current task ends, be
/// it normally or not. Outside any scope there is nobody to transfer from, and an unowned
/// resource stays so.
///
/// Until then it is in transit. Nobody may use it through a shared reference, this task included;
/// whoever uses it by `&mut` or by value takes it, and undoes the transfer. To transfer twice is
/// the same as once.
///
/// # Errors
///
/// As for [`check`].
///
/// # Panics
///
/// In a finalizer.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, scope, transfer};
/// # futures::executor::block_on(async {
///
/// let outcome = scope(async {
///     // The child makes it, the parent keeps it.
///     let owned = scope(async {
///         let owned = Owned::new(40, drop);
///         transfer(&owned).map(|()| owned)
///     });
///     let owned = owned.await.expect("nothing leaked").expect("it was ours");
///     *owned.get().expect("now it is the parent's") + 2
/// });
/// assert_eq!(outcome.await.expect("nothing leaked"), 42);
/// # });
/// ```
#[track_caller]
pub fn transfer<H: ResourceHandle + ?Sized>(handle: &H) -> Result<(), AccessError> {
    refuse_in_finalizer("transfer", handle.ticket().info());
    let (resource, here) = (handle.resource(), ledger_or_new());
    if let Some(here) = &here {
        let ticket = resource.ticket().lock();
        if matches!(ticket.place(), Place::InTransit { ledger, .. } if Arc::ptr_eq(ledger, here)) {
            return Ok(());
        }
    }
    let _moved;
    let mut ticket = lock_as_user(&resource, here.as_ref(), Location::caller())?;
    if let Some(here) = &here {
        _moved = ticket.relocate(&resource, Arc::clone(here), List::Bequest);
    }
    Ok(())
}

/// Makes `to` the owner of a resource of the current task, or of an unowned one.
///
/// For those who write runtimes: a task's builder does it when a child is spawned.
///
/// # Errors
///
/// As for [`check`].
///
/// # Panics
///
/// In a finalizer.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Ledger, Owned, give};
/// use std::sync::Arc;
///
/// let child = Ledger::new();
/// let shared = Arc::new(Owned::new(1, drop));
/// give(&shared, &child)?;
/// assert_eq!(child.len(), 1);
/// # Ok::<(), matou_ownership::AccessError>(())
/// ```
#[track_caller]
pub fn give<H: ResourceHandle + ?Sized>(handle: &H, to: &Arc<Ledger>) -> Result<(), AccessError> {
    refuse_in_finalizer("give", handle.ticket().info());
    let (resource, here) = (handle.resource(), ledger_or_new());
    let _moved;
    let mut ticket = lock_as_user(&resource, here.as_ref(), Location::caller())?;
    _moved = ticket.relocate(&resource, Arc::clone(to), List::Owned);
    Ok(())
}

/// Finalizes a resource now: takes it from its owner, whoever that is, and runs its finalizer,
/// unless that has begun already.
///
/// For those who write handles: it is what `Drop` of a handle calls. It minds neither whose
/// resource it is, nor on which thread it runs, nor whether there is a scope. Returns what the
/// resource's [`finalize`](Resource::finalize) answered, or `None` if another was first; of what
/// is [`Pending`](FinalizeStatus::Pending) the caller has to take care, and where that cannot be
/// awaited, [`defer`] is the better choice.
///
/// # Panics
///
/// If the finalizer does. When the thread is panicking already, the second panic is caught, and
/// recorded for the owner's [`FinalizeReport`](crate::FinalizeReport).
pub fn release<H: ResourceHandle + ?Sized>(handle: &H) -> Option<FinalizeStatus> {
    let Detached { resource, ledger, .. } = handle.ticket().finish()?;
    let resource = resource.unwrap_or_else(|| handle.resource());
    let _finalizing = current::finalizing();
    if !thread::panicking() {
        return Some(resource.finalize());
    }
    let finalized = catch_unwind(AssertUnwindSafe(|| resource.finalize()));
    Some(finalized.unwrap_or_else(|payload| {
        let message = message_of(payload);
        if let Some(ledger) = ledger.or_else(ledger_or_new) {
            ledger.record_panic(resource.ticket().info(), message);
        }
        FinalizeStatus::Done
    }))
}

/// Leaves a resource to its owner's end, where its finalizer runs; this is then no leak.
///
/// For those who write handles: it is what `Drop` of a handle calls if the finalizer is
/// asynchronous. If nobody owns it, it belongs to the current task. Outside any scope there is no
/// end to wait for, so its finalizer runs at once, on a thread of its own that nobody waits for.
pub fn defer<H: ResourceHandle + ?Sized>(handle: &H) {
    if handle.ticket().is_finalized() {
        return;
    }
    let resource = handle.resource();
    if !leave_to_owner(&resource) {
        finalize_elsewhere(resource);
    }
}

/// Finalizes what was dropped and belongs to nobody, on a thread of its own if it has to wait.
#[cold]
pub(crate) fn finalize_elsewhere(resource: Arc<dyn Resource>) {
    let ledger = Ledger::new();
    ledger.receive(vec![resource]);
    let_go(ledger);
}

/// Marks a resource as deferred, and returns whether there is an owner who will finalize it.
pub(crate) fn leave_to_owner(resource: &Arc<dyn Resource>) -> bool {
    let here = ledger_or_new();
    let _moved;
    let mut ticket = resource.ticket().lock();
    ticket.set_deferred();
    match (ticket.place(), here) {
        (Place::Unowned, None) => false,
        (Place::Unowned, Some(here)) => {
            _moved = ticket.relocate(resource, here, List::Owned);
            _moved.1.is_ok()
        }
        _ => true,
    }
}

#[cold]
fn check_slow(
    resource: &Arc<dyn Resource>,
    used_at: &'static Location<'static>,
) -> Result<(), AccessError> {
    let here = ledger_or_new();
    let _moved;
    let mut ticket = lock_as_user(resource, here.as_ref(), used_at)?;
    if let (Place::Unowned, Some(here)) = (ticket.place(), here) {
        _moved = ticket.relocate(resource, here, List::Owned);
    }
    Ok(())
}

fn adopt_slow(resource: &Arc<dyn Resource>) -> Result<(), AccessError> {
    let here = ledger_or_new();
    let (_moved, _left);
    let mut ticket = resource.ticket().lock();
    match (ticket.place(), here) {
        (Place::Finalized, _) => return Err(AccessError::Finalized(resource.ticket().info())),
        (Place::Young { ledger } | Place::Owned { ledger, .. }, Some(here))
            if Arc::ptr_eq(ledger, &here) => {}
        (_, Some(here)) => _moved = ticket.relocate(resource, here, List::Owned),
        (_, None) => _left = ticket.detach(),
    }
    Ok(())
}

/// Locks the ticket of a resource that `here` may use: its own, or nobody's. Records a misuse.
fn lock_as_user<'a>(
    resource: &'a Arc<dyn Resource>,
    here: Option<&Arc<Ledger>>,
    used_at: &'static Location<'static>,
) -> Result<LockedTicket<'a>, AccessError> {
    let ticket = resource.ticket();
    let locked = ticket.lock();
    let (owner, in_transit) = match locked.place() {
        Place::Finalized => return Err(AccessError::Finalized(ticket.info())),
        Place::Unowned => return Ok(locked),
        Place::Young { ledger } | Place::Owned { ledger, .. }
            if here.is_some_and(|here| Arc::ptr_eq(ledger, here)) =>
        {
            return Ok(locked);
        }
        Place::Young { ledger } | Place::Owned { ledger, .. } => (ledger.owner().cloned(), false),
        Place::InTransit { ledger, .. } => (ledger.owner().cloned(), true),
    };
    drop(locked);
    let fault = NotOwner { resource: ticket.info(), owner, in_transit, used_at };
    if let Some(here) = here {
        here.record_fault(fault.clone());
    }
    Err(AccessError::NotOwner(fault))
}

#[track_caller]
fn refuse_in_finalizer(verb: &str, resource: ResourceInfo) {
    if current::in_finalizer() {
        refuse(verb, &resource);
    }
}

#[cold]
#[track_caller]
pub(crate) fn refuse(verb: &str, resource: &ResourceInfo) -> ! {
    panic!(
        "a finalizer cannot {verb} a resource ({resource}): do it in the task, and move what the \
         finalizer needs into it",
    );
}
