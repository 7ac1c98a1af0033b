use std::fmt;
use std::panic::Location;
use std::sync::{Arc, PoisonError};

use super::ledger::{Ledger, List};
use super::resource::Resource;
use crate::held_locks::HeldLock;
use crate::ids::next_id;
use crate::info::ResourceInfo;
use crate::primitives::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// Identifies an owner: the address of a ledger, or one of the constants below. No ledger has an
/// address as small as these.
pub(crate) type OwnerId = usize;

/// No task owns the resource. It is also the id of code outside any task, so that the use of an
/// unowned resource outside any task takes the fast path.
pub(crate) const UNOWNED: OwnerId = 0;
/// The id of a current task that has no ledger yet. No ticket ever holds it.
pub(crate) const TASK_WITHOUT_LEDGER: OwnerId = 1;
/// The finalizer has started.
const FINALIZED: OwnerId = 2;
/// The resource is in the transfer list of its last owner.
const IN_TRANSIT: OwnerId = 3;
/// The resource is inherited: a ledger lists it, but the next task that uses it becomes its owner.
/// No current task has this id, so that use takes the slow path.
const INHERITED: OwnerId = 4;

/// The identity of a resource and its current place; a field of the resource.
///
/// ```text
///             own, check, adopt, give           transfer
///   Unowned ------------------------> Owned ---------------> InTransit
///      ^  ^ ----- disown ------------- | ^ \                  |  |   \
///      |    the ledger is closed       | |  \-- adopt, give --+--+    |
///      |                               | |      receive       |       |
///      +----- take_transferred --------|-+--------------------+       |
///                                      v                              v
///   (any) ---- release, finalize_all -> Finalized <------ release -----+
/// ```
///
/// A resource whose handle outlives its owner takes the same way as a transferred one, from `Owned`
/// through `InTransit` and `Unowned` to `Owned` by the parent. During all of it the resource is
/// *inherited* (`State::last_owner` is set), and any use by any task ends that:
///
/// ```text
///            leave_to_parent                   receive               leave_to_parent
///   Owned ------------------> (in transit) ------------> (inherited) ---------------> ..
///     ^                            |                         |
///     +---------- own, check, adopt, give, transfer ---------+
/// ```
///
/// Every transition happens under the ticket's lock, which is taken before the lock of a ledger.
/// Any thread may perform it.
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
    /// The owner, derived from `state` and written under its lock.
    ///
    /// Relaxed suffices. A reader that finds the id of its own current ledger needs no other data,
    /// and a reader that finds any other id continues under the lock. A stale address cannot be
    /// mistaken for that of a newer ledger at the same address: the id is changed before the last
    /// reference to the old ledger is dropped, which happens before its memory is reused.
    ///
    /// It is the first field because most uses read nothing else: a resource that places its ticket
    /// next to the data it uses has both in one cache line.
    owner_id: AtomicUsize,
    id: u64,
    kind: &'static str,
    made_at: &'static Location<'static>,
    state: Mutex<State>,
}

struct State {
    place: Place,
    /// The first owner, once the resource has left it.
    first_owner: Option<Arc<Ledger>>,
    /// Set while the resource is inherited: the last owner that used it, which has ended.
    last_owner: Option<Arc<Ledger>>,
    /// `true` once the last handle is dropped and the finalizer waits for the owner's end. Then the
    /// resource is not a leak, although it is still owned at the end.
    deferred: bool,
    /// `true` if the owner was given the resource. Then only the owner may use it, and it does not
    /// pass to the parent.
    given: bool,
    /// `true` once the resource has passed to the parent of an owner. The drop of its handle then
    /// makes an asynchronous finalizer due at once.
    outlived_owner: bool,
}

/// The place of a resource.
pub(crate) enum Place {
    Unowned,
    /// In the `owned` list of `ledger`.
    Owned {
        ledger: Arc<Ledger>,
        slot: u32,
    },
    /// In the `transferred` list of `ledger`.
    InTransit {
        ledger: Arc<Ledger>,
        slot: u32,
    },
    Finalized,
}

impl Ticket {
    /// Creates a ticket for an unowned resource of this `kind`, created by the caller's source
    /// location.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn new(kind: &'static str) -> Ticket {
        Ticket::new_at(kind, Location::caller())
    }

    /// As [`new`](Ticket::new), for a future that creates the resource later: `made_at` is the line
    /// that created the future.
    #[inline]
    pub fn new_at(kind: &'static str, made_at: &'static Location<'static>) -> Ticket {
        Ticket {
            id: next_id(),
            kind,
            made_at,
            owner_id: AtomicUsize::new(UNOWNED),
            state: Mutex::new(State {
                place: Place::Unowned,
                first_owner: None,
                last_owner: None,
                deferred: false,
                given: false,
                outlived_owner: false,
            }),
        }
    }

    /// Returns the id of the resource.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the kind of the resource, for reports.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns the source location that created the resource.
    pub fn made_at(&self) -> &'static Location<'static> {
        self.made_at
    }

    /// Returns `true` if the finalizer has started or has completed.
    pub fn is_finalized(&self) -> bool {
        self.owner_id() == FINALIZED
    }

    /// Returns the description of the resource, for reports.
    pub fn info(&self) -> ResourceInfo {
        ResourceInfo { id: self.id, kind: self.kind, made_at: self.made_at }
    }

    #[inline]
    pub(crate) fn owner_id(&self) -> OwnerId {
        self.owner_id.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> LockedTicket<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        LockedTicket { ticket: self, state, _held: HeldLock::new() }
    }

    /// Removes the resource from its owner and marks it as finalized. The caller must then run the
    /// finalizer. Returns `None` if the resource was finalized already.
    pub(crate) fn begin_finalize(&self) -> Option<Detached> {
        if self.is_finalized() {
            return None;
        }
        let mut locked = self.lock();
        // Check again under the lock: another thread may have finalized it since.
        // fault: finalized-by-two-threads
        if matches!(locked.place(), Place::Finalized) {
            return None;
        }
        Some(locked.finalize())
    }

    /// Like [`begin_finalize`](Ticket::begin_finalize), but returns `None` also if `ledger` is not
    /// the owner.
    pub(crate) fn begin_finalize_in(&self, ledger: &Ledger) -> Option<Detached> {
        let mut locked = self.lock();
        // fault: finalized-after-move
        if !locked.is_owned_by(ledger) {
            return None;
        }
        Some(locked.finalize())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.owner_id() {
            UNOWNED => "unowned",
            FINALIZED => "finalized",
            IN_TRANSIT => "in transit",
            INHERITED => "inherited",
            _ => "owned",
        };
        f.debug_struct("Ticket").field("info", &self.info()).field("place", &place).finish()
    }
}

/// A locked ticket.
///
/// The values that its methods return may run user code when they are dropped, so they must outlive
/// the lock: declare their variable before the one of the `LockedTicket`.
pub(crate) struct LockedTicket<'a> {
    ticket: &'a Ticket,
    state: MutexGuard<'a, State>,
    _held: HeldLock,
}

/// The references that a resource's former place held.
#[derive(Default)]
pub(crate) struct Detached {
    /// The ledger's reference to the resource. `None` if the resource was unowned.
    pub(crate) resource: Option<Arc<dyn Resource>>,
    /// The ledger that listed the resource, unless the ticket keeps it as that of the first owner.
    pub(crate) ledger: Option<Arc<Ledger>>,
    /// The first owner, if the resource is finalized after it has left that owner.
    pub(crate) first_owner: Option<Arc<Ledger>>,
    /// The last owner that used the resource, if it was inherited.
    pub(crate) last_owner: Option<Arc<Ledger>>,
    /// `true` if the resource entered the ledger after finalization had begun.
    pub(crate) late: bool,
    /// `true` if the last handle was dropped and the finalizer was left to the owner's end.
    pub(crate) deferred: bool,
    /// `true` if the owner was given the resource.
    pub(crate) given: bool,
}

impl LockedTicket<'_> {
    pub(crate) fn place(&self) -> &Place {
        &self.state.place
    }

    pub(crate) fn is_owned_by(&self, owner: &Ledger) -> bool {
        matches!(self.place(), Place::Owned { ledger, .. } if std::ptr::eq(&**ledger, owner))
    }

    pub(crate) fn is_in_transit_from(&self, sender: &Ledger) -> bool {
        matches!(self.place(), Place::InTransit { ledger, .. } if std::ptr::eq(&**ledger, sender))
    }

    /// Returns `true` if the resource has outlived its last owner, and no task has used it since.
    pub(crate) fn is_inherited(&self) -> bool {
        self.state.last_owner.is_some()
    }

    /// Returns `true` if the next task that uses the resource becomes its owner.
    pub(crate) fn is_available(&self) -> bool {
        matches!(self.place(), Place::Unowned) || self.is_inherited()
    }

    pub(crate) fn is_given(&self) -> bool {
        self.state.given
    }

    pub(crate) fn set_given(&mut self) {
        self.state.given = true;
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.state.deferred
    }

    pub(crate) fn set_deferred(&mut self) {
        self.state.deferred = true;
    }

    pub(crate) fn has_outlived_owner(&self) -> bool {
        self.state.outlived_owner
    }

    /// Removes the resource from the ledger that lists it, if any. The resource is then unowned.
    #[inline]
    pub(crate) fn detach(&mut self) -> Detached {
        let mut detached = self.leave(Place::Unowned);
        detached.last_owner = self.state.last_owner.take();
        detached.given = std::mem::take(&mut self.state.given);
        // The first ledger that a resource leaves is that of its first owner.
        if self.state.first_owner.is_none() {
            self.state.first_owner = detached.ledger.take();
        }
        detached
    }

    /// As [`detach`](LockedTicket::detach), but the resource remains inherited if it was.
    pub(crate) fn detach_for_parent(&mut self) -> Detached {
        let last_owner = self.state.last_owner.take();
        let detached = self.detach();
        self.state.last_owner = last_owner;
        self.state.outlived_owner = true;
        detached
    }

    /// Removes the resource from the ledger that lists it, and leaves all else unchanged. The
    /// resource is then at `next`, or remains finalized.
    #[inline(always)]
    fn leave(&mut self, next: Place) -> Detached {
        let inherited = self.is_inherited().then_some(self.ticket.made_at);
        let (ledger, list, slot) = match self.set(next) {
            Place::Owned { ledger, slot } => (ledger, List::Owned, slot),
            Place::InTransit { ledger, slot } => (ledger, List::Transferred, slot),
            place => {
                if matches!(place, Place::Finalized) {
                    self.set(place);
                }
                return Detached { deferred: self.is_deferred(), ..Detached::default() };
            }
        };
        let (resource, late) = ledger.remove(list, slot, inherited);
        let deferred = self.is_deferred();
        Detached {
            resource: Some(resource),
            ledger: Some(ledger),
            late,
            deferred,
            ..Detached::default()
        }
    }

    /// Moves `resource`, which this ticket belongs to, from its place into `list` of `ledger`. If
    /// that ledger is closed, the resource becomes unowned.
    #[inline]
    pub(crate) fn move_to(
        &mut self,
        resource: &Arc<dyn Resource>,
        ledger: Arc<Ledger>,
        list: List,
    ) -> Moved {
        // A new resource has nothing to leave.
        let is_new = matches!(self.place(), Place::Unowned) && !self.is_inherited();
        let detached = if is_new { None } else { Some(self.detach()) };
        self.enter(detached, resource, ledger, list)
    }

    /// Moves a resource of `ledger` into the list of those that its parent receives, as inherited.
    pub(crate) fn leave_to_parent(
        &mut self,
        resource: &Arc<dyn Resource>,
        ledger: &Arc<Ledger>,
    ) -> Moved {
        let detached = self.detach_for_parent();
        // The last owner that has used it is either this one or a descendant.
        self.state.last_owner.get_or_insert_with(|| Arc::clone(ledger));
        self.enter(Some(detached), resource, Arc::clone(ledger), List::Transferred)
    }

    /// Moves an unowned resource into the ledger of a parent. It remains inherited if it was.
    pub(crate) fn receive(&mut self, resource: &Arc<dyn Resource>, ledger: Arc<Ledger>) -> Moved {
        self.enter(None, resource, ledger, List::Owned)
    }

    /// Adds a resource that has just left `detached`, unless it is new, to `list` of `ledger`.
    #[inline]
    fn enter(
        &mut self,
        mut detached: Option<Detached>,
        resource: &Arc<dyn Resource>,
        ledger: Arc<Ledger>,
        list: List,
    ) -> Moved {
        let entry = detached.as_mut().and_then(|detached| detached.resource.take());
        let entry = entry.unwrap_or_else(|| Arc::clone(resource));
        let inherited = self.is_inherited().then_some(self.ticket.made_at);
        let (rejected, accumulated) = match ledger.insert(list, entry, inherited) {
            Ok((slot, accumulated)) => {
                self.set(match list {
                    List::Owned => Place::Owned { ledger, slot },
                    List::Transferred => Place::InTransit { ledger, slot },
                });
                (None, accumulated)
            }
            Err(entry) => (Some((entry, ledger)), false),
        };
        Moved { _from: detached, rejected, accumulated }
    }

    #[inline]
    fn finalize(&mut self) -> Detached {
        let mut detached = self.leave(Place::Finalized);
        detached.first_owner = self.state.first_owner.take();
        detached.last_owner = self.state.last_owner.take();
        detached.given = self.state.given;
        detached
    }

    #[inline]
    fn set(&mut self, place: Place) -> Place {
        let owner_id = match &place {
            Place::Unowned => UNOWNED,
            // fault: inherited-not-adopted
            Place::Owned { .. } if self.is_inherited() => INHERITED,
            Place::Owned { ledger, .. } => ledger.owner_id(),
            Place::InTransit { .. } => IN_TRANSIT,
            Place::Finalized => FINALIZED,
        };
        self.ticket.owner_id.store(owner_id, Ordering::Relaxed);
        std::mem::replace(&mut self.state.place, place)
    }
}

/// The references left over by [`LockedTicket::move_to`].
pub(crate) struct Moved {
    _from: Option<Detached>,
    rejected: Option<(Arc<dyn Resource>, Arc<Ledger>)>,
    /// `true` if the target ledger has now inherited many resources that the same line made.
    pub(crate) accumulated: bool,
}

impl Moved {
    /// Returns `true` unless the target ledger was closed.
    pub(crate) fn is_accepted(&self) -> bool {
        self.rejected.is_none()
    }
}
