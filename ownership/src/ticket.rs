use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::next_id;
use crate::ledger::List;
use crate::{Ledger, Resource, ResourceInfo};

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
///      +----- take_bequest ------------|-+--------------------+       |
///                                      v                              v
///   (any) ---- release, settlement --> Finalized <----- release ------+
/// ```
///
/// Every transition is made under the ticket's lock, which is taken before the lock of a ledger.
///
/// # Examples
///
/// ```
/// let ticket = matou_ownership::Ticket::new("file");
/// assert_eq!(ticket.kind(), "file");
/// assert_eq!(ticket.made_at().file(), file!());
/// assert!(!ticket.is_finalized());
/// ```
pub struct Ticket {
    id: u64,
    kind: &'static str,
    made_at: &'static Location<'static>,
    /// Who owns the resource, as one word: the address of the owner's ledger, or one of the
    /// constants above. Written under the lock of `state`, of which it is a digest.
    ///
    /// Relaxed suffices. A reader that finds the address of its own current ledger asks for nothing
    /// but that, and whoever finds anything else goes on under the lock. A stale address cannot be
    /// mistaken for that of a newer ledger at the same place: the word is changed before the last
    /// reference to the old ledger goes, which happens before its memory is used again.
    owner: AtomicUsize,
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
    #[must_use]
    #[track_caller]
    pub fn new(kind: &'static str) -> Ticket {
        Ticket {
            id: next_id(),
            kind,
            made_at: Location::caller(),
            owner: AtomicUsize::new(UNOWNED),
            state: Mutex::new(State { place: Place::Unowned, deferred: false }),
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
            Place::Owned { ledger, .. } => Ledger::address(ledger),
            Place::InTransit { .. } => IN_TRANSIT,
            Place::Finalized => FINALIZED,
        };
        self.ticket.owner.store(owner, Ordering::Relaxed);
        std::mem::replace(&mut self.state.place, place)
    }
}
