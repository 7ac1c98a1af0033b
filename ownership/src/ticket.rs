use std::fmt;
use std::panic::Location;
use std::sync::{Arc, PoisonError};

use crate::ids::next_id;
use crate::ledger::List;
use crate::sys::{AtomicUsize, Mutex, MutexGuard, Ordering, Sabotage, sabotaged};
use crate::{Ledger, Resource, ResourceInfo, current, nursery, verbs};

// What `Ticket::owner` may hold besides the address of a ledger, which is never as small as these.

/// Nobody owns it. The same word as `current::OUTSIDE`, so that using an unowned resource outside
/// any scope takes the fast path.
pub(crate) const UNOWNED: usize = 0;
// 1 is `current::NO_LEDGER`, which no ticket ever holds.
/// Its finalizer has begun.
const FINALIZED: usize = 2;
/// It lies in its last owner's bequest.
const IN_TRANSIT: usize = 3;

/// Says what a resource is and where it stands; lies inline in the resource.
///
/// ```text
///             own, check, adopt, give           transfer
///   Unowned ------------------------> Owned ---------------> InTransit
///      ^  ^ ----- disown ------------- | ^ \                  |  |   \
///      |    the ledger is closed       | |  \-- adopt, give --+--+    |
///      |                               | |      receive       |       |
///      +----- take_transferred ------------|-+--------------------+       |
///                                      v                              v
///   (any) ---- release, settlement --> Finalized <----- release ------+
/// ```
///
/// Every transition is made under the ticket's lock, which is taken before the lock of a ledger.
/// The value of an [`Owned`](crate::Owned) is *young* at first: owned, but not yet in its ledger's
/// list. Only who has it as `&mut`, and so proves to be alone with it, does without the lock.
///
/// # Examples
///
/// ```
/// let ticket = matou_ownership::Ticket::new("file");
/// assert_eq!(ticket.kind(), "file");
/// assert_eq!(ticket.made_at().file(), file!());
/// assert!(!ticket.is_finalized());
/// ```
#[repr(C)]
pub struct Ticket {
    /// Who owns the resource, as one word: the address of the owner's ledger, or one of the
    /// constants above. Written under the lock of `state`, of which it is a digest.
    ///
    /// Relaxed suffices. A reader that finds the address of its own current ledger asks for nothing
    /// but that, and whoever finds anything else goes on under the lock. A stale address cannot be
    /// mistaken for that of a newer ledger at the same place: the word is changed before the last
    /// reference to the old ledger goes, which happens before its memory is used again.
    ///
    /// It comes first, as most uses look at nothing else: who puts the ticket next to what is used
    /// has both in one line of the cache.
    owner: AtomicUsize,
    id: u64,
    kind: &'static str,
    made_at: &'static Location<'static>,
    state: Mutex<State>,
}

struct State {
    place: Place,
    /// Whether the last handle is gone and the finalizer waits for the owner's end, so that it is
    /// not a leak to be still owned then.
    deferred: bool,
}

/// Where a resource stands.
pub(crate) enum Place {
    Unowned,
    /// Owned by `ledger`, but not in its list yet: in the nursery of the thread that made it.
    Young {
        ledger: Arc<Ledger>,
    },
    /// In the `owned` list of `ledger`.
    Owned {
        ledger: Arc<Ledger>,
        slot: u32,
    },
    /// In the `bequest` list of `ledger`.
    InTransit {
        ledger: Arc<Ledger>,
        slot: u32,
    },
    Finalized,
}

impl Ticket {
    /// Makes a ticket for a resource of this `kind`, made at the caller's line, owned by nobody
    /// yet.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn new(kind: &'static str) -> Ticket {
        Ticket::at(UNOWNED, Place::Unowned, kind)
    }

    /// Makes the ticket of a resource that is young in the current task. Outside nobody owns it.
    #[track_caller]
    pub(crate) fn young(kind: &'static str) -> Ticket {
        if current::in_finalizer() {
            verbs::refuse("own", &Ticket::new(kind).info());
        }
        match nursery::ledger_to_enter() {
            None => Ticket::new(kind),
            Some(ledger) => {
                let owner = Ledger::address(&ledger);
                Ticket::at(owner, Place::Young { ledger }, kind)
            }
        }
    }

    #[inline]
    #[track_caller]
    fn at(owner: usize, place: Place, kind: &'static str) -> Ticket {
        Ticket {
            id: next_id(),
            kind,
            made_at: Location::caller(),
            owner: AtomicUsize::new(owner),
            state: Mutex::new(State { place, deferred: false }),
        }
    }

    /// Returns the number of the resource.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns what the resource is, in words that a report can use.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns the line that made the resource.
    pub fn made_at(&self) -> &'static Location<'static> {
        self.made_at
    }

    /// Returns whether the current task owns the resource; outside any task, whether nobody does.
    /// One load and one compare, and nothing else: whoever has to know why not, or wants a misuse
    /// recorded, asks [`check`](crate::check).
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_ownership::{ResourceHandle, Owned, enter};
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
        self.owner() == current::here()
    }

    /// Returns whether the finalizer has run, or has begun to.
    pub fn is_finalized(&self) -> bool {
        self.owner() == FINALIZED
    }

    /// Returns what a report says about the resource.
    pub fn info(&self) -> ResourceInfo {
        ResourceInfo { id: self.id, kind: self.kind, made_at: self.made_at }
    }

    #[inline]
    pub(crate) fn owner(&self) -> usize {
        self.owner.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> LockedTicket<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        LockedTicket { ticket: self, state }
    }

    /// Takes the resource from whoever owns it and marks it finalized: the caller, and nobody else,
    /// is now to finalize it. `None` if another came first.
    pub(crate) fn finish(&self) -> Option<Detached> {
        if self.is_finalized() {
            return None;
        }
        let mut locked = self.lock();
        if matches!(locked.place(), Place::Finalized) {
            return None;
        }
        let detached = locked.detach();
        locked.set(Place::Finalized);
        Some(detached)
    }

    /// Like [`finish`](Ticket::finish), for a young resource that nobody else knows, as `&mut`
    /// proves. The caller has its entry already. Returns whether the caller is to finalize it.
    pub(crate) fn finish_alone(&mut self) -> bool {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut state.place, Place::Finalized) {
            Place::Young { ledger } => {
                self.owner.store(FINALIZED, Ordering::Relaxed);
                nursery::keep(ledger);
                true
            }
            place => {
                state.place = place;
                false
            }
        }
    }

    /// Like [`finish`](Ticket::finish), if `ledger` is the owner. Tells whether it was deferred.
    pub(crate) fn finish_in(&self, ledger: &Arc<Ledger>) -> Option<(Detached, bool)> {
        let mut locked = self.lock();
        match locked.place() {
            Place::Owned { ledger: owner, .. } if Arc::ptr_eq(owner, ledger) => {}
            _ => return None,
        }
        let detached = locked.detach();
        locked.set(Place::Finalized);
        Some((detached, locked.is_deferred()))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.owner() {
            UNOWNED => "unowned",
            FINALIZED => "finalized",
            IN_TRANSIT => "in transit",
            _ => "owned",
        };
        f.debug_struct("Ticket").field("info", &self.info()).field("place", &place).finish()
    }
}

/// Has a young resource listed by its owner, unless somebody elsewhere has moved or finalized it
/// meanwhile.
pub(crate) fn list(resource: Arc<dyn Resource>) {
    let mut ticket = resource.ticket().lock();
    if !matches!(ticket.place(), Place::Young { .. }) {
        return;
    }
    let Some(ledger) = ticket.detach().ledger else { return };
    if sabotaged(Sabotage::ListedUnderTwoLocks) {
        drop(ticket);
        ticket = resource.ticket().lock();
    }
    let listed = ticket.attach(Arc::clone(&resource), ledger, List::Owned);
    let left_to_nobody = listed.is_err() && ticket.is_deferred();
    drop(ticket);
    if left_to_nobody {
        // Its handle was dropped where nobody could know that the owner is settled already.
        verbs::finalize_elsewhere(resource);
    }
}

/// A ticket under its lock. What its methods return may run user code when dropped, so it has to
/// outlive the lock: declare it first.
pub(crate) struct LockedTicket<'a> {
    ticket: &'a Ticket,
    state: MutexGuard<'a, State>,
}

/// What a resource leaves behind in its former place.
#[derive(Default)]
pub(crate) struct Detached {
    /// The entry's reference, unless it was unowned.
    pub(crate) resource: Option<Arc<dyn Resource>>,
    /// The ledger it was in.
    pub(crate) ledger: Option<Arc<Ledger>>,
    /// Whether it entered the ledger after the settlement had begun.
    pub(crate) late: bool,
}

impl LockedTicket<'_> {
    pub(crate) fn place(&self) -> &Place {
        &self.state.place
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.state.deferred
    }

    pub(crate) fn set_deferred(&mut self) {
        self.state.deferred = true;
    }

    /// Takes the resource out of the ledger it is in, if any. It is then unowned.
    pub(crate) fn detach(&mut self) -> Detached {
        let (ledger, list, slot) = match self.set(Place::Unowned) {
            Place::Owned { ledger, slot } => (ledger, List::Owned, slot),
            Place::Young { ledger } => {
                // On another thread it is not found; its own will find out that it has left.
                let resource = nursery::take(self.ticket);
                return Detached { resource, ledger: Some(ledger), late: false };
            }
            Place::InTransit { ledger, slot } => (ledger, List::Bequest, slot),
            place @ (Place::Unowned | Place::Finalized) => {
                self.set(place);
                return Detached::default();
            }
        };
        let (resource, late) = ledger.remove(list, slot);
        Detached { resource: Some(resource), ledger: Some(ledger), late }
    }

    /// Puts the unowned `resource`, whose ticket this is, into `list` of `ledger`. If that ledger
    /// is closed, the resource stays unowned and is given back.
    pub(crate) fn attach(
        &mut self,
        resource: Arc<dyn Resource>,
        ledger: Arc<Ledger>,
        list: List,
    ) -> Result<(), Arc<dyn Resource>> {
        debug_assert!(matches!(self.state.place, Place::Unowned));
        let slot = ledger.insert(list, resource)?;
        self.set(match list {
            List::Owned => Place::Owned { ledger, slot },
            List::Bequest => Place::InTransit { ledger, slot },
        });
        Ok(())
    }

    /// Moves the resource from wherever it is into `list` of `ledger`. What is returned must be
    /// dropped after the lock.
    pub(crate) fn relocate(
        &mut self,
        resource: &Arc<dyn Resource>,
        ledger: Arc<Ledger>,
        list: List,
    ) -> (Detached, Result<(), Arc<dyn Resource>>) {
        let mut detached = self.detach();
        let entry = detached.resource.take().unwrap_or_else(|| Arc::clone(resource));
        (detached, self.attach(entry, ledger, list))
    }

    fn set(&mut self, place: Place) -> Place {
        let owner = match &place {
            Place::Unowned => UNOWNED,
            Place::Young { ledger } | Place::Owned { ledger, .. } => Ledger::address(ledger),
            Place::InTransit { .. } => IN_TRANSIT,
            Place::Finalized => FINALIZED,
        };
        self.ticket.owner.store(owner, Ordering::Relaxed);
        std::mem::replace(&mut self.state.place, place)
    }
}
