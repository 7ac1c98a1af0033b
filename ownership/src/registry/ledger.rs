use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use super::due::Due;
use super::inherited::InheritedCounts;
use super::resource::Resource;
use super::ticket::OwnerId;
use crate::error::NotOwner;
use crate::held_locks::HeldLock;
use crate::info::{OwnerInfo, ResourceInfo};
use crate::linked_slab::LinkedSlab;
use crate::primitives::{Mutex, MutexGuard};

/// The resources that one task owns.
///
/// A runtime creates a ledger for each task, [enters](crate::enter()) it while it polls the task,
/// and [finalizes](Ledger::finalize_all) it after the task's future is dropped. Under any other
/// executor [`scope`](crate::scope()) does this.
///
/// Adding, removing and moving a resource takes O(1), and any thread may do it. A ledger is closed
/// once it is finalized; a resource that would enter it later remains unowned.
///
/// Before it finalizes the ledger, a runtime calls [`leave_to_parent`](Ledger::leave_to_parent) if
/// the resources whose handles are still alive pass to the parent.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Ledger, Owned, enter};
///
/// let ledger = Ledger::new();
/// let entered = enter(Some(ledger.clone()));
/// let owned = Owned::new(String::from("scratch"), drop);
/// entered.leave();
/// assert_eq!(ledger.len(), 1);
/// drop(owned);
/// assert!(ledger.is_empty());
/// ```
#[doc(alias = "ResourceTracker")]
pub struct Ledger {
    inner: Mutex<Inner>,
    /// `true` if `Cold::not_owner` is set, which is rare. Relaxed, because the thread that polls
    /// the task both records the error and reads it.
    has_error: AtomicBool,
    /// `true` if the task has become the owner of a resource that had outlived another owner, and
    /// the ledger has no service for finalizers that are due. Relaxed, as `has_error`.
    pub(super) needs_service: AtomicBool,
    owner: OnceLock<OwnerInfo>,
}

pub(super) struct Inner {
    /// The resources to finalize at the owner's end.
    pub(super) owned: LinkedSlab<Entry>,
    /// Fields that few tasks need. Boxed to keep ledgers small.
    pub(super) cold: Option<Box<Cold>>,
    stage: Stage,
}

pub(super) struct Entry {
    pub(super) resource: Arc<dyn Resource>,
    /// `true` if the resource was added after finalization had begun.
    late: bool,
}

#[derive(Default)]
pub(super) struct Cold {
    /// The resources transferred to the parent, in order of transfer.
    pub(super) transferred: LinkedSlab<Entry>,
    /// The number of inherited resources of each line that made them.
    inherited: InheritedCounts,
    /// The resources whose finalizers are due before the owner's end.
    pub(super) due: Due,
    /// The first use of another task's resource by this ledger's task.
    not_owner: Option<NotOwner>,
    /// Panics of finalizers that were caught because the thread was panicking already.
    panics: Vec<(ResourceInfo, String)>,
}

/// The stage of a ledger's life. It only advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Finalization has begun. A resource that enters now is finalized too.
    Finalizing,
    /// Finalization is complete. No resource enters any more.
    Closed,
}

/// One of the two lists of a ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) enum List {
    Owned,
    Transferred,
}

impl Ledger {
    /// Creates an empty ledger.
    #[must_use]
    pub fn new() -> Arc<Ledger> {
        Arc::new(Ledger {
            inner: Mutex::new(Inner { owned: LinkedSlab::new(), cold: None, stage: Stage::Open }),
            has_error: AtomicBool::new(false),
            needs_service: AtomicBool::new(false),
            owner: OnceLock::new(),
        })
    }

    /// Sets the description of this ledger's task, for reports. Only the first call has an effect.
    pub fn set_owner(&self, owner: OwnerInfo) {
        let _ = self.owner.set(owner);
    }

    /// Returns the description of this ledger's task, if it is set.
    #[inline]
    pub fn owner(&self) -> Option<&OwnerInfo> {
        self.owner.get()
    }

    /// Returns the number of resources to finalize at the owner's end. This includes resources
    /// whose handle is dropped and whose asynchronous finalizer waits for the owner's end.
    pub fn len(&self) -> usize {
        self.lock().owned.len()
    }

    /// Returns `true` if there is no resource to finalize at the owner's end.
    pub fn is_empty(&self) -> bool {
        self.lock().owned.is_empty()
    }

    /// Returns the resources that [`len`](Ledger::len) counts, newest first.
    pub fn resources(&self) -> Vec<ResourceInfo> {
        // Unlock before calling `Resource::ticket`, which is user code.
        self.owned_newest_first().iter().map(|resource| resource.ticket().info()).collect()
    }

    /// Takes the first [`NotOwner`] error of this ledger's task, if there was one.
    pub fn take_not_owner(&self) -> Option<NotOwner> {
        if !self.has_error.load(Ordering::Relaxed) {
            return None;
        }
        self.has_error.store(false, Ordering::Relaxed);
        self.lock().cold_mut().not_owner.take()
    }

    /// Returns the id that the tickets of the resources owned here hold.
    pub(crate) fn owner_id(&self) -> OwnerId {
        std::ptr::from_ref(self) as usize
    }

    /// Adds `resource` to `list` and returns its slot. Gives it back if the ledger is closed.
    ///
    /// `inherited` is the line that made the resource, if it is inherited. The flag says whether
    /// many resources of this line have accumulated.
    #[inline]
    pub(crate) fn insert(
        &self,
        list: List,
        resource: Arc<dyn Resource>,
        inherited: Option<&'static Location<'static>>,
    ) -> Result<(u32, bool), Arc<dyn Resource>> {
        let mut inner = self.lock();
        if inner.stage == Stage::Closed {
            return Err(resource);
        }
        let late = inner.stage == Stage::Finalizing;
        let slot = inner.list_mut(list).push(Entry { resource, late });
        let accumulated = match (list, inherited) {
            (List::Owned, Some(made_at)) => inner.cold_mut().inherited.add(made_at),
            _ => false,
        };
        Ok((slot, accumulated))
    }

    /// Removes the resource in `slot` of `list`. Returns it, and whether it was added after
    /// finalization had begun. `inherited` is the line that made it, if it is inherited.
    #[inline]
    pub(crate) fn remove(
        &self,
        list: List,
        slot: u32,
        inherited: Option<&'static Location<'static>>,
    ) -> (Arc<dyn Resource>, bool) {
        let mut inner = self.lock();
        let Entry { resource, late } = inner.list_mut(list).remove(slot);
        if let (List::Owned, Some(made_at)) = (list, inherited) {
            inner.cold_mut().inherited.remove(made_at);
        }
        (resource, late)
    }

    /// Records the first use of another task's resource by this ledger's task.
    pub(crate) fn record_not_owner(&self, error: NotOwner) {
        self.lock().cold_mut().not_owner.get_or_insert(error);
        self.has_error.store(true, Ordering::Relaxed);
    }

    /// Records the panic of a finalizer for the report of [`finalize_all`](Ledger::finalize_all).
    pub(crate) fn record_panic(&self, resource: ResourceInfo, message: String) {
        self.lock().cold_mut().panics.push((resource, message));
    }

    /// Adds panics of finalizers to the report of [`finalize_all`](Ledger::finalize_all).
    ///
    /// For runtimes, which finalize a [due](Ledger::take_due) resource in another ledger.
    pub fn add_panics(&self, panicked: Vec<(ResourceInfo, String)>) {
        self.lock().cold_mut().panics.extend(panicked);
    }

    pub(crate) fn take_panics(&self) -> Vec<(ResourceInfo, String)> {
        self.lock().cold.as_mut().map(|cold| std::mem::take(&mut cold.panics)).unwrap_or_default()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().stage == Stage::Closed
    }

    pub(crate) fn begin_finalizing(&self) {
        self.clear_due();
        let mut inner = self.lock();
        if inner.stage == Stage::Open {
            inner.stage = Stage::Finalizing;
        }
    }

    /// Returns the newest resource owned here, or closes the ledger if there is none.
    pub(crate) fn newest_or_close(&self) -> Option<Arc<dyn Resource>> {
        let mut inner = self.lock();
        // fault: finalized-oldest-first
        let newest = inner.owned.newest().map(Entry::clone_resource);
        if newest.is_none() {
            inner.stage = Stage::Closed;
        }
        newest
    }

    /// Returns the newest resource owned here.
    pub(crate) fn newest(&self) -> Option<Arc<dyn Resource>> {
        self.lock().owned.newest().map(Entry::clone_resource)
    }

    pub(super) fn owned_newest_first(&self) -> Vec<Arc<dyn Resource>> {
        self.lock().owned.newest_first().map(Entry::clone_resource).collect()
    }

    /// Returns the number of entries that memory is allocated for.
    #[doc(hidden)]
    pub fn capacity(&self) -> usize {
        let inner = self.lock();
        let transferred = inner.cold.as_ref().map_or(0, |cold| cold.transferred.capacity());
        inner.owned.capacity() + transferred
    }

    #[inline]
    pub(super) fn lock(&self) -> LockedLedger<'_> {
        // No user code runs under this lock, so the data of a poisoned lock is consistent.
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        LockedLedger { inner, _held: HeldLock::new() }
    }
}

/// A locked ledger.
pub(super) struct LockedLedger<'a> {
    inner: MutexGuard<'a, Inner>,
    _held: HeldLock,
}

impl Deref for LockedLedger<'_> {
    type Target = Inner;

    #[inline]
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for LockedLedger<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Inner {
    fn list_mut(&mut self, list: List) -> &mut LinkedSlab<Entry> {
        match list {
            List::Owned => &mut self.owned,
            List::Transferred => &mut self.cold_mut().transferred,
        }
    }

    pub(super) fn cold_mut(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }
}

impl Entry {
    pub(super) fn clone_resource(&self) -> Arc<dyn Resource> {
        Arc::clone(&self.resource)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("owner", &self.owner())
            .field("resources", &self.resources())
            .finish_non_exhaustive()
    }
}
