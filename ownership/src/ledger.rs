use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use crate::entries::Entries;
use crate::settle::Settler;
use crate::sys::{Mutex, MutexGuard};
use crate::ticket::Place;
use crate::{FinalizeAll, NotOwner, Resource, ResourceInfo, current, nursery};

/// What one task owns.
///
/// A runtime makes one for each task, [enters](crate::enter) it while it polls the task, and
/// [settles](Ledger::finalize_all) it when the task's future is gone. Under any other executor
/// [`scope`](crate::scope()) does this.
///
/// Entering, leaving and moving are O(1) whatever the number of resources, and may be done from any
/// thread. A ledger is closed by its settlement: what would enter it later stays unowned.
///
/// What looks at a ledger on the thread where it is current, or while it is current nowhere, sees
/// all. Only another thread that looks in the middle of a poll may miss the [`Owned`](crate::Owned)
/// that the task made last.
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
pub struct Ledger {
    inner: Mutex<Inner>,
    /// Whether there is a fault; mostly there is none. Relaxed, because a fault is recorded by the
    /// thread that polls the task, which is the one that asks.
    faulted: AtomicBool,
    label: OnceLock<OwnerInfo>,
}

struct Inner {
    /// What the settlement will finalize.
    owned: Entries,
    /// What few tasks have. Boxed, since all have room for it.
    rare: Option<Box<Rare>>,
    stage: Stage,
}

#[derive(Default)]
struct Rare {
    /// What `transfer` set apart for the parent, in order of transfer.
    bequest: Entries,
    /// The first misuse by this ledger's task.
    fault: Option<NotOwner>,
    /// Panics of finalizers that could not be let through, since the thread was panicking already.
    panics: Vec<(ResourceInfo, String)>,
}

/// How far a ledger's life has come. It only moves forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The settlement has begun: what enters now is settled too.
    Settling,
    /// The settlement is over: nothing enters any more.
    Closed,
}

/// One of the two lists of a ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) enum List {
    Owned,
    Bequest,
}

impl Ledger {
    /// Makes an empty ledger.
    #[must_use]
    pub fn new() -> Arc<Ledger> {
        Arc::new(Ledger {
            inner: Mutex::new(Inner { owned: Entries::new(), rare: None, stage: Stage::Open }),
            faulted: AtomicBool::new(false),
            label: OnceLock::new(),
        })
    }

    /// Says whose ledger this is. Only the first label counts.
    pub fn set_owner(&self, label: OwnerInfo) {
        let _ = self.label.set(label);
    }

    /// Returns whose ledger this is, if it was said.
    #[inline]
    pub fn owner(&self) -> Option<&OwnerInfo> {
        self.label.get()
    }

    /// Returns how many resources a settlement would finalize now: those that are live and owned
    /// here, and those whose handle is gone and whose asynchronous finalizer waits for the
    /// owner's end.
    pub fn len(&self) -> usize {
        self.lock_complete().owned.len()
    }

    /// Returns whether a settlement would have nothing to finalize.
    pub fn is_empty(&self) -> bool {
        self.lock_complete().owned.is_empty()
    }

    /// Lists what [`len`](Ledger::len) counts, newest first.
    pub fn resources(&self) -> Vec<ResourceInfo> {
        // Ask for the tickets after the lock, since that is code of the resource.
        let resources: Vec<_> = self.lock_complete().owned.newest_first().cloned().collect();
        resources.iter().map(|resource| resource.ticket().info()).collect()
    }

    /// Sets everything that is still live and owned here apart for the parent, as if each were
    /// [transferred](crate::transfer), oldest first. For tasks that were built with `inherit`.
    ///
    /// What was dropped already and waits for its asynchronous finalizer stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::{Ledger, Owned, enter};
    ///
    /// let (child, parent) = (Ledger::new(), Ledger::new());
    /// let entered = enter(Some(child.clone()));
    /// let _owned = Owned::new(1, drop);
    /// entered.leave();
    /// child.transfer_all();
    /// parent.receive(child.take_transferred());
    /// assert_eq!((child.len(), parent.len()), (0, 1));
    /// ```
    pub fn transfer_all(self: &Arc<Self>) {
        let mut resources: Vec<_> = self.lock_complete().owned.newest_first().cloned().collect();
        while let Some(resource) = resources.pop() {
            let ticket = resource.ticket();
            let _moved;
            let mut locked = ticket.lock();
            match locked.place() {
                Place::Owned { ledger, .. } if Arc::ptr_eq(ledger, self) => {}
                // It was moved or finalized since.
                _ => continue,
            }
            if !locked.is_deferred() {
                _moved = locked.relocate(&resource, Arc::clone(self), List::Bequest);
            }
        }
    }

    /// Takes what [`transfer`](crate::transfer) set apart, in order of transfer.
    ///
    /// It is then unowned until the parent [receives](Ledger::receive) it, or somebody else uses it
    /// first. A runtime takes the bequest once, when the task has ended.
    #[must_use = "what is taken is owned by nobody until it is received"]
    pub fn take_transferred(&self) -> Vec<Arc<dyn Resource>> {
        let mut bequest = Vec::new();
        loop {
            let oldest = self.lock().rare.as_ref().and_then(|rare| rare.bequest.oldest().cloned());
            let Some(resource) = oldest else { return bequest };
            let _left;
            let mut locked = resource.ticket().lock();
            // It may have left between the two locks.
            if matches!(locked.place(), Place::InTransit { ledger, .. } if ledger.is(self)) {
                _left = locked.detach();
                drop(locked);
                bequest.push(Arc::clone(&resource));
            }
        }
    }

    /// Becomes the owner of what a child transferred. Skips what was finalized, or has found
    /// another owner on the way.
    pub fn receive(self: &Arc<Self>, bequest: Vec<Arc<dyn Resource>>) {
        for resource in bequest {
            let ticket = resource.ticket();
            let _moved;
            let mut locked = ticket.lock();
            if matches!(locked.place(), Place::Unowned) {
                _moved = locked.relocate(&resource, Arc::clone(self), List::Owned);
            }
        }
    }

    /// Takes the first misuse by this ledger's task, if there was one.
    pub fn take_not_owner(&self) -> Option<NotOwner> {
        if !self.faulted.load(Ordering::Relaxed) {
            return None;
        }
        self.faulted.store(false, Ordering::Relaxed);
        self.lock().rare().fault.take()
    }

    /// Begins to finalize what is still owned, newest first, each exactly once. The future does it.
    ///
    /// The task's future must be gone by then. See [`FinalizeAll`].
    pub fn finalize_all(self: &Arc<Self>) -> FinalizeAll {
        FinalizeAll::new(Settler::new(Arc::clone(self)))
    }

    /// Returns the word that the tickets of what is owned here hold.
    pub(crate) fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self) as usize
    }

    pub(crate) fn insert(
        &self,
        list: List,
        resource: Arc<dyn Resource>,
    ) -> Result<u32, Arc<dyn Resource>> {
        let mut inner = self.lock();
        let stage = inner.stage;
        if stage == Stage::Closed {
            return Err(resource);
        }
        Ok(inner.list(list).push(resource, stage == Stage::Settling))
    }

    pub(crate) fn remove(&self, list: List, slot: u32) -> (Arc<dyn Resource>, bool) {
        self.lock().list(list).remove(slot)
    }

    /// Records a fault of what runs on this thread, whose ledger this is.
    pub(crate) fn record_fault(&self, fault: NotOwner) {
        // fault: misuse-not-checked
        current::note_misuse();
        self.lock().rare().fault.get_or_insert(fault);
        self.faulted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn record_panic(&self, resource: ResourceInfo, message: String) {
        self.lock().rare().panics.push((resource, message));
    }

    pub(crate) fn take_panics(&self) -> Vec<(ResourceInfo, String)> {
        self.lock().rare.as_mut().map(|rare| std::mem::take(&mut rare.panics)).unwrap_or_default()
    }

    pub(crate) fn begin_settlement(&self) {
        let mut inner = self.lock_complete();
        if inner.stage == Stage::Open {
            inner.stage = Stage::Settling;
        }
    }

    /// Returns the newest resource owned here, or closes the ledger if there is none.
    pub(crate) fn newest_or_close(&self) -> Option<Arc<dyn Resource>> {
        let mut inner = self.lock();
        // fault: finalized-oldest-first
        let newest = inner.owned.newest().cloned();
        if newest.is_none() {
            inner.stage = Stage::Closed;
        }
        newest
    }

    /// Returns the newest resource owned here.
    pub(crate) fn newest(&self) -> Option<Arc<dyn Resource>> {
        self.lock().owned.newest().cloned()
    }

    /// Returns for how many entries there is memory.
    #[doc(hidden)]
    pub fn capacity(&self) -> usize {
        let inner = self.lock_complete();
        let bequest = inner.rare.as_ref().map_or(0, |rare| rare.bequest.capacity());
        inner.owned.capacity() + bequest
    }

    fn is(&self, other: &Ledger) -> bool {
        std::ptr::eq(self, other)
    }

    /// Locks when all is listed that this thread knows to be owned here.
    fn lock_complete(&self) -> MutexGuard<'_, Inner> {
        if std::ptr::from_ref(self) as usize == current::here() {
            nursery::clear();
        }
        self.lock()
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code of others runs under the lock, so a poisoned one is as good as any.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn list(&mut self, list: List) -> &mut Entries {
        match list {
            List::Owned => &mut self.owned,
            List::Bequest => &mut self.rare().bequest,
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("label", &self.owner())
            .field("resources", &self.resources())
            .finish_non_exhaustive()
    }
}

/// Whom a ledger belongs to, for reports.
///
/// # Examples
///
/// ```
/// use matou_ownership::OwnerInfo;
/// use std::panic::Location;
///
/// let made_at = Location::caller();
/// let label = OwnerInfo { id: 7, name: Some("client".into()), made_at };
/// assert_eq!(label.to_string(), format!("task #7 \"client\" made at {made_at}"));
/// ```
#[derive(Clone, Debug)]
pub struct OwnerInfo {
    /// The number of the task.
    pub id: u64,
    /// The name of the task, if it was given one.
    pub name: Option<Arc<str>>,
    /// The line that spawned the task.
    pub made_at: &'static Location<'static>,
}

impl fmt::Display for OwnerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task #{}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, " made at {}", self.made_at)
    }
}
