//! The operations that change or check the owner of a resource.

use std::panic::Location;
use std::sync::Arc;

use crate::context::{self, ledger_or_new};
use crate::error::{AccessError, NotOwner};
use crate::info::ResourceInfo;
use crate::registry::{Ledger, List, LockedTicket, Moved, Place, Resource, ResourceHandle, Ticket};

/// Makes the current task the owner of a new resource. Outside any task the resource remains
/// unowned.
///
/// For authors of handles: call it when the resource is created. See [`Resource`] for an example.
///
/// # Panics
///
/// If called from a finalizer: finalizers cannot own resources.
#[doc(alias = "attach")]
#[doc(alias = "register")]
#[track_caller]
pub fn own(resource: &Arc<dyn Resource>) {
    refuse_in_finalizer("own", resource.ticket());
    if context::in_task() {
        // The error means that the resource is finalized already, so there is nothing to own.
        let _ = adopt_slow(resource);
    }
}

impl Ticket {
    /// Returns `true` if the current task owns the resource, or, outside any task, if the resource
    /// is unowned.
    ///
    /// This is one load and one compare. Unlike [`check`](crate::check()) it records no error and
    /// does not adopt an unowned resource.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::{Owned, ResourceHandle, enter};
    ///
    /// let entered = enter(None);
    /// let owned = Owned::new(1, drop);
    /// assert!(owned.ticket().is_owned_by_current());
    /// let ledger = entered.leave();
    /// assert!(!owned.ticket().is_owned_by_current());
    /// # drop(enter(ledger));
    /// ```
    #[inline]
    pub fn is_owned_by_current(&self) -> bool {
        self.owner_id() == context::current_owner()
    }
}

/// Checks that the current task may use a resource through a shared reference.
///
/// If the resource is unowned or inherited (its last owner has ended, and no task has used it
/// since), the current task becomes its owner. Outside any task such a resource may be used, and
/// nothing changes. The fast path is one load and one compare.
///
/// # Errors
///
/// * [`AccessError::NotOwner`] if another task owns the resource. Inside a task, the first such
///   error is also [recorded in the task's ledger](Ledger::take_not_owner).
/// * [`AccessError::Finalized`] if the resource is finalized.
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
/// let error = entered.leave().and_then(|ledger| ledger.take_not_owner());
/// assert_eq!(error.expect("it was recorded").used_at.file(), file!());
/// ```
#[inline]
#[track_caller]
pub fn check<H: ResourceHandle + ?Sized>(handle: &H) -> Result<(), AccessError> {
    check_at(handle, Location::caller())
}

/// As [`check`], for a use whose line is known already: `used_at` is the line that a
/// [`NotOwner`] error names.
///
/// For authors of futures, which remember the line that created them, because the line that polls
/// them belongs to a combinator or to a runtime.
///
/// # Errors
///
/// As [`check`].
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use matou_ownership::{AccessError, Owned, check_at, enter};
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let _owner = entered.leave();
///
/// let entered = enter(None);
/// let line = Location::caller();
/// match check_at(&owned, line) {
///     Err(AccessError::NotOwner(error)) => assert_eq!(error.used_at, line),
///     other => panic!("{other:?}"),
/// }
/// # drop(entered.leave());
/// ```
#[inline]
pub fn check_at<H: ResourceHandle + ?Sized>(
    handle: &H,
    used_at: &'static Location<'static>,
) -> Result<(), AccessError> {
    if handle.ticket().is_owned_by_current() {
        return Ok(());
    }
    check_slow(&handle.resource(), used_at)
}

/// Makes the current task the owner of a resource, from any previous owner. Outside any task the
/// resource becomes unowned.
///
/// For authors of handles: call it in functions that take the handle by value or by `&mut`. The
/// borrow checker has proved that no other task can use the handle, so moving it moves the
/// ownership. The fast path is one load and one compare.
///
/// # Errors
///
/// [`AccessError::Finalized`] if the resource is finalized.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, adopt, enter};
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let sender = entered.leave().expect("the task owns a value");
///
/// let entered = enter(None);
/// adopt(&owned)?;
/// let receiver = entered.leave().expect("the task owns a value");
/// assert_eq!((sender.len(), receiver.len()), (0, 1));
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

/// Removes a resource from the current task without finalizing it. The resource is unowned until
/// its next use.
///
/// # Errors
///
/// The same as [`check`].
///
/// # Panics
///
/// If called from a finalizer.
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
#[doc(alias = "detach")]
#[doc(alias = "unregister")]
#[track_caller]
pub fn disown<H: ResourceHandle + ?Sized>(handle: &H) -> Result<(), AccessError> {
    refuse_in_finalizer("disown", handle.ticket());
    let (resource, current) = (handle.resource(), ledger_or_new());
    let _detached;
    let locked = resource.ticket().lock();
    let mut locked = check_locked(&resource, locked, current.as_ref(), Location::caller())?;
    _detached = locked.detach();
    Ok(())
}

/// Transfers a resource to the parent of the current task.
///
/// The parent becomes the owner when the current task ends, normally or not. Until then the
/// resource is in transit: no task may use it through a shared reference, including the current
/// one. A task that uses it by value or by `&mut` becomes its owner, which undoes the transfer. A
/// second transfer has no effect. Outside any task an unowned resource remains unowned.
///
/// The current task need not have used the resource before: a handle that was moved into it can be
/// transferred at once, unless the resource was [given](give()) to its owner.
///
/// # Errors
///
/// * [`AccessError::NotOwner`] if the resource was given to another task, as by [`check`]. Outside
///   any task, if a task owns it.
/// * [`AccessError::Finalized`] if the resource is finalized.
///
/// # Panics
///
/// If called from a finalizer.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, scope, transfer};
/// # futures::executor::block_on(async {
///
/// let outcome = scope(async {
///     // The child creates the value, the parent keeps it.
///     let owned = scope(async {
///         let owned = Owned::new(40, drop);
///         transfer(&owned).map(|()| owned)
///     });
///     let owned = owned.await.expect("nothing leaked").expect("the child owned it");
///     *owned.get().expect("the parent owns it now") + 2
/// });
/// assert_eq!(outcome.await.expect("nothing leaked"), 42);
/// # });
/// ```
#[track_caller]
pub fn transfer<H: ResourceHandle + ?Sized>(handle: &H) -> Result<(), AccessError> {
    refuse_in_finalizer("transfer", handle.ticket());
    let resource = handle.resource();
    let Some(current) = ledger_or_new() else {
        // There is no parent. An unowned resource remains unowned.
        return check_slow(&resource, Location::caller());
    };
    let _moved;
    let mut locked = resource.ticket().lock();
    if locked.is_given() || matches!(locked.place(), Place::Finalized) {
        locked = check_locked(&resource, locked, Some(&current), Location::caller())?;
    }
    if locked.is_in_transit_from(&current) && !locked.is_inherited() {
        return Ok(());
    }
    _moved = locked.move_to(&resource, current, List::Transferred);
    Ok(())
}

/// Makes `to` the owner of a resource that the current task owns, or that is unowned.
///
/// For runtimes: the builder of a task calls it when the task is spawned.
///
/// A resource that was given to a task does not pass to the task's parent by itself. The task must
/// [`transfer`], [`disown`] or [`release`](crate::release()) it before it ends normally; otherwise
/// it leaks. Giving a resource again to the task that was given it has no effect.
///
/// # Errors
///
/// The same as [`check`].
///
/// # Panics
///
/// If called from a finalizer.
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
    give_at(handle, to, Location::caller())
}

/// As [`give`], for a builder that was asked to give the resource at the line `used_at`, which a
/// [`NotOwner`] error names.
///
/// # Errors
///
/// As [`give`].
///
/// # Panics
///
/// As [`give`].
#[track_caller]
pub fn give_at<H: ResourceHandle + ?Sized>(
    handle: &H,
    to: &Arc<Ledger>,
    used_at: &'static Location<'static>,
) -> Result<(), AccessError> {
    refuse_in_finalizer("give", handle.ticket());
    let (resource, current) = (handle.resource(), ledger_or_new());
    let moved;
    let locked = resource.ticket().lock();
    if locked.is_given() && locked.is_owned_by(to) {
        return Ok(());
    }
    let mut locked = check_locked(&resource, locked, current.as_ref(), used_at)?;
    moved = locked.move_to(&resource, Arc::clone(to), List::Owned);
    if moved.is_accepted() {
        locked.set_given();
    }
    Ok(())
}

#[cold]
fn check_slow(
    resource: &Arc<dyn Resource>,
    used_at: &'static Location<'static>,
) -> Result<(), AccessError> {
    let current = ledger_or_new();
    let _moved;
    let locked = resource.ticket().lock();
    let mut locked = check_locked(resource, locked, current.as_ref(), used_at)?;
    if let (true, Some(current)) = (locked.is_available(), current) {
        _moved = locked.adopt(resource, current);
    }
    Ok(())
}

fn adopt_slow(resource: &Arc<dyn Resource>) -> Result<(), AccessError> {
    let current = ledger_or_new();
    let (_moved, _detached);
    let mut locked = resource.ticket().lock();
    if matches!(locked.place(), Place::Finalized) {
        return Err(AccessError::Finalized(resource.ticket().info()));
    }
    match current {
        Some(current) if locked.is_owned_by(&current) && !locked.is_inherited() => {}
        Some(current) => _moved = locked.adopt(resource, current),
        None => _detached = locked.detach(),
    }
    Ok(())
}

impl LockedTicket<'_> {
    /// Makes the current task, which has the ledger `current`, the owner.
    #[inline]
    pub(crate) fn adopt(&mut self, resource: &Arc<dyn Resource>, current: Arc<Ledger>) -> Moved {
        if self.has_outlived_owner() {
            current.request_service();
            context::set_ledger_flag();
        }
        self.move_to(resource, current, List::Owned)
    }
}

/// Passes the lock through if `current` owns the resource, or if it is available to the next task
/// that uses it. Otherwise unlocks it, and records a [`NotOwner`] error in `current`.
fn check_locked<'a>(
    resource: &Arc<dyn Resource>,
    locked: LockedTicket<'a>,
    current: Option<&Arc<Ledger>>,
    used_at: &'static Location<'static>,
) -> Result<LockedTicket<'a>, AccessError> {
    let (owner, in_transit) = match locked.place() {
        Place::Finalized => return Err(AccessError::Finalized(resource.ticket().info())),
        // fault: inherited-not-available
        _ if locked.is_available() => return Ok(locked),
        Place::Owned { .. } if current.is_some_and(|current| locked.is_owned_by(current)) => {
            return Ok(locked);
        }
        Place::Unowned => return Ok(locked),
        Place::Owned { ledger, .. } => (ledger.owner().cloned(), false),
        Place::InTransit { ledger, .. } => (ledger.owner().cloned(), true),
    };
    drop(locked);
    let error = NotOwner { resource: resource.ticket().info(), owner, in_transit, used_at };
    if let Some(current) = current {
        // fault: misuse-not-checked
        context::set_ledger_flag();
        current.record_not_owner(error.clone());
    }
    Err(AccessError::NotOwner(error))
}

#[track_caller]
fn refuse_in_finalizer(operation: &str, ticket: &Ticket) {
    if context::in_finalizer() {
        refuse(operation, &ticket.info());
    }
}

#[cold]
#[track_caller]
fn refuse(operation: &str, resource: &ResourceInfo) -> ! {
    panic!(
        "a finalizer cannot {operation} a resource ({resource}): do it in the task, and move \
         whatever the finalizer needs into the finalizer",
    );
}
